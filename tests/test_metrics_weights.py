"""Which files of metrics are taken, and from where."""

from pathlib import Path

import platformdirs
import pytest

from vsr.errors import ConfigError
from vsr.metrics.weights import MetricWeights, find_weights
from vsr.places import models_folder


def touched(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_nothing_given_and_no_cache_is_nothing_found(tmp_path: Path):
    assert find_weights([], tmp_path / "none") == MetricWeights()


@pytest.mark.parametrize("squeeze", ["squeezenet1_1.pth", "squeezenet1_1-b8a52dc0.pth"])
@pytest.mark.parametrize("lpips", ["lpips_lin_v0.1_squeeze.pth", "squeeze.pth"])
@pytest.mark.parametrize("is_folder", [True, False])
def test_files_are_known_by_name(tmp_path: Path, squeeze: str, lpips: str, is_folder: bool):
    files = [touched(tmp_path / "given" / name) for name in (squeeze, lpips, "niqe_pris_params.npz")]
    touched(tmp_path / "given" / "realesr.pth")
    found = find_weights([tmp_path / "given"] if is_folder else files, tmp_path / "none")
    assert found == MetricWeights(squeeze=files[0], lpips=files[1], niqe=files[2])


def test_the_first_given_goes_before_the_second_and_both_before_the_cache(tmp_path: Path):
    for folder in ("first", "second", "cache"):
        touched(tmp_path / folder / "niqe_pris_params.npz")
    for folder in ("second", "cache"):
        touched(tmp_path / folder / "squeezenet1_1.pth")
    cached = touched(tmp_path / "cache" / "squeeze.pth")
    found = find_weights([tmp_path / "first" / "niqe_pris_params.npz", tmp_path / "second"], tmp_path / "cache")
    assert found.niqe == tmp_path / "first" / "niqe_pris_params.npz"
    assert found.squeeze == tmp_path / "second" / "squeezenet1_1.pth"
    assert found.lpips == cached


def test_a_given_path_that_does_not_exist_is_refused_though_the_cache_has_the_file(tmp_path: Path):
    touched(tmp_path / "niqe_pris_params.npz")
    with pytest.raises(ConfigError, match=r"gone.niqe_pris_params\.npz: no such file or folder"):
        find_weights([tmp_path / "gone" / "niqe_pris_params.npz"], tmp_path)


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"vgg\.pth: .*; give squeezenet1_1\.pth, .*, niqe_pris_params\.npz"):
        find_weights([touched(tmp_path / "vgg.pth")], tmp_path)


def test_a_given_folder_without_any_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="no weights of a metric"):
        find_weights([tmp_path], tmp_path)


def test_the_cache_is_named_by_the_environment_or_in_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / name)
    monkeypatch.delenv("VSR_MODELS", raising=False)
    assert models_folder() == tmp_path / "vsr" / "models"
    monkeypatch.setenv("VSR_MODELS", "")
    assert models_folder() == tmp_path / "vsr" / "models"
    monkeypatch.setenv("VSR_MODELS", str(tmp_path / "mine"))
    assert models_folder() == tmp_path / "mine"
