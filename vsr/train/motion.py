"""Stills that move: a window wanders over a picture at a steady pace, as a camera does."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vsr.degradation import Motion
from vsr.train.draw import Draw


def moving_windows(
    picture: Tensor, size: tuple[int, int], *, frames: int, scale: int, motion: Motion, draw: Draw
) -> Tensor:
    """Cut `frames` windows of (height, width) `size` out of a picture along a straight way, somewhere in it.

    `picture` is (3, H, W) uint8, at least as large as `size`; the result (frames, 3, height, width) float32 in [0, 1].
    `scale` turns the pace, which `motion` has in pixels of the result, into the picture's. What does not fit stays at
    the edge.
    """
    _, height, width = picture.shape
    rows, columns = size
    down, across, zoom = _pace(scale, motion, draw) if frames > 1 else (0.0, 0.0, 0.0)
    room = min(height / rows, width / columns) - 1
    # the window grows, or has grown before: never is less than its own size seen, which would be enlarging
    growths = [min(abs(zoom) * (index if zoom > 0 else frames - 1 - index), room) for index in range(frames)]
    top, left = draw.uniform(0, height - rows), draw.uniform(0, width - columns)
    windows = []
    for index, growth in enumerate(growths):
        seen_rows, seen_columns = round(rows * (1 + growth)), round(columns * (1 + growth))
        row = round(min(max(top + index * down, 0), height - seen_rows))
        column = round(min(max(left + index * across, 0), width - seen_columns))
        seen = picture[:, row : row + seen_rows, column : column + seen_columns]
        windows.append(_sized(seen.float() / 255, size))
    return torch.stack(windows)


def surroundings(picture: Tensor, *, frames: int, kept: int, scale: int, motion: Motion, draw: Draw) -> Tensor:
    """The clip in which a whole picture (3, H, W) is frame `kept`: (frames, 3, H, W), its border repeated outwards.

    Windows are shifted by whole pixels and nothing is zoomed, so that frame `kept` is the picture itself.
    """
    _, height, width = picture.shape
    down, across, _ = _pace(scale, motion, draw)
    reach = [max(kept, frames - 1 - kept) * pace for pace in (abs(down), abs(across))]
    vertical, horizontal = (round(r) + 1 for r in reach)
    wide = F.pad(picture[None], (horizontal, horizontal, vertical, vertical), mode="replicate")[0]
    shifts = [
        (round((index - kept) * down) + vertical, round((index - kept) * across) + horizontal)
        for index in range(frames)
    ]
    return torch.stack([wide[:, row : row + height, column : column + width] for row, column in shifts])


def _pace(scale: int, motion: Motion, draw: Draw) -> tuple[float, float, float]:
    """Pixels of the picture a frame downwards and to the right, and growth a frame."""
    if draw.chance(motion.still_chance):
        draw.note("still")
        return 0.0, 0.0, 0.0
    down, across = draw.uniform(*motion.pace), draw.uniform(*motion.pace)
    zoom = draw.uniform(*motion.zoom)
    draw.note(f"moves {across:+.1f} {down:+.1f} px")
    return down * scale, across * scale, zoom


def _sized(window: Tensor, size: tuple[int, int]) -> Tensor:
    if window.shape[1:] == size:
        return window
    return F.interpolate(window[None], size, mode="bicubic", antialias=True)[0].clamp(0, 1)
