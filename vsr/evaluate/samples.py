"""From files to tensors: a truth and its small half, given, made by bicubic, or damaged."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from vsr.degradation import Degradation
from vsr.engine.matlab import shrink
from vsr.errors import ConfigError, MediaError
from vsr.evaluate.sets import DataSet, Item
from vsr.footage import read_frames
from vsr.io.images import read_rgb
from vsr.io.probe import probe
from vsr.metrics.fidelity import SSIM_WINDOW
from vsr.metrics.lpips import SMALLEST_PX
from vsr.preset import load_degradation
from vsr.train.degrade import LEAST_SIDE, degrade
from vsr.train.draw import sample_generator
from vsr.train.validate import middle

Size = tuple[int, int]  # (height, width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Small halves that are worse than bicubic's, the same for the same seed."""

    preset: str
    settings: Degradation
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """How small halves come about where none are given."""

    scale: int = 4
    crop: int | None = None  # truth pixels each way, from the middle
    frames: int = 24  # of a clip, from its beginning
    damage: Damage | None = None  # None: MATLAB's bicubic

    def __post_init__(self) -> None:
        if self.crop is not None and (self.crop % self.scale or self.crop < self.least_px):
            raise ConfigError(
                f"crop = {self.crop}: give a multiple of the scale, {self.scale}, of at least {self.least_px}"
            )

    @property
    def least_px(self) -> int:
        """The shortest side of a truth that everything can be measured on."""
        least = max(SSIM_WINDOW + 2 * self.scale, SMALLEST_PX, LEAST_SIDE * self.scale)
        return -(-least // self.scale) * self.scale

    def of(self, data: DataSet) -> str:
        """What a table calls it, such as `LR by bicubic, crop 96`."""
        parts = ["LR given" if data.is_paired else "LR by bicubic"]
        if self.damage is not None:
            parts = [f"damaged by {self.damage.preset}, seed {self.damage.seed}"]
        if self.crop is not None:
            parts.append(f"crop {self.crop}")
        if any(item.is_clip for item in data.items):
            parts.append(f"{self.frames} frames")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A picture, of one frame, or a clip."""

    truth: Tensor  # (T, 3, H, W) uint8
    low: Tensor  # (T, 3, H / scale, W / scale) uint8
    drawn: tuple[str, ...] = ()  # the damage it got
    failures: int = 0  # codecs that failed on the way


def load_damage(preset: str, seed: int) -> Damage:
    """The damage that a preset describes. Raises ConfigError when there is no such preset, or no damage in it."""
    # what is judged is the way back to the picture itself, so damage starts from that and not from a sharpened one
    return Damage(preset=Path(preset).stem, settings=replace(load_degradation(preset), sharpen=False), seed=seed)


def check_sets(sets: Iterable[DataSet], material: Material) -> None:
    """Read every picture and the head of every clip once, so that what cannot be used stops the run before it begins.

    Raises MediaError: for the first unreadable file, or for all pairs of a wrong ratio, or for all that is too small.
    """
    for data in sets:
        high = {item: _size(item, item.truth) for item in data.items}
        low = {item: _size(item, item.low) for item in data.items if item.low is not None}
        wrong = [item for item in low if not _fits(high[item], low[item], material.scale)]
        if wrong:
            named = ", ".join(f"{item.name} ({_told(high[item])} of {_told(low[item])})" for item in wrong)
            raise MediaError(f"{data.name}: HR is not LR x {material.scale} in {named}; mend them or change --scale")
        _check_least(data, high, material)


def _check_least(data: DataSet, high: Mapping[Item, Size], material: Material) -> None:
    least = material.crop or material.least_px
    small = [f"{item.name} ({_told(size)})" for item, size in high.items() if min(size) < least]
    if small:
        what = f"the crop of {least}" if material.crop else f"{least}, the least to be measured at x{material.scale},"
        raise MediaError(f"{data.name}: smaller than {what} pixels: {', '.join(small)}; leave them out")


def _size(item: Item, path: Path) -> Size:
    if item.is_clip:
        video = probe(path).video
        return video.height, video.width
    height, width, _ = read_rgb(path).shape
    return height, width


def _fits(high: Size, low: Size, scale: int) -> bool:
    """Whether HR exceeds scale x LR by nothing but the remainder that shrinking leaves out."""
    return all(0 <= large - scale * small < scale for large, small in zip(high, low, strict=True))


def _told(size: Size) -> str:
    return f"{size[1]}x{size[0]}"


def read_sample(item: Item, material: Material, *, number: int) -> Sample:
    """Read an item of a checked set, and make its small half if it has none. `number`, its place, seeds its damage.

    What exceeds a multiple of the scale is cut off at the right and bottom. A crop is cut out before anything is made
    from it. Raises MediaError when a file cannot be read, or a clip and its small half have not as many frames.
    """
    scale = material.scale
    inner = material.crop // scale if material.crop else None
    truth = middle(_read(item, item.truth, material.frames), scale=scale, low_px=inner)
    if item.low is not None:
        low = middle(_read(item, item.low, material.frames), scale=1, low_px=inner)
        if len(low) != len(truth):
            raise MediaError(f"{item.low}: {len(low)} frames for {len(truth)} of {item.truth}; give clips that match")
        return Sample(truth=truth, low=low)
    if material.damage is None:
        return Sample(truth=truth, low=shrink(truth, scale))
    generator = sample_generator(material.damage.seed, number)
    damaged = degrade(truth.float() / 255, material.damage.settings, scale=scale, generator=generator)
    return Sample(truth=truth, low=damaged.low, drawn=damaged.drawn, failures=damaged.failures)


def _read(item: Item, path: Path, frames: int) -> Tensor:
    """(T, 3, H, W) uint8."""
    if item.is_clip:
        return read_frames(path, frames)
    return torch.from_numpy(read_rgb(path).copy()).permute(2, 0, 1)[None]
