"""Where a still shows most of what the network did: details of it, before and after, for a sheet."""

import numpy as np
import numpy.typing as npt

from vsr.io.sheet import Cell
from vsr.picture import Page, has_alpha

_SIDE = 96  # source pixels of a detail
_MOST = 3


def details(before: Page, after: Page) -> list[Cell]:
    """Up to three pairs: a detail of the source, its pixels repeated, and the same of the result, pixel by pixel."""
    low, high = _shown(before), _shown(after)
    scale = high.shape[0] / low.shape[0]
    cells = []
    for top, left in _busiest(low):
        part = low[top : top + _SIDE, left : left + _SIDE]
        box = [round(edge * scale) for edge in (top, top + part.shape[0], left, left + part.shape[1])]
        made = high[box[0] : box[1], box[2] : box[3]]
        rows = (np.arange(made.shape[0]) * part.shape[0] // made.shape[0]).astype(np.intp)
        columns = (np.arange(made.shape[1]) * part.shape[1] // made.shape[1]).astype(np.intp)
        cells.append(Cell(picture=part[rows][:, columns], caption=f"source at {left}, {top}"))
        cells.append(Cell(picture=made, caption=f"x{scale:g}"))
    return cells


def _shown(page: Page) -> npt.NDArray[np.uint8]:
    """(h, w, 3) at 8 bits, on white."""
    share = (page.samples.astype(np.float32) - page.levels.black) / (page.levels.white - page.levels.black)
    if has_alpha(share.shape[2]):
        share = share[:, :, :-1] * share[:, :, -1:] + 1 - share[:, :, -1:]
    if share.shape[2] == 1:
        share = share.repeat(3, 2)
    return np.rint(share.clip(0, 1) * 255).astype(np.uint8)


def _busiest(picture: npt.NDArray[np.uint8]) -> list[tuple[int, int]]:
    """(top, left) of the windows on a grid whose pixels differ most from their neighbours, the first one first."""
    gray = picture.astype(np.int16).mean(2)
    change = np.abs(np.diff(gray, axis=1, append=gray[:, -1:])) + np.abs(np.diff(gray, axis=0, append=gray[-1:]))
    height, width = gray.shape
    tops = range(0, max(1, height - _SIDE + 1), _SIDE)
    lefts = range(0, max(1, width - _SIDE + 1), _SIDE)
    found = [(float(change[t : t + _SIDE, s : s + _SIDE].mean()), t, s) for t in tops for s in lefts]
    return [(top, left) for _, top, left in sorted(found, reverse=True)[:_MOST]]
