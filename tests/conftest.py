"""Fixtures shared by all tests."""

import os
from pathlib import Path

import platformdirs
import pytest
import torch

from vsr.models.checkpoint import describe, save_model
from vsr.models.compact import SRVGGNetCompact


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what tests finish and fetch out of the user's own folders, and tests off the network."""
    monkeypatch.setattr(platformdirs, "user_state_path", lambda _: tmp_path.with_name(f"{tmp_path.name}-state"))
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _: tmp_path.with_name(f"{tmp_path.name}-cache"))
    monkeypatch.delenv("VSR_MODELS", raising=False)
    monkeypatch.setenv("VSR_OFFLINE", "1")


@pytest.fixture(scope="session")
def media() -> Path:
    """The folder of real media named by VSR_TEST_DATA: unset skips, set and missing fails."""
    named = os.environ.get("VSR_TEST_DATA")
    if not named:
        pytest.skip("VSR_TEST_DATA is not set: real media are not at hand")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"VSR_TEST_DATA={named}: no such folder")
    return folder


@pytest.fixture(scope="session")
def nearest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file that repeats every pixel twice in both directions, exactly, in every type."""
    net = SRVGGNetCompact(num_feat=8, num_conv=1, scale=2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    path = tmp_path_factory.mktemp("models") / "nearest-x2.safetensors"
    save_model(net, describe(net, name="nearest-x2"), path)
    return path
