"""What the degradation does to pictures, and that a sample depends on its seed and number alone."""

import json
import math
from dataclasses import fields, is_dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.media_maker import make_clip
from vsr.cli import run
from vsr.degradation import Blur, Codec, CodecName, Compression, Degradation, Film, Final, Motion, Noise, Order, Resize
from vsr.engine.matlab import enlarge, shrink
from vsr.errors import ConfigError, MediaError
from vsr.footage import read_frames
from vsr.io.degrade_codec import CodecFailed, through_jpeg
from vsr.io.images import read_rgb
from vsr.io.probe import probe
from vsr.io.sheet import GAP
from vsr.metrics.fidelity import psnr_y
from vsr.preset import load_preset, preset_names
from vsr.train import storage
from vsr.train.degrade import degrade
from vsr.train.draw import Draw, sample_generator
from vsr.train.film import print_on_film
from vsr.train.material import Footage, Still
from vsr.train.motion import moving_windows, surroundings
from vsr.train.samples import Recipe, samples
from vsr.train.storage import check_codecs, store

UNHARMED = Order(
    blur=Blur(chance=0),
    resize=Resize(up=0, down=0, keep=1, filters={"area": 1}),  # in the second order: straight to the final size
    noise=Noise(chance=0),
    compression=Compression(media={"none": 1}),
)
FINE = Final(sinc_chance=0, filters={"area": 1}, before_storage=1)
NOTHING = Degradation(sharpen=False, first=UNHARMED, second=UNHARMED, final=FINE)


def texture(height: int = 96, width: int = 128, *, frames: int = 1, seed: int = 0) -> Tensor:
    """(frames, 3, height, width): waves of several lengths and directions in every channel."""
    y, x = torch.meshgrid(torch.arange(height) / 8, torch.arange(width) / 8, indexing="ij")
    phases = torch.rand(3, generator=torch.Generator().manual_seed(seed)) * 6
    waves = [torch.sin(x + p) * torch.cos(0.7 * y - p) + 0.5 * torch.sin(2.1 * x - 1.3 * y + 2 * p) for p in phases]
    return (torch.stack(waves) / 4 + 0.5).clamp(0, 1).expand(frames, -1, -1, -1)


def at(seed: int = 0) -> Draw:
    return Draw(torch.Generator().manual_seed(seed))


def damage(settings: Degradation, truth: Tensor, *, scale: int = 4, seed: int = 0):
    return degrade(truth, settings, scale=scale, generator=sample_generator(seed, 0))


def with_second(**changes) -> Degradation:
    return replace(NOTHING, second=replace(UNHARMED, **changes))


def test_the_defaults_are_the_published_values():
    assert load_preset("real_world").degrade == Degradation()
    first, second = Degradation().first, Degradation().second
    assert (first.blur.sigma, second.blur.sigma) == ((0.2, 3), (0.2, 1.5))
    assert (first.blur.chance, second.blur.chance) == (1, 0.8)
    assert (first.resize.factor, second.resize.factor) == ((0.15, 1.5), (0.3, 1.2))
    assert [(o.resize.up, o.resize.down, o.resize.keep) for o in (first, second)] == [(0.2, 0.7, 0.1), (0.3, 0.4, 0.3)]
    assert (first.noise.sigma, second.noise.sigma) == ((1, 30), (1, 25))
    assert (first.noise.poisson, second.noise.poisson) == ((0.05, 3), (0.05, 2.5))
    assert (first.noise.gaussian, first.noise.gray) == (0.5, 0.4)
    assert first.compression.jpeg_quality == second.compression.jpeg_quality == (30, 95)
    assert (Degradation().final.before_storage, Degradation().final.sinc_chance) == (0.5, 0.8)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_says_how_to_damage_and_can_be_carried_out(name: str):
    settings = load_preset(name).degrade
    assert settings is not None
    check_codecs(settings)
    for number in range(3):
        made = degrade(texture(), settings, scale=4, generator=sample_generator(1, number))
        assert made.low.shape == (1, 3, 24, 32)
        assert made.low.dtype == torch.uint8
        assert made.failures == 0
        assert made.drawn


def test_a_sample_is_a_function_of_seed_and_number():
    settings = load_preset("real_world").degrade
    assert settings is not None

    def low(seed: int, number: int) -> Tensor:
        return degrade(texture(), settings, scale=4, generator=sample_generator(seed, number)).low

    first = low(1, 7)
    torch.rand(5)  # the global generator is of no account
    assert torch.equal(low(1, 7), first)
    assert not torch.equal(low(1, 8), first)
    assert not torch.equal(low(2, 7), first)


def test_seeds_beyond_32_bits_differ():
    assert sample_generator(1, 0).initial_seed() != sample_generator(1 + (1 << 32), 0).initial_seed()


def test_clean_is_matlabs_bicubic():
    truth = texture()
    made = damage(replace(NOTHING, clean=1.0), truth)
    assert torch.equal(made.low, shrink(truth.mul(255).round().to(torch.uint8), 4))
    assert made.drawn == ("clean",)


def test_without_damage_only_the_size_changes():
    truth = texture()
    area = torch.nn.functional.interpolate(truth, scale_factor=1 / 4, mode="area")
    assert torch.equal(damage(NOTHING, truth).low, area.mul(255).round().to(torch.uint8))


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="multiples of 4, 32 or more"):
        damage(NOTHING, texture(98, 128))
    with pytest.raises(ValueError, match="multiples of 4, 32 or more"):
        damage(NOTHING, texture(28, 128))


@pytest.mark.parametrize("is_gray", [False, True])
def test_gaussian_noise_has_the_drawn_deviation(is_gray: bool):
    noise = Noise(gaussian=1, sigma=(10, 10), gray=float(is_gray))
    low = damage(with_second(noise=noise), torch.full((2, 3, 512, 512), 0.5)).low.double()
    assert low.std().item() == pytest.approx(10, rel=0.02)  # 32,768 values or more: five deviations
    assert (low[:, 0] == low[:, 1]).all() == is_gray
    assert not torch.equal(low[0], low[1])


@pytest.mark.parametrize("is_gray", [False, True])
def test_shot_noise_has_the_variance_of_counting(is_gray: bool):
    ramp = torch.linspace(0, 1, 256).round(decimals=6).view(1, 1, 1, 256).expand(1, 3, 1024, 256)
    noise = Noise(gaussian=0, poisson=(0.5, 0.5), gray=float(is_gray))
    settings = replace(with_second(noise=noise), final=FINE)
    noisy = degrade(ramp.contiguous(), settings, scale=1, generator=sample_generator(0, 0)).low.double() / 255
    for column in (64, 128):
        # 256 levels are 256 photons: variance light / 256, the noise halved; rounding to codes adds 1/12 of a code
        expected = math.sqrt(0.25 * (column / 255) / 256 + (1 / 255) ** 2 / 12)
        assert noisy[0, :, :, column].std().item() == pytest.approx(expected, rel=0.1)


def test_the_jpeg_is_a_real_encoders():
    clip = texture(48, 64, frames=2)
    frames, failures = store(clip, Compression(jpeg_quality=(40, 40)), at())
    coded = through_jpeg((clip[1] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy(), 40)
    assert torch.equal((frames[1] * 255).round().to(torch.uint8), torch.from_numpy(coded.copy()).permute(2, 0, 1))
    assert failures == 0


def test_size_and_ringing_come_before_or_after_the_storage():
    settings = replace(with_second(compression=Compression()), final=Final(sinc_chance=1, before_storage=0.5))
    notes = [[n.split()[0] for n in damage(settings, texture(), seed=seed).drawn] for seed in range(40)]
    ends = ["JPEG last" if drawn[-1] == "JPEG" else "sinc last" for drawn in notes]
    assert 8 < ends.count("JPEG last") < 32  # 20 and four deviations
    assert all(drawn.index("sinc") > 0 for drawn in notes)


def test_resizing_noise_and_order_are_drawn_for_each_sample():
    settings = load_preset("real_world").degrade
    assert settings is not None
    notes = [" · ".join(damage(settings, texture(), seed=seed).drawn) for seed in range(30)]
    assert len({note for text in notes for note in text.split(" · ") if note.startswith("bicubic to")}) > 10
    assert any("shot noise" in text for text in notes)
    assert any("gray noise" in text for text in notes)


def test_a_codec_that_fails_is_counted_and_a_jpeg_stands_in(monkeypatch: pytest.MonkeyPatch):
    def fail(clip: np.ndarray, encoding: object) -> np.ndarray:
        raise CodecFailed("no luck")

    monkeypatch.setattr(storage, "through_video", fail)
    settings = with_second(
        compression=Compression(media={"video": 1}, codecs={"h264": Codec(share=1, quality=(20, 20))})
    )
    made = damage(settings, texture())
    assert made.failures == 1
    assert any("failed (no luck)" in note for note in made.drawn)
    assert made.drawn[-1].startswith("JPEG")
    low = shrink(texture().mul(255).round().to(torch.uint8), 4)
    assert float(psnr_y(made.low, low, shave=2)) > 25


def test_a_still_goes_through_a_codec_without_moving():
    codec = Compression(media={"video": 1}, codecs={"h264": Codec(share=1, quality=(10, 10))})
    truth = texture(128, 128)
    for seed in range(6):
        settings = replace(with_second(compression=codec), frames=5, motion=Motion(still_chance=0, zoom=(0, 0)))
        made = damage(settings, truth, seed=seed)
        assert made.low.shape[0] == 1
        plain = damage(NOTHING, truth).low
        # one pixel of shift costs this texture 15 dB
        assert float(psnr_y(made.low, plain, shave=2)) > 38, made.drawn


def test_the_second_codec_is_another_one():
    codecs: dict[CodecName, Codec] = {
        "mpeg2": Codec(share=1, quality=(8, 12)),
        "mpeg4": Codec(share=1, quality=(8, 12)),
    }
    settings = with_second(compression=Compression(media={"video": 1}, codecs=codecs, transcode_chance=1))
    drawn = damage(settings, texture()).drawn
    assert {note.split()[0] for note in drawn if note.startswith("mpeg")} == {"mpeg2", "mpeg4"}


def test_codecs_are_checked_before_any_work(monkeypatch: pytest.MonkeyPatch):
    def settings(**row) -> Degradation:
        return with_second(compression=Compression(media={"video": 1}, codecs={"h264": Codec(share=1, **row)}))

    with pytest.raises(ConfigError, match=r"codecs\.h264: .*preset.*nosuch"):
        check_codecs(settings(quality=(20, 30), presets={"nosuch": 1}))
    with pytest.raises(ConfigError, match=r"codecs\.h264: .*99"):
        check_codecs(settings(quality=(20, 99)))
    monkeypatch.setattr(storage, "missing_codecs", lambda names: ["h264"])
    with pytest.raises(ConfigError, match="codecs h264: not in this build of PyAV; take them out of the preset"):
        check_codecs(settings(quality=(20, 30)))


def test_windows_wander_at_the_drawn_pace():
    ramp = torch.arange(200, dtype=torch.uint8).expand(3, 200, 200)  # each pixel says its column
    motion = Motion(still_chance=0, pace=(2, 2), zoom=(0, 0))
    frames = moving_windows(ramp, (64, 64), frames=4, scale=4, motion=motion, draw=at())
    columns = (frames[:, 0, 0, 0] * 255).round()
    assert (columns.diff() == 8).all()


def test_windows_never_leave_the_picture():
    for seed in range(20):
        motion = Motion(still_chance=0, pace=(-40, 40), zoom=(-0.5, 0.5))
        picture = texture(70, 90)[0].mul(255).byte()
        frames = moving_windows(picture, (64, 64), frames=8, scale=4, motion=motion, draw=at(seed))
        assert frames.shape == (8, 3, 64, 64)
        assert frames.isfinite().all()


def test_the_kept_frame_of_a_wandering_picture_is_the_picture():
    picture = texture()[0]
    clip = surroundings(picture, frames=5, kept=3, scale=4, motion=Motion(still_chance=0, pace=(1, 3)), draw=at())
    assert torch.equal(clip[3], picture)
    assert not torch.equal(clip[2], picture)


def test_flicker_and_grain_have_the_drawn_strength():
    gray = torch.full((64, 3, 64, 64), 0.5)
    still = Film(chance=1, grain=(6, 6), grain_size=(1, 1), flicker=(0, 0), dirt=(0, 0))
    assert print_on_film(gray, still, at()).mul(255).std().item() == pytest.approx(6, rel=0.05)
    lamp = Film(chance=1, grain=(0, 0), flicker=(0.02, 0.02), dirt=(0, 0))
    means = print_on_film(gray, lamp, at()).mean((1, 2, 3))
    assert means.std().item() == pytest.approx(0.5 * 0.02, rel=0.35)  # 64 frames: four deviations


def test_dirt_is_on_one_frame_and_small():
    gray = torch.full((4, 3, 128, 128), 0.5)
    dirty = print_on_film(gray, Film(chance=1, grain=(0, 0), flicker=(0, 0), dirt=(200, 200)), at())
    touched = (dirty != 0.5).any(1)
    assert (touched.flatten(1).sum(1) > 0).all()
    assert touched.float().mean() < 0.05
    assert not (touched[0] & touched[1]).all()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    paths = []
    for seed in range(2):
        pixels = texture(160, 180, seed=seed)[0].mul(255).byte().permute(1, 2, 0).numpy()
        paths.append(folder / f"{seed}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def recipe(paths: list[Path], **changes) -> Recipe:
    settings = load_preset("video").degrade
    assert settings is not None
    return replace(
        Recipe(materials=tuple(Still(p) for p in paths), settings=settings, scale=4, side=128, seed=3), **changes
    )


def test_workers_deliver_the_same_samples_in_order(photos: list[Path]):
    made = recipe(photos)
    ahead = samples(made, first=5, workers=2)
    for number in range(5, 13):
        sample, here = next(ahead), made(number)
        assert (sample.number, sample.drawn, sample.failures) == (number, here.drawn, 0)
        assert torch.equal(sample.low, here.low)
        assert torch.equal(sample.truth, here.truth)
        assert sample.low.shape == (6, 3, 32, 32)
    ahead.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_too_small_is_named_in_one_line(photos: list[Path], workers: int):
    with pytest.raises(MediaError, match=r"^.*\.png: 180x160 is smaller than the 256 pixels to be cut; leave it out$"):
        next(samples(recipe(photos, side=256), workers=workers))


def test_footage_gives_consecutive_frames(tmp_path: Path):
    path = tmp_path / "clip.mkv"
    make_clip(path, frames=30, codec="ffv1", size=(64, 64))
    cut = Footage(path).cut(64, frames=4, scale=4, motion=Motion(), draw=at(2))
    assert cut.shape == (4, 3, 64, 64)
    assert not torch.equal(cut[0], cut[1])
    again = Footage(path).cut(64, frames=4, scale=4, motion=Motion(), draw=at(2))
    assert torch.equal(cut, again)


def test_damage_costs_what_it_should():
    """Heavier presets leave less of the picture; bicubic leaves most."""
    truth = texture(128, 128)
    exact = truth.mul(255).round().to(torch.uint8)

    def mean_psnr(name: str) -> float:
        settings = load_preset(name).degrade
        assert settings is not None
        lows = [
            degrade(truth, replace(settings, sharpen=False), scale=4, generator=sample_generator(0, n)).low
            for n in range(8)
        ]
        return float(torch.cat([psnr_y(enlarge(low, 4), exact, shave=4) for low in lows]).mean())

    scores = {name: mean_psnr(name) for name in ("bicubic", "film", "real_world")}
    assert scores["bicubic"] > scores["film"] > scores["real_world"]


def test_a_sheet_shows_the_truth_and_every_copy(photos: list[Path], tmp_path: Path):
    sheet = tmp_path / "sheet.png"
    assert run(["degrade", str(photos[0]), "--preset", "video", "-n", "3", "-o", str(sheet), "-q"]) == 0
    pixels = read_rgb(sheet)
    assert pixels.shape[1] == 2 * 180 + 3 * GAP  # four cells in two columns
    truth = read_rgb(photos[0])
    assert np.array_equal(pixels[GAP : GAP + 160, GAP : GAP + 180], truth)
    copy = pixels[GAP : GAP + 160, 180 + 2 * GAP : 2 * (180 + GAP)]
    assert np.array_equal(copy[::4, ::4], copy[3::4, 3::4])  # each pixel of the copy four times four
    assert not np.array_equal(copy, truth)


def test_copies_are_files_that_repeat(photos: list[Path], tmp_path: Path):
    for folder in ("a", "b"):
        command = ["degrade", str(photos[0]), "--preset", "real_world", "-n", "2", "--seed", "5"]
        assert run([*command, "-o", str(tmp_path / folder)]) == 0
    first, second = (sorted((tmp_path / folder).iterdir()) for folder in ("a", "b"))
    assert [p.name for p in first] == ["0_000.png", "0_001.png", "drawn.jsonl"]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert read_rgb(first[0]).shape == (40, 45, 3)
    rows = [json.loads(line) for line in first[2].read_text().splitlines()]
    assert [row["file"] for row in rows] == ["0_000.png", "0_001.png"]
    assert all(row["drawn"] and row["failures"] == 0 for row in rows)


def test_a_clip_becomes_lossless_clips_at_its_rate(tmp_path: Path):
    source = make_clip(tmp_path / "clip.mkv", frames=9, size=(64, 96), rate=Fraction(30))
    out = tmp_path / "out"
    command = ["degrade", str(source), "--preset", "film", "-n", "1", "--frames", "5", "--scale", "2"]
    assert run([*command, "-o", str(out)]) == 0
    made = out / "clip_000.mkv"
    assert probe(made).video.rate == 30
    settings = load_preset("film").degrade
    assert settings is not None
    expected = degrade(read_frames(source, 5).float() / 255, settings, scale=2, generator=sample_generator(1, 0)).low
    assert torch.equal(read_frames(made, 99), expected)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nosuch.png", "-o", "a.png"], "nosuch.png: cannot be read as a picture"),
        (["nosuch.mp4", "-o", "a.png"], "nosuch.mp4: no such file"),
        (["{photo}", "-o", "a.png", "--scale", "8", "--crop", "40"], "{photo}: 40x40"),
        (["{photo}", "-o", "nofolder/a.png"], "nofolder/a.png: cannot be written"),
        (["{photo}", "-o", "there.png"], "there.png: exists already; choose another name or give --overwrite"),
        (["{photo}", "-o", "there"], "there/0_000.png: exists already; choose another folder or give --overwrite"),
        (["{photo}", "-o", "there.png/x"], "there.png/x: cannot be made"),
        (["{photo}", "-o", "a.png", "--preset", "vidoe"], "preset 'vidoe' is unknown; did you mean 'video'?"),
        (["{photo}", "-o", "a.png", "--preset", "mine.toml"], "preset 'mine.toml' says nothing about damage"),
    ],
)
def test_what_cannot_be_damaged_is_one_line(photos, arguments, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there.png").touch()
    (tmp_path / "there" / "0_000.png").touch()
    (tmp_path / "mine.toml").write_text("[upscale]\nscale = 2\n")
    status = run(["degrade", *(a.format(photo=photos[0]) for a in arguments)])
    assert status == 1
    said = capsys.readouterr().err
    assert said.startswith(f"vsr: {line.format(photo=photos[0])}"), said
    assert said.count("\n") == 1
    assert not (tmp_path / "a.png").exists()
    assert (tmp_path / "there.png").stat().st_size == 0


def test_the_page_names_every_parameter():
    page = (Path(__file__).parents[1] / "docs" / "degradation.md").read_text(encoding="utf-8")

    def names(settings, prefix=""):
        found = []
        for one in fields(settings):
            value = getattr(settings, one.name)
            found += names(value, f"{prefix}{one.name}.") if is_dataclass(value) else [f"{prefix}{one.name}"]
        return found

    told = {name.removeprefix("first.").removeprefix("second.") for name in names(Degradation())}
    assert [name for name in sorted(told) if f"`{name}" not in page] == []
