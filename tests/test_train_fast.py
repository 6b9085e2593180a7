"""The first training loop and the damage it learns to mend."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from vsr.errors import ConfigError, MediaError
from vsr.models.checkpoint import describe, load_model, save_model
from vsr.models.compact import SRVGGNetCompact
from vsr.train import data
from vsr.train.data import KEPT, LOW_PX, SCALE, Bank, draw_pairs, read_pictures
from vsr.train.fast import FastSettings, main, train

TINY = FastSettings(num_feat=4, num_conv=1, steps=2, batch=2, low_px=16, bank_draws=2, refresh_steps=1)


def waves(height: int, width: int, *, phase: float = 0) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    channels = [127 + 120 * np.sin(x / period + y / 9 + phase) for period in (3, 5, 7)]
    return np.stack(channels, 2).astype(np.uint8)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    side = SCALE * LOW_PX
    for index, size in enumerate([(side, side), (side + 50, side + 30)]):
        Image.fromarray(waves(*size, phase=index)).save(folder / f"{index}.png")
    Image.fromarray(waves(20, 20)).save(folder / "small.png")
    return folder


def test_two_steps_write_a_network_that_loads(pictures: Path, tmp_path: Path):
    out = tmp_path / "net.safetensors"
    choices = ["--steps", "2", "--num-conv", "1", "--bank-draws", "2", "--licence", "MIT", "--trained-on", "waves"]
    result = CliRunner().invoke(main, ["--data", str(pictures), "--out", str(out), *choices])
    assert result.exit_code == 0, result.output
    net, spec = load_model(out)
    assert (spec.name, spec.depth, spec.licence, spec.trained_on) == ("vsr-fast-x4", 1, "MIT", "waves")
    assert net(torch.rand(1, 3, 8, 8)).shape == (1, 3, 32, 32)


def test_the_seed_decides_the_weights(pictures: Path, tmp_path: Path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(pictures, tmp_path / name, replace(TINY, seed=seed))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


@pytest.mark.parametrize("loss", ["l1", "l2"])
def test_training_goes_on_from_given_weights(pictures: Path, tmp_path: Path, loss: Literal["l1", "l2"]):
    train(pictures, tmp_path / "first", TINY)
    train(pictures, tmp_path / "second", replace(TINY, start=tmp_path / "first", loss=loss, lr=1e-9, num_conv=3))
    first, second = (load_model(tmp_path / name)[0].state_dict() for name in ("first", "second"))
    for key, value in first.items():
        torch.testing.assert_close(value, second[key], rtol=0, atol=1e-6)


def test_weights_of_another_scale_are_no_start(pictures: Path, tmp_path: Path):
    net = SRVGGNetCompact(num_feat=4, num_conv=1, scale=2)
    save_model(net, describe(net, name="x2"), tmp_path / "x2")
    with pytest.raises(ConfigError, match="compact x2 cannot be the start of Compact x4"):
        train(pictures, tmp_path / "out", replace(TINY, start=tmp_path / "x2"))


def test_a_folder_without_pictures_is_refused(tmp_path: Path):
    result = CliRunner().invoke(main, ["--data", str(tmp_path), "--out", str(tmp_path / "net")])
    assert result.exit_code == 1
    assert f"Error: {tmp_path}: no picture" in result.output


def test_an_unreadable_picture_stops_training(pictures: Path):
    (pictures / "3.png").write_bytes(b"not a picture")
    with pytest.raises(MediaError, match=r"3\.png: cannot be read"):
        read_pictures(pictures)


def test_small_pictures_are_left_out(pictures: Path):
    assert len(read_pictures(pictures)) == 2
    for path in pictures.glob("?.png"):
        path.unlink()
    with pytest.raises(ConfigError, match="no picture of at least 384"):
        read_pictures(pictures)


@pytest.mark.parametrize("kind", ["clean", "still", "video"])
def test_pairs_show_the_same_place(monkeypatch: pytest.MonkeyPatch, kind: str):
    monkeypatch.setattr(data, "SHARES", {kind: 1.0})
    side = SCALE * LOW_PX
    ramp = np.tile(np.linspace(0, 255, side + 40).astype(np.uint8)[:, None, None], (1, side + 40, 3))
    low, high = draw_pairs(ramp, torch.Generator().manual_seed(3))
    assert low.shape == (KEPT, 3, LOW_PX, LOW_PX)
    assert high.shape == (KEPT, 3, side, side)
    means = torch.nn.functional.avg_pool2d(high.float(), SCALE)
    assert (low - means).abs().mean() < 6  # codes; a window ten rows off differs by more


def test_a_bank_is_refreshed_oldest_first(pictures: Path):
    bank = Bank(read_pictures(pictures), draws=2, seed=0)
    before = bank._low.clone()
    bank.refresh(1)
    assert not torch.equal(before[:KEPT], bank._low[:KEPT])
    assert torch.equal(before[KEPT:], bank._low[KEPT:])


def test_batches_are_cut_and_turned_alike(pictures: Path):
    bank = Bank(read_pictures(pictures), draws=1, seed=0)
    bank._low = torch.nn.functional.avg_pool2d(bank._high.float(), SCALE)
    low, high = bank.batch(16, 32, torch.Generator().manual_seed(0))
    assert low.shape == (16, 3, 32, 32)
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(high, SCALE), low, rtol=0, atol=1e-5)
