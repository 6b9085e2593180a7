"""A still to its file: by the library that writes its kind whole, with metadata put in where that has no place."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from vsr.io.animation_write import write_apng, write_avif_frames, write_gif, write_webp_frames
from vsr.io.heif import write_heif
from vsr.io.png_chunks import (
    Chunk,
    icc_chunk,
    iptc_chunk,
    joined,
    photoshop_resource,
    split,
    text_chunk,
    with_chunks,
    xmp_chunk,
)
from vsr.io.still import Density, Kind, Metadata
from vsr.io.still_libav import encode_png_16
from vsr.io.tiff_write import write_tiff
from vsr.picture import RenderedPage, Samples, has_alpha

JPEG_QUALITY, WEBP_QUALITY, AVIF_QUALITY, HEIC_QUALITY = 95, 90, 85, 85
_PNG_LEVEL = 6
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_METRES = {"inch": 39.3701, "cm": 100.0}  # units in a metre


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How a picture is stored."""

    kind: Kind
    is_animated: bool = False
    quality: int | None = None  # 1 to 100; None is the kind's own
    is_lossless: bool = False  # WebP
    subsampling: str = "4:4:4"  # JPEG, AVIF, HEIC
    loops: int | None = None
    metadata: Metadata = field(default_factory=Metadata)


def write_still(path: Path, pages: Iterator[RenderedPage], encoding: Encoding) -> None:
    """Write pages as one file of the encoding's kind, whatever the path's suffix. Only a TIFF has several.

    Raises OSError and ValueError as the libraries do; what was written by then is left for the caller to remove.
    """
    if encoding.is_animated:
        _WRITERS[encoding.kind](path, pages, encoding)
        return
    if encoding.kind == "tiff":
        write_tiff(path, pages, encoding.metadata)
        return
    page = next(pages)
    samples = page.whole()
    said = encoding.metadata
    match encoding.kind:
        case "png":
            path.write_bytes(joined(with_chunks(split(_png(samples)), _chunks(said))))
        case "pnm":
            _write_pnm(path, samples)
        case "gif":
            write_gif(path, iter([_held(page, samples)]), loops=None, comment=said.comment)
        case "heic":
            quality = encoding.quality or HEIC_QUALITY
            colour = _coloured(samples) if samples.shape[2] == 2 else samples
            write_heif(path, colour, quality=quality, subsampling=encoding.subsampling, metadata=said)
        case _:
            _write_by_pillow(path, samples, encoding)


def flat(page: RenderedPage) -> RenderedPage:
    """The same picture on white, without alpha."""

    def on_white() -> Iterator[Samples]:
        white, black = page.levels.white, page.levels.black
        for band in page.bands:
            alpha = (band[:, :, -1:].astype(np.float32) - black) / (white - black)
            mixed = band[:, :, :-1] * alpha + white * (1 - alpha)
            yield (mixed if page.levels.dtype.kind == "f" else np.rint(mixed)).astype(page.levels.dtype)

    return RenderedPage(
        height=page.height,
        width=page.width,
        channels=page.channels - 1,
        levels=page.levels,
        bands=on_white(),
        seconds=page.seconds,
    )


def _held(page: RenderedPage, samples: Samples) -> RenderedPage:
    return RenderedPage(
        height=page.height, width=page.width, channels=page.channels, levels=page.levels, bands=iter([samples])
    )


def _png(samples: Samples) -> bytes:
    if samples.dtype == np.uint16:
        return encode_png_16(samples)
    file = BytesIO()
    _picture(samples).save(file, "PNG", compress_level=_PNG_LEVEL)
    return file.getvalue()


def _picture(samples: Samples) -> Image.Image:
    return Image.fromarray(samples[:, :, 0] if samples.shape[2] == 1 else samples, _MODES[samples.shape[2]])


def _coloured(samples: Samples) -> Samples:
    """Gray as three equal channels, alpha behind them."""
    return np.concatenate([np.repeat(samples[:, :, :1], 3, 2), samples[:, :, 1:]], 2)


def _chunks(said: Metadata) -> list[Chunk]:
    chunks = [chunk for chunk in said.chunks if chunk[0] not in (b"sRGB", b"gAMA", b"cHRM") or said.icc is None]
    if said.icc is not None:
        chunks.append(icc_chunk(said.icc))
    is_told = said.icc is not None or any(kind == b"cICP" for kind, _ in chunks)
    if (
        said.cicp is not None and not is_told and 2 not in said.cicp and max(said.cicp) < 256
    ):  # a damaged AVIF says more
        chunks.append((b"cICP", bytes((*said.cicp, 0, 1))))
    if said.density is not None:
        chunks.append((b"pHYs", _physical(said.density)))
    if said.exif is not None:
        chunks.append((b"eXIf", said.exif))
    if said.xmp is not None:
        chunks.append(xmp_chunk(said.xmp))
    if said.iptc is not None:
        chunks.append(iptc_chunk(said.iptc))
    if said.comment is not None:
        chunks.append(text_chunk("Comment", said.comment))
    return chunks


def _physical(density: Density) -> bytes:
    per_metre = _METRES.get(density.unit)
    scale = per_metre or 1000  # a ratio, in whole numbers
    sides = (max(1, min(round(side * scale), 2**31 - 1)) for side in (density.x, density.y))
    return b"".join(side.to_bytes(4, "big") for side in sides) + bytes([per_metre is not None])


def _write_pnm(path: Path, samples: Samples) -> None:
    """PGM, PPM, or PFM for floats, whose rows go from the bottom up."""
    height, width, channels = samples.shape
    with path.open("wb") as file:
        if samples.dtype == np.float32:
            file.write(b"%s\n%d %d\n-1.0\n" % (b"Pf" if channels == 1 else b"PF", width, height))
            file.write(np.ascontiguousarray(samples[::-1], "<f4").data)
            return
        file.write(b"P%d\n%d %d\n%d\n" % (5 if channels == 1 else 6, width, height, np.iinfo(samples.dtype).max))
        file.write(samples.astype(samples.dtype.newbyteorder(">")).data)


def _write_by_pillow(path: Path, samples: Samples, encoding: Encoding) -> None:
    said, kind = encoding.metadata, encoding.kind
    if kind in ("webp", "avif") and samples.shape[2] == (1 if kind == "webp" else 2):
        samples = _coloured(samples)
    if kind == "webp" and samples.shape[2] == 2:
        samples = _coloured(samples)
    picture = _picture(samples)
    exif = b"" if said.exif is None else b"Exif\0\0" + said.exif
    dpi = _dpi(said.density)
    match kind:
        case "jpeg":
            extra = b"" if said.iptc is None else _app13(said.iptc)
            is_gray = samples.shape[2] == 1
            picture.save(
                path,
                "JPEG",
                quality=encoding.quality or JPEG_QUALITY,
                optimize=True,
                subsampling=-1 if is_gray else encoding.subsampling,
                icc_profile=said.icc,
                exif=exif,
                xmp=said.xmp or b"",
                comment=said.comment or b"",
                extra=extra,
                dpi=dpi or (0, 0),
            )
        case "webp":
            picture.save(
                path,
                "WEBP",
                quality=encoding.quality or (80 if encoding.is_lossless else WEBP_QUALITY),
                lossless=encoding.is_lossless,
                exact=encoding.is_lossless and not has_alpha(samples.shape[2]),
                method=4,
                icc_profile=said.icc or b"",
                exif=exif,
                xmp=said.xmp or b"",
            )
        case "avif":
            file = BytesIO()
            picture.save(
                file,
                "AVIF",
                quality=encoding.quality or AVIF_QUALITY,
                subsampling="4:0:0" if samples.shape[2] == 1 else encoding.subsampling,
                icc_profile=said.icc or b"",
                exif=exif,
                xmp=said.xmp or b"",
            )
            path.write_bytes(with_cicp(file.getvalue(), said))
        case "bmp":
            picture.save(path, "BMP", dpi=dpi or (96, 96))
        case "tga":
            picture.save(path, "TGA", compression="tga_rle")
        case _:
            raise ValueError(f"{kind} is not written")


def with_cicp(avif: bytes, said: Metadata) -> bytes:
    """The same AVIF with the primaries and transfer that the source told, which Pillow's encoder cannot be told."""
    at = avif.find(b"colrnclx")
    if said.cicp is None or said.icc is not None or at < 0:
        return avif
    told = b"".join(value.to_bytes(2, "big") for value in said.cicp)
    return avif[: at + 8] + told + avif[at + 12 :]


def _dpi(density: Density | None) -> tuple[float, float] | None:
    if density is None or density.unit == "none":
        return None
    scale = 2.54 if density.unit == "cm" else 1
    return density.x * scale, density.y * scale


def _app13(iptc: bytes) -> bytes:
    content = b"Photoshop 3.0\0" + photoshop_resource(iptc)
    return b"\xff\xed" + (len(content) + 2).to_bytes(2, "big") + content


def _apng(path: Path, pages: Iterator[RenderedPage], encoding: Encoding) -> None:
    write_apng(path, pages, loops=encoding.loops, chunks=_chunks(encoding.metadata))


def _gif(path: Path, pages: Iterator[RenderedPage], encoding: Encoding) -> None:
    write_gif(path, pages, loops=encoding.loops, comment=encoding.metadata.comment)


def _webp(path: Path, pages: Iterator[RenderedPage], encoding: Encoding) -> None:
    write_webp_frames(
        path,
        pages,
        loops=encoding.loops,
        quality=encoding.quality or (80 if encoding.is_lossless else WEBP_QUALITY),
        is_lossless=encoding.is_lossless,
        metadata=encoding.metadata,
    )


def _avif(path: Path, pages: Iterator[RenderedPage], encoding: Encoding) -> None:
    data = write_avif_frames(
        pages,
        quality=encoding.quality or AVIF_QUALITY,
        subsampling=encoding.subsampling,
        metadata=encoding.metadata,
    )
    path.write_bytes(with_cicp(data, encoding.metadata))


_WRITERS = {"png": _apng, "gif": _gif, "webp": _webp, "avif": _avif}
