"""A still from its file: first what the header tells, then its pixels, page by page.

Each kind goes to the library that reads it whole: TIFF to tifffile, 16-bit PNG and deep AVIF to libav, HEIC to libheif,
all else to Pillow, and what Pillow refuses to libav.
"""

import io
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from vsr.errors import BrokenOff, MediaError
from vsr.frames import ColorSpec
from vsr.io import exif as exif_of
from vsr.io.gif_frames import reach_of
from vsr.io.heif import inspect_heif, read_heif
from vsr.io.jpeg_parts import jpeg_parts
from vsr.io.png_chunks import inflated, iptc_of, iptc_of_resources, read_chunks, xmp_of
from vsr.io.still import Density, Kind, Metadata, StillInfo
from vsr.io.still_kind import RAW_SUFFIXES, still_kind
from vsr.io.still_libav import UNREADABLE, YuvToRgb, decode_png, read_by_libav, size_by_libav
from vsr.io.still_pillow import DAMAGE, channels_of, frame_of, opened, samples_of, upright
from vsr.io.tiff_read import inspect_tiff, read_tiff
from vsr.picture import LEVELS_16, Levels, Page, Samples

_KINDS: dict[str, Kind] = {
    "JPEG": "jpeg",
    "MPO": "jpeg",
    "PNG": "png",
    "WEBP": "webp",
    "AVIF": "avif",
    "GIF": "gif",
    "BMP": "bmp",
    "DIB": "bmp",
    "PPM": "pnm",
    "TGA": "tga",
}
_SUBSAMPLINGS = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
_COLOUR_CHUNKS = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI")
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"tIME")
_LEAST_SCAN = 64  # bytes of a JPEG's pixels, below which there is nothing to show
_HEADER = 1 << 16  # bytes of a file in which its boxes are looked for


def open_still(path: Path, *, max_pixels: int) -> StillInfo:
    """Read a still's header and metadata. Raises MediaError for what is no picture, is damaged, or has too many pixels.

    Pixels are counted over all frames of an animation, since all of it is held, and of the largest page of a TIFF.
    """
    kind = still_kind(path)
    if path.suffix.lower() in RAW_SUFFIXES:
        raise MediaError(f"{path}: is camera raw, which is not developed here; export it as TIFF first")
    try:
        if kind == "tiff":
            info, area = inspect_tiff(path)
        elif kind == "heic":
            info = inspect_heif(path)
            area = info.height * info.width
        else:
            info = _inspect(path, max_pixels)
            area = info.height * info.width * (info.pages if info.is_animated else 1)
        if kind == "gif" and info.is_animated:
            _require_inside(path, info)
    except MediaError:
        raise
    except FileNotFoundError as e:
        raise MediaError(f"{path}: no such file; look at its name") from e
    except UnidentifiedImageError as e:
        raise MediaError(f"{path}: no picture that Pillow or libav can read; give another file") from e
    except DAMAGE as e:
        raise MediaError(f"{path}: cannot be read as a picture: {e}; give another file") from e
    if area > max_pixels:
        raise _too_large(path, info.height, info.width, max_pixels, info.pages if info.is_animated else 1)
    if info.height < 1 or info.width < 1:
        raise MediaError(f"{path}: has no pixels; give another file")
    return info


def _require_inside(path: Path, info: StillInfo) -> None:
    height, width = reach_of(path)
    if height > info.height or width > info.width:
        what = f"has frames that reach beyond its {info.width}x{info.height} pixels"
        raise MediaError(f"{path}: {what}; save it again with another program")


def _too_large(path: Path, height: int, width: int, max_pixels: int, frames: int = 1) -> MediaError:
    many = f" in {frames} frames" if frames > 1 else ""
    return MediaError(
        f"{path}: {width}x{height} pixels{many} are more than {max_pixels / 1e6:g} million; "
        "raise --max-pixels if the machine has the memory"
    )


def read_pages(info: StillInfo, to_rgb: YuvToRgb) -> Iterator[Page]:
    """The pictures of a still, upright, one after the other. `to_rgb` turns YUV of deep files into RGB.

    Raises MediaError for damage; a JPEG that is cut off comes as far as it goes, and its page says so.
    """
    try:
        if info.kind == "tiff":
            yield from read_tiff(info)
        elif info.is_animated:
            yield from _frames(info)
        else:
            yield _page(info, to_rgb)
    except MediaError as e:
        if str(e).startswith(str(info.path)):
            raise
        advice = "" if ";" in str(e) else "; give another file"
        raise MediaError(f"{info.path}: {e}{advice}") from e
    except MemoryError as e:
        raise MediaError(f"{info.path}: does not fit in this machine's memory; scale it down, or cut it") from e
    except (*DAMAGE, *UNREADABLE) as e:
        raise MediaError(f"{info.path}: its pixels cannot be read: {e}; give another file") from e


def _inspect(path: Path, max_pixels: int) -> StillInfo:
    """What Pillow finds, or libav where Pillow does not know the format."""
    try:
        with opened(path) as picture:
            return _found(path, picture)
    except FileNotFoundError:
        raise
    except DAMAGE as refused:
        if still_kind(path) in ("avif", "heic"):  # whose tiles libav would hand out one by one
            raise
        return _by_libav(path, refused, max_pixels)


def _by_libav(path: Path, refused: Exception, max_pixels: int) -> StillInfo:
    """What libav finds; nothing but a frame tells its depth. Raises `refused`, Pillow's reason, when it cannot."""
    try:
        height, width = size_by_libav(path)
        if not height * width:
            raise refused
        if height * width > max_pixels:
            raise _too_large(path, height, width, max_pixels)
        samples, levels = read_by_libav(path, lambda planes, *_: np.zeros((*planes[0].shape, 3), np.uint16))
    except MediaError as e:
        raise (e if str(e).startswith(str(path)) else refused) from None
    except UNREADABLE:
        raise refused from None
    return StillInfo(
        path=path,
        kind=still_kind(path) or "other",
        format="libav",
        height=samples.shape[0],
        width=samples.shape[1],
        channels=samples.shape[2],
        bits=levels.bits,
        is_float=levels.dtype.kind == "f",
    )


def _found(path: Path, picture: Image.Image) -> StillInfo:
    kind = _KINDS.get(picture.format or "", "other")
    pages = getattr(picture, "n_frames", 1)
    is_animated = pages > 1 and kind in ("png", "gif", "webp", "avif")
    raw = picture.info.get("exif")
    exif = raw.removeprefix(b"Exif\0\0") if isinstance(raw, bytes) and raw else None
    said = Metadata(
        icc=picture.info.get("icc_profile") or None,
        exif=exif,
        xmp=_bytes(picture.info.get("xmp")),
        comment=_bytes(picture.info.get("comment")),
        density=_density(picture),
    )
    info = StillInfo(
        path=path,
        kind=kind,
        format=picture.format or "?",
        height=picture.height,
        width=picture.width,
        channels=4 if is_animated or kind == "gif" else channels_of(picture),
        bits=16 if picture.mode.startswith("I") else 32 if picture.mode == "F" else 8,
        is_float=picture.mode == "F",
        orientation=exif_of.orientation(exif),
        pages=pages,
        is_animated=is_animated,
        loops=picture.info.get("loop"),
        is_lossless=kind not in ("jpeg", "avif"),
        metadata=said,
    )
    with path.open("rb") as file:
        if kind == "png":
            info = _with_png(info, file)
        elif kind == "jpeg":
            info = _with_jpeg(info, picture, file.read())
        elif kind == "webp":
            info = replace(info, is_lossless=b"VP8L" in file.read(_HEADER))
        elif kind == "avif":
            info = _with_avif(info, file.read(_HEADER))
    if picture.mode in ("CMYK", "LAB"):
        space = "CMYK" if picture.mode == "CMYK" else "Lab"
        how = "by its profile" if info.metadata.icc or space == "Lab" else "without a profile, by the plain formula"
        info = replace(info, becomes_srgb=True, notes=(*info.notes, f"{space} becomes sRGB, {how}"))
    if info.orientation in (5, 6, 7, 8):
        info = replace(info, height=info.width, width=info.height)
    if pages > 1 and not is_animated and kind != "jpeg":
        left = "second picture" if pages == 2 else f"{pages - 1} more pictures"
        info = replace(info, pages=1, left_behind=(*info.left_behind, left))
    return replace(info, pages=info.pages if info.is_animated else 1)


def _bytes(text: object) -> bytes | None:
    return (text.encode("utf-8") if isinstance(text, str) else text if isinstance(text, bytes) else None) or None


def _density(picture: Image.Image) -> Density | None:
    told = picture.info
    if "dpi" in told:
        x, y = (float(value) for value in told["dpi"])
        return Density(x=x, y=y, unit="inch") if x > 0 and y > 0 else None
    x, y = told.get("jfif_density") or told.get("aspect") or (1, 1)
    return Density(x=float(x), y=float(y), unit="none") if x != y and x > 0 and y > 0 else None


def _with_png(info: StillInfo, file: io.BufferedReader) -> StillInfo:
    """Depth, and all that a PNG says in its own chunks, behind the pixels too."""
    said, bits, kept = info.metadata, info.bits, []
    for kind, data in read_chunks(file):
        if kind == b"IHDR":
            bits = 16 if data[8] == 16 else 8
        elif kind == b"iCCP" and said.icc is None:
            said = replace(said, icc=inflated(data[data.index(b"\0") + 2 :]))
        elif kind == b"eXIf":
            said = replace(said, exif=data.removeprefix(b"Exif\0\0"))
        elif (xmp := xmp_of(kind, data)) is not None:
            said = replace(said, xmp=xmp)
        elif (iptc := iptc_of(kind, data)) is not None:
            said = replace(said, iptc=iptc)
        elif kind == b"cICP" and len(data) == 4:
            said = replace(said, cicp=(data[0], data[1]))
        if kind in _COLOUR_CHUNKS or (kind in _TEXT_CHUNKS and xmp_of(kind, data) is iptc_of(kind, data) is None):
            kept.append((kind, data))
    left = ("a separate first picture",) if info.is_animated and _has_default(info) else ()
    return replace(
        info,
        bits=8 if info.is_animated else bits,
        metadata=replace(said, chunks=tuple(kept)),
        orientation=exif_of.orientation(said.exif),
        pages=info.pages - len(left),
        left_behind=left,
    )


def _has_default(info: StillInfo) -> bool:
    with opened(info.path) as picture:
        return bool(picture.info.get("default_image"))


def _with_jpeg(info: StillInfo, picture: Image.Image, data: bytes) -> StillInfo:
    parts = jpeg_parts(data, pictures=info.pages)
    sampling = _SUBSAMPLINGS.get(JpegImagePlugin.get_sampling(picture))
    return replace(
        info,
        subsampling=sampling,
        metadata=replace(info.metadata, xmp=parts.xmp, iptc=iptc_of_resources(parts.resources)),
        left_behind=parts.left_behind,
    )


def _with_avif(info: StillInfo, header: bytes) -> StillInfo:
    """Depth and colour of an AVIF, from boxes that Pillow keeps to itself."""
    at = header.find(b"av1C")
    flags = header[at + 6] if 0 <= at < len(header) - 6 else 0
    color = header.find(b"colrnclx")
    cicp = None
    if color >= 0 and info.metadata.icc is None:
        cicp = tuple(int.from_bytes(header[color + 8 + k : color + 10 + k], "big") for k in (0, 2))
    left = []
    if b"tmap" in header:
        left.append("gain map")
    if b"soun" in header:
        left.append("sound")
    is_deep = bool(flags & 0x40) and not info.is_animated
    notes = ("its frames are read with 8 bits",) if flags & 0x40 and info.is_animated else ()
    return replace(
        info,
        bits=16 if is_deep else 8,
        metadata=replace(info.metadata, cicp=cicp),
        left_behind=tuple(left),
        notes=notes,
        subsampling={0x00: "4:4:4", 0x08: "4:2:2", 0x0C: "4:2:0", 0x1C: "4:0:0"}.get(flags & 0x1C),
    )


def _page(info: StillInfo, to_rgb: YuvToRgb) -> Page:
    """The one picture of a file."""
    if info.kind == "heic":
        samples, levels = read_heif(info.path)
        return Page(samples=samples, levels=levels)
    if info.format == "libav":
        samples, levels = read_by_libav(info.path, to_rgb)
        return Page(samples=samples, levels=levels)
    damage = ""
    if info.kind == "png" and info.bits == 16:
        samples, levels = decode_png(info.path.read_bytes())
    elif info.kind == "avif" and info.bits == 16:
        samples, levels = _deep_avif(info, to_rgb)
    elif info.kind == "jpeg":
        samples, levels, damage = _jpeg(info)
    else:
        with opened(info.path) as picture:
            samples, levels = samples_of(picture, info.metadata.icc)
    return Page(samples=upright(samples, info.orientation), levels=levels, damage=damage)


def _jpeg(info: StillInfo) -> tuple[Samples, Levels, str]:
    """Of a JPEG that is cut off, all there is: libjpeg is given the end that it misses, and fills up in gray."""
    try:
        with opened(info.path) as picture:
            return *samples_of(picture, info.metadata.icc), ""
    except OSError as e:
        if "truncated" not in str(e):
            raise
        data = info.path.read_bytes()
        if len(data) - data.rfind(b"\xff\xda") < _LEAST_SCAN:
            raise
    with opened(io.BytesIO(data + b"\xff\xd9" * 64)) as picture:
        return *samples_of(picture, info.metadata.icc), "is cut off: what is missing is gray"


def _deep_avif(info: StillInfo, to_rgb: YuvToRgb) -> tuple[Samples, Levels]:
    """Colours by libav, which has all bits; alpha by Pillow, which puts it together, at 8."""
    with opened(info.path) as picture:
        shallow, _ = samples_of(picture)
    with info.path.open("rb") as file:
        samples, levels = read_by_libav(info.path, to_rgb, color=_nclx(file.read(_HEADER)))
    if samples.shape[:2] != shallow.shape[:2]:  # tiles of a grid
        return shallow.astype(np.uint16) * 257, LEVELS_16
    if shallow.shape[2] in (2, 4):
        samples = np.concatenate([samples, shallow[:, :, -1:].astype(np.uint16) * 257], 2)
    return samples, levels


def _nclx(header: bytes) -> ColorSpec | None:
    at = header.find(b"colrnclx") + 8
    if at < 8 or at + 7 > len(header):
        return None
    primaries, transfer, matrix = (int.from_bytes(header[at + k : at + k + 2], "big") for k in (0, 2, 4))
    return ColorSpec(
        matrix=6 if matrix == 2 else matrix,
        primaries=primaries,
        transfer=transfer,
        full_range=bool(header[at + 6] & 0x80),
        siting="center",
    )


def _frames(info: StillInfo) -> Iterator[Page]:
    """The frames of an animation, each as it is shown, for as long as it is."""
    times = _apng_times(info.path) if info.kind == "png" else None
    with opened(info.path) as picture:
        first = 1 if picture.info.get("default_image") else 0
        for number in range(first, first + info.pages):
            try:
                samples, levels = frame_of(picture, number)
            except DAMAGE as e:
                if number == first:
                    raise
                raise BrokenOff(f"{info.path}: breaks off after frame {number - first} of {info.pages}: {e}") from e
            told = Fraction(picture.info.get("duration", 0) or 0).limit_denominator(10**6) / 1000
            yield Page(samples=samples, levels=levels, seconds=told if times is None else times[number - first])


def _apng_times(path: Path) -> list[Fraction]:
    """How long each frame is shown, exactly: 0 of 100 means hundredths."""
    with path.open("rb") as file:
        delays = [(data[20:22], data[22:24]) for kind, data in read_chunks(file) if kind == b"fcTL"]
    return [Fraction(int.from_bytes(a, "big"), int.from_bytes(b, "big") or 100) for a, b in delays]
