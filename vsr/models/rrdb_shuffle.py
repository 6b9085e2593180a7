"""RRDB upscaler in SRGAN's frame: 9x9 ends, pixel shuffles and PReLU after the dense blocks, Tanh at the end.

Source: the body is ESRGAN's (Wang et al. 2018, section 3.1), the rest SRResNet's. Body keys are those of RRDBNet.
"""

import torch
from torch import Tensor, nn

from vsr.models.rrdb import RRDB
from vsr.models.srresnet import DOUBLINGS, Doubling, from_symmetric, reach_of_doublings, to_symmetric


class RRDBShuffleNet(nn.Module):
    """Residual-in-residual dense blocks on [-1, 1]; no batch normalisation.

    `forward` takes fp32 RGB (N, 3, H, W) in [0, 1] and returns fp32 (N, 3, H*scale, W*scale) in [0, 1],
    whatever the type of the weights.
    """

    def __init__(self, *, num_feat: int = 64, num_block: int = 23, num_grow_ch: int = 32, scale: int = 4) -> None:
        super().__init__()
        self.num_feat, self.num_block, self.num_grow_ch, self.scale = num_feat, num_block, num_grow_ch, scale
        self.conv_first = nn.Conv2d(3, num_feat, 9, 1, 4)
        self.body = nn.Sequential(*(RRDB(num_feat, num_grow_ch) for _ in range(num_block)))
        self.conv_body = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.up = nn.Sequential(*(Doubling(num_feat) for _ in range(DOUBLINGS[scale])))
        self.conv_last = nn.Conv2d(num_feat, 3, 9, 1, 4)

    @property
    def reach(self) -> int:
        """Source pixels to each side of its own that an output pixel depends on, exactly."""
        return reach_of_doublings(DOUBLINGS[self.scale], body_radius=5 + 15 * self.num_block)

    @property
    def multiple(self) -> int:
        """Height and width of the input must be multiples of this."""
        return 1

    def forward(self, x: Tensor) -> Tensor:
        feat = self.conv_first(to_symmetric(x).to(self.conv_first.weight.dtype))
        feat = feat + self.conv_body(self.body(feat))
        return from_symmetric(torch.tanh(self.conv_last(self.up(feat)).float()))
