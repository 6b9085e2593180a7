"""What frames look like from afar, to hold an output's pictures against the source's without keeping either.

A frame shrunk to 16x16 pixels hardly changes when a network sharpens it, but a wrong matrix or range shifts its
colours, and where anything moves, the frame before or after is further away than the right one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from vsr.engine.color import to_rgb
from vsr.engine.turn import turned
from vsr.frames import ColorSpec, FrameBatch, PixelLayout, Plane

Looks = npt.NDArray[np.float32]  # (n, 3, h, w) RGB in codes of 255, h and w at most SIDE

SIDE = 16
SAMPLED = 3  # frames at the beginning of each segment: the fewest that tell a shift by one from a change
_MOVED = 0.5  # times the difference at its own place: the frame beside is this near only if it is the one shown
_SEEN = 1.0  # codes by which shapes differ on average, below which a shift of several frames is not looked for
_SEEN_ONCE = 3.0  # the same for one frame alone
_RECODED = 0.5  # times the difference as tagged: another reading of the colours that is this near is the right one
_TINGED = 1.5  # codes over the whole file, below which readings are not told apart: networks shift colours by one
_WRONG = 24.0  # codes of difference, and the share of the source's contrast: beyond both it is another picture
_UNLIKE = 0.75
_FLAT = 4.0  # codes of contrast below which there are no shapes to compare
_MATRICES = {1: "BT.709", 6: "BT.601", 9: "BT.2020"}


class LookTaker:
    """Takes the looks of each segment's first frames as they pass by."""

    def __init__(self, layout: PixelLayout, color: ColorSpec, turn: tuple[int, ...] | None) -> None:
        self._layout = layout
        self._color = color
        self._turn = turn
        self._taken: dict[int, list[bytes]] = {}

    def watch(self, batches: Iterable[FrameBatch]) -> Iterator[FrameBatch]:
        """The same batches."""
        for batch in batches:
            taken = self._taken.setdefault(batch.segment, [])
            wanted = min(len(batch), SAMPLED - len(taken))
            if wanted and not self._layout.has_alpha:  # the colours of what cannot be seen may change
                planes = [plane[:wanted] for plane in batch.planes]
                looks = source_looks(planes, self._layout, self._color, self._turn)
                taken += [look.tobytes() for look in np.rint(looks).astype(np.uint8)]
            yield batch

    def hand_over(self, segment: int) -> tuple[bytes, ...]:
        """A segment's looks, each as bytes that `read_looks` reads; they are not kept."""
        return tuple(self._taken.pop(segment, []))


def source_looks(planes: Sequence[Plane], layout: PixelLayout, color: ColorSpec, turn: tuple[int, ...] | None) -> Looks:
    """What planes (n, h, w) of a source's frames look like; `turn` is a display matrix to carry out."""
    return looks_of(shrunk(planes, layout, look_size(*planes[0].shape[1:])), layout, color, turn)


def read_looks(data: Sequence[bytes], size: tuple[int, int]) -> Looks:
    """Looks of `size` (height, width) as they were before they became bytes, rounded. ValueError for other sizes."""
    return np.frombuffer(b"".join(data), np.uint8).reshape(len(data), 3, *size).astype(np.float32)


def look_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) of the looks of a picture."""
    return min(height, SIDE), min(width, SIDE)


def shrunk(planes: Sequence[Plane], layout: PixelLayout, size: tuple[int, int]) -> tuple[Plane, ...]:
    """Planes (n, h, w) of frames, averaged to pictures of `size`, which is no larger.

    Averages of code values are those of colours, since every matrix is linear.
    """
    sizes = layout.plane_sizes(*size)
    return tuple(_averaged(plane, *small) for plane, small in zip(planes, sizes, strict=True))


def looks_of(
    planes: Sequence[Plane], layout: PixelLayout, color: ColorSpec, turn: tuple[int, ...] | None = None
) -> Looks:
    """What shrunk planes (n, h, w) look like; `turn` is a display matrix to carry out."""
    rgb = to_rgb([torch.from_numpy(plane) for plane in planes], layout, color)
    if turn is not None:
        rgb = turned(rgb, turn)
    return (rgb * 255).numpy()


class Verdict(NamedTuple):
    """What comes of a run of consecutive frames."""

    difference: float  # mean over all pixels and channels, in codes of 255
    findings: tuple[tuple[int, str], ...]  # the number of a frame among them, and what is wrong with it


class Jury:
    """Holds an output's pictures, in runs of consecutive frames, against the source's."""

    def __init__(self, layout: PixelLayout, color: ColorSpec) -> None:
        """`layout` and `color` are the output's, as it is tagged."""
        self._layout = layout
        self._color = color
        self._readings = dict(_readings(layout, color))
        self._sums = dict.fromkeys((None, *self._readings), 0.0)  # of differences, by reading; None is as tagged
        self._runs = 0

    def judge(self, source: Looks, output: Sequence[Plane]) -> Verdict:
        """`source`: the looks that are due; `output`: as many frames' shrunk planes."""
        shown = looks_of(output, self._layout, self._color)
        self._read_otherwise(source, output)
        return Verdict(_difference(source, shown), tuple(_misplaced(source, shown)))

    def wrong_reading(self) -> str | None:
        """Over all that was judged: as what the colours must be read to be the source's, if not as tagged."""
        if not self._runs:
            return None
        told, *others = ((total / self._runs, name) for name, total in self._sums.items())
        nearest = min(others, key=lambda one: one[0], default=told)
        is_wrong = told[0] >= _TINGED and nearest[0] < _RECODED * told[0]
        return nearest[1] if is_wrong else None

    def _read_otherwise(self, source: Looks, output: Sequence[Plane]) -> None:
        """Add up how near each reading comes, on the first frames of the run."""
        some = [plane[:SAMPLED] for plane in output]
        for name, color in ((None, self._color), *self._readings.items()):
            self._sums[name] += _difference(source[:SAMPLED], looks_of(some, self._layout, color))
        self._runs += 1


def _misplaced(source: Looks, shown: Looks) -> Iterator[tuple[int, str]]:
    """Frames that are not the ones due, by the shapes in them: fades and a network's tint say nothing."""
    due, there = _shapes(source), _shapes(shown)
    own = _each(due, there)
    neighbours = (
        ("after", _each(due[1:], there[:-1]), slice(None, -1)),
        ("before", _each(due[:-1], there[1:]), slice(1, None)),
    )
    for name, beside, at in neighbours:
        here = own[at]
        if here.size and here.mean() >= _SEEN and beside.mean() < _MOVED * here.mean():
            yield 0, f"and those that follow show the frame {name} the one that is due"
            return
    contrast = float(np.abs(due).mean())
    if _difference(source, shown) > _WRONG and contrast > _FLAT and float(own.mean()) > _UNLIKE * contrast:
        yield 0, f"shows another picture, {_difference(source, shown):.0f} of 255 away on average"
        return
    for name, beside, at in neighbours:
        here = own[at]
        first = at.start or 0
        for number in np.flatnonzero((here >= _SEEN_ONCE) & (beside < _MOVED * here)):
            yield first + int(number), f"shows the frame {name} the one that is due"


def _shapes(looks: Looks) -> Looks:
    """What is left of looks when each channel's mean is taken away."""
    return looks - looks.mean(axis=(2, 3), keepdims=True)


def _each(some: Looks, others: Looks) -> npt.NDArray[np.float32]:
    """The difference of each pair of frames."""
    return np.abs(some - others).mean(axis=(1, 2, 3))


def _difference(some: Looks, others: Looks) -> float:
    return float(np.abs(some - others).mean())


def _readings(layout: PixelLayout, color: ColorSpec) -> Iterator[tuple[str, ColorSpec]]:
    """Other ways to read the same code values, and their names."""
    if layout.kind == "yuv":
        for matrix, name in _MATRICES.items():
            for full in (False, True):
                yield f"{name} in {'full' if full else 'limited'} range", replace(color, matrix=matrix, full_range=full)


def _averaged(plane: Plane, rows: int, columns: int) -> Plane:
    """(n, h, w) to (n, rows, columns), each the mean of its part, rounded."""
    _, height, width = plane.shape
    tops, lefts = np.arange(rows) * height // rows, np.arange(columns) * width // columns
    sums = np.add.reduceat(np.add.reduceat(plane, tops, axis=1, dtype=np.uint32), lefts, axis=2, dtype=np.uint64)
    counts = np.diff(tops, append=height)[:, None] * np.diff(lefts, append=width)[None, :]
    return ((sums + counts // 2) // counts).astype(plane.dtype)
