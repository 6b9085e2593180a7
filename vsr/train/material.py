"""What samples are cut from: stills, over which a window wanders, and clips, whose own frames follow one another."""

from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from vsr.degradation import Motion
from vsr.errors import MediaError
from vsr.footage import frames_from
from vsr.frames import MediaInfo
from vsr.io.images import read_rgb
from vsr.io.probe import probe
from vsr.train.draw import Draw
from vsr.train.motion import moving_windows

_KEPT_STILLS = 32  # decoded pictures a process remembers


class Material(Protocol):
    """Something that windows can be cut from."""

    def cut(self, side: int, *, frames: int, scale: int, motion: Motion, draw: Draw) -> Tensor:
        """(frames, 3, side, side) float32 in [0, 1] from a drawn place. `scale` and `motion` as in `moving_windows`."""
        ...


@dataclass(frozen=True, slots=True)
class Still:
    """A picture in a file."""

    path: Path

    def cut(self, side: int, *, frames: int, scale: int, motion: Motion, draw: Draw) -> Tensor:
        picture = _read_still(self.path)
        _check_size(self.path, picture.shape[1], picture.shape[2], side)
        pixels = picture.float() / 255
        return moving_windows(pixels, (side, side), frames=frames, scale=scale, motion=motion, draw=draw)


@dataclass(frozen=True, slots=True)
class Footage:
    """A clip in a file; consecutive frames from a drawn time, one place for all of them."""

    path: Path
    info: MediaInfo = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "info", probe(self.path))

    def cut(self, side: int, *, frames: int, scale: int, motion: Motion, draw: Draw) -> Tensor:  # noqa: ARG002
        video = self.info.video
        _check_size(self.path, video.height, video.width, side)
        seconds = draw.uniform(0, 1) * max(0.0, self._seconds() - frames / float(video.rate))
        clip = frames_from(self.info, frames, start=Fraction(seconds).limit_denominator(1000))
        top, left = draw.integer(0, clip.shape[2] - side), draw.integer(0, clip.shape[3] - side)
        draw.note(f"from {seconds:.2f} s")
        window = clip[:, :, top : top + side, left : left + side].float() / 255
        return torch.cat([window, window[-1:].expand(frames - len(window), -1, -1, -1)])  # a clip that ended early

    def _seconds(self) -> float:
        """How long the pictures last, as far as the file says."""
        video = self.info.video
        if video.frame_estimate is not None:
            return float(video.frame_estimate / video.rate)
        return float(self.info.duration or 0)


@lru_cache(maxsize=_KEPT_STILLS)
def _read_still(path: Path) -> Tensor:
    """(3, H, W) uint8."""
    return torch.from_numpy(read_rgb(path).copy()).permute(2, 0, 1).contiguous()


def _check_size(path: Path, height: int, width: int, side: int) -> None:
    if min(height, width) < side:
        raise MediaError(f"{path}: {width}x{height} is smaller than the {side} pixels to be cut; leave it out")
