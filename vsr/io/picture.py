"""What the joined picture must look like."""

from fractions import Fraction
from typing import Protocol

from vsr.frames import ColorSpec, MediaInfo


class Picture(Protocol):
    """What the joined video must look like; an EncoderPlan is one."""

    @property
    def codec(self) -> str: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def color(self) -> ColorSpec: ...
    @property
    def sample_aspect_ratio(self) -> Fraction | None: ...
    @property
    def has_alpha(self) -> bool: ...
    @property
    def untold(self) -> frozenset[str]: ...  # tags of `color` that the file cannot say: matrix, primaries, range, ...


def scaled_matrix(info: MediaInfo, picture: Picture) -> tuple[int, ...] | None:
    """The display matrix with its translation, which is in pixels, in the new picture's."""
    matrix = info.video.display_matrix
    if matrix is None:
        return None
    scale = Fraction(picture.height, info.video.height)
    moved = [min(max(round(matrix[i] * scale), -(2**31)), 2**31 - 1) for i in (6, 7)]
    return (*matrix[:6], *moved, matrix[8])


def moved_matrix(matrix: tuple[int, ...], height: int, width: int) -> tuple[int, ...]:
    """A display matrix for a picture of another size: what it turned out of sight it moves back, if it moves at all."""
    if not any(matrix[6:8]):
        return matrix
    across = min(0, matrix[0] * width) + min(0, matrix[3] * height)
    down = min(0, matrix[1] * width) + min(0, matrix[4] * height)
    return (*matrix[:6], -across, -down, matrix[8])
