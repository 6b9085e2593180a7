"""A picture in blocks is the picture at once, whatever the size asked for."""

import math

import numpy as np
import pytest
import torch

from tests.still_maker import slope
from vsr.engine.blocks import PictureRenderer
from vsr.engine.resize import Piece, resize, resize_part
from vsr.engine.tune import Cores
from vsr.engine.upscaler import Upscaler
from vsr.loading import load
from vsr.picture import LEVELS_8, LEVELS_16, Levels
from vsr.stage import Cancel

CORES = Cores(workers=2, threads_per_worker=1, decoder=1, encoder=1)


@pytest.fixture(scope="module")
def network() -> Upscaler:
    upscaler = load("vsr-fast-x4", device="cpu", precision="fp32")
    upscaler.tile = None
    return upscaler


def render(network, samples, size, block, levels=LEVELS_16, passes=1):
    renderer = PictureRenderer(upscaler=network, size=size, levels=levels, block=block, cores=CORES, passes=passes)
    return renderer(samples, LEVELS_8, cancel=Cancel())


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("size", [(50, 64), (97, 131), (200, 301), (33, 131), (97, 60), (1, 1)])
def test_a_part_resized_is_part_of_the_whole_resized(size):
    whole = torch.rand(1, 3, 97, 131, generator=torch.Generator().manual_seed(0))
    at = Piece(whole=(97, 131), top=0, left=0)
    middle = tuple((side // 3, -(-side * 2 // 3)) for side in size)
    got = resize_part(whole, at, size, *middle)
    wanted = resize(whole, size)[..., slice(*middle[0]), slice(*middle[1])]
    assert (got - wanted).abs().max() < 2e-5  # torch's own weights are in single precision


@pytest.mark.parametrize("first", [8, 24, 25])
@pytest.mark.parametrize("size", [(48, 60), (32, 40), (72, 90), (47, 61)])
def test_a_piece_may_begin_anywhere(size, first):
    """Where old and new pixels begin at one place, torch's filter does it; elsewhere ours, which is to be the same."""
    whole = torch.rand(1, 3, 96, 120, generator=torch.Generator().manual_seed(0))
    wanted = tuple(
        (math.ceil((first + 10) * new / old), (80 * new) // old) for new, old in zip(size, (96, 120), strict=True)
    )
    piece = Piece(whole=(96, 120), top=first, left=first)
    got = resize_part(whole[..., first:93, first:95], piece, size, *wanted)
    assert (got - resize(whole, size)[..., slice(*wanted[0]), slice(*wanted[1])]).abs().max() < 2e-5


@pytest.mark.parametrize("size", [(212, 248), (106, 124), (159, 250), (60, 300)])
@pytest.mark.parametrize("channels", [1, 3])
def test_blocks_meet_without_a_seam(network, size, channels):
    samples = noise(1, 53, 62, channels)
    whole = render(network, samples, size, block=1000)
    parts = render(network, samples, size, block=17)
    assert np.abs(whole.astype(int) - parts).max() <= 1  # of 65535


def test_one_pixel_less_of_context_would_show(network):
    samples = noise(1, 53, 62, 3)
    whole = render(network, samples, (212, 248), block=1000)
    network.overlap -= 1
    try:
        parts = render(network, samples, (212, 248), block=17)
    finally:
        network.overlap += 1
    assert np.abs(whole.astype(int) - parts).max() > 1


def test_two_passes_meet_without_a_seam(network):
    samples = noise(1, 20, 30, 3)
    whole = render(network, samples, (240, 360), block=1000, passes=2)
    parts = render(network, samples, (240, 360), block=9, passes=2)
    assert np.abs(whole.astype(int) - parts).max() <= 1


def test_blocks_of_a_picture_with_alpha_differ_only_where_nothing_is_seen(network):
    samples = noise(1, 80, 90, 4)
    samples[..., 3] = np.where(np.add.outer(np.arange(80), np.arange(90)) > 80, 255, 0)
    whole = render(network, samples, (320, 360), block=1000)
    parts = render(network, samples, (320, 360), block=29)
    assert np.array_equal(whole[..., 3], parts[..., 3])
    seen = whole[..., 3] > 0
    assert np.abs(whole[seen].astype(int) - parts[seen]).max() <= 2


def test_pictures_in_a_batch_do_not_touch(network):
    samples = noise(2, 40, 30, 3)
    both = render(network, samples, (80, 60), block=16)
    one = render(network, samples[1:], (80, 60), block=16)
    assert np.abs(both[1].astype(int) - one[0]).max() <= 1


def test_values_of_any_range_come_back_in_it(network):
    levels = Levels(dtype=np.dtype(np.float32), black=-3, white=7)
    samples = slope(1).astype(np.float32)[None] / 255 * 10 - 3
    renderer = PictureRenderer(upscaler=network, size=(80, 112), levels=levels, block=64, cores=CORES)
    result = renderer(samples, levels, cancel=Cancel())
    assert result.dtype == np.float32
    assert abs(result.mean() - samples.mean()) < 0.1
    assert result.min() >= -3
    assert result.max() <= 7
