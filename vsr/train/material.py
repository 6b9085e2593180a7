"""What samples are cut from: stills, over which a window wanders, clips, whose own frames follow one another, pairs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from vsr.degradation import Motion
from vsr.errors import MediaError
from vsr.footage import frames_from
from vsr.frames import MediaInfo
from vsr.io.probe import probe
from vsr.train.draw import Draw
from vsr.train.motion import moving_windows
from vsr.train.store import PictureStore, RecentPictures

Fit = Literal["crop", "resize"]  # cut from the picture as it is, or first shrunk by a drawn factor
Read = Callable[[Path], Tensor]  # (3, H, W) uint8

_recent = RecentPictures()


class Material(Protocol):
    """Something that windows can be cut from."""

    def cut(self, side: int, *, frames: int, scale: int, motion: Motion, draw: Draw) -> Tensor:
        """(frames, 3, side, side) float32 in [0, 1] from a drawn place. `scale` and `motion` as in `moving_windows`."""
        ...


@dataclass(frozen=True, slots=True)
class Still:
    """A picture in a file.

    With fit = "resize" it is shrunk first, antialiased, so that its shorter side is drawn evenly from all between
    `side` and its own: the same things at many sizes.
    """

    path: Path
    fit: Fit = "crop"
    read: Read = field(default=_recent, compare=False, repr=False)

    def cut(self, side: int, *, frames: int, scale: int, motion: Motion, draw: Draw) -> Tensor:
        picture = self.read(self.path)
        _check_size(self.path, picture.shape[1], picture.shape[2], side)
        if self.fit == "resize":
            picture = _shrunk(picture[None], side, draw)[0]
        if frames == 1:
            return _window(picture[None], side, draw).float() / 255
        pixels = picture.float() / 255
        return moving_windows(pixels, (side, side), frames=frames, scale=scale, motion=motion, draw=draw)


@dataclass(frozen=True, slots=True)
class Footage:
    """A clip in a file; consecutive frames from a drawn time, one place for all of them. `fit` as of `Still`."""

    path: Path
    fit: Fit = "crop"
    info: MediaInfo = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "info", probe(self.path))

    def cut(self, side: int, *, frames: int, scale: int, motion: Motion, draw: Draw) -> Tensor:  # noqa: ARG002
        video = self.info.video
        _check_size(self.path, video.height, video.width, side)
        seconds = draw.uniform(0, 1) * max(0.0, self._seconds() - frames / float(video.rate))
        clip, seconds = self._frames_at(seconds, frames)
        draw.note(f"from {seconds:.2f} s")
        if self.fit == "resize":
            clip = _shrunk(clip, side, draw)
        window = _window(clip, side, draw).float() / 255
        return torch.cat([window, window[-1:].expand(frames - len(window), -1, -1, -1)])  # a clip that ended early

    def _frames_at(self, seconds: float, count: int) -> tuple[Tensor, float]:
        """Up to `count` frames, and from where: earlier than `seconds` in a clip that is shorter than it says."""
        while True:
            try:
                return frames_from(self.info, count, start=Fraction(seconds).limit_denominator(1000)), seconds
            except MediaError:
                if seconds == 0:
                    raise
                seconds = seconds / 2 if seconds > 1 else 0.0

    def _seconds(self) -> float:
        """How long the pictures last, as far as the file says."""
        video = self.info.video
        if video.frame_estimate is not None:
            return float(video.frame_estimate / video.rate)
        return float(self.info.duration or 0)


@dataclass(frozen=True, slots=True)
class Pair:
    """A truth and its small picture, both in files; always cut as they are.

    `high` is `scale` times as large as `low`, or has up to `scale` - 1 rows and columns more, below and to the right.
    """

    high: Path
    low: Path
    read: Read = field(default=_recent, compare=False, repr=False)

    def cut_pair(self, side: int, *, scale: int, draw: Draw) -> tuple[Tensor, Tensor]:
        """The same drawn place of both, uint8: (1, 3, side, side) and (1, 3, side / scale, side / scale).

        Raises MediaError when the sizes do not go together or are too small.
        """
        high, low = self.read(self.high), self.read(self.low)
        check_pair(self.high, (high.shape[1], high.shape[2]), self.low, (low.shape[1], low.shape[2]), scale)
        least = side // scale
        _check_size(self.low, low.shape[1], low.shape[2], least)
        top, left = (draw.integer(0, length - least) for length in low.shape[1:])
        truth = high[None, :, scale * top : scale * top + side, scale * left : scale * left + side]
        return truth, low[None, :, top : top + least, left : left + least]


def stored(
    materials: Iterable[Still | Footage | Pair], *, budget_bytes: int | None = None
) -> tuple[tuple[Still | Footage | Pair, ...], PictureStore]:
    """The same materials with all pictures read from one `PictureStore`, and that store.

    What needs a picture that the store found damaged is left out; `store.damaged` names it.
    """
    found = tuple(materials)
    store = PictureStore([path for material in found for path in _pictures(material)], budget_bytes=budget_bytes)
    whole = (material for material in found if store.damaged.keys().isdisjoint(_pictures(material)))
    return tuple(m if isinstance(m, Footage) else replace(m, read=store) for m in whole), store


def check_pair(high: Path, high_size: tuple[int, int], low: Path, low_size: tuple[int, int], scale: int) -> None:
    """Raises MediaError that names both (height, width) unless `low_size` is `high_size` / `scale`, rounded down."""
    if tuple(side // scale for side in high_size) != low_size:
        (height, width), (low_height, low_width) = high_size, low_size
        raise MediaError(
            f"{high}: {width}x{height} is not {scale} x the {low_width}x{low_height} of {low}; leave the pair out"
        )


def _pictures(material: Still | Footage | Pair) -> tuple[Path, ...]:
    """The files that a material reads as pictures."""
    if isinstance(material, Pair):
        return material.high, material.low
    return (material.path,) if isinstance(material, Still) else ()


def _window(pictures: Tensor, side: int, draw: Draw) -> Tensor:
    """One drawn place of all pictures (T, 3, H, W)."""
    top, left = (draw.integer(0, length - side) for length in pictures.shape[2:])
    return pictures[:, :, top : top + side, left : left + side]


def _shrunk(pictures: Tensor, side: int, draw: Draw) -> Tensor:
    """(T, 3, H, W) uint8 with the shorter side drawn between `side` and what it is."""
    height, width = pictures.shape[2:]
    shorter = draw.integer(side, min(height, width))
    if shorter == min(height, width):
        return pictures
    draw.note(f"shrunk to {shorter / min(height, width):.2f}")
    size = [max(shorter, round(length * shorter / min(height, width))) for length in (height, width)]
    return F.interpolate(pictures, size, mode="bicubic", antialias=True)


def _check_size(path: Path, height: int, width: int, side: int) -> None:
    if min(height, width) < side:
        raise MediaError(f"{path}: {width}x{height} is smaller than the {side} pixels to be cut; leave it out")
