"""Metrics against the field's own numbers."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vsr.io.images import read_rgb
from vsr.metrics import luma, psnr_y, ssim_y


def picture(path: Path) -> Tensor:
    return torch.from_numpy(read_rgb(path).copy()).permute(2, 0, 1)[None]


def upscaled(low: Tensor, scale: int) -> Tensor:
    """MATLAB's bicubic: a = -0.5, mirrored border, rounded to 8 bits."""
    margin = 4
    index = [
        torch.tensor([min(abs(i + 0.5) - 0.5, 2 * n - 0.5 - abs(i + 0.5)) for i in range(-margin, n + margin)]).long()
        for n in low.shape[2:]
    ]
    wide = low[:, :, index[0]][:, :, :, index[1]].double()
    # enlarging, antialiasing changes nothing but picks torch's kernel with a = -0.5 in place of -0.75
    out = F.interpolate(wide, scale_factor=scale, mode="bicubic", antialias=True)
    inner = slice(margin * scale, -margin * scale)
    return (out[:, :, inner, inner].clamp(0, 255) + 0.5).floor().to(torch.uint8)


@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_bicubic_scores_as_the_oracle_says(media: Path, name: str):
    known = json.loads((media / "oracle" / "bicubic_x4_metrics.json").read_text())[name]
    folder = media / "images" / name / "x4"
    for file, psnr, ssim in zip(known["files"], known["psnr_y"], known["ssim_y"], strict=True):
        truth = picture(folder / "HR" / file)
        low = picture(folder / "LR" / file.replace("HR", "LR"))
        bicubic = upscaled(low, 4)
        truth = truth[:, :, : bicubic.shape[2], : bicubic.shape[3]]
        assert abs(float(psnr_y(bicubic, truth, shave=4)) - psnr) < 0.005, file
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
