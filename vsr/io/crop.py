"""A part of the picture: where it may begin and end, how it is cut out, and black bars found by looking."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from vsr.errors import ConfigError
from vsr.frames import ColorSpec, PixelLayout, Plane
from vsr.settings import Crop

_BLACKEST = 16  # of 255 above black: what noise and coding make of black
_GRAYEST = 12  # of 255 beside gray, for chroma: dark blue is no bar
_THINNEST = Fraction(1, 100)  # of a side; a thinner dark edge is part of the picture
_UNEVEN = Fraction(1, 4)  # of the thicker of two bars, by which the other may be thinner
_SHARP = 3  # times the limit of black: what the picture reaches within three lines of a bar
_MOST = Fraction(1, 2)  # of the picture that bars may cover


def aligned(crop: Crop, layout: PixelLayout, *, height: int, width: int) -> Crop:
    """The largest part within `crop` whose borders lie between chroma samples. Raises ConfigError where it cannot be.

    The picture's own lower and right border may be odd.
    """
    down, across = layout.log2_chroma
    top, bottom = _inwards(crop.top, crop.top + crop.height, 1 << down, height)
    left, right = _inwards(crop.left, crop.left + crop.width, 1 << across, width)
    if crop.top + crop.height > height or crop.left + crop.width > width:
        raise ConfigError(f"crop = {crop}: reaches beyond the picture of {width}x{height}; give a part of it")
    if bottom <= top or right <= left:
        raise ConfigError(f"crop = {crop}: leaves nothing of {layout.name}, whose chroma is coarser; give more")
    return Crop(height=bottom - top, width=right - left, top=top, left=left)


def cut_out(planes: Sequence[Plane], layout: PixelLayout, crop: Crop) -> tuple[Plane, ...]:
    """Views of the part of each (h, w) plane that an aligned crop keeps."""
    down, across = layout.log2_chroma
    sizes = layout.plane_sizes(crop.height, crop.width)
    corners = [(crop.top, crop.left)] * len(sizes)
    if layout.kind == "yuv":
        corners[1:3] = [(crop.top >> down, crop.left >> across)] * 2
    return tuple(
        plane[top : top + h, left : left + w] for plane, (top, left), (h, w) in zip(planes, corners, sizes, strict=True)
    )


@dataclass(slots=True)
class _Peaks:
    """The brightest of each row and column of one plane so far, above what is black or gray there."""

    rows: npt.NDArray[np.int32]
    columns: npt.NDArray[np.int32]


def find_bars(frames: Iterable[Sequence[Plane]], layout: PixelLayout, color: ColorSpec) -> Crop | None:
    """What black bars leave of the picture, None where there are none.

    Bars come in pairs, above and below or left and right, about equally thick, with sharp edges, and stay nearly black,
    chroma included, in all of `frames`: (h, w) planes each. Frames that are black all over tell nothing and are passed
    over. Borders are rounded so that no picture is lost.
    """
    limits = [_BLACKEST << (layout.depth - 8)] * len(layout.plane_sizes(8, 8))
    if layout.kind == "yuv":
        limits[1:] = [_GRAYEST << (layout.depth - 8)] * 2
    total: list[_Peaks] = []
    for planes in frames:
        found = [
            _peaks(plane, layout, color, is_chroma=layout.kind == "yuv" and i > 0) for i, plane in enumerate(planes)
        ]
        if all(peaks.rows.max() <= limit for peaks, limit in zip(found, limits, strict=True)):
            continue
        for old, new in zip(total, found, strict=False):
            np.maximum(old.rows, new.rows, out=old.rows)
            np.maximum(old.columns, new.columns, out=old.columns)
        total = total or found
    if not total:
        return None
    height, width = len(total[0].rows), len(total[0].columns)
    down, across = layout.log2_chroma
    rows, columns = np.zeros(height), np.zeros(width)
    for i, (peaks, limit) in enumerate(zip(total, limits, strict=True)):
        is_coarse = layout.kind == "yuv" and i > 0
        rows = np.maximum(rows, np.repeat(peaks.rows / limit, 1 << down if is_coarse else 1)[:height])
        columns = np.maximum(columns, np.repeat(peaks.columns / limit, 1 << across if is_coarse else 1)[:width])
    top, bottom = _between_bars(rows, 1 << down)
    left, right = _between_bars(columns, 1 << across)
    kept = (bottom - top) * (right - left)
    if kept == height * width or kept < height * width * _MOST:
        return None
    return Crop(height=bottom - top, width=right - left, top=top, left=left)


def _peaks(plane: Plane, layout: PixelLayout, color: ColorSpec, *, is_chroma: bool) -> _Peaks:
    if is_chroma:
        apart = np.abs(plane.astype(np.int32) - (1 << (layout.depth - 1)))
    else:
        black = 0 if color.full_range else 16 << (layout.depth - 8)
        apart = plane.astype(np.int32) - black
    return _Peaks(rows=apart.max(axis=1), columns=apart.max(axis=0))


def _inwards(begin: int, end: int, step: int, length: int) -> tuple[int, int]:
    return -(-begin // step) * step, end if end == length else end // step * step


def _between_bars(peaks: npt.NDArray[np.float64], step: int) -> tuple[int, int]:
    """Where the picture begins and ends along one side, by each line's peak as a multiple of what passes for black."""
    length = len(peaks)
    bright = np.flatnonzero(peaks > 1)
    if not len(bright):
        return 0, length
    begin, end = int(bright[0]), int(bright[-1]) + 1
    thin, thick = sorted((begin, length - end))
    is_pair = thin >= max(2, length * _THINNEST) and thick - thin <= max(4, thick * _UNEVEN)
    is_sharp = min(peaks[begin : begin + 3].max(), peaks[end - 3 : end].max()) >= _SHARP
    if not (is_pair and is_sharp):
        return 0, length
    return begin // step * step, min(length, -(-end // step) * step)
