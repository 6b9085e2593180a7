"""Blur kernels against the official ones, and what filtering with them must keep."""

import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vsr.degradation import Blur
from vsr.train.draw import Draw
from vsr.train.kernels import (
    blur,
    draw_kernel,
    draw_ringing,
    gaussian,
    generalized_gaussian,
    padded,
    plateau,
    sinc,
)

OFFICIAL = {
    "gaussian iso 21 sig 2": lambda: gaussian(21, sigma_x=2, sigma_y=2, rotation=0),
    "gaussian aniso 21 sigx 3 sigy 0.8 theta 0.7": lambda: gaussian(21, sigma_x=3, sigma_y=0.8, rotation=0.7),
    "generalized aniso 15 sigx 2.5 sigy 1.2 theta -0.4 beta 0.7": lambda: generalized_gaussian(
        15, sigma_x=2.5, sigma_y=1.2, rotation=-0.4, beta=0.7
    ),
    "generalized aniso 15 sigx 2.5 sigy 1.2 theta -0.4 beta 3": lambda: generalized_gaussian(
        15, sigma_x=2.5, sigma_y=1.2, rotation=-0.4, beta=3
    ),
    "plateau aniso 13 sigx 1.5 sigy 2.2 theta 1.1 beta 1.6": lambda: plateau(
        13, sigma_x=1.5, sigma_y=2.2, rotation=1.1, beta=1.6
    ),
    "sinc 7 omega 1.047198 pad 21": lambda: padded(sinc(7, cutoff=math.pi / 3), 21),
    "sinc 13 omega 0.628319 pad 21": lambda: padded(sinc(13, cutoff=math.pi / 5), 21),
    "sinc 21 omega 2.400000 pad 21": lambda: sinc(21, cutoff=2.4),
}


def seeded(seed: int = 0) -> Draw:
    return Draw(torch.Generator().manual_seed(seed))


def drawn(draw: Draw, **changes) -> tuple[Tensor, str]:
    """A kernel of the Gaussian family and what it is."""
    kernel = draw_kernel(Blur(**({"size": (13, 13), "sinc_chance": 0} | changes)), draw)
    return kernel, draw.notes[-1]


def directly(pictures: Tensor, kernels: Tensor) -> Tensor:
    """Filtering by conv2d in float64, for pictures larger than the kernel's half."""
    n, c, h, w = pictures.shape
    margin = kernels.shape[-1] // 2
    wide = F.pad(pictures.double(), (margin,) * 4, mode="reflect")
    taps = kernels.double().repeat_interleave(c, 0)[:, None]
    return F.conv2d(wide.view(1, n * c, *wide.shape[2:]), taps, groups=n * c).view(n, c, h, w).float()


def test_kernels_are_the_official_ones(media: Path):
    with np.load(media / "oracle" / "kernels.npz") as known:
        assert set(known) == set(OFFICIAL)
        for name, made in OFFICIAL.items():
            # keys carry omega to six digits; all else is float32 rounding
            np.testing.assert_allclose(made().numpy(), known[name], rtol=0, atol=1e-6, err_msg=name)


def test_a_kernel_has_one_sum_and_one_form():
    draw = seeded()
    for _ in range(300):
        for kernel in (draw_kernel(Blur(), draw), draw_ringing((7, 21), draw)):
            what = draw.notes[-1]
            assert kernel.shape[0] == kernel.shape[1]
            assert kernel.dtype == torch.float32
            assert kernel.isfinite().all(), what
            assert kernel.double().sum().item() == pytest.approx(1, abs=1e-6), what
            assert torch.equal(kernel, kernel.flip(0, 1)), what
            assert what.startswith("sinc") or (kernel >= 0).all(), what


def test_a_rotation_turns_the_long_axis_downwards():
    kernel = gaussian(21, sigma_x=3, sigma_y=0.5, rotation=math.pi / 4)
    assert kernel[14, 14] > 100 * kernel[14, 6]


def test_kinds_come_as_often_as_their_shares():
    draw, count, shares = seeded(), 2000, Blur().kinds
    seen = Counter(drawn(draw, size=(7, 7))[1].split(" ")[0] for _ in range(count))
    for kind, share in shares.items():
        assert abs(seen[kind] - count * share) < 4 * math.sqrt(count * share * (1 - share)), kind


def test_every_tenth_lens_rings():
    draw = seeded()
    rings = sum(drawn(draw, sinc_chance=0.1)[1].startswith("sinc") for _ in range(1000))
    assert abs(rings - 100) < 4 * math.sqrt(1000 * 0.1 * 0.9)


def test_small_windows_do_not_cut_low():
    def cutoffs(size: int) -> list[float]:
        draw = seeded()
        whats = [drawn(draw, size=(size, size), sinc_chance=1)[1] for _ in range(300)]
        return [float(what.split("omega ")[1].split(",")[0]) for what in whats]

    assert min(cutoffs(11)) == pytest.approx(math.pi / 3, abs=0.05)
    assert min(cutoffs(13)) == pytest.approx(math.pi / 5, abs=0.05)


def test_half_the_betas_lie_on_either_side_of_one():
    draw = seeded()

    def betas(kind: str) -> list[float]:
        whats = [drawn(draw, size=(7, 7), kinds={kind: 1})[1] for _ in range(1000)]
        return [float(what.split("beta ")[1].split(",")[0]) for what in whats]

    spread = 4 * math.sqrt(1000 * 0.5 * 0.5)
    # a beta is written with two digits, which takes another 5 of 1000 for 1
    assert abs(sum(beta == 1 for beta in betas("plateau_iso")) - 500) < spread + 5
    generalized = betas("generalized_aniso")
    assert abs(sum(beta < 1 for beta in generalized) - 500) < spread + 10
    assert min(generalized) >= 0.5
    assert 3.5 < max(generalized) <= 4


@pytest.mark.parametrize(("ends", "nearest"), [((1.5, 2), "1.50"), ((0.5, 0.8), "0.80")])
def test_betas_keep_to_a_range_without_one(ends: tuple[float, float], nearest: str):
    draw = seeded()
    whats = [drawn(draw, kinds={"plateau_iso": 1}, beta_plateau=ends)[1] for _ in range(100)]
    betas = [what.split("beta ")[1].split(",")[0] for what in whats]
    assert all(ends[0] <= float(beta) <= ends[1] for beta in betas)
    assert 30 < betas.count(nearest) < 70  # 50 and four deviations


def test_sizes_are_odd_and_all_come():
    draw = seeded()
    assert {len(draw_ringing((7, 21), draw)) for _ in range(200)} == set(range(7, 22, 2))
    assert len(draw_ringing((9, 9), draw)) == 9


def test_the_same_seed_draws_the_same_kernel():
    (first, said), (second, said_again), (third, _) = (
        drawn(seeded(seed), kinds={"plateau_aniso": 1}) for seed in (3, 3, 4)
    )
    assert said == said_again
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_a_drawing_says_what_it_drew():
    quarter = (math.pi / 2, math.pi / 2)
    _, what = drawn(seeded(), kinds={"generalized_aniso": 1}, sigma=(2, 2), rotation=quarter)
    assert re.fullmatch(r"generalized_aniso sigma 2\.00/2\.00 90° beta \d\.\d\d, 13 px", what)
    assert drawn(seeded(), kinds={"iso": 0.1}, sigma=(2, 2))[1] == "iso sigma 2.00, 13 px"
    assert re.fullmatch(r"sinc omega \d\.\d\d, 13 px", drawn(seeded(), sinc_chance=1)[1])


def test_even_sizes_are_refused():
    with pytest.raises(ValueError, match="must be odd"):
        sinc(8, cutoff=1)
    for size in (11, 14):
        with pytest.raises(ValueError, match=f"a kernel of 13 cannot be padded to {size}"):
            padded(sinc(13, cutoff=1), size)


@pytest.mark.parametrize("size", [1, 7, 21])
def test_blurring_is_what_conv2d_does(size: int):
    pictures = torch.rand(2, 3, 37, 50, generator=seeded().generator)
    kernels = torch.rand(2, size, size, generator=seeded(1).generator)  # lopsided, unlike real ones
    kernels /= kernels.sum((1, 2), keepdim=True)
    torch.testing.assert_close(blur(pictures, kernels), directly(pictures, kernels), rtol=0, atol=2e-6)


def test_a_point_becomes_the_kernel_flipped():
    point = torch.zeros(1, 3, 15, 15)
    point[:, :, 7, 7] = 1
    kernel = torch.rand(7, 7, generator=seeded().generator)
    spread = blur(point, kernel)[0, :, 4:11, 4:11]
    torch.testing.assert_close(spread, kernel.flip(0, 1).expand(3, 7, 7), rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", [1, 8, 64])
def test_a_flat_picture_stays_flat_at_any_size(side: int):
    flat = torch.full((2, 3, side, side + 1), 0.7)
    kernels = torch.stack([drawn(seeded(), size=(21, 21))[0], sinc(21, cutoff=1)])
    torch.testing.assert_close(blur(flat, kernels), flat, rtol=0, atol=1e-6)


def test_a_picture_smaller_than_the_kernel_is_mirrored_to_and_fro():
    small = torch.rand(1, 3, 8, 9, generator=seeded().generator)
    # two steps of at most a side less one are the same as one long step
    wide = F.pad(F.pad(small, (8, 8, 7, 7), mode="reflect"), (16, 16, 16, 16), mode="reflect")
    kernel = gaussian(21, sigma_x=3, sigma_y=2, rotation=0.5)
    long = blur(wide, kernel)[:, :, 23:31, 24:33]
    torch.testing.assert_close(blur(small, kernel), long, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(8, 8), (61, 77), (128, 128)])
def test_a_blur_does_not_depend_on_the_batch(size: tuple[int, int]):
    draw = seeded()
    pictures = torch.rand(3, 3, *size, generator=draw.generator)
    kernels = torch.stack([padded(drawn(draw)[0], 21) for _ in pictures])
    alone = [blur(pictures[i : i + 1], kernels[i]) for i in range(3)]
    assert torch.equal(blur(pictures, kernels), torch.cat(alone))


def test_padding_a_kernel_does_not_change_the_blur():
    pictures = torch.rand(1, 3, 40, 40, generator=seeded().generator)
    kernel = drawn(seeded())[0]
    torch.testing.assert_close(blur(pictures, padded(kernel, 21)), blur(pictures, kernel), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 7, 7), (3, 8, 8), (3, 7, 9), (3, 1, 7, 7)])
def test_kernels_that_do_not_fit_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="do not fit 3 pictures"):
        blur(torch.rand(3, 3, 16, 16), torch.rand(shape))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_blurs_as_the_cpu_does():
    pictures = torch.rand(3, 3, 40, 48, generator=seeded().generator)
    kernels = torch.stack([padded(drawn(seeded(seed))[0], 21) for seed in range(3)])
    there = blur(pictures.cuda(), kernels.cuda()).cpu()
    torch.testing.assert_close(there, blur(pictures, kernels), rtol=0, atol=2e-6)
