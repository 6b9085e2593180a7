from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path

import pytest

from vsr import preset as preset_module
from vsr.degradation import Degradation
from vsr.errors import ConfigError
from vsr.models.catalog import EMBEDDED
from vsr.models.shares import choose_shares
from vsr.preset import load_preset, override, preset_names, preset_text
from vsr.settings import EncoderTuning, UpscaleSettings, choose_model

OF_ONE_RUN = {
    *("restart", "finish_partial", "start", "end", "drop", "offline", "overwrite"),
    *("allow_damaged", "container", "fps", "nice", "vram_limit"),
}


def written(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_eleven_presets_come_with_vsr():
    upscaling = ["anime", "bicubic", "fast", "film", "real_world", "video"]
    training = ["compact", "esrgan", "finetune", "srcnn", "srgan"]
    assert preset_names() == sorted(upscaling + training)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_describes_itself(name):
    preset = load_preset(name)
    assert preset.name == name
    assert preset.description
    for models in (preset.upscale.models, preset.upscale.still_models):
        assert all(EMBEDDED[model].scale == scale for scale, model in models.items())


def test_no_two_presets_say_the_same():
    assert len({preset_text(name).split("\n", 1)[1] for name in preset_names()}) == 11


def test_numbers_are_read_exactly(tmp_path):
    preset = load_preset(written(tmp_path, "[upscale]\nscale = 2.4\nsegment = 0.1\n"))
    assert preset.upscale.scale == Fraction(12, 5)
    assert preset.upscale.segment == Fraction(1, 10)


def test_a_preset_may_hold_every_setting_but_those_of_one_run():
    every = {field.name for field in fields(UpscaleSettings)}
    assert set(preset_module._Upscale.model_fields) == every - OF_ONE_RUN


def test_a_file_says_every_kind_of_setting(tmp_path):
    text = """
        description = "mine"
        [upscale]
        size = [1920, 0]
        precision = "bf16"
        encoder_options = { tune = "grain", aq-mode = 3, psy-rd = 1.50 }
        [upscale.models]
        2 = "two"
        4 = "four"
        [upscale.encoders.libx265]
        crf = 17
        preset = "slow"
        options = { tune = "animation" }
    """
    upscale = load_preset(written(tmp_path, text)).upscale
    assert upscale.size == (None, 1920)
    assert upscale.precision == "bf16"
    assert upscale.encoder_options == {"tune": "grain", "aq-mode": "3", "psy-rd": "1.50"}
    assert upscale.models == {2: "two", 4: "four"}
    assert upscale.encoders == {"libx265": EncoderTuning(crf=17, preset="slow", options={"tune": "animation"})}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[upscale]\nscal = 2", "key 'scal' is unknown; did you mean 'scale'?"),
        ("[upscal]\nscale = 2", "key 'upscal' is unknown; did you mean 'upscale'?"),
        ("[upscale.encoders.libx264]\ncfr = 2", "key 'cfr' is unknown; did you mean 'crf'?"),
        ("[qqq]\nsteps = 2", "key 'qqq' is unknown; known are description, upscale, degrade, train"),
        ("[upscale]\ncrf = 'high'", "upscale.crf = 'high': should be a valid integer"),
        ("[upscale]\ncrf = 16.5", "upscale.crf = 16.5: should be a valid integer"),
        ("[upscale]\ntile = true", "upscale.tile = True: should be a valid integer"),
        ("[upscale]\nscale = '2'", "upscale.scale = '2': should be a number"),
        ("[upscale]\nscale = nan", "upscale.scale = NaN: should be a number"),
        ("[upscale]\nscale = 1e999999999", "upscale.scale = 1E+999999999: should be a number"),
        ("[upscale]\nscale = 20", "scale = 20: outside 1 to 16; give a number between them"),
        ("[upscale]\nprecision = 'int8'", "upscale.precision = 'int8': should be 'auto', 'fp32', 'bf16' or 'fp16'"),
        ("[upscale]\nmodels = 'vsr-fast-x4'", "upscale.models = 'vsr-fast-x4': should be a table"),
        ("[upscale.models]\nfour = 'a'", "upscale.models: key 'four' should be a whole scale, such as 4"),
        ("[upscale]\nmodels = {}", "models: needs at least one row, and scales of 1 or more; give scale = name"),
        ("upscale = 3", "upscale = 3: should be a table"),
        ("a = " + "1" * 5000, "is no valid TOML: a number is too long, or lists lie too deep in one another"),
        ("a = " + "[" * 5000, "is no valid TOML: a number is too long, or lists lie too deep in one another"),
    ],
)
def test_what_makes_no_sense_is_one_line_with_the_file_in_front(tmp_path, text, line):
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_preset(path)
    assert str(caught.value) == f"{path}: {line}"


def test_broken_toml_is_one_line(tmp_path):
    path = written(tmp_path, "[upscale]\nscale = = 2")
    with pytest.raises(ConfigError, match=r"mine\.toml: is no valid TOML: .*line 2") as caught:
        load_preset(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_one_line(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"cannot be read: .*; give a TOML file in UTF-8"):
        load_preset(str(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: no such preset file"):
        load_preset(str(tmp_path / "none.toml"))


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(ConfigError, match="preset 'animee' is unknown; did you mean 'anime'\\?"):
        load_preset("animee")


def test_a_name_like_no_other_gets_all_names():
    with pytest.raises(ConfigError, match="preset 'qqq' is unknown; known are anime, bicubic, compact, esrgan, fast, "):
        load_preset("qqq")


def test_a_given_size_takes_away_a_scale_and_the_other_way_round():
    scaled, sized = UpscaleSettings(scale=Fraction(2)), UpscaleSettings(size=(720, None))
    assert override(scaled, {"size": (1080, 1920)}) == UpscaleSettings(size=(1080, 1920))
    assert override(sized, {"scale": Fraction(3)}) == UpscaleSettings(scale=Fraction(3))


def test_given_encoder_options_are_merged():
    base = UpscaleSettings(encoder_options={"tune": "film", "aq-mode": "3"})
    assert override(base, {"encoder_options": {"tune": "grain"}}).encoder_options == {"tune": "grain", "aq-mode": "3"}


def test_tuning_reaches_only_the_encoder_it_names():
    film = load_preset("film").upscale
    assert film.for_encoder("libx264").encoder_options == {"tune": "film"}
    assert film.for_encoder("libx265").encoder_options == {"tune": "grain"}
    assert film.for_encoder("hevc_nvenc") == film


def test_what_was_ordered_goes_before_the_tuning():
    film = override(load_preset("film").upscale, {"crf": 30, "encoder_options": {"tune": "grain"}})
    chosen = film.for_encoder("libx264")
    assert (chosen.crf, chosen.encoder_preset, chosen.encoder_options) == (30, "slow", {"tune": "grain"})


@pytest.mark.parametrize(
    ("scale", "passes", "name"),
    [("1", 1, "two"), ("2", 1, "two"), ("2.01", 1, "four"), ("9", 1, "four"), ("4", 2, "two"), ("4.01", 2, "four")],
)
def test_the_smallest_model_that_reaches_the_scale_is_taken_else_the_largest(scale, passes, name):
    assert choose_model({4: "four", 2: "two"}, Fraction(scale), passes=passes) == name


def test_damage_not_written_stays_as_published(tmp_path):
    text = "[degrade]\nframes = 6\n[degrade.second.blur]\nsigma = [0.5, 1]\n"
    degrade = load_preset(written(tmp_path, text)).degrade
    assert degrade is not None
    assert degrade.frames == 6
    assert degrade.second.blur == replace(Degradation().second.blur, sigma=(0.5, 1.0))
    assert degrade.first == Degradation().first


def test_a_preset_may_say_nothing_about_damage(tmp_path):
    assert load_preset(written(tmp_path, "[upscale]\nscale = 2\n")).degrade is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("frame = 3", "degrade: key 'frame' is unknown; did you mean 'frames'?"),
        ("frames = 3.5", "degrade.frames = 3.5: should be a valid integer"),
        ("frames = '3'", "degrade.frames = '3': should be a valid integer"),
        ("frames = 100", "degrade: frames = 100: a sample has 1 to 64 frames"),
        ("sharpen = 1", "degrade.sharpen = 1: should be a valid boolean"),
        ("clean = 2", "degrade: clean = 2: a chance lies between 0 and 1"),
        ("first = 3", "degrade.first = 3: should be a table"),
        (
            "[degrade.first.blur]\nsigma = [3, 1]",
            "degrade.first.blur: sigma = [3, 1]: give a range, more than 0, the smaller end first",
        ),
        (
            "[degrade.first.blur]\nsize = [8, 20]",
            "degrade.first.blur: size = [8, 20]: kernels are 3 pixels or more and odd, such as [7, 21]",
        ),
        (
            "[degrade.second.blur.kinds]\niso = -1",
            "degrade.second.blur: kinds: shares must not be negative, and one of them must be more than 0",
        ),
        (
            "[degrade.first.resize]\nfactor = [0.1, 0.5]",
            "degrade.first.resize: factor = [0.1, 0.5]: must hold 1; give the smallest and the largest factor",
        ),
        (
            "[degrade.second.compression]\njpeg_quality = [0, 50]",
            "degrade.second.compression: jpeg_quality = [0, 50]: lies between 1 and 100, the worst first",
        ),
        (
            "[degrade.second.compression]\nmedia = { video = 1 }",
            "degrade.second.compression: media: holds video but codecs has no share; add a table such as codecs.h264",
        ),
        (
            "[degrade.second.compression.codecs.h265]\nshare = 1\nquality = [1, 2]",
            "degrade.second.compression.codecs: key 'h265' should be 'h264', 'hevc', 'mpeg2', 'mpeg4', 'vp9' or 'av1'",
        ),
        (
            "[degrade.second.compression.codecs.h264]\nshare = 1\nquality = [1, 2]\nprest = {}",
            "degrade.second.compression.codecs.h264: key 'prest' is unknown; did you mean 'presets'?",
        ),
        (
            "[degrade.second.compression.codecs.h264]\nshare = 1\nquality = [30, 20]",
            "degrade.second.compression.codecs: quality = [30, 20]: give a range, 0 or more, the smaller end first",
        ),
        (
            "[degrade.second.compression.codecs]\nh264 = 1",
            "degrade.second.compression.codecs.h264 = 1: should be a table",
        ),
    ],
)
def test_damage_that_makes_no_sense_is_one_line(tmp_path, text, line):
    path = written(tmp_path, f"[degrade]\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        load_preset(path)
    assert str(caught.value) == f"{path}: {line}"


@pytest.mark.parametrize(
    ("name", "scale", "clip", "still"),
    [
        ("video", 4, "vsr-video-x4", "vsr-video-x4"),
        ("video", 2, "vsr-video-x2", "vsr-video-x2"),
        ("video", 3, "vsr-video-x4", "vsr-video-x4"),
        ("anime", 2, "vsr-anime-x4", "vsr-anime-x4"),
        ("real_world", 4, "vsr-video-x4", "vsr-photo-x4"),
        ("real_world", 2, "vsr-video-x2", "vsr-photo-x4"),
        ("fast", 4, "vsr-fast-x4", "vsr-fast-x4"),
    ],
)
def test_preset_scale_and_kind_of_source_choose_the_network(name: str, scale: int, clip: str, still: str):
    settings = load_preset(name).upscale
    assert choose_shares(settings, Fraction(scale)) == {clip: 1.0}
    assert choose_shares(settings, Fraction(scale), is_still=True) == {still: 1.0}


def test_without_a_preset_the_networks_are_those_of_video():
    assert UpscaleSettings().models == load_preset("video").upscale.models
