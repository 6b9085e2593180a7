"""Weights files in and out: every dialect of the Real-ESRGAN family and its forebears is read, safetensors is written.

A file is known by its content, a network by the names and shapes of its tensors. No pickle is ever executed.
"""

import hashlib
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vsr.disk import whole_file
from vsr.errors import ModelError
from vsr.models.detect import StateDict, UnknownNetworkError, network_of
from vsr.models.dialects import official_names, without_prefixes
from vsr.models.network import Network, Trainable, describe
from vsr.models.other import read_other
from vsr.models.spec import HEADER_KEY, ModelSpec

MAX_FILE_BYTES = 1 << 30  # the largest published file of the family has 67 MB
WRAPPERS = ("params_ema", "params-ema", "params", "state_dict")  # first found wins, as in the official loader
NOT_A_CHECKPOINT = "not a weights file that vsr can read; give a .safetensors or .pth of Real-ESRGAN's networks"


def load_model(path: Path) -> tuple[Network, ModelSpec]:
    """The network in a weights file, in fp32 on the CPU, ready to infer, and what is known of it.

    Hyper-parameters come from the shapes, never from the file's name; a header of vsr's own adds activation, licence
    and origin. What had to be assumed stands in the description's `notes`. Raises ModelError for any other file.
    """
    _require_plain_file(path)
    try:
        state, header = _read_safetensors(path) if _is_safetensors(path) else (_read_pickle(path), None)
        net, notes = _network(state, header)
    except ModelError as e:
        raise ModelError(f"{path}: {e}") from e
    if header is None:
        header = describe(net, name=path.stem)
    _require_agreement(path, header, net)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return net.eval().requires_grad_(False), replace(header, notes=notes, sha256=digest)


def _network(state: StateDict, header: ModelSpec | None) -> tuple[Network, tuple[str, ...]]:
    """The network with its weights, and what had to be assumed."""
    try:
        net, notes = network_of(state, header)
    except UnknownNetworkError as unknown:
        try:
            net = read_other(state)
        except ModelError as e:
            raise ModelError(f"{unknown}; {e}") from e
        advice = f"{net.kind}: its tiles may differ in tone, for it looks at the whole picture; a large --tile helps"
        return net, () if net.is_tiled else (advice,)
    _fill(net, state)
    return net, notes


def save_model(net: Network, spec: ModelSpec, path: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write weights as `dtype` and the description as header; the name appears only when the file is whole.

    What batch normalisation averaged and counted keeps its own type.
    Raises ModelError when the description does not fit the network or the file cannot be written.
    """
    _require_agreement(path, spec, net)
    types = {key: dtype for key, _ in net.named_parameters()}
    state = {key: x.detach().to("cpu", types.get(key, x.dtype)).contiguous() for key, x in net.state_dict().items()}
    try:
        with whole_file(path) as part:
            save_file(state, part, metadata={HEADER_KEY: spec.to_json()})  # a second key would lie in random order
    except (OSError, SafetensorError) as e:
        raise ModelError(f"{path}: cannot be written: {e}; choose another place") from e


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
        with warnings.catch_warnings(action="ignore"):  # of torch, on how the file was pickled
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
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as e:  # the second: of a version to come
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
        state[without_prefixes(key)] = value
    return official_names(state)


def _fill(net: Trainable, state: StateDict) -> None:
    """Put the weights in: floats as fp32, counts as integers.

    Every tensor must be there, of the right shape and finite, and none left over.
    """
    wanted = net.state_dict()
    odd = sorted(wanted.keys() ^ state.keys())
    if odd:
        raise ModelError(f"{odd[0]} is missing or does not belong; the file may be incomplete")
    weights: StateDict = {}
    for key, place in wanted.items():
        found = state[key]
        if found.shape != place.shape:
            raise ModelError(f"{key} is {tuple(found.shape)} instead of {tuple(place.shape)}; the file may be damaged")
        is_of_kind = found.is_floating_point() == place.is_floating_point() and not found.is_complex()
        if not is_of_kind or not bool(torch.isfinite(found).all()):
            raise ModelError(f"{key} holds values that are not finite numbers; the file is damaged, take another")
        weights[key] = found.detach().to(place.dtype, copy=True).contiguous()
    net.load_state_dict(weights, assign=True)


def _require_agreement(path: Path, spec: ModelSpec, net: Network) -> None:
    actual = describe(net, name=spec.name, licence=spec.licence, trained_on=spec.trained_on)
    if replace(spec, notes=(), sha256=None) != actual:
        raise ModelError(f"{path}: its header describes another network than its weights; save it again with vsr")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
