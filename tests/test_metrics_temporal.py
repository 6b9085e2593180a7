"""Flicker, on clips whose change is known."""

import math

import pytest
import torch
from torch import Tensor

from vsr.metrics.temporal import WINDOW_PX, static_change

FRAMES = 6
CODE = 1 / 219  # of gray, as floats, is one code of luma


def gray(sigma: float, seed: int = 0) -> Tensor:
    """Noise of `sigma` codes of luma, new in every frame."""
    noise = torch.randn(FRAMES, 1, 64, 96, generator=torch.Generator().manual_seed(seed))
    return (noise * sigma * CODE).expand(-1, 3, -1, -1)


def square(value: float) -> Tensor:
    """A square that goes right by four pixels a frame over a still background."""
    background = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(9)) * 0.4 + 0.2
    clip = background.repeat(FRAMES, 1, 1, 1)
    for index, frame in enumerate(clip):
        frame[:, 20:40, 10 + 4 * index : 30 + 4 * index] = value
    return clip


@pytest.fixture(scope="module")
def moving() -> Tensor:
    return square(1)


def test_the_truth_is_as_steady_as_itself(moving: Tensor):
    assert static_change(moving, moving) == 0


@pytest.mark.parametrize("sigma", [0.5, 3, 8])
def test_noise_changes_by_as_much_as_is_known_of_it(moving: Tensor, sigma: float):
    # the mean of |a - b| of two normal draws; 30,000 pixels leave half a per cent of doubt
    assert static_change(moving + gray(sigma), moving) == pytest.approx(2 * sigma / math.sqrt(math.pi), rel=0.02)


def test_a_clip_steadier_than_a_noisy_truth_is_negative(moving: Tensor):
    assert static_change(moving, moving + gray(1)) == pytest.approx(-2 / math.sqrt(math.pi), rel=0.02)


def test_noise_in_the_truth_does_not_pick_its_quietest_pixels(moving: Tensor):
    """Equal noise on both sides: to judge pixels singly would leave those where the truth happens to change little."""
    assert static_change(moving + gray(1, 1), moving + gray(1, 2)) == pytest.approx(0, abs=0.02)


def test_what_moves_does_not_count(moving: Tensor):
    faint = square(0.7)
    assert abs(faint.diff(dim=0).abs().mean() - moving.diff(dim=0).abs().mean()) > 0.005
    assert static_change(faint, moving) == 0


def test_bytes_and_floats_score_alike(moving: Tensor):
    truth, clip = ((x.clamp(0, 1) * 255).round().to(torch.uint8) for x in (moving, moving + gray(3)))
    assert static_change(clip, truth) == pytest.approx(static_change(clip / 255, truth / 255), rel=1e-5)


def test_where_all_moves_nothing_is_said():
    clip = torch.rand(FRAMES, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    assert static_change(clip, clip) is None


@pytest.mark.parametrize(("rows", "is_enough"), [(1, False), (2, True)])
def test_a_hundredth_must_stand_still(rows: int, is_enough: bool):
    clip = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).repeat(1, 3, 200, 30)
    clip[:, :, : rows + WINDOW_PX // 2] = 0.5  # the rows next to what changes do not count as still
    assert (static_change(clip, clip) is not None) == is_enough


@pytest.mark.parametrize("count", [0, 1])
def test_less_than_two_frames_have_no_change(count: int):
    clip = torch.rand(count, 3, 16, 16)
    assert static_change(clip, clip) is None


def test_clips_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match="cannot be compared"):
        static_change(torch.rand(2, 3, 16, 16), torch.rand(3, 3, 16, 16))
