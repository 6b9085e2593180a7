"""TIFF: every page at its own depth. tifffile reads the structure, and libtiff, through Pillow, what tifffile cannot.

Source: TIFF 6.0; Adobe Photoshop TIFF technical note 3 for floating point prediction.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags
from tifffile import TiffFile, TiffFileError, TiffPage

from vsr.errors import MediaError
from vsr.io.still import Density, Metadata, StillInfo, Unit
from vsr.io.still_pillow import DAMAGE, float_levels, opened, samples_of, upright
from vsr.io.tiff_segments import assembled, can_assemble
from vsr.picture import LEVELS_8, LEVELS_16, Levels, Page, Samples

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK = 0, 1, 2, 3, 5
_OTHER_COPIES = 1 | 4  # NewSubfileType: a smaller copy of another page, a mask
_ASSOCIATED, _UNASSOCIATED = 1, 2  # kinds of alpha among extra samples
_GEO = {33550, 33922, 34264, 34735, 34736, 34737}
# Tags that say how pixels lie, or that are carried by other ways; all others describe the picture.
_STRUCTURE = {*range(254, 269), *range(273, 285), *range(288, 298), 301, *range(317, 348), *range(529, 533)}
_STRUCTURE |= {700, 33723, 34377, 34675, *_GEO}


def inspect_tiff(path: Path) -> tuple[StillInfo, int]:
    """What a TIFF's directories tell, and the pixels of its largest page. Raises MediaError, or as DAMAGE has it."""
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    try:
        with TiffFile(path) as file:
            pages, left = _kept_pages(file)
            first = pages[0]
            turn = int(first.tags.valueof(274, 1))
            alpha, channels = _form(first)
            if len(first.extrasamples) > alpha:
                left.append("extra channels")
            if _GEO & set(first.tags.keys()):
                left.append("GeoTIFF keys")
            height, width = first.imagelength, first.imagewidth
            info = StillInfo(
                path=path,
                kind="tiff",
                format="TIFF",
                height=width if turn >= 5 else height,
                width=height if turn >= 5 else width,
                channels=channels,
                bits=_bits(first),
                is_float=first.sampleformat == 3,
                becomes_srgb=first.photometric in (5, 8, 9, 10),
                orientation=turn if 1 <= turn <= 8 else 1,
                pages=len(pages),
                is_lossless=first.compression not in (6, 7),
                metadata=_metadata(path, first),
                left_behind=tuple(left),
                notes=_notes(first),
            )
            return info, max(page.imagelength * page.imagewidth for page in pages)
    except TiffFileError as e:
        raise MediaError(f"{path}: cannot be read as a picture: {e}; give another file") from e


def read_tiff(info: StillInfo) -> Iterator[Page]:
    """The pages of a TIFF, upright. Raises MediaError, or as DAMAGE has it."""
    with TiffFile(info.path) as file:
        for page in _kept_pages(file)[0]:
            if _is_for_libtiff(info, page):
                samples, levels = _by_libtiff(info, page)
            else:
                samples, levels = _samples(file, page)
                samples = upright(samples, int(page.tags.valueof(274, 1)))
            yield Page(samples=samples, levels=levels)


def _kept_pages(file: TiffFile) -> tuple[list[TiffPage], list[str]]:
    """The pages that are pictures of their own, and what is left behind."""
    pages = [page for page in file.pages if isinstance(page, TiffPage) and page.imagewidth and page.imagelength]
    kept = [page for page in pages if not page.subfiletype & _OTHER_COPIES] or pages
    if not kept:
        raise TiffFileError("no page in it")
    left = []
    if len(kept) < len(pages) or any(page.subifds for page in kept):
        left.append("smaller copies and masks")
    return kept, left


def _form(page: TiffPage) -> tuple[bool, int]:
    """(whether there is alpha, channels as handed on)."""
    extras = tuple(int(extra) for extra in page.extrasamples)
    alpha = bool(extras) and extras[0] in (_ASSOCIATED, _UNASSOCIATED)
    channels = 1 if page.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) else 3
    return alpha, channels + alpha


def _bits(page: TiffPage) -> int:
    if page.photometric in (_PALETTE, 5, 8, 9, 10) or page.bitspersample <= 8:
        return 8 if page.photometric != _CMYK or page.bitspersample <= 8 or page.compression != 1 else 16
    return 16 if page.bitspersample <= 16 and page.sampleformat != 3 else 32


def _is_for_libtiff(info: StillInfo, page: TiffPage) -> bool:
    """Fax, JPEG, samples of odd depths, Lab, and CMYK that goes through a profile."""
    if page.photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK) or not can_assemble(page):
        return True
    return page.photometric == _CMYK and (page.bitspersample <= 8 or info.metadata.icc is not None)


def _samples(file: TiffFile, page: TiffPage) -> tuple[Samples, Levels]:
    """(h, w, c) samples of one page as it is stored."""
    stored = assembled(file, page)
    if page.photometric == _PALETTE:
        return _looked_up(stored, page), LEVELS_8
    samples, levels = _levelled(stored)
    if page.photometric == _CMYK:
        left = levels.white - samples[:, :, :3].astype(np.float32)
        black = levels.white - samples[:, :, 3:4].astype(np.float32)
        return np.rint(left * black / levels.white).astype(samples.dtype), levels
    has_alpha, channels = _form(page)
    samples = samples[:, :, :channels]
    if page.photometric == _WHITE_IS_ZERO:
        samples = samples.copy()
        samples[:, :, 0] = (levels.white + levels.black) - samples[:, :, 0]
    if has_alpha and int(page.extrasamples[0]) == _ASSOCIATED:
        samples = _straight(samples, levels)
    return samples, levels


def _levelled(stored: Samples) -> tuple[Samples, Levels]:
    kind = stored.dtype
    if kind == np.bool_:
        return stored.astype(np.uint8) * np.uint8(255), LEVELS_8
    if kind == np.uint8:
        return stored, LEVELS_8
    if kind == np.uint16:
        return stored, LEVELS_16
    if kind.kind == "f" or kind.itemsize > 4:
        return float_levels(stored.astype(np.float32))
    low, high = float(stored.min()), float(stored.max())
    wide = stored.astype(np.int16) if kind == np.int8 else stored
    return wide, Levels(dtype=wide.dtype, black=low, white=high if high > low else low + 1)


def _looked_up(stored: Samples, page: TiffPage) -> Samples:
    """Palette entries, of which files hold 16 bits and mean 8."""
    if page.colormap is None:
        raise MediaError("has a palette's indices and no palette")
    table = (np.asarray(page.colormap).T >> 8).astype(np.uint8)
    return table[stored[:, :, 0].astype(np.intp)]


def _straight(samples: Samples, levels: Levels) -> Samples:
    """Colours that were multiplied by alpha, divided again."""
    alpha = samples[:, :, -1:].astype(np.float32) / levels.white
    colour = samples[:, :, :-1] / np.where(alpha > 0, alpha, 1)
    if levels.dtype.kind != "f":
        colour = np.rint(colour.clip(0, levels.white))
    return np.concatenate([colour.astype(samples.dtype), samples[:, :, -1:]], 2)


def _by_libtiff(info: StillInfo, page: TiffPage) -> tuple[Samples, Levels]:
    """The same of what tifffile has no decoder for. Pillow turns it upright."""
    with opened(info.path) as picture:
        picture.seek(page.index)
        samples, levels = samples_of(picture, info.metadata.icc)
        if page.bitspersample == 12 and levels == LEVELS_16:
            samples = np.rint(samples.astype(np.float32) * np.float32(65535 / 4095)).astype(np.uint16)
        return samples, levels


def _notes(page: TiffPage) -> tuple[str, ...]:
    notes = []
    if page.photometric == _CMYK:
        how = "by its profile" if 34675 in page.tags else "without a profile, by the plain formula"
        notes.append(f"CMYK becomes sRGB, {how}")
        if page.bitspersample > 8 and 34675 in page.tags:
            notes.append("its 16 bits pass the profile as 8")
    elif page.photometric in (8, 9, 10):
        notes.append("Lab becomes sRGB, at 8 bits")
    return tuple(notes)


def _metadata(path: Path, page: TiffPage) -> Metadata:
    def held(tag: int) -> bytes | None:
        value = page.tags.valueof(tag)
        if isinstance(value, np.ndarray | tuple):  # IPTC is often stored as LONG
            kind = page.tags[tag].dtype
            return np.asarray(value, np.uint32 if kind == 4 else np.uint8).tobytes()
        return value if isinstance(value, bytes) and value else value.encode() if isinstance(value, str) else None

    return Metadata(
        icc=held(34675),
        exif=_exif(path),
        xmp=held(700),
        iptc=(held(33723) or b"").rstrip(b"\0") or None,
        density=_density(page),
    )


def _density(page: TiffPage) -> Density | None:
    x, y = (page.tags.valueof(tag) for tag in (282, 283))
    unit: Unit = {2: "inch", 3: "cm"}.get(int(page.tags.valueof(296, 2)), "none")  # pyright: ignore[reportAssignmentType]
    if not (x and y and x[0] and x[1] and y[0] and y[1]):
        return None
    return Density(x=x[0] / x[1], y=y[0] / y[1], unit=unit)


def _exif(path: Path) -> bytes | None:
    """The tags of the first page that describe the picture, as EXIF."""
    try:
        with opened(path) as picture:
            said = picture.getexif()
            for tag in [tag for tag in said if tag in _STRUCTURE]:
                del said[tag]
            said.get_ifd(ExifTags.IFD.Exif)
            return said.tobytes().removeprefix(b"Exif\0\0") if len(said) else None
    except DAMAGE:
        return None
