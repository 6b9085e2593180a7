"""MATLAB's bicubic, by which the field makes its small pictures and its baseline: `shrink` and `enlarge`, 8 bits."""

import torch
import torch.nn.functional as F
from torch import Tensor

_MARGIN = 4  # source pixels around a picture to enlarge: more than the two that the kernel reaches


@torch.no_grad()
def shrink(pictures: Tensor, scale: int) -> Tensor:
    """Make pictures 1/scale the size: antialiased, rounded to 8 bits after the rows and again after the columns.

    (N, 3, H, W) uint8 in and out. This is the integer path of MATLAB's imresize, which repeats the border and by which
    the small halves of the usual test sets were made: Set5 and Set14 at x2, x3 and x4 come out bit for bit.
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


@torch.no_grad()
def enlarge(pictures: Tensor, scale: int) -> Tensor:
    """Make pictures `scale` times the size by the formula of imresize: a = -0.5, borders mirrored, rounded once.

    (N, 3, H, W) uint8 in and out: the bicubic that published tables compare with.
    """
    n, c, height, width = pictures.shape
    rows, columns = (_mirrored(length, pictures.device) for length in (height, width))
    # without interpolate's antialias, the kernel would be another (a = -0.75), 0.2 dB too good on Set5
    wide = pictures[:, :, rows][:, :, :, columns].double()
    size = (wide.shape[2] * scale, wide.shape[3] * scale)
    large = F.interpolate(wide, size, mode="bicubic", antialias=True)
    kept = slice(_MARGIN * scale, -_MARGIN * scale)
    return _to_bytes(large[:, :, kept, kept]).view(n, c, height * scale, width * scale)


def _mirrored(length: int, device: torch.device) -> Tensor:
    """Indices of a line of pixels with _MARGIN more at both ends: ... 1 0 | 0 1 ... n-1 | n-1 n-2 ..."""
    places = torch.arange(-_MARGIN, length + _MARGIN, device=device) % (2 * length)
    return torch.minimum(places, 2 * length - 1 - places)


def _to_bytes(x: Tensor) -> Tensor:
    return x.clamp(0, 255).add(0.5).floor().to(torch.uint8)
