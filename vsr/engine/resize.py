"""Change the size of pictures: one filter, down and up."""

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def resize(rgb: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize to (height, width) with one antialiased bicubic filter.

    `rgb`: (n, 3, h, w) float32 in [0, 1]; so is the result, clamped, because a bicubic filter overshoots at edges. At
    the wanted size already: the tensor itself, untouched. On MPS the filter runs on the CPU, since not every torch
    we support has it there.
    """
    if rgb.shape[-2:] == size:
        return rgb
    source = rgb.cpu() if rgb.device.type == "mps" else rgb
    resized = F.interpolate(source, size, mode="bicubic", antialias=True).clamp_(0, 1)
    return resized.to(rgb.device)
