"""What a network adds of its own is seen by the figures of docs/quality.md."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.cleanliness import Cleanliness, deviation, grid_power
from vsr.engine.matlab import shrink
from vsr.evaluate.report import Result
from vsr.evaluate.samples import Sample
from vsr.evaluate.scores import Scores
from vsr.evaluate.sets import DataSet, Item

SIDE = 64


@pytest.fixture
def truth() -> Tensor:
    """A soft picture whose right half is flat."""
    waves = torch.sin(torch.arange(SIDE) / 5.0).view(-1, 1) * torch.cos(torch.arange(SIDE) / 7.0)
    waves[:, SIDE // 2 :] = 0
    return (120 + 60 * waves).round().to(torch.uint8).expand(1, 3, SIDE, SIDE).contiguous()


def figures(truth: Tensor, result: Tensor, *, lanczos: Tensor | None = None) -> dict:
    """Of a result, a clip's where there is another for lanczos, with the same source once clean and once damaged."""
    item = Item(name="a", truth=Path("a"), is_clip=lanczos is not None)
    data = DataSet(name="set", items=(item,))
    clean = Cleanliness()
    for drawn in ((), ("blur",)):
        sample = Sample(truth=truth, low=shrink(truth, 4), drawn=drawn)
        for model, frames in (("lanczos", truth if lanczos is None else lanczos), ("ours", result)):
            clean.add(Result(data=data, item=item, sample=sample, model=model, frames=frames, scores=Scores()))
    return clean.figures()[1]


def patterned(truth: Tensor, period: int, codes: int) -> Tensor:
    """With every so-many-th column brighter."""
    changed = truth.clone()
    changed[..., ::period] += codes
    return changed


def test_columns_that_repeat_are_told_from_the_picture_by_their_period(truth: Tensor):
    two, four = figures(truth, patterned(truth, 2, 4)), figures(truth, patterned(truth, 4, 4))
    assert two["period_2"] > 2
    assert two["period_4"] == pytest.approx(1, abs=0.05)
    assert four["period_4"] > 2
    assert figures(truth, truth)["period_2"] == figures(truth, truth)["period_4"] == 1


def test_the_power_of_a_pattern_does_not_depend_on_its_phase(truth: Tensor):
    here, moved = grid_power(patterned(truth, 4, 8)), grid_power(patterned(truth.roll(1, 3), 4, 8).roll(-1, 3))
    assert here[1] == pytest.approx(moved[1], rel=0.05)  # the picture's own share differs at the border


def test_a_shift_of_one_channel_is_a_tint(truth: Tensor):
    red = truth.clone()
    red[:, 0] += 3
    own = figures(truth, truth)["tint_clean"]  # shrinking rounds
    assert own < 0.2
    assert figures(truth, red)["tint_damaged"] == pytest.approx(3, abs=0.2)


def test_unrest_counts_only_where_the_truth_is_flat(truth: Tensor):
    torch.manual_seed(0)
    noise = torch.randint(-4, 5, truth.shape[2:])
    left, right = truth.int(), truth.int()
    left[..., : SIDE // 2 - 8] += noise[:, : SIDE // 2 - 8]
    right[..., SIDE // 2 :] += noise[:, SIDE // 2 :]
    assert figures(truth, left.to(torch.uint8))["flat_clean"] < 0.5
    assert figures(truth, right.to(torch.uint8))["flat_damaged"] > 1.5
    assert deviation(right.to(torch.uint8))[..., -8:].mean() == pytest.approx(
        2.58 * 219 / 255, rel=0.1
    )  # uniform -4..4


def test_flicker_is_held_against_lanczos_where_nothing_moves(truth: Tensor):
    torch.manual_seed(0)
    noise = torch.randint(-1, 2, (4, 3, SIDE, SIDE))
    still, twice = (truth + k * noise for k in (1, 2))
    found = figures(truth.expand(4, -1, -1, -1), twice.to(torch.uint8), lanczos=still.to(torch.uint8))
    assert found["static"] == pytest.approx(2, rel=0.01)
    assert found["tint_clean"] is None
