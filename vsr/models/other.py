"""Networks of other architectures, through spandrel, which knows some fifty of them (the extra `models`)."""

import re
import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vsr.errors import ModelError

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor

MAX_INDEX = 4096  # of a layer in a tensor's name; spandrel builds as many as the names count
OVERLAP = 32  # source pixels read around each tile
INSTALL = "install vsr[models] to have other architectures read by spandrel"


class OtherNet(nn.Module):
    """A network that spandrel has recognised. `types` are those it may compute in.

    `forward` takes fp32 RGB (N, 3, H, W) in [0, 1] and returns fp32 (N, 3, H*scale, W*scale) in [0, 1], whatever the
    type of the weights; what the architecture asks of the size is padded to and cut off again.
    """

    def __init__(self, descriptor: "ImageModelDescriptor[nn.Module]") -> None:
        super().__init__()
        self._descriptor = descriptor
        self.model = descriptor.model
        self.scale = descriptor.scale
        self.kind = " ".join([descriptor.architecture.name, *descriptor.tags])
        asked = descriptor.size_requirements
        self.multiple, self.minimum, self.is_square = asked.multiple_of, asked.minimum, asked.square
        self.is_tiled = descriptor.tiling.name == "SUPPORTED"
        half = [torch.float16] if descriptor.supports_half else []
        self.types = (torch.float32, *half, *([torch.bfloat16] if descriptor.supports_bfloat16 else []))

    @property
    def reach(self) -> int:
        """A guess, in source pixels: how far such networks look is not known."""
        return OVERLAP

    def forward(self, x: Tensor) -> Tensor:
        dtype = next(self.model.parameters()).dtype
        # some make masks and grids in fp32 whatever the type of their weights; autocast brings both together
        with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
            return torch.cat([self._descriptor(one.to(dtype)).float() for one in x.split(1)])  # it takes one at a time


def read_other(state: dict[str, Tensor]) -> OtherNet:
    """The network that spandrel sees in these tensors, in fp32.

    Raises ModelError when spandrel is not installed, knows none, or it is not one from RGB to RGB.
    """
    try:
        from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError
    except ImportError as e:
        raise ModelError(INSTALL) from e
    if any(int(number) > MAX_INDEX for key in state for number in re.findall(r"\d+", key, re.ASCII)):
        raise ModelError("counts more layers than any network has; the file is damaged, take another")
    try:
        with warnings.catch_warnings(action="ignore"):  # of torch, on how those networks are written
            found = ModelLoader("cpu").load_from_state_dict({key: _wide(tensor) for key, tensor in state.items()})
    except UnsupportedModelError as e:
        raise ModelError("spandrel does not know it, either; give another file") from e
    except Exception as e:  # its architectures take for granted that what looks like them is them
        raise ModelError("spandrel takes it for a network that it is not; give another file") from e
    if not isinstance(found, ImageModelDescriptor):
        raise ModelError(f"{found.architecture.name} takes more than a picture; give a network for single pictures")
    if (found.input_channels, found.output_channels) != (3, 3):
        channels = f"{found.input_channels} channels and gives {found.output_channels}"
        raise ModelError(f"{found.architecture.name} takes {channels}; give a network from RGB to RGB")
    return OtherNet(found)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
