"""A weights file written again in another form: safetensors that explains itself, or .pth as other tools read it."""

from dataclasses import replace
from pathlib import Path

import torch

from vsr.disk import whole_file, why_not_written
from vsr.errors import ConfigError, ModelError
from vsr.models.checkpoint import load_model, save_model
from vsr.models.dialects import Dialect, names_in
from vsr.models.measure import fingerprint
from vsr.models.network import Trainable
from vsr.models.other import OtherNet
from vsr.models.store import find, identify

SUFFIXES = (".safetensors", ".pth")


def convert(
    name_or_path: str,
    dst: Path | None = None,
    *,
    half: bool = False,
    keys: Dialect = "official",
    overwrite: bool = False,
) -> Path:
    """Write a model's weights in the form of the suffix of `dst`; by default safetensors, here, under the same name.

    A .pth has them as {"params": ...} under the names of the dialect `keys`, "esrgan" as they are, since its tools know
    no wrapper. Nothing but the form changes: converted back they are the same bit for bit, or rounded once if `half`.
    Raises ModelError for what cannot be read or written, ConfigError for a form that there is not.
    """
    src = find(name_or_path, offline=True)
    net, spec = load_model(src)
    if isinstance(net, OtherNet):
        raise ModelError(f"{src}: {net.kind} is converted by its own tools; vsr only runs it")
    dst = Path(f"{src.stem}.safetensors") if dst is None else dst
    suffix = dst.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"{dst}: '{dst.suffix}' is no form of weights that vsr writes; use {' or '.join(SUFFIXES)}")
    if keys != "official" and suffix != ".pth":
        raise ConfigError(f"keys = {keys}: a .safetensors has the official names; write a .pth")
    if dst.exists() and not overwrite:
        raise ModelError(f"{dst}: is there already; add --overwrite, or choose another output with -o")
    known = identify(spec.sha256 or "", fingerprint(net))
    if known is not None:
        spec = replace(spec, name=known[0].name, licence=known[0].licence)
    dtype = torch.float16 if half else torch.float32
    if suffix == ".safetensors":
        save_model(net, spec, dst, dtype=dtype)
    else:
        _save_pth(net, dst, dtype=dtype, keys=keys)
    return dst


def _save_pth(net: Trainable, dst: Path, *, dtype: torch.dtype, keys: Dialect) -> None:
    learned = {name for name, _ in net.named_parameters()}
    state = {key: tensor.to(dtype) if key in learned else tensor for key, tensor in net.state_dict().items()}
    renamed = names_in(state, keys)
    try:
        with whole_file(dst) as part:
            torch.save(renamed if keys == "esrgan" else {"params": renamed}, part)
    except (OSError, RuntimeError) as e:
        reason = " ".join(str(e).split())
        raise ModelError(f"{dst}: {why_not_written(e, f'cannot be written: {reason}; choose another place')}") from e
