"""LPIPS: what a distance must do with any weights, and what it says with the published ones."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.test_metrics import as_jpeg, blurred, noisy, set14
from vsr.errors import ModelError
from vsr.metrics.lpips import CHANNELS, SMALLEST_PX, Lpips


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Random weights in the two files' layout."""
    from torchvision.models import squeezenet1_1

    folder = tmp_path_factory.mktemp("weights")
    generator = torch.Generator().manual_seed(0)
    linear = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1, generator=generator) / c for i, c in enumerate(CHANNELS)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(squeezenet1_1(weights=None).state_dict(), folder / "squeezenet1_1.pth")
    torch.save(linear, folder / "squeeze.pth")
    return folder / "squeezenet1_1.pth", folder / "squeeze.pth"


@pytest.fixture(scope="module")
def lpips(files: tuple[Path, Path]) -> Lpips:
    return Lpips.load(*files)


@pytest.fixture(scope="module")
def published(media: Path) -> Lpips:
    return Lpips.load(media / "weights" / "squeezenet1_1.pth", media / "weights" / "lpips_lin_v0.1_squeeze.pth")


def test_equal_pictures_are_exactly_zero_apart(lpips: Lpips):
    x = torch.rand(2, 3, 40, 33)
    assert lpips(x, x.clone()).tolist() == [0, 0]


def test_a_batch_scores_as_its_pictures_do(lpips: Lpips):
    x, y = torch.rand(2, 5, 3, 64, 48)
    alone = torch.cat([lpips(x[i : i + 1], y[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(lpips(x, y), alone, atol=1e-6, rtol=1e-5)


def test_either_order_and_bytes_score_alike(lpips: Lpips):
    x, y = torch.randint(256, (2, 1, 3, 40, 40), dtype=torch.uint8)
    expected = lpips(x, y)
    assert expected.item() > 1e-3
    torch.testing.assert_close(lpips(y, x), expected)
    torch.testing.assert_close(lpips(x / 255, y.double() / 255), expected)


@pytest.mark.parametrize("truth", [torch.zeros(1, 3, 32, 32), torch.full((1, 3, 32, 32), 0.5)])
def test_gradients_are_finite_where_no_feature_fires(files: tuple[Path, Path], truth: Tensor):
    lpips = Lpips.load(*files)
    lpips.get_parameter("slices.0.0.bias").fill_(-1e3)  # below any picture
    for x in (truth.clone(), torch.rand(1, 3, 32, 32)):
        x.requires_grad_()
        lpips(x, truth).sum().backward()
        assert x.grad is not None
        assert x.grad.isfinite().all()


def test_nothing_in_it_is_trained_and_loading_draws_no_random_numbers(files: tuple[Path, Path]):
    before = torch.get_rng_state()
    lpips = Lpips.load(*files)
    assert not any(parameter.requires_grad for parameter in lpips.parameters())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("sizes", [((16, 40), (16, 40)), ((40, 16), (40, 16)), ((40, 40), (40, 41))])
def test_pictures_that_cannot_be_compared_are_refused(lpips: Lpips, sizes: tuple[tuple[int, int], tuple[int, int]]):
    with pytest.raises(ValueError, match=f"equal and at least {SMALLEST_PX} pixels"):
        lpips(torch.rand(1, 3, *sizes[0]), torch.rand(1, 3, *sizes[1]))


def test_the_smallest_picture_passes_and_the_network_bears_no_smaller(lpips: Lpips):
    assert lpips(torch.rand(1, 3, SMALLEST_PX, SMALLEST_PX), torch.rand(1, 3, SMALLEST_PX, SMALLEST_PX)).isfinite()
    x = torch.rand(1, 3, SMALLEST_PX - 1, SMALLEST_PX)
    with pytest.raises(RuntimeError, match="too small"):
        torch.nn.Sequential(*lpips.slices)(x)


def test_swapped_files_are_told_in_one_line(files: tuple[Path, Path]):
    backbone, linear = files
    with pytest.raises(ModelError, match=r"squeeze\.pth: has no features\.0\.weight of shape 64x3x3x3; give torchv"):
        Lpips.load(linear, backbone)
    with pytest.raises(ModelError, match=r"_1\.pth: has no lin0\.model\.1\.weight of shape 1x64x1x1; give lpips_lin"):
        Lpips.load(backbone, backbone)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off", None])
def test_a_file_that_cannot_be_read_is_told_in_one_line(files: tuple[Path, Path], tmp_path: Path, content):
    path = tmp_path / "backbone.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"^.*backbone\.pth: .*; give torchvision's squeezenet1_1\.pth$"):
        Lpips.load(path, files[1])


@pytest.mark.parametrize(
    ("damage", "amounts"), [(blurred, (0.5, 1, 2, 4)), (noisy, (2, 5, 10, 20, 40)), (as_jpeg, (95, 60, 40, 20, 10))]
)
@torch.no_grad()
def test_more_damage_is_farther(media: Path, published: Lpips, damage, amounts):
    truth = torch.cat([x[:, :, 64:192, 64:192] for x in set14(media)])
    distances = [published(damage(truth, amount), truth).mean().item() for amount in amounts]
    assert distances == sorted(distances)
    assert distances[0] > 0.005
    assert distances[-1] > 0.25


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "amount", "expected"),
    [
        (blurred, 1, 0.140),
        (blurred, 4, 0.375),
        (noisy, 5, 0.048),
        (noisy, 20, 0.271),
        (as_jpeg, 80, 0.056),
        (as_jpeg, 40, 0.130),
        (as_jpeg, 10, 0.347),
    ],
)
@torch.no_grad()
def test_known_damage_has_its_known_distance(media: Path, published: Lpips, damage, amount: float, expected: float):
    """Figures measured with another implementation on these files: blur may differ in its border, noise in its draw."""
    found = torch.cat([published(damage(truth, amount), truth) for truth in set14(media)])
    assert found.mean().item() == pytest.approx(expected, abs=0.003)
