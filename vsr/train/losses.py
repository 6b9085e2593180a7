"""How far a result lies from the truth, as scalars to minimise.

Pictures are (N, 3, H, W) RGB of any float type, [0, 1] for the truth; a result may leave that range. Each scalar is a
mean, so it does not depend on the size of batch and crop, and is computed in float32 whatever autocast is around it.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vsr.train.kernels import blur, gaussian

PixelKind = Literal["l1", "mse", "charbonnier"]
CHARBONNIER_EPSILON = 1e-6  # BasicSR's, which writes its square, and of those who follow it; the paper has 1e-3
LDL_WINDOW = 7
DRIFT_SIGMA = 2.0  # pixels of the low picture: noise and compression below this are not colour


def full_precision(tensor: Tensor) -> torch.autocast:
    """A context without autocast where `tensor` lies: its sums of squares and logarithms do not bear 8 bits."""
    return torch.autocast(tensor.device.type, enabled=False)


def pixel_loss(kind: PixelKind, *, on_luma: bool = False) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of (result, truth) over pixels: mean absolute, mean squared, or mean Charbonnier difference.

    `on_luma` compares BT.601 luma (ITU-R BT.601, full range) alone: over RGB, a network that only makes luma is drawn
    to the mean of the channels' errors, which is another picture.

    Charbonnier is the root of d^2 + epsilon^2, whose gradient is 0 where nothing differs. Source: Lai et al. 2017
    (LapSRN), section 3.3; with CHARBONNIER_EPSILON it is absolute but for that point. The loss raises ValueError when
    sizes differ.
    """
    formula: dict[PixelKind, Callable[[Tensor], Tensor]] = {
        "l1": torch.abs,
        "mse": torch.square,
        "charbonnier": lambda d: torch.sqrt(d.square() + CHARBONNIER_EPSILON**2),
    }
    chosen = formula[kind]

    def loss(result: Tensor, truth: Tensor) -> Tensor:
        with full_precision(result):
            difference = _difference(result, truth)
            return chosen(_luma(difference) if on_luma else difference).mean()

    return loss


def total_variation(pictures: Tensor) -> Tensor:
    """Mean absolute step from a pixel to the one below plus that to the one at its right; 0 for a flat picture.

    At least 2 pixels each way. Source: Rudin, Osher, Fatemi 1992, in the anisotropic form.
    """
    with full_precision(pictures):
        x = pictures.float()
        return x.diff(dim=2).abs().mean() + x.diff(dim=3).abs().mean()


def ldl(result: Tensor, truth: Tensor, ema_result: Tensor) -> Tensor:
    """L1 where details look made up: where the residual varies much and the averaged generator does better.

    `ema_result` is what the averaged weights make of the same input; no gradient reaches it. At least 4 pixels each
    way. ValueError when sizes differ. Source: Liang et al. 2022 (Details or Artifacts), section 3.2, with the
    authors' choices: the residual is summed over the channels, its variance in a picture raised to 1/5 scales that in
    each window of LDL_WINDOW. Unlike theirs the map is held constant in the gradient: the fifth root's is infinite
    where a result equals the truth.
    """
    with full_precision(result):
        difference = _difference(result, truth)
        with torch.no_grad():
            residual = difference.abs().sum(1, keepdim=True)
            averaged = _difference(ema_result, truth).abs().sum(1, keepdim=True)
            weight = residual.var(dim=(1, 2, 3), keepdim=True) ** (1 / 5) * _local_variance(residual)
            weight = torch.where(residual < averaged, 0, weight)
        return (weight * difference.abs()).mean()


def consistency(result: Tensor, low: Tensor) -> Tensor:
    """L1 between the colours of a result and those of the low picture it was made from, details left out.

    The result is averaged down to `low` (N, 3, H / scale, W / scale), then both are blurred by DRIFT_SIGMA. ValueError
    when the result's size is no multiple of the low picture's.
    """
    size, small = result.shape[2:], low.shape[2:]
    scale = size[0] // small[0]
    if size != (scale * small[0], scale * small[1]):
        raise ValueError(f"result of {tuple(size)} is no multiple of its source of {tuple(small)}")
    reach = round(3 * DRIFT_SIGMA)
    kernel = gaussian(2 * reach + 1, sigma_x=DRIFT_SIGMA, sigma_y=DRIFT_SIGMA, rotation=0).to(result.device)
    with full_precision(result):
        difference = F.avg_pool2d(result.float(), scale) - low.float()
        return blur(difference, kernel).abs().mean()  # a blur is linear: one is enough for both


@torch.no_grad()
def colour_drift(result: Tensor, low: Tensor) -> Tensor:
    """By how many 8-bit codes R, G and B of a result are brighter than the picture it was made from: (3,) float32.

    To be logged: a mean over the batch with its sign, in which opposite shifts of two pictures cancel.
    """
    return 255 * (result.float().mean((0, 2, 3)) - low.float().mean((0, 2, 3)))  # no size changes a mean


def _difference(result: Tensor, truth: Tensor) -> Tensor:
    if result.shape != truth.shape:
        raise ValueError(f"result of {tuple(result.shape)} and truth of {tuple(truth.shape)} cannot be compared")
    return result.float() - truth.float()


def _luma(rgb: Tensor) -> Tensor:
    """(N, 1, H, W); linear, so that of a difference is the difference of both."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=rgb.device).view(1, 3, 1, 1)
    return (rgb * weights).sum(1, keepdim=True)


def _local_variance(x: Tensor) -> Tensor:
    """Unbiased variance in the window around each pixel, mirrored at the border."""
    margin, count = LDL_WINDOW // 2, LDL_WINDOW**2
    x = F.pad(x, (margin, margin, margin, margin), mode="reflect")
    mean = F.avg_pool2d(x, LDL_WINDOW, stride=1)
    square = F.avg_pool2d(x.square(), LDL_WINDOW, stride=1)
    return (square - mean.square()).clamp(min=0) * count / (count - 1)  # rounding can leave it below 0
