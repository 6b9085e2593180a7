"""What PyAV cannot have its Matroska muxer say: that pixels are not square.

The muxer takes it from a field that PyAV 18 never sets. So the track is written under a title that is too long, then
its entry is written anew in the same place: the true title, the display size, a filler. Elements are RFC 9559's.
"""

import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from vsr.errors import MediaError

_SEGMENT, _CLUSTER, _TRACKS, _TRACK_ENTRY = 0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE
_NAME, _VIDEO, _VOID, _CRC = 0x536E, 0xE0, 0xEC, 0xBF
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2
_PIXELS, _SHAPE = 0, 3  # units of a display size: pixels, or only a ratio
_ROOM = " (the shape of its pixels)"  # becomes the display size


def roomy_title(title: str) -> str:
    """A title that leaves room for a display size."""
    return title + _ROOM


def declare_aspect(path: Path, *, title: str, size: tuple[int, int], aspect: Fraction) -> None:
    """Write the shape of pixels into a finished file, for the track that is called `roomy_title(title)`.

    `size` is (height, width) as stored. Raises MediaError when there is no such track.
    """
    with path.open("r+b") as file:
        begin, tracks = _read_tracks(file)
        for number, start, end in _elements(tracks):
            if number == _TRACK_ENTRY and _find(tracks[start:end], _NAME) == roomy_title(title).encode():
                entry = _changed_entry(tracks[start:end], title, size, aspect)
                file.seek(begin)
                file.write(_with_crc(tracks[:start] + entry + tracks[end:]))
                return
    raise MediaError(f"{path}: its track of pictures is not found again; please report this")


def _changed_entry(entry: bytes, title: str, size: tuple[int, int], aspect: Fraction) -> bytes:
    """A track's elements with its true title and display size, at the same length."""
    (height, width), unit = size, _PIXELS
    shown = width * aspect
    if shown.denominator != 1:  # no whole pixels: the exact ratio of its sides
        shown, height, unit = Fraction((shown / height).numerator), (shown / height).denominator, _SHAPE
    parts: list[bytes] = []
    for number, start, end in _elements(entry):
        if number == _VIDEO:
            said = [
                _element(kind, entry[start:end][first:last])
                for kind, first, last in _elements(entry[start:end])
                if kind not in (_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT)
            ]
            said += [_element(_DISPLAY_WIDTH, _number(int(shown))), _element(_DISPLAY_HEIGHT, _number(height))]
            said.append(_element(_DISPLAY_UNIT, _number(unit)))
            parts.append(_element(_VIDEO, b"".join(said)))
        elif number == _NAME:
            parts += [_element(_NAME, title.encode())] if title else []
        else:
            parts.append(_element(number, entry[start:end]))
    changed = b"".join(parts)
    room = len(entry) - len(changed)
    header = 2 if room < 2 + 127 else 3
    return changed + _element(_VOID, bytes(room - header), width=header - 1)


def _read_tracks(file: BinaryIO) -> tuple[int, bytes]:
    """Where the contents of the Tracks element begin, and what they are."""
    file.seek(0)
    while True:
        at = file.tell()
        head = file.read(12)
        if len(head) < 12:
            raise MediaError(f"{file.name}: has no tracks; please report this")
        number, start, length = _header(head, 0)
        if number == _TRACKS:
            file.seek(at + start)
            return at + start, file.read(length)
        file.seek(at + start + (0 if number == _SEGMENT else length))


def _elements(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Each element's identifier, and where its contents begin and end."""
    at = 0
    while at < len(data):
        number, start, length = _header(data, at)
        at = start + length
        yield number, start, at


def _header(data: bytes, at: int) -> tuple[int, int, int]:
    """An element's identifier, where its contents begin, and their length."""
    own = 9 - data[at].bit_length()  # leading zero bits tell how many bytes there are
    start = at + own
    wide = 9 - data[start].bit_length()
    length = int.from_bytes(data[start : start + wide], "big") & ((1 << 7 * wide) - 1)
    return int.from_bytes(data[at:start], "big"), start + wide, length


def _find(data: bytes, wanted: int) -> bytes | None:
    return next((data[start:end] for number, start, end in _elements(data) if number == wanted), None)


def _element(number: int, contents: bytes, *, width: int | None = None) -> bytes:
    """An element, its length in `width` bytes or as few as it takes; all ones would mean that it is not known."""
    wide = width or next(n for n in range(1, 9) if len(contents) < (1 << 7 * n) - 1)
    own = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return own + (len(contents) | 1 << 7 * wide).to_bytes(wide, "big") + contents


def _number(value: int) -> bytes:
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")


def _with_crc(tracks: bytes) -> bytes:
    """The same with its check sum made right, where it has one: the first element, of all that follow."""
    number, start, end = next(_elements(tracks))
    if number != _CRC:
        return tracks
    return tracks[:start] + zlib.crc32(tracks[end:]).to_bytes(4, "little") + tracks[end:]
