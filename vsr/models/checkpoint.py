"""Weights files in and out: every dialect of the Real-ESRGAN family is read, safetensors is written.

A file is known by its content, a network by the names and shapes of its tensors. No pickle is ever executed.
"""

import hashlib
import os
import pickle
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vsr.errors import ModelError
from vsr.models.compact import Activation, SRVGGNetCompact
from vsr.models.rrdb import RRDBNet
from vsr.models.spec import HEADER_KEY, ModelSpec

MAX_FILE_BYTES = 1 << 30  # the largest published file of the family has 67 MB
MAX_FEATURES = 512  # channels of one layer
MAX_DEPTH = 256  # inner convolutions or blocks
WRAPPERS = ("params_ema", "params-ema", "params", "state_dict")  # first found wins, as in the official loader
NOT_A_CHECKPOINT = "not a weights file that vsr can read; give a .safetensors or .pth of Real-ESRGAN's networks"

StateDict = dict[str, Tensor]
Network = SRVGGNetCompact | RRDBNet


def load_model(path: Path) -> tuple[Network, ModelSpec]:
    """The network in a weights file, in fp32 on the CPU, ready to infer, and what is known of it.

    Hyper-parameters come from the shapes, never from the file's name; a header of vsr's own adds activation, licence
    and origin. What had to be assumed stands in the description's `notes`. Raises ModelError for any other file.
    """
    _require_plain_file(path)
    try:
        state, header = _read_safetensors(path) if _is_safetensors(path) else (_read_pickle(path), None)
        net, notes = _network(state, header)
        _fill(net, state)
    except ModelError as e:
        raise ModelError(f"{path}: {e}") from e
    if header is None:
        header = describe(net, name=path.stem)
    _require_agreement(path, header, net)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return net.eval().requires_grad_(False), replace(header, notes=notes, sha256=digest)


def save_model(net: Network, spec: ModelSpec, path: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write weights as `dtype` and the description as header; the name appears only when the file is whole.

    Raises ModelError when the description does not fit the network or the file cannot be written.
    """
    _require_agreement(path, spec, net)
    state = {key: tensor.detach().to("cpu", dtype).contiguous() for key, tensor in net.state_dict().items()}
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
        save_file(state, temporary, metadata={HEADER_KEY: spec.to_json()})  # a second key would lie in random order
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # a temporary file is private; weights are not
        temporary.replace(path)
    except (OSError, SafetensorError) as e:
        raise ModelError(f"{path}: cannot be written: {e}; choose another place") from e
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def describe(net: Network, *, name: str, licence: str = "unknown", trained_on: str = "unknown") -> ModelSpec:
    """The description of a network, from the network itself."""
    is_compact = isinstance(net, SRVGGNetCompact)
    return ModelSpec(
        name=name,
        arch="compact" if is_compact else "rrdb",
        scale=net.scale,
        num_feat=net.num_feat,
        depth=net.num_conv if is_compact else net.num_block,
        num_grow=None if is_compact else net.num_grow_ch,
        act=net.act if is_compact else None,
        reach=net.reach,
        multiple=net.multiple,
        licence=licence,
        trained_on=trained_on,
    )


def _require_plain_file(path: Path) -> None:
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise ModelError(f"{path}: a folder; give the weights file in it")
        if not path.is_file():
            raise ModelError(f"{path}: {NOT_A_CHECKPOINT}")
        with path.open("rb"):
            pass
    except (OSError, ValueError) as e:
        raise ModelError(f"{path}: cannot be opened: {e}; check the path") from e
    if size == 0:
        raise ModelError(f"{path}: empty; download it again")
    if size > MAX_FILE_BYTES:
        raise ModelError(f"{path}: {size >> 20} MB is too large for weights of this family; check the path")


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < MAX_FILE_BYTES


def _read_safetensors(path: Path) -> tuple[StateDict, ModelSpec | None]:
    try:
        with safe_open(path, framework="pt") as file:
            state = _state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118  # not a mapping
            header = (file.metadata() or {}).get(HEADER_KEY)
    except (SafetensorError, OSError, ValueError, RuntimeError) as e:
        raise ModelError(f"cannot be read: {_one_line(e)}; download it again") from e
    return state, None if header is None else ModelSpec.from_json(header)


def _read_pickle(path: Path) -> StateDict:
    """What torch.save wrote, through torch's restricted unpickler, which builds tensors and plain containers only."""
    _require_bounded_archive(path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        if "GLOBAL" in str(e) or "global" in str(e):  # names a function or class, as a pickle that runs code does
            raise ModelError("holds more than tensors and was not opened; convert it to safetensors first") from e
        raise ModelError(NOT_A_CHECKPOINT) from e
    except Exception as e:  # the unpickler raises whatever damaged bytes lead to: EOFError, KeyError, RuntimeError, ...
        raise ModelError(f"damaged or {NOT_A_CHECKPOINT}") from e
    return _state_dict(found)


def _require_bounded_archive(path: Path) -> None:
    """A crafted archive can unpack to far more than its own size."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError) as e:
        raise ModelError(f"damaged or {NOT_A_CHECKPOINT}") from e
    if unpacked > MAX_FILE_BYTES:
        raise ModelError(f"unpacks to {unpacked >> 20} MB, too large for weights of this family; check the file")


def _state_dict(found: object) -> StateDict:
    """Tensors by name, out of the wrappers and prefixes of the field's training scripts."""
    for wrapper in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
            break
    if not isinstance(found, Mapping) or not found:
        raise ModelError(NOT_A_CHECKPOINT)
    state: StateDict = {}
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Tensor) or value.layout != torch.strided:
            raise ModelError(NOT_A_CHECKPOINT)
        state[key.removeprefix("module.")] = value
    return state


def _network(state: StateDict, header: ModelSpec | None) -> tuple[Network, tuple[str, ...]]:
    """The network these names and shapes belong to, without weights, and what had to be assumed."""
    keys = state.keys()
    try:
        with torch.device("meta"):
            if keys and all(key.startswith("body.") and key.split(".")[1].isdecimal() for key in keys):
                return _compact(state, header)
            if "conv_first.weight" in keys and "body.0.rdb1.conv1.weight" in keys:
                return _rrdb(state), ()
    except (KeyError, IndexError, ValueError) as e:
        raise ModelError("its tensors do not make up a known network; the file may be incomplete") from e
    raise ModelError("holds another network than Compact or RRDB; give weights of one of these")


def _compact(state: StateDict, header: ModelSpec | None) -> tuple[Network, tuple[str, ...]]:
    last = max(int(key.split(".")[1]) for key in state)
    num_feat = state["body.0.weight"].shape[0]
    num_conv = (last - 2) // 2
    scale = round((state[f"body.{last}.weight"].shape[0] / 3) ** 0.5)
    _require_bounds(num_feat=num_feat, depth=num_conv, scale=scale, scales=range(1, 17))
    act: Activation = "prelu" if "body.1.weight" in state else "relu"
    notes: tuple[str, ...] = ()
    if act == "relu":
        if header is None:
            notes = ("activation taken to be ReLU: the file has no slopes and does not say; LeakyReLU looks the same",)
        elif header.act == "leakyrelu":
            act = "leakyrelu"
    return SRVGGNetCompact(num_feat=num_feat, num_conv=num_conv, scale=scale, act=act), notes


def _rrdb(state: StateDict) -> Network:
    num_feat, folded = state["conv_first.weight"].shape[:2]
    num_block = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("body."))
    num_grow = state["body.0.rdb1.conv1.weight"].shape[0]
    scale = {3: 8 if "conv_up3.weight" in state else 4, 12: 2, 48: 1}.get(folded, 0)
    _require_bounds(num_feat=num_feat, depth=num_block, scale=scale, scales=(1, 2, 4, 8))
    _require_bounds(num_feat=num_grow, depth=num_block, scale=scale, scales=(1, 2, 4, 8))
    return RRDBNet(num_feat=num_feat, num_block=num_block, num_grow_ch=num_grow, scale=scale)


def _require_bounds(*, num_feat: int, depth: int, scale: int, scales: range | tuple[int, ...]) -> None:
    if not 1 <= num_feat <= MAX_FEATURES or not 0 <= depth <= MAX_DEPTH or scale not in scales:
        found = f"{num_feat} channels, depth {depth}, scale {scale}"
        raise ModelError(f"{found} is outside what vsr runs; give an RGB network of the family")


def _fill(net: Network, state: StateDict) -> None:
    """Put the weights in as fp32. Every tensor must be there, of the right shape and finite, and none left over."""
    wanted = net.state_dict()
    odd = sorted(wanted.keys() ^ state.keys())
    if odd:
        raise ModelError(f"{odd[0]} is missing or does not belong; the file may be incomplete")
    weights: StateDict = {}
    for key, place in wanted.items():
        found = state[key]
        if found.shape != place.shape:
            raise ModelError(f"{key} is {tuple(found.shape)} instead of {tuple(place.shape)}; the file may be damaged")
        if not found.is_floating_point() or not bool(torch.isfinite(found).all()):
            raise ModelError(f"{key} holds values that are not finite numbers; the file is damaged, take another")
        weights[key] = found.detach().to(torch.float32, copy=True).contiguous()
    net.load_state_dict(weights, assign=True)


def _require_agreement(path: Path, spec: ModelSpec, net: Network) -> None:
    actual = describe(net, name=spec.name, licence=spec.licence, trained_on=spec.trained_on)
    if replace(spec, notes=(), sha256=None) != actual:
        raise ModelError(f"{path}: its header describes another network than its weights; save it again with vsr")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
