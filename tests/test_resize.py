"""Changing the size of pictures."""

import pytest
import torch

from vsr.engine.resize import resize


def noise(height: int, width: int) -> torch.Tensor:
    return torch.rand((2, 3, height, width), generator=torch.Generator().manual_seed(0))


def test_the_same_size_is_the_same_tensor():
    rgb = noise(12, 10)
    assert resize(rgb, (12, 10)) is rgb


@pytest.mark.parametrize("size", [(7, 5), (24, 31), (12, 5), (1, 1)])
def test_flat_pictures_stay_flat(size):
    resized = resize(torch.full((1, 3, 12, 10), 0.3), size)
    assert resized.shape == (1, 3, *size)
    assert torch.allclose(resized, torch.tensor(0.3), atol=1e-6)


@pytest.mark.parametrize("size", [(48, 40), (11, 9)])
def test_overshoot_is_clamped(size):
    halves = (torch.arange(20) < 10).float().expand(1, 3, 24, 20)
    resized = resize(halves, size)
    assert (resized.min(), resized.max()) == (0, 1)


def test_shrinking_does_not_alias():
    checkers = (torch.arange(64)[:, None] + torch.arange(64)).remainder(2).float().expand(1, 3, 64, 64)
    inner = resize(checkers, (16, 16))[..., 2:-2, 2:-2]
    assert torch.allclose(inner, torch.tensor(0.5), atol=0.02)


@pytest.mark.parametrize("size", [(32, 32), (128, 128)])
def test_the_picture_does_not_move(size):
    ramp = torch.linspace(0.1, 0.9, 64).expand(1, 3, 64, 64)
    expected = 0.1 + 0.8 / 63 * ((torch.arange(size[1]) + 0.5) * 64 / size[1] - 0.5)
    inner = slice(4, -4)  # at the border the kernel is cut
    assert torch.allclose(resize(ramp, size)[0, 0, 5, inner], expected[inner], atol=1e-4)


def test_memory_order_changes_nothing():
    rgb = noise(24, 20)
    assert torch.allclose(resize(rgb.to(memory_format=torch.channels_last), (11, 9)), resize(rgb, (11, 9)), atol=1e-6)
