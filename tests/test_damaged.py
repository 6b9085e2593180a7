"""Damaged clips: what decodes comes out at its time, what is missing is listed, and sound stays in step."""

import random
import re
from collections import Counter
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.packet import Packet
from av.video.frame import VideoFrame

from tests.clicks import clicks, flashes, make_clicks
from tests.media_maker import Audio, changed_packets, make_clip, read_frames, read_packets
from vsr.cli import run as run_command
from vsr.errors import MediaError
from vsr.events import DoneEvent, NoteEvent
from vsr.io.cut import is_cut_short
from vsr.io.damage import Damage, PictureCheck, merged
from vsr.settings import EncoderTuning, UpscaleSettings
from vsr.video import upscale_video

_FRAMES = 100
_BEATS = (6, 17, 31, 70, 83, 94)  # none lies in the tenth of the file from its middle on, or where that may still show
_KEYFRAMES = 15  # frames from one to the next
_STEP = Fraction(1, 25)
_TICK = Fraction(2, 1000)
_CASES = [
    *[("mkv", codec) for codec in ("libx264", "libx265", "mpeg2video", "mpeg4", "libvpx-vp9", "libsvtav1")],
    *[("mp4", codec) for codec in ("libx264", "libx265", "mpeg4", "libvpx-vp9", "libsvtav1")],
    *[("ts", codec) for codec in ("libx264", "libx265", "mpeg2video")],
    *[("avi", codec) for codec in ("libx264", "mpeg4")],
]
_QUICK = {
    ("mkv", "libx264", "zeros"),
    ("mkv", "libsvtav1", "gone"),
    ("mkv", "libvpx-vp9", "cut"),
    ("mp4", "libx264", "zeros"),
    ("mp4", "libx265", "cut"),
    ("mp4", "libx264", "bits"),
    ("ts", "mpeg2video", "gone"),
    ("ts", "libx264", "zeros"),
    ("avi", "mpeg4", "zeros"),
    ("avi", "mpeg4", "cut"),
}
_LINE = re.compile(
    r"(a:\d: )?(\d+\.\d{3} to \d+\.\d{3} s: (\d+ )?(frames?|packets?) (is|are) (missing|damaged)"
    r"|the file breaks off after \d+\.\d{3} s: (about \d+|an unknown number of) frames are missing)"
    r"|and \d+ more places like these"
)


def run(source: Path, output: Path, nearest: Path, **changes) -> tuple[DoneEvent, list[str]]:
    quick = {"libx264": EncoderTuning(preset="ultrafast")}
    settings = {"model": str(nearest), "scale": Fraction(1), "device": "cpu", "codec": "h264", "encoders": quick}
    events: list = []
    done = upscale_video(source, output, settings=UpscaleSettings(**{**settings, **changes}), on_event=events.append)
    return done, [event.message for event in events if isinstance(event, NoteEvent)]


def clip(path: Path, codec: str) -> Path:
    """A click clip of 100 frames; frame k shows k in its upper half."""
    base = Fraction(1, 25) if codec.startswith("mpeg") or path.suffix == ".avi" else Fraction(1, 90000)
    audio = {".avi": "libmp3lame", ".ts": "mp2"}.get(path.suffix, "aac")
    options = {"g": str(_KEYFRAMES), "bf": "0"} if path.suffix in (".ts", ".avi") else {"g": str(_KEYFRAMES)}
    faststart = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    make_clicks(
        path,
        beats=_BEATS,
        frames=_FRAMES,
        time_base=base,
        video=codec,
        audio=audio,
        options=options,
        container_options=faststart,
    )
    return path


def damage(path: Path, how: str) -> None:
    """Zero or take out the tenth of a file's media after their middle, cut off what follows 60 %, or turn 20 bits."""
    data = bytearray(path.read_bytes())
    media, draw = max(0, data.find(b"mdat")), random.Random(1)
    size = len(data) - media
    middle = media + size // 2
    if how == "bits":
        for _ in range(20):
            data[draw.randrange(media + 8 if media else size // 5, len(data))] ^= 1 << draw.randrange(8)
    elif how == "zeros":
        data[middle : middle + size // 10] = bytes(size // 10)
    elif how == "gone":
        del data[middle : middle + size // 10]
    else:
        del data[media + size * 6 // 10 :]
    path.write_bytes(data)


def numbers(path: Path) -> list[tuple[Fraction, int]]:
    """(seconds, number in the upper half) of each frame. AVI stores no pts, and those here are not reordered."""
    with av.open(str(path)) as file:
        kind = "dts" if path.suffix == ".avi" else "pts"
        return [(getattr(f, kind) * Fraction(f.time_base or 0), _upper(f)) for f in file.decode(video=0)]


def _upper(frame: VideoFrame) -> int:
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)[: plane.height // 2 - 2, : plane.width]
    return sum(1 << bit for bit, bar in enumerate(np.array_split(rows, 8, axis=1)) if bar[:, 2:-2].mean() > 120)


@pytest.mark.parametrize(
    ("suffix", "codec", "how"),
    [
        pytest.param(*case, how, marks=() if (*case, how) in _QUICK else pytest.mark.slow)
        for case in _CASES
        for how in ("bits", "zeros", "gone", "cut")
    ],
)
def test_what_decodes_is_delivered_at_its_time_and_the_rest_is_listed(tmp_path, nearest, suffix, codec, how):
    source = clip(tmp_path / f"in.{suffix}", codec)
    begin = numbers(source)[0][0]
    sound = read_packets(source)[1]
    whole = {number: time - begin for time, number in numbers(source)}
    damage(source, how)
    done, notes = run(source, tmp_path / "out.mkv", nearest)
    found = numbers(tmp_path / "out.mkv")
    moved = found[0][0] - whole[found[0][1]]
    is_shifted = suffix == "avi" and how == "gone"  # its index is lost with its place
    if how == "bits":  # pictures may be wrong up to the next keyframe
        assert all(min(abs(time - moved - due) for due in whole.values()) <= _TICK for time, _ in found)
    elif not is_shifted:
        off = [number for time, number in found if abs(time - moved - whole.get(number, time)) > _TICK]
        assert len(off) <= _KEYFRAMES, "but for those up to the next keyframe, which may show what is not theirs"
    if how != "bits" and (suffix, how) != ("ts", "cut"):  # which has no length
        # what tears a cluster of Matroska ends the file; how many followed is told by its length, and is "about"
        assert abs(done.frames + done.lost_frames - _FRAMES) <= (4 if how == "gone" else 2)
        assert done.damaged_places
    listed = [note for note in notes if "missing" in note or "damaged" in note or "more places" in note]
    assert all(_LINE.fullmatch(note) for note in listed), listed
    assert len(listed) == (min(done.damaged_places, len(listed)) if done.damaged_places else 0)
    assert len(listed) <= 22
    after = read_packets(tmp_path / "out.mkv")
    known = Counter(data for _, data in sound)  # packets of silence are alike
    places = {data: time - begin for time, data in sound if known[data] == 1}
    kept = [(time - moved, places[data]) for time, data in after.get(1, []) if data in places]
    assert is_shifted or all(abs(time - place) <= 2 * _TICK for time, place in kept)
    if how in ("zeros", "gone") and not is_shifted:
        run(source, tmp_path / "heard.mkv", nearest, audio="flac")
        is_index_wrong = (suffix, how) == ("mp4", "gone")  # for all that follows
        _in_step(tmp_path / "heard.mkv", is_long=found[-1][0] - moved > 3 and not is_index_wrong)


def _in_step(path: Path, *, is_long: bool) -> None:
    """The flashes before the hole and, where the clip goes on, after it have their clicks."""
    seen, heard = flashes(path), clicks(path)
    pairs = [(flash, click) for flash in seen for click in heard if abs(click - flash) < 5 * _STEP]
    assert len(pairs) >= (4 if is_long else 2), ([float(t) for t in seen], [float(t) for t in heard])
    assert any(flash > 3 for flash, _ in pairs) or not is_long
    assert all(abs(click - flash) <= _STEP for flash, click in pairs)


def test_an_mp4_without_its_index_is_one_line(tmp_path, nearest):
    source = make_clip(tmp_path / "in.mp4", frames=30)
    damage(source, "cut")
    with pytest.raises(MediaError, match=r"index \(moov\) is missing") as caught:
        run(source, tmp_path / "out.mkv", nearest)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", ["auto", "aac"])
def test_damaged_sound_is_listed_and_the_status_says_so(tmp_path, nearest, how, capsys):
    whole = make_clip(tmp_path / "whole.mkv", frames=50, audio=[Audio(codec="flac")])

    def torn(packet: Packet) -> Packet:
        if packet.stream.type == "audio" and 0.6 < (packet.pts or 0) * packet.time_base < 1.0:
            bad = Packet(bytes(packet)[:20])
            bad.pts, bad.dts, bad.duration, bad.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
            return bad
        return packet

    with changed_packets(whole, tmp_path / "in.mkv", torn) as source:
        done, notes = run(source, tmp_path / "out.mkv", nearest, audio=how)
        command = ["upscale", str(source), "-o", str(tmp_path / "again.mkv"), "--model", str(nearest), "--scale", "1"]
        assert run_command([*command, "-q", "--audio", how]) == 1
        assert "damaged at one place in" in capsys.readouterr().err
        assert run_command([*command, "-q", "--audio", how, "--allow-damaged", "--overwrite"]) == 0
    assert (done.lost_frames, done.damaged_places) == (0, 1)
    listed = [note for note in notes if note.startswith("a:0")]
    assert len(listed) == 1
    match = re.fullmatch(r"a:0: (\d\.\d+) to (\d\.\d+) s: \d packets are damaged", listed[0])
    assert match is not None
    assert 0.55 < float(match[1]) < 0.75
    assert 0.95 < float(match[2]) < 1.15


def test_missing_packets_of_mp4_are_named_one_by_one(tmp_path, nearest):
    whole = make_clip(tmp_path / "whole.mp4", frames=40, options={"g": "1", "bf": "0"})
    with av.open(str(whole)) as file:
        places = [(packet.pos or 0, packet.size) for packet in file.demux(video=0) if packet.size]
    data = bytearray(whole.read_bytes())
    for number in (10, 11, 30):
        at, size = places[number]
        data[at : at + size] = bytes(size)
    source = tmp_path / "in.mp4"
    source.write_bytes(data)
    done, notes = run(source, tmp_path / "out.mp4", nearest)
    wanted = [k for k in range(40) if k not in (10, 11, 30)]
    assert [number for _, number in read_frames(tmp_path / "out.mp4")] == wanted
    assert (done.lost_frames, done.damaged_places) == (3, 2)
    assert "0.400 to 0.480 s: 2 frames are missing" in notes
    assert "1.200 to 1.240 s: 1 frame is missing" in notes


def test_a_beginning_that_cannot_be_decoded_is_listed(tmp_path, nearest):
    source = make_clip(tmp_path / "in.mp4", frames=40, options={"g": "1", "bf": "0"})
    with av.open(str(source)) as file:
        places = [(packet.pos or 0, packet.size) for packet in file.demux(video=0) if packet.size]
    data = bytearray(source.read_bytes())
    for at, size in places[:10]:
        data[at : at + size] = bytes(size)
    source.write_bytes(data)
    done, notes = run(source, tmp_path / "out.mp4", nearest)
    assert [number for _, number in read_frames(tmp_path / "out.mp4")] == list(range(10, 40))
    assert (done.lost_frames, done.damaged_places) == (10, 1)
    assert "the 0.400 s before the first frame: 10 frames are missing" in notes


def test_only_damage_within_the_part_that_is_wanted_counts(tmp_path, nearest):
    source = clip(tmp_path / "in.mp4", "mpeg4")
    damage(source, "zeros")
    for start, end in ((Fraction(0), Fraction(1, 2)), (Fraction(7, 2), None)):
        done, _ = run(source, tmp_path / f"{float(start)}.mkv", nearest, start=start, end=end)
        assert (done.lost_frames, done.damaged_places) == (0, 0)


def test_a_file_says_whether_it_was_cut(tmp_path):
    for name, codec, container in (
        ("a.mkv", "libx264", "matroska,webm"),
        ("a.avi", "mpeg4", "avi"),
        ("a.mp4", "libx264", "mov,mp4,m4a,3gp,3g2,mj2"),
    ):
        path = make_clip(tmp_path / name, codec=codec, time_base=Fraction(1, 25), color=None)
        assert not is_cut_short(path, container)
        path.write_bytes(path.read_bytes() + b"\0")
        assert not is_cut_short(path, container), "what others put behind the end does no harm"
        path.write_bytes(path.read_bytes()[:-2])
        assert is_cut_short(path, container)


def _check(*, is_shorter: bool) -> PictureCheck:
    return PictureCheck(step=Fraction(40), second=Fraction(1000), is_shorter=is_shorter)


def test_a_long_step_is_a_hole_only_with_a_reason():
    times = [40 * k for k in range(30) if k not in (12, 13)]
    for promised, torn, is_shorter, holes in (
        (times, False, False, []),
        ([40 * k for k in range(30)], False, False, [(480, 560, 2)]),
        (times, True, False, [(480, 560, 2)]),
        (times, False, True, [(480, 560, 2)]),
    ):
        check = _check(is_shorter=is_shorter)
        for time in promised:
            check.promise(time, is_key=time == 0, is_after_hole=torn and time == 560)
        for time in times:
            check.shown(time, is_damaged=False)
        check.finish()
        assert check.holes == holes


def test_places_that_touch_are_one():
    places = [
        Damage(begin=Fraction(k, 25), end=Fraction(k + 1, 25), units=1, is_missing=kind)
        for k, kind in ((3, True), (4, True), (5, False), (9, True))
    ]
    assert [str(place) for place in merged(reversed(places))] == [
        "0.120 to 0.200 s: 2 frames are missing",
        "0.200 to 0.240 s: 1 frame is damaged",
        "0.360 to 0.400 s: 1 frame is missing",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_random_changes_never_crash_or_hang(tmp_path, nearest, seed):
    """25 changed files a seed: overwritten, taken out, doubled or cut parts."""
    draw = random.Random(seed)
    suffix, codec = _CASES[seed * 2]
    whole = make_clip(
        tmp_path / f"whole.{suffix}",
        codec=codec,
        frames=24,
        time_base=Fraction(1, 25),
        size=(64, 64),
        color=None,
        audio=[Audio(codec="libmp3lame" if suffix == "avi" else "aac")],
    ).read_bytes()
    for number in range(25):
        data = bytearray(whole)
        for _ in range(draw.choice((1, 3, 30))):
            at = draw.randrange(len(data))
            length = draw.choice((1, 4, 200))
            match draw.randrange(4):
                case 0:
                    data[at : at + length] = draw.randbytes(length)
                case 1:
                    del data[at : at + length]
                case 2:
                    data[at:at] = data[at : at + length]
                case _:
                    data[at : at + 1] = bytes([data[at] ^ 1 << draw.randrange(8)])
        source = tmp_path / f"{number}.{suffix}"
        source.write_bytes(data)
        try:
            done, notes = run(source, tmp_path / "out.mkv", nearest, overwrite=True)
        except MediaError:
            continue
        assert done.frames == len(read_frames(tmp_path / "out.mkv"))
        assert len(notes) < 40
