"""MATLAB's imresize on 8 bits: how the field makes its small pictures, and the baselines it compares with."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

_REACH = 3  # source pixels, of the widest kernel when enlarging
_Kernel = Callable[[Tensor], Tensor]  # weight at a distance in source pixels


@torch.no_grad()
def shrink(pictures: Tensor, scale: int) -> Tensor:
    """Make pictures 1/scale the size: bicubic, antialiased, rounded after the rows and again after the columns.

    (N, 3, H, W) uint8 in and out. This is the integer path of imresize, which repeats the border and by which the
    small halves of the usual test sets were made: Set5 at x2, x3, x4 and Set14 at x3, x4 come out bit for bit.
    ValueError when a side is no multiple of `scale`.
    """
    _, _, height, width = pictures.shape
    if height % scale or width % scale:
        raise ValueError(f"{width}x{height}: sides must be multiples of {scale}")
    if scale == 1:
        return pictures
    return _shrunk_rows(_shrunk_rows(pictures, scale).transpose(2, 3), scale).transpose(2, 3).contiguous()


def _shrunk_rows(x: Tensor, scale: int) -> Tensor:
    """Fewer rows, as many columns."""
    pad = 4 * scale  # the kernel reaches 2 * scale; a whole number of results, so that none moves
    wide = F.pad(x.float(), (0, 0, pad, pad), mode="replicate")
    small = F.interpolate(wide, (wide.shape[2] // scale, wide.shape[3]), mode="bicubic", antialias=True)
    return _to_bytes(small[:, :, pad // scale : -pad // scale])


def enlarge(pictures: Tensor, scale: int) -> Tensor:
    """Make pictures `scale` times the size by Keys' cubic with a = -0.5: the bicubic of published tables.

    (N, 3, H, W) uint8 in and out; borders are mirrored, and values rounded once.
    """
    return _enlarged(pictures, scale, _keys)


def enlarge_lanczos(pictures: Tensor, scale: int) -> Tensor:
    """As `enlarge`, by Lanczos' kernel of three lobes."""
    return _enlarged(pictures, scale, _lanczos)


@torch.no_grad()
def _enlarged(pictures: Tensor, scale: int, kernel: _Kernel) -> Tensor:
    phase = (torch.arange(scale, dtype=torch.float64).view(-1, 1) + 0.5) / scale - 0.5
    taps = kernel((torch.arange(-_REACH, _REACH + 1) - phase).abs())
    taps = (taps / taps.sum(1, keepdim=True)).view(scale, 1, 1, -1).to(pictures.device)
    n, c, height, width = pictures.shape
    x = pictures.double().flatten(0, 1)[:, None]  # (N * 3, 1, H, W)
    for _ in range(2):  # columns, then rows
        phases = F.conv2d(x[..., _mirrored(x.shape[3], x.device)], taps)
        x = phases.permute(0, 2, 3, 1).flatten(2)[:, None].transpose(2, 3)
    return _to_bytes(x.reshape(n, c, height * scale, width * scale))


def _keys(distance: Tensor) -> Tensor:
    """Source: Keys, Cubic Convolution Interpolation for Digital Image Processing, 1981, eq. 15."""
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    return torch.where(distance <= 1, near, far.where(distance < 2, 0))


def _lanczos(distance: Tensor) -> Tensor:
    return (torch.sinc(distance) * torch.sinc(distance / _REACH)).where(distance < _REACH, 0)


def _mirrored(length: int, device: torch.device) -> Tensor:
    """Indices of a line of pixels with _REACH more at both ends: ... 1 0 | 0 1 ... n-1 | n-1 n-2 ..."""
    places = torch.arange(-_REACH, length + _REACH, device=device) % (2 * length)
    return torch.minimum(places, 2 * length - 1 - places)


def _to_bytes(x: Tensor) -> Tensor:
    return x.clamp(0, 255).add(0.5).floor().to(torch.uint8)
