"""The second-order degradation: a truth in, what a network will be shown out.

Source: Real-ESRGAN (Wang et al. 2021, section 3, and the published option files). Three departures: every draw is the
sample's own, also those that the official code makes once a batch; JPEG is a real encoder's; the last storage may be a
clip. `vsr.degradation` says what can be set.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from vsr.degradation import Blur, Degradation, Filter, Final, Noise, Order, Resize
from vsr.engine.matlab import shrink
from vsr.train.draw import Draw
from vsr.train.film import print_on_film
from vsr.train.kernels import blur, draw_kernel, draw_ringing
from vsr.train.motion import surroundings
from vsr.train.sharpen import sharpen
from vsr.train.storage import store, to_bytes

LEAST_SIDE = 8  # pixels of the result and of every size on the way


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """What became of a truth."""

    low: Tensor  # (T, 3, H / scale, W / scale) uint8, what the network is shown
    drawn: tuple[str, ...]  # what was done, in order, for people
    failures: int  # clips whose codec failed and that a JPEG stands in for


def degrade(truth: Tensor, settings: Degradation, *, scale: int, generator: Generator) -> Damaged:
    """Damage one still or clip.

    `truth` is (T, 3, H, W) float32 RGB in [0, 1] on any device; all frames share what is drawn, except noise. A single
    frame with `settings.frames` > 1 goes through codecs as one frame of a moving clip of itself. The same truth,
    settings and state of `generator`, one on the CPU, give the same sample on the same kind of device. With
    `settings.sharpen` the damage starts from `sharpen(truth)`, which is then also what a network should give back.
    Raises ValueError unless H and W are multiples of `scale` and at least LEAST_SIDE times it.
    """
    height, width = truth.shape[2:]
    if height % scale or width % scale or min(height, width) < LEAST_SIDE * scale:
        raise ValueError(f"{width}x{height}: sides must be multiples of {scale}, {LEAST_SIDE * scale} or more")
    draw = Draw(generator)
    wanted = sharpen(truth) if settings.sharpen else truth
    if draw.chance(settings.clean):
        draw.note("clean")
        return Damaged(low=shrink(to_bytes(wanted), scale), drawn=tuple(draw.notes), failures=0)
    frames, kept = wanted, slice(None)
    if len(truth) == 1 and settings.frames > 1:
        place = draw.integer(0, settings.frames - 1)
        frames = surroundings(
            wanted[0], frames=settings.frames, kept=place, scale=scale, motion=settings.motion, draw=draw
        )
        kept = slice(place, place + 1)
    low, failures = _damaged(frames, settings, (height // scale, width // scale), draw)
    return Damaged(low=to_bytes(low[kept]), drawn=tuple(draw.notes), failures=failures)


def _damaged(frames: Tensor, settings: Degradation, size: tuple[int, int], draw: Draw) -> tuple[Tensor, int]:
    """Both orders, down to (height, width) `size`; besides, how many codecs failed."""
    frames = print_on_film(frames, settings.film, draw)
    frames = _one_order(frames, settings.first, (frames.shape[2], frames.shape[3]), draw)
    frames, failed_first = store(frames, settings.first.compression, draw)
    frames = _one_order(frames, settings.second, size, draw)
    is_before = draw.chance(settings.final.before_storage)
    if is_before:
        frames = _finished(frames, settings.final, size, draw)
    frames, failed_second = store(frames, settings.second.compression, draw)
    if not is_before:
        frames = _finished(frames, settings.final, size, draw)
    return frames, failed_first + failed_second


def _one_order(frames: Tensor, order: Order, base: tuple[int, int], draw: Draw) -> Tensor:
    """Lens, size and noise; `base` is the (height, width) that the factor of size is relative to."""
    frames = _blurred(frames, order.blur, draw)
    frames = _detoured(frames, order.resize, base, draw)
    return _noisy(frames, order.noise, draw)


def _blurred(frames: Tensor, settings: Blur, draw: Draw) -> Tensor:
    if not draw.chance(settings.chance):
        return frames
    return blur(frames, draw_kernel(settings, draw).to(frames.device))


def _detoured(frames: Tensor, settings: Resize, base: tuple[int, int], draw: Draw) -> Tensor:
    smallest, largest = settings.factor
    way = draw.choice({"up": settings.up, "down": settings.down, "keep": settings.keep})
    factor = {"up": draw.uniform(1, largest), "down": draw.uniform(smallest, 1), "keep": 1.0}[way]
    return _sized(frames, tuple(max(LEAST_SIDE, int(side * factor)) for side in base), settings.filters, draw)


def _sized(frames: Tensor, size: tuple[int, ...], filters: Mapping[Filter, float], draw: Draw) -> Tensor:
    """Change the size with a drawn filter, without antialiasing: aliasing is part of the damage."""
    mode = draw.choice(filters)
    if tuple(frames.shape[2:]) == size:
        return frames
    draw.note(f"{mode} to {size[1]}x{size[0]}")
    return F.interpolate(frames, size, mode=mode)


def _noisy(frames: Tensor, settings: Noise, draw: Draw) -> Tensor:
    if not draw.chance(settings.chance):
        return frames
    is_gaussian, is_gray = draw.chance(settings.gaussian), draw.chance(settings.gray)
    strength = draw.uniform(*(settings.sigma if is_gaussian else settings.poisson))
    kind = f"noise {strength:.1f}" if is_gaussian else f"shot noise {strength:.2f}"
    draw.note(f"gray {kind}" if is_gray else kind)
    generator = draw.on(frames.device)
    if not is_gaussian:
        return (frames + strength * _shot_noise(frames, is_gray, generator)).clamp(0, 1)
    n, _, height, width = frames.shape
    noise = torch.randn(n, 1 if is_gray else 3, height, width, generator=generator, device=frames.device)
    return (frames + strength / 255 * noise).clamp(0, 1)


def _shot_noise(frames: Tensor, is_gray: bool, generator: Generator) -> Tensor:
    """Poisson noise as if white were as many photons as the picture has levels, rounded up to a power of two."""
    codes = frames.mul(255).round().clamp(0, 255)
    if is_gray:
        weights = torch.tensor([0.2989, 0.5870, 0.1140], device=frames.device).view(1, 3, 1, 1)
        codes = (codes * weights).sum(1, keepdim=True).round()
    levels = torch.stack([torch.bincount(one.flatten().long(), minlength=256).count_nonzero() for one in codes])
    photons = torch.exp2(torch.log2(levels.float()).ceil()).view(-1, 1, 1, 1)
    light = codes / 255
    return torch.poisson(light * photons, generator=generator) / photons - light


def _finished(frames: Tensor, settings: Final, size: tuple[int, int], draw: Draw) -> Tensor:
    """The final size, then ringing or nothing."""
    frames = _sized(frames, size, settings.filters, draw)
    if not draw.chance(settings.sinc_chance):
        return frames
    return blur(frames, draw_ringing(settings.sinc_size, draw).to(frames.device))
