"""Real clips of many kinds, each held against its source by decoding both; damaged ones give one line.

Each goes into its own container and all others; where one cannot hold it, the run stops at once and says what to do.
The printed plan is held against what the file holds, which the `ffmpeg` tool has to read as PyAV does.
"""

import csv
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import InputContainer
from av.error import InvalidDataError
from av.stream import Stream
from av.video.frame import VideoFrame

from tests.ffmpeg_reader import disagreements
from vsr.audit import verify_video
from vsr.errors import MediaError
from vsr.events import FindingEvent, NoteEvent, PlanEvent, ProgressEvent
from vsr.frames import MediaInfo
from vsr.io.opening import packets_of
from vsr.io.probe import probe
from vsr.settings import EncoderTuning, UpscaleSettings
from vsr.video import upscale_video

INTO = ("own", "mkv", "mp4", "webm", "mov")
_WRITTEN_ANEW = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration")
SHORT, LONG = Fraction(1, 5), Fraction(1)  # seconds


def listed() -> list[tuple[str, str]]:
    """(file, verdict) of every clip in the index, or one row that stands for them where the media are not at hand."""
    index = Path(os.environ.get("VSR_TEST_DATA", "")) / "video" / "INDEX.tsv"
    if not os.environ.get("VSR_TEST_DATA") or not index.is_file():
        return [("INDEX.tsv", "good")]  # the `media` fixture then skips or fails
    with index.open(encoding="utf-8") as file:
        return [(row["file"], row["verdict"]) for row in csv.DictReader(file, delimiter="\t")]


def shown(path: Path, index: int, seconds: Fraction) -> list[tuple[Fraction, np.ndarray]]:
    """(seconds after the first frame, luma averaged over 8x8 parts) of the frames of a stream's beginning."""
    found: list[tuple[Fraction, np.ndarray]] = []
    first: Fraction | None = None
    with av.open(str(path)) as file:
        for frame in decodable(file, file.streams[index]):
            time = (frame.pts or 0) * Fraction(frame.time_base or 0)
            first = time if first is None else first
            if time - first >= seconds:
                break
            found.append((time - first, luma(frame)))
    return found


def decodable(file: InputContainer, stream: Stream) -> Iterator[VideoFrame]:
    """All frames that can be decoded, whatever lies between them."""
    for packet in packets_of(file, stream):
        with suppress(InvalidDataError):
            yield from (frame for frame in packet.decode() if isinstance(frame, VideoFrame))


def luma(frame: VideoFrame) -> np.ndarray:
    depth = frame.format.components[0].bits
    plane = frame.planes[0]
    samples = np.frombuffer(memoryview(plane), np.uint8 if depth == 8 else np.uint16).reshape(plane.height, -1)
    values = samples[:, : plane.width].astype(np.float32) / 2 ** (depth - 8)
    rows = np.array_split(values, 8, axis=0)
    return np.array([[part.mean() for part in np.array_split(row, 8, axis=1)] for row in rows])


def check(
    source: Path, folder: Path, container: str, verdict: str, seconds: Fraction, settings: UpscaleSettings, tint: float
) -> None:
    """Hold a run against its source. `tint`, in codes of luma, is what network and codec may change together.

    A frame of another time, or the wrong range, is further off wherever the picture moves. The container is "own" for
    the one that is chosen without -o.
    """
    output = folder if container == "own" else folder / f"out.{container}"
    events: list = []
    try:
        done = upscale_video(source, output, settings=settings, on_event=events.append)
    except MediaError as e:
        _refused(source, folder, str(e), events, is_bad=verdict.startswith("bad"))
        drop = re.search(r"--drop (\S+),", str(e))
        if drop is not None:
            assert container != "own"
            fitting = replace(settings, drop=tuple(drop[1].split(",")))
            check(source, folder, container, verdict, seconds, fitting, tint)
        return
    assert not verdict.startswith("bad")
    info = probe(source)
    plan = next(e for e in events if isinstance(e, PlanEvent))
    notes = [e.message for e in events if isinstance(e, NoteEvent)]
    result = probe(Path(done.output))
    before = shown(source, info.video.index, seconds)
    after = shown(Path(done.output), result.video.index, seconds)
    assert len(after) == done.frames
    if verdict == "good":
        assert done.lost_frames == 0
        assert len(after) == len(before)
    tolerance = Fraction(0) if plan.container in ("mp4", "mov") else Fraction(1, 1000)
    times = sorted(time for time, _ in before)  # one clip has two frames in the wrong order
    for k, (time, picture) in enumerate(after):
        if verdict == "good" and info.container != "avi":  # there libav's own times are wrong
            assert abs(time - times[k]) <= tolerance
        assert np.abs(picture - before[k][1]).mean() < tint
    _streams_as_planned(plan, notes, info, result)
    _rest_as_planned(plan, notes, info, result, seconds)
    assert disagreements(Path(done.output)) == []
    found: list = []
    verify_video(source, done.output, settings=settings, on_event=found.append)
    assert [event.message for event in found if isinstance(event, FindingEvent)] == []


def _refused(source: Path, folder: Path, message: str, events: list, *, is_bad: bool) -> None:
    """One line, before the first frame, and nothing is left behind."""
    assert message.startswith(str(source))
    assert "\n" not in message
    assert not any(isinstance(event, ProgressEvent) for event in events)
    assert not list(folder.iterdir())
    assert is_bad or "--drop" in message


def _streams_as_planned(plan: PlanEvent, notes: list[str], info: MediaInfo, result: MediaInfo) -> None:
    """Every row of the printed plan against the stream that became of it."""
    sources = {stream.selector: stream for stream in info.streams}
    rows = [row for row in plan.streams if row[2] != "drop"]
    empty = {note.split(": ")[0] for note in notes if "has nothing in this part, and" in note}
    rows = [row for row in rows if row[0] not in empty]
    is_last = [row[2] == "attach" or sources[row[0]].is_cover or sources[row[0]].kind == "attachment" for row in rows]
    rows = [row for row, last in zip(rows, is_last, strict=True) if not last] + [
        row for row, last in zip(rows, is_last, strict=True) if last
    ]
    assert len(rows) == len(result.streams)
    for (selector, codec, action, why), have in zip(rows, result.streams, strict=True):
        had = sources[selector]
        made = re.search(r"\bto (\w+)", why)
        wanted = made[1] if action in ("upscale", "convert") and made else codec
        assert have.codec == ("mp3" if (wanted, plan.container) == ("mp2", "mp4") else wanted)  # one number for both
        assert (have.kind, have.is_cover) == (had.kind, had.is_cover)
        if had.is_cover or had.kind == "attachment":
            continue
        told = why.partition("cannot say: ")[2]
        if f"language {had.language}" in told:
            assert have.language in (None, "und")
        elif plan.container != "mov":  # which has names of its own
            assert (have.language or "und") == (had.language or "und")
        for flag in had.flags:
            assert flag in have.flags or f"flag {flag}" in told, flag
        assert set(have.flags) - set(had.flags) <= {"default", "captions", "descriptions"}  # as mp4 reads them back
        if had.title:
            assert have.title == had.title or plan.container in ("mp4", "mov")


def _rest_as_planned(plan: PlanEvent, notes: list[str], info: MediaInfo, result: MediaInfo, seconds: Fraction) -> None:
    """Chapters, the file's tags, and the titles that mp4 keeps as handler names."""
    with (
        av.open(str(info.path), metadata_errors="surrogateescape") as old,
        av.open(str(result.path), metadata_errors="surrogateescape") as new,
    ):
        begin = info.video.first_pts * info.video.time_base
        kept = [c for c in old.chapters() if c["start"] * Fraction(c["time_base"] or 0) < begin + seconds]
        assert [c["metadata"].get("title") for c in new.chapters()] == [c["metadata"].get("title") for c in kept]
        for one, other in zip(kept, new.chapters(), strict=True):
            moved = one["start"] * Fraction(one["time_base"] or 0) - other["start"] * Fraction(other["time_base"] or 0)
            assert abs(moved) <= Fraction(1, 1000)
        lost = next((note for note in notes if "does not hold the file's tags" in note), "")
        found = {key.lower() for key in new.metadata}
        for key, value in old.metadata.items():
            if key.lower().partition("-")[0] not in _WRITTEN_ANEW and not value.startswith("1970-01-01"):
                assert key.lower() in found or key in lost, key
        titles = {s.title for s in info.streams if s.title and s.kind in ("audio", "subtitle")}
        if plan.container in ("mp4", "mov") and not any("cannot" in row[3] for row in plan.streams):
            handlers = {s.metadata.get("handler_name") for s in new.streams}
            assert titles <= handlers or len(new.streams) < len(old.streams)


def _nearest(model: Path, seconds: Fraction) -> UpscaleSettings:
    quick = {"libx264": EncoderTuning(preset="ultrafast"), "libsvtav1": EncoderTuning(preset="12")}
    quick["libx265"] = quick["libx264"]
    return UpscaleSettings(model=str(model), scale=Fraction(1), device="cpu", end=seconds, encoders=quick)


def _in_turn() -> list[tuple[str, str, str]]:
    """Each clip with one of the containers."""
    return [(name, verdict, INTO[number % len(INTO)]) for number, (name, verdict) in enumerate(listed())]


@pytest.mark.parametrize(("name", "verdict", "container"), _in_turn())
def test_a_real_clip_comes_out_right_or_gives_one_line(media, tmp_path, nearest, name, verdict, container):
    (tmp_path / "out").mkdir()
    check(media / "video" / name, tmp_path / "out", container, verdict, SHORT, _nearest(nearest, SHORT), 4)


@pytest.mark.slow
@pytest.mark.parametrize("container", INTO)
@pytest.mark.parametrize(("name", "verdict"), listed())
def test_a_second_of_every_real_clip_goes_into_every_container(media, tmp_path, nearest, name, verdict, container):
    (tmp_path / "out").mkdir()
    check(media / "video" / name, tmp_path / "out", container, verdict, LONG, _nearest(nearest, LONG), 4)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "verdict"), listed())
def test_a_second_of_every_real_clip_through_an_official_network(media, tmp_path, name, verdict):
    settings = UpscaleSettings(model=str(media / "weights" / "realesr-animevideov3.pth"), end=LONG)
    (tmp_path / "out").mkdir()
    # This network darkens and brightens parts by itself: 4.8 codes measured where ours changes 0.05.
    check(media / "video" / name, tmp_path / "out", "own", verdict, LONG, settings, 8)
