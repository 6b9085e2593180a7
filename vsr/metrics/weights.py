"""Where the files lie that metrics need: given on the command line, or in the folder models are kept in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vsr.errors import ConfigError, ModelError

# By field of MetricWeights. torchvision's download carries a hash; the lpips package names its file after the network.
NAMES = {
    "squeeze": ("squeezenet1_1.pth", "squeezenet1_1-b8a52dc0.pth"),
    "lpips": ("lpips_lin_v0.1_squeeze.pth", "squeeze.pth"),
    "niqe": ("niqe_pris_params.npz",),
}
KNOWN = ", ".join(name for names in NAMES.values() for name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricWeights:
    """The files found; None where there is none."""

    squeeze: Path | None = None  # LPIPS needs this one
    lpips: Path | None = None  # and this one
    niqe: Path | None = None


def find_weights(given: Sequence[Path], cache: Path) -> MetricWeights:
    """The files of metrics among `given`, which may be files and folders, the first of a kind wins; then in `cache`.

    Files are known by their names and not opened. `cache` need not exist. Raises ConfigError when a given path does not
    exist, a given file has no known name, or a given folder holds none.
    """
    found: dict[str, Path] = {}
    for path in given:
        if not path.exists():
            raise ConfigError(f"{path}: no such file or folder; check the path of the weights")
        within = _in_folder(path) if path.is_dir() else _by_name(path)
        if not within:
            raise ConfigError(f"{path}: no weights of a metric; give {KNOWN}, or a folder that holds one of them")
        found = within | found
    return MetricWeights(**(_in_folder(cache) | found))


def _by_name(path: Path) -> dict[str, Path]:
    return {field: path for field, names in NAMES.items() if path.name in names}


def _in_folder(folder: Path) -> dict[str, Path]:
    present = {field: [folder / name for name in names if (folder / name).is_file()] for field, names in NAMES.items()}
    return {field: paths[0] for field, paths in present.items() if paths}


def read_tensors(path: Path, wanted: str) -> dict[str, Tensor]:
    """The named tensors of a .pth file, on the CPU; what else it holds is left. Nothing but tensors is unpickled.

    Raises ModelError when it cannot be read or holds no names; it then ends in `give` and `wanted`.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as e:
        raise ModelError(f"{path}: cannot be read: {e.strerror}; give {wanted}") from e
    except Exception as e:  # the unpickler raises whatever damaged bytes lead to: EOFError, KeyError, RuntimeError, ...
        raise ModelError(f"{path}: damaged, or not a file of tensors; give {wanted}") from e
    if not isinstance(found, Mapping):
        raise ModelError(f"{path}: not a file of named tensors; give {wanted}")
    return {str(name): tensor for name, tensor in found.items() if isinstance(tensor, Tensor)}
