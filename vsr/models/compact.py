"""Compact upscaler: convolutions at low resolution, one pixel shuffle at the end.

Source: SRVGGNetCompact, xinntao/Real-ESRGAN realesrgan/archs/srvgg_arch.py, BSD-3. State-dict keys are the same.
"""

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["prelu", "relu", "leakyrelu"]
_STRIP_BYTES = 3 << 20  # of one feature map: measured best from 2 to 5 MB with 1 MB of L2 a core and 32 MB of L3


class SRVGGNetCompact(nn.Module):
    """`num_conv` + 2 convolutions of 3x3, whose result is added to the nearest-upsampled input.

    `forward` takes fp32 RGB (N, 3, H, W) in [0, 1] and returns fp32 (N, 3, H*scale, W*scale), not clamped,
    whatever the type of the weights: the convolutions run in it, the skip path and the last sum in fp32.
    """

    def __init__(self, *, num_feat: int = 64, num_conv: int = 16, scale: int = 4, act: Activation = "prelu") -> None:
        super().__init__()
        self.num_feat, self.num_conv, self.scale, self.act = num_feat, num_conv, scale, act
        self.body = nn.ModuleList([nn.Conv2d(3, num_feat, 3, 1, 1), _activation(act, num_feat)])
        for _ in range(num_conv):
            self.body.extend([nn.Conv2d(num_feat, num_feat, 3, 1, 1), _activation(act, num_feat)])
        self.body.append(nn.Conv2d(num_feat, 3 * scale**2, 3, 1, 1))

    @property
    def reach(self) -> int:
        """Source pixels to each side of its own that an output pixel depends on, exactly."""
        return self.num_conv + 2

    @property
    def multiple(self) -> int:
        """Height and width of the input must be multiples of this."""
        return 1

    def forward(self, x: Tensor) -> Tensor:
        rows = self._strip_rows(x)
        if rows is not None:
            return self._forward_in_strips(x, rows)
        out = x.to(self._convolution(0).weight.dtype)
        for layer in self.body:
            out = layer(out)
        return self._add_skip(out, x)

    def _strip_rows(self, x: Tensor) -> int | None:
        """Rows of a strip that stays in a CPU's cache; None where strips gain nothing or gradients are wanted."""
        if x.device.type != "cpu" or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return None
        n, _, h, w = x.shape
        row_bytes = n * w * self.num_feat * self._convolution(0).weight.element_size()
        rows = max(_STRIP_BYTES // row_bytes, 8)
        return rows if h > rows + self.reach and not torch.compiler.is_compiling() else None

    def _forward_in_strips(self, x: Tensor, rows: int) -> Tensor:
        """What `forward` gives, computed `rows` rows at a time through all layers.

        Whole feature maps leave the cache after every layer, and from 32 MB on each one costs fresh pages from the
        system. Each layer keeps the last two rows of its input for the next strip, so nothing is computed twice.
        """
        n, _, h, w = x.shape
        result = torch.empty(n, 3, h * self.scale, w * self.scale)
        above: list[Tensor | None] = [None] * self.reach
        first = rows + self.reach  # every layer holds one row back until it has seen the next
        borders = [0, *range(first, h, rows), h]
        done = 0
        for top, bottom in pairwise(borders):
            out = x[:, :, top:bottom].to(self._convolution(0).weight.dtype)
            for index, kept in enumerate(above):
                out = out if kept is None else torch.cat((kept, out), 2)
                if kept is None or bottom == h:  # zeros beyond the picture; padding by nothing would copy
                    out = F.pad(out, (0, 0, int(kept is None), int(bottom == h)))
                above[index] = out[:, :, -2:].clone()
                conv = self._convolution(index)
                out = F.conv2d(out, conv.weight, conv.bias, padding=(0, 1))
                out = self.body[2 * index + 1](out) if index <= self.num_conv else out
            end = done + out.shape[2]
            result[:, :, done * self.scale : end * self.scale] = self._add_skip(out, x[:, :, done:end])
            done = end
        return result

    def _convolution(self, index: int) -> nn.Conv2d:
        conv = self.body[2 * index]
        assert isinstance(conv, nn.Conv2d)
        return conv

    def _add_skip(self, out: Tensor, x: Tensor) -> Tensor:
        skip = F.interpolate(x.float(), scale_factor=self.scale, mode="nearest")
        return skip.add_(F.pixel_shuffle(out, self.scale))


def init_as_skip(net: SRVGGNetCompact, generator: torch.Generator) -> None:
    """Set weights in place so that the output starts near the nearest-upsampled input and learns from the first step.

    Inner convolutions are the identity plus noise, the last one is small. With PyTorch's own initialisation deep
    networks of this kind stay at zero for hundreds of steps.
    """
    convolutions = [layer for layer in net.body if isinstance(layer, nn.Conv2d)]
    for index, conv in enumerate(convolutions):
        nn.init.kaiming_normal_(conv.weight, a=0.25, generator=generator)
        nn.init.zeros_(conv.bias)  # pyright: ignore[reportArgumentType]  # always built with a bias here
        if index == len(convolutions) - 1:
            conv.weight.data.mul_(0.01)
        elif index > 0:
            identity = nn.init.dirac_(torch.empty_like(conv.weight))
            conv.weight.data.mul_(0.3).add_(identity)


def _activation(act: Activation, num_feat: int) -> nn.Module:
    if act == "prelu":
        return nn.PReLU(num_feat)
    return nn.ReLU(inplace=True) if act == "relu" else nn.LeakyReLU(0.1, inplace=True)
