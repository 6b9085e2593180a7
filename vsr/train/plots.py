"""Curves of a run, drawn from the lines of its log by Matplotlib, which only the extra `vsr[train]` brings."""

import importlib.util
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vsr.io.images import write_rgb
from vsr.training import HIGHER_IS_BETTER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, object]
Values = npt.NDArray[np.float64]

INK, QUIET, FAINT, COLOURS = "#333333", "#777777", "#999999", ("#1f6fb4", "#d1632a")
WIDTH, HEIGHT, DPI = 5.2, 2.7, 110  # of a panel, inches; fixed margins, since fitted ones double the time
LEFT, RIGHT, TOP, BOTTOM = 0.65, 0.15, 0.5, 0.32
SMOOTHED_SHARE = 40  # a smoothed point covers about one in so many points of a stage at either side
LETTER_SHARE = 0.016  # of a panel's width, that a letter of a stage's name takes
LOG_FROM = 8.0  # ratio of large to small values from which a log axis shows more
_TITLES = {
    "psnr_y": "PSNR of luma, dB",
    "ssim_y": "SSIM of luma",
    "lpips": "LPIPS",
    "val_loss": "validation loss",
    "colour_drift": "colour drift, 8-bit codes",
}
_SUMS = {"loss_g": "generator, all terms", "loss_d": "discriminator"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One figure against the steps, in a stretch for each stage."""

    label: str
    stretches: tuple[tuple[Values, Values], ...]  # steps and values

    @property
    def values(self) -> Values:
        return np.concatenate([values for _, values in self.stretches])


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Curves that share their axes."""

    title: str
    curves: tuple[Curve, ...]
    is_smoothed: bool = False
    is_loss: bool = False  # on a log axis where that helps
    is_share: bool = False  # of values between 0 and 1, whose middle means something


Borders = tuple[tuple[float, str], ...]  # where each stage begins, and its name


def plots_possible() -> bool:
    """Whether Matplotlib is there."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_plots(rows: Sequence[Row], folder: Path) -> tuple[Path, ...]:
    """Draw what a log's rows hold as PNG files in `folder`, which is made if need be; gives those written.

    Of rows of kind `train`, the losses of generator and discriminator, the discriminator's mean scores and the rate; of
    kind `val`, every figure that a run can be judged by. What no row has is left out, and so is what is no finite
    number. Where steps go back, because a run did, the earlier rows from there on do not count. Without Matplotlib
    nothing is drawn. Raises MediaError when a file cannot be written.
    """
    if not plots_possible():
        return ()
    train, val = (_in_order(row for row in rows if row.get("kind") == kind) for kind in ("train", "val"))
    borders = _borders([*train, *val])
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, panels in _sheets(train, val).items():
        if filled := [panel for panel in panels if panel.curves]:
            written.append(folder / f"{name}.png")
            write_rgb(written[-1], _drawn(filled, borders))
    return tuple(written)


def _sheets(train: Sequence[Row], val: Sequence[Row]) -> dict[str, list[Panel]]:
    """The panels of each file by the file's name."""
    losses = list(dict.fromkeys(key for row in train for key in row if key.startswith("loss_")))
    losses.sort(key=lambda key: key not in _SUMS)
    of_judge = [key for key in losses if key == "loss_d" or key.startswith("loss_d_")]
    return {
        "losses_generator": [_loss(train, key) for key in losses if key not in of_judge],
        "losses_discriminator": [_loss(train, key) for key in of_judge],
        "scores_discriminator": [
            Panel(
                title="discriminator's mean score",
                curves=_curves(train, {"d_real": "of real pictures", "d_fake": "of results"}),
                is_smoothed=True,
                is_share=True,
            )
        ],
        "learning_rate": [Panel(title="learning rate", curves=_curves(train, {"lr": "lr"}))],
        "metrics": [_metric(val, key, is_higher_better) for key, is_higher_better in HIGHER_IS_BETTER.items()],
    }


def _loss(rows: Sequence[Row], key: str) -> Panel:
    title = _SUMS.get(key, key.removeprefix("loss_").replace("_", " "))
    return Panel(title=title, curves=_curves(rows, {key: title}), is_smoothed=True, is_loss=True)


def _metric(rows: Sequence[Row], key: str, is_higher_better: bool) -> Panel:
    curves = _curves(rows, {key: key})
    title = _TITLES[key]
    if curves:
        best = curves[0].values.max() if is_higher_better else curves[0].values.min()
        title = f"{title}: {curves[0].values[-1]:.4g} (best {best:.4g})"
    return Panel(title=title, curves=curves, is_loss=key == "val_loss")


def _in_order(rows: Iterable[Row]) -> list[Row]:
    """Rows with a step, which rises: what a run took back is gone."""
    kept: list[Row] = []
    for row in rows:
        step = _number(row.get("step"))
        if step is None:
            continue
        while kept and _step(kept[-1]) >= step:
            kept.pop()
        kept.append(row)
    return kept


def _borders(rows: Sequence[Row]) -> Borders:
    """The first step and the name of each stage, in order."""
    first: dict[str, float] = {}
    for row in rows:
        stage = str(row.get("stage", ""))
        first[stage] = min(first.get(stage, math.inf), _step(row))
    return tuple(sorted((step, stage) for stage, step in first.items()))


def _curves(rows: Sequence[Row], labels: Mapping[str, str]) -> tuple[Curve, ...]:
    """A curve for each key of `labels` that has a finite value anywhere."""
    curves = []
    for key, label in labels.items():
        points = [(row.get("stage"), _step(row), value) for row in rows if (value := _number(row.get(key))) is not None]
        stretches = [np.array([point[1:] for point in group]).T for _, group in groupby(points, lambda p: p[0])]
        if stretches:
            curves.append(Curve(label=label, stretches=tuple((steps, values) for steps, values in stretches)))
    return tuple(curves)


def _step(row: Row) -> float:
    step = _number(row["step"])
    assert step is not None  # as `_in_order` saw to
    return step


def _number(value: object) -> float | None:
    """None for what is no finite number."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _drawn(panels: Sequence[Panel], borders: Borders) -> npt.NDArray[np.uint8]:
    """The panels in two columns, a single one in one: (H, W, 3) RGB. All have the same steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # pyplot would keep it, and choose a window system

    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(columns * WIDTH, rows * HEIGHT), dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    ends = [steps[[0, -1]] for panel in panels for curve in panel.curves for steps, _ in curve.stretches]
    span = float(np.min(ends)), float(np.max(ends))
    for place, panel in enumerate(panels):
        row, column = divmod(place, columns)
        left, bottom = column * WIDTH + LEFT, (rows - 1 - row) * HEIGHT + BOTTOM
        inner = (WIDTH - LEFT - RIGHT) / (columns * WIDTH), (HEIGHT - BOTTOM - TOP) / (rows * HEIGHT)
        axes = figure.add_axes((left / (columns * WIDTH), bottom / (rows * HEIGHT), *inner))
        _draw_curves(axes, panel)
        _draw_scales(axes, panel, span)
        _draw_borders(axes, borders, span)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def _draw_curves(axes: "Axes", panel: Panel) -> None:
    is_dotted = all(len(curve.values) <= SMOOTHED_SHARE for curve in panel.curves)
    for curve, colour in zip(panel.curves, COLOURS, strict=False):
        for number, (steps, values) in enumerate(curve.stretches):
            shown = values
            if panel.is_smoothed and not is_dotted:
                axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
                shown = _smoothed(values)
            marker = "." if is_dotted or len(steps) == 1 else ""
            label = curve.label if number == 0 else None
            axes.plot(steps, shown, color=colour, linewidth=1.4, marker=marker, label=label)
    axes.set_title(panel.title, loc="left", fontsize=10, color=INK, pad=17)
    if len(panel.curves) > 1:
        place = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.06)}
        axes.legend(fontsize=8, frameon=False, labelcolor=INK, ncols=2, **place)


def _draw_scales(axes: "Axes", panel: Panel, span: tuple[float, float]) -> None:
    from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if panel.is_share:
        axes.set_ylim(0, 1)
        axes.axhline(0.5, color=FAINT, linewidth=0.8, linestyle=":")
    elif panel.is_loss and all(_needs_log(curve.values) for curve in panel.curves):
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    margin = 0.02 * (span[1] - span[0]) or 1
    axes.set_xlim(span[0] - margin, span[1] + margin)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 100k for 100,000
    axes.grid(color=FAINT, alpha=0.25, linewidth=0.6)
    axes.tick_params(which="both", labelsize=8, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)


def _draw_borders(axes: "Axes", borders: Borders, span: tuple[float, float]) -> None:
    """A dashed line where a stage begins, and the names of those with room for it above; nothing if there is but one.

    Names stand where the stage begins, or the panel, which may show no step of the first stages.
    """
    if len(borders) < 2:
        return
    ends = [step for step, _ in borders[1:]] + [span[1] + 1]
    for (step, stage), end in zip(borders, ends, strict=True):
        start = max(step, span[0])
        if span[0] < step <= span[1]:
            axes.axvline(step, color=FAINT, linewidth=1.0, linestyle="--")
        is_last = end > span[1]
        if step <= span[1] and (is_last or end - start > LETTER_SHARE * len(stage) * (span[1] - span[0])):
            where = axes.get_xaxis_transform()
            axes.text(start, 1.02, stage, transform=where, fontsize=8, color=QUIET, va="bottom")


def _needs_log(values: Values) -> bool:
    """Whether values, all above 0, span so much that small ones would lie on the axis."""
    low, high = np.percentile(values, (2, 98))
    return bool(values.min() > 0 and high / low > LOG_FROM)


def _smoothed(values: Values) -> Values:
    """Mean around each value, weighted by nearness; at the ends, of what there is."""
    reach = max(1, len(values) // SMOOTHED_SHARE)
    weights = np.bartlett(2 * reach + 3)[1:-1]
    inner = slice(reach, reach + len(values))  # not mode "same", which is as long as the longer of the two
    return np.convolve(values, weights)[inner] / np.convolve(np.ones_like(values), weights)[inner]
