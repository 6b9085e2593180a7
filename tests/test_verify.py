"""The check of the finished file: silent on a right one, one line for each thing that is wrong."""

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.packet import Packet
from av.stream import Disposition

from tests.media_maker import HD, SD, Audio, Chapter, Look, Subtitle, changed_packets, make_clip, rejoin
from vsr.errors import Cancelled
from vsr.io.assembly import Assembled
from vsr.stage import Cancel
from vsr.verify import check_output

_QUARTER = (0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30)
Case = tuple[Path, Assembled]


@pytest.fixture(params=["mp4", "mkv"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """A joined clip with two sounds and chapters, and what it must hold."""
    clip = make_clip(
        tmp_path / "clip.mkv",
        frames=25,
        audio=[Audio(language="eng", flags=Disposition.default), Audio(codec="ac3", language="fra")],
        chapters=[
            Chapter(start=Fraction(0), end=Fraction(1, 2), title="one"),
            Chapter(start=Fraction(1, 2), end=Fraction(1), title="two"),
        ],
    )
    output = tmp_path / f"out.{request.param}"
    return output, rejoin(clip, output)


def _findings(case: Case, change: Callable[[Packet], Packet | None]) -> list[str]:
    """What the check says of a copy with some packets changed."""
    output, joined = case
    with changed_packets(output, output.with_name(f"changed{output.suffix}"), change) as changed:
        return check_output(changed, joined)


def _nth(stream: int, number: int, change: Callable[[Packet], Packet | None]) -> Callable[[Packet], Packet | None]:
    """Apply a change to one packet of a stream only."""
    seen = 0

    def only(packet: Packet) -> Packet | None:
        nonlocal seen
        if packet.stream.index != stream:
            return packet
        seen += 1
        return change(packet) if seen == number + 1 else packet

    return only


def _shift(ticks: int) -> Callable[[Packet], Packet]:
    def shifted(packet: Packet) -> Packet:
        packet.pts = (packet.pts or 0) + ticks
        return packet

    return shifted


def _flip_a_bit(packet: Packet) -> Packet:
    data = bytearray(bytes(packet))
    data[len(data) // 2] ^= 1
    changed = Packet(bytes(data))
    changed.pts, changed.dts, changed.duration = packet.pts, packet.dts, packet.duration
    changed.time_base, changed.is_keyframe = packet.time_base, packet.is_keyframe
    return changed


def test_a_right_file_has_no_findings(case: Case) -> None:
    assert check_output(*case) == []


def test_a_faithful_copy_has_no_findings(case: Case) -> None:
    assert _findings(case, lambda packet: packet) == []


def test_a_dropped_frame_is_found(case: Case) -> None:
    for number in (3, 12, 24):
        found = _findings(case, _nth(0, number, lambda packet: None))
        assert "holds 24 frames instead of 25" in found


def test_a_frame_at_the_wrong_time_is_found(case: Case) -> None:
    is_mp4 = case[0].suffix == ".mp4"
    found = _findings(case, _nth(0, 12, _shift(1)))  # one tick of the file: 1/16000 s or 1 ms
    assert len([line for line in found if line.startswith("frame ")]) == 1, (is_mp4, found)


def test_two_frames_that_changed_places_are_found(case: Case) -> None:
    output, joined = case
    swapped = replace(joined, pts=[*joined.pts[:5], joined.pts[6], joined.pts[5], *joined.pts[7:]])
    assert any(line.startswith("frame ") for line in check_output(output, swapped))


def test_a_lost_sound_packet_is_found(case: Case) -> None:
    for stream, number in ((1, 0), (1, 20), (2, 31)):
        found = _findings(case, _nth(stream, number, lambda packet: None))
        assert any(line.startswith(f"a:{stream - 1}: holds ") for line in found), (stream, number)


def test_a_changed_bit_is_found(case: Case) -> None:
    assert _findings(case, _nth(1, 20, _flip_a_bit)) == ["a:0: its packets differ from the source's"]
    assert _findings(case, _nth(2, 0, _flip_a_bit)) == ["a:1: its packets differ from the source's"]


def test_sound_that_drifts_is_found(case: Case) -> None:
    output, joined = case
    late = [
        time + (n // 2) * joined.copies[0].time_base.denominator // 1000
        for n, time in enumerate(joined.copies[0].times)
    ]
    drifted = replace(joined, copies=(replace(joined.copies[0], times=late), *joined.copies[1:]))
    found = check_output(output, drifted)
    assert len(found) == 1
    assert found[0].startswith("a:0 packet ")
    assert "more" in found[0]


def test_a_picture_that_is_late_as_a_whole_is_found(case: Case) -> None:
    output, joined = case
    late = replace(joined, pts=[time + joined.time_base.denominator // 100 for time in joined.pts])
    assert any(line.startswith("frame 0 at 0.00000 s instead of 0.01") for line in check_output(output, late))


def test_a_wrong_end_is_found(case: Case) -> None:
    output, joined = case
    longer = replace(joined, end=joined.end + Fraction(1, 25))
    assert check_output(output, longer) == ["the picture ends at 1.0000 s instead of 1.0400 s"]


def test_a_missing_stream_is_found(case: Case, tmp_path: Path) -> None:
    output, joined = case
    clip = make_clip(tmp_path / "less.mkv", frames=25, audio=[Audio(language="eng")])
    less = tmp_path / f"less.out{output.suffix}"
    rejoin(clip, less)
    assert check_output(less, joined) == [
        "holds the streams video h264, audio aac instead of video h264, audio aac, audio ac3"
    ]


def test_a_wrong_language_or_flag_is_found(case: Case) -> None:
    output, joined = case
    first, second, third = joined.streams
    other = replace(joined, streams=(first, replace(second, language="ita"), third))
    assert check_output(output, other) == ["a:0: has the language eng instead of ita"]
    flagged = replace(joined, streams=(first, second, replace(third, flags=frozenset({"forced"}))))
    assert check_output(output, flagged) == ["a:1: is flagged nothing instead of forced"]


def test_a_lost_chapter_is_found(case: Case) -> None:
    output, joined = case
    more = replace(joined, chapters=(*joined.chapters, (Fraction(2), "three")))
    assert check_output(output, more) == ["holds 2 chapters instead of 3"]
    moved = replace(joined, chapters=((Fraction(1, 10), "one"), (Fraction(1, 2), "zwei")))
    assert check_output(output, moved) == [
        "chapter 1 begins at 0.000 s instead of 0.100 s",
        "chapter 2 is named 'two' instead of 'zwei'",
    ]


def test_wrong_tags_are_found(case: Case) -> None:
    output, joined = case
    other = replace(joined, picture=Look(color=HD))
    assert check_output(output, other) == [
        "is tagged matrix 6 instead of 1",
        "is tagged primaries 6 instead of 1",
        "is tagged transfer 6 instead of 1",
    ]
    full = replace(joined, picture=Look(color=replace(SD, full_range=True)))
    assert check_output(output, full) == ["is tagged range limited instead of full"]
    center = replace(joined, picture=Look(color=replace(SD, siting="center")))
    assert check_output(output, center) == ["is tagged siting left instead of center"]


def test_a_wrong_shape_is_found(case: Case) -> None:
    output, joined = case
    assert check_output(output, replace(joined, picture=Look(width=128))) == ["is 64x48 instead of 128x48"]
    wide = replace(joined, sample_aspect_ratio=Fraction(4, 3))
    assert check_output(output, wide) == ["has the sample aspect ratio 1 instead of 4/3"]
    turned = replace(joined, display_matrix=_QUARTER)
    assert check_output(output, turned) == ["is turned by (1, 0, 0, 1) instead of (0, 1, -1, 0)"]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_turn_by_any_angle_is_kept_and_another_is_found(tmp_path: Path, suffix: str) -> None:
    for degrees in (7, 30, 45, 123.4, 270):
        turn = math.radians(degrees)
        c, s = (round(65536 * value) for value in (math.cos(turn), math.sin(turn)))
        rough = 0 if degrees == 270 else 1  # as some cameras round it
        clip = make_clip(tmp_path / "clip.mp4", frames=2, matrix=(c, -s, 0, s, c + rough, 0, 0, 0, 1 << 30))
        output = tmp_path / f"out.{suffix}"
        joined = rejoin(clip, output, segments=1)
        assert check_output(output, joined) == []
        assert joined.display_matrix is not None
        other = (joined.display_matrix[0] + 6, *joined.display_matrix[1:])
        assert "is turned by (" in check_output(output, replace(joined, display_matrix=other))[0]


def test_a_lost_font_or_cover_is_found(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", fonts=["a.ttf"], cover=True, subtitles=[Subtitle()])
    joined = rejoin(clip, tmp_path / "out.mkv")
    assert check_output(tmp_path / "out.mkv", joined) == []
    bare = rejoin(clip, tmp_path / "bare.mkv", drop=["t", "v"])
    assert check_output(tmp_path / "bare.mkv", bare) == []
    assert "attachment font/ttf" in check_output(tmp_path / "bare.mkv", joined)[0]


def test_a_torn_file_is_found(case: Case) -> None:
    output, joined = case
    data = output.read_bytes()
    output.write_bytes(data[: len(data) * 2 // 3])
    found = check_output(output, joined)
    assert found
    assert all("\n" not in line for line in found)
    output.write_bytes(b"")
    assert check_output(output, joined)[0].startswith("cannot be read back: ")


def test_frames_that_the_container_hides_are_found(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", codec="ffv1", frames=10)
    joined = rejoin(clip, tmp_path / "out.mp4", codec="ffv1")
    with av.open(str(tmp_path / "out.mp4")) as old, av.open(str(tmp_path / "hiding.mp4"), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
        packets = [packet for packet in old.demux() if packet.size]
        for number, packet in enumerate(packets):
            packet.stream = stream
            packet.duration = 0 if number == len(packets) - 1 else packet.duration  # its edit list then ends before
            new.mux(packet)
    assert check_output(tmp_path / "hiding.mp4", joined)


def test_a_check_can_be_stopped(case: Case) -> None:
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        check_output(*case, cancel=cancel)
