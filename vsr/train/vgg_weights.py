"""Where the weights of the perceptual loss lie, and how they are fetched."""

from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

import torch

from vsr.download import is_offline
from vsr.errors import ConfigError
from vsr.places import models_folder

URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
SHA256_START = "dcbb9e9d"
NAMES = (URL.rpartition("/")[2], "vgg19_normalised_conv3_1.pth")  # the official recipe's network goes first


def default_folders() -> tuple[Path, Path]:
    """The folder models are kept in, then the one torchvision downloads to; neither need exist."""
    return models_folder(), Path(torch.hub.get_dir()) / "checkpoints"


def find_perceptual_weights(given: Path | None, folders: Sequence[Path]) -> Path | None:
    """The file `given`, whatever its name; else the first of NAMES in the first folder that has one; else None.

    Files are not opened. Raises ConfigError when the given one does not exist.
    """
    if given is not None:
        if not given.is_file():
            raise ConfigError(f"{given}: no such file; check the path of the perceptual weights")
        return given
    return next((folder / name for folder in folders for name in NAMES if (folder / name).is_file()), None)


def download(folder: Path, *, offline: bool = False) -> Path:
    """Fetch torchvision's VGG19, 548 MB, into `folder`, where its name appears only when it is whole.

    Raises ConfigError, which says how to get it by hand, when it cannot be had, cannot be written or has another hash.
    """
    dst = folder / NAMES[0]
    if offline or is_offline():
        raise _by_hand("the network is not to be asked", folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URL, str(dst), hash_prefix=SHA256_START, progress=False)
    except (OSError, HTTPException, RuntimeError) as e:  # torch tells a wrong hash by a RuntimeError
        reason = " ".join(str(e).split())
        raise _by_hand(reason, folder) from e
    return dst


def _by_hand(reason: str, folder: Path) -> ConfigError:
    return ConfigError(
        f"{URL}: cannot be fetched: {reason}; put it, its sha256 starting with {SHA256_START}, into {folder}"
    )
