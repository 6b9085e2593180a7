"""Metrics against the field's own numbers."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vsr.engine.matlab import enlarge
from vsr.io.degrade_codec import through_jpeg
from vsr.io.images import read_rgb
from vsr.metrics.fidelity import luma, psnr_rgb, psnr_y, ssim_y


def picture(path: Path) -> Tensor:
    return torch.from_numpy(read_rgb(path).copy()).permute(2, 0, 1)[None]


def set14(media: Path) -> list[Tensor]:
    """The eight pictures that the figures in the tests of LPIPS and NIQE are means of."""
    found = [picture(path) for path in sorted((media / "images" / "Set14" / "x4" / "HR").iterdir())]
    return [x for x in found if min(x.shape[2:]) >= 256][:8]


def blurred(x: Tensor, sigma: float) -> Tensor:
    reach = int(4 * sigma + 0.5)
    taps = torch.exp(-torch.arange(-reach, reach + 1).square() / (2 * sigma**2))
    taps = (taps / taps.sum()).expand(3, 1, 1, -1)
    x = F.conv2d(F.pad(x.float(), (reach, reach, reach, reach), mode="reflect"), taps, groups=3)
    return F.conv2d(x, taps.transpose(2, 3), groups=3).round().clamp(0, 255).to(torch.uint8)


def noisy(x: Tensor, sigma: float) -> Tensor:
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return (x + sigma * noise).round().clamp(0, 255).to(torch.uint8)


def as_jpeg(x: Tensor, quality: float) -> Tensor:
    packed = [through_jpeg(one.permute(1, 2, 0).numpy(), int(quality)) for one in x]
    return torch.stack([torch.from_numpy(one.copy()).permute(2, 0, 1) for one in packed])


@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_bicubic_scores_as_the_oracle_says(media: Path, name: str):
    known = json.loads((media / "oracle" / "bicubic_x4_metrics.json").read_text())[name]
    folder = media / "images" / name / "x4"
    scores = zip(known["files"], known["psnr_y"], known["psnr_rgb"], known["ssim_y"], strict=True)
    for file, psnr, psnr_of_rgb, ssim in scores:
        truth = picture(folder / "HR" / file)
        low = picture(folder / "LR" / file.replace("HR", "LR"))
        bicubic = enlarge(low, 4)
        truth = truth[:, :, : bicubic.shape[2], : bicubic.shape[3]]
        assert abs(float(psnr_y(bicubic, truth, shave=4)) - psnr) < 0.005, file
        assert abs(float(psnr_rgb(bicubic, truth, shave=4)) - psnr_of_rgb) < 0.005, file
        assert abs(float(ssim_y(bicubic, truth, shave=4)) - ssim) < 0.0005, file


def test_black_and_white_have_studio_luma():
    assert luma(torch.zeros(1, 3, 1, 1)).item() == 16
    assert luma(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)).item() == pytest.approx(235)


def test_equal_pictures_are_infinitely_near():
    x = torch.rand(2, 3, 20, 20)
    assert torch.isinf(psnr_y(x, x, shave=4)).all()
    torch.testing.assert_close(ssim_y(x, x, shave=4), torch.ones(2, dtype=torch.float64))


def test_a_known_error_has_a_known_psnr():
    x = torch.full((1, 3, 16, 16), 0.5, dtype=torch.float64)
    step = 10 / (65.481 + 128.553 + 24.966)  # ten codes of luma
    assert psnr_y(x, x + step, shave=0).item() == pytest.approx(28.1308, abs=1e-4)  # 20 log10(25.5)


def test_an_error_in_one_channel_counts_a_third():
    x = torch.full((2, 3, 16, 16), 0.5, dtype=torch.float64)
    worse = x.clone()
    worse[0, 1] += 0.1
    worse[1] += 0.1
    torch.testing.assert_close(psnr_rgb(worse, x, shave=4), torch.tensor([24.7712, 20.0]).double(), atol=1e-4, rtol=0)


def test_bytes_and_floats_score_alike():
    x, y = (torch.randint(256, (1, 3, 20, 20), dtype=torch.uint8) for _ in range(2))
    for score in (psnr_y, psnr_rgb, ssim_y):
        torch.testing.assert_close(score(x, y, shave=4), score(x.double() / 255, y.double() / 255, shave=4))


def test_the_border_does_not_count():
    x = torch.rand(1, 3, 20, 20)
    framed = x.clone()
    framed[..., :4, :] = 0
    assert torch.isinf(psnr_y(framed, x, shave=4)).all()
    assert torch.isfinite(psnr_y(framed, x, shave=3)).all()


@pytest.mark.parametrize(("size", "shave"), [((20, 21), 0), ((20, 20), 10)])
def test_pictures_that_cannot_be_compared_are_refused(size: tuple[int, int], shave: int):
    with pytest.raises(ValueError, match="cannot be compared"):
        psnr_y(torch.rand(1, 3, *size), torch.rand(1, 3, 20, 20), shave=shave)


def test_a_picture_below_the_window_is_refused():
    with pytest.raises(ValueError, match="smaller than the window of 11"):
        ssim_y(torch.rand(1, 3, 10, 20), torch.rand(1, 3, 10, 20), shave=0)
