"""EXIF brought up to date in place, so that everything else in it, makers' notes too, stays where its offsets point.

Source: CIPA DC-008 (Exif 3.0) and TIFF 6.0, section 2.
"""

import struct
from dataclasses import dataclass

_WIDTH, _LENGTH, _ORIENTATION = 0x0100, 0x0101, 0x0112
_EXIF_IFD, _PIXEL_X, _PIXEL_Y = 0x8769, 0xA002, 0xA003
_THUMBNAIL_OFFSET, _THUMBNAIL_LENGTH = 0x0201, 0x0202
_SHORT, _LONG = 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    at: int  # of the entry, in bytes
    kind: int
    count: int


def renewed(exif: bytes, *, height: int, width: int) -> bytes | None:
    """The same EXIF for upright pixels of another size: orientation 1, the new size where one is told, no thumbnail.

    `exif` is a TIFF structure. None when it is none; damage behind its first directory is left as it is.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return None
    data = bytearray(exif)
    try:
        main, after = _directory(data, order, struct.unpack_from(f"{order}I", data, 4)[0])
        _set(data, order, main.get(_ORIENTATION), 1)
        _set(data, order, main.get(_WIDTH), width)
        _set(data, order, main.get(_LENGTH), height)
        if (pointer := main.get(_EXIF_IFD)) is not None:
            inner, _ = _directory(data, order, _value(data, order, pointer))
            _set(data, order, inner.get(_PIXEL_X), width)
            _set(data, order, inner.get(_PIXEL_Y), height)
        data = _without_thumbnail(data, order, after)
    except struct.error:  # cut off: what could be reached is mended
        pass
    return bytes(data)


def orientation(exif: bytes | None) -> int:
    """How stored pixels are turned, 1 to 8; 1 where nothing sensible is said."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get((exif or b"")[:4])
    if exif is None or order is None:
        return 1
    try:
        main, _ = _directory(exif, order, struct.unpack_from(f"{order}I", exif, 4)[0])
        found = main.get(_ORIENTATION)
        turn = 1 if found is None else _value(exif, order, found)
    except struct.error:
        return 1
    return turn if 1 <= turn <= 8 else 1


def _directory(data: bytes | bytearray, order: str, at: int) -> tuple[dict[int, _Field], int]:
    """The entries of a directory by tag, and where the pointer to the next one stands."""
    (count,) = struct.unpack_from(f"{order}H", data, at)
    found = {}
    for k in range(count):
        tag, kind, number = struct.unpack_from(f"{order}HHI", data, at + 2 + 12 * k)
        found.setdefault(tag, _Field(at=at + 2 + 12 * k, kind=kind, count=number))
    return found, at + 2 + 12 * count


def _value(data: bytes | bytearray, order: str, entry: _Field) -> int:
    return struct.unpack_from(f"{order}{'H' if entry.kind == _SHORT else 'I'}", data, entry.at + 8)[0]


def _set(data: bytearray, order: str, entry: _Field | None, value: int) -> None:
    """Write one number; as LONG where SHORT is too small, since both lie in the entry itself."""
    if entry is None or entry.kind not in (_SHORT, _LONG) or entry.count != 1:
        return
    if entry.kind == _SHORT and value < 1 << 16:
        struct.pack_into(f"{order}HH", data, entry.at + 8, value, 0)
    else:
        struct.pack_into(f"{order}H", data, entry.at + 2, _LONG)
        struct.pack_into(f"{order}I", data, entry.at + 8, value)


def _without_thumbnail(data: bytearray, order: str, pointer_at: int) -> bytearray:
    """Cut the chain to the second directory, and blank the small picture, which shows the old pixels."""
    (second,) = struct.unpack_from(f"{order}I", data, pointer_at)
    if not second:
        return data
    struct.pack_into(f"{order}I", data, pointer_at, 0)
    entries, _ = _directory(data, order, second)
    if _THUMBNAIL_OFFSET in entries and _THUMBNAIL_LENGTH in entries:
        start = _value(data, order, entries[_THUMBNAIL_OFFSET])
        stop = start + _value(data, order, entries[_THUMBNAIL_LENGTH])
        if second < start < stop <= len(data):
            if stop >= len(data) - 4:  # mostly it stands last
                return data[:start]
            data[start:stop] = bytes(stop - start)
    return data
