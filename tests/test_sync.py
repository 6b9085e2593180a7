"""Sound and picture stay together on every path: clips that flash and click at the same moments come out so."""

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.clicks import clicks, flashes, make_clicks, sound_line
from tests.ffmpeg_reader import ffmpeg
from tests.media_maker import Audio, make_clip, read_frames
from vsr.settings import EncoderTuning, UpscaleSettings
from vsr.video import upscale_video

_TICK = Fraction(2, 1000)  # seconds: Matroska's for either, and the front of a click
_START, _END = Fraction(1, 2), Fraction(3, 2)
_SOUNDS = {  # container: what its sound can become, "auto" being the copy
    "mp4": ("auto", "aac", "opus", "flac"),
    "mov": ("auto", "aac"),
    "mkv": ("auto", "aac", "opus", "flac"),
    "webm": ("auto", "opus"),
}
_PATHS = [(container, sound) for container, sounds in _SOUNDS.items() for sound in sounds]


def _mostly_slow(*cases, quick):
    """All cases; the suite runs the quick ones, `-m slow` the others."""
    return [pytest.param(*case, marks=() if case in quick else pytest.mark.slow) for case in cases]


_VARIABLE = [k * 3600 + (k * k % 7) * 300 for k in range(50)]  # steps of 20 to 67 ms


def _run(clip: Path, output: Path, nearest: Path, **changes) -> None:
    """Segments of half a second, so that joints lie between the beats."""
    quick = {"libx264": EncoderTuning(preset="ultrafast"), "libsvtav1": EncoderTuning(preset="12")}
    settings = {"model": str(nearest), "scale": Fraction(1), "device": "cpu", "segment": Fraction(1, 2)}
    upscale_video(clip, output, settings=UpscaleSettings(**{**settings, "encoders": quick, **changes}))


def _source(folder: Path, container: str, sound: str, **changes) -> tuple[Path, list[Fraction]]:
    """A clip whose sound is copied for "auto" and converted else, with the seconds of its beats."""
    held = "libopus" if container == "webm" else "aac"
    clip = folder / ("clip.mkv" if container == "webm" or sound != "auto" else f"clip.{container}")
    return clip, make_clicks(clip, audio=held if sound == "auto" else "pcm_s16le", **changes)


def _together(output: Path, wanted: Sequence[Fraction]) -> None:
    seen, heard = flashes(output), clicks(output)
    assert len(seen) == len(heard) == len(wanted), ([float(t) for t in seen], [float(t) for t in heard])
    for flash, click, moment in zip(seen, heard, wanted, strict=True):
        assert abs(flash - moment) <= _TICK
        assert abs(click - flash) <= _TICK


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "ts"])
@pytest.mark.parametrize("start", [Fraction(0), Fraction(1, 5), Fraction(-1, 5)])
def test_the_maker_s_clips_flash_and_click_together(tmp_path: Path, start: Fraction, suffix: str) -> None:
    clip = tmp_path / f"clip.{suffix}"
    moments = make_clicks(clip, picture_start=Fraction(1, 2), sound_start=start)
    moved = flashes(clip)[0] - moments[0]  # muxers of transport streams begin later
    _together(clip, [moment + moved for moment in moments])


_QUICK = [("mp4", "auto"), ("mp4", "aac"), ("mov", "aac"), ("mkv", "auto"), ("mkv", "opus"), ("webm", "opus")]


@pytest.mark.parametrize(("container", "sound"), _mostly_slow(*_PATHS, quick=_QUICK))
def test_a_whole_clip_and_a_part_of_it_stay_in_step(tmp_path, nearest, container, sound):
    clip, moments = _source(tmp_path, container, sound)
    output = tmp_path / f"out.{container}"
    _run(clip, output, nearest, audio=sound)
    _together(output, moments)
    _run(clip, output, nearest, audio=sound, start=_START, end=_END, overwrite=True)
    first = Fraction(13, 25)  # of the frames: none is shown at half a second
    _together(output, [moment - first for moment in moments if _START <= moment < _END])


@pytest.mark.parametrize(("container", "sound"), _mostly_slow(*_PATHS, quick=[_QUICK[0], _QUICK[2], *_QUICK[3:]]))
@pytest.mark.parametrize("late", [Fraction(1, 5), Fraction(-1, 5)])
def test_sound_that_begins_at_another_time_stays_in_step(tmp_path, nearest, late, container, sound):
    clip, moments = _source(tmp_path, container, sound, picture_start=Fraction(1, 2), sound_start=late)
    output = tmp_path / f"out.{container}"
    _run(clip, output, nearest, audio=sound)
    _together(output, moments)


@pytest.mark.parametrize("container", _mostly_slow(*((c,) for c in _SOUNDS), quick=[("mp4",), ("mkv",)]))
def test_a_variable_rate_stays_in_step(tmp_path, nearest, container):
    clip, moments = _source(tmp_path, container, "auto", pts=_VARIABLE)
    output = tmp_path / f"out.{container}"
    _run(clip, output, nearest)
    _together(output, moments)
    _run(clip, output, nearest, start=_START, end=_END, overwrite=True)
    first = next(Fraction(tick, 90000) for tick in _VARIABLE if tick >= _START * 90000)
    _together(output, [moment - first for moment in moments if _START <= moment < _END])


_FIELDS = [(how, container) for how in ("on", "double") for container in _SOUNDS]


@pytest.mark.parametrize(("how", "container"), _mostly_slow(*_FIELDS, quick=[("on", "mp4"), ("double", "mkv")]))
def test_fields_stay_in_step(tmp_path, nearest, how, container):
    clip = tmp_path / "clip.mkv"
    moments = make_clicks(clip, fields="interlaced")
    output = tmp_path / f"out.{container}"
    _run(clip, output, nearest, deinterlace=how)
    _together(output, moments)
    _run(clip, output, nearest, deinterlace=how, start=_START, end=_END, overwrite=True)
    first = Fraction(1, 2) if how == "double" else Fraction(13, 25)
    _together(output, [moment - first for moment in moments if _START <= moment < _END])


@pytest.mark.parametrize("container", _mostly_slow(*((c,) for c in _SOUNDS), quick=[("mov",)]))
def test_film_made_of_telecine_stays_in_step(tmp_path, nearest, container):
    clip = tmp_path / "clip.mkv"
    moments = make_clicks(clip, fields="telecined", rate=Fraction(30000, 1001))
    output = tmp_path / f"out.{container}"
    _run(clip, output, nearest, deinterlace="ivtc")
    field = Fraction(1001, 60000)  # the finest that telecine tells a frame of film by
    for flash, click, moment in zip(flashes(output), clicks(output), moments, strict=True):
        assert abs(flash - moment) <= field
        assert abs(click - moment) <= _TICK


def test_frames_faster_than_the_encoder_takes_them_keep_their_times(tmp_path, nearest):
    clip = make_clip(tmp_path / "clip.mkv", frames=30, rate=Fraction(600), time_base=Fraction(1, 600))
    _run(clip, tmp_path / "out.webm", nearest)
    times = [time for time, _ in read_frames(tmp_path / "out.webm")]
    assert max(abs(time - Fraction(k, 600)) for k, time in enumerate(times)) <= Fraction(1, 1000)
    assert len(times) == 30


@pytest.mark.parametrize(("container", "sound"), [("mp4", "aac"), ("mov", "auto"), ("mkv", "opus"), ("webm", "auto")])
def test_the_ffmpeg_tool_sees_and_hears_them_together(tmp_path, nearest, container, sound):
    clip, moments = _source(tmp_path, container, sound, sound_start=Fraction(1, 10))
    output = tmp_path / f"out.{container}"
    _run(clip, output, nearest, audio=sound, start=_START, end=_END)
    wanted = [float(moment - Fraction(13, 25)) for moment in moments if _START <= moment < _END]
    shown = "crop=iw:ih/4:0:ih*3/4,signalstats,metadata=print:key=lavfi.signalstats.YAVG:file=-"
    text, _ = ffmpeg("-i", str(output), "-map", "0:v", "-vf", shown, "-f", "null", "-")
    lamp = re.findall(r"pts_time:(\S+)\s+lavfi.signalstats.YAVG=(\S+)", text)
    assert [float(time) for time, value in lamp if float(value) > 120] == pytest.approx(wanted, abs=0.001)
    _, heard = ffmpeg("-i", str(output), "-map", "0:a", "-af", "silencedetect=noise=0.3:d=0.02", "-f", "null", "-")
    ends = [float(time) for time in re.findall(r"silence_end: (\S+)", heard)]
    assert ends[: len(wanted)] == pytest.approx(wanted, abs=0.002)


def test_the_lead_in_of_late_aac_cannot_be_heard(tmp_path, nearest):
    tone = Audio(codec="pcm_s16le", start=Fraction(1, 2))  # as loud in its first sample as later
    clip = make_clip(tmp_path / "clip.mkv", frames=50, audio=[tone], pix_fmt="yuv420p")
    for container in ("mp4", "mov"):
        output = tmp_path / f"out.{container}"
        _run(clip, output, nearest, audio="aac")
        first, line, rate = sound_line(output)
        assert first == Fraction(1, 2) - Fraction(1024, rate)
        before, after = np.split(line[: rate // 10], [1024])
        assert before.max() < after.max() / 100  # 40 dB below; 52 measured
