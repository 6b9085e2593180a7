"""Real clips of many kinds, each held against its source by decoding both; damaged ones give one line."""

import csv
import os
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import InputContainer
from av.error import InvalidDataError
from av.stream import Stream
from av.video.frame import VideoFrame

from vsr.errors import MediaError
from vsr.events import PlanEvent
from vsr.io.opening import packets_of
from vsr.io.probe import probe
from vsr.settings import EncoderTuning, UpscaleSettings
from vsr.video import upscale_video

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


def check(source: Path, folder: Path, verdict: str, seconds: Fraction, settings: UpscaleSettings, tint: float) -> None:
    """Hold a run against its source. `tint`, in codes of luma, is what network and codec may change together.

    A frame of another time, or the wrong range, is further off wherever the picture moves.
    """
    if verdict.startswith("bad"):
        with pytest.raises(MediaError) as caught:
            upscale_video(source, folder, settings=settings)
        assert str(caught.value).startswith(str(source))
        assert "\n" not in str(caught.value)
        assert not list(folder.iterdir())
        return
    events: list = []
    done = upscale_video(source, folder, settings=settings, on_event=events.append)
    info = probe(source)
    plan = next(e for e in events if isinstance(e, PlanEvent))
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
    kept = [row for row in plan.streams if row[2] != "drop"]
    assert len(kept) == len(result.streams)


@pytest.mark.parametrize(("name", "verdict"), listed())
def test_a_real_clip_comes_out_right_or_gives_one_line(media, tmp_path, nearest, name, verdict):
    quick = {"libx264": EncoderTuning(preset="ultrafast"), "libsvtav1": EncoderTuning(preset="12")}
    quick["libx265"] = quick["libx264"]
    settings = UpscaleSettings(model=str(nearest), scale=Fraction(1), device="cpu", end=SHORT, encoders=quick)
    (tmp_path / "out").mkdir()
    check(media / "video" / name, tmp_path / "out", verdict, SHORT, settings, 4)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "verdict"), listed())
def test_a_second_of_every_real_clip_through_an_official_network(media, tmp_path, name, verdict):
    settings = UpscaleSettings(model=str(media / "weights" / "realesr-animevideov3.pth"), end=LONG)
    (tmp_path / "out").mkdir()
    # This network darkens and brightens parts by itself: 4.8 codes measured where ours changes 0.05.
    check(media / "video" / name, tmp_path / "out", verdict, LONG, settings, 8)
