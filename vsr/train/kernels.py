"""Blur kernels of the Real-ESRGAN degradation: their formulas, their draw, and filtering with them.

A kernel is (size, size) float32 on the CPU, computed in float64, odd in size, equal to itself turned by 180 degrees,
with a sum of 1. Source: Wang et al. 2021 (Real-ESRGAN), sections 3.1 and 3.3, with the conventions and the draws of
BasicSR's degradations but our own randomness.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vsr.degradation import Blur
from vsr.train.draw import Draw

_SMALL = 13  # windows below this size do not cut as low: they could not hold the ripple
_LOWEST_SMALL, _LOWEST = math.pi / 3, math.pi / 5  # cutoff, radians a pixel


def gaussian(size: int, *, sigma_x: float, sigma_y: float, rotation: float) -> Tensor:
    """Gaussian of the given deviations in pixels, its x axis turned by `rotation` radians from right towards down."""
    return _unit_sum(torch.exp(-_squared_distance(size, sigma_x, sigma_y, rotation) / 2))


def generalized_gaussian(size: int, *, sigma_x: float, sigma_y: float, rotation: float, beta: float) -> Tensor:
    """`gaussian` with the squared distance raised to `beta`: below 1 more peaked and wider-tailed, above 1 flatter."""
    return _unit_sum(torch.exp(-(_squared_distance(size, sigma_x, sigma_y, rotation) ** beta) / 2))


def plateau(size: int, *, sigma_x: float, sigma_y: float, rotation: float, beta: float) -> Tensor:
    """1 / (1 + d^beta) of the squared distance d that `gaussian` has: a flat top with long tails."""
    return _unit_sum(1 / (1 + _squared_distance(size, sigma_x, sigma_y, rotation) ** beta))


def sinc(size: int, *, cutoff: float) -> Tensor:
    """Ideal circular low-pass, cut off at the window's border: rings and overshoots, and so has negative values.

    `cutoff` in radians per pixel, above 0 to pi. Source: Wang et al. 2021, section 3.3.
    """
    offsets = _offsets(size)
    radius = torch.hypot(offsets[:, None], offsets)
    kernel = cutoff * torch.special.bessel_j1(cutoff * radius) / (2 * math.pi * radius)
    kernel[size // 2, size // 2] = cutoff**2 / (4 * math.pi)  # the limit: J1(x) is x / 2 near 0
    return _unit_sum(kernel)


def padded(kernel: Tensor, size: int) -> Tensor:
    """The kernel in the middle of zeros, (size, size), so that kernels of several sizes fit one batch.

    ValueError when `size` is even or smaller than the kernel.
    """
    margin, odd = divmod(size - kernel.shape[-1], 2)
    if margin < 0 or odd:
        raise ValueError(f"a kernel of {kernel.shape[-1]} cannot be padded to {size}")
    return F.pad(kernel, (margin, margin, margin, margin))


def draw_kernel(settings: Blur, draw: Draw) -> Tensor:
    """Draw a lens of odd size: one of the Gaussian family by `settings.kinds`, or now and then a sinc.

    Half the betas are drawn from the part of their range below 1 and half from the part above; where a part is missing
    they are the end next to 1.
    """
    size = _draw_size(settings.size, draw)
    if draw.chance(settings.sinc_chance):
        return _draw_sinc(size, _LOWEST_SMALL if size < _SMALL else _LOWEST, draw)
    kind = draw.choice(settings.kinds)
    family, _, shape = kind.rpartition("_")
    sigma_x = draw.uniform(*settings.sigma)
    is_round = shape == "iso"
    sigma_y = sigma_x if is_round else draw.uniform(*settings.sigma)
    angle = 0.0 if is_round else draw.uniform(*settings.rotation)
    what = f"{kind} sigma {sigma_x:.2f}" + ("" if is_round else f"/{sigma_y:.2f} {math.degrees(angle):.0f}°")
    if family == "":
        kernel = gaussian(size, sigma_x=sigma_x, sigma_y=sigma_y, rotation=angle)
    else:
        is_plateau = family == "plateau"
        beta = _draw_beta(settings.beta_plateau if is_plateau else settings.beta_generalized, draw)
        formula = plateau if is_plateau else generalized_gaussian
        kernel = formula(size, sigma_x=sigma_x, sigma_y=sigma_y, rotation=angle, beta=beta)
        what += f" beta {beta:.2f}"
    draw.note(f"{what}, {size} px")
    return kernel


def draw_ringing(sizes: tuple[int, int], draw: Draw) -> Tensor:
    """Draw a `sinc` of an odd size from the first to the last of `sizes`, cut off at pi / 3 to pi."""
    return _draw_sinc(_draw_size(sizes, draw), _LOWEST_SMALL, draw)


def blur(pictures: Tensor, kernels: Tensor) -> Tensor:
    """Filter pictures (N, 3, H, W) float32, each with its own of `kernels` (N, k, k), or all with one (k, k).

    k is odd; kernels lie on the pictures' device, and those of several sizes are first `padded` to the largest, which
    costs nothing. As in `conv2d` the kernel is not flipped. Pictures go on beyond their border as in a mirror set on
    the border pixel (reflect-101), many times over when smaller than the kernel. On a CPU, a picture comes out the
    same to the bit whatever else is in the batch. ValueError when counts or sizes do not fit.
    """
    count, size = len(pictures), kernels.shape[-1]
    if kernels.shape[-2] != size or size % 2 == 0 or kernels.shape[:-2] not in ((), (count,)):
        raise ValueError(f"kernels {tuple(kernels.shape)} do not fit {count} pictures: one odd square for each, or one")
    each = kernels.expand(count, size, size)
    if pictures.device.type != "cpu":
        return _correlated(pictures, each)
    # One by one: as fast as a batch or faster, for that outgrows the cache, and no picture can touch another.
    return torch.cat([_correlated(pictures[i : i + 1], each[i : i + 1]) for i in range(count)])


def _correlated(pictures: Tensor, kernels: Tensor) -> Tensor:
    """Through the frequency domain: takes as long for 21 pixels as for 7, and is never in TF32, as `conv2d` may be."""
    h, w = pictures.shape[2:]
    margin = kernels.shape[-1] // 2
    frame = (_quick_length(h + 2 * margin), _quick_length(w + 2 * margin))
    spectrum = torch.fft.rfft2(_mirrored(pictures, margin), s=frame)
    spectrum *= torch.fft.rfft2(kernels, s=frame).conj()[:, None]
    return torch.fft.irfft2(spectrum, s=frame)[:, :, :h, :w]


def _quick_length(least: int) -> int:
    """The first even length from `least` on with no prime factor above 7: what FFTs of real numbers are quick at."""
    length = least + least % 2
    while True:
        rest = length
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 2


def _mirrored(pictures: Tensor, margin: int) -> Tensor:
    if margin < min(pictures.shape[2:]):
        return F.pad(pictures, (margin, margin, margin, margin), mode="reflect")
    for axis in (2, 3):  # slower, but goes to and fro as often as it takes
        last = pictures.shape[axis] - 1
        places = torch.arange(-margin, last + 1 + margin, device=pictures.device) % max(2 * last, 1)
        pictures = pictures.index_select(axis, torch.minimum(places, 2 * last - places))
    return pictures


def _squared_distance(size: int, sigma_x: float, sigma_y: float, rotation: float) -> Tensor:
    """Of each tap from the middle, in deviations along the turned axes."""
    offsets = _offsets(size)
    x, y = offsets, offsets[:, None]
    along = x * math.cos(rotation) + y * math.sin(rotation)
    across = y * math.cos(rotation) - x * math.sin(rotation)
    return (along / sigma_x) ** 2 + (across / sigma_y) ** 2


def _offsets(size: int) -> Tensor:
    if size < 1 or size % 2 == 0:
        raise ValueError(f"kernel size {size}: must be odd, or the picture would move by half a pixel")
    return torch.arange(size, dtype=torch.float64) - size // 2


def _unit_sum(kernel: Tensor) -> Tensor:
    return (kernel / kernel.sum()).float()


def _draw_size(sizes: tuple[int, int], draw: Draw) -> int:
    """One of the odd sizes from the first to the last of `sizes`, both odd."""
    low, high = sizes
    return low + 2 * draw.integer(0, (high - low) // 2)


def _draw_sinc(size: int, lowest: float, draw: Draw) -> Tensor:
    cutoff = draw.uniform(lowest, math.pi)
    draw.note(f"sinc omega {cutoff:.2f}, {size} px")
    return sinc(size, cutoff=cutoff)


def _draw_beta(ends: tuple[float, float], draw: Draw) -> float:
    low, high = ends
    middle = min(max(low, 1), high)
    return draw.uniform(*((low, middle) if draw.chance(0.5) else (middle, high)))
