"""TIFF in strips, as they come, so that memory holds no picture; then the directories of EXIF behind them."""

import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tifffile
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from vsr.io.still import Metadata
from vsr.picture import RenderedPage, Samples, has_alpha

_STRIP_BYTES = 1 << 20
_LEVEL = 6  # of deflate
_CLASSIC_BYTES = 4_000_000_000  # a TIFF of more needs offsets of 64 bits
_ICC, _XMP, _IPTC, _EXIF_IFD, _GPS_IFD = 34675, 700, 33723, 34665, 34853
_ASCII, _BYTE, _LONG, _UNDEFINED, _LONG8 = 2, 1, 4, 7, 16
_UNITS = {"inch": 2, "cm": 3, "none": 1}
_OWN = {256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 282, 283, 284, 296, 317, 338, 339, _ICC, _XMP, _IPTC}


def write_tiff(path: Path, pages: Iterable[RenderedPage], metadata: Metadata) -> None:
    """Write pages as deflated strips, differences predicted but for floats; metadata goes to the first."""
    held = iter(pages)
    first = next(held)
    size = first.height * first.width * first.channels * first.levels.dtype.itemsize
    with tifffile.TiffWriter(path, bigtiff=size > _CLASSIC_BYTES) as file:
        _write_page(file, first, metadata, tags=_described(metadata), icc=metadata.icc)
        for page in held:
            _write_page(file, page, metadata, tags=[], icc=metadata.icc)
    if metadata.exif is not None:
        _append_directories(path, metadata.exif)


def _write_page(
    file: tifffile.TiffWriter,
    page: RenderedPage,
    metadata: Metadata,
    *,
    tags: list[tuple[int, int, int, bytes | str | int, bool]],
    icc: bytes | None,
) -> None:
    row = page.width * page.channels * page.levels.dtype.itemsize
    rows = max(1, min(page.height, _STRIP_BYTES // row))
    density = metadata.density
    is_predicted = page.levels.dtype.kind != "f"
    shape = (page.height, page.width, page.channels)
    file.write(
        _strips(page.bands, rows, is_predicted=is_predicted),
        shape=shape if page.channels > 1 else shape[:2],
        dtype=page.levels.dtype,
        photometric="rgb" if page.channels >= 3 else "minisblack",
        planarconfig="contig" if page.channels > 1 else None,
        extrasamples=["unassalpha"] if has_alpha(page.channels) else None,
        compression="adobe_deflate",
        predictor=is_predicted,
        rowsperstrip=rows,
        iccprofile=icc,
        resolution=None if density is None else (density.x, density.y),
        resolutionunit=None if density is None else _UNITS[density.unit],
        metadata=None,
        software=False,
        extratags=tags,
    )


def _strips(bands: Iterator[Samples], rows: int, *, is_predicted: bool) -> Iterator[bytes]:
    """Bands of any height as deflated strips of `rows`, the last one as high as what is left.

    tifffile takes strips one by one only when they are packed already.
    """
    rest: Samples | None = None
    for band in bands:
        whole = band if rest is None else np.concatenate([rest, band])
        stop = len(whole) - len(whole) % rows
        for top in range(0, stop, rows):
            yield _packed(whole[top : top + rows], is_predicted)
        rest = whole[stop:].copy() if stop < len(whole) else None
    if rest is not None:
        yield _packed(rest, is_predicted)


def _packed(strip: Samples, is_predicted: bool) -> bytes:
    steps = np.ascontiguousarray(strip)
    if is_predicted:  # each sample as its difference to the one before it in the row, which wraps around
        steps = np.concatenate([strip[:, :1], strip[:, 1:] - strip[:, :-1]], 1)
    return zlib.compress(steps.tobytes(), _LEVEL)


def _described(metadata: Metadata) -> list[tuple[int, int, int, bytes | str | int, bool]]:
    """What tifffile does not write by itself: (tag, type, count, value, on the first page only)."""
    tags: list[tuple[int, int, int, bytes | str | int, bool]] = []
    if metadata.xmp is not None:
        tags.append((_XMP, _BYTE, len(metadata.xmp), metadata.xmp, True))
    if metadata.iptc is not None:
        tags.append((_IPTC, _UNDEFINED, len(metadata.iptc), metadata.iptc, True))
    if metadata.exif is None:
        return tags
    said = Image.Exif()
    said.load(metadata.exif)
    for tag, value in said.items():
        if tag in (_EXIF_IFD, _GPS_IFD):
            tags.append((tag - 1, _LONG, 1, 0, True))  # tifffile takes no pointers; see _append_directories
        elif tag not in _OWN and isinstance(value, str):
            text = value.encode("utf-8").rstrip(b"\0") + b"\0"
            tags.append((tag, _ASCII, len(text), text, True))
        elif tag not in _OWN and isinstance(value, bytes) and value:
            tags.append((tag, _BYTE, len(value), value, True))
    return tags


def _append_directories(path: Path, exif: bytes) -> None:
    """Write the directories of EXIF and of places behind the file, and have its first directory point there.

    The entries that point there were written under the numbers before theirs, which no tag has.
    """
    said = Image.Exif()
    said.load(exif)
    with path.open("r+b") as file:
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        is_big = 43 in head[2:4]
        for pointer in (_EXIF_IFD, _GPS_IFD):
            entries = said.get_ifd(pointer)
            if not entries:
                continue
            place = _entry(file, order, pointer - 1, is_big=is_big)
            start = file.seek(0, 2)
            start += start % 2
            file.seek(start)
            directory = ImageFileDirectory_v2(head[: 16 if is_big else 8], group=pointer)
            for tag, value in entries.items():
                directory[tag] = value
            if pointer == _EXIF_IFD and ExifTags.IFD.Interop in directory:
                del directory[ExifTags.IFD.Interop]
            file.write(directory.tobytes(start))
            file.seek(place)
            file.write(
                struct.pack(f"{order}HH{'QQ' if is_big else 'II'}", pointer, _LONG8 if is_big else _LONG, 1, start)
            )


def _entry(file: BinaryIO, order: str, tag: int, *, is_big: bool) -> int:
    """Where the first directory's entry for a tag stands."""
    offset, count, length = ("Q", "Q", 20) if is_big else ("I", "H", 12)
    file.seek(8 if is_big else 4)
    (at,) = struct.unpack(f"{order}{offset}", file.read(struct.calcsize(offset)))
    file.seek(at)
    (entries,) = struct.unpack(f"{order}{count}", file.read(struct.calcsize(count)))
    for index in range(entries):
        (found,) = struct.unpack(f"{order}H", file.read(length)[:2])
        if found == tag:
            return at + struct.calcsize(count) + length * index
    raise ValueError(f"the TIFF has no tag {tag}")
