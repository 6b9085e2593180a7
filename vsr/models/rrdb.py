"""RRDB upscaler: residual-in-residual dense blocks at low resolution, then nearest upsampling and convolutions.

Source: RRDBNet, XPixelGroup/BasicSR basicsr/archs/rrdbnet_arch.py, Apache-2.0. State-dict keys are the same.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

UNSHUFFLE = {1: 4, 2: 2, 4: 1, 8: 1}  # scale -> factor by which the input is folded into channels first
RESIDUAL_SCALE = 0.2


class ResidualDenseBlock(nn.Module):
    """Five convolutions, each on everything before it; the last is added to the input at a fifth."""

    def __init__(self, num_feat: int, num_grow_ch: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_grow_ch, 3, 1, 1)
        self.conv2 = nn.Conv2d(num_feat + num_grow_ch, num_grow_ch, 3, 1, 1)
        self.conv3 = nn.Conv2d(num_feat + 2 * num_grow_ch, num_grow_ch, 3, 1, 1)
        self.conv4 = nn.Conv2d(num_feat + 3 * num_grow_ch, num_grow_ch, 3, 1, 1)
        self.conv5 = nn.Conv2d(num_feat + 4 * num_grow_ch, num_feat, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x1 = _leaky(self.conv1(x))
        x2 = _leaky(self.conv2(torch.cat((x, x1), 1)))
        x3 = _leaky(self.conv3(torch.cat((x, x1, x2), 1)))
        x4 = _leaky(self.conv4(torch.cat((x, x1, x2, x3), 1)))
        x5 = self.conv5(torch.cat((x, x1, x2, x3, x4), 1))
        return torch.add(x, x5, alpha=RESIDUAL_SCALE)


class RRDB(nn.Module):
    """Three dense blocks, added to their input at a fifth."""

    def __init__(self, num_feat: int, num_grow_ch: int) -> None:
        super().__init__()
        self.rdb1 = ResidualDenseBlock(num_feat, num_grow_ch)
        self.rdb2 = ResidualDenseBlock(num_feat, num_grow_ch)
        self.rdb3 = ResidualDenseBlock(num_feat, num_grow_ch)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(x))), alpha=RESIDUAL_SCALE)


class RRDBNet(nn.Module):
    """The ESRGAN generator. Scales 2 and 1 fold the input into channels by 2 and 4 and keep the x4 tail.

    ESRGAN's own networks of these scales fold nothing (`folding` 1) and double less.
    `forward` takes fp32 RGB (N, 3, H, W) in [0, 1] and returns fp32 (N, 3, H*scale, W*scale), not clamped,
    whatever the type of the weights. H and W must be multiples of `multiple`.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        out_channels: int = 3,
        num_feat: int = 64,
        num_block: int = 23,
        num_grow_ch: int = 32,
        scale: int = 4,
        folding: int | None = None,
    ) -> None:
        super().__init__()
        self.num_feat, self.num_block, self.num_grow_ch, self.scale = num_feat, num_block, num_grow_ch, scale
        self.folding = UNSHUFFLE[scale] if folding is None else folding
        self.doublings = round(math.log2(scale * self.folding))  # after the body
        self.conv_first = nn.Conv2d(in_channels * self.folding**2, num_feat, 3, 1, 1)
        self.body = nn.Sequential(*(RRDB(num_feat, num_grow_ch) for _ in range(num_block)))
        self.conv_body = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        for number in range(1, self.doublings + 1):
            self.add_module(f"conv_up{number}", nn.Conv2d(num_feat, num_feat, 3, 1, 1))
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv_last = nn.Conv2d(num_feat, out_channels, 3, 1, 1)

    @property
    def reach(self) -> int:
        """Source pixels to each side of its own that an output pixel depends on, exactly."""
        return _reach(self.folding, self.doublings, body_radius=2 + 15 * self.num_block)

    @property
    def multiple(self) -> int:
        """Height and width of the input must be multiples of this."""
        return self.folding

    def forward(self, x: Tensor) -> Tensor:
        folded = F.pixel_unshuffle(x, self.multiple) if self.multiple > 1 else x
        feat = self.conv_first(folded.to(self.conv_first.weight.dtype))
        feat = feat + self.conv_body(self.body(feat))
        for number in range(1, self.doublings + 1):
            conv: nn.Module = getattr(self, f"conv_up{number}")
            feat = _leaky(conv(F.interpolate(feat, scale_factor=2, mode="nearest")))
        return self.conv_last(_leaky(self.conv_hr(feat))).float()


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2, inplace=True)


def _reach(folding: int, doublings: int, *, body_radius: int) -> int:
    """Walk from each output pixel of one feature cell back to the source, outermost taps only.

    `body_radius` is in feature cells. The two halves of a doubled pixel see different neighbours, so no formula
    by layer count is exact.
    """
    cell = 2**doublings  # output pixels of one feature cell
    farthest = 0
    for position in range(cell):
        low, high = position - 2, position + 2  # conv_hr and conv_last
        for _ in range(doublings):
            low, high = (low - 1) // 2, (high + 1) // 2
        source = position * folding // cell
        first, last = (low - body_radius) * folding, (high + body_radius) * folding + folding - 1
        farthest = max(farthest, source - first, last - source)
    return farthest
