"""How different two pictures look: LPIPS on SqueezeNet 1.1, lower is nearer, 0 is equal.

Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018, section 3;
the linear weights are the authors' version 0.1.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from vsr.errors import ModelError
from vsr.metrics.weights import read_tensors

ENDS = (2, 5, 8, 10, 11, 12, 13)  # of torchvision's `features`: a difference is taken after each of these slices
CHANNELS = (64, 128, 256, 384, 384, 512, 512)  # there
SMALLEST_PX = 17  # below, nothing is left before the last pooling
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EPSILON = 1e-10  # a pixel where no feature fires has no direction


class Lpips(nn.Module):
    """A loaded metric. Moves with `to` like any module, which must be to where the pictures lie; never trained."""

    mean: Tensor
    std: Tensor

    def __init__(self, features: nn.Sequential, linear: list[Tensor]) -> None:
        """`features` up to the last of ENDS; `linear` weighs the CHANNELS, each (1, C, 1, 1)."""
        super().__init__()
        starts = (0, *ENDS[:-1])
        self.slices = nn.ModuleList(features[start:end] for start, end in zip(starts, ENDS, strict=True))
        self.linear = nn.ParameterList(linear)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def load(cls, backbone: Path, linear: Path) -> Self:
        """From torchvision's SqueezeNet 1.1 and the authors' linear weights for it, both .pth, on the CPU in fp32.

        Nothing but tensors is unpickled. Raises ModelError when a file cannot be read or is another one.
        """
        from torchvision.models import squeezenet1_1

        with torch.device("meta"):  # no random weights: neither their time nor their draws
            features = squeezenet1_1(weights=None).features
        assert isinstance(features, nn.Sequential)
        shapes = {f"features.{name}": tensor.shape for name, tensor in features.state_dict().items()}
        found = _tensors(backbone, shapes, "torchvision's squeezenet1_1.pth")
        features.load_state_dict({name.removeprefix("features."): found[name] for name in shapes}, assign=True)
        shapes = {f"lin{i}.model.1.weight": torch.Size((1, channels, 1, 1)) for i, channels in enumerate(CHANNELS)}
        weighing = _tensors(linear, shapes, "lpips_lin_v0.1_squeeze.pth of LPIPS, version 0.1")
        return cls(features, [weighing[name] for name in shapes])

    def forward(self, picture: Tensor, truth: Tensor) -> Tensor:
        """Distance per picture (N,) in float32, over the whole picture.

        Both (N, 3, H, W) RGB of one size, floats in [0, 1] or uint8. Gradients reach floats: run it without where they
        are not wanted. ValueError when sizes differ or a side is below SMALLEST_PX.
        """
        if picture.shape != truth.shape or min(picture.shape[2:]) < SMALLEST_PX:
            sizes = f"{tuple(picture.shape)} and {tuple(truth.shape)}"
            raise ValueError(f"sizes {sizes} cannot be compared: equal and at least {SMALLEST_PX} pixels each way")
        a, b = self._normalised(picture), self._normalised(truth)
        distance = torch.zeros(len(a), device=a.device)
        for part, weight in zip(self.slices, self.linear, strict=True):
            a, b = part(a), part(b)
            distance = distance + ((_direction(a) - _direction(b)).square() * weight).sum(1).mean((1, 2))
        return distance

    def _normalised(self, rgb: Tensor) -> Tensor:
        unit = rgb.float() / 255 if rgb.dtype == torch.uint8 else rgb.float()
        return (unit - self.mean) / self.std


def _direction(features: Tensor) -> Tensor:
    """Unit vectors along the channels."""
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + EPSILON)


def _tensors(path: Path, shapes: Mapping[str, torch.Size], wanted: str) -> dict[str, Tensor]:
    """The tensors of these names and shapes in the file, in fp32; what else it holds is left."""
    found = read_tensors(path, wanted)
    for name, shape in shapes.items():
        tensor = found.get(name)
        if not isinstance(tensor, Tensor) or tensor.shape != shape:
            raise ModelError(f"{path}: has no {name} of shape {'x'.join(map(str, shape))}; give {wanted}")
    return {name: found[name].float() for name in shapes}
