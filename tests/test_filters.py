"""Fields and film: frames, times and counts of what is deinterlaced, cropped or turned."""

import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import click
import numpy as np
import pytest
from av.video.frame import VideoFrame

from tests.media_maker import SD, Audio, make_clip, number_of, numbered_planes, read_frames, read_packets
from vsr.cli.options import CROP
from vsr.errors import ConfigError
from vsr.events import NoteEvent, PlanEvent
from vsr.frames import MediaInfo
from vsr.io.crop import aligned, cut_out, find_bars
from vsr.io.filters import FilteredVideo, can_deinterlace
from vsr.io.pixel_formats import planar_layout
from vsr.io.probe import probe
from vsr.io.source import VideoSource
from vsr.plan import plan_clip
from vsr.preset import load_preset
from vsr.settings import Crop, UpscaleSettings
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


def settings(nearest: Path, **changes) -> UpscaleSettings:
    return UpscaleSettings(**{"model": str(nearest), "scale": Fraction(2), "device": "cpu", **changes})


def run(source: Path, output: Path, nearest: Path, **changes) -> tuple[list[str], PlanEvent]:
    """What a run notes, and its plan."""
    events: list = []
    upscale_video(source, output, settings=settings(nearest, **changes), on_event=events.append)
    return [e.message for e in events if isinstance(e, NoteEvent)], next(e for e in events if isinstance(e, PlanEvent))


def planned(source: Path, nearest: Path, **changes) -> tuple[tuple[str, ...], PlanEvent]:
    """What a run would note at its beginning, and its plan."""
    job = plan_clip(source, None, settings(nearest, **changes))
    return job.notes, job.event


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
    assert (
        "the source does not say that it is interlaced: deinterlaced, one frame for each field: twice as many frames"
        in notes
    )
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


# A part of the picture


def patterned(k: int, size: tuple[int, int], pix_fmt: str = "yuv420p") -> VideoFrame:
    """A frame of busy luma on slopes of chroma, which interpolation keeps."""
    frame = VideoFrame(size[1], size[0], pix_fmt)
    for index, plane in enumerate(frame.planes):
        down, across = np.mgrid[: plane.height, : plane.width]
        lines = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)
        lines[:, : plane.width] = 100 + down + across if index else 90 + (7 * down + 3 * across + 11 * k) % 70
    return frame


def lines_of(frame: VideoFrame) -> list[np.ndarray]:
    """The planes of an 8-bit frame, line padding left out."""
    return [np.frombuffer(memoryview(p), np.uint8).reshape(p.height, -1)[:, : p.width] for p in frame.planes]


def decoded(path: Path) -> list[list[np.ndarray]]:
    """The planes of every frame of a file."""
    with av.open(str(path)) as file:
        return [[plane.copy() for plane in lines_of(frame)] for frame in file.decode(video=0)]


def test_a_crop_keeps_exactly_its_part(tmp_path, nearest):
    clip = write(tmp_path / "in.mkv", [patterned(k, (48, 64)) for k in range(4)], options={"qp": "0"})
    crop = Crop(height=22, width=30, top=6, left=10)
    notes, plan = run(clip, tmp_path / "out.mkv", nearest, crop=crop, codec="ffv1")
    assert not any("crop" in note for note in notes)
    assert plan.output_size == (44, 60)
    assert plan.streams[0][2:] == ("upscale", "cropped to 30:22:10:6, to ffv1")
    for before, after in zip(decoded(clip), decoded(tmp_path / "out.mkv"), strict=True):
        want = before[0][6:28, 10:40].repeat(2, axis=0).repeat(2, axis=1).astype(int)
        assert abs(want - after[0]).max() <= 1  # rounding on the way to RGB and back


def test_what_is_handed_on_of_a_crop_is_cut_and_not_computed(tmp_path):
    clip = write(tmp_path / "in.mkv", [patterned(k, (48, 64)) for k in range(3)], options={"qp": "0"})
    info = probe(clip)
    crop = Crop(height=22, width=30, top=6, left=10)
    source = VideoSource(
        replace(info, video=FilteredVideo.of(info.video, crop=crop)), batch=3, segment=Fraction(10), threads=1
    )
    (batch,) = list(source)
    for k, (y, u, v) in enumerate(decoded(clip)):
        for want, have in zip((y[6:28, 10:40], u[3:14, 5:20], v[3:14, 5:20]), batch.planes, strict=True):
            assert np.array_equal(want, have[k])


@pytest.mark.parametrize(
    ("pix_fmt", "ordered", "kept"),
    [
        ("yuv420p", (10, 10, 1, 1), (8, 8, 2, 2)),
        ("yuv420p", (9, 9, 2, 2), (8, 8, 2, 2)),
        ("yuv420p", (31, 33, 0, 0), (31, 33, 0, 0)),  # an odd picture's own border
        ("yuv422p", (9, 9, 1, 1), (9, 8, 1, 2)),
        ("yuv444p", (9, 9, 1, 1), (9, 9, 1, 1)),
        ("gbrp", (9, 9, 1, 1), (9, 9, 1, 1)),
        ("gray", (9, 9, 1, 1), (9, 9, 1, 1)),
    ],
)
def test_borders_lie_between_chroma_samples(pix_fmt, ordered, kept):
    names = ("height", "width", "top", "left")
    layout = planar_layout(pix_fmt)
    crop = aligned(Crop(**dict(zip(names, ordered, strict=True))), layout, height=31, width=33)
    assert crop == Crop(**dict(zip(names, kept, strict=True)))
    planes = [np.zeros(size, np.uint8) for size in layout.plane_sizes(31, 33)]
    sizes = [plane.shape for plane in cut_out(planes, layout, crop)]
    assert sizes == layout.plane_sizes(crop.height, crop.width)


def test_a_crop_that_cannot_be_is_one_line(tmp_path, nearest):
    clip = make_clip(tmp_path / "in.mkv", frames=2)
    for crop, words in (
        (Crop(height=48, width=64, top=2, left=0), "beyond the picture of 64x48"),
        (Crop(height=1, width=64, top=1, left=0), "leaves nothing"),
    ):
        with pytest.raises(ConfigError, match=words):
            run(clip, tmp_path / "out.mkv", nearest, crop=crop)
    notes, _ = run(clip, tmp_path / "out.mkv", nearest, crop=Crop(height=40, width=60, top=3, left=3))
    assert "crop 60:40:3:3 becomes 58:38:4:4: borders lie between the samples of yuv420p" in notes


def barred(k: int, crop: Crop, size: tuple[int, int] = (96, 128)) -> VideoFrame:
    """A noisy black frame with a picture in a part of it."""
    frame = VideoFrame(size[1], size[0], "yuv420p")
    noise = np.random.default_rng(k)
    for index, plane in enumerate(frame.planes):
        lines = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)
        lines[:] = noise.integers(14, 24, lines.shape) if index == 0 else noise.integers(126, 131, lines.shape)
        step = 1 if index == 0 else 2
        part = np.s_[crop.top // step : (crop.top + crop.height) // step, crop.left // step :][:2]
        picture = lines[part][:, : crop.width // step]
        picture[:] = noise.integers(30, 220, picture.shape)
    return frame


def black(size: tuple[int, int] = (96, 128)) -> VideoFrame:
    frame = numbered_planes(0, size=size)
    luma_lines(frame)[:] = 16
    return frame


@pytest.mark.parametrize(
    "crop",
    [
        Crop(height=72, width=128, top=12, left=0),
        Crop(height=96, width=96, top=0, left=16),
        Crop(height=80, width=100, top=6, left=12),
    ],
)
def test_black_bars_are_found_and_cut_off(tmp_path, nearest, crop):
    frames = [barred(k, crop) for k in range(13)]
    frames[5] = black()  # says nothing about bars
    clip = write(tmp_path / "in.mp4", frames, options={"qp": "4"})
    notes, plan = planned(clip, nearest, crop="auto")
    assert plan.output_size == (2 * crop.height, 2 * crop.width)
    assert plan.streams[0][3] == f"cropped to {crop}, to h264"
    assert not any("bars" in note for note in notes)


def test_dark_pictures_are_not_taken_for_bars():
    whole = Crop(height=96, width=128, top=0, left=0)
    half = Crop(height=40, width=128, top=28, left=0)
    wide = Crop(height=72, width=128, top=12, left=0)
    caption = [barred(k, wide) for k in range(15)]
    for frame in caption[5:10]:
        luma_lines(frame)[88:92, 40:90] = 200
    night = [black() for _ in range(9)]
    for frame in night:  # a lamp, and how its light falls off
        luma_lines(frame)[:, :128] = np.maximum(16, 120 - 3 * abs(np.arange(128) - 64))
    blue = [barred(k, wide) for k in range(15)]
    for frame in blue:
        np.frombuffer(memoryview(frame.planes[1]), np.uint8)[:] = 200
    sets = {"whole": [barred(k, whole) for k in range(9)], "half": [barred(k, half) for k in range(9)]}
    sets |= {"black": [black() for _ in range(9)], "blue": blue, "caption": caption, "night": night}
    sets["one side"] = [barred(k, Crop(height=84, width=128, top=12, left=0)) for k in range(9)]
    for name, frames in sets.items():
        planes = [[plane.copy() for plane in lines_of(frame)] for frame in frames]
        assert find_bars(planes, planar_layout("yuv420p"), SD) is None, name
    planes = [list(lines_of(barred(k, wide))) for k in range(9)]
    assert find_bars(planes, planar_layout("yuv420p"), SD) == wide, "the same without any of this"


def test_that_no_bars_are_found_is_said(tmp_path, nearest):
    clip = make_clip(tmp_path / "in.mkv", frames=3)
    assert "no black bars are found: nothing is cropped" in planned(clip, nearest, crop="auto")[0]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("10:20:1", "is not auto or a part"),
        ("0:20:0:0", "is not auto or a part"),
        ("-4:4:0:0", "is not auto or a part"),
    ],
)
def test_what_is_typed_for_a_part_is_checked(words, line):
    with pytest.raises(click.BadParameter, match=line):
        CROP.convert(words, None, None)


def test_a_part_is_typed_as_in_ffmpeg_and_written_in_presets(tmp_path):
    part = Crop(height=800, width=1920, top=140, left=0)
    assert CROP.convert("1920:800:0:140", None, None) == part
    assert CROP.convert("auto", None, None) == "auto"
    assert str(part) == "1920:800:0:140"
    preset = tmp_path / "mine.toml"
    for text, crop in (("[1920, 800, 0, 140]", part), ('"auto"', "auto")):
        preset.write_text(f'[upscale]\ncrop = {text}\ndeinterlace = "double"\napply_rotation = true\n')
        upscale = load_preset(str(preset)).upscale
        assert (upscale.crop, upscale.deinterlace, upscale.apply_rotation) == (crop, "double", True)
    for text in ('"all"', "[1, 2, 3]", "[0, 2, 0, 0]"):
        preset.write_text(f"[upscale]\ncrop = {text}\n")
        with pytest.raises(ConfigError, match="crop"):
            load_preset(str(preset))


# Turned pictures

ONE = 65536
TURNS = {  # a, b, c, d of a display matrix: where numpy finds the same picture
    "right": ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
    "left": ((0, -1, 1, 0), lambda p: np.rot90(p, 1)),
    "over": ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
    "mirrored": ((-1, 0, 0, 1), np.fliplr),
    "upside": ((1, 0, 0, -1), np.flipud),
    "diagonal": ((0, 1, 1, 0), lambda p: p.T),
    "other": ((0, -1, -1, 0), lambda p: np.rot90(p, 2).T),
}


def display_matrix(a: int, b: int, c: int, d: int, size: tuple[int, int]) -> tuple[int, ...]:
    """With the translation that moves the picture back into sight."""
    height, width = size
    right, down = -min(0, a * width) - min(0, c * height), -min(0, b * width) - min(0, d * height)
    return (a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, right * ONE, down * ONE, 1 << 30)


@pytest.mark.parametrize("pix_fmt", ["yuv444p", "gray"])
@pytest.mark.parametrize("name", TURNS)
def test_a_turn_is_exact_and_then_no_more_said(tmp_path, nearest, name, pix_fmt):
    codes, turn = TURNS[name]
    matrix = display_matrix(*codes, size=(48, 64))
    clip = make_clip(tmp_path / "in.mkv", codec="ffv1", pix_fmt=pix_fmt, frames=3, matrix=matrix)
    run(clip, tmp_path / "out.mkv", nearest, codec="ffv1", apply_rotation=True)
    run(clip, tmp_path / "kept.mkv", nearest, codec="ffv1")
    video = probe(tmp_path / "out.mkv").video
    assert video.display_matrix is None
    kept = probe(tmp_path / "kept.mkv").video
    assert kept.display_matrix is not None
    for upright, after in zip(decoded(tmp_path / "kept.mkv"), decoded(tmp_path / "out.mkv"), strict=True):
        for want, have in zip(upright, after, strict=True):
            assert np.array_equal(turn(want), have)


def test_coarse_chroma_turns_with_the_picture(tmp_path, nearest):
    """4:2:0 lies to the left of its pixels: turned as planes it would lie above them, which no tag says."""
    matrix = display_matrix(0, 1, -1, 0, size=(48, 64))
    frames = [VideoFrame(64, 48, "yuv420p") for _ in range(2)]
    for frame in frames:
        for plane in frame.planes:
            down, across = np.mgrid[: plane.height, : plane.width]
            lines = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)
            lines[:, : plane.width] = (80 if plane.height == 48 else 100) + down + across  # interpolation keeps slopes
    with av.open(str(tmp_path / "in.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.options = {"qp": "0", "chroma_sample_location": "left"}
        stream.set_display_matrix(matrix)
        for frame in frames:
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    run(tmp_path / "in.mp4", tmp_path / "out.mp4", nearest, apply_rotation=True, scale=Fraction(1), codec="ffv1")
    before, after = decoded(tmp_path / "in.mp4")[0], decoded(tmp_path / "out.mp4")[0]
    assert np.array_equal(np.rot90(before[0], -1), after[0])
    down, across = np.mgrid[:32, :24]
    # (y, x) of the result is (47 - x, y) of the source; in both, chroma sample (y, x) lies at (2y + 0.5, 2x)
    slope = 100 + (47 - 2 * across - 0.5) / 2 + (2 * down + 0.5) / 2
    inner = np.s_[1:-1, 1:-1]
    assert abs(after[1][inner] - slope[inner]).max() <= 1


def test_the_shape_of_pixels_turns_too(tmp_path, nearest):
    matrix = display_matrix(0, 1, -1, 0, size=(48, 64))
    clip = make_clip(tmp_path / "in.mp4", frames=2, aspect=Fraction(4, 3), matrix=matrix)
    _, plan = run(clip, tmp_path / "out.mp4", nearest, apply_rotation=True)
    assert (plan.source_size, plan.output_size) == ((48, 64), (128, 96))
    assert plan.streams[0][3] == "turned, to h264"
    video = probe(tmp_path / "out.mp4").video
    assert (video.display_matrix, video.sample_aspect_ratio) == (None, Fraction(3, 4))
    run(clip, tmp_path / "sized.mp4", nearest, apply_rotation=True, scale=None, size=(None, 96))
    with av.open(str(tmp_path / "sized.mp4")) as file:  # 48 wide and 64 high, of pixels 3:4
        assert (file.streams.video[0].height, file.streams.video[0].width) == (170, 96)


def test_a_picture_that_is_not_turned_is_left_alone(tmp_path, nearest):
    clip = make_clip(tmp_path / "in.mkv", frames=2)
    notes, _ = run(clip, tmp_path / "out.mkv", nearest, apply_rotation=True)
    assert notes == ["the source is not turned: --apply-rotation changes nothing"]


def test_a_cropped_picture_is_turned_into_sight(tmp_path, nearest):
    matrix = display_matrix(0, 1, -1, 0, size=(48, 64))
    clip = make_clip(tmp_path / "in.mp4", frames=2, matrix=matrix)
    crop = Crop(height=32, width=60, top=8, left=2)
    run(clip, tmp_path / "out.mp4", nearest, crop=crop)
    assert probe(tmp_path / "out.mp4").video.display_matrix == display_matrix(0, 1, -1, 0, size=(64, 120))
    _, plan = run(clip, tmp_path / "turned.mp4", nearest, crop=crop, apply_rotation=True, deinterlace="double")
    assert plan.output_size == (120, 64)
    assert plan.streams[0][3] == "deinterlaced (double), cropped to 60:32:2:8, turned, to h264"
    assert len(read_frames(tmp_path / "turned.mp4")) == 4


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("degrees", [30, 45, 119.9])
def test_an_oblique_turn_is_said_and_kept(tmp_path, nearest, suffix, degrees):
    across, up = round(ONE * math.cos(math.radians(degrees))), round(ONE * math.sin(math.radians(degrees)))
    matrix = (across, up, 0, -up, across, 0, 0, 0, 1 << 30)
    clip = make_clip(tmp_path / f"in{suffix}", frames=2, matrix=matrix)
    notes, plan = run(clip, tmp_path / f"out{suffix}", nearest, apply_rotation=True)
    assert any("no multiple of 90 degrees" in note for note in notes)
    assert plan.output_size == (96, 128)
    kept = probe(tmp_path / f"out{suffix}").video.display_matrix
    assert kept is not None
    assert np.allclose(kept[:6], matrix[:6], atol=3)  # Matroska says an angle


def test_a_single_frame_is_searched_for_bars(tmp_path, nearest):
    crop = Crop(height=72, width=128, top=12, left=0)
    clip = write(tmp_path / "in.mp4", [barred(1, crop)], options={"qp": "4"})
    assert planned(clip, nearest, crop="auto")[1].output_size == (144, 256)
