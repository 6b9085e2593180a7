"""`vsr verify`: silent on what a run made of its source, a line for each thing that another file does not have.

Outputs that are wrong are made of a source that differs from the one they are held against in one thing, or changed.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from av.packet import Packet

from tests.color_maker import BAR, BARS, codes_of, write
from tests.media_maker import SD, Audio, Chapter, Subtitle, changed_packets, make_clip
from vsr.audit import remembered_settings, verify_video
from vsr.cli import run
from vsr.errors import MediaError
from vsr.events import ComparedEvent, FindingEvent, NoteEvent, VerifiedEvent
from vsr.settings import UpscaleSettings
from vsr.video import upscale_video

Change = Callable[[Packet], Packet | None]


def upscaled(source: Path, output: Path, nearest: Path, **changes) -> Path:
    settings = UpscaleSettings(model=str(nearest), device="cpu", **{"scale": Fraction(2), **changes})
    upscale_video(source, output, settings=settings)
    return output


def clip(path: Path, **more) -> Path:
    """Half a second with two sounds."""
    return make_clip(path, **{"frames": 13, "audio": [Audio(), Audio(codec="ac3")], **more})


def findings(source: Path, output: Path, **settings) -> list[str]:
    found: list[str] = []
    verified = verify_video(
        source,
        output,
        settings=UpscaleSettings(**settings),
        on_event=lambda event: found.append(event.message) if isinstance(event, FindingEvent) else None,
    )
    assert verified.findings == len(found)
    assert all("\n" not in line for line in found)
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("source") / "clip.mkv")


@pytest.fixture(scope="module")
def output(source: Path, nearest: Path) -> Path:
    return upscaled(source, source.with_name("clip_x2.mkv"), nearest)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_nothing_is_wrong_with_what_a_run_made(tmp_path, nearest, suffix):
    """Of a clip with sound, texts, chapters, tags, a cover and pixels that are not square, in odd times."""
    whole = clip(
        tmp_path / "clip.mkv",
        pts=[0, 40, 80, 121, 165, 205, 240, 300, 345, 380, 420, 460, 500],
        time_base=Fraction(1, 1000),
        subtitles=[Subtitle(language="eng")],
        chapters=[Chapter(start=Fraction(0), end=Fraction(1, 4), title="one")],
        aspect=Fraction(4, 3),
        cover=suffix == "mkv",
        metadata={"title": "a clip", "artist": "nobody"},
    )
    made = upscaled(whole, tmp_path / f"out.{suffix}", nearest)
    assert findings(whole, made) == []


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"start": Fraction(1, 5), "end": Fraction(2, 5)}, "holds 5 frames instead of 13"),
        ({"drop": ("a:1",)}, "holds the streams"),
        ({"audio": "flac"}, "holds the streams"),
        ({"deinterlace": "double"}, "holds 26 frames instead of 13"),
        ({"crop": "auto"}, None),
        ({"matrix": "bt709"}, "is tagged matrix 1 instead of 6"),
        ({"scale": None, "size": (60, 100)}, None),
    ],
    ids=str,
)
def test_what_the_run_was_told_is_known_or_must_be_given(tmp_path, nearest, source, changes, wrong):
    made = upscaled(source, tmp_path / "out.mkv", nearest, **changes)
    known = remembered_settings(made)
    assert known is not None
    assert verify_video(source, made).findings == 0
    given = {name: value for name, value in changes.items() if name not in ("scale", "size")}
    assert findings(source, made, **given) == []
    if wrong is not None:
        assert any(wrong in line for line in findings(source, made)), "without the option"


def test_turned_numbered_and_many_pictures_can_be_verified(tmp_path, nearest):
    quarter = (0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30)
    turned = make_clip(tmp_path / "turned.mp4", frames=4, matrix=quarter)
    for number, changes in enumerate(({}, {"apply_rotation": True})):
        made = upscaled(turned, tmp_path / f"{number}.mp4", nearest, **changes)
        assert findings(turned, made, **changes) == []
    assert findings(turned, tmp_path / "1.mp4") != []
    two = make_clip(tmp_path / "two.mkv", frames=4, more_video=1)
    assert findings(two, upscaled(two, tmp_path / "both.mkv", nearest)) == []
    (tmp_path / "frames").mkdir()
    pictures = upscaled(two, tmp_path / "frames" / "%04d.png", nearest)
    made = upscaled(pictures, tmp_path / "pictures.mp4", nearest, fps=Fraction(24))
    assert findings(pictures, made, fps=Fraction(24)) == []
    assert findings(pictures, made, fps=Fraction(25))[0].startswith("frame 1 at 0.04167 s instead of 0.04000 s")


def _nth(stream: int, number: int, change: Change) -> Change:
    """Apply a change to one packet of a stream only."""
    seen = 0

    def only(packet: Packet) -> Packet | None:
        nonlocal seen
        seen += packet.stream.index == stream
        return change(packet) if packet.stream.index == stream and seen == number + 1 else packet

    return only


def _flipped(packet: Packet) -> Packet:
    data = bytearray(bytes(packet))
    data[len(data) // 2] ^= 1
    changed = Packet(bytes(data))
    changed.pts, changed.dts, changed.duration = packet.pts, packet.dts, packet.duration
    changed.time_base, changed.is_keyframe = packet.time_base, packet.is_keyframe
    return changed


def _late_sound(packet: Packet) -> Packet:
    if packet.stream.index == 1:
        assert packet.pts is not None
        assert packet.dts is not None
        packet.pts, packet.dts = packet.pts + 40, packet.dts + 40
    return packet


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (_nth(0, 7, lambda packet: None), "holds 12 frames instead of 13"),
        (_nth(1, 5, _flipped), "a:0: its packets differ from the source's"),
        (_nth(2, 3, lambda packet: None), "a:1: holds"),
        (_late_sound, "a:0: is 40.0 ms late against the picture"),
    ],
    ids=["a dropped frame", "a changed packet", "a lost packet", "late sound"],
)
def test_what_was_done_to_a_file_is_found(tmp_path, source, output, change: Change, line):
    with changed_packets(output, tmp_path / "changed.mkv", change) as changed:
        assert any(found.startswith(line) for found in findings(source, changed)), findings(source, changed)


@pytest.mark.parametrize(
    ("differs", "line"),
    [
        ({"first": 1}, "frame 0 at 0.000 s and those that follow show the frame after the one that is due"),
        ({"audio": [Audio()]}, "holds the streams video h264, audio aac instead of"),
        ({"color": replace(SD, full_range=True)}, "is tagged range full instead of limited"),
        ({"frames": 12}, "holds 12 frames instead of 13"),
        ({"audio": [Audio(language="fra"), Audio(codec="ac3")]}, "a:0: has the language fra instead of None"),
        ({"size": (48, 96)}, "is 192x96, which is not the shape of 64x48"),
        ({"metadata": {"title": "another"}}, "has the tag title 'another' instead of none"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_was_made_of_another_clip_is_found(tmp_path, nearest, source, differs, line):
    made = upscaled(clip(tmp_path / "other.mkv", **differs), tmp_path / "out.mkv", nearest)
    assert any(found.startswith(line) for found in findings(source, made)), findings(source, made)


def test_a_wrong_matrix_is_found(tmp_path, nearest):
    """The other clip's codes are by BT.709, and it says that they are by BT.601, as this one truly does."""
    for name, matrix in (("right.mkv", 6), ("wrong.mkv", 1)):
        codes = codes_of(BARS, matrix, full=False, depth=8).astype(np.uint8)
        planes = [np.tile(np.repeat(row, BAR), (64, 1)) for row in codes]
        write(tmp_path / name, planes, "yuv444p", tags=(6, 6, 6, 1))
    made = upscaled(tmp_path / "wrong.mkv", tmp_path / "out.mkv", nearest, codec="ffv1")
    assert findings(tmp_path / "wrong.mkv", made) == []
    assert findings(tmp_path / "right.mkv", made) == [
        "has the colours of BT.709 in limited range, which it is not tagged with"
    ]


def test_pictures_that_cannot_be_decoded_are_a_finding(tmp_path, source, output):
    """The file breaks off."""
    data = output.read_bytes()
    torn = tmp_path / "torn.mkv"
    torn.write_bytes(data[: len(data) // 2])
    assert findings(source, torn)


def test_each_part_is_told_how_far_it_is_from_the_source(source, output):
    events: list = []
    verified = verify_video(source, output, on_event=events.append)
    (part,) = (event for event in events if isinstance(event, ComparedEvent))
    assert (part.index, part.frames) == (0, 13)
    assert part.difference == verified.difference
    assert 0 <= part.difference < 2
    assert not [event for event in events if isinstance(event, NoteEvent)]
    assert isinstance(events[-1], VerifiedEvent)


def test_neither_file_is_changed(source, output):
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in (source, output)]
    verify_video(source, output)
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in (source, output)] == before


def test_a_file_that_is_no_output_is_one_line(tmp_path, source):
    sound = make_clip(tmp_path / "sound.mkv", frames=2)
    with pytest.raises(MediaError, match="no such file"):
        verify_video(source, tmp_path / "none.mkv")
    for name in ("photo.png", "clip.nut"):
        (tmp_path / name).touch()
        with pytest.raises(MediaError, match=r"give an \.mp4"):
            verify_video(source, tmp_path / name)
    (tmp_path / "text.mkv").write_text("no clip")
    with pytest.raises(MediaError):
        verify_video(source, tmp_path / "text.mkv")
    with pytest.raises(MediaError, match="no frame is shown there"):
        verify_video(sound, sound, settings=UpscaleSettings(start=Fraction(100)))


def test_the_command_says_one_line_a_finding_and_ends_with_1(tmp_path, source, output, capfd):
    assert run(["verify", str(source), str(output)]) == 0
    out, err = capfd.readouterr()
    assert out == ""
    assert "13 frames, pictures differ by " in err
    assert err.endswith("on average: nothing is wrong\n")
    with changed_packets(output, tmp_path / "changed.mkv", _nth(1, 5, _flipped)) as changed:
        assert run(["verify", str(source), str(changed)]) == 1
        out, err = capfd.readouterr()
        assert out == f"{changed}: a:0: its packets differ from the source's\n"
        assert err.endswith("on average: one finding\n")
        assert run(["verify", str(source), str(changed), "--json"]) == 1
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["event"] for line in lines if line["event"] != "progress"] == [*("compared", "finding", "verified")]
    assert lines[-2]["message"] == "a:0: its packets differ from the source's"


def test_the_command_takes_the_options_of_the_run(tmp_path, nearest, source, capfd):
    made = upscaled(source, tmp_path / "out.mkv", nearest, start=Fraction(1, 5), drop=("a:1",))
    moved = made.rename(tmp_path / "moved.mkv")
    assert run(["verify", str(source), str(moved), "-q"]) == 1
    assert run(["verify", str(source), str(moved), "--start", "0.2", "--drop", "a:1"]) == 0
