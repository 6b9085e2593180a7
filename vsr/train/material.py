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
from vsr.engine.color import to_rgb
from vsr.errors import ConfigError, MediaError
from vsr.frames import MediaInfo
from vsr.io.probe import probe
from vsr.io.source import VideoSource
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
            picture = _shrunk(picture, side, draw)
        if frames == 1:
            return _window(picture[None], side, draw).float() / 255
        return moving_windows(picture, (side, side), frames=frames, scale=scale, motion=motion, draw=draw)


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
        shorter = min(video.height, video.width)
        shown = shorter if self.fit == "crop" else _drawn_size(shorter, side, draw)
        seen = round(side * shorter / shown)  # of the clip's pixels
        top, left = draw.integer(0, video.height - seen), draw.integer(0, video.width - seen)
        clip, seconds = self._frames_at(seconds, frames, (top, left, seen))
        draw.note(f"from {seconds:.2f} s")
        window = _resized(clip, (side, side)).float() / 255
        return torch.cat([window, window[-1:].expand(frames - len(window), -1, -1, -1)])  # a clip that ended early

    def _frames_at(self, seconds: float, count: int, window: tuple[int, int, int]) -> tuple[Tensor, float]:
        """Up to `count` frames, and from where: earlier than `seconds` in a clip that is shorter than it says."""
        while True:
            clip = _windows_from(self.info, count, Fraction(seconds).limit_denominator(1000), window)
            if len(clip):
                return clip, seconds
            if seconds == 0:
                raise MediaError(f"{self.path}: no frame can be decoded; leave it out")
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


AnyMaterial = Still | Footage | Pair


def stored(
    materials: Iterable[AnyMaterial], *, budget_bytes: int | None = None
) -> tuple[tuple[AnyMaterial, ...], PictureStore]:
    """The same materials with all pictures read from one `PictureStore`, and that store.

    What needs a picture that the store found damaged is left out; `store.damaged` names it. Raises ConfigError when
    nothing is left.
    """
    found = tuple(materials)
    store = PictureStore([path for material in found for path in _pictures(material)], budget_bytes=budget_bytes)
    whole = [material for material in found if store.damaged.keys().isdisjoint(_pictures(material))]
    if not whole:
        why = next(iter(store.damaged.values()), "nothing was found")
        raise ConfigError(f"data: none of {len(found)} pictures can be decoded; the first: {why}")
    return tuple(m if isinstance(m, Footage) else replace(m, read=store) for m in whole), store


def check_pair(high: Path, high_size: tuple[int, int], low: Path, low_size: tuple[int, int], scale: int) -> None:
    """Raises MediaError that names both (height, width) unless `low_size` is `high_size` / `scale`, rounded down."""
    if tuple(side // scale for side in high_size) != low_size:
        (height, width), (low_height, low_width) = high_size, low_size
        raise MediaError(
            f"{high}: {width}x{height} is not {scale} x the {low_width}x{low_height} of {low}; leave the pair out"
        )


def _pictures(material: AnyMaterial) -> tuple[Path, ...]:
    """The files that a material reads as pictures."""
    if isinstance(material, Pair):
        return material.high, material.low
    return (material.path,) if isinstance(material, Still) else ()


def _window(pictures: Tensor, side: int, draw: Draw) -> Tensor:
    """One drawn place of all pictures (T, 3, H, W)."""
    top, left = (draw.integer(0, length - side) for length in pictures.shape[2:])
    return pictures[:, :, top : top + side, left : left + side]


def _windows_from(info: MediaInfo, count: int, start: Fraction, window: tuple[int, int, int]) -> Tensor:
    """As `vsr.footage.frames_from`, (T, 3, side, side) uint8 of a (top, left, side), all else not made into RGB."""
    top, left, side = window
    rows, columns = _with_margin(top, side), _with_margin(left, side)
    frames = [torch.empty(0, 3, side, side, dtype=torch.uint8)]
    for batch in VideoSource(info, batch=1, segment=Fraction(1 << 30), start=start, threads=1):
        planes = []
        for index, plane in enumerate(batch.planes):
            down, across = info.video.layout.log2_chroma if index else (0, 0)
            part = plane[:, rows.start >> down : rows.stop >> down, columns.start >> across : columns.stop >> across]
            planes.append(torch.from_numpy(part))
        rgb = to_rgb(planes, info.video.layout, info.video.color)
        row, column = top - rows.start, left - columns.start
        frames.append(rgb[:, :, row : row + side, column : column + side].mul(255).round_().to(torch.uint8))
        if len(frames) > count:
            break
    return torch.cat(frames)


def _with_margin(start: int, length: int) -> range:
    """A stretch on the grid of every chroma, with the samples around it that its interpolation looks at."""
    return range(max(0, start // 4 * 4 - 8), -(-(start + length) // 4) * 4 + 8)


def _shrunk(picture: Tensor, side: int, draw: Draw) -> Tensor:
    """(3, H, W) uint8 with the shorter side drawn between `side` and what it is."""
    height, width = picture.shape[1:]
    shorter = min(height, width)
    shown = _drawn_size(shorter, side, draw)
    size = (max(shown, round(height * shown / shorter)), max(shown, round(width * shown / shorter)))
    return _resized(picture[None], size)[0]


def _drawn_size(shorter: int, side: int, draw: Draw) -> int:
    shown = draw.integer(side, shorter)
    draw.note(f"shrunk to {shown / shorter:.2f}")
    return shown


def _resized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """(T, 3, height, width) uint8 of a smaller size."""
    if tuple(pictures.shape[2:]) == size:
        return pictures
    return F.interpolate(pictures, size, mode="bicubic", antialias=True)


def _check_size(path: Path, height: int, width: int, side: int) -> None:
    if min(height, width) < side:
        raise MediaError(f"{path}: {width}x{height} is smaller than the {side} pixels to be cut; leave it out")
