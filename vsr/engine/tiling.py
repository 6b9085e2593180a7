"""How a frame is cut into overlapping windows of one size, and which part of each is kept."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One window along one axis: `start:stop` is read, `keep_start:keep_stop` of it is kept. Source pixels."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One tile: its rows and its columns."""

    rows: Span
    columns: Span


def spans(length: int, tile: int, overlap: int, multiple: int = 1) -> list[Span]:
    """Cover [0, length) with disjoint kept parts of nearly equal size, each read with `overlap` context.

    All windows have one size of at most `tile`, and start at a multiple of `multiple`, as `length` must be one.
    A window ends where the picture does, so that the network sees true borders only. All in source pixels.
    Raises ValueError when `tile` is not more than twice `overlap`, or `length` no multiple.
    """
    if length % multiple:
        raise ValueError(f"length = {length} is no multiple of {multiple}")
    units, context = length // multiple, -(-overlap // multiple)
    most = tile // multiple
    if units <= most:
        return [Span(start=0, stop=length, keep_start=0, keep_stop=length)]
    if most <= 2 * context:
        raise ValueError(f"tile = {tile} must be more than twice overlap = {overlap}, both in steps of {multiple}")
    count = -(-(units - 2 * context) // (most - 2 * context))
    window = -(-(units + 2 * context * (count - 1)) // count)
    starts = [i * (units - window) // (count - 1) for i in range(count)]
    # The border between two neighbours lies in the middle of what both read: `overlap` from either's edge.
    borders = [0, *((b + a + window) // 2 for a, b in pairwise(starts)), units]
    return [
        Span(
            start=start * multiple,
            stop=(start + window) * multiple,
            keep_start=borders[i] * multiple,
            keep_stop=borders[i + 1] * multiple,
        )
        for i, start in enumerate(starts)
    ]


def windows(height: int, width: int, tile: int, overlap: int, multiple: int = 1) -> Iterator[Window]:
    """All tiles of a picture, row by row. Sizes in source pixels; raises ValueError as `spans` does."""
    columns = spans(width, tile, overlap, multiple)
    for rows in spans(height, tile, overlap, multiple):
        for column in columns:
            yield Window(rows=rows, columns=column)


def halved(height: int, width: int, tile: int | None, overlap: int, multiple: int = 1) -> int | None:
    """The next smaller tile after `tile` ran out of memory, or None when none is left.

    `tile` None means the whole picture. A tile keeps at least 16 pixels of its own.
    """
    smallest = -(-(2 * overlap + 16) // multiple) * multiple
    current = max(height, width) if tile is None else min(tile, max(height, width))
    if current <= smallest:
        return None
    return max(smallest, current // 2 // multiple * multiple)
