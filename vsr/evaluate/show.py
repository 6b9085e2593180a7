"""What networks make of one picture, side by side."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vsr.download import Tell
from vsr.errors import ConfigError
from vsr.evaluate.methods import Method, load_methods
from vsr.evaluate.sheet import most_detailed
from vsr.events import NoteEvent
from vsr.io.images import read_rgb
from vsr.io.sheet import Cell, contact_sheet

CROP_PX = 96  # of the source, when not said
CONTEXT_PX = 32  # of the source around it that networks see, too
_COLUMNS = 3


def show(
    names: Sequence[str],
    picture: Path,
    *,
    scale: int = 4,
    crop: int = CROP_PX,
    at: tuple[int, int] | None = None,
    device: str = "auto",
    offline: bool = False,
    tell: Tell | None = None,
) -> npt.NDArray[np.uint8]:
    """A sheet (H, W, 3) of one crop of a picture, enlarged by bicubic and by each of the named models, at 100 %.

    The crop has `crop` pixels of the source to each side, its top left corner `at` (x, y), or lies where there is most
    detail. Raises MediaError for what is no picture, ConfigError for a corner outside of it, ModelError for the names.
    """
    source = torch.from_numpy(read_rgb(picture).copy()).permute(2, 0, 1)
    rows, columns = _window(source, crop, at)
    methods = load_methods(["bicubic", *names], scale=scale, device=device, offline=offline, tell=tell)
    for method in methods:
        if method.note and tell:
            tell(NoteEvent(message=method.note))
    cells = [Cell(picture=_enlarged(method, source, rows, columns, scale), caption=method.name) for method in methods]
    return contact_sheet(cells, columns=min(_COLUMNS, len(cells)))


def _window(source: Tensor, crop: int, at: tuple[int, int] | None) -> tuple[slice, slice]:
    """Rows and columns of the crop."""
    if at is None:
        return most_detailed(source, crop)
    (left, top), (height, width) = at, source.shape[1:]
    if left >= width or top >= height:
        raise ConfigError(f"at = {left},{top}: outside the picture, which is {width}x{height}; give a corner inside")
    top, left = min(top, max(0, height - crop)), min(left, max(0, width - crop))
    return slice(top, min(top + crop, height)), slice(left, min(left + crop, width))


def _enlarged(method: Method, source: Tensor, rows: slice, columns: slice, scale: int) -> npt.NDArray[np.uint8]:
    """The crop as the method sees it within the picture, (h, w, 3)."""
    top, left = max(0, rows.start - CONTEXT_PX), max(0, columns.start - CONTEXT_PX)
    low = source[:, top : rows.stop + CONTEXT_PX, left : columns.stop + CONTEXT_PX]
    high = method.run(low[None])[0]
    kept = high[:, (rows.start - top) * scale :, (columns.start - left) * scale :]
    height, width = ((side.stop - side.start) * scale for side in (rows, columns))
    return kept[:, :height, :width].permute(1, 2, 0).contiguous().numpy()
