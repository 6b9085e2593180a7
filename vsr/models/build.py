"""Networks to be trained: from the name of an architecture and its sizes, and how their weights begin."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn

from vsr.errors import ConfigError
from vsr.models.compact import Activation, SRVGGNetCompact, init_as_skip
from vsr.models.detect import MAX_DEPTH, MAX_FEATURES, MAX_KERNEL_PX, MAX_SCALE
from vsr.models.network import Trainable
from vsr.models.rrdb import RESIDUAL_SCALE, UNSHUFFLE, ResidualDenseBlock, RRDBNet
from vsr.models.rrdb_shuffle import RRDBShuffleNet
from vsr.models.srcnn import SRCNN, init_as_bicubic
from vsr.models.srresnet import DOUBLINGS, Doubling, SRResNet

_SLOPE = 0.25  # of every PReLU at the beginning


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What one may choose of an architecture."""

    scales: Collection[int]
    takes: tuple[str, ...] = ()  # arguments of `build` beside scale and num_feat
    depth: int = 1  # as published


CHOICES: dict[str, Choices] = {
    "compact": Choices(scales=range(1, MAX_SCALE + 1), takes=("depth", "act"), depth=16),
    "rrdb": Choices(scales=UNSHUFFLE, takes=("depth", "num_grow"), depth=23),
    "rrdb_shuffle": Choices(scales=DOUBLINGS, takes=("depth", "num_grow"), depth=23),
    "srresnet": Choices(scales=DOUBLINGS, takes=("depth", "tanh"), depth=16),
    "srcnn": Choices(scales=range(1, MAX_SCALE + 1), takes=("kernels",)),
}


def build(
    arch: str,
    *,
    scale: int = 4,
    num_feat: int | None = None,
    depth: int | None = None,
    num_grow: int | None = None,
    act: str | None = None,
    tanh: bool | None = None,
    kernels: tuple[int, int, int] | None = None,
) -> Trainable:
    """A network with PyTorch's own weights, to be followed by `initialise`. What is left out is as published.

    `depth` is "compact"'s inner convolutions or the others' blocks, `num_grow` the channels a dense convolution adds,
    `kernels` the sides of "srcnn"'s convolutions, the second of which has half of `num_feat`.
    Raises ConfigError for what the architecture does not have, or not at this size.
    """
    if arch not in CHOICES:
        raise ConfigError(f"arch = {arch}: unknown; give {', '.join(CHOICES)}")
    choices = CHOICES[arch]
    given = {"depth": depth, "num_grow": num_grow, "act": act, "tanh": tanh, "kernels": kernels}
    for name, value in given.items():
        if value is not None and name not in choices.takes:
            raise ConfigError(f"{name} = {value}: {arch} has none; leave it out")
    if scale not in choices.scales:
        raise ConfigError(f"scale = {scale}: not of {arch}; give {', '.join(map(str, choices.scales))}")
    feat = _bounded("num_feat", num_feat, published=64, most=MAX_FEATURES)
    blocks = _bounded("depth", depth, published=choices.depth, most=MAX_DEPTH)
    grow = _bounded("num_grow", num_grow, published=32, most=MAX_FEATURES)
    match arch:
        case "compact":
            return SRVGGNetCompact(num_feat=feat, num_conv=blocks, scale=scale, act=_activation(act))
        case "rrdb":
            return RRDBNet(num_feat=feat, num_block=blocks, num_grow_ch=grow, scale=scale)
        case "rrdb_shuffle":
            return RRDBShuffleNet(num_feat=feat, num_block=blocks, num_grow_ch=grow, scale=scale)
        case "srresnet":
            return SRResNet(num_feat=feat, num_block=blocks, scale=scale, tanh=tanh is not False)
        case _:
            return SRCNN(num_feat=feat, num_inner=max(1, feat // 2), kernels=_kernels(kernels), scale=scale)


def initialise(net: Trainable, generator: torch.Generator) -> None:
    """Set all weights in place to ones from which the network learns, at random from `generator` alone."""
    for layer in net.modules():
        if isinstance(layer, nn.PReLU):
            nn.init.constant_(layer.weight, _SLOPE)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
    match net:
        case SRVGGNetCompact():
            init_as_skip(net, generator)
        case RRDBNet():
            for conv in _convolutions(net):
                draw_as_pytorch(conv.weight, conv.bias, generator)
            _draw_dense_blocks(net, generator)
        case SRResNet() | RRDBShuffleNet():
            for conv in _convolutions(net):
                _draw(conv, generator, slope=_SLOPE)
            _draw_dense_blocks(net, generator)
            _draw_doublings(net, generator)
            net.conv_last.weight.data.mul_(0.1)  # begins in the straight middle of the Tanh
            if isinstance(net, RRDBShuffleNet):
                net.conv_body.weight.data.div_((1 + RESIDUAL_SCALE) ** net.num_block)  # each block begins as x + x / 5
        case SRCNN():
            init_as_bicubic(net, generator)


def draw_as_pytorch(weight: Tensor, bias: Tensor | None, generator: torch.Generator) -> None:
    """Set a layer's tensors in place as torch.nn.Conv2d and Linear do by themselves from the global generator."""
    bound = 1 / math.sqrt(weight[0].numel())
    nn.init.uniform_(weight, -bound, bound, generator=generator)
    if bias is not None:
        nn.init.uniform_(bias, -bound, bound, generator=generator)


def _draw(conv: nn.Conv2d, generator: torch.Generator, *, slope: float) -> None:
    """Source: He et al., Delving Deep into Rectifiers, ICCV 2015, section 2.2; biases are zero."""
    nn.init.kaiming_normal_(conv.weight, a=slope, generator=generator)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def _draw_dense_blocks(net: nn.Module, generator: torch.Generator) -> None:
    """Small, so that each block begins near the identity. Source: Wang et al., ESRGAN, 2018, section 3.1."""
    for block in net.modules():
        if isinstance(block, ResidualDenseBlock):
            for conv in _convolutions(block):
                _draw(conv, generator, slope=0)
                conv.weight.data.mul_(0.1)


def _draw_doublings(net: nn.Module, generator: torch.Generator) -> None:
    """The four pixels of a shuffle begin alike, which leaves no checkerboard to unlearn.

    Source: Aitken et al., Checkerboard Artifact Free Sub-Pixel Convolution, 2017, section 3.3.
    """
    for doubling in net.modules():
        if isinstance(doubling, Doubling):
            weight = doubling.conv.weight
            quarter = torch.empty_like(weight[::4])
            nn.init.kaiming_normal_(quarter, a=_SLOPE, generator=generator)
            weight.data.copy_(quarter.repeat_interleave(4, dim=0))


def _convolutions(net: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]


def _bounded(name: str, given: int | None, *, published: int, most: int) -> int:
    if given is None:
        return published
    if not 1 <= given <= most:
        raise ConfigError(f"{name} = {given}: must be from 1 to {most}")
    return given


def _activation(given: str | None) -> Activation:
    known: tuple[Activation, ...] = get_args(Activation)
    for act in known:
        if given in (act, None):
            return act  # the first is the published one
    raise ConfigError(f"act = {given}: unknown; give {', '.join(known)}")


def _kernels(given: tuple[int, int, int] | None) -> tuple[int, int, int]:
    if given is not None and not all(side % 2 == 1 and 1 <= side <= MAX_KERNEL_PX for side in given):
        raise ConfigError(f"kernels = {given}: must be odd, from 1 to {MAX_KERNEL_PX}")
    return given or (9, 1, 5)
