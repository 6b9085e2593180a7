"""Animations put together frame by frame: exact times, no frame merged with the next, one frame in memory.

Pillow compresses single frames; the files around them are written here, because Pillow's own merge equal frames, round
times to milliseconds and hold all frames. Sources: PNG third edition, section 11.3.6; GIF89a; the WebP container
specification (RFC 9649).
"""

import struct
from collections.abc import Iterable, Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import GifImagePlugin, Image

from vsr.io.png_chunks import SIGNATURE, Chunk, chunk, split, with_chunks
from vsr.io.still import Metadata
from vsr.picture import RenderedPage

Frame = npt.NDArray[np.uint8]  # (h, w, 4)
_LONGEST_DELAY = 65535
_GIF_COLOURS = 255  # one more is for what cannot be seen
_SEEN = 128  # alpha from which a pixel of a GIF is shown


def write_apng(path: Path, pages: Iterable[RenderedPage], *, loops: int | None, chunks: list[Chunk]) -> None:
    """An APNG; every frame replaces what changed. `loops` 0 is for ever; None says once."""
    number = count = 0
    with path.open("wb") as file:
        before: Frame | None = None
        for page in pages:
            frame = _rgba(page)
            left, top, right, bottom = _changed(before, frame)
            before = frame
            parts = split(_png(frame[top:bottom, left:right]))
            if not count:
                file.write(SIGNATURE)
                critical = [part for part in parts if part[0] == b"IHDR"]
                for kind, data in [*with_chunks(critical, []), (b"acTL", bytes(8)), *chunks]:
                    file.write(chunk(kind, data))
            delay = page.seconds.limit_denominator(_LONGEST_DELAY)
            if delay.numerator > _LONGEST_DELAY:
                delay = Fraction(min(round(delay), _LONGEST_DELAY))
            control = struct.pack(
                ">IIIIIHHBB",
                number,
                right - left,
                bottom - top,
                left,
                top,
                delay.numerator,
                delay.denominator,
                0,  # the frame stays
                0,  # and replaces what was there, alpha and all
            )
            file.write(chunk(b"fcTL", control))
            number += 1
            for data in (data for kind, data in parts if kind == b"IDAT"):
                if count:
                    file.write(chunk(b"fdAT", number.to_bytes(4, "big") + data))
                    number += 1
                else:
                    file.write(chunk(b"IDAT", data))
            count += 1
        file.write(chunk(b"IEND", b""))
        file.seek(len(SIGNATURE) + 25)  # behind IHDR
        file.write(chunk(b"acTL", struct.pack(">II", count, 1 if loops is None else loops)))


def write_webp_frames(
    path: Path,
    pages: Iterable[RenderedPage],
    *,
    loops: int | None,
    quality: int,
    is_lossless: bool,
    metadata: Metadata,
) -> None:
    """An animated WebP; times in whole milliseconds. `loops` 0 is for ever; None says once."""
    with path.open("wb") as file:
        before: Frame | None = None
        size, seen_alpha, clock = (0, 0), False, Fraction(0)
        for page in pages:
            frame = _rgba(page)
            if before is None:
                size = (page.height, page.width)
                file.write(b"RIFF\0\0\0\0WEBP" + _riff(b"VP8X", bytes(10)))
                if metadata.icc is not None:
                    file.write(_riff(b"ICCP", metadata.icc))
                file.write(_riff(b"ANIM", bytes(4) + (1 if loops is None else loops).to_bytes(2, "little")))
            left, top, right, bottom = _changed(before, frame, grid=2)
            before = frame
            part = frame[top:bottom, left:right]
            seen_alpha = seen_alpha or bool((part[:, :, 3] < 255).any())
            milliseconds = round((clock + page.seconds) * 1000) - round(clock * 1000)
            clock += page.seconds
            places = (left // 2, top // 2, right - left - 1, bottom - top - 1, min(milliseconds, (1 << 24) - 1))
            head = b"".join(value.to_bytes(3, "little") for value in places) + b"\x02"  # do not blend, do not dispose
            file.write(_riff(b"ANMF", head + _webp_bitstream(part, quality, is_lossless)))
        if metadata.exif is not None:
            file.write(_riff(b"EXIF", metadata.exif))
        if metadata.xmp is not None:
            file.write(_riff(b"XMP ", metadata.xmp))
        length = file.tell()
        flags = 0x02 | 0x10 * seen_alpha | 0x20 * (metadata.icc is not None)
        flags |= 0x08 * (metadata.exif is not None) | 0x04 * (metadata.xmp is not None)
        sides = b"".join((side - 1).to_bytes(3, "little") for side in reversed(size))
        file.seek(0)
        file.write(b"RIFF" + (length - 8).to_bytes(4, "little") + b"WEBP")
        file.write(_riff(b"VP8X", bytes([flags, 0, 0, 0]) + sides))


def write_gif(path: Path, pages: Iterator[RenderedPage], *, loops: int | None, comment: bytes | None) -> None:
    """A GIF, of one frame or more: each with a palette of its own, alpha on or off. `loops` None says nothing.

    Times are hundredths of a second; rounding does not add up.
    """
    clock = Fraction(0)
    with path.open("wb") as file:
        for number, page in enumerate(pages):
            frame = _rgba(page)
            if not number:
                file.write(b"GIF89a" + struct.pack("<HHBBB", page.width, page.height, 0x70, 0, 0))
                if loops is not None:
                    file.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01" + loops.to_bytes(2, "little") + b"\0")
                if comment is not None:
                    blocks = [comment[at : at + 255] for at in range(0, len(comment), 255)]
                    file.write(b"\x21\xfe" + b"".join(bytes([len(b)]) + b for b in blocks) + b"\0")
            hundredths = round((clock + page.seconds) * 100) - round(clock * 100)
            clock += page.seconds
            indexed, is_open = _indexed(frame)
            # The whole frame each time, and the canvas cleared after it: what cannot be seen shows nothing older.
            flags = (2 if is_open else 1) << 2 | is_open
            file.write(b"\x21\xf9\x04" + struct.pack("<BHBB", flags, min(hundredths, 65535), _GIF_COLOURS, 0))
            for block in GifImagePlugin.getdata(indexed, include_color_table=True):
                file.write(block)
        file.write(b"\x3b")


def write_avif_frames(pages: Iterable[RenderedPage], *, quality: int, subsampling: str, metadata: Metadata) -> bytes:
    """An animated AVIF; times in whole milliseconds. It repeats for ever: libavif is not told otherwise."""
    pictures, durations, clock = [], [], Fraction(0)
    for page in pages:
        pictures.append(Image.fromarray(_rgba(page)))
        durations.append(round((clock + page.seconds) * 1000) - round(clock * 1000))
        clock += page.seconds
    file = BytesIO()
    pictures[0].save(
        file,
        "AVIF",
        save_all=True,
        append_images=pictures[1:],
        duration=durations,
        quality=quality,
        subsampling=subsampling,
        icc_profile=metadata.icc or b"",
        exif=b"" if metadata.exif is None else b"Exif\0\0" + metadata.exif,
        xmp=metadata.xmp or b"",
    )
    return file.getvalue()


def _rgba(page: RenderedPage) -> Frame:
    """The page as (h, w, 4) 8-bit."""
    samples = page.whole().astype(np.uint8, copy=False)
    if samples.shape[2] < 3:
        samples = np.concatenate([np.repeat(samples[:, :, :1], 3, 2), samples[:, :, 1:]], 2)
    if samples.shape[2] == 3:
        samples = np.concatenate([samples, np.full_like(samples[:, :, :1], 255)], 2)
    return samples


def _changed(before: Frame | None, frame: Frame, grid: int = 1) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of what is new, left and top on a grid; at least one pixel."""
    height, width = frame.shape[:2]
    if before is None:
        return 0, 0, width, height
    differs = (before != frame).any(2)
    rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
    if not len(rows):
        return 0, 0, 1, 1
    left, top = (int(found[0]) // grid * grid for found in (columns, rows))
    return left, top, int(columns[-1]) + 1, int(rows[-1]) + 1


def _png(frame: Frame) -> bytes:
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(frame)).save(file, "PNG", compress_level=6)
    return file.getvalue()


def _riff(kind: bytes, data: bytes) -> bytes:
    return kind + len(data).to_bytes(4, "little") + data + b"\0" * (len(data) % 2)


def _webp_bitstream(frame: Frame, quality: int, is_lossless: bool) -> bytes:
    """The chunks of a frame's pixels, out of a WebP of its own."""
    picture = Image.fromarray(np.ascontiguousarray(frame))
    file = BytesIO()
    opaque = picture.convert("RGB") if bool((frame[:, :, 3] == 255).all()) else picture
    opaque.save(file, "WEBP", quality=quality, lossless=is_lossless, method=4)
    data, at, kept = file.getvalue(), 12, b""
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        whole = data[at : at + 8 + length + length % 2]
        if whole[:4] in (b"ALPH", b"VP8 ", b"VP8L"):
            kept += whole
        at += len(whole)
    return kept


def _indexed(frame: Frame) -> tuple[Image.Image, bool]:
    """The frame with a palette, and whether anything in it is transparent, which then has the last index."""
    colour = Image.fromarray(np.ascontiguousarray(frame[:, :, :3]))
    hidden = frame[:, :, 3] < _SEEN
    if hidden.any():  # its colours must not take places in the palette
        seen = frame[:, :, :3][~hidden]
        filler = seen[0] if len(seen) else np.zeros(3, np.uint8)
        colour = Image.fromarray(np.where(hidden[:, :, None], filler, frame[:, :, :3]))
    indexed = colour.quantize(_GIF_COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    indices = np.where(hidden, _GIF_COLOURS, np.asarray(indexed)).astype(np.uint8)
    table = (indexed.getpalette() or [])[: 3 * _GIF_COLOURS]
    result = Image.fromarray(indices, "P")
    result.putpalette([*table, *[0] * (768 - len(table))])
    return result, bool(hidden.any())
