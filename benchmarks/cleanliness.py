"""What a network adds that was never there: a tint, a grid, unrest where all is flat, flicker where nothing moves.

Fed with the results of `benchmarks.quality`. A figure is held against the truth's, or for flicker against lanczos.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.report import described, table
from vsr.evaluate.report import Result
from vsr.metrics.fidelity import luma
from vsr.metrics.temporal import static_change
from vsr.train.losses import colour_drift

BLOCK_PX = 32  # a local spectrum is of so many pixels each way
FLAT_PX = 7  # the window in which a deviation is taken
FLAT_CODES = 0.5  # deviation of the truth below which it counts as flat
HEADING = ("model", "tint, clean", "tint, damaged", "period 2", "period 4", "flat, clean", "flat, damaged", "static")


def grid_power(picture: Tensor) -> tuple[float, float]:
    """Mean power of luma at the frequencies of patterns that repeat every 2 and every 4 pixels.

    `picture` is (1, 3, H, W) RGB, uint8 or floats in [0, 1]. Of blocks of BLOCK_PX, under a Hann window, less their
    mean: the frequencies are all multiples of 1/2, and all multiples of 1/4 that are none of 1/2.
    """
    codes = luma(picture).float()
    blocks = F.unfold(codes, BLOCK_PX, stride=BLOCK_PX // 2).transpose(1, 2).reshape(-1, BLOCK_PX, BLOCK_PX)
    window = torch.hann_window(BLOCK_PX, periodic=True)
    power = torch.fft.fft2((blocks - blocks.mean((1, 2), keepdim=True)) * window.outer(window)).abs().square().mean(0)
    quarters = power[:: BLOCK_PX // 4, :: BLOCK_PX // 4]
    halves = quarters[::2, ::2].sum() - quarters[0, 0]
    return float(halves), float(quarters.sum() - quarters[::2, ::2].sum())


def deviation(picture: Tensor) -> Tensor:
    """Local standard deviation of luma in 8-bit codes, (1, 1, H - 6, W - 6)."""
    codes = luma(picture).double()
    mean = F.avg_pool2d(codes, FLAT_PX, 1)
    return (F.avg_pool2d(codes.square(), FLAT_PX, 1) - mean.square()).clamp(min=0).sqrt()


@dataclass(slots=True)
class _Sums:
    """Of one method."""

    tints: dict[bool, list[Tensor]] = field(default_factory=lambda: {True: [], False: []})  # of damaged ones, of clean
    flats: dict[bool, list[Tensor]] = field(default_factory=lambda: {True: [], False: []})
    powers: list[tuple[float, float]] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)


class Cleanliness:
    """Adds results up, of stills and clips."""

    def __init__(self) -> None:
        self._sums: dict[str, _Sums] = defaultdict(_Sums)
        self._truths: list[tuple[float, float]] = []
        self._seen: set[tuple[str, str, bool]] = set()

    def add(self, result: Result) -> None:
        """Take in what a method made of one item."""
        sums, truth = self._sums[result.model], result.sample.truth
        if result.item.is_clip:
            excess, own = (static_change(frames, truth) for frames in (result.frames, truth[:1].expand_as(truth)))
            if excess is not None and own is not None:
                sums.changes.append(excess - own)
            return
        key = result.data.name, result.item.name, bool(result.sample.drawn)
        if key not in self._seen:
            self._seen.add(key)
            self._truths.append(grid_power(truth))
        low = result.sample.low / 255
        sums.tints[bool(result.sample.drawn)].append(colour_drift(result.frames / 255, low).abs().amax(0, keepdim=True))
        sums.powers.append(grid_power(result.frames))
        is_flat = deviation(truth) < FLAT_CODES
        sums.flats[bool(result.sample.drawn)].append(deviation(result.frames)[is_flat])

    def figures(self) -> list[dict[str, float | str | None]]:
        """A row for each method, in which None was not measured."""
        grids = torch.tensor(self._truths).view(-1, 2).sum(0)
        steady = sum(self._sums["lanczos"].changes)
        rows: list[dict[str, float | str | None]] = []
        for model, sums in self._sums.items():
            ratios = (torch.tensor(sums.powers).view(-1, 2).sum(0) / grids).tolist() if sums.powers else [None, None]
            rows.append(
                {
                    "model": model,
                    "tint_clean": _mean(sums.tints[False]),
                    "tint_damaged": _mean(sums.tints[True]),
                    "period_2": ratios[0],
                    "period_4": ratios[1],
                    "flat_clean": _mean(sums.flats[False]),
                    "flat_damaged": _mean(sums.flats[True]),
                    "static": sum(sums.changes) / steady if steady else None,
                }
            )
        return rows


def _mean(parts: list[Tensor]) -> float | None:
    values = torch.cat(parts) if parts else torch.zeros(0)
    return float(values.mean()) if values.numel() else None


def cleanliness_table(figures: Mapping) -> str:
    """From the figures saved."""
    rows = []
    for row in figures["rows"]:
        values = [value for key, value in row.items() if key != "model"]
        rows.append([row["model"], *("-" if value is None else f"{value:.2f}" for value in values)])
    return f"{table(HEADING, rows)}\n\n{described(figures)}"
