"""What is measured of a network itself: how much it computes, and which tensors it holds."""

import copy
import hashlib

import torch
from torch import Tensor, nn

from vsr.models.network import Trainable

_SIDE = 64  # pixels; a multiple of all that a network may ask for


def flops_per_pixel(net: Trainable) -> float:
    """Multiplications and additions of all convolutions for one source pixel, in millions."""
    counted = 0

    def count(layer: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal counted
        assert isinstance(layer, nn.Conv2d)
        counted += 2 * layer.weight[0].numel() * out.numel()

    empty = copy.deepcopy(net).to("meta")
    for layer in empty.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    empty(torch.empty(1, 3, _SIDE, _SIDE, device="meta"))
    return counted / _SIDE**2 / 1e6


def weight_count(net: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(parameter.numel() for parameter in net.parameters())


def fingerprint(net: nn.Module) -> str | None:
    """A hash of the tensors at half precision: the same however the file was saved, as fp32 or as fp16.

    SHA-256 over all tensors in the order of their names as bytes: name, shape such as 64x3x3x3 and the values as
    little-endian IEEE binary16, each followed by a zero byte. Two networks with one fingerprint differ by no more than
    the rounding to half precision. None where a value does not fit into it.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items(), key=lambda item: item[0].encode()):
        half = tensor.detach().cpu().half().contiguous()
        if not bool(torch.isfinite(half).all()):
            return None
        shape = "x".join(map(str, half.shape))
        for part in (name.encode(), shape.encode(), half.numpy().astype("<f2").tobytes()):
            digest.update(part + b"\0")
    return digest.hexdigest()
