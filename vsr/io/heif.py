"""HEIC through libheif, where the extra is installed: 8 bits, and up to 16 where the file has more."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vsr.errors import MediaError
from vsr.io.still import Metadata, StillInfo
from vsr.picture import LEVELS_8, LEVELS_16, Levels, Samples

if TYPE_CHECKING:
    import types


def _library(path: Path) -> "types.ModuleType":
    try:
        return importlib.import_module("pillow_heif")
    except ImportError as e:
        raise MediaError(f"{path}: HEIC needs libheif; install it with: pip install 'vsr[heif]'") from e


def inspect_heif(path: Path) -> StillInfo:
    """What a HEIC's header tells. Raises MediaError without the extra, and what libheif raises for damage."""
    file = _library(path).open_heif(path, convert_hdr_to_8bit=False)
    picture = file[file.primary_index]
    told: dict[str, Any] = picture.info
    exif = told.get("exif")
    nclx = told.get("nclx_profile") or {}
    left = []
    if len(file) > 1:
        left.append("second picture" if len(file) == 2 else f"{len(file) - 1} more pictures")
    if told.get("depth_images"):
        left.append("depth map")
    auxiliary = [str(name) for name in told.get("aux") or {}]
    if any("hdrgainmap" in name for name in auxiliary):
        left.append("gain map")
    cicp = (nclx.get("color_primaries", 2), nclx.get("transfer_characteristics", 2))
    return StillInfo(
        path=path,
        kind="heic",
        format="HEIC",
        height=picture.size[1],
        width=picture.size[0],
        channels=4 if picture.mode.startswith("RGBA") else 1 if picture.mode.startswith("L") else 3,
        bits=16 if picture.mode.endswith(";16") else 8,
        is_lossless=False,
        metadata=Metadata(
            icc=told.get("icc_profile") or None,
            exif=exif.removeprefix(b"Exif\0\0") if exif else None,
            xmp=told.get("xmp") or None,
            cicp=None if told.get("icc_profile") else cicp,
        ),
        left_behind=tuple(left),
    )


def read_heif(path: Path) -> tuple[Samples, Levels]:
    """(h, w, c) samples of the primary picture; libheif has turned them upright. Raises as `inspect_heif` does."""
    file = _library(path).open_heif(path, convert_hdr_to_8bit=False)
    picture = file[file.primary_index]
    array = np.asarray(picture)
    return (array[:, :, None] if array.ndim == 2 else array), LEVELS_16 if array.dtype == np.uint16 else LEVELS_8


def write_heif(path: Path, samples: Samples, *, quality: int, subsampling: str, metadata: Metadata) -> None:
    """Write (h, w, c) RGB or RGBA samples, 8 bits, or 16, of which the file keeps 10. Raises what libheif raises."""
    library = _library(path)
    height, width, channels = samples.shape
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels] + (";16" if samples.dtype == np.uint16 else "")
    file = library.from_bytes(mode=mode, size=(width, height), data=np.ascontiguousarray(samples).tobytes())
    said: dict[str, object] = {}
    if metadata.cicp is not None and metadata.icc is None:
        said = {"color_primaries": metadata.cicp[0], "transfer_characteristics": metadata.cicp[1]}
    file.save(
        path,
        format="HEIF",
        quality=quality,
        chroma=int(subsampling.replace(":", "")),
        exif=metadata.exif,
        xmp=metadata.xmp,
        icc_profile=metadata.icc,
        **said,
    )
