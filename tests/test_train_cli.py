"""`vsr train` as people meet it: what it says, what it leaves, how it goes on, and one line for what is amiss."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import vsr
from vsr.cli import run
from vsr.models.checkpoint import load_model
from vsr.preset import load_training
from vsr.train.run_folder import RunFolder

PRESET = """
degrade = "bicubic"

[train]
save_every = 2
generator = { arch = "compact", num_feat = 8, depth = 1 }
data = { crop = 32, margin = 8, pool = 8, reuse = 2.0, workers = 0 }
validation = { every = 3, crop = 64, pictures = 1 }

[[train.stages]]
name = "net"
length = 4
batch = 4
precision = "fp32"
losses = { l1 = 1.0 }
optimizer = { lr = 1e-3 }

[[train.stages]]
name = "gan"
length = 4
batch = 4
precision = "fp32"
losses = { l1 = 1.0, adversarial = 0.1 }
optimizer = { lr = 1e-4 }
discriminator = { kind = "unet", num_feat = 4, loss = "vanilla" }
"""
PERCEPTUAL = ("--set", "stages.gan.losses.perceptual=0.1")
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """One thread, and no weights but those that a test gives."""
    monkeypatch.setenv("VSR_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("vsr.train.trainer.draw_plots", lambda *_: [])  # has its own tests, and takes seconds


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(5):
        picture(folder / f"{index}.png", seed=index)
    return folder


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("preset") / "tiny.toml"
    path.write_text(PRESET)
    return path


def picture(path: Path, *, seed: int = 0, size: tuple[int, int] = (112, 96)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (12, 14, 3), dtype=np.uint8)
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def train(preset, pictures, tmp_path, capsys):
    """A command, with the tiny preset, the pictures and a folder where others are not given."""

    def call(*given, data=None, out=None):
        arguments = [] if "--preset" in given else ["--preset", preset]
        arguments += ["--data", *(pictures,)] if data is None else [word for path in data for word in ("--data", path)]
        arguments += ["--out", tmp_path / "run" if out is None else out, "--device", "cpu", *given]
        capsys.readouterr()
        status = run(["train", *map(str, arguments)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


@pytest.fixture
def refused(train):
    """A command that must fail: gives the one line on stderr, without its name."""

    def call(*given, **places):
        status, _, err = train("-q", *given, **places)
        assert status == 1, err
        assert err.startswith("vsr: ")
        assert err.count("\n") == 1, err
        return err.removeprefix("vsr: ").rstrip("\n")

    return call


def ended(folder: Path) -> list[dict]:
    return [row for row in RunFolder(folder).rows() if row["kind"] == "train"]


def state(folder: Path, name: str = "last"):
    return torch.load(folder / "states" / f"{name}.pt", weights_only=True)


# what a run says and leaves


def test_a_run_tells_what_it_will_do_and_leaves_a_file_that_upscales(train, tmp_path):
    status, out, err = train()
    assert (status, out) == (0, "")
    config = (tmp_path / "run" / "config.toml").read_text()
    assert config in err  # printed as it was saved
    assert load_training(str(tmp_path / "run" / "config.toml"))[0].stages[1].discriminator is not None
    lines = dict(line.split(maxsplit=1) for line in err.splitlines()[:8])
    assert lines["folder"] == f"{tmp_path / 'run'}, new"
    assert lines["network"].startswith("compact x4, ")
    assert lines["stages"] == "net 4 steps, then gan 4 steps"
    assert lines["data"] == "4 files, judged by 1, 0 left out"
    assert re.fullmatch(r"float32|bfloat16", lines["computing"].split(",")[0])
    assert re.fullmatch(
        r".* of pairs, .* of pictures, .* of weights and moments, and what a batch takes; .* free", lines["memory"]
    )
    assert re.fullmatch(r"[\d,]+ MB of states; [\d,]+ MB free", lines["disk"])
    assert "note: 1 of 5 files are held back to judge by; --val gives others" in err
    assert err.endswith(f"{tmp_path / 'run' / 'model.safetensors'}: done\n")
    assert vsr.load(tmp_path / "run" / "model.safetensors")(np.zeros((8, 9, 3), np.uint8)).shape == (32, 36, 3)


def test_the_same_command_on_a_finished_run_changes_nothing_and_says_so(train, tmp_path):
    train("-q")
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    status, _, err = train()
    assert status == 0
    assert f"folder     {tmp_path / 'run'}, goes on" in err
    assert "[train]" not in err
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


def test_a_dry_run_prints_settings_that_can_be_given_back_and_writes_nothing(train, tmp_path):
    status, out, err = train("--dry-run", "--set", "seed=7")
    assert status == 0
    assert "note: 1 of 5 files are held back" in err
    assert not (tmp_path / "run").exists()
    (tmp_path / "given.toml").write_text(out)
    assert load_training(str(tmp_path / "given.toml"))[0].seed == 7
    assert train("--preset", tmp_path / "given.toml", "--dry-run", "-q") == (0, out, "")


def test_a_dry_run_fetches_no_weights(train, monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("fetched"))
    status, _, err = train("--dry-run", *PERCEPTUAL)
    assert status == 0
    assert "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth will be fetched into" in err


def test_quiet_runs_say_nothing(train):
    assert train("-q", "--stage", "net") == (0, "", "")


def test_json_tells_steps_figures_and_notes_as_lines_on_stdout(train):
    status, out, err = train("--json")
    assert (status, err) == (0, "")
    events = [json.loads(line) for line in out.splitlines()]
    assert {event["event"] for event in events} == {"train", "validation", "note"}
    judged = [event for event in events if event["event"] == "validation"]
    assert [(event["stage"], event["step"]) for event in judged] == [
        ("net", 0), ("net", 3), ("net", 4), ("gan", 4), ("gan", 7), ("gan", 8)
    ]  # fmt: skip
    assert judged[0]["figures"].keys() >= {"psnr_y", "ssim_y", "val_loss", "colour_drift"}
    told = [event for event in events if event["event"] == "train"]
    assert (told[-1]["step"], told[-1]["steps"]) == (8, 8)
    assert {"images_per_s", "waiting", "loss"} <= told[-1].keys()


def test_json_ends_with_the_error(train, tmp_path):
    status, out, err = train("--json", data=[tmp_path / "nowhere"])
    assert status == 1
    assert json.loads(out.splitlines()[-1])["event"] == "error"
    assert err.count("\n") == 1


def test_a_stage_alone_is_trained_and_an_unknown_one_is_refused(train, refused, preset, tmp_path):
    for name in ("net", "gan"):
        assert train("-q", "--stage", name, out=tmp_path / name)[0] == 0
        assert {row["stage"] for row in ended(tmp_path / name)} == {name}
    assert refused("--stage", "gun") == f"stage 'gun' is unknown; {preset} has net, gan"


def test_smoke_shrinks_all_but_what_is_set(train, tmp_path):
    small = ["--set", "generator.num_feat=8", "--set", "data.margin=16", "--set", "stages.net.length=3"]
    status, out, _ = train("--smoke", "--dry-run", "--stage", "net", *small)
    assert status == 0
    (tmp_path / "given.toml").write_text(out)
    training = load_training(str(tmp_path / "given.toml"))[0]
    assert (training.generator.num_feat, training.data.margin, training.stages[0].length) == (8, 16, 3)
    assert training.data.crop == 64


def test_an_exported_file_holds_the_averaged_weights_as_other_tools_read_them(train, tmp_path):
    assert train("-q", "--export", "pth")[0] == 0
    both = torch.load(tmp_path / "run" / "model.pth", weights_only=True)
    assert both.keys() == {"params", "params_ema"}
    saved = load_file(tmp_path / "run" / "model.safetensors")
    read = load_model(tmp_path / "run" / "model.pth")[0].state_dict()
    assert saved.keys() == both["params_ema"].keys() == both["params"].keys()
    for name, tensor in saved.items():
        assert torch.equal(both["params_ema"][name], tensor)
        assert torch.equal(read[name], tensor)
    assert any(not torch.equal(both["params"][name], tensor) for name, tensor in saved.items())


# going on


def test_a_command_that_failed_before_its_first_step_can_be_mended(refused, train, tmp_path):
    assert "/none: no such file" in refused("--stage", "net", "--metric-weights", "/none")
    assert not (tmp_path / "run").exists()
    assert "best = lpips: its weights are missing" in refused("--stage", "net", "--set", "validation.best=lpips")
    assert "validation.crop = 16: give 32 pixels" in refused("--stage", "net", "--set", "validation.crop=16")
    assert train("-q", "--stage", "net")[0] == 0


def test_other_settings_in_a_begun_folder_are_named(train, refused, tmp_path):
    train("-q", "--stage", "net")
    said = refused("--stage", "net", "--set", "stages.net.length=6")
    assert said == (
        f"{tmp_path / 'run'}: was begun with other settings: train.stages.net.length: 4 there, 6 here; "
        f"give --from {tmp_path / 'run'} and another --out"
    )
    assert "degrade.sharpen: false there, true here" in refused("--stage", "net", "--set", "degrade.sharpen=true")


def test_settings_that_change_no_weight_may_change(train):
    train("-q", "--stage", "net")
    assert train("-q", "--stage", "net", "--set", "save_every=3", "--set", "keep=1", "--set", "licence=MIT")[0] == 0


def test_other_data_in_a_begun_folder_are_refused(train, refused, tmp_path, pictures):
    train("-q", "--stage", "net")
    more = picture(tmp_path / "more" / "6.png")
    assert "another number of files: 4 there, 5 here" in refused("--stage", "net", data=[pictures, more])
    same = shutil.copytree(pictures, tmp_path / "copy")
    assert "other files, or in another place; use" in refused("--stage", "net", data=[same])


def test_other_pictures_to_judge_by_in_a_begun_folder_are_refused(train, refused, pictures):
    train("-q", "--stage", "net", "--val", pictures / "0.png")
    assert "other files to judge by; use" in refused("--stage", "net", "--val", pictures / "1.png")


@pytest.mark.parametrize(
    ("start", "weights", "steps"),
    [("a", "model", 4), ("a/best", "best", None), ("a/model.safetensors", "model", 0)],
    ids=["run", "best", "file"],
)
def test_a_run_begins_with_weights_of_another_one_and_its_moments(start, weights, steps, train, tmp_path):
    train("-q", "--stage", "net", out=tmp_path / "a")
    still = ["--set", "stages.net.length=5", "--set", "stages.net.optimizer.lr=1e-9", "--set", "stages.net.ema=0"]
    assert train("-q", "--stage", "net", "--from", tmp_path / start, *still, out=tmp_path / "b")[0] == 0
    after = load_file(tmp_path / "b" / "model.safetensors")
    for name, tensor in load_file(tmp_path / "a" / f"{weights}.safetensors").items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-7)  # five steps of 1e-9
    if steps is None:
        steps = state(tmp_path / "a", "best")["step"]
    assert state(tmp_path / "b")["learner"]["optimizer"]["state"][0]["step"] == steps + 5


def test_moments_of_another_shape_are_left_quietly(train, tmp_path):
    train("-q", "--stage", "net", out=tmp_path / "a")
    status, _, err = train("--stage", "net", "--from", tmp_path / "a", "--set", "scale=2", out=tmp_path / "b")
    assert status == 0
    # of a Compact network the scale is in the last convolution alone
    assert "2 of another shape (body.4.weight, body.4.bias)" in err
    assert state(tmp_path / "b")["learner"]["optimizer"]["state"][0]["step"] == 4


def test_an_rrdb_goes_from_x4_to_x2_but_for_its_first_convolution(train, tmp_path):
    rrdb = ["--set", 'generator={arch="rrdb", num_feat=4, depth=1, num_grow=4}', "--set", "stages.net.length=1"]
    assert train("-q", "--stage", "net", *rrdb, out=tmp_path / "a")[0] == 0
    status, _, err = train("--stage", "net", *rrdb, "--set", "scale=2", "--from", tmp_path / "a", out=tmp_path / "b")
    assert status == 0
    assert "1 of another shape (conv_first.weight)" in err


def test_a_start_that_is_none_is_refused_before_anything_is_written(refused, train, tmp_path):
    assert refused("--from", tmp_path / "none") == (
        f"{tmp_path / 'none'}: neither a run's folder nor a weights file; give RUN, RUN/best or a .safetensors"
    )
    train("-q", "--stage", "net", out=tmp_path / "a")
    said = refused("--from", tmp_path / "a", "--set", "generator.num_feat=16", "--set", "generator.depth=6")
    assert re.search(r"is of another architecture or size: \d+ missing \(.*\d+ of another shape \(", said)
    assert not (tmp_path / "run").exists()


# perceptual weights


@pytest.mark.parametrize("name", ["vgg19_normalised_conv3_1.pth", "squeezenet1_1.pth"])
def test_known_perceptual_files_are_taken(name, train, media, tmp_path):
    vgg = media / "weights" / name
    status, _, err = train("--stage", "gan", *PERCEPTUAL, "--set", "stages.gan.length=2", "--vgg", vgg)
    assert status == 0
    assert f"perceptual {vgg}" in err
    assert ended(tmp_path / "run")[-1]["loss_perceptual"] > 0


def test_perceptual_weights_that_cannot_be_had_are_named_before_the_first_step(refused, train, tmp_path, monkeypatch):
    def offline(*_, **__):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    said = refused(*PERCEPTUAL)
    for word in ("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", "dcbb9e9d,", str(tmp_path / "models")):
        assert word in said
    assert not (tmp_path / "run").exists()
    small = ["--set", "stages.net.length=1", "--set", "stages.gan.length=1", "--set", "generator.num_feat=4"]
    status, _, err = train("--smoke", *PERCEPTUAL, *small, "--set", "data.workers=0", "--set", "data.margin=0")
    assert status == 0
    assert "note: no perceptual weights are found: that loss is left out" in err
    assert not any("loss_perceptual" in row for row in ended(tmp_path / "run"))


def test_a_perceptual_file_that_is_none_is_refused(refused, tmp_path):
    assert "no such file" in refused(*PERCEPTUAL, "--vgg", tmp_path / "none.pth")
    (tmp_path / "bad.pth").write_bytes(b"PK\x03\x04 nothing")
    assert str(tmp_path / "bad.pth") in refused(*PERCEPTUAL, "--vgg", tmp_path / "bad.pth")
    assert not (tmp_path / "run").exists()


# bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "data.corp=64"], "--set data.corp=64|key 'corp' is unknown; did you mean 'crop'"),
        (["--set", "data.crop=large"], "train.data.crop = 'large': should be a valid integer"),
        (["--set", "data.crop"], "has no '='"),
        (["--set", "stages.gun.length=1"], "gun"),
        (["--set", "data.crop=30"], "crop = 30: must be a multiple of the scale, 4"),
        (
            ["--set", "scale=3", "--set", "data.crop=33", "--set", 'generator={arch="rrdb"}'],
            "scale = 3: not of rrdb; give",
        ),
        (["--set", 'stages.gan.discriminator.kind="vgg"'], "discriminator: input_px = 32"),
        (["--set", 'stages.net.unfreeze=[["conv_last"]]'], "no parameter begins with 'conv_last'"),
        (["--set", "data.crop=512"], "112x96 is smaller than 520 pixels"),
        (["--preset", "bicubic"], "preset 'bicubic' says nothing about training"),
        (["--preset", "nosuch"], "preset 'nosuch' is unknown"),
    ],
)
def test_settings_that_make_no_sense_are_one_line_and_leave_nothing(arguments, message, refused, tmp_path):
    assert re.search("|".join(map(re.escape, message.split("|"))), refused(*arguments))
    assert not (tmp_path / "run").exists()


def test_without_data_the_option_is_named(refused):
    assert refused(data=[]) == "data: none given; give folders, pictures, clips or lists with --data"


def test_an_empty_folder_is_named(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert refused(data=[tmp_path / "empty"]) == (
        f"{tmp_path / 'empty'}: no picture or clip there; give folders, pictures, clips or lists"
    )


def test_a_list_that_names_missing_files_names_them(refused, tmp_path, pictures):
    (tmp_path / "list.txt").write_text(f"{pictures / '0.png'}\nnone.png\nnor.png  # this\n")
    said = refused(data=[tmp_path / "list.txt"])
    assert said.startswith(f"{tmp_path / 'list.txt'}: names what is not there: 2 files")
    assert "none.png" in said
    assert "nor.png" in said


def test_pairs_are_trained_on_and_judged_by_as_they_are(train, refused, tmp_path):
    for index in range(2):
        picture(tmp_path / "HR" / f"{index}.png", seed=index)
        picture(tmp_path / "LR" / f"{index}.png", seed=index, size=(28, 24))
    assert train("-q", "--stage", "net", "--paired", tmp_path / "HR", tmp_path / "LR", data=[])[0] == 0
    said = refused("--paired", tmp_path / "HR", tmp_path / "LR", "--set", "scale=2", data=[], out=tmp_path / "x2")
    assert "112x96 is not 2 x the 28x24 of" in said


def test_one_picture_is_trained_on_and_judged_by_which_is_said(train, pictures):
    status, _, err = train("--stage", "net", data=[pictures / "0.png"])
    assert status == 0
    assert "note: the only file is trained on and judged by: give --val" in err


@pytest.mark.parametrize("broken", range(5))
def test_damaged_pictures_are_listed_and_left_out_wherever_they_are(broken, train, pictures, tmp_path):
    """Damage behind the header shows only when a picture is decoded, to train on it or to judge by it."""
    folder = shutil.copytree(pictures, tmp_path / "pictures")
    whole = (folder / f"{broken}.png").read_bytes()
    (folder / f"{broken}.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("no picture")
    status, _, err = train("--stage", "net", "--set", "stages.net.length=2", data=[folder])
    assert status == 0
    assert f"note: left out: {folder / f'{broken}.png'}: " in err
    assert f"note: left out: {folder / 'text.png'}: cannot be read as a picture" in err
    assert str(folder / "text.png") in (tmp_path / "run" / "problems.txt").read_text()


def test_nothing_but_damaged_pictures_is_refused(refused, tmp_path):
    for name in ("a", "b"):
        whole = picture(tmp_path / "pictures" / f"{name}.png").read_bytes()
        (tmp_path / "pictures" / f"{name}.png").write_bytes(whole[: len(whole) // 2])
    assert "no picture can be decoded; the first: " in refused(data=[tmp_path / "pictures"])
    assert not (tmp_path / "run").exists()


def test_damaged_pictures_to_judge_by_are_left_out(train, refused, pictures, tmp_path):
    whole = picture(tmp_path / "val" / "a.png").read_bytes()
    (tmp_path / "val" / "a.png").write_bytes(whole[: len(whole) // 2])
    assert "--val: none of its pictures can be decoded" in refused("--val", tmp_path / "val")
    picture(tmp_path / "val" / "b.png")
    status, _, err = train("--stage", "net", "--val", tmp_path / "val")
    assert status == 0
    assert f"note: left out: {tmp_path / 'val' / 'a.png'}: " in err


def test_an_init_of_another_architecture_is_refused_with_what_differs(refused, train, tmp_path, preset):
    train("-q", "--stage", "net", out=tmp_path / "a")
    init = tmp_path / "a" / "model.safetensors"
    said = refused("--set", f"generator.init={init}", "--set", "generator.depth=7", "--set", "generator.num_feat=9")
    assert said.startswith(f"{init}: is of another architecture or size: ")
    for words in (r"\d+ missing \(body", r"of another shape \(body"):
        assert re.search(words, said)
    said = refused("--set", f'generator={{arch="srcnn", init="{init}"}}')
    assert re.search(r"\d+ unknown \(body", said)
    assert not (tmp_path / "run").exists()


def test_a_run_that_has_begun_needs_its_first_weights_no_more(train, tmp_path):
    train("-q", "--stage", "net", out=tmp_path / "a")
    init = (tmp_path / "a" / "model.safetensors").rename(tmp_path / "init.safetensors")
    assert train("--stage", "net", "--set", f"generator.init={init}")[0] == 0
    init.unlink()
    status, _, err = train("--stage", "net", "--set", f"generator.init={init}")
    assert (status, "from scratch" in err) == (0, False)
    assert f"model '{init}': no such name or file" in train("--set", f"generator.init={init}", out=tmp_path / "new")[2]


def test_a_folder_where_a_file_is_refuses(refused, tmp_path):
    (tmp_path / "file").write_text("")
    assert refused(out=tmp_path / "file" / "run") == (
        f"{tmp_path / 'file' / 'run'}: cannot be made: Not a directory; choose another folder with --out"
    )


def test_no_room_for_states_is_said_before_the_first_step(refused, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 30, 1 << 30, 100_000))
    assert re.search(
        r"run: its states need \d+ MB and 0 MB are free; make room or move", refused("--set", "generator.num_feat=64")
    )
    assert not (tmp_path / "run").exists()


def test_a_pool_that_memory_does_not_hold_is_made_smaller_and_stays_so(train, refused, tmp_path, monkeypatch):
    run, pair = tmp_path / "run", 3 * (32**2 + 8**2)
    few = ("--set", "data.pool=50", "--set", "data.margin=0", "--stage", "net", "--set", "stages.net.length=1")
    monkeypatch.setattr("vsr.train.prepare.available_bytes", lambda: 2 * 40 * pair)
    status, out, err = train(*few)
    assert (status, "data.pool: 40 of 50 pairs are held, for memory is short" in out + err) == (0, True)
    assert json.loads((run / "run.json").read_text())["pairs"] == 40
    monkeypatch.setattr("vsr.train.prepare.available_bytes", lambda: 2 * 1000 * pair)
    assert train(*few)[0] == 0  # goes on with the 40 of its beginning
    (run / "run.json").write_text((run / "run.json").read_text().replace('"pairs": 40', '"pairs": 4000'))
    assert "was begun with 4,000 pairs in memory" in refused(*few)


def test_memory_that_holds_no_batch_is_refused(refused, monkeypatch):
    monkeypatch.setattr("vsr.train.prepare.available_bytes", lambda: 1000)
    assert re.search(r"batch = \d+: its pairs take 0 MB of 0 MB free; give less", refused())


def test_a_disk_that_fills_up_keeps_the_last_state_and_the_command_goes_on(refused, train, tmp_path, monkeypatch):
    train("-q", out=tmp_path / "whole")
    save, calls = torch.save, []

    def full(state, part):
        calls.append(part)
        if len(calls) == 4:
            save(state, part)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(state, part)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        said = refused()
    assert re.fullmatch(rf"{tmp_path}/run/states/\w+\.pt: the disk is full; make room and run the same command", said)
    assert not list((tmp_path / "run").rglob(".*"))
    assert state(tmp_path / "run")["step"] in (2, 4)
    assert train("-q")[0] == 0
    assert (tmp_path / "run" / "model.safetensors").read_bytes() != b""
    for name, tensor in load_file(tmp_path / "whole" / "model.safetensors").items():
        assert torch.equal(load_file(tmp_path / "run" / "model.safetensors")[name], tensor)


def test_a_full_disk_under_the_log_is_one_line(refused, monkeypatch):
    def full(self, *_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    opened = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda self, *a, **k: full(self) if self.name == "log.jsonl" and a == ("a",) else opened(self, *a, **k),
    )
    assert refused().endswith("log.jsonl: the disk is full; make room and run the same command")


def test_a_folder_in_which_another_process_trains_is_refused(refused, tmp_path):
    with RunFolder(tmp_path / "run").held():
        assert refused() == f"{tmp_path / 'run'}: another process trains in it; wait for it or choose another --out"


@pytest.mark.parametrize("name", ["config.toml", "run.json", "states/last.pt"])
def test_damaged_files_of_a_run_are_named(name, refused, train, tmp_path):
    train("-q", "--stage", "net")
    (tmp_path / "run" / name).write_text("[[[ nothing")
    assert refused("--stage", "net").startswith(f"{tmp_path / 'run' / name}: ")


def test_a_run_that_lost_its_state_is_not_begun_anew_over_its_weights(refused, train, tmp_path):
    train("-q", "--stage", "net")
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    (tmp_path / "run" / "states" / "last.pt").unlink()
    assert "holds weights, but no states/last.pt to go on from; choose another --out" in refused("--stage", "net")
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


def test_dry_runs_and_json_do_not_go_together(train):
    assert train("--dry-run", "--json")[0] == 2


# stopped and killed


def test_what_a_killed_run_left_half_written_is_removed_and_nothing_else(train, tmp_path):
    train("-q", "--stage", "net")
    left = ["states/.last.pt.k3_x9abc", ".model.safetensors.abcdefgh", "samples/.0000000.webp.part"]
    others = [".gitignore", ".nfs000000000000", "states/.notes.txt"]
    for name in left + others:
        (tmp_path / "run" / name).write_text("")
    train("-q", "--stage", "net")
    assert not any((tmp_path / "run" / name).exists() for name in left)
    assert all((tmp_path / "run" / name).exists() for name in others)


def command(preset: Path, pictures: Path, out: Path, *given: str) -> list[str]:
    main = "import vsr.train.trainer as t; t.draw_plots = lambda *_: []; from vsr.cli import main; main()"
    return [sys.executable, "-c", main, "train", "--preset", str(preset), "--data", str(pictures),
            "--out", str(out), "--device", "cpu", "--json", *given]  # fmt: skip


def started(arguments: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    )


LONG = ("--set", "stages.net.length=120", "--set", "stages.gan.length=20", "--set", "validation.every=50")


def test_ctrl_c_saves_and_the_same_command_goes_on_as_if_nothing_had_been(train, preset, pictures, tmp_path):
    out, long = tmp_path / "stopped", ("--stage", "net", *LONG)
    process = started(command(preset, pictures, out, *long))
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "train":
            process.send_signal(signal.SIGINT)
            break
    rest, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "vsr: stopped; the same command continues"
    assert json.loads(rest.splitlines()[-1])["event"] == "error"
    assert state(out)["step"] < 120
    assert train("-q", *long, out=out)[0] == 0
    assert train("-q", *long, out=tmp_path / "whole")[0] == 0
    whole, stopped = (load_file(path / "model.safetensors") for path in (tmp_path / "whole", out))
    assert all(torch.equal(stopped[name], tensor) for name, tensor in whole.items())


@pytest.mark.slow
def test_killed_again_and_again_a_run_ends_as_an_unbroken_one(train, preset, pictures, tmp_path):
    """At moments that differ from run to run: while it steps, judges, saves, and goes from stage to stage."""
    out = tmp_path / "run"
    for seconds in np.random.default_rng().uniform(0, 1.5, 5):
        process = started(command(preset, pictures, out, *LONG))
        assert process.stdout is not None
        process.stdout.readline()  # past the imports
        time.sleep(seconds)
        process.kill()
        process.communicate()
    assert train("-q", *LONG)[0] == 0
    assert train("-q", *LONG, out=tmp_path / "whole" / "run")[0] == 0  # the folder's name is in the file
    for name in ("model.safetensors", "best.safetensors"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / "run" / name).read_bytes()
    assert not list(out.rglob(".*"))
