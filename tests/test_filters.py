"""Fields and film: frames, times and counts of what is deinterlaced, cropped or turned."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from tests.media_maker import Audio, make_clip, number_of, numbered_planes, read_frames, read_packets
from vsr.errors import ConfigError
from vsr.events import NoteEvent, PlanEvent
from vsr.frames import MediaInfo
from vsr.io.filters import FilteredVideo, can_deinterlace
from vsr.io.probe import probe
from vsr.io.source import VideoSource
from vsr.settings import UpscaleSettings
from vsr.video import upscale_video

NTSC = Fraction(30000, 1001)
COMBED = {"x264-params": "bff=1:qp=4:keyint=10"}  # coded as fields, bottom first: PyAV 18 can flag no other


def luma_lines(frame: VideoFrame) -> np.ndarray:
    """The luma of an 8-bit frame, (height, line), to be read and written."""
    return np.frombuffer(memoryview(frame.planes[0]), np.uint8).reshape(frame.height, -1)


def woven(first: VideoFrame, second: VideoFrame) -> VideoFrame:
    """One frame of two fields, the bottom one of an earlier moment."""
    frame = numbered_planes(0, size=(first.height, first.width))
    luma_lines(frame)[1::2], luma_lines(frame)[0::2] = luma_lines(first)[1::2], luma_lines(second)[0::2]
    return frame


def write(path: Path, frames: list[VideoFrame], *, pts=None, rate=Fraction(25), options=None) -> Path:
    """A clip of frames at `pts` in ticks of 1/30000 s; without them at the rate."""
    base = Fraction(1, 30000)
    with av.open(str(path), "w", container_options={"movie_timescale": "30000"}) as file:
        stream = file.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
        stream.codec_context.time_base = stream.time_base = base
        stream.codec_context.options = dict(COMBED if options is None else options)
        for k, frame in enumerate(frames):
            frame.pts, frame.time_base = (pts[k] if pts else round(k / rate / base)), base
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def fields_of(numbers: list[int], size=(64, 64)) -> list[VideoFrame]:
    """Interlaced frames whose fields show these numbers, in order of time."""
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return [woven(numbered_planes(a, size=size), numbered_planes(b, size=size)) for a, b in pairs]


def handed_on(path: Path, how, **more) -> tuple[list[tuple[Fraction, int]], list[str]]:
    """(time, number shown) of every frame that a source hands on, and its notes."""
    info = probe(path)
    info = filtered(info, how)
    source = VideoSource(info, batch=3, segment=more.pop("segment", Fraction(10)), threads=1, **more)
    out = []
    for batch in source:
        assert batch.time_base == info.video.time_base
        out += [(t * batch.time_base, shown(luma)) for t, luma in zip(batch.pts, batch.planes[0], strict=True)]
    assert source.findings.frames == len(out)
    return out, source.findings.notes


def filtered(info: MediaInfo, how) -> MediaInfo:
    return replace(info, video=FilteredVideo.of(info.video, how))


def shown(luma: np.ndarray) -> int:
    """The number in a plane of luma."""
    frame = VideoFrame(luma.shape[1], luma.shape[0], "gray")
    plane = frame.planes[0]
    np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)[:, : plane.width] = luma
    return number_of(frame)


def run(source: Path, output: Path, nearest: Path, **changes) -> tuple[list[str], PlanEvent]:
    events: list = []
    settings = UpscaleSettings(**{"model": str(nearest), "scale": Fraction(2), "device": "cpu", **changes})
    upscale_video(source, output, settings=settings, on_event=events.append)
    return [e.message for e in events if isinstance(e, NoteEvent)], next(e for e in events if isinstance(e, PlanEvent))


UNEVEN = [3000, 4001, 5002, 9000, 9100, 12345, 20000, 20001]


@pytest.mark.parametrize("how", ["auto", "on", "off"])
def test_deinterlacing_keeps_every_frame_at_its_time(tmp_path, how):
    clip = write(tmp_path / "in.mp4", fields_of([n for n in range(8) for _ in (0, 1)]), pts=UNEVEN)
    frames, _ = handed_on(clip, how)
    assert frames == [(Fraction(tick, 30000), n) for n, tick in enumerate(UNEVEN)]


def glowing(count: int) -> list[VideoFrame]:
    """Interlaced frames of even grey, each field 6 brighter than the one before."""
    frames = [numbered_planes(0, size=(64, 64)) for _ in range(count)]
    for k, frame in enumerate(frames):
        luma_lines(frame)[1::2], luma_lines(frame)[0::2] = 40 + 12 * k, 46 + 12 * k
    return frames


def luma_of(clip: Path, how) -> np.ndarray:
    """The luma of all frames handed on, (n, h, w)."""
    batches = VideoSource(filtered(probe(clip), how), batch=9, segment=Fraction(10), threads=1)
    return np.concatenate([batch.planes[0] for batch in batches]).astype(int)


def test_deinterlacing_takes_the_comb_away(tmp_path):
    def comb(path, how):
        return abs(np.diff(luma_of(path, how)[1:-1], axis=1)).mean()

    clip = write(tmp_path / "in.mp4", glowing(8))
    assert comb(clip, "off") > 5
    assert comb(clip, "on") < 1
    assert comb(clip, "auto") < 1
    flat = write(tmp_path / "flat.mp4", glowing(8), options={"qp": "4"})
    assert comb(flat, "auto") > 5, "its frames do not say that they are interlaced"
    assert comb(flat, "on") < 1


def test_double_shows_each_field_half_way_to_the_next(tmp_path):
    clip = write(tmp_path / "in.mp4", fields_of(list(range(16))), pts=UNEVEN)
    frames, notes = handed_on(clip, "double")
    halves = [Fraction(a + b, 2) for a, b in pairwise([*UNEVEN, 20002])]
    expected = sorted([Fraction(tick) for tick in UNEVEN] + halves)
    assert [t * 30000 for t, _ in frames] == expected
    assert notes == ["8 frames of the source became 16, one a field"]
    bright = luma_of(write(tmp_path / "glow.mp4", glowing(8)), "double").mean(axis=(1, 2))
    assert np.allclose(bright[1:-1], 40 + 6 * np.arange(16)[1:-1], atol=2)  # at the ends a neighbour is missing


@pytest.mark.parametrize("count", [1, 2, 4, 5, 6])
@pytest.mark.parametrize("how", ["on", "auto", "double", "ivtc"])
def test_short_clips_lose_no_frame(tmp_path, how, count):
    clip = write(tmp_path / "in.mp4", [numbered_planes(k, size=(64, 64)) for k in range(count)], options={"bf": "2"})
    frames, _ = handed_on(clip, how)
    whole, rest = divmod(count, 5)
    assert len(frames) == {"double": 2 * count, "ivtc": 4 * whole + rest}.get(how, count)
    times = [t for t, _ in frames]
    assert times == sorted(set(times))


def telecined(film: list[VideoFrame]) -> list[VideoFrame]:
    """Film at 24 frames to video at 30: each four frames as 2, 3, 2, 3 fields, woven to five frames."""
    fields = [n for n in range(len(film)) for _ in range(2 + n % 2)]
    return [woven(film[a], film[b]) for a, b in zip(fields[::2], fields[1::2], strict=True)]


def test_telecined_film_is_film_again(tmp_path, nearest):
    film = [numbered_planes(k, size=(64, 64)) for k in range(24)]
    clip = write(tmp_path / "in.mp4", telecined(film), rate=NTSC)
    frames, notes = handed_on(clip, "ivtc")
    assert [n for _, n in frames] == list(range(24))
    assert [t for t, _ in frames] == [k * Fraction(1001, 24000) for k in range(24)]
    assert notes == ["30 frames of the source became 24 of film"]
    said, plan = run(clip, tmp_path / "out.mp4", nearest, deinterlace="ivtc", segment=Fraction(1, 3))
    assert plan.frames == 24
    assert notes[0] in said
    assert read_frames(tmp_path / "out.mp4") == frames


def test_film_with_a_gap_stays_beside_its_sound(tmp_path):
    film = [numbered_planes(k, size=(64, 64)) for k in range(24)]
    pts = [1001 * (k if k < 15 else k + 300) for k in range(30)]
    frames, _ = handed_on(write(tmp_path / "in.mp4", telecined(film), pts=pts, rate=NTSC), "ivtc")
    assert frames[12][0] == Fraction(1001 * 315, 30000)
    assert [n for _, n in frames] == list(range(24))


def test_progressive_frames_among_interlaced_ones_are_untouched(tmp_path):
    noise = np.random.default_rng(1)
    parts = []
    for name, options in (("flat", {"qp": "1"}), ("combed", {**COMBED, "x264-params": "bff=1:qp=1"})):
        frames = [numbered_planes(k, size=(64, 64)) for k in range(6)]
        for frame in frames:
            for plane in frame.planes:
                lines = np.frombuffer(memoryview(plane), np.uint8)
                lines[:] = noise.integers(16, 235, len(lines), np.uint8)
        parts.append(write(tmp_path / f"{name}.h264", frames, options=options).read_bytes())
    clip = tmp_path / "in.h264"
    clip.write_bytes(parts[0] + parts[1])
    with av.open(str(clip)) as file:
        flags = [bool(frame.interlaced_frame) for frame in file.decode(video=0)]
    assert flags == [False] * 6 + [True] * 6
    clips = {}
    for how in ("off", "auto"):
        source = VideoSource(filtered(probe(clip), how), batch=12, segment=Fraction(10), threads=1)
        clips[how] = next(batch.planes for batch in list(source))
        notes = source.findings.notes
    for before, after in zip(clips["off"], clips["auto"], strict=True):
        assert np.array_equal(before[:6], after[:6])
        assert not np.array_equal(before[6:], after[6:])
    assert notes == ["6 of 12 frames are interlaced: only these were deinterlaced"]


@pytest.mark.parametrize("how", ["on", "double", "ivtc"])
def test_a_trimmed_clip_is_filtered_as_if_it_were_whole(tmp_path, how):
    """The second start is one that is reached by seeking: the filter has seen the frames before."""
    numbers = [n % 256 for n in range(2 * 340)]
    clip = write(tmp_path / "in.mp4", fields_of(numbers))
    whole, crcs = pixels_of(clip, how)
    for start, end in ((Fraction(1), Fraction(2)), (Fraction(12), Fraction(13))):
        part, others = pixels_of(clip, how, start=start, end=end)
        kept = [k for k, time in enumerate(whole) if start <= time < end]
        assert part == [whole[k] for k in kept]
        assert others == [crcs[k] for k in kept]


def pixels_of(clip: Path, how, **more) -> tuple[list[Fraction], list[int]]:
    """Times of the frames handed on, and a hash of their samples."""
    times, hashes = [], []
    for batch in VideoSource(filtered(probe(clip), how), batch=1, segment=Fraction(10), threads=1, **more):
        times.append(batch.pts[0] * batch.time_base)
        hashes.append(hash(b"".join(plane.tobytes() for plane in batch.planes)))
    return times, hashes


def test_a_new_size_midway_gets_filters_of_its_own(tmp_path):
    parts = [write(tmp_path / f"{h}.h264", fields_of(list(range(10)), size=(h, h))) for h in (64, 96)]
    clip = tmp_path / "in.h264"
    clip.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, notes = handed_on(clip, "double")
    assert len(frames) == 20
    assert "10 frames have another size: resized to 64x64 like the first" in notes


def test_what_is_found_and_done_is_said(tmp_path, nearest):
    clip = write(tmp_path / "in.mp4", fields_of(list(range(20))))
    said = {how: " ".join(run(clip, tmp_path / f"{how}.mp4", nearest, deinterlace=how)[0]) for how in ("auto", "off")}
    assert "the source says that it is interlaced: deinterlaced, one frame for each" in said["auto"]
    assert "the source says that it is interlaced: upscaled as it is" in said["off"]
    flat = make_clip(tmp_path / "flat.mkv", frames=3)
    assert run(flat, tmp_path / "flat_x2.mkv", nearest)[0] == []
    notes, plan = run(flat, tmp_path / "double.mkv", nearest, deinterlace="double")
    assert "the source does not say so: deinterlaced, one frame for each field: twice as many frames" in notes
    assert plan.frames == 6


def test_twice_the_frames_keep_their_place_beside_the_sound(tmp_path, nearest):
    clip = make_clip(tmp_path / "in.mp4", pts=[3600 * k + 900 for k in range(10)], size=(64, 64), audio=[Audio()])
    run(clip, tmp_path / "out.mp4", nearest, deinterlace="double", segment=Fraction(1, 5))
    frames = read_frames(tmp_path / "out.mp4")
    assert [t for t, _ in frames] == [(1800 * k + 900) * Fraction(1, 12800) for k in range(20)]
    before, after = read_packets(clip)[1], read_packets(tmp_path / "out.mp4")[1]
    assert before == after


def test_formats_that_the_filters_lack_are_one_line(tmp_path, nearest):
    clip = make_clip(tmp_path / "in.mkv", codec="rawvideo", pix_fmt="uyvy422", frames=3, time_base=Fraction(1, 25))
    for how in ("on", "double", "ivtc"):
        with pytest.raises(ConfigError, match=r"uyvy422; convert the clip to yuv420p"):
            run(clip, tmp_path / "out.mkv", nearest, deinterlace=how)
    run(clip, tmp_path / "out.mkv", nearest)
    assert len(read_frames(tmp_path / "out.mkv")) == 3
    assert can_deinterlace("yuv422p10le", "on", height=64, width=64)
    assert not can_deinterlace("yuv422p10le", "ivtc", height=64, width=64), "libav's fieldmatch takes 8 bits only"
