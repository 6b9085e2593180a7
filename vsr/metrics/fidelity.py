"""How near a picture is to the truth: PSNR and SSIM, measured as the super-resolution field does."""

import torch
import torch.nn.functional as F
from torch import Tensor

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
SSIM_C1, SSIM_C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def luma(rgb: Tensor) -> Tensor:
    """BT.601 studio-swing luma (N, 1, H, W), 16 to 235 in float64, not rounded.

    `rgb`: (N, 3, H, W), floats in [0, 1] or uint8. The result lies where `rgb` does, but on the CPU for MPS.
    """
    unit = _unit(rgb)
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64, device=unit.device)
    return 16 + (unit * weights.view(1, 3, 1, 1)).sum(1, keepdim=True)


def psnr_y(picture: Tensor, truth: Tensor, *, shave: int) -> Tensor:
    """Peak signal-to-noise ratio of luma in dB, per picture (N,); infinite where equal.

    Both (N, 3, H, W) as `luma` takes them; round to 8 bits first if the picture is to be stored so. `shave` pixels
    are left out at each side, as many as the scale by custom. ValueError when sizes differ or nothing is left.
    """
    a, b = _shaved(luma(picture), luma(truth), shave)
    return 10 * torch.log10(255**2 / (a - b).square().mean(dim=(1, 2, 3)))


def psnr_rgb(picture: Tensor, truth: Tensor, *, shave: int) -> Tensor:
    """Peak signal-to-noise ratio in dB over all three channels alike, per picture (N,); infinite where equal.

    Arguments as for `psnr_y`.
    """
    a, b = _shaved(_unit(picture), _unit(truth), shave)
    return -10 * torch.log10((a - b).square().mean(dim=(1, 2, 3)))


def ssim_y(picture: Tensor, truth: Tensor, *, shave: int) -> Tensor:
    """Structural similarity of luma, per picture (N,): a Gaussian window of 11 with sigma 1.5, whole windows only.

    Arguments as for `psnr_y`. Source: Wang et al. 2004, with the constants and border of the authors' MATLAB code.
    """
    a, b = _shaved(luma(picture), luma(truth), shave)
    if min(a.shape[2:]) < SSIM_WINDOW:
        raise ValueError(f"{a.shape[3]}x{a.shape[2]} after shaving is smaller than the window of {SSIM_WINDOW}")
    mean_a, mean_b = _windowed(a), _windowed(b)
    variance_a = _windowed(a * a) - mean_a**2
    variance_b = _windowed(b * b) - mean_b**2
    covariance = _windowed(a * b) - mean_a * mean_b
    likeness = (2 * mean_a * mean_b + SSIM_C1) * (2 * covariance + SSIM_C2)
    likeness = likeness / ((mean_a**2 + mean_b**2 + SSIM_C1) * (variance_a + variance_b + SSIM_C2))
    return likeness.mean(dim=(1, 2, 3))


def _unit(rgb: Tensor) -> Tensor:
    """float64, 0 to 1 if uint8 before."""
    rgb = rgb.cpu() if rgb.device.type == "mps" else rgb  # MPS has no float64
    return rgb.double() / 255 if rgb.dtype == torch.uint8 else rgb.double()


def _shaved(a: Tensor, b: Tensor, shave: int) -> tuple[Tensor, Tensor]:
    if a.shape != b.shape or min(a.shape[2:]) <= 2 * shave:
        raise ValueError(f"sizes {tuple(a.shape[2:])} and {tuple(b.shape[2:])} with {shave} shaved cannot be compared")
    inner = slice(shave, -shave or None)
    return a[:, :, inner, inner], b[:, :, inner, inner]


def _windowed(x: Tensor) -> Tensor:
    """Gaussian mean of every whole window."""
    offsets = torch.arange(SSIM_WINDOW, dtype=x.dtype, device=x.device) - SSIM_WINDOW // 2
    taps = torch.exp(-offsets.square() / (2 * SSIM_SIGMA**2))
    taps = (taps / taps.sum()).view(1, 1, 1, -1)
    return F.conv2d(F.conv2d(x, taps), taps.transpose(2, 3))
