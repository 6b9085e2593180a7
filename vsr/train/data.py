"""Training pairs: what a picture is, and how it looks small, blurred or compressed."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from vsr.errors import ConfigError
from vsr.io.degrade_codec import Encoding, through_jpeg, through_video
from vsr.io.images import read_rgb
from vsr.train.draw import sample_generator

SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
SCALE = 4
LOW_PX = 96  # side of a low picture in the bank: large enough that an encoder behaves as on a film
FRAMES = 6  # of a clip sent through an encoder
KEPT = 3  # pairs from one draw
SHARES = {"clean": 0.25, "still": 0.1, "video": 0.65}  # by kind of damage
QUALITIES = {"libx264": (20, 40), "libx265": (22, 40), "mpeg4": (2, 14), "mpeg2video": (2, 14)}
SOFT_CHANCE = 0.3  # of a coded clip: film is softer from pixel to pixel than a photograph, and so is the truth then
BLUR_CHANCES = {"still": 0.4, "video": 0.2}
ZOOM = 0.015  # at most, from frame to frame: without it, encoders predict a moved still better than any film
ENCODERS = {"libx264": 0.6, "libx265": 0.16, "mpeg4": 0.12, "mpeg2video": 0.12}
PRESETS = ("superfast", "veryfast", "fast", "medium")

Picture = npt.NDArray[np.uint8]


def read_pictures(folder: Path) -> list[Picture]:
    """All pictures under a folder, in the order of their names, large enough to cut pairs from.

    Raises MediaError when one cannot be read and ConfigError when none is left.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    pictures = [picture for picture in map(read_rgb, paths) if min(picture.shape[:2]) >= SCALE * LOW_PX]
    if not pictures:
        raise ConfigError(f"{folder}: no picture of at least {SCALE * LOW_PX} pixels each way; give another folder")
    return pictures


class Bank:
    """A ring of pairs in memory, drawn anew a few at a time. What it holds follows from the seed alone."""

    def __init__(self, pictures: list[Picture], *, draws: int, seed: int) -> None:
        self._pictures, self._seed = pictures, seed
        self._drawn = 0
        self._low = torch.empty(draws * KEPT, 3, LOW_PX, LOW_PX, dtype=torch.uint8)
        self._high = torch.empty(draws * KEPT, 3, SCALE * LOW_PX, SCALE * LOW_PX, dtype=torch.uint8)
        self.refresh(draws)

    def refresh(self, draws: int) -> None:
        """Replace the oldest pairs by `draws` x KEPT new ones."""
        for _ in range(draws):
            generator = sample_generator(self._seed, self._drawn)
            picture = self._pictures[_integer(0, len(self._pictures), generator)]
            low, high = draw_pairs(picture, generator)
            place = self._drawn * KEPT % len(self._low)
            self._low[place : place + KEPT] = low
            self._high[place : place + KEPT] = high
            self._drawn += 1

    def batch(self, size: int, low_px: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """(size, 3, low_px, low_px) and the same at SCALE, fp32 in [0, 1], cropped, flipped and turned at random."""
        lows, highs = [], []
        for _ in range(size):
            index = _integer(0, len(self._low), generator)
            top, left = (_integer(0, LOW_PX - low_px + 1, generator) for _ in range(2))
            turn = _integer(0, 8, generator)
            lows.append(_turned(_cut(self._low[index], top, left, low_px), turn))
            highs.append(_turned(_cut(self._high[index], SCALE * top, SCALE * left, SCALE * low_px), turn))
        return torch.stack(lows).float() / 255, torch.stack(highs).float() / 255


def draw_pairs(picture: Picture, generator: Generator) -> tuple[Tensor, Tensor]:
    """KEPT pairs from one picture, damaged in one way: (KEPT, 3, LOW_PX, LOW_PX) and SCALE times that, uint8.

    `picture` is (H, W, 3) with both sides at least SCALE * LOW_PX.
    """
    kind = _choice(SHARES, generator)
    high = _windows(picture, FRAMES if kind == "video" else KEPT, generator)
    if kind == "clean":
        return _shrunk(high.float(), LOW_PX), high
    if kind == "video" and _uniform(0, 1, generator) < SOFT_CHANCE:
        high = _blurred(high.float(), sigma=_uniform(0.5, 1.5, generator)).round().to(torch.uint8)
    low = _softened(high.float(), BLUR_CHANCES[kind], generator)
    if kind == "still":
        if _uniform(0, 1, generator) < 0.8:
            low = torch.stack([_through_jpeg(frame, _integer(40, 96, generator)) for frame in low])
        return low, high
    name = _choice(ENCODERS, generator)
    preset = PRESETS[_integer(0, len(PRESETS), generator)]
    encoding = Encoding(encoder=name, quality=_integer(*QUALITIES[name], generator), preset=preset)
    coded = torch.from_numpy(through_video(low.permute(0, 2, 3, 1).numpy(), encoding)).permute(0, 3, 1, 2)
    kept = torch.randperm(FRAMES, generator=generator)[:KEPT]
    return coded[kept], high[kept]


def _windows(picture: Picture, count: int, generator: Generator) -> Tensor:
    """`count` windows that wander and zoom at a steady pace, as a camera does; a quarter stand still. uint8."""
    height, width, _ = picture.shape
    side = SCALE * LOW_PX
    is_moving = _uniform(0, 1, generator) >= 0.25
    room = min(height, width) / side - 1
    zoom = min(_uniform(0, ZOOM, generator), room / count) if is_moving else 0
    pace = 3 * SCALE if is_moving else 0
    top, left = (_uniform(0, length - side, generator) for length in (height, width))
    down, across = (_uniform(-pace, pace, generator) for _ in range(2))
    frames = []
    for index in range(count):
        seen = round(side * (1 + zoom * index))
        row = round(min(max(top + index * down, 0), height - seen))
        column = round(min(max(left + index * across, 0), width - seen))
        window = torch.from_numpy(picture[row : row + seen, column : column + seen].copy()).permute(2, 0, 1)
        frames.append(window if seen == side else _shrunk(window[None].float(), side)[0])
    return torch.stack(frames if _uniform(0, 1, generator) < 0.5 else frames[::-1])


def _softened(high: Tensor, blur_chance: float, generator: Generator) -> Tensor:
    """Mild blur, sometimes a detour over another size, then small. (T, 3, h, w) in 0 to 255, gives uint8."""
    if _uniform(0, 1, generator) < blur_chance:
        high = _blurred(high, sigma=_uniform(0.4, 2.4, generator))
    if _uniform(0, 1, generator) < blur_chance:
        high = _resized(high, round(LOW_PX * _uniform(0.75, 2.5, generator)))
    return _shrunk(high, LOW_PX)


def _blurred(x: Tensor, *, sigma: float) -> Tensor:
    radius = max(1, round(3 * sigma))
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).repeat(3, 1, 1, 1)
    padded = F.pad(x, (radius, radius, radius, radius), mode="replicate")
    return F.conv2d(F.conv2d(padded, taps, groups=3), taps.transpose(2, 3), groups=3)


def _shrunk(x: Tensor, side: int) -> Tensor:
    return _resized(x, side).round().clamp(0, 255).to(torch.uint8)


def _resized(x: Tensor, side: int) -> Tensor:
    return F.interpolate(x, size=(side, side), mode="bicubic", antialias=True)


def _through_jpeg(picture: Tensor, quality: int) -> Tensor:
    return torch.from_numpy(through_jpeg(picture.permute(1, 2, 0).numpy(), quality).copy()).permute(2, 0, 1)


def _cut(x: Tensor, top: int, left: int, side: int) -> Tensor:
    return x[:, top : top + side, left : left + side]


def _turned(x: Tensor, turn: int) -> Tensor:
    """One of the eight symmetries of a square."""
    x = x.transpose(1, 2) if turn & 4 else x
    return x.flip([axis for bit, axis in ((1, 1), (2, 2)) if turn & bit])


def _uniform(low: float, high: float, generator: Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _integer(low: int, high: int, generator: Generator) -> int:
    """From `low` to `high` - 1."""
    return int(torch.randint(low, high, (), generator=generator))


def _choice(shares: dict[str, float], generator: Generator) -> str:
    index = torch.multinomial(torch.tensor(list(shares.values())), 1, generator=generator)
    return list(shares)[int(index)]
