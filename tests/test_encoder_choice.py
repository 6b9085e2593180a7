"""What may be ordered of an encoder, and that it is settled before the first frame."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
import torch

from tests.media_maker import HD, make_clip, number_of
from vsr.engine.render import Renderer
from vsr.engine.tune import FIDELITY_8_BIT
from vsr.errors import ConfigError, VsrError
from vsr.events import Event, NoteEvent, PlanEvent
from vsr.frames import ColorSpec
from vsr.io.container_kind import CONTAINERS
from vsr.io.encoders import EncoderPlan, choose_codec, is_proven, plan_encoder
from vsr.io.known_encoders import KNOWN_ENCODERS, common_options, libav_encoder
from vsr.io.pixel_formats import planar_layout
from vsr.io.probe import probe
from vsr.io.system_ffmpeg import system_encoder
from vsr.loading import prepare
from vsr.settings import EncoderTuning, UpscaleSettings
from vsr.video import upscale_video

# What can hold what no encoder of ours is usual for, and what becomes of the rest.
SOME = ("png", "huffyuv", "rawvideo", "magicyuv", "libvpx", "hevc_nvenc", "msrle")


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return make_clip(tmp_path_factory.mktemp("source") / "in.mkv", frames=3, size=(96, 128))


def plan(clip: Path, *, size: tuple[int, int] = (96, 128), **settings) -> tuple[EncoderPlan, list[str]]:
    chosen, video = UpscaleSettings(**settings), probe(clip).video
    codec = choose_codec(chosen, video, container=None, width=size[1])
    return plan_encoder(chosen, video, codec=codec, container="mkv", size=size, sample_aspect_ratio=None, threads=1)


def run(clip: Path, output: Path, nearest: Path, **changes) -> tuple[str | None, list[Event]]:
    """Upscale; returns the line that it was refused with, None when it was done, and what was told."""
    told: list[Event] = []
    settings = UpscaleSettings(**{"model": str(nearest), "scale": Fraction(2), "device": "cpu", **changes})
    try:
        upscale_video(clip, output, settings=settings, on_event=told.append)
    except VsrError as e:
        return str(e), told
    return None, told


def numbers(path: Path) -> list[int]:
    with av.open(str(path)) as file:
        return [number_of(frame.reformat(format="yuv444p")) for frame in file.decode(video=0)]


def settled(tmp_path: Path, clip: Path, nearest: Path, encoder: str) -> dict[str, bool]:
    """By container: whether the encoder can go there. What cannot is one line before anything is begun."""
    done = {}
    for container in CONTAINERS:
        output = tmp_path / f"{encoder}.{container}"
        line, told = run(clip, output, nearest, encoder=encoder)
        done[container] = line is None
        if line is None:
            assert numbers(output) == [0, 1, 2], output
        else:
            assert told == [], (output, line)
            assert "\n" not in line, (output, line)
            assert not output.exists()
            assert not output.with_name(f"{output.name}.vsr").exists()
    return done


def test_what_does_not_fit_is_refused_before_the_first_frame(tmp_path, clip, nearest):
    fits = {encoder: settled(tmp_path, clip, nearest, encoder) for encoder in SOME}
    assert {encoder: [c for c, fit in done.items() if fit] for encoder, done in fits.items()} == {
        "png": ["mp4", "mov"],
        "huffyuv": [],
        "rawvideo": [],
        "magicyuv": ["mov"],
        "libvpx": ["mkv", "webm"],
        "hevc_nvenc": [],
        "msrle": [],
    }


@pytest.mark.slow
def test_every_encoder_is_settled_for_every_container(tmp_path, clip, nearest):
    names = {name for name in av.codecs_available if _makes_video(name)}
    assert len(names) > 100
    done = {name: settled(tmp_path, clip, nearest, name) for name in sorted(names)}
    assert sum(any(fits.values()) for fits in done.values()) > 35, (
        "most of the others need a card, or another container"
    )


def _makes_video(name: str) -> bool:
    try:
        libav_encoder(name)
    except ConfigError:
        return False
    return True


def test_the_refusal_names_a_container_that_fits(tmp_path, clip, nearest):
    assert "give -o NAME.mp4" in (run(clip, tmp_path / "a.webm", nearest, encoder="png")[0] or "")
    assert "give -o NAME.mov" in (run(clip, tmp_path / "a.mkv", nearest, encoder="dnxhd")[0] or "")
    assert "do not fit into mkv; give another --codec" in (
        run(clip, tmp_path / "a.mkv", nearest, encoder="huffyuv")[0] or ""
    )


def test_a_missing_card_is_one_line_with_the_drivers_reason(tmp_path, clip, nearest):
    for _ in range(2):  # libav does not repeat itself, unless told to
        line, _ = run(clip, tmp_path / "a.mkv", nearest, encoder="hevc_nvenc")
        assert line is not None
        assert line.startswith("hevc_nvenc refuses 256x192 yuv420p: ")
        assert "libcuda" in line or "device" in line.lower()


def test_tags_that_do_not_come_back_are_told(tmp_path, clip, nearest):
    line, told = run(clip, tmp_path / "a.mov", nearest, encoder="exr")
    assert line is None
    notes = [event.message for event in told if isinstance(event, NoteEvent)]
    assert "exr in mov cannot say transfer: players will guess" in notes


def test_colours_a_codec_cannot_name_are_converted(clip):
    for encoder, matrix, full_range in (("mjpeg", 6, True), ("libvpx", 6, False), ("dnxhd", 1, False)):
        made, notes = plan(clip, encoder=encoder)
        assert (made.color.matrix, made.color.full_range) == (matrix, full_range)
    assert notes == ["dnxhd knows only the BT.709 matrix: colours are converted to that"]


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("dnxhr", {"codec": "dnxhr"}),
        ("own", {"encoder": "libx264"}),
        ("by its codec", {"encoder": "hevc"}),
    ],
)
def test_an_encoder_is_found_by_its_name_or_its_codec(clip, name, given):
    made, _ = plan(clip, **given)
    assert made.name == {"dnxhr": "dnxhd", "own": "libx264", "by its codec": "libx265"}[name]


@pytest.mark.parametrize("name", KNOWN_ENCODERS)
def test_options_we_pass_exist_and_are_understood(name):
    """No card is needed to ask an encoder what it takes."""
    known = KNOWN_ENCODERS[name]
    try:
        options = libav_encoder(name).options
    except ConfigError:
        pytest.importorskip("imageio_ffmpeg")
        try:
            options = system_encoder(name).options
        except ConfigError:
            pytest.skip(f"neither PyAV nor ffmpeg has {name} here")
    ours = {*known.options, *known.for_quality(known.crf or 1), *([known.effort] if known.effort else [])}
    assert ours <= options | common_options()


@pytest.mark.parametrize(
    ("encoder", "crf", "preset", "expected"),
    [
        ("libx264", 20, "slow", {"crf": "20", "preset": "slow"}),
        ("mpeg2video", 5, None, {"flags": "+qscale", "global_quality": "590"}),
        ("hevc_nvenc", 25, "p7", {"cq": "25", "rc": "vbr", "b": "0", "preset": "p7"}),
        ("h264_qsv", 22, "veryslow", {"global_quality": "22", "preset": "veryslow"}),
        ("hevc_amf", 23, "speed", {"qp_i": "23", "qp_p": "23", "rc": "cqp", "quality": "speed"}),
        ("libvpx", 10, None, {"crf": "10"}),
        ("ffmpeg:libaom-av1", 30, "6", {"crf": "30", "cpu-used": "6", "b": "0"}),
        ("ffmpeg:h264_vaapi", 24, None, {"global_quality": "24", "rc_mode": "CQP"}),
    ],
)
def test_quality_and_speed_are_in_the_encoders_own_words(clip, encoder, crf, preset, expected):
    if encoder.startswith("ffmpeg:"):
        pytest.importorskip("imageio_ffmpeg")
    made, _ = plan(clip, encoder=encoder, crf=crf, encoder_preset=preset)
    assert {key: made.options[key] for key in expected} == expected


def test_what_an_encoder_has_not_is_one_line(clip):
    with pytest.raises(ConfigError, match="crf = 5: png has no such setting"):
        plan(clip, encoder="png", crf=5)
    with pytest.raises(ConfigError, match="encoder_preset = slow: ffv1 has no presets"):
        plan(clip, encoder="ffv1", encoder_preset="slow")
    with pytest.raises(ConfigError, match="encoder_option = tune: ffv1 has no such option"):
        plan(clip, encoder="ffv1", encoder_options={"tune": "film"})
    with pytest.raises(ConfigError, match="pix_fmt = yuv444p12le: libx264 takes only"):
        plan(clip, encoder="libx264", pix_fmt="yuv444p12le")


@pytest.mark.parametrize(
    ("encoder", "key", "value"),
    [
        ("libx264", "b", "5M"),
        ("libx264", "maxrate", "5M"),
        ("libx264", "x264-params", "keyint=48:vbv-maxrate=5000"),
        ("libx264", "x264opts", "bitrate=900"),
        ("libx265", "x265-params", "pass=2"),
        ("libsvtav1", "svtav1-params", "rc=1:tbr=2000"),
        ("libvpx-vp9", "bufsize", "1M"),
    ],
)
def test_options_that_need_the_whole_clip_are_refused(clip, encoder, key, value):
    with pytest.raises(ConfigError, match="needs the whole clip, but segments are encoded apart; use --crf"):
        plan(clip, encoder=encoder, encoder_options={key: value})


def test_options_beside_ours_are_added_to_them(clip):
    made, _ = plan(clip, encoder="libx265", encoder_options={"x265-params": "aq-mode=3", "tune": "grain"})
    assert made.options["x265-params"].startswith("log-level=none:")
    assert made.options["x265-params"].endswith(":aq-mode=3")
    assert made.options["tune"] == "grain"
    made, _ = plan(clip, encoder="mpeg2video", encoder_options={"flags": "+ildct"})
    assert made.options["flags"] == "+qscale+ildct"
    made, _ = plan(clip, encoder="dnxhd", encoder_options={"profile": "dnxhr_lb"})
    assert made.options["profile"] == "dnxhr_lb"


def test_only_what_tests_have_tried_goes_without_a_rehearsal(clip):
    tuned = UpscaleSettings(encoders={"libx264": EncoderTuning(preset="slow", options={"tune": "film"})})
    made, _ = plan(clip, encoder="libx264")
    assert is_proven(made, tuned), "a preset's tuning is ours"
    for other in (UpscaleSettings(encoder_options={"tune": "film"}), UpscaleSettings(pix_fmt="yuv444p")):
        assert not is_proven(made, other)
    assert not is_proven(plan(clip, encoder="magicyuv")[0], UpscaleSettings())


@pytest.mark.parametrize(
    ("encoder", "rate", "taken"),
    [
        ("libx264", Fraction(1000), 240),  # segments count milliseconds: faster ones would share them
        ("libx264", Fraction(120_000, 1001), Fraction(120_000, 1001)),
        ("mpeg4", Fraction(120_000, 1001), 120),  # has 16 bits for it
        ("mpeg1video", Fraction(37), 30),  # has eight rates
    ],
)
def test_the_rate_told_is_one_the_encoder_takes(clip, encoder, rate, taken):
    video = replace(probe(clip).video, rate=rate)
    settings = UpscaleSettings(encoder=encoder)
    codec = choose_codec(settings, video, container=None, width=128)
    made, _ = plan_encoder(
        settings, video, codec=codec, container="mkv", size=(96, 128), sample_aspect_ratio=None, threads=1
    )
    assert made.rate == taken


def test_wild_rates_keep_every_time(tmp_path, nearest):
    times = [0, 1, 2, 90, 91, 3000, 3001, 9000]
    source = make_clip(tmp_path / "in.mp4", pts=times, time_base=Fraction(1, 1000), rate=Fraction(1000))
    for encoder in ("libx264", "mpeg4", "mpeg2video"):
        line, _ = run(source, tmp_path / f"{encoder}.mp4", nearest, encoder=encoder)
        assert line is None
        with av.open(str(tmp_path / f"{encoder}.mp4")) as file:
            frames = cast(Any, list(file.decode(video=0)))
            assert [frame.pts * frame.time_base for frame in frames] == [Fraction(t, 1000) for t in times]


@pytest.mark.parametrize(
    ("encoder", "size"), [("libx264", (34, 48)), ("libx265", (34, 48)), ("ffv1", (33, 47)), ("mpeg2video", (33, 47))]
)
def test_odd_sizes_stay_or_get_one_more_row_and_column(tmp_path, nearest, encoder, size):
    source = make_clip(tmp_path / "in.mkv", codec="ffv1", size=(33, 47), frames=3)
    line, told = run(source, tmp_path / "out.mkv", nearest, encoder=encoder, scale=Fraction(1))
    assert line is None
    with av.open(str(tmp_path / "out.mkv")) as file:
        assert (file.streams.video[0].height, file.streams.video[0].width) == size
    assert numbers(tmp_path / "out.mkv") == [0, 1, 2]
    said = any(isinstance(event, NoteEvent) and "even sizes only" in event.message for event in told)
    assert said == (size == (34, 48))
    assert next(event for event in told if isinstance(event, PlanEvent)).output_size == size


def test_444_stays_odd_in_h264(clip):
    assert (plan(clip, size=(33, 47), encoder="libx264", pix_fmt="yuv444p")[0].height) == 33
    assert (plan(clip, size=(33, 47), encoder="libx264", pix_fmt="yuv422p")[0].height) == 33
    assert (plan(clip, size=(33, 47), encoder="libx264", pix_fmt="yuv422p")[0].width) == 48


def test_the_padding_repeats_the_edge_and_moves_nothing(nearest):
    upscaler, _ = prepare(str(nearest), device="cpu", precision="fp32", fidelity=FIDELITY_8_BIT)
    layout, rng = planar_layout("yuv444p"), np.random.default_rng(0)
    planes = [torch.from_numpy(rng.integers(16, 235, (1, 33, 47)).astype(np.uint8)) for _ in range(3)]
    bare = Renderer(upscaler=upscaler, source=layout, source_color=HD, target=layout, target_color=HD, size=(33, 47))
    alone, _ = bare(planes)
    padded, _ = replace(bare, padded=(34, 48))(planes)
    for one, other in zip(alone, padded, strict=True):
        assert other.shape == (1, 34, 48)
        assert torch.equal(other[:, :33, :47], one)
        assert torch.equal(other[:, 33, :47], one[:, 32])
        assert torch.equal(other[:, :33, 47], one[:, :, 46])


def test_light_levels_that_a_codecs_segments_cannot_hold_are_announced(tmp_path, nearest):
    """DNxHR's segments are mov; what says light levels there is written by no muxer of ours."""
    params = "hdr10=1:repeat-headers=1:log-level=none:max-cll=900,300"
    source = make_clip(
        tmp_path / "in.mkv",
        codec="libx265",
        pix_fmt="yuv420p10le",
        frames=3,
        size=(64, 128),
        color=ColorSpec(matrix=9, primaries=9, transfer=16, full_range=False),
        options={"x265-params": params},
    )
    line, told = run(source, tmp_path / "out.mov", nearest, codec="dnxhr")
    assert line is None
    notes = [event.message for event in told if isinstance(event, NoteEvent)]
    assert any("light levels are not carried: dnxhd has no place" in note for note in notes)
