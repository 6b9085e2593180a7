"""Judges of pictures: networks that learn to tell what a generator made from what a camera or hand did.

Each takes RGB (N, 3, H, W) in [0, 1] and gives logits in fp32: high is real.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from vsr.errors import ConfigError, ModelError
from vsr.models.build import draw_as_pytorch

UNET_MULTIPLE = 8  # three halvings
SN_WARM_UP = 15  # power iterations at the beginning, as torch's own constructor makes
_MODERN = {"weight_orig": "original", "weight_u": "0._u", "weight_v": "0._v"}  # under parametrizations.weight


class UNetDiscriminator(nn.Module):
    """A logit for every pixel (N, 1, H, W), from its surroundings at four sizes. H and W are multiples of 8.

    Spectral norm bounds the slope of all inner convolutions; each forward in training, and any other use of their
    `weight`, moves its estimate on. Without `skip` the halves of the U are not joined.
    Source: Wang et al., Real-ESRGAN, ICCVW 2021, section 3.4; sizes of the published *_netD.pth.
    """

    def __init__(self, *, num_feat: int = 64, in_channels: int = 3, skip: bool = True) -> None:
        super().__init__()
        self.num_feat, self.in_channels, self.skip = num_feat, in_channels, skip
        one, two, four, eight = (num_feat * factor for factor in (1, 2, 4, 8))
        self.conv0 = nn.Conv2d(in_channels, one, 3, 1, 1)
        self.conv1 = spectral_norm(nn.Conv2d(one, two, 4, 2, 1, bias=False))
        self.conv2 = spectral_norm(nn.Conv2d(two, four, 4, 2, 1, bias=False))
        self.conv3 = spectral_norm(nn.Conv2d(four, eight, 4, 2, 1, bias=False))
        self.conv4 = spectral_norm(nn.Conv2d(eight, four, 3, 1, 1, bias=False))
        self.conv5 = spectral_norm(nn.Conv2d(four, two, 3, 1, 1, bias=False))
        self.conv6 = spectral_norm(nn.Conv2d(two, one, 3, 1, 1, bias=False))
        self.conv7 = spectral_norm(nn.Conv2d(one, one, 3, 1, 1, bias=False))
        self.conv8 = spectral_norm(nn.Conv2d(one, one, 3, 1, 1, bias=False))
        self.conv9 = nn.Conv2d(one, 1, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if height % UNET_MULTIPLE or width % UNET_MULTIPLE:
            raise ValueError(f"{width}x{height}: the U-Net takes sides that are multiples of {UNET_MULTIPLE}")
        whole = _leaky(self.conv0(x))
        half = _leaky(self.conv1(whole))
        quarter = _leaky(self.conv2(half))
        eighth = _leaky(self.conv3(quarter))
        out = self._joined(_leaky(self.conv4(_doubled(eighth))), quarter)
        out = self._joined(_leaky(self.conv5(_doubled(out))), half)
        out = self._joined(_leaky(self.conv6(_doubled(out))), whole)
        return self.conv9(_leaky(self.conv8(_leaky(self.conv7(out))))).float()

    def _joined(self, up: Tensor, down: Tensor) -> Tensor:
        return up + down if self.skip else up


class PictureDiscriminator(nn.Module):
    """One logit a picture (N, 1): convolutions, two fully connected layers.

    The latter know one size only: `input_px` is the side of the square pictures it takes. With None the last map is
    pooled to `map_px`, and any size goes that is at least `shrinks`. Dropout draws from torch's global generator.
    """

    def __init__(
        self,
        features: list[nn.Module],
        *,
        channels: int,
        shrinks: int,
        map_px: int,
        hidden: int,
        input_px: int | None,
        dropout: float,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout = {dropout}: must be at least 0 and below 1")
        self.input_px, self.shrinks = input_px, shrinks
        self.features = nn.Sequential(*features)
        self.pool = nn.AdaptiveAvgPool2d(map_px) if input_px is None else nn.Identity()
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(channels * map_px**2, hidden),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if self.input_px is not None and (height, width) != (self.input_px, self.input_px):
            raise ValueError(f"{width}x{height}: this discriminator takes {self.input_px}x{self.input_px}")
        if min(height, width) < self.shrinks:
            raise ValueError(f"{width}x{height}: this discriminator takes sides from {self.shrinks}")
        return self.head(self.pool(self.features(x))).float()


class VGGDiscriminator(PictureDiscriminator):
    """Pairs of convolutions, 3x3 and 4x4 by two, with batch normalisation; five pairs, or six at 256 px.

    Raises ValueError for an `input_px` other than 128, 256 and None, which has five pairs and pools.
    Source: VGGStyleDiscriminator, XPixelGroup/BasicSR basicsr/archs/discriminator_arch.py, of ESRGAN; keys are ours.
    """

    def __init__(self, *, input_px: int | None = None, num_feat: int = 64, dropout: float = 0.0) -> None:
        if input_px not in (128, 256, None):
            raise ValueError(f"input_px = {input_px}: the VGG discriminator takes 128 or 256, or pools any size")
        widths = [3, *(num_feat * factor for factor in (1, 2, 4, 8, 8) + ((8,) if input_px == 256 else ()))]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += _convolution(before, after, kernel=3, stride=1, is_normalised=before != 3)
            layers += _convolution(after, after, kernel=4, stride=2)
        shrinks = 2 ** (len(widths) - 1)
        super().__init__(
            layers, channels=widths[-1], shrinks=shrinks, map_px=4, hidden=100, input_px=input_px, dropout=dropout
        )


class SRGANDiscriminator(PictureDiscriminator):
    """Eight 3x3 convolutions, every second by two, with batch normalisation.

    Raises ValueError for an `input_px` that is no multiple of 16; with None it pools to what 96 px give, as published.
    Source: Ledig et al., SRGAN, CVPR 2017, section 2.1.1 and figure 4.
    """

    def __init__(self, *, input_px: int | None = None, num_feat: int = 64) -> None:
        if input_px is not None and (input_px < 16 or input_px % 16):
            raise ValueError(f"input_px = {input_px}: the SRGAN discriminator takes multiples of 16, or pools any size")
        widths = [3, *(num_feat * factor for factor in (1, 2, 4, 8))]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += _convolution(before, after, kernel=3, stride=1, is_normalised=before != 3)
            layers += _convolution(after, after, kernel=3, stride=2)
        map_px = 6 if input_px is None else input_px // 16
        super().__init__(
            layers, channels=widths[-1], shrinks=16, map_px=map_px, hidden=1024, input_px=input_px, dropout=0
        )


Discriminator = UNetDiscriminator | VGGDiscriminator | SRGANDiscriminator


def build_discriminator(
    kind: str, *, num_feat: int = 64, input_px: int | None = None, dropout: float = 0.0
) -> Discriminator:
    """A discriminator with PyTorch's own weights, to be followed by `initialise`.

    `input_px` is the side of the pictures it will see; None leaves it open, and "vgg" and "srgan" then pool.
    Raises ConfigError for an unknown kind, or for a size or dropout that the kind does not have.
    """
    if kind not in KINDS:
        raise ConfigError(f"discriminator = {kind}: unknown; give {', '.join(KINDS)}")
    if num_feat < 1:
        raise ConfigError(f"discriminator: num_feat = {num_feat}: must be at least 1")
    try:
        return KINDS[kind](num_feat, input_px, dropout)
    except ValueError as e:
        raise ConfigError(f"discriminator: {e}") from e


def _unet(num_feat: int, input_px: int | None, dropout: float) -> UNetDiscriminator:
    if input_px is not None and input_px % UNET_MULTIPLE:
        raise ValueError(f"input_px = {input_px}: the U-Net takes multiples of {UNET_MULTIPLE}")
    _require_none(dropout)
    return UNetDiscriminator(num_feat=num_feat)


def _vgg(num_feat: int, input_px: int | None, dropout: float) -> VGGDiscriminator:
    return VGGDiscriminator(input_px=input_px, num_feat=num_feat, dropout=dropout)


def _srgan(num_feat: int, input_px: int | None, dropout: float) -> SRGANDiscriminator:
    _require_none(dropout)
    return SRGANDiscriminator(input_px=input_px, num_feat=num_feat)


def _require_none(dropout: float) -> None:
    if dropout:
        raise ValueError(f"dropout = {dropout}: only vgg has it; leave it out")


KINDS: dict[str, Callable[[int, int | None, float], Discriminator]] = {"unet": _unet, "vgg": _vgg, "srgan": _srgan}


def initialise(net: Discriminator, generator: torch.Generator) -> None:
    """Set all weights and statistics in place, distributed as PyTorch does, at random from `generator` alone."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
        elif isinstance(layer, nn.Conv2d | nn.Linear) and not is_parametrized(layer):
            draw_as_pytorch(layer.weight, layer.bias, generator)
        elif isinstance(layer, nn.Conv2d):  # to read its `weight` would move the estimate on
            original = layer.get_parameter("parametrizations.weight.original")
            draw_as_pytorch(original, None, generator)
            left, right = (layer.get_buffer(f"parametrizations.weight.0.{name}") for name in ("_u", "_v"))
            _find_singular_vectors(original, left, right, generator)


@torch.no_grad()
def _find_singular_vectors(weight: Tensor, left: Tensor, right: Tensor, generator: torch.Generator) -> None:
    """Set both in place to estimates for the largest singular value, by power iteration from a drawn start."""
    matrix = weight.flatten(1)
    nn.init.normal_(left, generator=generator)
    for _ in range(SN_WARM_UP):
        right.copy_(F.normalize(matrix.T @ left, dim=0))
        left.copy_(F.normalize(matrix @ right, dim=0))


def unet_from_state(state: Mapping[str, Tensor]) -> UNetDiscriminator:
    """The U-Net whose weights these are, in fp32, in the spelling of the published files or torch's newer one.

    Raises ModelError when they are another network's.
    """
    modern = with_modern_keys(state)
    first = modern.get("conv0.weight")
    if first is None or first.ndim != 4:
        raise ModelError("not the weights of a U-Net discriminator; give a *_netD.pth")
    net = UNetDiscriminator(num_feat=first.shape[0], in_channels=first.shape[1])
    try:
        net.load_state_dict(modern)
    except RuntimeError as e:  # missing, unexpected or mis-shaped
        raise ModelError("not the weights of a U-Net discriminator; give a *_netD.pth") from e
    return net


def with_modern_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, those of torch's older spectral norm under the names of its newer one."""
    renamed = {}
    for key, tensor in state.items():
        layer, _, last = key.rpartition(".")
        renamed[f"{layer}.parametrizations.weight.{_MODERN[last]}" if last in _MODERN else key] = tensor
    return renamed


def _convolution(before: int, after: int, *, kernel: int, stride: int, is_normalised: bool = True) -> list[nn.Module]:
    """With its norm, which takes the place of a bias, and its activation."""
    conv = nn.Conv2d(before, after, kernel, stride, 1, bias=not is_normalised)
    return [conv, *([nn.BatchNorm2d(after)] if is_normalised else []), nn.LeakyReLU(0.2, inplace=True)]


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2, inplace=True)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear")
