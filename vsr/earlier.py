"""What an earlier run of the same command chose for the machine: a later one takes it over, for equal results."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vsr.done import finished_with
from vsr.journal import begun, is_left
from vsr.record import differences


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What nobody ordered and memory and cores decided, though pixels depend on it."""

    tile: int | None  # source pixels; None is the whole picture
    batch: int  # frames
    threads: int  # of one worker
    encoder_threads: int


def earlier_choice(output: Path, first: Mapping[str, object]) -> Choice | None:
    """Of the run that was begun for this output, or that finished it; None where there was none.

    `first` is what the run at hand is bound to first, see `vsr.pinned.what_and_how`: one that was bound to anything
    else chose for another purpose.
    """
    record = begun(output)
    pinned = finished_with(output) if record is None else record.pinned
    if pinned is None or differences({name: pinned.get(name) for name in first}, first) is not None:
        return None
    return _choice(pinned)


def is_left_over(output: Path) -> bool:
    """Whether the output is an earlier run's own, which was stopped before it could clear up."""
    record = begun(output)
    return record is not None and record.named is not None and is_left(record.named, output)


def _choice(pinned: Mapping[str, object]) -> Choice | None:
    tile = pinned.get("tile")
    counts = [pinned.get(name) for name in ("batch", "threads", "encoder_threads")]
    if tile is not None and not _is_count(tile):
        return None
    if not all(map(_is_count, counts)):
        return None
    batch, threads, encoder_threads = (int(str(count)) for count in counts)
    return Choice(
        tile=None if tile is None else int(str(tile)), batch=batch, threads=threads, encoder_threads=encoder_threads
    )


def _is_count(value: object) -> bool:
    return type(value) is int and 0 < value < 1 << 31
