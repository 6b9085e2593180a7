"""The sharpening of the truth against the official one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vsr.train.sharpen import sharpen


def test_sharpening_is_the_official_one(media: Path):
    with np.load(media / "oracle" / "usm_radius50_weight0.5_threshold10.npz") as known:
        source, target = torch.from_numpy(known["input"]), torch.from_numpy(known["output"])
    made = sharpen(source, radius=50, weight=0.5, threshold=10)
    # one pixel of the mask, which rounding may turn, weighs up to 5e-5
    torch.testing.assert_close(made, target, rtol=0, atol=1e-4)
    assert (made - source).abs().max() > 0.05


@pytest.mark.parametrize("side", [1, 8, 64])
def test_a_flat_picture_stays_flat_at_any_size(side: int):
    flat = torch.full((1, 3, side, side), 0.3)
    torch.testing.assert_close(sharpen(flat), flat, rtol=0, atol=1e-6)


def test_what_is_below_the_threshold_stays():
    faint = 0.5 + 0.018 * torch.rand(1, 3, 64, 64)  # 4.6 of 255
    assert torch.equal(sharpen(faint, threshold=10), faint)
    assert not torch.equal(sharpen(faint, threshold=1), faint)


def test_sharpening_stays_in_range():
    edge = torch.zeros(1, 3, 64, 64)
    edge[..., 32:] = 1
    made = sharpen(edge, weight=2)
    assert made.min() >= 0
    assert made.max() <= 1


def test_sharpening_does_not_depend_on_the_batch():
    pictures = torch.rand(3, 3, 61, 77)
    assert torch.equal(sharpen(pictures), torch.cat([sharpen(one[None]) for one in pictures]))
