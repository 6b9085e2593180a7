"""Which network a state dict belongs to: its names and shapes tell the architecture and every size.

The few things they cannot tell come from the header of vsr's own files, or are assumed and said.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from vsr.errors import ModelError
from vsr.models.compact import Activation, SRVGGNetCompact
from vsr.models.network import Trainable
from vsr.models.rrdb import UNSHUFFLE, RRDBNet
from vsr.models.rrdb_shuffle import RRDBShuffleNet
from vsr.models.spec import ModelSpec
from vsr.models.srcnn import SRCNN
from vsr.models.srresnet import DOUBLINGS, SRResNet

MAX_FEATURES = 512  # channels of one layer
MAX_DEPTH = 256  # inner convolutions or blocks
MAX_SCALE = 16
MAX_KERNEL_PX = 63
SRCNN_SCALE = 4  # of a file that does not say

StateDict = dict[str, Tensor]


class UnknownNetworkError(ModelError):
    """The tensors are of none of vsr's own architectures."""


Found = tuple[Trainable, tuple[str, ...]]


def network_of(state: StateDict, header: ModelSpec | None) -> Found:
    """The network these names and shapes belong to, on the meta device and without weights, and what was assumed.

    Raises ModelError when it is none that vsr knows.
    """
    keys = state.keys()
    try:
        with torch.device("meta"):
            if keys and all(key.startswith("body.") and key.split(".")[1].isdecimal() for key in keys):
                return _compact(state, header)
            if "body.0.rdb1.conv1.weight" in keys:
                return (_rrdb_shuffle(state) if "up.0.conv.weight" in keys else _rrdb(state)), ()
            if "body.0.bn1.weight" in keys:
                return _srresnet(state, header)
            if keys == {f"conv{i}.{part}" for i in (1, 2, 3) for part in ("weight", "bias")}:
                return _srcnn(state, header)
    except (KeyError, IndexError, ValueError) as e:
        raise ModelError("its tensors do not make up a known network; the file may be incomplete") from e
    if any(key.endswith((".weight_orig", ".parametrizations.weight.original")) for key in keys):
        raise ModelError("holds a discriminator, which judges in training only; give the generator's file")
    known = "Compact, RRDB, RRDBShuffle, SRResNet or SRCNN"
    raise UnknownNetworkError(f"holds another network than {known}")


def _compact(state: StateDict, header: ModelSpec | None) -> Found:
    last = max(int(key.split(".")[1]) for key in state)
    num_feat = state["body.0.weight"].shape[0]
    num_conv = (last - 2) // 2
    scale = round((state[f"body.{last}.weight"].shape[0] / 3) ** 0.5)
    _require_bounds(num_feat, depth=num_conv, scale=scale, scales=range(1, MAX_SCALE + 1))
    act: Activation = "prelu" if "body.1.weight" in state else "relu"
    notes: tuple[str, ...] = ()
    if act == "relu":
        if header is None:
            notes = ("activation taken to be ReLU: the file has no slopes and does not say; LeakyReLU looks the same",)
        elif header.act == "leakyrelu":
            act = "leakyrelu"
    return SRVGGNetCompact(num_feat=num_feat, num_conv=num_conv, scale=scale, act=act), notes


def _rrdb(state: StateDict) -> Trainable:
    num_feat, folded = state["conv_first.weight"].shape[:2]
    num_block, num_grow = _blocks(state), state["body.0.rdb1.conv1.weight"].shape[0]
    folding = {3: 1, 12: 2, 48: 4}.get(folded, 0)
    doublings = sum(f"conv_up{number}.weight" in state for number in (1, 2, 3))
    scale = 2**doublings // folding if folding else 0
    _require_bounds(num_feat, num_grow, depth=num_block, scale=scale, scales=UNSHUFFLE)
    return RRDBNet(num_feat=num_feat, num_block=num_block, num_grow_ch=num_grow, scale=scale, folding=folding)


def _rrdb_shuffle(state: StateDict) -> Trainable:
    num_feat = state["conv_first.weight"].shape[0]
    num_block, num_grow = _blocks(state), state["body.0.rdb1.conv1.weight"].shape[0]
    scale = _doubled(state)
    _require_bounds(num_feat, num_grow, depth=num_block, scale=scale, scales=DOUBLINGS)
    return RRDBShuffleNet(num_feat=num_feat, num_block=num_block, num_grow_ch=num_grow, scale=scale)


def _srresnet(state: StateDict, header: ModelSpec | None) -> Found:
    num_feat, num_block, scale = state["conv_first.weight"].shape[0], _blocks(state), _doubled(state)
    _require_bounds(num_feat, depth=num_block, scale=scale, scales=DOUBLINGS)
    notes = () if header else ("Tanh taken to be there: the file does not say, and a network without looks the same",)
    tanh = header is None or header.tanh is not False
    return SRResNet(num_feat=num_feat, num_block=num_block, scale=scale, tanh=tanh), notes


def _srcnn(state: StateDict, header: ModelSpec | None) -> Found:
    first, second, third = (state[f"conv{i}.weight"] for i in (1, 2, 3))
    num_feat, num_inner = first.shape[0], second.shape[0]
    kernels = (first.shape[3], second.shape[3], third.shape[3])
    scale = header.scale if header else SRCNN_SCALE
    _require_bounds(num_feat, num_inner, depth=1, scale=scale, scales=range(1, MAX_SCALE + 1))
    if any(side % 2 == 0 or side > MAX_KERNEL_PX for side in kernels):
        raise ModelError(f"kernels {kernels} are not odd or wider than {MAX_KERNEL_PX} pixels; give another SRCNN")
    assumed = f"scale taken to be {SRCNN_SCALE}: the weights of an SRCNN are alike for all, and the file does not say"
    net = SRCNN(num_feat=num_feat, num_inner=num_inner, kernels=kernels, scale=scale)
    return net, () if header else (assumed,)


def _blocks(state: StateDict) -> int:
    return 1 + max(int(key.split(".")[1]) for key in state if key.startswith("body."))


def _doubled(state: StateDict) -> int:
    """The scale, from the number of doublings; 0 when there are more than any network has."""
    last = max(int(key.split(".")[1]) for key in state if key.startswith("up."))
    return {doublings: scale for scale, doublings in DOUBLINGS.items()}.get(last + 1, 0)


def _require_bounds(*channels: int, depth: int, scale: int, scales: Iterable[int]) -> None:
    is_sane = all(1 <= number <= MAX_FEATURES for number in channels) and 0 <= depth <= MAX_DEPTH
    if not is_sane or scale not in scales:
        found = f"{channels[0]} channels, depth {depth}, scale {scale}"
        raise ModelError(f"{found} is outside what vsr runs; give an RGB network of the family")
