"""What the plots of a run show, read off their panels and their pixels."""

import math
from pathlib import Path

import numpy as np
import pytest

from vsr.io.images import read_rgb
from vsr.train import plots
from vsr.train.plots import draw_plots, plots_possible

ALL = ["losses_generator", "losses_discriminator", "scores_discriminator", "learning_rate", "metrics"]


def trained(step: int, stage: str = "net", **values) -> dict[str, object]:
    return {"kind": "train", "step": step, "stage": stage, "lr": 1e-4, "loss_l1": 0.1 + 1 / (step + 1), **values}


def judged(step: int, stage: str = "net", **values) -> dict[str, object]:
    return {"kind": "val", "step": step, "stage": stage, "psnr_y": 20 + step / 10, "val_loss": 0.1, **values}


def a_run() -> list[dict[str, object]]:
    scores = {"loss_g": 3.0, "loss_d": 1.2, "d_real": 0.6, "d_fake": 0.4}
    net = [trained(step) for step in range(10)] + [judged(0), judged(9)]
    return [*net, *(trained(step, "gan", **scores) for step in range(10, 20)), judged(19, "gan", lpips=0.2)]


def panels_of(rows: list[dict[str, object]], folder: Path, monkeypatch) -> dict[str, dict[str, plots.Panel]]:
    """The panels by file and title, as they go to be drawn."""
    drawn: list[dict[str, plots.Panel]] = []

    def note(panels, borders):
        drawn.append({panel.title: panel for panel in panels})
        return np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr(plots, "_drawn", note)
    paths = draw_plots(rows, folder)
    return dict(zip([path.stem for path in paths], drawn, strict=True))


def points(panel: plots.Panel) -> list[list[tuple[float, float]]]:
    return [list(zip(*(line.tolist() for line in pair), strict=True)) for pair in panel.curves[0].stretches]


def test_a_run_is_drawn_in_five_files_and_nothing_else(tmp_path: Path):
    paths = draw_plots(a_run(), tmp_path / "plots")
    assert paths == tuple(tmp_path / "plots" / f"{name}.png" for name in ALL)
    assert sorted((tmp_path / "plots").iterdir()) == sorted(paths)
    for path in paths:
        picture = read_rgb(path)
        assert min(picture.shape[:2]) > 200
        assert (picture == (31, 111, 180)).all(2).sum() > 100  # a curve in its colour


def test_what_no_row_has_is_left_out(tmp_path: Path, monkeypatch):
    rows = [trained(step, loss_g=math.nan, grad_norm=1.0) for step in range(5)] + [
        judged(4, lpips=None, ssim_y=math.inf)
    ]
    found = panels_of(rows, tmp_path, monkeypatch)
    assert list(found) == ["losses_generator", "learning_rate", "metrics"]
    assert list(found["losses_generator"]) == ["l1"]
    assert [title.split(":")[0] for title in found["metrics"]] == ["PSNR of luma, dB", "validation loss"]


def test_no_rows_give_no_files(tmp_path: Path):
    assert draw_plots([], tmp_path) == ()
    assert draw_plots([{"kind": "skip", "step": 3}, {"kind": "train"}], tmp_path) == ()


def test_stages_are_stretches_of_their_own(tmp_path: Path, monkeypatch):
    found = panels_of(a_run(), tmp_path, monkeypatch)
    stretches = points(found["losses_generator"]["l1"])
    assert [[step for step, _ in stretch] for stretch in stretches] == [list(range(10)), list(range(10, 20))]
    assert list(found["losses_generator"]) == ["generator, all terms", "l1"]
    assert list(found["losses_discriminator"]) == ["discriminator"]


def test_steps_that_a_run_took_back_are_gone(tmp_path: Path, monkeypatch):
    rows = [trained(step, loss_l1=9.0) for step in (0, 10, 20, 30)] + [trained(step, loss_l1=1.0) for step in (15, 25)]
    found = panels_of(rows, tmp_path, monkeypatch)
    assert points(found["losses_generator"]["l1"]) == [[(0, 9), (10, 9), (15, 1), (25, 1)]]


@pytest.mark.parametrize(("key", "title"), [("psnr_y", "PSNR of luma, dB: 2 (best 3)"), ("lpips", "LPIPS: 2 (best 1)")])
def test_the_best_figure_is_the_highest_or_the_lowest(tmp_path: Path, monkeypatch, key: str, title: str):
    rows = [judged(step) | {key: value} for step, value in enumerate((1.0, 3.0, 2.0))]
    assert title in panels_of(rows, tmp_path, monkeypatch)["metrics"]


def test_smoothing_keeps_level_and_scale_up_to_the_ends():
    level = np.full(400, 3.0)
    assert plots._smoothed(level) == pytest.approx(level)
    noise = np.random.default_rng(0).normal(size=400)
    assert plots._smoothed(noise).std() < 0.5 * noise.std()
    assert len(plots._smoothed(np.ones(1))) == 1


@pytest.mark.parametrize(
    ("values", "is_log"),
    [([1.0, 0.1, 0.01], True), ([1.0, 0.9, 0.5], False), ([1.0, 0.0, 0.01], False), ([-1.0, 0.1, 1.0], False)],
)
def test_a_log_axis_is_for_wide_spans_above_nothing(values: list[float], is_log: bool):
    assert plots._needs_log(np.array(values)) is is_log


def test_stages_are_named_where_they_begin_if_there_is_room():
    from matplotlib.figure import Figure

    def shown(borders, span):
        axes = Figure().add_subplot()
        plots._draw_borders(axes, borders, span)
        lines = [float(np.asarray(line.get_xdata())[0]) for line in axes.lines]
        return [(text.get_position()[0], text.get_text()) for text in axes.texts], lines

    borders = ((0.0, "net"), (100.0, "gan"))
    assert shown(borders, (0.0, 200.0)) == ([(0, "net"), (100, "gan")], [100])
    assert shown(borders, (100.0, 200.0)) == ([(100, "gan")], [])  # of the discriminator alone
    assert shown(borders, (120.0, 200.0)) == ([(120, "gan")], [])
    assert shown(borders, (0.0, 50.0)) == ([(0, "net")], [])
    assert shown(((0.0, "warm"), (1.0, "net"), (100.0, "gan")), (0.0, 200.0)) == ([(1, "net"), (100, "gan")], [1, 100])
    assert shown(((0.0, "net"),), (0.0, 200.0)) == ([], [])


def test_one_step_is_drawn_and_so_is_a_short_stage_after_a_long_one(tmp_path: Path):
    assert len(draw_plots([trained(0)], tmp_path)) == 2
    rows = [trained(step) for step in range(100)] + [trained(100, "gan")]
    assert len(draw_plots(rows, tmp_path)) == 2


def test_without_matplotlib_nothing_is_drawn(tmp_path: Path, monkeypatch):
    assert plots_possible()
    monkeypatch.setattr(plots.importlib.util, "find_spec", lambda name: None)
    assert not plots_possible()
    assert draw_plots(a_run(), tmp_path / "plots") == ()
    assert not (tmp_path / "plots").exists()
