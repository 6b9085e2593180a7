"""Results side by side with the truth, pixel by pixel."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vsr.errors import ConfigError
from vsr.evaluate.report import Result
from vsr.evaluate.sets import DataSet
from vsr.io.images import write_rgb
from vsr.io.sheet import Cell, contact_sheet
from vsr.metrics.fidelity import luma

WINDOW_PX = 192  # of each picture, where the truth has most detail
ROWS = 6  # when none are named
_QUALITY = 95  # of JPEG and WebP: its own damage must not be taken for a method's
_STEP_PX = 8  # from one window tried to the next


class Sheet:
    """Gathers windows of chosen items as results come in; `write` puts them together."""

    def __init__(self, path: Path, sets: Sequence[DataSet], names: Sequence[str] = ()) -> None:
        """A row for each of the named files, else for ROWS items evenly spread, for a file at `path`.

        Raises ConfigError for a name that the sets do not hold.
        """
        self._path = path
        every = [(data.name, item.name) for data in sets for item in data.items]
        unknown = sorted(set(names) - {name for _, name in every})
        if unknown:
            raise ConfigError(f"{', '.join(unknown)}: not in the data; name files of it for the sheet")
        count = min(ROWS, len(every))
        spread = [every[i * len(every) // count] for i in range(count)]
        self._chosen = {key for key in every if key[1] in names} if names else set(spread)
        self._is_mixed = len(sets) > 1
        self._rows: dict[tuple[str, str], list[Cell]] = {}
        self._truths: dict[tuple[str, str], Cell] = {}

    def add(self, result: Result) -> None:
        """Keep the window of a result, of a clip's middle frame, if its item is among the chosen."""
        key = result.data.name, result.item.name
        if key not in self._chosen:
            return
        number = len(result.frames) // 2
        truth = result.sample.truth[number]
        rows, columns = most_detailed(truth, WINDOW_PX)
        caption = f"{result.model}  {result.scores.psnr_y:.2f} dB"
        named = "/".join(key) if self._is_mixed else result.item.name
        self._rows.setdefault(key, []).append(
            Cell(picture=_shown(result.frames[number, :, rows, columns]), caption=caption)
        )
        self._truths[key] = Cell(picture=_shown(truth[:, rows, columns]), caption=f"truth  {named}")

    def picture(self) -> npt.NDArray[np.uint8]:
        """(H, W, 3) 8-bit RGB: a row for each item, a column for each method, the truth last."""
        rows = [[*cells, self._truths[key]] for key, cells in self._rows.items()]
        return contact_sheet([cell for row in rows for cell in row], columns=len(rows[0]))

    def write(self) -> None:
        """Save `picture` in the format of the path's suffix. Raises MediaError when that cannot be."""
        write_rgb(self._path, self.picture(), quality=_QUALITY)


def _shown(window: Tensor) -> npt.NDArray[np.uint8]:
    return window.permute(1, 2, 0).contiguous().numpy()


def most_detailed(picture: Tensor, side_px: int) -> tuple[slice, slice]:
    """The square of (3, H, W) whose luma changes most from pixel to pixel; all of a smaller picture."""
    light = luma(picture[None])
    change = F.pad(light.diff(dim=2).abs(), (0, 0, 0, 1)) + F.pad(light.diff(dim=3).abs(), (0, 1))
    height, width = (min(side_px, side) for side in picture.shape[1:])
    sums = F.avg_pool2d(change, (height, width), _STEP_PX)[0, 0]
    place = int(torch.argmax(sums))
    top, left = place // sums.shape[1] * _STEP_PX, place % sums.shape[1] * _STEP_PX
    return slice(top, top + height), slice(left, left + width)
