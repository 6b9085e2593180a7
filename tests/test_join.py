"""The join: every frame and packet at its exact time, every stream kept, and a failed one leaves nothing behind."""

import os
import random
import resource
import signal
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
from av.bitstream import BitStreamFilterContext
from av.packet import Packet
from av.stream import Disposition

from tests.media_maker import (
    Audio,
    Chapter,
    Look,
    Subtitle,
    make_clip,
    make_segments,
    read_frames,
    read_packets,
    rejoin,
)
from vsr.errors import Cancelled, MediaError
from vsr.frames import SegmentFile
from vsr.io.assembly import Assembled
from vsr.io.container import plan_streams
from vsr.io.join import join
from vsr.io.probe import probe
from vsr.stage import Cancel
from vsr.verify import check_output

_HALF_MILLISECOND = Fraction(1, 2000)
_B_FRAMES = {
    "h264": {"bf": "3", "x264-params": "b-adapt=0"},
    "hevc": {"x265-params": "log-level=none:info=0:bframes=3"},
}
_QUARTER = (0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30)


def _wild(count: int = 30, start: int = 1234) -> list[int]:
    """Times whose steps vary from 0.1 ms to 2 s, in ticks of 1/90000."""
    steps = random.Random(1)
    times = [start]
    for _ in range(count - 1):
        times.append(times[-1] + steps.choice([9, 40, 1501, 3003, 3600, 90000, 180000]))
    return times


_TIMINGS: dict[str, tuple[Fraction, Sequence[int]]] = {
    "constant": (Fraction(1, 12800), [k * 512 for k in range(20)]),
    "film": (Fraction(1001, 24000), range(20)),
    "television": (Fraction(1, 30000), [k * 1001 for k in range(20)]),
    "late": (Fraction(1, 15360), [153600 + k * 512 for k in range(20)]),
    "wild": (Fraction(1, 90000), _wild()),
    "hole": (Fraction(1, 90000), [0, 3600, 7200, 7200 + 90000 * 3600, 7200 + 90000 * 3600 + 3600]),
    "fine": (Fraction(1, 1_000_000), [0, 16_683, 33_367, 50_050, 66_733, 83_417]),
    "one": (Fraction(1, 12800), [512]),
}


def _join(clip: Path, pieces: Sequence[SegmentFile], output: Path, codec: str = "h264") -> Assembled:
    info, container = probe(clip), output.suffix[1:]
    plan = plan_streams(info, container, codec)
    look = Look(codec=codec, color=info.video.color)
    return join(info, plan, pieces, output, container=container, picture=look, cancel=Cancel())


def _source(path: Path, timing: str) -> Path:
    base, times = _TIMINGS[timing]
    return make_clip(path, pts=times, time_base=base, audio=[Audio()] if timing != "hole" else [])


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "webm"])
@pytest.mark.parametrize("timing", list(_TIMINGS))
def test_every_frame_keeps_its_time(tmp_path: Path, timing: str, container: str) -> None:
    base, times = _TIMINGS[timing]
    clip = make_clip(tmp_path / "clip.mp4", pts=times, time_base=base)
    codec = "av1" if container == "webm" else "h264"
    rejoin(clip, tmp_path / f"out.{container}", codec=codec, options=_B_FRAMES.get(codec))
    found = read_frames(tmp_path / f"out.{container}")
    tolerance = _HALF_MILLISECOND if container in ("mkv", "webm") else 0
    assert [number for _, number in found] == list(range(len(times)))
    assert max(abs(time - k * base) for (time, _), k in zip(found, times, strict=True)) <= tolerance


@pytest.mark.parametrize(("codec", "container"), [
    ("h264", "mp4"), ("hevc", "mp4"), ("hevc", "mov"), ("av1", "mp4"), ("vp9", "mp4"), ("ffv1", "mp4"),
    ("prores", "mov"), ("hevc", "mkv"), ("av1", "mkv"), ("vp9", "webm"), ("ffv1", "mkv"), ("prores", "mkv"),
])  # fmt: skip
def test_every_codec_joins_at_exact_times(tmp_path: Path, codec: str, container: str) -> None:
    base, times = _TIMINGS["wild"]
    clip = make_clip(tmp_path / "clip.mp4", pts=times, time_base=base)
    rejoin(clip, tmp_path / f"out.{container}", codec=codec, options=_B_FRAMES.get(codec))
    found = read_frames(tmp_path / f"out.{container}")
    tolerance = _HALF_MILLISECOND if container in ("mkv", "webm") else 0
    assert [number for _, number in found] == list(range(len(times)))
    assert max(abs(time - k * base) for (time, _), k in zip(found, times, strict=True)) <= tolerance


def test_decode_times_rise_and_never_pass_the_display(tmp_path: Path) -> None:
    base, times = _TIMINGS["wild"]
    clip = make_clip(tmp_path / "clip.mp4", pts=times, time_base=base)
    rejoin(clip, tmp_path / "out.mp4", options=_B_FRAMES["h264"])
    with av.open(str(tmp_path / "out.mp4")) as file:
        packets = [(p.dts, p.pts) for p in file.demux(video=0) if p.size]
    decoded = [dts for dts, _ in packets if dts is not None]
    assert len(decoded) == len(times)
    assert all(before < after for before, after in pairwise(decoded))
    assert all(dts is not None and pts is not None and dts <= pts for dts, pts in packets)
    assert any(dts != pts for dts, pts in packets)  # frames are reordered at all


def test_a_later_segment_may_reorder_more(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=20)
    times = [k * 512 for k in range(20)]
    plain = make_segments(tmp_path / "a", [times[:10]], codec="ffv1")
    deep = make_segments(tmp_path / "b", [times[10:]], codec="ffv1")
    with av.open(str(deep[0].path)) as old, av.open(str(tmp_path / "shuffled.mkv"), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
        packets = [p for p in old.demux() if p.size]
        for place, number in enumerate((2, 1, 0, 5, 4, 3, 8, 7, 6, 9)):  # decoded in this order
            packet = packets[number]
            packet.dts, packet.stream = 40 * (place - 2), stream
            new.mux(packet)
    shuffled = SegmentFile(path=tmp_path / "shuffled.mkv", pts=tuple(times[10:]))
    _join(clip, [*plain, shuffled], tmp_path / "out.mkv", codec="ffv1")
    found = read_frames(tmp_path / "out.mkv")
    assert sorted(time for time, _ in found) == [Fraction(k, 25) for k in range(20)]


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("timing", ["constant", "television", "late", "wild"])
def test_sound_keeps_its_bytes_and_its_place(tmp_path: Path, timing: str, container: str) -> None:
    clip = _source(tmp_path / "clip.mp4", timing)
    rejoin(clip, tmp_path / f"out.{container}")
    before, after = read_packets(clip)[1], read_packets(tmp_path / f"out.{container}")[1]
    assert [data for _, data in after] == [data for _, data in before]
    tick = Fraction(1, 1000) if container == "mkv" else Fraction(1, 12800)
    assert max(abs(a - b) for (a, _), (b, _) in zip(after, before, strict=True)) <= tick


def test_sound_before_and_after_the_picture_keeps_its_place(tmp_path: Path) -> None:
    late = [k * 3600 + 90000 for k in range(10)]
    for start in (Fraction(-1, 2), Fraction(1, 3)):
        clip = make_clip(
            tmp_path / f"{start.numerator}.mkv", pts=late, time_base=Fraction(1, 90000), audio=[Audio(start=start)]
        )
        before = read_packets(clip)[1]
        for suffix in ("mp4", "mov", "mkv"):
            output = tmp_path / f"{start.numerator}.{suffix}.{suffix}"
            rejoin(clip, output)
            after = read_packets(output)[1]
            assert [data for _, data in after] == [data for _, data in before]
            assert max(abs(a - b) for (a, _), (b, _) in zip(after, before, strict=True)) <= Fraction(1, 1000)


def test_the_length_of_the_picture_is_the_source_s(tmp_path: Path) -> None:
    base, times = _TIMINGS["wild"]
    clip = make_clip(tmp_path / "clip.mp4", pts=times, time_base=base)
    for codec in ("h264", "ffv1"):
        rejoin(clip, tmp_path / f"{codec}.mp4", codec=codec)
        with av.open(str(clip)) as a, av.open(str(tmp_path / f"{codec}.mp4")) as b:
            old, new = a.streams.video[0], b.streams.video[0]
            assert (new.duration or 0) * Fraction(new.time_base or 0) == (old.duration or 0) * Fraction(
                old.time_base or 0
            )
            assert new.frames == len(times)


def test_sound_of_a_transport_stream_loses_only_its_wrapping(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.ts", audio=[Audio()], time_base=Fraction(1, 90000))
    with av.open(str(clip)) as file:
        stream = file.streams.audio[0]
        strip = BitStreamFilterContext("aac_adtstoasc", stream)
        bare = [bytes(one) for packet in file.demux(stream) if packet.size for one in strip.filter(packet)]
    assert len(bare) > 10
    for suffix in ("mp4", "mov", "mkv"):
        rejoin(clip, tmp_path / f"out.{suffix}")
        assert [data for _, data in read_packets(tmp_path / f"out.{suffix}")[1]] == bare
        with av.open(str(tmp_path / f"out.{suffix}")) as file:
            assert sum(frame.samples for frame in file.decode(audio=0)) > 10_000


def test_a_damaged_sound_packet_is_left_out_and_said(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.ts", frames=25, audio=[Audio()], time_base=Fraction(1, 90000))
    with av.open(str(clip)) as file:
        packet = [p for p in file.demux(file.streams.audio[0]) if p.size][20]
    data = clip.read_bytes()
    header = bytes(packet)[:7]
    assert header[:2] == b"\xff\xf1"
    at = data.index(header[:3], 188 * 60)
    clip.write_bytes(data[:at] + bytes(2) + data[at + 2 :])
    before = len(read_packets(clip)[1])
    joined = rejoin(clip, tmp_path / "out.mkv")
    assert check_output(tmp_path / "out.mkv", joined) == []
    assert 0 < len(joined.copies[0].times) <= before


def test_split_bluray_subtitles_are_put_together(tmp_path: Path) -> None:
    picture = make_clip(tmp_path / "picture.ts", time_base=Fraction(1, 90000))
    parts = [
        b"\x16\0\x0b" + bytes([0, 64, 0, 48, 16, 0, 1, 0x80, 0, 0, 0]),
        b"\x17\0\x02wd",
        b"\x14\0\x02pd",
        b"\x15\0\x02od",
        b"\x80\0\0",
    ]
    clip = tmp_path / "clip.ts"
    with av.open(str(picture)) as old, av.open(str(clip), "w", container_options={"mpegts_m2ts_mode": "1"}) as new:
        video = new.add_stream_from_template(old.streams.video[0], opaque=True)
        texts = new.add_mux_stream("hdmv_pgs_subtitle")
        new.start_encoding()
        for part in [*parts, *parts]:
            packet = Packet(part)
            packet.stream, packet.pts, packet.dts, packet.time_base = texts, 135000, 135000, Fraction(1, 90000)
            new.mux(packet)
        for packet in old.demux():
            if packet.size:
                packet.stream = video
                new.mux(packet)
    joined = rejoin(clip, tmp_path / "out.mkv")
    assert check_output(tmp_path / "out.mkv", joined) == []
    assert [data for _, data in read_packets(tmp_path / "out.mkv")[1]] == [b"".join(parts)] * 2


def test_a_track_that_is_empty_in_the_kept_part_is_said(tmp_path: Path) -> None:
    sounds = [Audio(), Audio(codec="ac3", seconds=Fraction(1, 2))]
    clip = make_clip(tmp_path / "clip.mkv", frames=50, audio=sounds)
    joined = rejoin(clip, tmp_path / "out.mp4", frames=slice(25, 50))
    assert [s.codec for s in probe(tmp_path / "out.mp4").streams] == ["h264", "aac"]
    assert any(note.startswith("a:1: has nothing in this part") for note in joined.notes)
    assert check_output(tmp_path / "out.mp4", joined) == []


def test_a_leap_of_half_a_day_still_fits(tmp_path: Path) -> None:
    times = [0, 3600, 7200, 7200 + 90000 * 60 * 60 * 26]  # as after a reset of a transport stream's clock
    clip = make_clip(tmp_path / "clip.mkv", frames=4)
    joined = _join(clip, make_segments(tmp_path / "s", [[time // 90 for time in times]]), tmp_path / "out.mp4")
    assert check_output(tmp_path / "out.mp4", joined) == []


def test_everything_else_is_kept(tmp_path: Path) -> None:
    forced = Disposition.forced | Disposition.default
    clip = make_clip(
        tmp_path / "clip.mkv",
        frames=25,
        language="eng",
        title="The picture",
        audio=[
            Audio(language="deu", title="Ton", flags=Disposition.default),
            Audio(codec="flac", language="eng", flags=Disposition.comment),
        ],
        subtitles=[Subtitle(language="fra", title="texte", flags=forced), Subtitle(codec="ass", language="jpn")],
        chapters=[
            Chapter(start=Fraction(0), end=Fraction(1, 2), title="one"),
            Chapter(start=Fraction(1, 2), end=Fraction(1), title="two"),
        ],
        fonts=["a.ttf", "b.ttf"],
        cover=True,
        metadata={"title": "A clip", "comment": "of no use"},
        matrix=_QUARTER,
        aspect=Fraction(4, 3),
    )
    rejoin(clip, tmp_path / "out.mkv")
    before, after = probe(clip), probe(tmp_path / "out.mkv")
    assert after.streams == before.streams
    assert after.video.display_matrix == (*_QUARTER[:6], 0, 0, 1 << 30)  # Matroska turns, and moves nothing
    assert after.video.sample_aspect_ratio == Fraction(4, 3)
    old, new = read_packets(clip), read_packets(tmp_path / "out.mkv")
    for index in (1, 2, 3, 4):
        assert new[index] == old[index]
    with av.open(str(clip)) as a, av.open(str(tmp_path / "out.mkv")) as b:
        assert b.chapters() == a.chapters()
        assert b.metadata["title"] == "A clip"
        assert b.metadata["COMMENT"] == "of no use"
        assert [s.data for s in b.streams.attachments] == [s.data for s in a.streams.attachments]


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_mp4_keeps_texts_titles_and_chapters(tmp_path: Path, suffix: str) -> None:
    clip = make_clip(
        tmp_path / f"clip.{suffix}",
        frames=25,
        audio=[Audio(language="eng"), Audio(codec="ac3", language="fra")],
        subtitles=[Subtitle(codec="mov_text", language="eng")],
        chapters=[Chapter(start=Fraction(0), end=Fraction(1, 2), title="one")],
        cover=suffix == "mp4",
        metadata={"title": "A clip"},
    )
    output = tmp_path / f"out.{suffix}"
    rejoin(clip, output, codec="hevc")
    before, after = probe(clip), probe(output)
    assert [(s.kind, s.language, s.flags, s.is_cover) for s in after.streams] == [
        (s.kind, s.language, s.flags, s.is_cover) for s in before.streams
    ]
    assert after.chapters == 1
    old, new = read_packets(clip), read_packets(output)
    for index in (1, 2):
        assert [data for _, data in new[index]] == [data for _, data in old[index]]
    assert [p for p in new[3] if p[1] != b"\0\0"] == [p for p in old[3] if p[1] != b"\0\0"]


def test_titles_of_tracks_become_mp4_s_handler_names(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", audio=[Audio(title="Commentary")])
    rejoin(clip, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert file.streams.audio[0].metadata["handler_name"] == "Commentary"


def test_hevc_is_named_so_that_apple_plays_it(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    for suffix in ("mp4", "mov"):
        rejoin(clip, tmp_path / f"out.{suffix}", codec="hevc")
        data = (tmp_path / f"out.{suffix}").read_bytes()
        assert b"hvc1" in data[data.index(b"stsd") :][:40]
        assert data.index(b"moov") < data.index(b"mdat")


def test_a_picture_before_zero_moves_everything(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", audio=[Audio(codec="flac")], frames=10)
    pieces = make_segments(tmp_path / "s", [[k * 40 - 100 for k in range(10)]])
    joined = _join(clip, pieces, tmp_path / "out.mp4")
    before, after = read_packets(clip)[1], read_packets(tmp_path / "out.mp4")[1]
    assert read_frames(tmp_path / "out.mp4")[0][0] == 0
    assert all(abs(a - b - Fraction(1, 10)) <= Fraction(1, 1000) for (a, _), (b, _) in zip(after, before, strict=True))
    assert any("before zero" in note for note in joined.notes)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_cut_clip_keeps_sound_with_its_picture(tmp_path: Path, suffix: str) -> None:
    clip = make_clip(
        tmp_path / "clip.mkv",
        frames=75,
        audio=[Audio(codec="ac3", rate=48000)],
        subtitles=[Subtitle(texts=[(0.1, 0.2, "gone"), (0.9, 0.3, "cut"), (1.5, 0.2, "kept"), (2.5, 0.2, "gone")])]
        if suffix == "mkv"
        else (),
        chapters=[
            Chapter(start=Fraction(0), end=Fraction(1, 2), title="gone"),
            Chapter(start=Fraction(1, 2), end=Fraction(3), title="kept"),
        ],
    )
    output = tmp_path / f"out.{suffix}"
    rejoin(clip, output, frames=slice(25, 50), end_time=Fraction(2))
    times = [time for time, _ in read_frames(output)]
    assert times == [Fraction(k, 25) for k in range(25)]
    begin = Fraction(1)
    before, after = read_packets(clip)[1], read_packets(output)[1]
    step = Fraction(1536, 48000)
    wanted = [(time - begin, data) for time, data in before if time + step > begin and time < 2]
    assert [data for _, data in after] == [data for _, data in wanted]
    assert max(abs(a - b) for (a, _), (b, _) in zip(after, wanted, strict=True)) <= Fraction(1, 1000)
    info = probe(output)
    assert info.chapters == 1
    if suffix == "mkv":
        assert read_packets(output)[2] == [(Fraction(0), b"cut"), (Fraction(1, 2), b"kept")]
    assert abs((info.duration or 0) - 1) <= Fraction(1, 1000)


def test_a_second_video_is_copied(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", frames=30, more_video=1, options=_B_FRAMES["h264"])
    before = read_packets(clip)[1]
    for suffix in ("mkv", "mp4"):
        output = tmp_path / f"out.{suffix}"
        rejoin(clip, output)
        assert read_packets(output)[1] == before


def test_a_stopped_join_leaves_nothing_behind(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=30, audio=[Audio()])
    cancel = Cancel()
    cancel.set()
    for suffix in ("mp4", "mkv"):
        with pytest.raises(Cancelled):
            rejoin(clip, tmp_path / f"out.{suffix}", cancel=cancel)
        assert not (tmp_path / f"out.{suffix}").exists()


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_full_disk_gives_one_line_and_leaves_nothing_behind(tmp_path: Path, suffix: str) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=60, audio=[Audio()], options={"crf": "0"})
    output = tmp_path / f"out.{suffix}"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # else the system ends the process
    try:
        with pytest.raises(MediaError) as error:
            _rejoin_within(clip, output, 9000, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert str(error.value).startswith(f"{output}: ")
    assert "\n" not in str(error.value)
    assert not output.exists()


def _rejoin_within(clip: Path, output: Path, size: int, hard: int) -> None:
    """Forbid files above `size` once the segments are there."""

    class Limit(Cancel):
        def check(self) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    rejoin(clip, output, cancel=Limit())


def test_a_folder_that_is_not_there_gets_one_line(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    pieces = make_segments(tmp_path / "s", [[k * 512 for k in range(12)]])
    with pytest.raises(MediaError, match="cannot be written"):
        _join(clip, pieces, tmp_path / "gone" / "out.mp4")


def test_a_segment_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    from vsr.frames import SegmentFile

    clip = make_clip(tmp_path / "clip.mp4")
    whole = make_segments(tmp_path / "s", [[k * 512 for k in range(11)]])[0]
    short = SegmentFile(path=whole.path, pts=(*whole.pts, 11 * 512))
    with pytest.raises(MediaError, match="holds 11 frames where the journal has 12"):
        _join(clip, [short], tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_memory_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=1500, audio=[Audio()], options={"preset": "ultrafast", "crf": "0"})
    rejoin(clip, tmp_path / "warm.mp4", frames=slice(0, 20), end_time=Fraction(20, 25))
    before = _resident()
    rejoin(clip, tmp_path / "out.mp4", segments=10, options={"preset": "ultrafast"})
    assert _resident() - before < 20 << 20


def _resident() -> int:
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
