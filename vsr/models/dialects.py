"""The names that tensors go by in the files of different tools, and the ones they have here.

Sources: XPixelGroup/BasicSR scripts/model_conversion/convert_models.py (the names between ESRGAN's and today's);
chaiNNer-org/spandrel architectures/ESRGAN (the first names, and how they count on for other scales).
"""

import re
from collections.abc import Mapping
from typing import Literal, get_args

from torch import Tensor

from vsr.errors import ModelError

# official: as BasicSR and Real-ESRGAN write today. basicsr: as BasicSR's first versions. esrgan: as ESRGAN's own.
Dialect = Literal["official", "basicsr", "esrgan"]
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)

_PREFIXES = ("module.", "_orig_mod.")  # of torch's DataParallel and compile
_BASICSR = {  # first words of official names
    "body": "RRDB_trunk",
    "conv_body": "trunk_conv",
    "conv_up1": "upconv1",
    "conv_up2": "upconv2",
    "conv_up3": "upconv3",
    "conv_hr": "HRconv",
}
_BLOCK = re.compile(r"body\.(\d+)\.rdb(\d)\.conv(\d)\.(weight|bias)")
_OLD_BLOCK = re.compile(r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.(weight|bias)")
_OLD = re.compile(r"model\.(\d+)(?:\.sub\.(\d+))?\.(weight|bias)")


def without_prefixes(key: str) -> str:
    """The name without what wrappers of training put before it."""
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    return key


def official_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names they have here; those of no known dialect stay as they are.

    Raises ModelError for names of the first kind that do not make up an RRDB network.
    """
    if any(key.startswith("RRDB_trunk.") for key in state):
        first = {theirs: ours for ours, theirs in _BASICSR.items()}
        return {_with_first_word(key, first).replace(".RDB", ".rdb"): tensor for key, tensor in state.items()}
    if "model.1.sub.0.RDB1.conv1.0.weight" in state:
        names = _old_names(state)
        return {names[key]: tensor for key, tensor in state.items()}
    return dict(state)


def names_in(state: Mapping[str, Tensor], dialect: Dialect) -> dict[str, Tensor]:
    """Tensors with official names under those of a dialect. Raises ModelError where only RRDB has such names."""
    if dialect == "official":
        return dict(state)
    if "body.0.rdb1.conv1.weight" not in state or "up.0.conv.weight" in state:
        raise ModelError(f"names of the dialect {dialect} are RRDB's only; leave --keys out")
    if dialect == "basicsr":
        return {_with_first_word(key, _BASICSR).replace(".rdb", ".RDB"): tensor for key, tensor in state.items()}
    blocks = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("body."))
    tops = {ours: theirs for theirs, ours in _tops(_doublings(state), blocks).items()}
    return {_in_esrgan(key, tops): tensor for key, tensor in state.items()}


def _with_first_word(key: str, words: Mapping[str, str]) -> str:
    first, dot, rest = key.partition(".")
    return words.get(first, first) + dot + rest


def _doublings(state: Mapping[str, Tensor]) -> int:
    return sum(f"conv_up{number}.weight" in state for number in (1, 2, 3))


def _tops(doublings: int, blocks: int) -> dict[str, str]:
    """Old names of the convolutions around the blocks, and today's; each doubling takes three places in the row."""
    ups = {f"model.{3 * number}": f"conv_up{number}" for number in range(1, doublings + 1)}
    ends = {f"model.{3 * doublings + 2}": "conv_hr", f"model.{3 * doublings + 4}": "conv_last"}
    return {"model.0": "conv_first", f"model.1.sub.{blocks}": "conv_body", **ups, **ends}


def _old_names(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Old name -> today's, of every tensor."""
    places = {int(found[1]) for key in state if (found := _OLD.fullmatch(key))}
    blocks = 1 + max(int(found[1]) for key in state if (found := _OLD_BLOCK.fullmatch(key)))
    tops = _tops(max(0, len(places) - 4), blocks)
    names = {}
    for key in state:
        if found := _OLD_BLOCK.fullmatch(key):
            names[key] = f"body.{found[1]}.rdb{found[2]}.conv{found[3]}.{found[4]}"
        elif (layer := key.rpartition(".")[0]) in tops:
            names[key] = f"{tops[layer]}.{key.rpartition('.')[2]}"
        else:
            raise ModelError(f"{key} does not belong to ESRGAN's network; it may be a variant of it")
    return names


def _in_esrgan(key: str, tops: Mapping[str, str]) -> str:
    if found := _BLOCK.fullmatch(key):
        return f"model.1.sub.{found[1]}.RDB{found[2]}.conv{found[3]}.0.{found[4]}"
    layer, _, last = key.rpartition(".")
    return f"{tops[layer]}.{last}"
