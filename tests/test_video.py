"""The whole flow of a clip: times, streams, segments, failures."""

import errno
import json
import os
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.stream import Disposition

from tests.media_maker import (
    Audio,
    Chapter,
    Subtitle,
    make_clip,
    read_frames,
    read_packets,
)
from vsr.errors import Cancelled, ConfigError, MediaError, ModelError
from vsr.events import DoneEvent, NoteEvent, PlanEvent, ProgressEvent, SegmentEvent
from vsr.frames import Tally
from vsr.journal import Journal
from vsr.settings import UpscaleSettings
from vsr.stage import Cancel
from vsr.video import upscale_video

BASE = Fraction(1, 90000)
TIMES = {
    "constant": [3600 * k for k in range(14)],
    "variable": [0, 3003, 3600, 9000, 9091, 20000, 20090, 45000, 45030, 90000, 90001, 99999],
    "offset": [123456 + 3600 * k for k in range(10)],
    "gaps": [3600 * k for k in (0, 1, 2, 30, 31, 32, 90, 91)],
}


def settings(nearest: Path, **changes) -> UpscaleSettings:
    return UpscaleSettings(**{"model": str(nearest), "scale": Fraction(2), "device": "cpu", **changes})


def run(source: Path, output: Path | None, nearest: Path, **changes):
    events: list = []
    done = upscale_video(source, output, settings=settings(nearest, **changes), on_event=events.append)
    return done, events


def line_or_none(source: Path, output: Path, nearest: Path, **changes) -> str | None:
    """The one line a run ends with, or None when it ends well. Anything else fails the test."""
    try:
        run(source, output, nearest, **changes)
    except MediaError as e:
        line = str(e)
    else:
        return None
    assert "\n" not in line
    return line


def close(a: Fraction, b: Fraction, tolerance: Fraction) -> bool:
    return abs(a - b) <= tolerance


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("name", TIMES)
def test_every_frame_comes_out_at_its_time(tmp_path, nearest, name, suffix):
    source = make_clip(tmp_path / f"in{suffix}", pts=TIMES[name], time_base=BASE)
    done, _ = run(source, tmp_path / f"out{suffix}", nearest, segment=Fraction(1, 4))
    before, after = read_frames(source), read_frames(tmp_path / f"out{suffix}")
    assert done.frames == len(after) == len(TIMES[name])
    assert [n for _, n in after] == [n for _, n in before]
    tolerance = Fraction(1, 1000) if suffix == ".mkv" else Fraction(0)
    assert all(close(t, u, tolerance) for (t, _), (u, _) in zip(before, after, strict=True))


def test_film_rate_stays_exact_in_mp4(tmp_path, nearest):
    base = Fraction(1, 24000)
    source = make_clip(
        tmp_path / "in.mp4", pts=[1001 * k for k in range(30)], time_base=base, rate=Fraction(24000, 1001)
    )
    run(source, tmp_path / "out.mp4", nearest, segment=Fraction(1, 2))
    assert [t for t, _ in read_frames(tmp_path / "out.mp4")] == [1001 * k * base for k in range(30)]


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9", "ffv1", "prores"])
def test_every_codec_joins_its_segments_frame_by_frame(tmp_path, nearest, codec):
    source = make_clip(tmp_path / "in.mkv", pts=TIMES["variable"], time_base=BASE, size=(64, 96))
    run(source, tmp_path / "out.mkv", nearest, codec=codec, segment=Fraction(1, 5))
    after = read_frames(tmp_path / "out.mkv")
    assert [n for _, n in after] == list(range(12))
    assert all(close(t, p * BASE, Fraction(1, 1000)) for (t, _), p in zip(after, TIMES["variable"], strict=True))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_keeps_its_bytes_and_its_place_beside_the_picture(tmp_path, nearest, suffix):
    tracks = [
        Audio(start=Fraction(1, 8), language="deu", title="Ton"),
        Audio(language="eng", flags=Disposition.default),
    ]
    source = make_clip(tmp_path / f"in{suffix}", pts=TIMES["offset"], time_base=BASE, audio=tracks)
    run(source, tmp_path / f"out{suffix}", nearest)
    before, after = read_packets(source), read_packets(tmp_path / f"out{suffix}")
    tick = Fraction(1, 1000) if suffix == ".mkv" else Fraction(1, 48000)
    shift = min(t for t, _ in after[0]) - min(t for t, _ in before[0])
    for index in (1, 2):
        assert [data for _, data in before[index]] == [data for _, data in after[index]]
        pairs = zip(before[index], after[index], strict=True)
        assert all(close(u - t, shift, tick) for (t, _), (u, _) in pairs)


def test_a_matroska_file_keeps_everything(tmp_path, nearest):
    source = make_clip(
        tmp_path / "in.mkv",
        frames=20,
        audio=[Audio(language="jpn", title="Japanese"), Audio(codec="flac", language="eng", flags=Disposition.forced)],
        subtitles=[Subtitle(codec="ass", language="ger", title="Schilder"), Subtitle(codec="subrip", language="fre")],
        chapters=[Chapter(start=Fraction(0), end=Fraction(1, 2), title="Opening")],
        fonts=["one.ttf", "two.ttf"],
        cover=True,
        title="The picture",
        metadata={"title": "A film", "comment": "from tape"},
    )
    _, events = run(source, None, nearest)
    plan = next(e for e in events if isinstance(e, PlanEvent))
    assert plan.output == str(tmp_path / "in_x2.mkv")
    with av.open(str(source)) as old, av.open(plan.output) as new:
        assert [s.type for s in new.streams] == [s.type for s in old.streams]
        assert [s.metadata.get("language") for s in new.streams] == [s.metadata.get("language") for s in old.streams]
        assert [s.metadata.get("title") for s in new.streams] == [s.metadata.get("title") for s in old.streams]
        assert [s.disposition for s in new.streams] == [s.disposition for s in old.streams]
        assert [c["metadata"] for c in new.chapters()] == [c["metadata"] for c in old.chapters()]
        assert new.metadata["title"] == "A film"
        assert len(plan.streams) == len(new.streams)
    assert [action for _, _, action, _ in plan.streams].count("drop") == 0


def test_what_the_container_cannot_hold_stops_the_run_before_the_first_frame(tmp_path, nearest):
    source = make_clip(tmp_path / "in.mkv", fonts=["a.ttf"], audio=[Audio()])
    with pytest.raises(MediaError, match=r"--drop t:0.*mkv"):
        run(source, tmp_path / "out.mp4", nearest)
    assert list(tmp_path.iterdir()) == [source]
    run(source, tmp_path / "out.mp4", nearest, drop=("t:0",))
    with av.open(str(tmp_path / "out.mp4")) as new:
        assert [s.type for s in new.streams] == ["video", "audio"]


def test_the_names_of_outputs_follow_from_the_source(tmp_path, nearest):
    source = make_clip(tmp_path / "clip.mkv", frames=3)
    assert Path(run(source, None, nearest)[0].output).name == "clip_x2.mkv"
    assert Path(run(source, None, nearest, scale=Fraction(3, 2))[0].output).name == "clip_x1.5.mkv"
    assert Path(run(source, None, nearest, scale=None, size=(96, 128))[0].output).name == "clip_128x96.mkv"
    (tmp_path / "there").mkdir()
    assert run(source, tmp_path / "there", nearest)[0].output == str(tmp_path / "there" / "clip_x2.mkv")


def test_webm_stays_webm_with_av1(tmp_path, nearest):
    source = make_clip(
        tmp_path / "in.webm", codec="libvpx-vp9", size=(64, 96), frames=4, audio=[Audio(codec="libopus")]
    )
    done, _ = run(source, None, nearest)
    assert done.output.endswith("in_x2.webm")
    with av.open(done.output) as new:
        assert [s.codec_context.name for s in new.streams] == ["libdav1d", "opus"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"scale": Fraction(2)}, (96, 128)),
        ({"scale": Fraction(1)}, (48, 64)),
        ({"scale": Fraction(3, 2)}, (72, 96)),
        ({"scale": Fraction(16)}, (768, 1024)),
        ({"scale": Fraction(4), "passes": 2}, (192, 256)),
        ({"scale": None, "size": (100, 100)}, (76, 100)),
        ({"scale": None, "size": (None, 200)}, (150, 200)),
        ({"scale": None, "size": (480, None)}, (480, 640)),
    ],
)
def test_any_size_can_be_had(tmp_path, nearest, changes, expected):
    source = make_clip(tmp_path / "in.mkv", frames=2)
    _, events = run(source, tmp_path / "out.mkv", nearest, **changes)
    with av.open(str(tmp_path / "out.mkv")) as new:
        assert (new.streams.video[0].height, new.streams.video[0].width) == expected
    enlarges = any(isinstance(e, NoteEvent) and "a resize enlarges" in e.message for e in events)
    assert enlarges == (expected[0] > 96 and changes.get("passes") != 2)


def test_a_scale_keeps_the_pixels_shape_and_a_size_makes_them_square(tmp_path, nearest):
    source = make_clip(tmp_path / "in.mkv", frames=2, aspect=Fraction(4, 3))
    run(source, tmp_path / "scaled.mkv", nearest)
    run(source, tmp_path / "sized.mkv", nearest, scale=None, size=(96, None))
    with av.open(str(tmp_path / "scaled.mkv")) as scaled, av.open(str(tmp_path / "sized.mkv")) as sized:
        assert scaled.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
        assert sized.streams.video[0].sample_aspect_ratio == 1
        assert (sized.streams.video[0].height, sized.streams.video[0].width) == (96, 170)


def test_trimming_takes_the_frames_from_start_up_to_end(tmp_path, nearest):
    source = make_clip(tmp_path / "in.mp4", frames=50, audio=[Audio()], chapters=[])
    done, _ = run(source, tmp_path / "out.mp4", nearest, start=Fraction(1, 2), end=Fraction(1), segment=Fraction(1, 5))
    after = read_frames(tmp_path / "out.mp4")
    assert [n for _, n in after] == list(range(13, 25))
    assert done.frames == 12
    sound = read_packets(tmp_path / "out.mp4")[1]
    assert 20 <= len(sound) <= 27, "half a second of 21 ms packets, and those that overlap the cut"


def test_a_long_start_is_reached_where_the_format_cannot_be_sought(tmp_path, nearest):
    source = make_clip(tmp_path / "in.h264", frames=270)
    done, _ = run(source, tmp_path / "out.mkv", nearest, start=Fraction(10))
    assert done.frames == 20
    assert [n for _, n in read_frames(tmp_path / "out.mkv")] == [n & 255 for n in range(250, 270)]


def test_a_long_start_is_reached_by_seeking_with_the_same_result(tmp_path, nearest):
    source = make_clip(tmp_path / "in.mkv", frames=400, rate=Fraction(25), options={"g": "30"})
    run(source, tmp_path / "out.mkv", nearest, start=Fraction(12), end=Fraction(25, 2))
    assert [n for _, n in read_frames(tmp_path / "out.mkv")] == [k & 255 for k in range(300, 313)]


def test_an_empty_part_is_one_line(tmp_path, nearest):
    source = make_clip(tmp_path / "in.mkv", frames=5)
    with pytest.raises(MediaError, match="no frame to upscale"):
        run(source, tmp_path / "out.mkv", nearest, start=Fraction(50))
    assert list(tmp_path.iterdir()) == [source]


def test_an_output_that_appears_meanwhile_is_not_overwritten(tmp_path, nearest):
    source, output = make_clip(tmp_path / "in.mkv", frames=3), tmp_path / "out.mkv"

    def make(event):
        if isinstance(event, SegmentEvent):
            output.write_bytes(b"precious")

    with pytest.raises(MediaError, match="another program meanwhile"):
        upscale_video(source, output, settings=settings(nearest), on_event=make)
    assert output.read_bytes() == b"precious"


def test_events_tell_the_run_in_order(tmp_path, nearest):
    source = make_clip(tmp_path / "in.mkv", frames=25)
    done, events = run(source, tmp_path / "out.mkv", nearest, segment=Fraction(1, 2))
    assert isinstance(events[0], PlanEvent)
    assert events[0].frames == 25
    progress = [e.frames for e in events if isinstance(e, ProgressEvent)]
    assert progress == list(range(1, 26))
    assert [(e.index, e.frames) for e in events if isinstance(e, SegmentEvent)] == [(0, 13), (1, 12)]
    assert events[-1] == done
    assert isinstance(done, DoneEvent)
    assert not list(tmp_path.glob("*.vsr")), "the segments are gone once the output is whole"


def test_a_cancelled_run_keeps_what_is_done_and_leaves_no_output(tmp_path, nearest):
    source = make_clip(tmp_path / "in.mkv", frames=100)
    cancel = Cancel()

    def stop(event):
        if isinstance(event, SegmentEvent) and event.index == 1:
            cancel.set()

    with pytest.raises(Cancelled):
        upscale_video(
            source,
            tmp_path / "out.mkv",
            settings=settings(nearest, segment=Fraction(1, 5)),
            on_event=stop,
            cancel=cancel,
        )
    assert not (tmp_path / "out.mkv").exists()
    folder = tmp_path / "out.mkv.vsr"
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert lines[0]["pinned"]["model"] == "nearest-x2"
    assert [line["segment"] for line in lines[1:]][:2] == [0, 1]
    journalled = {f"{line['segment']:06d}.mkv" for line in lines[1:]}
    assert {p.name for p in folder.glob("*.mkv")} == journalled, "the open segment is dropped"
    run(source, tmp_path / "out.mkv", nearest, segment=Fraction(1, 5))
    assert len(read_frames(tmp_path / "out.mkv")) == 100


def test_what_others_put_into_the_folder_of_segments_stays(tmp_path, nearest):
    source = make_clip(tmp_path / "in.mkv", frames=3)
    folder = tmp_path / "out.mkv.vsr"
    folder.mkdir()
    for name in ("mine.mkv", ".DS_Store"):
        (folder / name).write_bytes(b"precious")
    run(source, tmp_path / "out.mkv", nearest)
    assert len(read_frames(tmp_path / "out.mkv")) == 3
    assert {path.name for path in folder.iterdir()} == {"mine.mkv", ".DS_Store"}


def test_a_disk_that_fills_up_at_the_journal_is_one_line(tmp_path, nearest, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("vsr.journal.sync_file", full)
    source = make_clip(tmp_path / "in.mkv", frames=3)
    line = line_or_none(source, tmp_path / "out.mkv", nearest)
    assert line == f"{tmp_path / 'out.mkv.vsr'}: the disk is full; make room and run the same command"
    assert not (tmp_path / "out.mkv").exists()


def test_an_existing_output_is_refused_without_overwrite(tmp_path, nearest):
    source = make_clip(tmp_path / "in.mkv", frames=3)
    (tmp_path / "out.mkv").write_bytes(b"precious")
    with pytest.raises(MediaError, match="--overwrite"):
        run(source, tmp_path / "out.mkv", nearest)
    assert (tmp_path / "out.mkv").read_bytes() == b"precious"
    run(source, tmp_path / "out.mkv", nearest, overwrite=True)
    assert len(read_frames(tmp_path / "out.mkv")) == 3


def test_the_same_command_again_is_already_done(tmp_path, nearest):
    source, output = make_clip(tmp_path / "in.mkv", frames=3), tmp_path / "out.mkv"
    run(source, output, nearest)
    made = output.stat().st_mtime_ns
    done, events = run(source, output, nearest)
    assert done.already_done
    assert not any(isinstance(e, ProgressEvent) for e in events)
    assert output.stat().st_mtime_ns == made
    with pytest.raises(MediaError, match="--overwrite"):
        run(source, output, nearest, crf=30)
    output.write_bytes(output.read_bytes() + b"x")
    with pytest.raises(MediaError, match="--overwrite"):
        run(source, output, nearest)


@pytest.mark.parametrize("make", ["missing", "folder", "empty", "text", "cut"])
def test_what_cannot_be_read_is_one_line(tmp_path, nearest, make):
    source = tmp_path / "in.mp4"
    if make == "folder":
        source.mkdir()
    elif make == "empty":
        source.touch()
    elif make == "text":
        source.write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    elif make == "cut":
        whole = make_clip(tmp_path / "whole.mp4", frames=30).read_bytes()
        source.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError) as caught:
        run(source, tmp_path / "out.mp4", nearest)
    assert str(caught.value).startswith(str(source))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.mp4").exists()


def test_outputs_that_cannot_be_are_one_line_before_the_first_frame(tmp_path, nearest):
    source = make_clip(tmp_path / "in.mkv", frames=3)
    cases: list[tuple[Path, type[Exception], str]] = [
        (tmp_path / "no" / "out.mkv", MediaError, "no such folder"),
        (source, MediaError, "the source itself"),
        (tmp_path / "out.xyz", ConfigError, ".mp4, .mov, .mkv or .webm"),
    ]
    for output, error, words in cases:
        with pytest.raises(error, match=words):
            run(source, output, nearest, overwrite=True)
    with pytest.raises(ModelError, match="no such name or file"):
        run(source, tmp_path / "out.mkv", nearest, model="vsr-fast-x5")
    with pytest.raises(ConfigError, match="video"):
        upscale_video(source, tmp_path / "out.mkv", preset="vidio")
    assert list(tmp_path.iterdir()) == [source]


def test_an_unwritable_folder_is_one_line(tmp_path, nearest, monkeypatch):
    """The refusal is injected: the superuser, as whom many test machines run, may write anywhere."""
    source = make_clip(tmp_path / "in.mkv", frames=3)

    def refused(*_args, **_more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(MediaError, match="cannot be made: Permission denied"):
        run(source, tmp_path / "out.mkv", nearest)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5), (17, 33)])
def test_tiny_and_odd_frames_work_or_are_one_line(tmp_path, nearest, size):
    source = make_clip(tmp_path / "in.mkv", codec="ffv1", pix_fmt="yuv444p", size=size, frames=3)
    run(source, tmp_path / "out.mkv", nearest, codec="ffv1")
    with av.open(str(tmp_path / "out.mkv")) as new:
        assert (new.streams.video[0].height, new.streams.video[0].width) == (2 * size[0], 2 * size[1])
    error = line_or_none(source, tmp_path / "out264.mkv", nearest, codec="h264")
    assert error is None or "refuses" in error


def test_a_very_wide_frame_works_or_is_one_line(tmp_path, nearest):
    source = make_clip(tmp_path / "in.mkv", codec="ffv1", size=(2, 16384), frames=2)
    if line_or_none(source, tmp_path / "out.mkv", nearest) is None:
        assert len(read_frames(tmp_path / "out.mkv")) == 2


def test_a_full_disk_is_one_line_and_leaves_no_output(tmp_path, nearest, monkeypatch):
    from vsr.io import sink

    source = make_clip(tmp_path / "in.mkv", frames=60)
    calls = 0
    real = sink._LibavEncoder._mux

    def full(self, frame):
        nonlocal calls
        calls += 1
        if calls > 30:
            raise self._failed(OSError(28, "No space left on device"))
        real(self, frame)

    monkeypatch.setattr(sink._LibavEncoder, "_mux", full)
    with pytest.raises(MediaError, match="the disk is full; make room"):
        run(source, tmp_path / "out.mkv", nearest, segment=Fraction(1, 2))
    assert not (tmp_path / "out.mkv").exists()
    assert len(list((tmp_path / "out.mkv.vsr").glob("*.mkv"))) == 2, "finished segments stay, the open one goes"


def test_a_clip_that_breaks_off_is_delivered_as_far_as_it_goes(tmp_path, nearest):
    whole = make_clip(
        tmp_path / "whole.mp4", frames=100, container_options={"movflags": "faststart"}, options={"bf": "0"}
    )
    data = whole.read_bytes()
    source = tmp_path / "in.mp4"
    source.write_bytes(data[: int(len(data) * 0.7)])
    done, events = run(source, tmp_path / "out.mp4", nearest)
    numbers = [n for _, n in read_frames(tmp_path / "out.mp4")]
    assert numbers == list(range(len(numbers)))
    assert 10 < len(numbers) < 100
    assert done.lost_frames == 100 - len(numbers)
    assert any(
        "breaks off" in e.message or "cannot be decoded" in e.message for e in events if isinstance(e, NoteEvent)
    )


def test_a_matroska_tail_that_is_missing_is_noticed(tmp_path, nearest):
    whole = make_clip(tmp_path / "whole.mkv", frames=100, options={"bf": "0"}).read_bytes()
    source = tmp_path / "in.mkv"
    source.write_bytes(whole[: int(len(whole) * 0.6)])
    done, _ = run(source, tmp_path / "out.mkv", nearest)
    found = len(read_frames(tmp_path / "out.mkv"))
    assert found < 100
    assert done.lost_frames > 0


def test_frames_of_another_size_are_resized_to_the_first_and_it_is_said(tmp_path, nearest):
    parts = [
        make_clip(
            tmp_path / f"{h}.ts", codec="mpeg2video", size=(h, 2 * h), frames=10, color=None, time_base=Fraction(1, 25)
        )
        for h in (48, 64)
    ]
    source = tmp_path / "in.ts"
    source.write_bytes(b"".join(p.read_bytes() for p in parts))
    _, events = run(source, tmp_path / "out.mkv", nearest)
    with av.open(str(tmp_path / "out.mkv")) as new:
        assert {(f.height, f.width) for f in new.decode(video=0)} == {(96, 192)}
    assert any("another size" in e.message for e in events if isinstance(e, NoteEvent))


def test_whole_clip_rate_control_is_refused(tmp_path, nearest):
    source = make_clip(tmp_path / "in.mkv", frames=3)
    for options in ({"b": "1000000"}, {"x264-params": "vbv-maxrate=500"}, {"pass": "1"}):
        with pytest.raises(ConfigError, match="needs the whole clip"):
            run(source, tmp_path / "out.mkv", nearest, encoder_options=options)
    with pytest.raises(ConfigError, match="no such option"):
        run(source, tmp_path / "out.mkv", nearest, encoder_options={"nosuch": "1"})


def test_the_systems_ffmpeg_encodes_with_the_same_times(tmp_path, nearest):
    pytest.importorskip("imageio_ffmpeg")
    source = make_clip(tmp_path / "in.mp4", pts=TIMES["variable"], time_base=BASE, audio=[Audio()])
    run(source, tmp_path / "out.mp4", nearest, encoder="ffmpeg:libx264", segment=Fraction(1, 4))
    assert read_frames(tmp_path / "out.mp4") == read_frames(source)
    with pytest.raises((MediaError, ConfigError)) as caught:
        run(source, tmp_path / "bad.mp4", nearest, encoder="ffmpeg:nosuch264")
    assert "\n" not in str(caught.value)


def test_names_that_cannot_be_are_one_line(tmp_path, nearest):
    source = make_clip(tmp_path / "in.mkv", frames=3)
    (tmp_path / "loop").symlink_to("loop")
    for output in (tmp_path / f"{'a' * 300}.mkv", tmp_path / "loop" / "out.mkv", tmp_path / "nu\0ll.mkv"):
        line = line_or_none(source, output, nearest)
        assert line is not None
        assert "cannot be looked up" in line


def test_a_refusing_encoder_is_one_line_with_its_reason(tmp_path, nearest, capfd):
    source = make_clip(tmp_path / "in.mkv", frames=3)
    line = line_or_none(source, tmp_path / "out.mkv", nearest, encoder_preset="sloow")
    assert line is not None
    assert "refuses" in line
    assert "sloow" in line
    line = line_or_none(source, tmp_path / "out.mkv", nearest, codec="av1", crf=1000)
    assert line is not None
    assert "out of range" in line
    assert "x264" not in capfd.readouterr().err, "x264 complains on stderr by itself"
    with pytest.raises(ConfigError, match="makes no video"):
        run(source, tmp_path / "out.mkv", nearest, encoder="flac")


def test_gray_clips_become_h264_with_their_tags(tmp_path, nearest):
    source = make_clip(tmp_path / "in.mkv", codec="ffv1", pix_fmt="gray", frames=3)
    run(source, tmp_path / "out.mkv", nearest)
    with av.open(str(tmp_path / "out.mkv")) as new:
        assert next(new.decode(video=0)).colorspace == 6


def test_frames_that_avi_leaves_out_on_purpose_are_not_missing(tmp_path, nearest):
    times = [0, 1, 2, 5, 6, 7, 20, 21]  # AVI holds empty chunks between, and counts them as frames
    source = make_clip(
        tmp_path / "in.avi", codec="mpeg4", pts=times, time_base=Fraction(1, 25), options={"bf": "0"}, color=None
    )
    done, _ = run(source, tmp_path / "out.mkv", nearest)
    assert (done.frames, done.lost_frames) == (8, 0)


def test_two_runs_do_not_write_one_output(tmp_path, nearest):
    source, output = make_clip(tmp_path / "in.mkv", frames=3), tmp_path / "out.mkv"
    with Journal(output) as first:
        first.begin({})
        line = line_or_none(source, output, nearest)
        assert line is not None
        assert "another run writes there" in line
        assert (first.folder / "journal.jsonl").is_file(), "the first one's work is untouched"
    run(source, output, nearest)
    assert not first.folder.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_journal_on_a_full_disk_is_one_line(tmp_path):
    with Journal(tmp_path / "out.mkv") as journal, Path("/dev/full").open("wb") as full:
        journal.begin({})
        journal.segment_path(0).write_bytes(b"a segment")
        assert journal._file is not None
        os.dup2(full.fileno(), journal._file.fileno())
        with pytest.raises(MediaError, match="the disk is full"):
            journal.add(index=0, after=-1, pts=(0,), last_crc=0, tally=Tally())
