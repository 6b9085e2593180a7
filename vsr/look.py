"""What a frame looks like from afar, to hold an output's pictures against the source's without keeping either.

A frame shrunk to 16x16 pixels hardly changes when a network sharpens it, but a wrong matrix or range shifts its
colours, and where anything moves, the frame before or after is further away than the right one.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from vsr.engine.color import to_rgb
from vsr.engine.turn import turned
from vsr.frames import ColorSpec, FrameBatch, PixelLayout, Plane

Look = npt.NDArray[np.float32]  # (3, h, w) RGB in codes of 255, h and w at most SIDE

SIDE = 16
SAMPLED = 3  # frames at the beginning of each segment: the fewest that tell a shift by one from a change
_SHIFTED = 0.5  # times the difference at its own place: another frame this near is the one that is shown
_RECODED = 0.5  # the same for another reading of the colours
_VISIBLE = 0.75  # codes: a difference below says nothing
_WRONG = 24.0  # codes: a picture this far away is another one
_MATRICES = {1: "BT.709", 6: "BT.601", 9: "BT.2020"}


class LookTaker:
    """Takes the looks of each segment's first frames as they pass by."""

    def __init__(self, layout: PixelLayout, color: ColorSpec, turn: tuple[int, ...] | None) -> None:
        self._layout = layout
        self._color = color
        self._turn = turn
        self._taken: dict[int, list[Look]] = {}

    def watch(self, batches: Iterable[FrameBatch]) -> Iterator[FrameBatch]:
        """The same batches."""
        for batch in batches:
            if self._layout.has_alpha:  # the colours of what cannot be seen may change
                yield batch
                continue
            taken = self._taken.setdefault(batch.segment, [])
            for number in range(min(len(batch), SAMPLED - len(taken))):
                planes = [plane[number] for plane in batch.planes]
                small = shrunk(planes, self._layout, look_size(*planes[0].shape))
                taken.append(look_of(small, self._layout, self._color, self._turn))
            yield batch

    def hand_over(self, segment: int) -> tuple[bytes, ...]:
        """A segment's looks, each as bytes that `read_look` reads; they are not kept."""
        return tuple(np.rint(look).astype(np.uint8).tobytes() for look in self._taken.pop(segment, []))


def read_look(data: bytes, size: tuple[int, int]) -> Look:
    """A look of `size` (height, width) as it was before it became bytes, rounded. Raises ValueError for other sizes."""
    return np.frombuffer(data, np.uint8).reshape(3, *size).astype(np.float32)


def look_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) of the looks of a picture."""
    return min(height, SIDE), min(width, SIDE)


def shrunk(planes: Sequence[Plane], layout: PixelLayout, size: tuple[int, int]) -> tuple[Plane, ...]:
    """Planes (h, w) of a frame, averaged to a picture of `size`, which is no larger.

    Averages of code values are those of colours, since every matrix is linear.
    """
    sizes = layout.plane_sizes(*size)
    return tuple(_averaged(plane, *small) for plane, small in zip(planes, sizes, strict=True))


def look_of(
    planes: Sequence[Plane], layout: PixelLayout, color: ColorSpec, turn: tuple[int, ...] | None = None
) -> Look:
    """What shrunk planes look like; `turn` is a display matrix to carry out."""
    rgb = to_rgb([torch.from_numpy(plane[None]) for plane in planes], layout, color)
    if turn is not None:
        rgb = turned(rgb, turn)
    return (rgb[0] * 255).numpy()


def difference(one: Look, other: Look) -> float:
    """Mean over all pixels and channels, in codes of 255."""
    return float(np.abs(one - other).mean())


def judged(
    source: Sequence[Look], output: Sequence[Sequence[Plane]], layout: PixelLayout, color: ColorSpec
) -> Iterator[str]:
    """What is wrong with consecutive frames of an output: the source's looks, its own shrunk planes, as tagged."""
    shown = [look_of(planes, layout, color) for planes in output]
    straight = _mean(source, shown)
    if straight < _VISIBLE:
        return
    for name, moved, kept in (
        ("after", _mean(source[1:], shown[:-1]), _mean(source[:-1], shown[:-1])),
        ("before", _mean(source[:-1], shown[1:]), _mean(source[1:], shown[1:])),
    ):
        if kept >= _VISIBLE and moved < _SHIFTED * kept:
            yield f"shows the frame {name} the one that is due"
            return
    for other, said in _readings(layout, color):
        if _mean(source, [look_of(planes, layout, other) for planes in output]) < _RECODED * straight:
            yield f"has the colours of {said}, which it is not tagged with"
            return
    if straight > _WRONG:
        yield f"differs from the source by {straight:.0f} of 255 on average"


def _mean(some: Sequence[Look], others: Sequence[Look]) -> float:
    """Of the differences of pairs; infinite where there are none."""
    found = [difference(one, other) for one, other in zip(some, others, strict=True)]
    return sum(found) / len(found) if found else math.inf


def _readings(layout: PixelLayout, color: ColorSpec) -> Iterator[tuple[ColorSpec, str]]:
    """Other ways to read the same code values, and their names."""
    if layout.kind == "yuv":
        for matrix, name in _MATRICES.items():
            for full in (False, True):
                yield replace(color, matrix=matrix, full_range=full), f"{name} in {'full' if full else 'limited'} range"


def _averaged(plane: Plane, rows: int, columns: int) -> Plane:
    """(h, w) to (rows, columns), each the mean of its part, rounded."""
    height, width = plane.shape
    tops, lefts = np.arange(rows) * height // rows, np.arange(columns) * width // columns
    sums = np.add.reduceat(np.add.reduceat(plane, tops, axis=0, dtype=np.uint32), lefts, axis=1, dtype=np.uint64)
    counts = np.diff(tops, append=height)[:, None] * np.diff(lefts, append=width)[None, :]
    return ((sums + counts // 2) // counts).astype(plane.dtype)
