"""NIQE against figures of an independent implementation, and what must hold with any parameters."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.test_metrics import as_jpeg, blurred, noisy, set14
from vsr.errors import ModelError
from vsr.metrics.niqe import SMALLEST_PX, Niqe, asymmetric_gaussian, halved


def write(path: Path, side: int = 7) -> Path:
    """A model of zero mean and unit covariance, with the published window where `side` is 7."""
    taps = np.exp(-((np.arange(side) - side // 2) ** 2) / (2 * (7 / 6) ** 2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    np.savez(path, mu_pris_param=np.zeros((1, 36)), cov_pris_param=np.eye(36), gaussian_window=window)
    return path


@pytest.fixture(scope="module")
def niqe(tmp_path_factory: pytest.TempPathFactory) -> Niqe:
    return Niqe.load(write(tmp_path_factory.mktemp("weights") / "niqe_pris_params.npz"))


@pytest.fixture(scope="module")
def published(media: Path) -> Niqe:
    return Niqe.load(media / "weights" / "niqe_pris_params.npz")


def rough(*size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, size, dtype=torch.uint8, generator=generator)


def test_photographs_score_as_a_plain_implementation_in_float32_says(media: Path, published: Niqe):
    """As BasicSR runs it, block by block; the tolerance is for what float32 loses."""
    known = [5.7296, 4.5838, 2.4864, 5.3512, 8.4930, 2.8860, 5.9350, 5.1971]
    found = [published(x).item() for x in set14(media)]
    assert found == pytest.approx(known, abs=0.005)


def test_strong_damage_scores_worse(media: Path, published: Niqe):
    x = set14(media)[2][:, :, :192, :288]
    for damage, amounts in ((blurred, (1, 2, 3)), (noisy, (10, 20, 40)), (as_jpeg, (20, 10))):
        scores = [published(each).item() for each in (x, *(damage(x, amount) for amount in amounts))]
        assert scores == sorted(scores), damage


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "amount", "expected", "tolerance"),
    [
        (blurred, 1, 6.13, 0.15),  # the border of the blur, and flat areas, differ from where this was measured
        (blurred, 2, 8.12, 0.15),
        (as_jpeg, 60, 3.74, 0.15),
        (as_jpeg, 40, 4.14, 0.15),
        (as_jpeg, 10, 7.47, 0.15),
        (noisy, 10, 7.6, 1),  # one draw of the noise and another are 0.7 apart
        (noisy, 20, 10.7, 1),
    ],
)
def test_known_damage_has_its_known_score(media: Path, published: Niqe, damage, amount, expected, tolerance):
    found = [published(damage(x, amount)).item() for x in set14(media)]
    assert np.mean(found) == pytest.approx(expected, abs=tolerance)


def test_a_batch_scores_as_its_pictures_do(niqe: Niqe):
    x = rough(3, 3, 192, 200)
    assert niqe(x).tolist() == pytest.approx([niqe(one[None]).item() for one in x], rel=1e-9)


def test_bytes_and_floats_score_alike(niqe: Niqe):
    x = rough(1, 3, 192, 192)
    torch.testing.assert_close(niqe(x), niqe(x.float() / 255))


def test_what_exceeds_whole_blocks_does_not_count(niqe: Niqe):
    x = rough(1, 3, 287, 200)
    assert niqe(x).item() == niqe(x[:, :, :192, :192]).item()
    assert niqe(x).item() != niqe(x[:, :, 1:, :]).item()


def test_brightness_changes_nothing_even_where_all_is_flat(niqe: Niqe):
    """Sums round otherwise at another level: that must not decide which sign the flat parts get."""
    codes = rough(1, 1, 192, 288).expand(1, 3, -1, -1) % 50
    codes[:, :, 20:90, 110:280] = 3
    scores = [niqe((codes + more) / 219.0).item() for more in (0, 7, 50, 111)]  # 219 codes of luma from black to white
    assert scores == pytest.approx([scores[0]] * 4, rel=1e-6)


def test_a_picture_without_detail_has_no_score(niqe: Niqe):
    assert niqe(torch.full((1, 3, 192, 192), 0.3)).isnan().all()


@pytest.mark.parametrize("size", [(SMALLEST_PX - 1, 400), (400, SMALLEST_PX - 1)])
def test_fewer_than_two_blocks_a_side_are_refused(niqe: Niqe, size: tuple[int, int]):
    with pytest.raises(ValueError, match="at least 192 pixels each way"):
        niqe(torch.rand(1, 3, *size))
    assert niqe(torch.rand(1, 3, SMALLEST_PX, SMALLEST_PX)).isfinite().all()


@pytest.mark.parametrize(("shape", "tolerance"), [(1.0, 0.03), (2.0, 0.06)])
def test_the_fit_finds_what_the_values_were_drawn_from(shape: float, tolerance: float):
    """|value| ** shape of a generalised Gaussian is gamma distributed; a side is as likely as its scale is large."""
    torch.manual_seed(0)
    left, right = 0.5, 1.5
    size = torch.distributions.Gamma(1 / shape, 1.0).sample((2, 500, 500)).double() ** (1 / shape)
    is_left = torch.rand(size.shape) < left / (left + right)
    values = torch.where(is_left, -left * size, right * size)
    found = torch.stack(asymmetric_gaussian(values))
    expected = torch.stack([torch.full((2,), each).double() for each in (shape, left, right)] + [values.mean((1, 2))])
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


def test_halving_is_antialiased_bicubic_with_mirrored_borders():
    y = rough(1, 1, 40, 60).double()
    twice = torch.cat([y.flip(3), y, y.flip(3)], 3)
    mirrored = torch.cat([twice.flip(2), twice, twice.flip(2)], 2)
    expected = F.interpolate(mirrored, scale_factor=0.5, mode="bicubic", antialias=True)[:, :, 20:40, 30:60]
    torch.testing.assert_close(halved(y), expected)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut off", None])
def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path, content):
    path = tmp_path / "niqe.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"^.*niqe\.npz: .*; give niqe_pris_params\.npz$"):
        Niqe.load(path)


def test_other_arrays_are_refused(tmp_path: Path):
    np.savez(tmp_path / "few.npz", mu_pris_param=np.zeros((1, 36)))
    with pytest.raises(ModelError, match="not the parameters of NIQE"):
        Niqe.load(tmp_path / "few.npz")
    with pytest.raises(ModelError, match="other sizes"):
        Niqe.load(write(tmp_path / "small.npz", side=5))
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(ModelError, match="not the parameters of NIQE"):
        Niqe.load(tmp_path / "one.npy")
