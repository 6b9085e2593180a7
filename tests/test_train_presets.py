"""Every preset that trains, through all its stages at tiny size: its file is what `vsr upscale` takes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vsr
from vsr.cli import run
from vsr.preset import load_preset, load_training, preset_names
from vsr.train.run_folder import RunFolder

TRAINING = [name for name in preset_names() if load_preset(name).train is not None]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for index in range(4):
        small = rng.integers(0, 256, (17, 18, 3), dtype=np.uint8)
        Image.fromarray(small).resize((144, 136), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch):
    """Neither one's own perceptual weights, which would make a stage slow, nor the network; one thread."""
    monkeypatch.setenv("VSR_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("vsr.train.trainer.draw_plots", lambda *_: [])  # has its own tests, and takes seconds


@pytest.mark.parametrize("preset", TRAINING)
def test_a_preset_trains_through_every_stage(preset, pictures, tmp_path):
    stages = load_training(preset)[0].stages
    out = tmp_path / "run"
    small = [f"stages.{stage.name}.length=10" for stage in stages]
    small += [
        "data.pool=8",
        "data.margin=16",
        "data.crop=32",
        "data.workers=0",
        "validation.crop=64",
        "degrade.frames=2",
    ]
    if "rrdb" in load_training(preset)[0].generator.arch:
        small.append("generator.num_feat=8")
    arguments = [word for setting in small for word in ("--set", setting)]
    assert (
        run(
            [
                "train",
                "--preset",
                preset,
                "--data",
                str(pictures),
                "--out",
                str(out),
                "--device",
                "cpu",
                "--smoke",
                "-q",
                *arguments,
            ]
        )
        == 0
    )
    folder = RunFolder(out)
    trained = [row for row in folder.rows() if row["kind"] == "train"]
    assert [row["stage"] for row in trained] == [stage.name for stage in stages]
    assert [row["step"] for row in trained] == [10 * (number + 1) for number in range(len(stages))]
    upscaler = vsr.load(folder.model)
    assert upscaler(np.zeros((12, 16, 3), np.uint8)).shape == (48, 64, 3)
    training, _ = load_training(str(folder.config))
    assert training.data.crop == 32
    assert [stage.length for stage in training.stages] == [10] * len(stages)
