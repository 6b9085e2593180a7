"""Runs that are stopped and started again: what is kept, what is refused, and that the result is the same."""

import json
import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from tests.media_maker import Audio, make_clip, read_frames, read_packets
from vsr.audit import verify_video
from vsr.errors import Cancelled, MediaError
from vsr.events import ComparedEvent, DoneEvent, NoteEvent, PlanEvent, ProgressEvent, SegmentEvent
from vsr.filtering import filtered
from vsr.frames import FrameBatch, MediaInfo, Place, Tally
from vsr.io.decode import PictureDecoder
from vsr.io.filters import WARM_UP
from vsr.io.probe import probe
from vsr.io.source import VideoSource
from vsr.journal import Journal
from vsr.record import Ending, sealed
from vsr.settings import Deinterlace, UpscaleSettings
from vsr.stage import Cancel
from vsr.video import upscale_video

FIFTH = Fraction(1, 5)
SEGMENTS, FRAMES = 6, 30  # of the clip that most of these tests upscale


def settings(nearest: Path, **changes) -> UpscaleSettings:
    chosen = {"model": str(nearest), "scale": Fraction(2), "device": "cpu", "segment": FIFTH, **changes}
    return UpscaleSettings(**chosen)


def run(source: Path, output: Path, nearest: Path, **changes) -> tuple[DoneEvent, list]:
    events: list = []
    done = upscale_video(source, output, settings=settings(nearest, **changes), on_event=events.append)
    return done, events


def made_in(events: list) -> list[int]:
    return [event.index for event in events if isinstance(event, SegmentEvent)]


def notes_in(events: list) -> list[str]:
    return [event.message for event in events if isinstance(event, NoteEvent)]


def refusal(source: Path, output: Path, nearest: Path, **changes) -> str:
    with pytest.raises(MediaError) as caught:
        run(source, output, nearest, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def stop_before_the_join(source: Path, output: Path, nearest: Path, **changes) -> Path:
    """Run up to the join; returns the folder of segments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vsr.finish.join", lambda *args, **more: (_ for _ in ()).throw(MediaError("stopped")))
        assert refusal(source, output, nearest, **changes) == "stopped"
    return output.with_name(f"{output.name}.vsr")


def keep(folder: Path, segments: int) -> None:
    """Leave a folder as if its run had been stopped after so many segments."""
    journal = folder / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[: 1 + segments]))
    for path in sorted(folder.glob("*.mkv"))[segments:]:
        path.unlink()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six segments of five frames, with sound."""
    return make_clip(tmp_path_factory.mktemp("clip") / "in.mkv", frames=FRAMES, audio=[Audio()])


@pytest.fixture(scope="module")
def whole(clip: Path, nearest: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    """The packets of an undisturbed run of the clip, and the folder as it was before the join."""
    output = tmp_path_factory.mktemp("whole") / "out.mkv"
    folder = stop_before_the_join(clip, output, nearest)
    kept = shutil.copytree(folder, output.with_name("kept"))
    run(clip, output, nearest, restart=True)
    return read_packets(output), kept


@pytest.fixture
def stopped(whole: tuple[dict, Path], tmp_path: Path) -> Path:
    """The folder of a run to `tmp_path / "out.mkv"` that was stopped after four segments."""
    folder = shutil.copytree(whole[1], tmp_path / "out.mkv.vsr")
    keep(folder, 4)
    return folder


def test_the_same_command_goes_on_where_it_was_stopped(tmp_path, nearest, clip, whole, stopped):
    done, events = run(clip, tmp_path / "out.mkv", nearest)
    assert made_in(events) == [4, 5], "what was done is not made again"
    assert (done.frames, done.resumed_frames) == (FRAMES, 20)
    assert [event.frames for event in events if isinstance(event, ProgressEvent)] == list(range(21, FRAMES + 1))
    assert "an earlier run has done 20 frames: this one goes on from there" in notes_in(events)
    compared = [event for event in events if isinstance(event, ComparedEvent)]
    assert [(event.index, event.frames) for event in compared] == [(index, 3) for index in range(SEGMENTS)]
    assert max(event.difference for event in compared) < 1, "the network repeats pixels"
    assert read_packets(tmp_path / "out.mkv") == whole[0]
    assert not stopped.exists()


def test_a_cancelled_run_goes_on(tmp_path, nearest, clip, whole):
    cancel = Cancel()

    def stop(event) -> None:
        if isinstance(event, SegmentEvent) and event.index == 2:
            cancel.set()

    with pytest.raises(Cancelled):
        upscale_video(clip, tmp_path / "out.mkv", settings=settings(nearest), on_event=stop, cancel=cancel)
    done, events = run(clip, tmp_path / "out.mkv", nearest)
    assert min(made_in(events), default=SEGMENTS) >= 3
    assert done.frames == FRAMES
    assert read_packets(tmp_path / "out.mkv") == whole[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"crf": 30}, "encoder_options crf = 16, not 30"),
        ({"tile": 48}, "tile = None, not 48"),
        ({"segment": Fraction(1, 2)}, "segment = 1/5, not 1/2"),
        ({"deinterlace": "on", "end": Fraction(1)}, "end = None, not 1; deinterlace = auto, not on"),
    ],
)
def test_another_setting_is_refused_by_name(tmp_path, nearest, clip, stopped, changes, words):
    before = {path.name: path.read_bytes() for path in stopped.iterdir()}
    line = refusal(clip, tmp_path / "out.mkv", nearest, **changes)
    assert line == f"{stopped}: was begun with {words}; give the same again, or --restart to begin anew"
    assert {path.name: path.read_bytes() for path in stopped.iterdir()} == before


def test_restart_begins_anew(tmp_path, nearest, clip, stopped):
    done, events = run(clip, tmp_path / "out.mkv", nearest, crf=30, restart=True)
    assert (done.frames, done.resumed_frames) == (FRAMES, 0)
    assert made_in(events) == list(range(SEGMENTS))


def test_what_was_chosen_for_the_machine_is_taken_over(tmp_path, nearest, clip, monkeypatch):
    """As on a card, where the tile follows from the memory that happens to be free."""
    monkeypatch.setattr("vsr.plan.choose_tile", lambda *args, **more: 40)
    keep(stop_before_the_join(clip, tmp_path / "out.mkv", nearest), 2)
    monkeypatch.setattr("vsr.plan.choose_tile", lambda *args, **more: 48)
    monkeypatch.setattr("vsr.plan.choose_batch", lambda *args: 3)
    done, events = run(clip, tmp_path / "out.mkv", nearest)
    assert done.resumed_frames == 10
    assert isinstance(events[0], PlanEvent)
    assert "40 px" in events[0].tile
    assert run(clip, tmp_path / "out.mkv", nearest)[0].already_done, "with yet another choice"
    other = make_clip(tmp_path / "other.mkv", frames=5)
    assert "48 px" in run(other, tmp_path / "out.mkv", nearest, overwrite=True)[1][0].tile, "chosen for another source"


def test_a_source_that_changed_is_refused_and_one_that_moved_is_not(tmp_path, nearest, clip):
    source = Path(shutil.copy(clip, tmp_path / "in.mkv"))
    keep(stop_before_the_join(source, tmp_path / "out.mkv", nearest), 2)
    moved = source.rename(tmp_path / "moved.mkv")
    data = moved.read_bytes()
    moved.write_bytes(data[:-200] + bytes([data[-200] ^ 1]) + data[-199:])
    assert "another source, or the source has changed since" in refusal(moved, tmp_path / "out.mkv", nearest)
    shutil.copy2(clip, moved)
    journal = tmp_path / "out.mkv.vsr" / "journal.jsonl"
    first, *lines = journal.read_bytes().splitlines(keepends=True)
    changed = json.loads(first)
    changed["pinned"]["source"]["mtime_ns"] = clip.stat().st_mtime_ns
    del changed["crc32"]
    journal.write_bytes(b"".join([sealed(changed), *lines]))
    assert run(moved, tmp_path / "out.mkv", nearest)[0].resumed_frames == 10


def _shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [_shorten, _flip, Path.unlink])
def test_a_damaged_segment_is_found_out_and_made_again(
    tmp_path, nearest, clip, whole, stopped, damage: Callable[[Path], None]
):
    damage(stopped / "000000.mkv")
    damage(stopped / "000002.mkv")
    _, events = run(clip, tmp_path / "out.mkv", nearest)
    assert made_in(events) == [0, 2, 4, 5]
    assert f"{stopped / '000002.mkv'}: is missing or damaged: it is made again" in notes_in(events)
    assert read_packets(tmp_path / "out.mkv") == whole[0]


@pytest.mark.parametrize("cut", [1, 300])
def test_half_a_line_is_ignored(tmp_path, nearest, clip, whole, stopped, cut):
    journal = stopped / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-cut])
    assert made_in(run(clip, tmp_path / "out.mkv", nearest)[1]) == [3, 4, 5]
    assert read_packets(tmp_path / "out.mkv") == whole[0]


def test_a_line_that_is_not_what_was_written_is_no_line(tmp_path, nearest, clip, whole, stopped):
    """Its segment is whole, but its times would be believed."""
    journal = stopped / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"pts":[200,', b'"pts":[201,')
    assert lines[2] not in journal.read_bytes()
    journal.write_bytes(b"".join(lines))
    assert made_in(run(clip, tmp_path / "out.mkv", nearest)[1]) == [1, 4, 5]
    assert read_packets(tmp_path / "out.mkv") == whole[0]


def test_half_a_first_line_begins_anew(tmp_path, nearest, clip, stopped):
    journal = stopped / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:40])
    assert made_in(run(clip, tmp_path / "out.mkv", nearest)[1]) == list(range(SEGMENTS))


@pytest.mark.parametrize("first", ["nonsense", '{"vsr": 1, "model": "x"}', "[]", '{"vsr": 2, "pinned": 3}'])
def test_a_first_line_that_says_nothing_is_refused_and_nothing_is_lost(stopped, tmp_path, first):
    journal = stopped / "journal.jsonl"
    journal.write_text("\n".join([first, *journal.read_text().splitlines()[1:], ""]))
    before = sorted(path.name for path in stopped.iterdir())
    with pytest.raises(MediaError, match="--restart begins anew"), Journal(tmp_path / "out.mkv") as again:
        again.begin({})
    assert sorted(path.name for path in stopped.iterdir()) == before


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe",
        b"[" * 5000,
        b'{"segment": 3}',
        b'{"segment": 1e99, "end": 7, "named": []}',
        b'{"segment": 2, "after": 1, "size": -1, "digest": 3, "pts": [3, 2], "last_crc": 1, "tally": {}, "tile": 0}',
        b'{"end": {"frames": 1, "lost": null, "damage": [], "notes": []}}',
        b'{"named": {"size": 1}}',
        b'{"segment": %d}' % 10**300,
    ],
)
def test_lines_of_nonsense_are_passed_over(stopped, tmp_path, line):
    journal = stopped / "journal.jsonl"
    first = json.loads(journal.read_text().splitlines()[0])
    with journal.open("ab") as file:
        file.write(line + b"\n")
        file.write(line[:-1] + b',"crc32":%d}\n' % zlib.crc32(line))  # by somebody who knows how
    with Journal(tmp_path / "out.mkv") as again:
        again.begin(first["pinned"])
        assert [one.index for one in again.lines] == [0, 1, 2, 3]
        assert again.lost == []
        assert [(gap.after and gap.after.index, gap.until) for gap in again.gaps()] == [(3, None)]


def test_a_run_that_was_stopped_in_the_join_does_not_decode_again(tmp_path, nearest, clip, whole):
    stop_before_the_join(clip, tmp_path / "out.mkv", nearest)
    assert made_in(run(clip, tmp_path / "out.mkv", nearest)[1]) == []
    assert read_packets(tmp_path / "out.mkv") == whole[0]


@pytest.mark.parametrize("where", ["vsr.video.remember", "vsr.journal.Journal.remove"])
def test_a_run_that_was_stopped_after_its_last_rename_is_done(tmp_path, nearest, clip, monkeypatch, where):
    with monkeypatch.context() as patch:
        patch.setattr(where, lambda *args: (_ for _ in ()).throw(MediaError("stopped")))
        assert refusal(clip, tmp_path / "out.mkv", nearest) == "stopped"
    made = (tmp_path / "out.mkv").stat().st_mtime_ns
    done, events = run(clip, tmp_path / "out.mkv", nearest)
    assert made_in(events) == []
    assert done.already_done or done.frames == FRAMES
    assert (tmp_path / "out.mkv").stat().st_mtime_ns == made
    assert not (tmp_path / "out.mkv.vsr").exists()


def test_a_finished_output_is_already_done_while_another_run_is_begun(tmp_path, nearest, clip):
    run(clip, tmp_path / "out.mkv", nearest)
    made = (tmp_path / "out.mkv").read_bytes()
    folder = stop_before_the_join(clip, tmp_path / "out.mkv", nearest, crf=30, overwrite=True)
    assert run(clip, tmp_path / "out.mkv", nearest)[0].already_done
    assert folder.exists(), "the other run can go on"
    assert (tmp_path / "out.mkv").read_bytes() == made
    assert run(clip, tmp_path / "out.mkv", nearest, crf=30, overwrite=True)[0].resumed_frames == FRAMES


def test_an_output_whose_run_was_stopped_while_it_cleared_up_is_not_replaced_by_restart(
    tmp_path, nearest, clip, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr("vsr.video.remember", lambda *args: (_ for _ in ()).throw(MediaError("stopped")))
        assert refusal(clip, tmp_path / "out.mkv", nearest) == "stopped"
    made = (tmp_path / "out.mkv").read_bytes()
    assert "is there already" in refusal(clip, tmp_path / "out.mkv", nearest, restart=True)
    assert (tmp_path / "out.mkv").read_bytes() == made


def test_a_file_that_fails_its_check_gets_no_name_and_is_kept(tmp_path, nearest, clip, whole, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("vsr.finish.check_output", lambda *args, **more: ["holds 3 frames instead of 30"])
        line = refusal(clip, tmp_path / "out.mkv", nearest)
    kept = tmp_path / "out.mkv.vsr" / "joined.mkv.part"
    what = "fails its own check: holds 3 frames instead of 30"
    assert line == f"{tmp_path / 'out.mkv'}: {what}; please report this, and look at {kept}, which is kept"
    assert read_packets(kept) == whole[0]
    assert not (tmp_path / "out.mkv").exists()
    assert made_in(run(clip, tmp_path / "out.mkv", nearest)[1]) == []
    assert read_packets(tmp_path / "out.mkv") == whole[0]


def test_what_the_first_run_found_is_told_by_the_second(tmp_path, nearest):
    """The clip breaks off."""
    data = make_clip(
        tmp_path / "whole.mp4", frames=40, container_options={"movflags": "faststart"}, options={"bf": "0"}
    ).read_bytes()
    source = tmp_path / "in.mp4"
    source.write_bytes(data[: int(len(data) * 0.8)])
    folder = stop_before_the_join(source, tmp_path / "two.mkv", nearest)
    keep(folder, 3)
    done, events = run(source, tmp_path / "one.mkv", nearest)
    again, later = run(source, tmp_path / "two.mkv", nearest)
    assert (again.frames, again.lost_frames, again.damaged_places) == (
        done.frames,
        done.lost_frames,
        done.damaged_places,
    )
    assert again.lost_frames
    assert [note for note in notes_in(later) if "goes on from there" not in note] == notes_in(events)
    assert read_packets(tmp_path / "two.mkv") == read_packets(tmp_path / "one.mkv")


def test_a_journal_knows_what_is_missing(tmp_path):
    with Journal(tmp_path / "out.mkv") as journal:
        journal.begin({})
        for index, after in ((0, -1), (3, 0), (5, 4)):
            journal.segment_path(index).write_bytes(b"x")
            journal.add(index=index, after=after, pts=(index,), last_crc=0, tally=Tally())
        gaps = [(None if gap.after is None else gap.after.index, gap.until) for gap in journal.gaps()]
        assert gaps == [(3, 5), (5, None)], "one and two have no frames"
        assert [segment.pts for segment in journal.segments()] == [(0,), (3,)]


def test_a_line_is_written_once_its_segment_is_on_the_disk(tmp_path, monkeypatch):
    synced: list[tuple[str, int, bool]] = []  # what, lines in the journal by then, whether the output has its name
    output, part = tmp_path / "out.mkv", tmp_path / "part"
    part.write_bytes(b"whole")
    real = os.fsync

    def watched(descriptor: int) -> None:
        real(descriptor)
        known = (folder / "000000.mkv", folder / "journal.jsonl", folder, tmp_path)
        inodes = {path.stat().st_ino: path.name for path in known}
        lines = (folder / "journal.jsonl").read_bytes().count(b"\n")
        synced.append((inodes[os.fstat(descriptor).st_ino], lines, output.exists()))

    with Journal(output) as journal:
        journal.begin({})
        folder = journal.folder
        journal.segment_path(0).write_bytes(b"x")
        monkeypatch.setattr("os.fsync", watched)
        journal.add(index=0, after=-1, pts=(0,), last_crc=0, tally=Tally())
        journal.name(part, Ending(frames=1, lost=0, damage=(), notes=(), reason=None), damaged_places=0)
    assert synced == [
        *(("000000.mkv", 1, False), ("journal.jsonl", 2, False), ("out.mkv.vsr", 2, False)),
        *(("journal.jsonl", 3, False), ("out.mkv.vsr", 3, False), (tmp_path.name, 3, True)),
    ]


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be locked there")
def test_one_run_at_a_time_writes(tmp_path, nearest, clip, whole, stopped):
    with Journal(tmp_path / "out.mkv") as other:
        other.begin(json.loads((stopped / "journal.jsonl").read_text().splitlines()[0])["pinned"])
        before = sorted(path.name for path in stopped.iterdir())
        for more in ({}, {"restart": True}, {"finish_partial": True}):
            line = refusal(clip, tmp_path / "out.mkv", nearest, **more)
            assert line == f"{stopped}: another run writes there; wait for its end, or choose another -o"
        assert sorted(path.name for path in stopped.iterdir()) == before
    assert run(clip, tmp_path / "out.mkv", nearest)[0].resumed_frames == 20


# A file of what is done


def test_a_partial_file_can_be_had_and_the_run_goes_on_afterwards(tmp_path, nearest, clip, whole, stopped):
    done, events = run(clip, tmp_path / "out.mkv", nearest, finish_partial=True)
    partial = tmp_path / "out.partial.mkv"
    assert (done.output, done.frames) == (str(partial), 20)
    assert any("only the first 20 frames, those before --end 0.8;" in note for note in notes_in(events))
    assert verify_video(clip, partial, settings=UpscaleSettings(end=Fraction(4, 5))).findings == 0
    assert [number for _, number in read_frames(partial)] == list(range(20))
    sound = read_packets(partial)[1]
    assert Fraction(7, 10) < sound[-1][0] <= Fraction(4, 5), "the picture ends at 0.8 s"
    assert "is there already" in refusal(clip, tmp_path / "out.mkv", nearest, finish_partial=True)
    assert run(clip, tmp_path / "out.mkv", nearest)[0].resumed_frames == 20
    assert read_packets(tmp_path / "out.mkv") == whole[0]
    assert partial.exists()


def test_nothing_done_is_no_partial_file(tmp_path, nearest, clip):
    assert "no segment is whole yet" in refusal(clip, tmp_path / "out.mkv", nearest, finish_partial=True)
    assert list(tmp_path.iterdir()) == []


# Room on the disk


def test_a_disk_that_is_nearly_full_stops_the_run_before_it_starts(tmp_path, nearest, clip, monkeypatch):
    monkeypatch.setattr("vsr.room.free_bytes", lambda folder: 1 << 20)
    line = refusal(clip, tmp_path / "out.mkv", nearest)
    assert line.endswith("make room and run the same command")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_stops_the_run_between_segments(tmp_path, nearest, clip, whole, monkeypatch):
    free = iter([1 << 40, 1 << 40, 1 << 40, 1 << 40])
    with monkeypatch.context() as patch:
        patch.setattr("vsr.room.free_bytes", lambda folder: next(free, 1000))
        assert "1 kB are free, and a segment may need" in refusal(clip, tmp_path / "out.mkv", nearest)
    assert not (tmp_path / "out.mkv").exists()
    done, _ = run(clip, tmp_path / "out.mkv", nearest)
    assert done.resumed_frames in (10, 15)
    assert read_packets(tmp_path / "out.mkv") == whole[0]


def test_a_disk_that_will_not_hold_it_is_told_before(tmp_path, nearest, clip, monkeypatch):
    monkeypatch.setattr("vsr.room.free_bytes", lambda folder: 33 << 20)
    monkeypatch.setattr("vsr.room._USUAL_BITS", 10_000.0)
    _, events = run(clip, tmp_path / "out.mkv", nearest)
    assert any("are free on its disk, and about" in note for note in notes_in(events))


# Finding the place again


def _batches(info: MediaInfo, segment: Fraction, **more) -> tuple[list[FrameBatch], VideoSource]:
    source = VideoSource(info, batch=4, segment=segment, threads=1, **more)
    return list(source), source


def _filtered(path: Path, how: Deinterlace) -> MediaInfo:
    info = probe(path)
    video, _ = filtered(info, UpscaleSettings(deinterlace=how))
    return replace(info, video=video)


def _same(one: FrameBatch, other: FrameBatch) -> bool:
    planes = zip(one.planes, other.planes, strict=True)
    return (one.pts, one.segment, one.tally) == (other.pts, other.segment, other.tally) and all(
        np.array_equal(a, b) for a, b in planes
    )


def _decodings(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each time that decoding begins: whether somewhere in the middle."""
    begun: list[bool] = []
    real = PictureDecoder.frames

    def watched(self, *, seek_to=None):
        begun.append(seek_to is not None)
        return real(self, seek_to=seek_to)

    monkeypatch.setattr(PictureDecoder, "frames", watched)
    return begun


_GOP = {"g": "25", "bf": "2"}


@pytest.mark.parametrize(
    ("suffix", "codec", "options", "how"),
    [
        (".mp4", "libx264", _GOP, "off"),
        (".mp4", "libx264", _GOP, "double"),
        (".mkv", "libx264", {**_GOP, "x264-params": "open-gop=1"}, "off"),
        (".mkv", "libx264", {**_GOP, "x264-params": "open-gop=1"}, "auto"),
        (".mkv", "libx264", _GOP, "ivtc"),
        (".ts", "mpeg2video", {"g": "12", "bf": "2"}, "on"),
        (".avi", "mpeg4", {"g": "12", "bf": "0"}, "off"),
        (".h264", "libx264", _GOP, "off"),
    ],
)
def test_a_source_goes_on_after_any_segment_as_if_it_had_never_stopped(
    tmp_path, monkeypatch, suffix, codec, options, how: Deinterlace
):
    """Times vary where the container can say so; frames are interlaced, for the filters."""
    varies = suffix in (".mp4", ".mkv")
    path = make_clip(
        tmp_path / f"in{suffix}",
        codec=codec,
        pts=[40 * n + (7 * n) % 11 if varies else n for n in range(340)],
        time_base=Fraction(1, 1000 if varies else 25),
        options={**options, **({"flags": "+ildct+ilme"} if how != "off" else {})},
        color=None,
    )
    info = _filtered(path, how)
    whole, first = _batches(info, Fraction(2))
    begun = _decodings(monkeypatch)
    for index in (0, 5):
        before = [batch for batch in whole if batch.segment == index]
        place = Place(
            pts=tuple(time for batch in before for time in batch.pts), crc=before[-1].last_crc, tally=before[-1].tally
        )
        rest, source = _batches(info, Fraction(2), after=place)
        wanted = [batch for batch in whole if batch.segment > index]
        assert len(rest) == len(wanted) > 0
        assert all(map(_same, rest, wanted)), index
        assert (source.findings.lost, source.findings.damage, source.findings.notes) == (
            first.findings.lost,
            first.findings.damage,
            first.findings.notes,
        )
    sought = {".h264": [True, False], ".avi": [False]}.get(suffix, [how != "ivtc"])  # raw streams lead astray
    assert begun == [False, *sought], "the beginning is near the first place"


def test_a_place_that_is_not_found_again_sends_decoding_to_the_beginning(tmp_path, monkeypatch):
    """As after an open GOP or by a broken index: another picture is there, or none at that time."""
    info = probe(make_clip(tmp_path / "in.mkv", frames=320, options=_GOP))
    whole, _ = _batches(info, Fraction(1))
    before = [batch for batch in whole if batch.segment == 11]
    pts = tuple(time for batch in before for time in batch.pts)
    begun = _decodings(monkeypatch)
    for crc, times in ((before[-1].last_crc ^ 1, pts), (before[-1].last_crc, (*pts[:-2], pts[-2] + 1, pts[-1]))):
        place = Place(pts=times, crc=crc, tally=before[-1].tally)
        rest, _ = _batches(info, Fraction(1), after=place)
        assert [batch.pts for batch in rest] == [batch.pts for batch in whole if batch.segment > 11]
    assert begun == [True, False, True, False]


def test_filters_need_one_frame_before_and_get_more(tmp_path, monkeypatch):
    """The warm-up suffices: fields of a filter that began late are those of one that saw all."""
    draw = np.random.default_rng(0)
    path = tmp_path / "in.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(14):
            noise = draw.integers(0, 256, (72, 64), dtype=np.uint8)
            file.mux(stream.encode(VideoFrame.from_ndarray(noise, format="yuv420p")))
        file.mux(stream.encode(None))
    info = _filtered(path, "double")
    whole = list(VideoSource(info, batch=1, segment=FIFTH, threads=1))

    def from_frame(first: int) -> list[FrameBatch]:
        real = VideoSource._from_start
        with monkeypatch.context() as patch:
            patch.setattr(VideoSource, "_from_start", lambda self: (t for n, t in enumerate(real(self)) if n >= first))
            return list(VideoSource(info, batch=1, segment=FIFTH, threads=1))

    def is_same_at(late: list[FrameBatch], pts: int) -> bool:
        pair = [next(batch for batch in some if batch.pts[0] == pts) for some in (whole, late)]
        return all(np.array_equal(a, b) for a, b in zip(pair[0].planes, pair[1].planes, strict=True))

    field = whole[20].pts[0]  # the first of the tenth frame
    assert not is_same_at(from_frame(10), field), "without any frame before"
    assert is_same_at(from_frame(9), field)
    assert WARM_UP >= 1
