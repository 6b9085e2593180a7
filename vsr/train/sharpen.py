"""Sharpening of the truth that Real-ESRGAN's networks learn from."""

import torch
from torch import Tensor

from vsr.train.kernels import blur, gaussian


def sharpen(pictures: Tensor, *, radius: int = 50, weight: float = 0.5, threshold: float = 10) -> Tensor:
    """Unsharp mask of (N, 3, H, W) float32 in [0, 1], kept away from flat places, in [0, 1].

    Where a picture differs from its Gaussian blur by more than `threshold` of 255, `weight` times the difference is
    added; the mask of these places is blurred likewise, so that no seam is seen. `radius` is the width of the Gaussian
    in pixels, made odd, and sets its deviation: 50 is 51 pixels with sigma 8. Borders, small pictures and batches are
    as for `blur`. Source: BasicSR's USMSharp, with which Real-ESRGAN was trained; OpenCV gives a width its sigma so.
    """
    size = radius | 1
    sigma = 0.3 * ((size - 1) / 2 - 1) + 0.8
    kernel = gaussian(size, sigma_x=sigma, sigma_y=sigma, rotation=0).to(pictures.device)
    detail = pictures - blur(pictures, kernel)
    mask = blur((detail.abs() > threshold / 255).to(pictures.dtype), kernel).clamp(0, 1)
    return torch.lerp(pictures, (pictures + weight * detail).clamp(0, 1), mask)
