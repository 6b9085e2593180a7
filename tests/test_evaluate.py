"""Evaluation against the field's numbers, and on sets made here."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.media_maker import make_clip
from vsr.engine.matlab import shrink
from vsr.errors import ConfigError, MediaError, ModelError
from vsr.evaluate.methods import load_methods
from vsr.evaluate.report import Report, evaluate
from vsr.evaluate.samples import Material, check_sets, load_damage, read_sample
from vsr.evaluate.scores import Judge, Scores, load_judge, mean
from vsr.evaluate.sets import find_sets
from vsr.evaluate.sheet import WINDOW_PX, Sheet
from vsr.io.images import read_rgb

CPU = Judge(device=torch.device("cpu"))


def noise(path: Path, height: int, width: int, *, seed: int = 0) -> Path:
    """A picture of soft noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


def scored(*paths: Path, models=("bicubic",), material: Material | None = None, judge: Judge = CPU) -> Report:
    """As the command does it."""
    material = material or Material()
    sets = find_sets(paths, scale=material.scale, pairs=material.damage is None)
    check_sets(sets, material)
    return evaluate(load_methods(models, scale=material.scale, device="cpu"), sets, material, judge)


def figures(report: Report, key: str = "psnr_y") -> list[float]:
    return [getattr(row.mean, key) for row in report.rows]


@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_bicubic_scores_as_the_oracle_says_on_given_low_pictures(media: Path, name: str):
    known = json.loads((media / "oracle" / "bicubic_x4_metrics.json").read_text())[name]
    (row,) = scored(media / "images" / name).rows
    assert (row.data, row.material) == (name, "LR given")
    assert [item.name for item in row.items] == known["files"]
    for key, tolerance in (("psnr_y", 0.005), ("psnr_rgb", 0.005), ("ssim_y", 0.0005)):
        found = [getattr(item.scores, key) for item in row.items]
        assert found == pytest.approx(known[key], abs=tolerance)
        assert getattr(row.mean, key) == pytest.approx(known["mean"][key], abs=tolerance)


@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_bicubic_scores_as_the_oracle_says_on_low_pictures_made_here(media: Path, name: str):
    known = json.loads((media / "oracle" / "bicubic_x4_metrics.json").read_text())[name]["mean"]
    (row,) = scored(media / "images" / name / "x4" / "HR").rows
    assert (row.data, row.material) == (name, "LR by bicubic")
    assert row.mean.psnr_y == pytest.approx(known["psnr_y"], abs=0.005)  # asked for is 0.03
    assert row.mean.ssim_y == pytest.approx(known["ssim_y"], abs=0.0005)


def test_networks_and_filters_are_measured_on_the_same_samples(tmp_path: Path, nearest: Path):
    truth = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    for half, repeats in (("HR", 2), ("LR", 1)):
        (tmp_path / "flat" / half).mkdir(parents=True)
        Image.fromarray(truth.repeat(repeats, 0).repeat(repeats, 1)).save(tmp_path / "flat" / half / "a.png")
    report = scored(tmp_path / "flat", models=(str(nearest), "bicubic", "lanczos"), material=Material(scale=2))
    assert [row.model for row in report.rows] == [nearest.stem, "bicubic", "lanczos"]
    exact, *filters = figures(report)
    assert exact == float("inf")  # the network repeats pixels, and so was the truth made
    assert all(10 < psnr < 30 for psnr in filters)


def test_a_network_of_another_scale_is_resized_and_that_is_said(tmp_path: Path, nearest: Path):
    noise(tmp_path / "set" / "a.png", 64, 64)
    report = scored(tmp_path / "set", models=(str(nearest),))
    assert 15 < figures(report)[0] < 60
    assert report.notes == (f"{nearest.stem} is a network of x2: its result is resized to x4",)


def test_unknown_and_repeated_models_are_refused(nearest: Path):
    with pytest.raises(ModelError, match="bicubik"):
        load_methods(["bicubik"], scale=4)
    with pytest.raises(ConfigError, match="lanczos: given twice"):
        load_methods(["lanczos", "lanczos"], scale=4)


def test_files_of_one_name_are_told_apart(tmp_path: Path, nearest: Path):
    copy = tmp_path / nearest.name
    copy.write_bytes(nearest.read_bytes())
    assert [m.name for m in load_methods([str(nearest), str(copy)], scale=2)] == [str(nearest), str(copy)]


def test_pairs_are_found_by_name_else_by_order(tmp_path: Path):
    for name in ("b_HR.png", "a_HR.png"):
        noise(tmp_path / "named" / "x4" / "HR" / name, 64, 64)
        noise(tmp_path / "named" / "x4" / "LR" / name.replace("HR", "LR"), 16, 16)
        noise(tmp_path / "ordered" / "HR" / name, 64, 64)
        noise(tmp_path / "ordered" / "LR" / f"small-{name}", 16, 16)
    noise(tmp_path / "named" / "x4" / "LR" / "0.png", 16, 16)  # one more than there are truths
    named, ordered = find_sets([tmp_path / "named", tmp_path / "ordered"], scale=4)
    pairs = [[(item.name, item.low and item.low.name) for item in data.items] for data in (named, ordered)]
    assert pairs[0] == [("a_HR.png", "a_LR.png"), ("b_HR.png", "b_LR.png")]
    assert pairs[1] == [("a_HR.png", "small-a_HR.png"), ("b_HR.png", "small-b_HR.png")]


def test_a_missing_half_is_named(tmp_path: Path):
    for name in ("a.png", "b.png"):
        noise(tmp_path / "HR" / name, 64, 64)
    noise(tmp_path / "LR" / "a.png", 16, 16)
    with pytest.raises(ConfigError, match=r"LR: holds 1 files for the 2 in HR, and none by the name of b\.png"):
        find_sets([tmp_path], scale=4)


def test_all_pairs_of_a_wrong_ratio_are_named_in_one_line(tmp_path: Path):
    for name, low in (("a.png", 16), ("b.png", 15), ("c.png", 17)):
        noise(tmp_path / "HR" / name, 64, 64)
        noise(tmp_path / "LR" / name, low, 16)
    with pytest.raises(MediaError) as e:
        scored(tmp_path)
    assert "b.png (64x64 of 16x15), c.png (64x64 of 16x17);" in str(e.value)
    assert "a.png" not in str(e.value)
    assert "\n" not in str(e.value)


def test_what_shrinking_left_out_is_cut_off_the_truth(tmp_path: Path):
    truth = read_rgb(noise(tmp_path / "HR" / "a.png", 67, 65))
    low = shrink(torch.from_numpy(truth[:64, :64].copy()).permute(2, 0, 1)[None], 4)
    (tmp_path / "LR").mkdir()
    Image.fromarray(low[0].permute(1, 2, 0).numpy()).save(tmp_path / "LR" / "a.png")
    given = scored(tmp_path)
    (tmp_path / "LR" / "a.png").unlink()
    (tmp_path / "LR").rmdir()
    made = scored(tmp_path)
    assert (given.rows[0].material, made.rows[0].material) == ("LR given", "LR by bicubic")
    assert given.rows[0].items == made.rows[0].items


@pytest.mark.parametrize("is_paired", [True, False])
def test_the_crop_lies_in_the_middle_and_its_halves_match(tmp_path: Path, is_paired: bool):
    truth = read_rgb(noise(tmp_path / "HR" / "a.png", 72, 100))
    if is_paired:
        (tmp_path / "LR").mkdir()
        Image.fromarray(truth[1::4, 1::4]).save(tmp_path / "LR" / "a.png")
    (data,) = find_sets([tmp_path], scale=4)
    sample = read_sample(data.items[0], Material(crop=32), number=0)
    middle = torch.from_numpy(truth[20:52, 32:64].copy()).permute(2, 0, 1)[None]
    assert torch.equal(sample.truth, middle)
    assert torch.equal(sample.low, middle[..., 1::4, 1::4] if is_paired else shrink(middle, 4))


def test_pictures_smaller_than_the_crop_are_named(tmp_path: Path):
    noise(tmp_path / "a.png", 96, 96)
    noise(tmp_path / "b.png", 96, 60)
    with pytest.raises(MediaError, match=r"smaller than the crop of 64 pixels: b\.png \(60x96\);"):
        scored(tmp_path, material=Material(crop=64))


@pytest.mark.parametrize("crop", [30, 16])
def test_a_crop_off_the_grid_or_too_small_to_measure_is_refused(crop: int):
    with pytest.raises(ConfigError, match=f"crop = {crop}: give a multiple of the scale, 4, of at least 32"):
        Material(crop=crop)


def test_the_least_picture_can_be_measured_and_one_less_not(media: Path, tmp_path: Path):
    judge = load_judge([media / "weights"], device="cpu")
    noise(tmp_path / "least" / "a.png", 32, 32)
    noise(tmp_path / "less" / "a.png", 31, 32)
    assert figures(scored(tmp_path / "least", judge=judge), "lpips")[0] > 0
    with pytest.raises(MediaError, match="smaller than 32"):
        scored(tmp_path / "less", judge=judge)


def test_other_files_are_left_alone_and_no_picture_at_all_is_an_error(tmp_path: Path):
    (tmp_path / "README.md").write_text("# no picture")
    (tmp_path / ".hidden.png").write_text("no picture")
    with pytest.raises(ConfigError, match="no picture or clip in it"):
        find_sets([tmp_path], scale=4)
    noise(tmp_path / "a.png", 64, 64)
    assert [item.name for item in find_sets([tmp_path], scale=4)[0].items] == ["a.png"]


def test_an_unreadable_picture_is_named(tmp_path: Path):
    noise(tmp_path / "a.png", 64, 64)
    (tmp_path / "b.png").write_bytes(b"not a picture")
    with pytest.raises(MediaError, match=r"b\.png: cannot be read"):
        scored(tmp_path)


def test_sets_of_one_name_are_told_apart(tmp_path: Path):
    paths = [noise(tmp_path / folder / "same" / "a.png", 64, 64).parent for folder in ("one", "two")]
    assert [data.name for data in find_sets(paths, scale=4)] == [str(path) for path in paths]
    with pytest.raises(ConfigError, match="same: given twice"):
        find_sets([paths[0], paths[0]], scale=4)


def test_the_same_seed_damages_alike_and_another_differently(tmp_path: Path):
    noise(tmp_path / "a.png", 64, 64)
    once, again, other = (
        scored(tmp_path, material=Material(damage=load_damage("real_world", seed))) for seed in (1, 1, 2)
    )
    assert once == again
    assert once.rows[0].material == "damaged by real_world, seed 1"
    assert once.rows[0].items[0].drawn
    assert figures(once) != figures(other)


def test_damage_passes_over_given_halves_and_leaves_the_truth_alone(tmp_path: Path):
    truth = read_rgb(noise(tmp_path / "HR" / "a.png", 64, 64))
    noise(tmp_path / "LR" / "a.png", 16, 16)
    (data,) = find_sets([tmp_path], scale=4, pairs=False)
    sample = read_sample(data.items[0], Material(damage=load_damage("real_world", 1)), number=0)
    assert torch.equal(sample.truth[0].permute(1, 2, 0), torch.from_numpy(truth.copy()))
    assert sample.low.shape == (1, 3, 16, 16)


def test_a_preset_without_damage_is_refused(tmp_path: Path):
    (tmp_path / "plain.toml").write_text('[upscale]\nmodels = {4 = "vsr-fast-x4"}\n')
    with pytest.raises(ConfigError, match="says nothing about damage"):
        load_damage(str(tmp_path / "plain.toml"), 1)
    with pytest.raises(ConfigError, match="'vide' is unknown"):
        load_damage("vide", 1)


def test_a_clip_is_measured_over_its_first_frames_and_in_time(tmp_path: Path, nearest: Path):
    make_clip(tmp_path / "clip.mkv", codec="ffv1", frames=6)
    noise(tmp_path / "still.png", 64, 64)
    report = scored(tmp_path, models=(str(nearest), "bicubic"), material=Material(scale=2, frames=2))
    row = report.rows[0]
    clip, still = row.items
    assert row.material == "LR by bicubic, 2 frames"
    assert clip.scores.static_change is not None
    assert abs(clip.scores.static_change) < 2  # what bars that stand still leak of those that change
    assert still.scores.static_change is None
    assert row.mean.static_change == clip.scores.static_change
    (data,) = find_sets([tmp_path], scale=2)
    assert len(read_sample(data.items[0], Material(scale=2, frames=2), number=0).truth) == 2
    assert len(read_sample(data.items[0], Material(scale=2), number=0).truth) == 6


def test_flicker_shows_in_the_static_change():
    torch.manual_seed(0)
    truth = torch.full((4, 3, 64, 64), 128, dtype=torch.uint8)
    flickering = (truth + torch.tensor([0, 6, 0, 6]).view(4, 1, 1, 1)).to(torch.uint8)
    steady = CPU(truth + 3, truth, shave=4, is_clip=True)
    unsteady = CPU(flickering, truth, shave=4, is_clip=True)
    assert steady.static_change == 0
    assert unsteady.static_change == pytest.approx(6 * 219 / 255, abs=1e-6)  # codes of luma
    assert CPU(truth, truth, shave=4, is_clip=False).static_change is None


def test_a_frame_without_error_does_not_decide_a_clip():
    truth = torch.randint(200, (2, 3, 32, 32), dtype=torch.uint8)
    half = torch.stack([truth[0], truth[1] + 10])
    both = CPU(half, truth, shave=4, is_clip=True)
    one = CPU(half[1:], truth[1:], shave=4, is_clip=False)
    assert one.psnr_rgb == pytest.approx(28.1308, abs=1e-4)  # 20 log10(25.5)
    assert both.psnr_rgb == pytest.approx(28.1308 + 3.0103, abs=1e-4)  # half the error
    assert CPU(truth, truth, shave=4, is_clip=True).psnr_y == float("inf")


def test_a_clip_and_its_small_half_must_have_as_many_frames(tmp_path: Path):
    for half, size, frames in (("HR", (96, 128), 4), ("LR", (48, 64), 3)):
        (tmp_path / half).mkdir()
        make_clip(tmp_path / half / "a.mkv", codec="ffv1", size=size, frames=frames)
    with pytest.raises(MediaError, match="3 frames for 4 of"):
        scored(tmp_path, material=Material(scale=2))
    assert scored(tmp_path, material=Material(scale=2, frames=3)).rows[0].material == "LR given, 3 frames"


def test_metrics_of_given_weights_are_measured_others_told(media: Path, tmp_path: Path):
    noise(tmp_path / "set" / "large.png", 192, 192)
    noise(tmp_path / "set" / "small.png", 96, 96)
    weights = media / "weights"
    full = scored(tmp_path / "set", judge=load_judge([weights], cache=tmp_path, device="cpu"))
    large, small = (item.scores for item in full.rows[0].items)
    assert large.lpips is not None
    assert small.lpips is not None
    assert large.niqe is not None
    assert small.niqe is None
    assert full.without == ()
    assert full.notes == ("set: too small or too flat for NIQE: small.png",)
    partly = load_judge([weights / "niqe_pris_params.npz"], cache=tmp_path, device="cpu")
    assert scored(tmp_path / "set", judge=partly).without == ("lpips",)


def test_means_leave_out_what_was_not_measured():
    found = mean([Scores(psnr_y=30.0, lpips=0.5), Scores(psnr_y=40.0), Scores(psnr_y=float("inf"), lpips=0.25)])
    assert found == Scores(psnr_y=float("inf"), lpips=0.375)


def test_a_sheet_has_a_row_for_each_picture_and_a_column_for_each_method(tmp_path: Path):
    for name in ("a.png", "b.png", "c.png"):
        noise(tmp_path / "set" / name, 256, 256, seed=ord(name[0]))
    sets = find_sets([tmp_path / "set"], scale=4)
    sheet = Sheet(tmp_path / "look.png", sets, ["c.png", "a.png"])
    methods = load_methods(["bicubic", "lanczos"], scale=4)
    evaluate(methods, sets, Material(), CPU, on_result=sheet.add)
    sheet.write()
    height, width, _ = read_rgb(tmp_path / "look.png").shape
    assert 3 * WINDOW_PX < width < 4 * WINDOW_PX
    assert 2 * WINDOW_PX < height < 3 * WINDOW_PX
    truth = read_rgb(tmp_path / "set" / "a.png")
    left = np.lib.stride_tricks.sliding_window_view(truth[..., 0], (WINDOW_PX, WINDOW_PX))[::8, ::8]
    shown = sheet.picture()[8 : 8 + WINDOW_PX, 8 + 2 * (WINDOW_PX + 8) :][:, :WINDOW_PX, 0]
    assert (left == shown).all((2, 3)).any()  # pixel by pixel
    with pytest.raises(ConfigError, match=r"d\.png: not in the data"):
        Sheet(tmp_path / "look.png", sets, ["d.png"])
