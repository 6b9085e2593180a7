"""SRResNet upscaler: residual blocks with batch normalisation at low resolution, then convolutions and pixel shuffles.

Source: Ledig et al., Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network, CVPR 2017,
section 2.1.1 and figure 4, the generator of SRGAN. State-dict keys are ours, after RRDBNet's.
"""

import torch
from torch import Tensor, nn

DOUBLINGS = {2: 1, 4: 2, 8: 3}  # scale -> pixel shuffles after the body


class ResidualBlock(nn.Module):
    """Two normalised convolutions, added to their input. The norm takes the place of a bias."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(num_feat)
        self.act = nn.PReLU()
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(num_feat)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))


class Doubling(nn.Module):
    """Twice the height and width: a convolution to four times the channels, a pixel shuffle, a PReLU."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_feat, 4 * num_feat, 3, 1, 1)
        self.shuffle = nn.PixelShuffle(2)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.shuffle(self.conv(x)))


class SRResNet(nn.Module):
    """The SRGAN generator. With `tanh` it works on [-1, 1] inside and its result cannot leave [0, 1].

    `forward` takes fp32 RGB (N, 3, H, W) in [0, 1] and returns fp32 (N, 3, H*scale, W*scale), not clamped,
    whatever the type of the weights.
    """

    def __init__(self, *, num_feat: int = 64, num_block: int = 16, scale: int = 4, tanh: bool = True) -> None:
        super().__init__()
        self.num_feat, self.num_block, self.scale, self.tanh = num_feat, num_block, scale, tanh
        self.conv_first = nn.Conv2d(3, num_feat, 9, 1, 4)
        self.act_first = nn.PReLU()
        self.body = nn.Sequential(*(ResidualBlock(num_feat) for _ in range(num_block)))
        self.conv_body = nn.Conv2d(num_feat, num_feat, 3, 1, 1, bias=False)
        self.bn_body = nn.BatchNorm2d(num_feat)
        self.up = nn.Sequential(*(Doubling(num_feat) for _ in range(DOUBLINGS[scale])))
        self.conv_last = nn.Conv2d(num_feat, 3, 9, 1, 4)

    @property
    def reach(self) -> int:
        """Source pixels to each side of its own that an output pixel depends on, exactly."""
        return reach_of_doublings(DOUBLINGS[self.scale], body_radius=5 + 2 * self.num_block)

    @property
    def multiple(self) -> int:
        """Height and width of the input must be multiples of this."""
        return 1

    def forward(self, x: Tensor) -> Tensor:
        low = to_symmetric(x) if self.tanh else x
        feat = self.act_first(self.conv_first(low.to(self.conv_first.weight.dtype)))
        feat = feat + self.bn_body(self.conv_body(self.body(feat)))
        high = self.conv_last(self.up(feat)).float()
        return from_symmetric(torch.tanh(high)) if self.tanh else high


def to_symmetric(x: Tensor) -> Tensor:
    """[0, 1] to [-1, 1]."""
    return 2 * x - 1


def from_symmetric(x: Tensor) -> Tensor:
    """[-1, 1] to [0, 1]."""
    return (x + 1) / 2


def reach_of_doublings(doublings: int, *, body_radius: int) -> int:
    """Walk from each output pixel of one source pixel back to the source, outermost taps only.

    `body_radius` is in source pixels. The two halves of a shuffled pixel lie differently far from their neighbours.
    """
    farthest = 0
    for position in range(2**doublings):
        low, high = position - 4, position + 4  # the last convolution, 9x9
        for _ in range(doublings):
            low, high = low // 2 - 1, high // 2 + 1
        farthest = max(farthest, body_radius - low, body_radius + high)
    return farthest
