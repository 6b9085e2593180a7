"""MATLAB's bicubic against pictures and numbers that MATLAB made."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from vsr.engine.matlab import enlarge, enlarge_lanczos, shrink
from vsr.io.images import read_rgb


def picture(path: Path) -> Tensor:
    return torch.from_numpy(read_rgb(path).copy()).permute(2, 0, 1)[None]


@pytest.mark.parametrize(("name", "scale"), [("Set5", 2), ("Set5", 3), ("Set5", 4), ("Set14", 3), ("Set14", 4)])
def test_shrinking_gives_the_published_small_pictures_bit_for_bit(media: Path, name: str, scale: int):
    folder = media / "images" / name / f"x{scale}"
    for path in sorted((folder / "HR").iterdir()):
        low = picture(folder / "LR" / path.name.replace("HR", "LR"))
        assert torch.equal(shrink(picture(path), scale), low), path.name


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_flat_pictures_stay_flat_and_whole(scale):
    flat = torch.full((2, 3, 6 * scale, 5 * scale), 77, dtype=torch.uint8)
    assert torch.equal(shrink(flat, scale), torch.full((2, 3, 6, 5), 77, dtype=torch.uint8))
    for change in (enlarge, enlarge_lanczos):
        assert torch.equal(change(flat, scale), torch.full((2, 3, 6 * scale**2, 5 * scale**2), 77, dtype=torch.uint8))


def test_enlarging_weighs_by_keys_with_a_half():
    line = torch.zeros(1, 3, 1, 9, dtype=torch.uint8)
    line[..., 4] = 200
    large = enlarge(line, 2)[0, 0, 0, 4:14]
    # (a+2)|x|^3 - (a+3)|x|^2 + 1 and a|x|^3 - 5a|x|^2 + 8a|x| - 4a for a = -1/2 at 1/4, 3/4, 5/4, 7/4; below 0 is cut
    assert large.tolist() == [0, 0, 0, 45, 173, 173, 45, 0, 0, 0]


def test_lanczos_weighs_by_three_lobes():
    line = torch.zeros(1, 3, 1, 9, dtype=torch.uint8)
    line[..., 4] = 200
    large = enlarge_lanczos(line, 2)[0, 0, 0, 2:16]
    # 200 sinc(x) sinc(x / 3) at 1/4, 3/4, 9/4 and 11/4 over their sum with the negative lobe, 0.997
    assert large.tolist() == [0, 1, 6, 0, 0, 54, 179, 179, 54, 0, 0, 6, 1, 0]


def test_the_border_is_mirrored_when_enlarging():
    ramp = torch.arange(0, 80, 8, dtype=torch.uint8).expand(1, 3, 4, 10).contiguous()
    mirrored = torch.cat([ramp.flip(3), ramp, ramp.flip(3)], 3)
    assert torch.equal(enlarge(ramp, 4), enlarge(mirrored, 4)[..., 40:80])


def test_a_picture_smaller_than_the_kernel_is_enlarged():
    assert enlarge(torch.full((1, 3, 1, 2), 9, dtype=torch.uint8), 4).unique().tolist() == [9]


def test_pictures_of_a_batch_do_not_mix():
    batch = torch.randint(256, (3, 3, 16, 24), dtype=torch.uint8)
    for change in (shrink, enlarge, enlarge_lanczos):
        assert torch.equal(change(batch, 4), torch.cat([change(one[None], 4) for one in batch]))


def test_a_size_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="multiples of 4"):
        shrink(torch.zeros(1, 3, 16, 18, dtype=torch.uint8), 4)
