"""Change the size of pictures: one filter, down and up."""

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def resize(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize to (height, width) with one antialiased bicubic filter.

    `picture`: (n, c, h, w) float32 in [0, 1]; so is the result, clamped, because a bicubic filter overshoots at edges.
    At the wanted size already: the tensor itself, untouched. On MPS the filter runs on the CPU, since not every torch
    we support has it there.
    """
    if picture.shape[-2:] == size:
        return picture
    source = picture.cpu() if picture.device.type == "mps" else picture
    resized = F.interpolate(source, size, mode="bicubic", antialias=True).clamp_(0, 1)
    return resized.to(picture.device)
