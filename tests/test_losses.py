"""Losses over pixels, against values worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from vsr.train.losses import LDL_WINDOW, PixelKind, colour_drift, consistency, ldl, pixel_loss, total_variation


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def pair(offset: float) -> tuple[Tensor, Tensor]:
    truth = pictures(2, 3, 16, 16) * 0.5
    return truth + offset, truth


def gradient(loss: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(loss, x)[0]


@pytest.mark.parametrize(("kind", "expected"), [("l1", 0.25), ("mse", 0.0625), ("charbonnier", 0.25)])
def test_a_constant_offset_costs_what_the_formula_says(kind: PixelKind, expected: float):
    loss = pixel_loss(kind)(*pair(0.25))
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("kind", "expected"), [("l1", 0), ("mse", 0), ("charbonnier", 1e-6)])
def test_equal_pictures_cost_nothing_and_pull_nowhere(kind: PixelKind, expected: float):
    result, truth = pair(0)
    loss = pixel_loss(kind)(result.requires_grad_(), truth)
    assert loss.item() == pytest.approx(expected)
    assert gradient(loss, result).abs().max() == 0  # the root without its epsilon gives NaN


@pytest.mark.parametrize("kind", ["l1", "mse", "charbonnier"])
def test_bf16_results_are_summed_in_full_precision(kind: PixelKind):
    result, truth = (x.bfloat16() for x in pair(0.01))
    expected = pixel_loss(kind)(result.float(), truth.float())
    with torch.autocast("cpu", torch.bfloat16):
        found = pixel_loss(kind)(result.requires_grad_(), truth)
    assert found.dtype == torch.float32
    assert found.item() == expected.item()
    assert gradient(found, result).dtype == torch.bfloat16


def test_pictures_of_two_sizes_are_not_broadcast():
    with pytest.raises(ValueError, match="cannot be compared"):
        pixel_loss("l1")(pictures(2, 3, 8, 8), pictures(1, 3, 8, 8))


def test_total_variation_is_the_mean_step_down_plus_the_mean_step_right():
    ramp = torch.arange(8.0).view(1, 1, 1, 8).expand(2, 3, 6, 8) / 8
    assert total_variation(ramp).item() == pytest.approx(1 / 8)
    assert total_variation(ramp.transpose(2, 3)).item() == pytest.approx(1 / 8)
    assert total_variation(torch.full((1, 3, 4, 4), 0.3)).item() == 0
    both = torch.tensor([[0.0, 1.0], [0.0, 0.0]]).expand(1, 3, 2, 2)
    assert total_variation(both).item() == pytest.approx(0.5 + 0.5)


def by_definition(result: Tensor, truth: Tensor, averaged: Tensor) -> Tensor:
    """LDL pixel by pixel, windows cut out one at a time."""
    margin = LDL_WINDOW // 2
    total = torch.zeros(())
    for r, t, a in zip(result, truth, averaged, strict=True):
        residual = (r - t).abs().sum(0)
        wide = torch.nn.functional.pad(residual[None], (margin,) * 4, mode="reflect")[0]
        spread = residual.var() ** 0.2
        for y, x in torch.cartesian_prod(*map(torch.arange, residual.shape)).tolist():
            if residual[y, x] >= (a - t).abs().sum(0)[y, x]:
                window = wide[y : y + LDL_WINDOW, x : x + LDL_WINDOW]
                total = total + spread * window.var() * (r - t)[:, y, x].abs().sum()
    return total / result.numel()


def test_ldl_is_what_its_definition_says():
    truth = pictures(2, 3, 9, 12)
    result, averaged = truth + 0.2 * pictures(2, 3, 9, 12, seed=1), truth + 0.2 * pictures(2, 3, 9, 12, seed=2)
    expected = by_definition(result, truth, averaged)
    assert expected.item() > 1e-4
    torch.testing.assert_close(ldl(result, truth, averaged), expected, rtol=1e-4, atol=0)


def test_ldl_spares_what_the_averaged_generator_does_worse_and_even_residuals():
    truth = pictures(1, 3, 16, 16)
    result = truth + 0.1 * pictures(1, 3, 16, 16, seed=1)
    assert ldl(result, truth, truth + 1).item() == 0
    assert ldl(result, truth, truth).item() > 0
    assert ldl(truth + 0.125, truth, truth).item() < 1e-8


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ldl_has_finite_gradients_at_the_truth_and_beside_it(dtype: torch.dtype):
    truth = pictures(2, 3, 16, 16).to(dtype)
    beside = truth.clone()
    beside[1, :, 4:8, 4:8] += 0.25  # one picture equal, one not
    averaged = truth.clone().requires_grad_()
    for result in (truth.clone().requires_grad_(), beside.requires_grad_()):
        loss = ldl(result, truth, averaged)
        assert loss.dtype == torch.float32
        on_result, on_averaged = torch.autograd.grad(loss, (result, averaged), allow_unused=True)
        assert on_result.isfinite().all()
        assert on_averaged is None


def test_a_shift_of_colour_is_its_size_whatever_the_details():
    low = pictures(2, 3, 12, 10)
    shift = torch.tensor([0.02, 0.0, -0.04])
    result = low.repeat_interleave(4, 2).repeat_interleave(4, 3) + shift.view(1, 3, 1, 1)
    assert consistency(result, low).item() == pytest.approx(0.02, rel=1e-4)
    torch.testing.assert_close(colour_drift(result, low), 255 * shift, atol=1e-3, rtol=0)
    result[:, :, ::2] += 0.2  # detail that its neighbour row takes back
    result[:, :, 1::2] -= 0.2
    assert consistency(result, low).item() == pytest.approx(0.02, rel=1e-4)


def test_noise_of_the_low_picture_counts_far_less_than_a_shift_of_its_size():
    truth = torch.full((1, 3, 128, 128), 0.5)
    noise = 0.05 * torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    noise -= noise.mean((2, 3), keepdim=True)
    low = truth[:, :, ::4, ::4] + noise
    assert consistency(truth, low).item() < 0.01  # a Gaussian of sigma 2 leaves 1/7 of white noise: 0.04 / 7
    assert consistency(truth + 0.05, low).item() > 0.045


def test_consistency_pulls_the_result_back_towards_the_low_picture():
    low = pictures(1, 3, 4, 4).bfloat16()  # smaller than the blur
    result = (low.float().repeat_interleave(2, 2).repeat_interleave(2, 3) + 0.1).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = consistency(result, low)
    assert loss.dtype == torch.float32
    pull = gradient(loss, result)
    assert pull.min() > 0
    assert pull.sum().item() == pytest.approx(1, rel=1e-4)  # one code brighter all over costs one code


@pytest.mark.parametrize("size", [(15, 16), (16, 12)])
def test_a_result_of_no_whole_scale_is_refused(size: tuple[int, int]):
    with pytest.raises(ValueError, match="no multiple"):
        consistency(pictures(1, 3, *size), pictures(1, 3, 4, 4))


def test_opposite_shifts_cancel_in_the_drift_and_not_in_the_loss():
    low = pictures(2, 3, 8, 8)
    result = low + torch.tensor([0.1, -0.1]).view(2, 1, 1, 1)
    assert colour_drift(result, low).abs().max() < 1e-3
    assert consistency(result, low).item() == pytest.approx(0.1, rel=1e-4)
    assert math.isclose(colour_drift(low[:1] + 0.1, low[:1])[0].item(), 25.5, abs_tol=1e-3)


def test_luma_alone_sees_no_colour():
    gray = torch.full((1, 3, 4, 4), 0.5)
    tinted = gray + torch.tensor([0.114, 0.0, -0.299]).view(1, 3, 1, 1)  # redder and less blue by what cancels in luma
    lighter = gray + 0.1
    loss = pixel_loss("mse", on_luma=True)
    assert loss(tinted, gray).item() == pytest.approx(0, abs=1e-12)
    assert loss(lighter, gray).item() == pytest.approx(0.01, rel=1e-5)
    assert pixel_loss("mse")(tinted, gray).item() > 0.01
