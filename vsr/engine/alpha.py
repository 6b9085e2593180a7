"""Pictures with transparency: hidden colours kept out of what is seen, and alpha upscaled as a picture of its own.

Alpha is straight, not multiplied into the colours. Filling holes from ever coarser pictures: Gortler et al., "The
Lumigraph", SIGGRAPH 1996, section 3.4 (pull-push); here a pixel takes the finest picture that knows it, alone.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def bleed(rgb: Tensor, alpha: Tensor) -> Tensor:
    """Give pixels that cannot be seen the colour of the nearest ones that can.

    What lies under full transparency is arbitrary, and a network would mix it into the edge. `rgb`: (n, 3, h, w) float,
    `alpha`: (n, 1, h, w), both in [0, 1]. Pixels with any alpha keep their colour exactly; the rest take a mean of what
    is near, weighted by alpha and smooth, and black where a whole picture is transparent. One pass of a pyramid: time
    and memory grow with the picture's size only.
    """
    seen = alpha > 0
    return torch.where(seen, rgb, _filled(rgb * alpha, alpha))


@torch.no_grad()
def upscale_with_alpha(rgb: Tensor, alpha: Tensor, upscale: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Upscale colours and alpha through the same network; returns both, (n, 3, H, W) and (n, 1, H, W).

    `rgb`: (n, 3, h, w) float32, `alpha`: (n, 1, h, w), both in [0, 1], alpha straight. `upscale` takes and gives
    (n, 3, ., .) in [0, 1] and is called once with the colours, bled first, and once with alpha as a gray picture, if
    that is not the same all over. Alpha is exactly 0 or 1 wherever a source pixel and its eight neighbours are.
    """
    high = upscale(bleed(rgb, alpha))
    return high, upscale_alpha(alpha, high.shape[-1] // rgb.shape[-1], upscale)


@torch.no_grad()
def upscale_alpha(alpha: Tensor, scale: int, upscale: Callable[[Tensor], Tensor]) -> Tensor:
    """Upscale (n, 1, h, w) alpha in [0, 1] by `scale`; see `upscale_with_alpha`."""
    low, high = _lowest(alpha), _highest(alpha)
    if bool((low == high).all()):
        return _repeated(alpha, scale)  # flat all over, mostly opaque: nothing that a network could add
    gray = upscale(alpha.expand(-1, 3, -1, -1)).mean(1, keepdim=True).clamp_(0, 1)
    gray.masked_fill_(_repeated(high == 0, scale), 0)
    return gray.masked_fill_(_repeated(low == 1, scale), 1)


def _filled(colour: Tensor, weight: Tensor) -> Tensor:
    """Colour for every pixel from colours multiplied by their weights: smooth, from the finest scale that has any."""
    height, width = weight.shape[-2:]
    if height == width == 1:
        return colour / weight.clamp_min(torch.finfo(weight.dtype).tiny)
    small = [_halved(colour), _halved(weight)]
    near, known = (_doubled(part, height, width) for part in small)
    far = _doubled(_filled(*small), height, width)
    return torch.where(known > 0, near / known.clamp_min(torch.finfo(weight.dtype).tiny), far)


def _halved(picture: Tensor) -> Tensor:
    """Sums of two by two pixels; a last odd row or column stands alone."""
    return F.avg_pool2d(picture, 2, ceil_mode=True, divisor_override=1)


def _doubled(picture: Tensor, height: int, width: int) -> Tensor:
    whole = F.interpolate(picture, scale_factor=2, mode="bilinear", align_corners=False)
    return whole[..., :height, :width]


def _highest(alpha: Tensor) -> Tensor:
    return F.max_pool2d(alpha, 3, stride=1, padding=1)


def _lowest(alpha: Tensor) -> Tensor:
    return -_highest(-alpha)


def _repeated(picture: Tensor, scale: int) -> Tensor:
    return picture.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
