"""A clip's frames as RGB, in the colours that `vsr upscale` would see."""

from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from vsr.engine.color import to_rgb
from vsr.errors import MediaError
from vsr.frames import MediaInfo
from vsr.io.probe import probe
from vsr.io.source import VideoSource

PICTURE_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".ppm", ".avif")


def is_picture(path: Path) -> bool:
    """Whether the name is that of a still picture; all else is taken for a clip."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def read_frames(path: Path, count: int, *, start: Fraction = Fraction(0)) -> Tensor:
    """The first `count` consecutive frames from `start` seconds on, or as many as there are: (T, 3, H, W) uint8.

    Raises MediaError when the clip cannot be read or ends before `start`.
    """
    return frames_from(probe(path), count, start=start)


def frames_from(info: MediaInfo, count: int, *, start: Fraction = Fraction(0)) -> Tensor:
    """`read_frames` of a clip that has been probed."""
    source = VideoSource(info, batch=1, segment=Fraction(1 << 30), start=start, threads=1)
    frames: list[Tensor] = []
    for batch in source:
        planes = [torch.from_numpy(plane) for plane in batch.planes]
        rgb = to_rgb(planes, info.video.layout, info.video.color)
        frames.append(rgb.mul_(255).round_().to(torch.uint8))
        if len(frames) == count:
            break
    if not frames:
        raise MediaError(f"{info.path}: no frame after {float(start):g} s; give a longer clip")
    return torch.cat(frames)
