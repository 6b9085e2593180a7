"""What a journal says, line by line: read from JSON that a crash, a disk or a stranger may have damaged.

Each line bears its own CRC-32, so that one whose times have changed is no line, as one whose segment has changed.
"""

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from vsr.frames import Place, Tally

VERSION = 3
_SEAL = b',"crc32":'
_SAME_WHEREVER_IT_LIES = "source path"
_MOST_NAMED = 4  # differences that one line names


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentLine:
    """One finished segment."""

    index: int
    after: int  # index of the segment before it, -1 for none: an index without frames has no segment
    size: int  # bytes of its file
    digest: str  # BLAKE2b of its file
    pts: tuple[int, ...]  # in display order, in ticks of the source's time base
    last_crc: int  # CRC-32 of the last source frame as decoded: where a resumed run must find itself
    tally: Tally  # of the source, up to the segment's end
    tile: int | None = None  # source pixels, by then: out of memory halves it
    looks: tuple[bytes, ...] = ()  # of the source's first frames, as vsr.look has them

    @property
    def place(self) -> Place:
        """Where the source has to go on after it."""
        return Place(pts=self.pts, crc=self.last_crc, tally=self.tally)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What decoding found, once it came to the end."""

    frames: int  # of the whole output
    lost: int  # frames that the source should hold and that did not come out
    damage: tuple[str, ...]  # a line for each place
    notes: tuple[str, ...]
    reason: str | None  # what libav said first of what it could not read


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A file that was joined and checked, and was about to get its name."""

    size: int
    mtime_ns: int
    frames: int
    lost: int
    damaged_places: int  # of picture and sound


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Segments that are still to be made: those after `after`, up to the one with the index `until`."""

    after: SegmentLine | None  # None is from the beginning
    until: int | None  # None is to the end


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """All that a journal says. Later lines go before earlier ones."""

    pinned: Mapping[str, object] | None  # None where the first line is damaged, or of another version
    segments: tuple[SegmentLine, ...]  # in order
    ending: Ending | None
    named: Named | None
    length: int  # bytes up to the end of the last whole line


def read_record(path: Path) -> Record | None:
    """What a journal says; None where there is none, or where not even its first line is whole. Raises OSError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    *whole, rest = data.split(b"\n")
    if not whole:
        return None
    first, *entries = map(_entry, whole)
    pinned = first.get("pinned")
    segments: dict[int, SegmentLine] = {}
    ending, named = None, None
    for entry in entries:
        line = _segment_line(entry)
        if line is not None:
            segments[line.index] = line
        ending = _ending(entry.get("end")) or ending
        named = _named(entry.get("named")) or named
    return Record(
        pinned=pinned if first.get("vsr") == VERSION and isinstance(pinned, dict) else None,
        segments=tuple(segments[index] for index in sorted(segments)),
        ending=ending,
        named=named,
        length=len(data) - len(rest),
    )


def segment_entry(line: SegmentLine) -> dict[str, object]:
    """A segment as a journal says it."""
    values = asdict(line)
    values["looks"] = [b64encode(look).decode("ascii") for look in line.looks]
    return {"segment": values.pop("index"), **values}


def differences(before: Mapping[str, object], now: Mapping[str, object]) -> str | None:
    """What a run is begun with and what it is told now, where that is not the same; in words, None where it is."""
    old, new = dict(_flat(before)), dict(_flat(json.loads(json.dumps(now))))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name) and name != _SAME_WHEREVER_IT_LIES]
    if not names:
        return None
    if any(name.startswith("source ") for name in names):
        return "another source, or the source has changed since"
    said = [f"{name} = {old.get(name)}, not {new.get(name)}" for name in names[:_MOST_NAMED]]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return "; ".join(said) + more


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Names and values, those of inner mappings too."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key} ")
        else:
            yield f"{prefix}{key}", value


def sealed(values: Mapping[str, object]) -> bytes:
    """One line of a journal: JSON, and last in it the CRC-32 of what it is without."""
    text = json.dumps(values, separators=(",", ":")).encode("ascii")
    return text[:-1] + _SEAL + str(zlib.crc32(text)).encode("ascii") + b"}\n"


def _entry(line: bytes) -> dict[str, object]:
    """One line; empty where it cannot be read, or is not what was written."""
    text, _, seal = line.rpartition(_SEAL)
    if seal != str(zlib.crc32(text + b"}")).encode("ascii") + b"}":
        return {}
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _segment_line(entry: Mapping[str, object]) -> SegmentLine | None:
    if "segment" not in entry:
        return None
    try:
        tally, tile, pts = entry["tally"], entry["tile"], entry["pts"]
        if not isinstance(tally, dict) or not isinstance(pts, list) or not pts:
            return None
        line = SegmentLine(
            index=_whole(entry["segment"]),
            after=_whole(entry["after"]),
            size=_whole(entry["size"]),
            digest=str(entry["digest"]),
            pts=tuple(map(_whole, pts)),
            last_crc=_whole(entry["last_crc"]),
            tally=_tally(tally),
            tile=None if tile is None else max(1, _whole(tile)),
            looks=tuple(b64decode(look, validate=True) for look in _texts(entry["looks"])),
        )
    except (KeyError, TypeError, ValueError):
        return None
    is_rising = all(before < after for before, after in zip(line.pts, line.pts[1:], strict=False))
    return line if is_rising and -1 <= line.after < line.index else None


def _ending(found: object) -> Ending | None:
    if not isinstance(found, dict):
        return None
    try:
        return Ending(
            frames=_whole(found["frames"]),
            lost=_whole(found["lost"]),
            damage=_texts(found["damage"]),
            notes=_texts(found["notes"]),
            reason=None if found["reason"] is None else str(found["reason"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _named(found: object) -> Named | None:
    if not isinstance(found, dict):
        return None
    try:
        return Named(**{field.name: _whole(found[field.name]) for field in fields(Named)})
    except (KeyError, ValueError):
        return None


def _whole(value: object) -> int:
    if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
        raise ValueError(value)
    return value


def _tally(found: Mapping[str, object]) -> Tally:
    counts = {field.name: _whole(found[field.name]) for field in fields(Tally) if field.name != "counted_to"}
    counted_to = found["counted_to"]
    return Tally(**counts, counted_to=None if counted_to is None else _whole(counted_to))


def _texts(values: object) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError(values)
    return tuple(str(value) for value in values)
