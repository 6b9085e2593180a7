"""The networks that vsr knows, as one type, and how they describe themselves."""

from functools import partial

from vsr.models.compact import SRVGGNetCompact
from vsr.models.other import OtherNet
from vsr.models.rrdb import RRDBNet
from vsr.models.rrdb_shuffle import RRDBShuffleNet
from vsr.models.spec import ModelSpec
from vsr.models.srcnn import SRCNN
from vsr.models.srresnet import SRResNet

Trainable = SRVGGNetCompact | RRDBNet | RRDBShuffleNet | SRResNet | SRCNN
Network = Trainable | OtherNet


def describe(net: Network, *, name: str, licence: str = "unknown", trained_on: str = "unknown") -> ModelSpec:
    """The description of a network, from the network itself."""
    if isinstance(net, OtherNet):
        return ModelSpec(
            name=name,
            arch="other",
            kind=net.kind,
            scale=net.scale,
            num_feat=0,
            depth=0,
            reach=net.reach,
            multiple=net.multiple,
            licence=licence,
            trained_on=trained_on,
        )
    spec = partial(
        ModelSpec,
        name=name,
        scale=net.scale,
        num_feat=net.num_feat,
        reach=net.reach,
        multiple=net.multiple,
        licence=licence,
        trained_on=trained_on,
    )
    match net:
        case SRVGGNetCompact():
            return spec(arch="compact", depth=net.num_conv, act=net.act)
        case RRDBNet():
            return spec(arch="rrdb", depth=net.num_block, num_grow=net.num_grow_ch)
        case RRDBShuffleNet():
            return spec(arch="rrdb_shuffle", depth=net.num_block, num_grow=net.num_grow_ch)
        case SRResNet():
            return spec(arch="srresnet", depth=net.num_block, tanh=net.tanh)
        case SRCNN():
            return spec(arch="srcnn", depth=1)
