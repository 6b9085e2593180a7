"""Odd times: whatever clock a source has, or lacks, every frame comes out at its time, and the sound beside it."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest
from av.packet import Packet
from av.stream import Disposition

from tests.clicks import clicks, flashes, make_clicks
from tests.field_coded import write_fields
from tests.media_maker import Audio, changed_packets, make_clip, read_frames, read_packets
from vsr.errors import MediaError
from vsr.events import DoneEvent, NoteEvent
from vsr.settings import UpscaleSettings
from vsr.video import upscale_video

_BASE = Fraction(1, 90000)
_TICK = Fraction(1, 1000)  # Matroska's


def run(source: Path, nearest: Path, output: Path, **changes) -> tuple[DoneEvent, list[str]]:
    events: list = []
    settings = {"model": str(nearest), "scale": Fraction(1), "device": "cpu", "deinterlace": "off", **changes}
    done = upscale_video(source, output, settings=UpscaleSettings(**settings), on_event=events.append)
    return done, [event.message for event in events if isinstance(event, NoteEvent)]


def hold(
    source: Path, nearest: Path, wanted: Sequence[tuple[Fraction, int]], *, shift: Fraction | None = None, **changes
) -> list[str]:
    """Run, and hold every frame against (seconds, number); then every packet of sound against the source's.

    All streams may move by one time, `shift` if it is given. Returns the notes.
    """
    output = source.with_name("out.mkv")
    done, notes = run(source, nearest, output, **changes)
    found = read_frames(output)
    assert [number for _, number in found] == [number for _, number in wanted]
    moved = found[0][0] - wanted[0][0]
    if shift is not None:
        assert abs(moved - shift) <= _TICK
    assert all(abs(time - due - moved) <= _TICK for (time, _), (due, _) in zip(found, wanted, strict=True))
    assert (done.lost_frames, done.damaged_places) == (0, 0)
    before, after = read_packets(source), read_packets(output)
    if len(before) > 1:
        shown = sorted(time for time, _ in before[0])[-len(wanted) :]
        moved = found[0][0] - shown[0]
    for index in before.keys() - {0}:
        pairs = zip(before[index], after[index], strict=True)
        assert all(abs(new - old - moved) <= 2 * _TICK for (old, _), (new, _) in pairs)
    return notes


def even(count: int, *, step: Fraction = Fraction(1, 25), begin: Fraction = Fraction(0)) -> list[tuple[Fraction, int]]:
    return [(begin + k * step, k & 255) for k in range(count)]


def _elementary(path: Path, codec: str) -> Path:
    """A stream without container, as its packets lie one after the other."""
    clip = make_clip(path.with_name("wrapped.mkv"), codec=codec, time_base=Fraction(1, 25), color=None)
    with av.open(str(clip)) as file:
        stream = file.streams.video[0]
        head = b"" if codec != "mpeg4" else stream.codec_context.extradata or b""
        path.write_bytes(head + b"".join(bytes(packet) for packet in file.demux(stream)))
    return path


def _y4m(path: Path, count: int, rate: str) -> Path:
    """YUV4MPEG2: a line of text before the clip and before each frame, and no times."""
    from tests.media_maker import SIZE, numbered_planes

    height, width = SIZE
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{rate} Ip A1:1 C420mpeg2\n".encode())
        for number in range(count):
            file.write(b"FRAME\n")
            for plane in numbered_planes(number).planes:
                line = plane.line_size
                data = bytes(plane)
                file.write(b"".join(data[y * line : y * line + plane.width] for y in range(plane.height)))
    return path


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.h264", "libx264"), ("a.hevc", "libx265"), ("a.m4v", "mpeg4"), ("a.mpg", "mpeg2video"), ("a.obu", "libsvtav1")],
)
def test_streams_without_any_times_run_at_their_rate(tmp_path, nearest, name, codec):
    if name.endswith((".m4v", ".mpg")):
        source = _elementary(tmp_path / name, codec)
    else:
        source = make_clip(tmp_path / name, codec=codec, size=(64, 64), time_base=Fraction(1, 25), color=None)
    hold(source, nearest, even(12))


def test_pictures_of_y4m_run_at_its_rate(tmp_path, nearest):
    hold(_y4m(tmp_path / "a.y4m", 10, "30000:1001"), nearest, even(10, step=Fraction(1001, 30000)), shift=Fraction(0))


@pytest.mark.parametrize(("codec", "bf"), [("mpeg4", "0"), ("mpeg4", "2"), ("libx264", "3")])
def test_frames_of_avi_are_in_order_whatever_is_reordered(tmp_path, nearest, codec, bf):
    color: dict[str, Any] = {} if codec == "libx264" else {"color": None}
    options = {"bf": bf}
    source = make_clip(tmp_path / "a.avi", codec=codec, frames=20, time_base=Fraction(1, 25), options=options, **color)
    hold(source, nearest, even(20), shift=Fraction(0))


def test_packed_frames_of_avi_are_each_shown_once(tmp_path, nearest):
    """DivX's way: a chunk holds the next P frame and the B frame before it, and the following one is a stand-in."""
    clip = make_clip(
        tmp_path / "b.avi", codec="mpeg4", frames=16, time_base=Fraction(1, 25), options={"bf": "1"}, color=None
    )
    with av.open(str(clip)) as file:
        chunks = [bytes(packet) for packet in file.demux(video=0) if packet.size]
    place = iter(_packed(chunks))

    def pack(packet: Packet) -> Packet:
        made = Packet(next(place))
        made.pts, made.dts, made.time_base = packet.dts, packet.dts, packet.time_base
        made.is_keyframe = packet.is_keyframe
        return made

    with changed_packets(clip, tmp_path / "packed.avi", pack) as source:
        done, _ = run(source, nearest, tmp_path / "out.mkv")
    found = read_frames(tmp_path / "out.mkv")
    assert [number for _, number in found] == list(range(16))
    assert all(abs(after - before - Fraction(1, 25)) <= _TICK for (before, _), (after, _) in pairwise(found))
    assert done.damaged_places == 0


_VOP = b"\0\0\1\xb6"  # MPEG-4's start code of a picture


def _packed(chunks: list[bytes]) -> list[bytes]:
    """Each P frame and the B frame that follows it in one chunk, and a frame that is not coded in the next."""
    head = chunks[0].index(_VOP)
    chunks[0] = chunks[0][:head] + b"\0\0\1\xb2DivX503b1393p" + chunks[0][head:]  # its name ends in p
    made: list[bytes] = []
    at = 0
    while at < len(chunks):
        kind = [_coding_type(chunk) for chunk in chunks[at : at + 2]]
        if kind == [1, 2]:
            made += [chunks[at] + chunks[at + 1], _VOP + b"\x50\x4f"]  # its coded bit is off
            at += 2
        else:
            made.append(chunks[at])
            at += 1
    return made


def _coding_type(chunk: bytes) -> int:
    """0 for I, 1 for P, 2 for B."""
    return chunk[chunk.index(_VOP) + 4] >> 6


_LONG_GAPS = [0, 40, 80, 3 * 86_400_000, 3 * 86_400_000 + 40, 3 * 86_400_000 + 80]  # milliseconds


@pytest.mark.parametrize(
    ("name", "base", "times"),
    [
        ("a.avi", Fraction(1, 1000), [0, 40, 80, 133, 200, 240, 280, 281, 500]),
        ("a.mkv", Fraction(1, 1000), [0, 40, 80, 133, 200, 240, 280, 281, 500]),
        ("a.mp4", _BASE, [0, 3003, 3600, 9000, 9091, 20000, 20090, 45000, 90000]),
        ("a.mkv", Fraction(1, 1000), _LONG_GAPS),
    ],
)
def test_long_steps_of_a_variable_rate_are_no_holes(tmp_path, nearest, name, base, times):
    codec = {"codec": "mpeg4", "color": None} if name == "a.avi" else {}
    rate = 1 / base if name == "a.avi" else Fraction(25)
    source = make_clip(tmp_path / name, pts=times, time_base=base, rate=rate, options={"bf": "0"}, **codec)
    hold(source, nearest, [(time * base, k) for k, time in enumerate(times)], shift=Fraction(0))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_a_clip_of_one_frame_is_one_frame(tmp_path, nearest, name):
    codec = {"codec": "mpeg4", "color": None} if name == "a.avi" else {}
    source = make_clip(tmp_path / name, frames=1, time_base=Fraction(1, 25), **codec)
    hold(source, nearest, [(Fraction(0), 0)])


def test_frames_before_zero_come_out_and_the_sound_with_them(tmp_path, nearest):
    times = [40 * (k - 3) for k in range(12)]
    source = make_clip(
        tmp_path / "a.mkv", pts=times, time_base=Fraction(1, 1000), options={"bf": "2"}, audio=[Audio(codec="flac")]
    )
    done, _ = run(source, nearest, tmp_path / "out.mkv")
    assert done.frames == 12
    found = read_frames(tmp_path / "out.mkv")
    assert [number for _, number in found] == list(range(12))
    assert [round(float(time), 2) for time, _ in found] == [round(0.04 * k, 2) for k in range(12)]
    before, after = read_packets(source)[1], read_packets(tmp_path / "out.mkv")[1]
    named = {data: time for time, data in after}
    assert all(abs(named[data] - time - Fraction(3, 25)) <= 2 * _TICK for time, data in before)


def _mp4(folder: Path, change: Callable[[Packet], Packet | None]) -> Path:
    clip = make_clip(folder / "whole.mp4", frames=30, audio=[Audio()], options={"bf": "2", "g": "10"})
    with changed_packets(clip, folder / "a.mp4", change) as source:
        return source


def test_an_empty_edit_delays_the_picture(tmp_path, nearest):
    def later(packet: Packet) -> Packet:
        if packet.stream.type == "video":
            assert packet.pts is not None
            assert packet.dts is not None
            packet.pts, packet.dts = packet.pts + 6400, packet.dts + 6400
        return packet

    source = _mp4(tmp_path, later)
    hold(source, nearest, even(30, begin=Fraction(1, 2)), shift=Fraction(0))


def test_frames_that_an_edit_list_skips_stay_hidden(tmp_path, nearest):
    def earlier(packet: Packet) -> Packet:
        by = round(Fraction(1, 5) / packet.time_base)
        assert packet.pts is not None
        assert packet.dts is not None
        packet.pts, packet.dts = packet.pts - by, packet.dts - by
        return packet

    source = _mp4(tmp_path, earlier)
    with av.open(str(source)) as file:
        assert any(packet.is_discard for packet in file.demux(video=0)), "the maker's edit list hides frames"
    done, _ = run(source, nearest, tmp_path / "out.mp4")
    assert (done.frames, done.damaged_places) == (25, 0)
    wanted = [(time - Fraction(1, 5), number) for time, number in even(30)[5:]]
    assert read_frames(tmp_path / "out.mp4") == wanted


def _ts(path: Path, *, frames: int = 20, begin: float = 0, **changes) -> Path:
    return make_clip(
        path,
        codec="mpeg2video",
        frames=frames,
        time_base=Fraction(1, 25),
        color=None,
        audio=[Audio(codec="mp2")],
        options={"bf": "0"},
        container_options={"output_ts_offset": str(begin), "muxdelay": "0"},
        **changes,
    )


def test_a_transport_stream_s_clock_may_wrap(tmp_path, nearest):
    source = _ts(tmp_path / "a.ts", frames=40, begin=2**33 / 90000 - 0.7)
    hold(source, nearest, even(40))


@pytest.mark.parametrize(("first", "second"), [(0, 1000), (0, 0), (500, 0), (500, 100)])
def test_times_run_on_where_recordings_are_spliced(tmp_path, nearest, first, second):
    parts = [_ts(tmp_path / f"{n}.ts", begin=begin) for n, begin in enumerate((first, second))]
    source = tmp_path / "a.ts"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    done, notes = run(source, nearest, tmp_path / "out.mkv")
    assert (done.frames, done.damaged_places) == (40, 0)
    assert any("clock jumps" in note for note in notes), notes
    found = read_frames(tmp_path / "out.mkv")
    assert [number for _, number in found] == [*range(20), *range(20)]
    steps = [after - before for (before, _), (after, _) in pairwise(found)]
    assert all(abs(step - Fraction(1, 25)) <= _TICK for step in steps[:19] + steps[20:])
    assert Fraction(1, 25) - _TICK <= steps[19] < Fraction(1, 5), "the splice is no gap"
    before = read_packets(parts[0])  # sound against picture, before and after the splice
    times = [time for time, _ in read_packets(tmp_path / "out.mkv")[1]]
    count = len(before[1])
    assert abs((times[0] - found[0][0]) - (before[1][0][0] - before[0][0][0])) <= 2 * _TICK
    assert abs((times[count] - found[20][0]) - (times[0] - found[0][0])) <= 2 * _TICK


def test_a_start_after_a_splice_is_found_by_reading(tmp_path, nearest):
    parts = [_ts(tmp_path / f"{n}.ts", frames=300, begin=begin) for n, begin in enumerate((500, 0))]
    source = tmp_path / "a.ts"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    run(source, nearest, tmp_path / "out.mkv", start=Fraction(14), end=Fraction(29, 2))
    numbers = [number for _, number in read_frames(tmp_path / "out.mkv")]
    assert len(numbers) in (12, 13)
    assert 48 <= numbers[0] <= 50, "two seconds after the splice"


@pytest.mark.parametrize("name", ["a.mkv", "a.ts", "a.mp4", "a.avi"])
def test_frames_that_lean_on_missing_ones_are_left_out_at_the_beginning(tmp_path, nearest, name):
    avi = {"codec": "mpeg4", "color": None, "time_base": Fraction(1, 25)}
    base: dict[str, Any] = avi if name == "a.avi" else {"time_base": _BASE}
    options = {"g": "12", "bf": "0", "sc_threshold": "1000000000" if name == "a.avi" else "0"}
    clip = make_clip(tmp_path / f"whole{name}", frames=30, options=options, **base)
    passed = 0

    def cut(packet: Packet) -> Packet | None:
        nonlocal passed
        passed += 1
        return packet if passed > 7 else None

    with changed_packets(clip, tmp_path / name, cut) as source:
        notes = hold(source, nearest, even(30)[12:])
    assert any(note.startswith("5 frames at the beginning lean on others") for note in notes)


def test_of_two_frames_at_one_time_the_second_comes_a_tick_later(tmp_path, nearest):
    clip = make_clip(tmp_path / "whole.mkv", options={"bf": "0"})

    def doubled(packet: Packet) -> Packet:
        assert packet.pts is not None
        if packet.pts in (160, 320):
            packet.pts = packet.dts = packet.pts - 40
        return packet

    with changed_packets(clip, tmp_path / "a.mkv", doubled) as source:
        done, _ = run(source, nearest, tmp_path / "out.mkv")
    assert done.damaged_places == 0
    found = read_frames(tmp_path / "out.mkv")
    assert [number for _, number in found] == list(range(12))
    wanted = [0, 40, 80, 120, 121, 200, 240, 280, 281, 360, 400, 440]
    assert [round(time * 1000) for time, _ in found] == wanted


@pytest.mark.parametrize("name", ["a.h264", "a.ts", "a.mkv", "a.mp4"])
def test_fields_that_are_pictures_of_their_own_make_whole_frames(tmp_path, nearest, name):
    source = write_fields(tmp_path / "raw.h264", 16)
    if name != "a.h264":
        muxer = {"a.ts": "mpegts", "a.mkv": "matroska", "a.mp4": "mp4"}[name]
        with av.open(str(source)) as raw, av.open(str(tmp_path / name), "w", format=muxer) as file:
            stream = file.add_stream_from_template(raw.streams.video[0], opaque=True)
            packets = (packet for packet in raw.demux(video=0) if packet.size)
            for k, packet in enumerate(packets):  # two of them a frame
                packet.stream, packet.time_base = stream, Fraction(1, 50)
                packet.pts = packet.dts = k
                packet.duration = 1
                file.mux(packet)
        source = tmp_path / name
    hold(source, nearest, even(16))


def test_the_video_flagged_default_is_upscaled_and_the_other_copied(tmp_path, nearest):
    source = make_clip(tmp_path / "a.mkv", frames=8, more_video=1)
    with av.open(str(source)) as old, av.open(str(tmp_path / "b.mkv"), "w") as new:
        streams = [new.add_stream_from_template(stream, opaque=True) for stream in old.streams]
        streams[1].disposition = Disposition.default
        for packet in old.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    run(tmp_path / "b.mkv", nearest, tmp_path / "out.mkv", scale=Fraction(2))
    with av.open(str(tmp_path / "out.mkv")) as file:
        assert [(s.width, s.height) for s in file.streams.video] == [(64, 48), (128, 96)]
    before, after = read_packets(tmp_path / "b.mkv"), read_packets(tmp_path / "out.mkv")
    assert before[0] == after[0]


def test_sound_with_a_cover_is_no_video_in_one_line(tmp_path, nearest):
    clip = make_clip(tmp_path / "a.mp4", audio=[Audio(codec="mp3")], cover=True)
    with av.open(str(clip)) as old, av.open(str(tmp_path / "a.mp3"), "w") as new:
        kept = [old.streams.audio[0], old.streams.video[1]]
        streams = {stream.index: new.add_stream_from_template(stream, opaque=True) for stream in kept}
        streams[kept[1].index].disposition = Disposition.attached_pic
        for packet in old.demux(kept):
            if packet.size:
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    with pytest.raises(MediaError, match="holds no video, only a cover picture") as caught:
        run(tmp_path / "a.mp3", nearest, tmp_path / "out.mkv")
    assert "\n" not in str(caught.value)


def test_a_frame_of_another_size_midway_keeps_its_time(tmp_path, nearest):
    parts = [
        make_clip(tmp_path / f"{h}.h264", frames=8, size=(h, 2 * h), time_base=Fraction(1, 25), options={"bf": "0"})
        for h in (48, 64, 32)
    ]
    source = tmp_path / "a.h264"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    notes = hold(source, nearest, [(Fraction(k, 25), k % 8) for k in range(24)], shift=Fraction(0))
    assert any("16 frames have another size" in note for note in notes)


def test_sound_and_picture_of_spliced_parts_flash_and_click_together(tmp_path, nearest):
    parts, options = [], {"bf": "0"}
    for number, begin in enumerate((700, 3)):
        part = tmp_path / f"{number}.ts"
        make_clicks(part, audio="mp2", options=options, container_options={"output_ts_offset": str(begin)})
        parts.append(part.read_bytes())
    (tmp_path / "a.ts").write_bytes(b"".join(parts))
    run(tmp_path / "a.ts", nearest, tmp_path / "out.mkv")
    seen, heard = flashes(tmp_path / "out.mkv"), clicks(tmp_path / "out.mkv")
    assert len(seen) == len(heard) == 8
    assert all(abs(click - flash) <= Fraction(1, 25) for flash, click in zip(seen, heard, strict=True))
