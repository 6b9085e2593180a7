"""A still picture through the network, block by block, so that memory holds source and result and little else.

Source samples go to float once, and the result is rounded once, to whatever the file to be written holds: no 8-bit hop.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from vsr.engine.alpha import upscale_with_alpha
from vsr.engine.resize import Piece, resize_part
from vsr.engine.tiling import Span, Window, windows
from vsr.engine.tune import Cores
from vsr.engine.upscaler import Upscaler
from vsr.picture import Levels, Samples, has_alpha
from vsr.stage import Cancel, ordered_map

_LUMA = (0.2126, 0.7152, 0.0722)  # BT.709's weights, as for gray clips
# Where a block may begin, for pictures with alpha: hidden colours come from a pyramid, whose levels must meet.
_ALPHA_GRID = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureRenderer:
    """Pictures of one size in, the same larger out.

    `block` is the side of what is computed at once, in source pixels, as `windows` takes it. `size` is (height, width)
    of the result, `levels` how its samples are stored.
    """

    upscaler: Upscaler
    size: tuple[int, int]
    levels: Levels
    passes: int = 1
    block: int
    cores: Cores

    @property
    def factor(self) -> int:
        """How much the network alone enlarges."""
        return self.upscaler.scale**self.passes

    def __call__(self, samples: Samples, levels: Levels, *, cancel: Cancel) -> Samples:
        """The whole result for (n, h, w, c) samples: (n, H, W, c). Raises as `bands` does."""
        n, _, _, c = samples.shape
        whole = np.empty((n, *self.size, c), self.levels.dtype)
        top = 0
        for band in self.bands(samples, levels, cancel=cancel):
            whole[:, top : top + band.shape[1]] = band
            top += band.shape[1]
        return whole

    def bands(self, samples: Samples, levels: Levels, *, cancel: Cancel) -> Iterator[Samples]:
        """The result of (n, h, w, c) samples from top to bottom, as (n, rows, W, c) with all columns.

        Gray goes through as three equal channels and comes back as one, by BT.709's weights. Pictures in a batch do not
        touch one another. Raises Cancelled, and ModelError when the network gives no finite result.
        """
        n, height, width, c = samples.shape
        parts = list(self.parts(height, width, c))
        threads_before = torch.get_num_threads()
        done = ordered_map(
            partial(self.block_of, samples, levels, cancel), parts, workers=self.cores.workers, cancel=cancel
        )
        try:
            for (start, stop), row in groupby(zip(parts, done, strict=True), key=lambda pair: pair[0].rows_out):
                band = np.empty((n, stop - start, self.size[1], c), self.levels.dtype)
                for part, block in row:
                    band[:, :, slice(*part.columns_out)] = block
                yield band
        finally:
            torch.set_num_threads(threads_before)

    def parts(self, height: int, width: int, channels: int) -> Iterator["Part"]:
        """Blocks row by row; each reads all that its part of the result depends on."""
        grid = math.lcm(self.upscaler.spec.multiple, _ALPHA_GRID if has_alpha(channels) else 1)
        for window in windows(height, width, self.block, 0):
            rows = _axis(window.rows, height, self.size[0], self, grid)
            columns = _axis(window.columns, width, self.size[1], self, grid)
            yield Part(rows=rows[0], columns=columns[0], rows_out=rows[1], columns_out=columns[1])

    @torch.inference_mode()
    def block_of(self, samples: Samples, levels: Levels, cancel: Cancel, part: "Part") -> Samples:
        """The result of one part of (n, h, w, c) samples: (n, rows, columns, c)."""
        self.divide_threads()
        low = self.source_of(samples, levels, part)
        network = partial(self.enlarged, cancel=cancel)
        rgb = as_rgb(low)
        planes = upscale_with_alpha(rgb, low[:, -1:], network) if has_alpha(low.shape[1]) else (network(rgb),)
        return self.result_of(planes, samples.shape, part)

    def divide_threads(self) -> None:
        """Let this thread's share of the cores be what `cores` says."""
        if self.upscaler.device.type == "cpu" and torch.get_num_threads() != self.cores.threads_per_worker:
            torch.set_num_threads(self.cores.threads_per_worker)

    def source_of(self, samples: Samples, levels: Levels, part: "Part") -> Tensor:
        """What a part reads of (n, h, w, c) samples, as float32 in [0, 1] on the device: (n, c, rows, columns)."""
        return _to_float(samples[:, slice(*part.rows), slice(*part.columns)], levels).to(self.upscaler.device)

    def enlarged(self, rgb: Tensor, *, cancel: Cancel) -> Tensor:
        """The network's result for (n, 3, h, w), as often as `passes` says; what is doubted is computed again."""
        for _ in range(self.passes):
            high, doubt = self.upscaler.run(rgb, cancel=cancel)
            doubted = doubt.nonzero()[:, 0]
            if len(doubted):
                high[doubted] = self.upscaler.rerun_exact(rgb[doubted], cancel=cancel)
            rgb = high
        return rgb

    def result_of(self, planes: Sequence[Tensor], shape: tuple[int, ...], part: "Part") -> Samples:
        """Samples (n, rows, columns, c) of a part from the network's colours, and alpha.

        `shape` is that of the whole source, (n, h, w, c).
        """
        piece = Piece(
            whole=(shape[1] * self.factor, shape[2] * self.factor),
            top=part.rows[0] * self.factor,
            left=part.columns[0] * self.factor,
        )
        sized = [resize_part(plane, piece, self.size, part.rows_out, part.columns_out) for plane in planes]
        colour = _gray(sized[0]) if shape[3] < 3 else sized[0]
        return _to_samples(torch.cat([colour, *sized[1:]], 1), self.levels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A block: which source pixels are read, and which pixels of the result come of it. Pairs are (start, stop)."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    rows_out: tuple[int, int]
    columns_out: tuple[int, int]


def _axis(
    span: Span, length: int, length_out: int, renderer: PictureRenderer, grid: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """What is read and what is made along one axis, for the source pixels of `span`."""
    start, stop = (round(edge * length_out / length) for edge in (span.keep_start, span.keep_stop))
    factor = renderer.factor
    ratio = length * factor / length_out  # the network's pixels to one of the result
    reach = 0 if ratio == 1 else math.ceil(2 * max(ratio, 1)) + 1
    context = sum(math.ceil(renderer.upscaler.overlap / renderer.upscaler.scale**k) for k in range(renderer.passes))
    first = (math.floor(start * ratio) - reach) // factor - context
    last = -(-(math.ceil(stop * ratio) + reach) // factor) + context
    return (max(0, first // grid * grid), min(length, -(-last // grid) * grid)), (start, stop)


def _to_float(samples: Samples, levels: Levels) -> Tensor:
    """(n, c, h, w) float32 in [0, 1] from (n, h, w, c) samples."""
    planar = np.array(
        np.moveaxis(samples, 3, 1), np.float32, order="C"
    )  # a copy: the source is read again around the next
    planar -= np.float32(levels.black)
    planar /= np.float32(levels.white - levels.black)
    return torch.from_numpy(planar).clamp_(0, 1)


def as_rgb(low: Tensor) -> Tensor:
    """(n, 3, h, w) colours of (n, c, h, w) in [0, 1]: gray three times, and no alpha."""
    return low[:, :1].expand(-1, 3, -1, -1) if low.shape[1] < 3 else low[:, :3]


def _gray(rgb: Tensor) -> Tensor:
    return sum((rgb[:, i : i + 1] * weight for i, weight in enumerate(_LUMA)), torch.zeros_like(rgb[:, :1]))


def _to_samples(planes: Tensor, levels: Levels) -> Samples:
    """(n, h, w, c) samples, rounded to nearest, from (n, c, h, w) in [0, 1]."""
    values = planes.permute(0, 2, 3, 1).cpu().numpy().astype(np.float64 if levels.bits > 16 else np.float32)
    values = values * (levels.white - levels.black) + levels.black
    if levels.dtype.kind != "f":
        values = np.rint(values)
    return values.astype(levels.dtype)


def block_windows(height: int, width: int, block: int) -> Sequence[Window]:
    """The blocks that a picture goes through in, for progress and plans."""
    return list(windows(height, width, block, 0))
