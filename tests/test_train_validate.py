"""What a run is judged on, that the figures are those of `vsr eval`, and what the sheet shows."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from tests.media_maker import make_clip
from vsr.degradation import Degradation
from vsr.engine.matlab import enlarge, shrink
from vsr.errors import ConfigError, MediaError
from vsr.evaluate.scores import Judge
from vsr.footage import read_frames
from vsr.io.images import read_rgb
from vsr.metrics.lpips import Lpips
from vsr.train.losses import pixel_loss
from vsr.train.sharpen import sharpen
from vsr.train.validate import Pair, Validated, held_back, sample_sheet, validate, validation_pairs

CLEAN = Degradation(clean=1.0)  # bicubic and nothing else
CPU = torch.device("cpu")


def texture(size: tuple[int, int], *, seed: int = 0) -> Tensor:
    """(1, 3, H, W) uint8 with detail that a network could find back, away from black and white."""
    grain = torch.rand(1, 3, size[0] // 4 + 1, size[1] // 4 + 1, generator=torch.Generator().manual_seed(seed))
    smooth = F.interpolate(grain, scale_factor=4, mode="bilinear")[:, :, : size[0], : size[1]]
    return (40 + 170 * smooth).to(torch.uint8)


def picture(path: Path, size: tuple[int, int] = (72, 88), *, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(texture(size, seed=seed)[0].permute(1, 2, 0).numpy()).save(path)
    return path


def read(path: Path) -> Tensor:
    return torch.from_numpy(read_rgb(path).copy()).permute(2, 0, 1)[None]


def pairs_of(*paths: Path, **changes) -> list[Pair]:
    settings = changes.pop("settings", CLEAN)
    return validation_pairs(paths, settings, **{"scale": 4, "crop": 48, "count": 8, "seed": 3, **changes})


def bicubic(low: Tensor) -> Tensor:
    return enlarge(low.mul(255).round().to(torch.uint8), 4).float() / 255


def validated(run, pairs: list[Pair], **changes) -> Validated:
    given = {"scale": 4, "loss": pixel_loss("l1"), "lpips": None, "sharpen_truth": False, "device": CPU, **changes}
    return validate(run, pairs, **given)


@pytest.mark.parametrize(
    ("files", "count", "kept"),
    [
        (40, 4, [5, 15, 25, 35]),
        (40, 9, [5, 15, 25, 35]),  # a tenth
        (40, 1, [20]),
        (19, 16, [9]),
        (2, 16, [1]),
        (1, 16, [0]),
        (0, 16, []),
    ],
)
def test_few_files_are_held_back_evenly_by_name(files: int, count: int, kept: list[int]):
    paths = [Path(f"{number:03}.png") for number in range(files)]
    assert held_back(paths[::-1], count) == tuple(paths[number] for number in kept)


def test_the_middle_is_cut_and_damaged_from_the_cut(tmp_path: Path):
    path = picture(tmp_path / "a.png", (75, 90))
    (pair,) = pairs_of(path)
    assert torch.equal(pair.truth, read(path)[:, :, 12:60, 20:68])
    assert torch.equal(pair.low, shrink(pair.truth, 4))
    assert pair.name == "a.png"


def test_a_picture_below_the_crop_is_taken_as_far_as_it_is_whole(tmp_path: Path):
    (pair,) = pairs_of(picture(tmp_path / "a.png", (34, 90)))
    assert pair.truth.shape == (1, 3, 32, 48)
    assert pair.low.shape == (1, 3, 8, 12)


def test_damage_is_the_same_every_time_and_differs_between_pictures_and_seeds(tmp_path: Path):
    paths = [picture(tmp_path / f"{name}.png") for name in "ab"]  # equal pictures
    settings = Degradation()
    first, second = pairs_of(*paths, settings=settings)
    again = pairs_of(*paths[::-1], settings=settings)
    assert torch.equal(first.low, again[0].low)
    assert torch.equal(second.low, again[1].low)
    assert not torch.equal(first.low, second.low)
    assert not torch.equal(first.low, pairs_of(*paths, settings=settings, seed=4)[0].low)


def test_damage_does_not_start_from_a_sharpened_picture(tmp_path: Path):
    (pair,) = pairs_of(picture(tmp_path / "a.png"), settings=replace(CLEAN, sharpen=True))
    assert torch.equal(pair.low, shrink(pair.truth, 4))


def test_a_given_small_picture_is_cut_to_match(tmp_path: Path):
    path = picture(tmp_path / "hr" / "a.png", (75, 90))
    low = picture(tmp_path / "lr" / "a.png", (18, 22), seed=1)
    (pair,) = pairs_of(path, lows={path: low})
    assert torch.equal(pair.truth, read(path)[:, :, 12:60, 20:68])
    assert torch.equal(pair.low, read(low)[:, :, 3:15, 5:17])


def test_a_small_picture_of_another_size_is_named(tmp_path: Path):
    path, low = picture(tmp_path / "a.png", (75, 90)), picture(tmp_path / "low.png", (18, 21))
    with pytest.raises(MediaError, match=r"90x75 is not 4 x the 21x18 of .*low\.png"):
        pairs_of(path, lows={path: low})


def test_too_small_pictures_are_left_out_before_the_rest_is_counted(tmp_path: Path):
    small = [picture(tmp_path / f"a{number}.png", (31, 60)) for number in range(5)]
    fit = [picture(tmp_path / f"b{number}.png", (32, 60)) for number in range(3)]
    assert [pair.name for pair in pairs_of(*small, *fit, count=3)] == ["b0.png", "b1.png", "b2.png"]
    assert [pair.name for pair in pairs_of(*small, *fit, count=1)] == ["b1.png"]


def test_nothing_left_is_an_error_and_so_is_a_small_crop(tmp_path: Path):
    path = picture(tmp_path / "a.png", (31, 60))
    with pytest.raises(ConfigError, match="none of 1 pictures has 32 pixels each way"):
        pairs_of(path)
    with pytest.raises(ConfigError, match=r"validation\.crop = 31: give 32 pixels or more at x4"):
        pairs_of(path, crop=31)
    with pytest.raises(ConfigError, match=r"give 64 pixels or more at x8"):
        pairs_of(path, crop=63, scale=8)


def test_of_a_clip_a_frame_in_the_middle_is_taken(tmp_path: Path):
    path = make_clip(tmp_path / "clip.mkv", frames=7)
    (pair,) = pairs_of(path, crop=1 << 12)
    frames = read_frames(path, 7)
    assert pair.truth.shape[2:] == frames.shape[2:]
    assert [number for number, frame in enumerate(frames) if torch.equal(pair.truth[0], frame)] in ([3], [4])


def test_figures_are_those_of_eval(tmp_path: Path):
    pairs = pairs_of(picture(tmp_path / "a.png"), picture(tmp_path / "b.png", (48, 64), seed=1))
    found = validated(bicubic, pairs)
    scores = [Judge(device=CPU)(enlarge(p.low, 4), p.truth, shave=4, is_clip=False) for p in pairs]
    assert found.figures["psnr_y"] == pytest.approx(sum(s.psnr_y or 0 for s in scores) / 2)
    assert found.figures["ssim_y"] == pytest.approx(sum(s.ssim_y or 0 for s in scores) / 2)
    assert all(torch.equal(shown, enlarge(p.low, 4)) for shown, p in zip(found.results, pairs, strict=True))
    assert "lpips" not in found.figures


def test_results_are_rounded_before_they_are_measured_but_not_for_the_loss(tmp_path: Path):
    pairs = pairs_of(picture(tmp_path / "a.png"))
    exact = pairs[0].truth.float() / 255
    found = validated(lambda _: exact + 0.4 / 255, pairs)
    assert found.figures["psnr_y"] == 100  # as equal pictures count
    assert found.figures["val_loss"] == pytest.approx(0.4 / 255, rel=1e-3)


def test_one_equal_picture_does_not_hide_what_becomes_of_the_others(tmp_path: Path):
    flat = Pair(name="black", low=torch.zeros(1, 3, 12, 12).byte(), truth=torch.zeros(1, 3, 48, 48).byte())
    pairs = [flat, *pairs_of(picture(tmp_path / "a.png"))]
    better = validated(bicubic, pairs).figures["psnr_y"]
    worse = validated(lambda low: low.repeat_interleave(4, 2).repeat_interleave(4, 3), pairs).figures["psnr_y"]
    assert worse < better < 100


def test_loss_is_against_the_sharpened_truth_where_that_is_learnt(tmp_path: Path):
    pairs = pairs_of(picture(tmp_path / "a.png"))
    sharp = sharpen(pairs[0].truth.float() / 255)
    found = validated(lambda _: sharp, pairs, sharpen_truth=True)
    assert found.figures["val_loss"] == 0
    assert found.figures["psnr_y"] < 60  # of the truth as it is
    assert validated(lambda _: sharp, pairs).figures["val_loss"] > 0


def test_drift_is_a_shift_of_colour_that_all_pictures_share(tmp_path: Path):
    pairs = pairs_of(picture(tmp_path / "a.png"), picture(tmp_path / "b.png", seed=1))
    shift = torch.tensor([3.0, -7.0, 0.0]).view(1, 3, 1, 1) / 255

    def nearest(low: Tensor) -> Tensor:
        return low.repeat_interleave(4, 2).repeat_interleave(4, 3)

    assert validated(nearest, pairs).figures["colour_drift"] == pytest.approx(0, abs=1e-3)
    assert validated(lambda low: nearest(low) + shift, pairs).figures["colour_drift"] == pytest.approx(7, abs=1e-3)
    signs = iter((1, -1))
    there_and_back = validated(lambda low: nearest(low) + next(signs) * shift, pairs)
    assert there_and_back.figures["colour_drift"] == pytest.approx(0, abs=1e-3)


def test_what_is_no_number_is_shown_black_and_its_loss_is_none(tmp_path: Path):
    pairs = pairs_of(picture(tmp_path / "a.png"))
    found = validated(lambda low: bicubic(low) * float("nan"), pairs)
    assert not found.results[0].any()
    assert found.figures["val_loss"] != found.figures["val_loss"]


def test_validation_leaves_no_gradient_and_no_draw_behind(tmp_path: Path):
    weight = torch.ones((), requires_grad=True)
    before = torch.get_rng_state()
    pairs = pairs_of(picture(tmp_path / "a.png"), settings=Degradation())
    found = validated(lambda low: weight * F.interpolate(low, scale_factor=4), pairs, sharpen_truth=True)
    assert weight.grad is None
    assert not any(result.requires_grad for result in found.results)
    assert torch.equal(torch.get_rng_state(), before)


def test_lpips_is_measured_where_its_weights_are(media: Path, tmp_path: Path):
    weights = media / "weights"
    lpips = Lpips.load(weights / "squeezenet1_1.pth", weights / "lpips_lin_v0.1_squeeze.pth")
    pairs = pairs_of(picture(tmp_path / "a.png"))
    found = validated(bicubic, pairs, lpips=lpips).figures["lpips"]
    assert found == pytest.approx(float(lpips(enlarge(pairs[0].low, 4), pairs[0].truth)))


def test_bicubic_on_set5_has_its_published_psnr(media: Path):
    folder = media / "images" / "Set5" / "x4"
    lows = {path: folder / "LR" / path.name.replace("HR", "LR") for path in (folder / "HR").iterdir()}
    pairs = pairs_of(*lows, crop=1 << 12, lows=lows)
    assert validated(bicubic, pairs).figures["psnr_y"] == pytest.approx(28.43, abs=0.01)  # as tables print it


def test_the_sheet_shows_what_was_seen_the_result_and_the_truth(tmp_path: Path):
    pairs = pairs_of(*(picture(tmp_path / f"{name}.png", (300, 400), seed=ord(name)) for name in "abc"), crop=400)
    results = validated(bicubic, pairs).results
    sample_sheet(tmp_path / "sheet.png", pairs, results, scale=4, count=2)
    sheet = read(tmp_path / "sheet.png")
    assert 2 * 256 < sheet.shape[2] < 2 * (256 + 40)
    assert 3 * 256 < sheet.shape[3] < 3 * (256 + 20)
    shown = pairs[0]
    low = shown.low.repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert shown.truth.shape == (1, 3, 300, 400)
    for column, whole in enumerate((low, results[0], shown.truth)):
        left = 8 + column * (256 + 8)
        assert torch.equal(sheet[:, :, 8:264, left : left + 256], whole[:, :, 20:276, 72:328])
