"""Networks of one shape, mixed: their weights averaged, which mixes what they do.

Source: Wang et al., Deep Network Interpolation for Continuous Imagery Effect Transition, CVPR 2019, section 3.
"""

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from vsr.errors import ModelError
from vsr.models.network import Network
from vsr.models.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A network and its share in a mixture, 0 to 1."""

    net: Network
    spec: ModelSpec
    share: float


def mixed(parts: Sequence[Part]) -> tuple[Network, ModelSpec]:
    """The network whose weights are the sum of the parts', each times its share, and its description.

    Its hash follows from those of the parts' files and their shares. One part alone is itself.
    Raises ModelError when the parts are not of one shape.
    """
    first = parts[0]
    if len(parts) == 1:
        return first.net, first.spec
    for other in parts[1:]:
        if _shape(other) != _shape(first):
            raise ModelError(
                f"{first.spec.name} and {other.spec.name}: are not of one shape and cannot be mixed; "
                f"{_said(first.spec)} the one, {_said(other.spec)} the other"
            )
    state = first.net.state_dict()
    total = {key: tensor * first.share for key, tensor in state.items() if tensor.is_floating_point()}
    for other in parts[1:]:
        held = other.net.state_dict()
        total = {key: tensor + held[key] * other.share for key, tensor in total.items()}
    net = copy.deepcopy(first.net)
    net.load_state_dict({**state, **total})  # counts stay the first's
    return net, _described(parts)


def _described(parts: Sequence[Part]) -> ModelSpec:
    recipe = json.dumps([[part.spec.sha256, part.share] for part in parts])
    licences, trained = ({getattr(part.spec, name): None for part in parts} for name in ("licence", "trained_on"))
    return replace(
        parts[0].spec,
        name=",".join(f"{part.spec.name}:{part.share:g}" for part in parts),
        licence=" and ".join(licences),
        trained_on=" and ".join(trained),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.spec.notes)),
        sha256=hashlib.sha256(recipe.encode()).hexdigest(),
    )


def _shape(part: Part) -> tuple[ModelSpec, dict[str, torch.Size]]:
    """What must be equal: the description tells activations apart, the tensors what it leaves out."""
    spec = replace(part.spec, name="", licence="", trained_on="", notes=(), sha256=None)
    return spec, {key: tensor.shape for key, tensor in part.net.state_dict().items()}


def _said(spec: ModelSpec) -> str:
    return f"{spec.kind or f'{spec.arch} {spec.num_feat}x{spec.depth}'} x{spec.scale}"
