"""`--start` and `--end`: exact to the frame, and every other stream cut and moved with the picture."""

from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.packet import Packet
from av.video.frame import VideoFrame

from tests.media_maker import (
    Audio,
    Chapter,
    Subtitle,
    changed_packets,
    make_clip,
    read_frames,
    read_packets,
    rejoin,
)
from vsr.errors import MediaError
from vsr.events import NoteEvent
from vsr.io.probe import probe
from vsr.settings import EncoderTuning, UpscaleSettings
from vsr.verify import check_output
from vsr.video import upscale_video

_CUES = [(0.2, 0.5, "gone"), (0.9, 0.5, "over the start"), (1.5, 0.2, "within"), (1.9, 0.9, "over the end")]
_LONG = [(0.5, 3.0, "over all")]
_PART = {"start": Fraction(1), "end": Fraction(2)}
_DROPPED = {"mkv": (), "mp4": ("t",), "mov": ("t", "v:1"), "webm": ("t", "v:1")}


def _run(clip: Path, output: Path, nearest: Path, **changes) -> list[str]:
    quick = {"libx264": EncoderTuning(preset="ultrafast"), "libsvtav1": EncoderTuning(preset="12")}
    settings = {"model": str(nearest), "scale": Fraction(1), "device": "cpu", "encoders": quick, "overwrite": True}
    events: list = []
    upscale_video(clip, output, settings=UpscaleSettings(**{**settings, **changes}), on_event=events.append)
    return [event.message for event in events if isinstance(event, NoteEvent)]


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Path:
    """Four seconds with a stream of every kind; its picture has one keyframe and refers both ways."""
    return make_clip(
        tmp_path_factory.mktemp("full") / "full.mkv",
        frames=100,
        options={"g": "250", "bf": "3"},
        audio=[Audio(language="deu"), Audio(codec="flac", start=Fraction(3), seconds=Fraction(1, 2))],
        subtitles=[Subtitle(texts=_CUES), Subtitle(codec="ass", texts=_LONG)],
        chapters=[
            Chapter(start=Fraction(0), end=Fraction(1), title="gone"),
            Chapter(start=Fraction(1, 2), end=Fraction(3, 2), title="clipped"),
            Chapter(start=Fraction(3, 2), end=Fraction(3), title="clipped, too"),
        ],
        fonts=["a.ttf"],
        cover=True,
    )


def _chapters(path: Path) -> list[tuple[float, float, str]]:
    with av.open(str(path)) as file:
        return [
            (float(c["start"] * (c["time_base"] or 1)), float(c["end"] * (c["time_base"] or 1)), c["metadata"]["title"])
            for c in file.chapters()
        ]


def _cues(path: Path, place: int) -> list[tuple[float, float]]:
    """(begin, duration) in seconds of the cues that say something."""
    with av.open(str(path)) as file:
        stream = file.streams.subtitles[place]
        return [
            (round(float(p.pts * p.time_base), 3), round(float((p.duration or 0) * p.time_base), 3))
            for p in file.demux(stream)
            if p.size > 2 and p.pts is not None
        ]


@pytest.mark.parametrize("container", list(_DROPPED))
def test_every_stream_is_cut_and_moved_with_the_picture(full, tmp_path, nearest, container):
    output = tmp_path / f"out.{container}"
    notes = _run(full, output, nearest, drop=_DROPPED[container], **_PART)
    frames = read_frames(output)
    assert [number for _, number in frames] == list(range(25, 50))
    assert [round(float(time), 3) for time, _ in frames] == [k / 25 for k in range(25)]
    assert _cues(output, 0) == [(0, 0.4), (0.5, 0.2), (0.9, 0.1)]
    assert _cues(output, 1) == [(0, 1)]
    assert _chapters(output) == [(0, 0.5, "clipped"), (0.5, 1, "clipped, too")]
    info = probe(output)
    assert [s.codec for s in info.streams if s.kind == "attachment" or s.is_cover] == {
        "mkv": ["font/ttf", "png"],
        "mp4": ["png"],
    }.get(container, [])
    assert abs((info.duration or 0) - 1) <= Fraction(1, 1000)
    is_left_out = any(note.startswith("a:1: has nothing in this part") for note in notes)
    assert is_left_out == (container in ("mp4", "mov"))


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_copied_sound_keeps_each_packet_that_overlaps_the_part(full, tmp_path, nearest, container):
    output = tmp_path / f"out.{container}"
    _run(full, output, nearest, drop=("t", "a:1"), start=Fraction(51, 50), end=Fraction(101, 50))
    begin, end, packet = Fraction(26, 25), Fraction(51, 25), Fraction(1024, 48000)
    wanted = [(t - begin, data) for t, data in read_packets(full)[1] if t + packet > begin and t < end]
    found = read_packets(output)[1]
    assert [data for _, data in found] == [data for _, data in wanted]
    assert max(abs(a - b) for (a, _), (b, _) in zip(found, wanted, strict=True)) <= Fraction(1, 1000)


def test_a_time_on_a_frame_takes_it_and_one_after_it_does_not(tmp_path, nearest):
    clip = make_clip(tmp_path / "clip.mp4", frames=20, pts=[k * 512 + (k % 3) * 100 for k in range(20)])
    exact = [Fraction(k * 512 + (k % 3) * 100, 12800) for k in range(20)]
    little = Fraction(1, 100_000)
    for start, end, wanted in (
        (exact[4], exact[9], range(4, 9)),
        (exact[4] + little, exact[9] + little, range(5, 10)),
        (exact[4] - little, exact[9] - little, range(4, 9)),
        (Fraction(0), little, range(1)),
        (exact[19], None, range(19, 20)),
        (exact[18], Fraction(1000), range(18, 20)),
    ):
        _run(clip, tmp_path / "out.mp4", nearest, start=start, end=end)
        found = read_frames(tmp_path / "out.mp4")
        assert [number for _, number in found] == list(wanted), (start, end)
        assert [time for time, _ in found] == [exact[k] - exact[wanted[0]] for k in wanted]


@pytest.mark.parametrize("start", [Fraction(4), Fraction(397, 100), Fraction(100)])
def test_a_start_after_the_last_frame_is_one_line_that_tells_the_length(full, tmp_path, nearest, start):
    with pytest.raises(MediaError) as error:
        _run(full, tmp_path / "out.mkv", nearest, start=start)
    assert f"no frame to upscale: none is shown from --start {float(start):g} to the end; the clip lasts 4" in str(
        error.value
    )
    assert not list(tmp_path.iterdir())


def test_a_part_between_two_frames_is_one_line(full, tmp_path, nearest):
    with pytest.raises(MediaError, match=r"none is shown from --start 1.01 to --end 1.03; the clip lasts 4"):
        _run(full, tmp_path / "out.mkv", nearest, start=Fraction(101, 100), end=Fraction(103, 100))


@pytest.mark.parametrize("options", [{"x264-params": "open-gop=1:keyint=30:bframes=3:b-adapt=0"}, {"g": "1000"}])
def test_a_part_begins_anywhere_between_keyframes(tmp_path, nearest, options):
    clip = make_clip(tmp_path / "clip.mkv", frames=330, options=options)
    for first in (271, 299, 300, 301):  # beyond ten seconds the source is sought
        _run(clip, tmp_path / "out.mkv", nearest, start=Fraction(first, 25), end=Fraction(first + 4, 25))
        assert [number for _, number in read_frames(tmp_path / "out.mkv")] == [(first + k) & 255 for k in range(4)]


def test_a_copied_picture_begins_at_a_keyframe_with_what_it_can_decode(tmp_path):
    options = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0:scenecut=0"}
    clip = make_clip(tmp_path / "clip.mkv", frames=50, more_video=1, options=options)
    output = tmp_path / "out.mkv"
    joined = rejoin(clip, output, frames=slice(20, 50))
    assert check_output(output, joined) == []
    with av.open(str(output)) as file:
        frames = [f for f in file.decode(file.streams.video[1]) if isinstance(f, VideoFrame)]
    times = [float((f.pts or 0) * Fraction(f.time_base or 0)) for f in frames]
    assert times == [k / 25 for k in range(4, 30)]  # the keyframe is frame 24; what leans on frame 12 is gone
    assert not any(f.is_corrupt for f in frames)
    assert "v:1: begins 0.160 s after the cut, at its next keyframe" in joined.notes


def _composed(*, objects: int) -> bytes:
    """A display set of Blu-ray subtitles that shows so many objects."""
    head = bytes([0, 64, 0, 48, 16, 0, 1, 0x80, 0, 0, objects])
    return b"\x16" + len(head + bytes(8 * objects)).to_bytes(2, "big") + head + bytes(8 * objects) + b"\x80\0\0"


def test_a_bitmap_that_the_cut_finds_on_the_screen_stays_there(tmp_path):
    picture = make_clip(tmp_path / "picture.mkv", frames=50)
    clip = tmp_path / "clip.mkv"
    shows = {0.2: 1, 0.5: 2, 1.2: 0, 1.8: 1}  # second: objects shown from then on
    with av.open(str(picture)) as old, av.open(str(clip), "w") as new:
        video = new.add_stream_from_template(old.streams.video[0], opaque=True)
        texts = new.add_mux_stream("hdmv_pgs_subtitle")
        new.start_encoding()
        for second, objects in shows.items():
            packet = Packet(_composed(objects=objects))
            packet.stream, packet.pts, packet.dts = texts, round(second * 1000), round(second * 1000)
            packet.time_base = Fraction(1, 1000)
            new.mux(packet)
        for packet in old.demux():
            if packet.size:
                packet.stream = video
                new.mux(packet)
    output = tmp_path / "out.mkv"
    for first, wanted in ((25, {0.0: 2, 0.2: 0, 0.8: 1}), (30, {0.0: 0, 0.6: 1}), (48, {0.0: 1})):
        joined = rejoin(clip, output, frames=slice(first, 50))
        assert check_output(output, joined) == []
        found = {round(float(time), 3): data for time, data in read_packets(output)[1]}
        assert found == {time: _composed(objects=objects) for time, objects in wanted.items()}


def test_a_source_that_starts_late_is_cut_by_its_own_first_frame(tmp_path, nearest):
    early = make_clip(tmp_path / "early.mkv", frames=50, audio=[Audio()])

    def later(packet: Packet) -> Packet:
        packet.pts, packet.dts = (packet.pts or 0) + 10_000, (packet.dts or 0) + 10_000
        return packet

    with changed_packets(early, tmp_path / "late.mkv", later) as clip:
        _run(clip, tmp_path / "out.mp4", nearest, **_PART)
    frames = read_frames(tmp_path / "out.mp4")
    assert frames[0] == (Fraction(10), 25)
    assert len(frames) == 25
