"""What a still picture is made of: samples, what their values mean, and the order they come in."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[Any]  # uint8, uint16, int16, uint32, int32 or float32: known when a file is read


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """How samples are stored: their type, and the values that stand for black and for white."""

    dtype: np.dtype[np.generic]
    black: float
    white: float

    @property
    def bits(self) -> int:
        """Of one sample."""
        return self.dtype.itemsize * 8


LEVELS_8 = Levels(dtype=np.dtype(np.uint8), black=0, white=255)
LEVELS_16 = Levels(dtype=np.dtype(np.uint16), black=0, white=65535)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Page:
    """One picture as decoded: a whole file, a page of a TIFF, or a frame of an animation.

    `samples`: (h, w, c), upright; c is 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha, which is straight.
    """

    samples: Samples
    levels: Levels
    seconds: Fraction = Fraction(0)  # how long a frame of an animation is shown
    damage: str = ""  # what is wrong with it, where it could not be decoded whole


def has_alpha(channels: int) -> bool:
    return channels in (2, 4)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RenderedPage:
    """One picture to be written: its rows come as they are computed, (rows, width, channels) at a time."""

    height: int
    width: int
    channels: int  # as in Page
    levels: Levels
    bands: Iterator[Samples]
    seconds: Fraction = Fraction(0)

    def whole(self) -> Samples:
        """All of it, (h, w, c). To be asked for once."""
        first = next(self.bands)
        if len(first) == self.height:
            return first
        picture: Samples = np.empty((self.height, self.width, self.channels), self.levels.dtype)
        top = 0
        for band in chain([first], self.bands):
            picture[top : top + len(band)] = band
            top += len(band)
        return picture
