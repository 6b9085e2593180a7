"""What a film print brings along: grain, a lamp that is never quite steady, dirt."""

import math

import torch
from torch import Generator, Tensor

from vsr.degradation import Film
from vsr.train.draw import Draw
from vsr.train.kernels import blur, gaussian

_SHARED = 0.7  # part of the grain's variance that all three channels have in common: dye clouds lie over one another


def print_on_film(frames: Tensor, film: Film, draw: Draw) -> Tensor:
    """Grain, flicker and dirt on frames (T, 3, H, W), float in [0, 1], each frame with its own; the result is clamped.

    Grain is strongest in the middle tones, as in scans: its deviation falls to a third in black and in white.
    """
    if not draw.chance(film.chance):
        return frames
    strength, size = draw.uniform(*film.grain), draw.uniform(*film.grain_size)
    flicker, dirt = draw.uniform(*film.flicker), draw.uniform(*film.dirt)
    draw.note(f"grain {strength:.1f} of {size:.1f} px, flicker {flicker:.1%}, dirt {dirt:.0f}")
    generator = draw.on(frames.device)
    gains = 1 + flicker * torch.randn(len(frames), 1, 1, 1, generator=generator, device=frames.device)
    printed = (frames * gains).clamp(0, 1)
    tone = printed.mean(1, keepdim=True)
    weight = 1 / 3 + 2 / 3 * 4 * tone * (1 - tone)
    printed = printed + _grain(printed, size, generator) * weight * (strength / 255)
    for frame in printed:
        _soil(frame, dirt, draw)
    return printed.clamp(0, 1)


def _grain(like: Tensor, size: float, generator: Generator) -> Tensor:
    """Noise of unit variance whose grains have Gaussian shape with sigma `size`, partly common to all channels."""
    n, _, height, width = like.shape
    common, own = (torch.randn(n, c, height, width, generator=generator, device=like.device) for c in (1, 3))
    mixed = math.sqrt(_SHARED) * common + math.sqrt(1 - _SHARED) * own
    side = 2 * math.ceil(2.5 * size) + 1
    kernel = gaussian(side, sigma_x=size, sigma_y=size, rotation=0.0)
    return blur(mixed, kernel.to(like.device)) / float(kernel.square().sum().sqrt())


def _soil(frame: Tensor, density: float, draw: Draw) -> None:
    """Put spots and hairs on (3, H, W) in place: `density` a megapixel, most of them dark."""
    _, height, width = frame.shape
    expected = density * height * width / 1e6
    count = int(expected) + draw.chance(expected % 1)
    for _ in range(count):
        row, column = draw.uniform(0, height), draw.uniform(0, width)
        radius, stretch = draw.uniform(0.5, 0.01 * min(height, width) + 1), draw.uniform(1, 4)
        angle, shade = draw.uniform(0, math.pi), float(draw.chance(0.3))
        opacity = draw.uniform(0.3, 0.9)
        reach = math.ceil(radius * stretch) + 2
        top, left = max(0, int(row) - reach), max(0, int(column) - reach)
        patch = frame[:, top : int(row) + reach + 1, left : int(column) + reach + 1]
        y = torch.arange(top, top + patch.shape[1], device=frame.device)[:, None] + 0.5 - row
        x = torch.arange(left, left + patch.shape[2], device=frame.device)[None] + 0.5 - column
        along, beside = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
        inside = radius - torch.sqrt((along / stretch) ** 2 + beside**2)
        patch.lerp_(torch.tensor(shade, device=frame.device), (inside + 0.5).clamp(0, 1) * opacity)
