"""Strips and tiles of a TIFF put together, at any depth of whole bytes.

tifffile decodes few compressions without a further library. libtiff, inside Pillow, decodes them all but hands out 8
bits of colour; so it is asked for bytes: each segment is shown to it as one row of 8-bit gray.
"""

import io
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import tifffile
from PIL import Image
from tifffile import TiffFile, TiffPage

from vsr.errors import MediaError
from vsr.picture import Samples

_NONE, _LZW, _DEFLATE, _OLD_DEFLATE, _PACKBITS, _LZMA, _ZSTD = 1, 5, 8, 32946, 32773, 34925, 50000
_BY_TIFFFILE = (_NONE, _DEFLATE, _OLD_DEFLATE, _LZMA)
_BY_LIBTIFF = (_LZW, _PACKBITS, _ZSTD)
_PLAIN, _DIFFERENCES, _FLOAT = 1, 2, 3
_LONG, _SHORT = 4, 3


def can_assemble(page: TiffPage) -> bool:
    """Whether `assembled` reads this page."""
    if page.compression in _BY_TIFFFILE and page.predictor in (_PLAIN, _DIFFERENCES):
        return page.bitspersample in (1, 8, 16, 32, 64)
    known = page.compression in (*_BY_TIFFFILE, *_BY_LIBTIFF) and page.predictor in (_PLAIN, _DIFFERENCES, _FLOAT)
    return known and page.bitspersample in (8, 16, 32, 64) and page.imagedepth == 1


def assembled(file: TiffFile, page: TiffPage) -> Samples:
    """The page's samples as stored, (h, w, samples). Raises MediaError for damage, or as tifffile and Pillow do."""
    shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
    if page.compression in _BY_TIFFFILE and page.predictor in (_PLAIN, _DIFFERENCES):
        with _damage():
            stored = page.asarray()
        if page.planarconfig == 2 and page.samplesperpixel > 1:
            stored = np.moveaxis(stored.reshape(shape[2], *shape[:2]), 0, 2)
        return stored.reshape(shape)
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    samples = page.samplesperpixel // planes
    whole = np.zeros((planes, *shape[:2], samples), page.dtype)
    for plane, top, left, segment in _segments(file, page, planes, samples):
        part = whole[plane, top : top + segment.shape[0], left : left + segment.shape[1]]
        part[:] = segment[: part.shape[0], : part.shape[1]]
    return np.moveaxis(whole[..., 0], 0, 2) if planes > 1 else whole[0]


def _segments(file: TiffFile, page: TiffPage, planes: int, samples: int) -> Iterator[tuple[int, int, int, Samples]]:
    """(plane, top, left, samples) of each strip or tile."""
    assert page.dtype is not None
    height = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
    width = page.tilewidth if page.is_tiled else page.imagewidth
    down, across = math.ceil(page.imagelength / height), math.ceil(page.imagewidth / width)
    if len(page.dataoffsets) < planes * down * across:
        raise MediaError("has fewer strips than its size asks for")
    kind = page.dtype.newbyteorder(file.byteorder)
    for index in range(planes * down * across):
        plane, place = divmod(index, down * across)
        top, left = (place // across) * height, (place % across) * width
        rows = height if page.is_tiled else min(height, page.imagelength - top)
        shape = (rows, width, samples)
        file.filehandle.seek(page.dataoffsets[index])
        packed = file.filehandle.read(page.databytecounts[index])
        raw = _unpacked(packed, page.compression, math.prod(shape) * kind.itemsize)
        yield plane, top, left, _unpredicted(raw, shape, kind, page.predictor)


def _unpacked(packed: bytes, compression: int, size: int) -> bytes:
    if compression in _BY_TIFFFILE:
        with _damage():
            return bytes(tifffile.TIFF.DECOMPRESSORS[compression](packed, out=size))
    entries = (  # (tag, type, value); offsets and lengths fit into the entries themselves
        (256, _LONG, size),
        (257, _LONG, 1),
        (258, _SHORT, 8),
        (259, _SHORT, compression),
        (262, _SHORT, 1),
        (273, _LONG, 8 + 2 + 12 * 9 + 4),
        (277, _SHORT, 1),
        (278, _LONG, 1),
        (279, _LONG, len(packed)),
    )
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    carrier = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + packed
    with Image.open(io.BytesIO(carrier)) as picture:
        return picture.tobytes()


@contextmanager
def _damage() -> Iterator[None]:
    """What a decoder raises for bytes that are not its own: each has an error of its own, zlib.error for one."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as e:
        raise MediaError(f"is damaged: {e}") from e


def _unpredicted(raw: bytes, shape: tuple[int, int, int], kind: np.dtype[np.generic], predictor: int) -> Samples:
    if predictor == _FLOAT:  # bytes of a row by significance, highest first, each the difference to the one before
        rows, width, samples = shape
        steps = np.frombuffer(raw, np.uint8).reshape(rows, width * kind.itemsize, samples)
        by_weight = np.cumsum(steps, 1, dtype=np.uint8).reshape(rows, kind.itemsize, width * samples)
        values = np.ascontiguousarray(by_weight.transpose(0, 2, 1)).view(kind.newbyteorder(">"))
        return values.reshape(shape).astype(kind.newbyteorder("="))
    values = np.frombuffer(raw, kind).reshape(shape).astype(kind.newbyteorder("="))
    return np.cumsum(values, 1, dtype=values.dtype) if predictor == _DIFFERENCES else values
