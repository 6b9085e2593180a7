"""How different two pictures look to a network that was trained to name what is in them: a loss over its features.

Source: Johnson et al. 2016 for the loss, Wang et al. 2018 (ESRGAN), section 3.3, for features before activation. The
layout of VGG19 is Simonyan and Zisserman 2015, table 1, E.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsr.errors import ConfigError, ModelError
from vsr.metrics.lpips import ENDS, IMAGENET_MEAN, IMAGENET_STD
from vsr.metrics.weights import read_tensors
from vsr.train.losses import full_precision

VGG19_BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # channels and convolutions between poolings
KNOWN_FILES = "torchvision's vgg19 or squeezenet1_1, or the normalised VGG19"

StateDict = dict[str, Tensor]


class Perceptual(nn.Module):
    """A loaded loss. Moves with `to` like any module, which must be to where the pictures lie; never trained.

    Keep it in float32 and out of the trained network's modules.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        trunk: nn.Sequential,
        taps: Mapping[int, float],
        *,
        of_imagenet: bool,
        distance: Literal["l1", "mse"] = "l1",
    ) -> None:
        """`taps`: how many modules of `trunk` a feature has behind it, and its weight; the last uses the whole trunk.

        `of_imagenet`: the trunk reads what has ImageNet's mean and deviation taken off, else plain RGB in [0, 1]. No
        module after a tap may write in place.
        """
        super().__init__()
        ends = sorted(taps)
        self.parts = nn.ModuleList(trunk[start:end] for start, end in itertools.pairwise([0, *ends]))
        self.weights = [taps[end] for end in ends]
        self.distance = {"l1": F.l1_loss, "mse": F.mse_loss}[distance]
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN if of_imagenet else (0.0,) * 3).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD if of_imagenet else (1.0,) * 3).view(1, 3, 1, 1))
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def load(
        cls, path: Path, *, layers: Mapping[str, float] | None = None, distance: Literal["l1", "mse"] = "l1"
    ) -> Self:
        """From a .pth with the features of one of three networks, known by its tensors, on the CPU in fp32.

        - torchvision's VGG19: conv1_1 to conv5_4 before activation; by default the five of Real-ESRGAN.
        - the VGG19 of Gatys et al. 2015 with normalised activations: conv1_1 as far as the file goes, before
          activation; by default .1 conv1_1, .1 conv2_1, 1 conv3_1.
        - torchvision's SqueezeNet 1.1: slice1 to slice7 of LPIPS, only the first before activation; by default all, at
          weights that give each the same part. A run that learns from it is no longer judged by LPIPS on it.

        The sums of the latter two at their defaults are 2.6 and 1.9 for bicubic x4, where pixel L1 is .039 (middle 128
        pixels of Set5 and Set14), so they want a smaller weight than 1 beside it.

        `layers` weighs features by name; those at 0 are left out, and nothing behind the last is kept. Nothing but
        tensors is unpickled. Raises ModelError for a file that cannot be read or is another network, ConfigError for
        layers that the file does not have and weights that are negative or all 0.
        """
        state = read_tensors(path, KNOWN_FILES)
        layout = _recognised(path, state)
        ends = layout.present(state)
        if layers is None:
            layers = {name: weight for name, weight in layout.default.items() if name in ends}
        taps = _taps(path, layers, layout, ends)
        with torch.device("meta"):  # no random weights: neither their time nor their draws
            trunk = layout.build()[: max(taps)]
        kept = {name: state[layout.prefix + name].float() for name in trunk.state_dict()}
        trunk.load_state_dict(kept, assign=True)
        return cls(trunk, taps, of_imagenet=layout.of_imagenet, distance=distance)

    def forward(self, result: Tensor, truth: Tensor) -> Tensor:
        """Weighted sum of the mean distances of features, a float32 scalar; 0 where the pictures are equal.

        Both (N, 3, H, W) RGB of one size and any float type, the truth in [0, 1]; 17 pixels each way suffice for every
        layer. Gradients reach `result` alone. ValueError when sizes differ. Under autocast the convolutions run in its
        type, which should have the range of float32; the distances are float32 always.
        """
        if result.shape != truth.shape:
            raise ValueError(f"result of {tuple(result.shape)} and truth of {tuple(truth.shape)} cannot be compared")
        with torch.no_grad():
            wanted = self._features(truth)
        found = self._features(result)
        with full_precision(result):
            pairs = zip(self.weights, found, wanted, strict=True)
            return torch.stack([weight * self.distance(a.float(), b.float()) for weight, a, b in pairs]).sum()

    def _features(self, rgb: Tensor) -> list[Tensor]:
        x = (rgb.float() - self.mean) / self.std
        features = []
        for part in self.parts:
            x = part(x)
            features.append(x)
        return features


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """A network as a kind of file holds it."""

    title: str
    build: Callable[[], nn.Sequential]
    prefix: str  # of its tensors' names in the file
    ends: Mapping[str, int]  # by layer, from the first to the deepest: how many modules its features take
    default: Mapping[str, float]
    of_imagenet: bool

    def holds(self, state: StateDict) -> bool:
        """Whether the file has this network from its first layer on, and nothing else under the prefix."""
        own = {name: tensor.shape for name, tensor in state.items() if name.startswith(self.prefix)}
        return bool(self.present(state)) and own.items() <= self._shapes().items()

    def present(self, state: StateDict) -> dict[str, int]:
        """The `ends` that the file reaches."""
        missing = [int(name.removeprefix(self.prefix).split(".")[0]) for name in self._shapes().keys() - state.keys()]
        first = min(missing, default=max(self.ends.values()))
        return {name: end for name, end in self.ends.items() if end <= first}

    def _shapes(self) -> dict[str, torch.Size]:
        with torch.device("meta"):
            trunk = self.build()[: max(self.ends.values())]
        return {self.prefix + name: tensor.shape for name, tensor in trunk.state_dict().items()}


def _vgg19() -> nn.Sequential:
    """torchvision's `features`, with activations that leave what they read."""
    modules: list[nn.Module] = []
    channels = 3
    for width, convolutions in VGG19_BLOCKS:
        for _ in range(convolutions):
            modules += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        modules.append(nn.MaxPool2d(2))
    return nn.Sequential(*modules)


def _normalised_vgg19() -> nn.Sequential:
    """A 1x1 layer takes RGB to what the network was trained on; borders are mirrored by modules of their own."""
    modules: list[nn.Module] = [nn.Conv2d(3, 3, 1)]
    for module in _vgg19():
        if isinstance(module, nn.Conv2d):
            modules += [nn.ReflectionPad2d(1), nn.Conv2d(module.in_channels, module.out_channels, 3)]
        else:
            modules.append(module)
    return nn.Sequential(*modules)


def _squeezenet() -> nn.Sequential:
    from torchvision.models import squeezenet1_1

    features = squeezenet1_1(weights=None).features
    assert isinstance(features, nn.Sequential)
    features[1] = nn.ReLU()  # torchvision's would overwrite slice1
    return features


def _vgg19_ends(build: Callable[[], nn.Sequential]) -> dict[str, int]:
    """Where each 3x3 convolution of a VGG19 ends, before its activation."""
    names = [f"conv{b}_{i}" for b, (_, count) in enumerate(VGG19_BLOCKS, 1) for i in range(1, count + 1)]
    with torch.device("meta"):
        trunk = build()
    ends = [i for i, module in enumerate(trunk, 1) if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)]
    return dict(zip(names, ends, strict=True))


def _layouts() -> tuple[_Layout, ...]:
    slices = {f"slice{i}": end for i, end in enumerate((1, *ENDS[1:]), 1)}
    return (
        _Layout(
            title="VGG19",
            build=_vgg19,
            prefix="features.",
            ends=_vgg19_ends(_vgg19),
            default={"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0},
            of_imagenet=True,
        ),
        _Layout(
            title="the normalised VGG19",
            build=_normalised_vgg19,
            prefix="",
            ends=_vgg19_ends(_normalised_vgg19),
            default={"conv1_1": 0.1, "conv2_1": 0.1, "conv3_1": 1.0},
            of_imagenet=False,
        ),
        _Layout(
            title="SqueezeNet 1.1",
            build=_squeezenet,
            prefix="features.",
            ends=slices,
            # 0.25 to 0.3 each for bicubic x4 on Set5 and Set14
            default=dict(zip(slices, (0.02, 0.015, 0.02, 0.015, 0.03, 0.04, 0.15), strict=True)),
            of_imagenet=True,
        ),
    )


def _recognised(path: Path, state: StateDict) -> _Layout:
    for layout in _layouts():
        if layout.holds(state):
            return layout
    raise ModelError(f"{path}: holds another network than VGG19 or SqueezeNet 1.1; give {KNOWN_FILES}")


def _taps(path: Path, layers: Mapping[str, float], layout: _Layout, present: Mapping[str, int]) -> dict[int, float]:
    """Weights by the number of modules."""
    for name, weight in layers.items():
        if name not in layout.ends:
            raise ConfigError(f"layers: {layout.title} has no {name}; choose from {', '.join(present)}")
        if name not in present:
            raise ConfigError(f"layers: {path} has no {name}; {list(present)[-1]} is its deepest")
        if not 0 <= weight < float("inf"):
            raise ConfigError(f"layers: {name} = {weight} must be 0 or above")
    taps = {present[name]: weight for name, weight in layers.items() if weight}
    if not taps:
        raise ConfigError(f"layers: none has a weight above 0; choose from {', '.join(present)}")
    return taps
