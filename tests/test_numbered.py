"""Numbered pictures: a clip from them, and them from a clip."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from tests.media_maker import Audio, make_clip, number_of
from vsr.cli import commands
from vsr.errors import Cancelled, ConfigError, MediaError
from vsr.events import NoteEvent, PlanEvent, ProgressEvent
from vsr.settings import UpscaleSettings
from vsr.stage import Cancel
from vsr.video import upscale_video

COLOURS = [(10 + 40 * k, 200 - 30 * k, 90) for k in range(6)]


def run(source: Path, output: Path | None, nearest: Path, cancel: Cancel | None = None, **changes):
    settings = UpscaleSettings(**{"model": str(nearest), "scale": Fraction(2), "device": "cpu", **changes})
    events: list = []
    done = upscale_video(source, output, settings=settings, on_event=events.append, cancel=cancel)
    return done, events


def notes(events: list) -> str:
    return "\n".join(event.message for event in events if isinstance(event, NoteEvent))


def paint(
    folder: Path, *, first: int = 1, count: int = 6, suffix: str = ".png", size: tuple[int, int] = (64, 48)
) -> Path:
    """Pictures of one colour each; the pattern that names them."""
    folder.mkdir(exist_ok=True)
    for k in range(count):
        Image.new("RGB", (64, 48), COLOURS[k]).save(folder / f"{first + k:04d}.png")
    return folder / "%04d.png"


def deep(path: Path, value: int) -> None:
    """A 16-bit RGB picture of one grey."""
    frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), value, np.uint16), format="rgb48be")
    frame.pts = 0
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, "rgb48be", Fraction(1, 25)
    path.write_bytes(b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None))))


def shown(path: Path) -> int:
    """The number that a picture shows."""
    with Image.open(path) as picture:
        return number_of(av.VideoFrame.from_ndarray(np.asarray(picture.convert("L")), format="gray"))


def decoded(path: Path) -> av.VideoFrame:
    with av.open(str(path)) as file:
        return next(file.decode(video=0))


def test_pictures_become_a_clip_of_the_rate_that_is_given(tmp_path, nearest):
    pattern = paint(tmp_path / "in 100%", first=17)
    run(pattern, tmp_path / "out.mkv", nearest, fps=Fraction(24000, 1001), codec="ffv1")
    with av.open(str(tmp_path / "out.mkv")) as file:
        frames = [(frame.time, frame) for frame in file.decode(video=0)]
    assert [time for time, _ in frames] == [
        pytest.approx(k * 1001 / 24000, abs=0.0006)
        for k in range(6)  # Matroska's half millisecond
    ]
    for (_, frame), colour in zip(frames, COLOURS, strict=True):
        assert frame.color_trc == 13  # sRGB, as pictures are
        assert (frame.to_ndarray(format="rgb24") == colour).all()  # exact: RGB stays RGB in FFV1


def test_a_part_of_the_pictures_can_be_taken(tmp_path, nearest):
    pattern = paint(tmp_path / "in")
    (tmp_path / "out").mkdir()
    done, _ = run(
        pattern, tmp_path / "out" / "%04d.png", nearest, fps=Fraction(10), start=Fraction(1, 5), end=Fraction(2, 5)
    )
    assert done.frames == 2
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == ["0003.png", "0004.png"]


def test_a_clip_becomes_numbered_pictures(tmp_path, nearest):
    clip = make_clip(tmp_path / "clip.mkv", frames=7, audio=[Audio()])
    (tmp_path / "out").mkdir()
    done, events = run(clip, tmp_path / "out" / "%06d.png", nearest)
    assert done.frames == 7
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == [f"{k:06d}.png" for k in range(1, 8)]
    plan = next(event for event in events if isinstance(event, PlanEvent))
    assert [row[2] for row in plan.streams] == ["upscale", "drop"]
    assert [shown(tmp_path / "out" / f"{k:06d}.png") for k in range(1, 8)] == list(range(7))
    with Image.open(tmp_path / "out" / "000001.png") as picture:
        assert (picture.size, picture.mode) == ((128, 96), "RGB")
        assert picture.info["chromaticity"][2:4] == (0.63, 0.34)  # red of SMPTE 170M, as the clip says
        assert picture.info["aspect"][0] == picture.info["aspect"][1] > 0


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
def test_colours_stay_from_pictures_to_pictures(tmp_path, nearest, suffix):
    pattern = paint(tmp_path / "in", first=3)
    (tmp_path / "out").mkdir()
    run(pattern, tmp_path / "out" / f"%d{suffix}", nearest)
    for k, colour in enumerate(COLOURS):
        with Image.open(tmp_path / "out" / f"{3 + k}{suffix}") as picture:
            off = np.abs(np.asarray(picture.convert("RGB"), int) - colour).max()
        assert off <= (0 if suffix in (".png", ".tif") else 3)  # JPEG and WebP round in YCbCr, WebP in 4:2:0


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_stay_sixteen_bits(tmp_path, nearest, suffix):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    values = [257, 30001, 65000]
    for k, value in enumerate(values):
        deep(tmp_path / "in" / f"{k}.png", value)
    run(tmp_path / "in" / "%d.png", tmp_path / "out" / f"%d{suffix}", nearest, precision="fp32")
    for k, value in enumerate(values):
        frame = decoded(tmp_path / "out" / f"{k}{suffix}")
        assert frame.format.name.startswith("rgb48")
        assert np.abs(frame.to_ndarray().astype(int) - value).max() <= 1  # float32 knows 16 bits, but for rounding


def test_eight_bit_formats_say_that_they_are(tmp_path, nearest):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    deep(tmp_path / "in" / "1.png", 30001)
    _, events = run(tmp_path / "in" / "%d.png", tmp_path / "out" / "%d.jpg", nearest)
    assert "jpeg holds 8 bits, the source has 16" in notes(events)


def test_what_is_there_is_not_made_again(tmp_path, nearest):
    pattern, out = paint(tmp_path / "in"), tmp_path / "out" / "%04d.png"
    out.parent.mkdir()
    run(pattern, out, nearest)
    before = {path.name: path.stat().st_mtime_ns for path in out.parent.glob("*.png")}
    done, _ = run(pattern, out, nearest)
    assert done.already_done
    (out.parent / "0004.png").unlink()
    done, events = run(pattern, out, nearest)
    assert not done.already_done
    assert [event.frames for event in events if isinstance(event, ProgressEvent)] == [1]
    after = {path.name: path.stat().st_mtime_ns for path in out.parent.glob("*.png")}
    assert {name for name in before if before[name] != after[name]} == {"0004.png"}


def test_a_stopped_run_goes_on_and_leaves_nothing_half_written(tmp_path, nearest):
    clip, out = make_clip(tmp_path / "clip.mkv", frames=40), tmp_path / "out" / "%04d.png"
    out.parent.mkdir()
    cancel = Cancel()
    settings = UpscaleSettings(model=str(nearest), scale=Fraction(2), device="cpu")

    def stop(event: object) -> None:
        if isinstance(event, ProgressEvent) and event.frames == 5:
            cancel.set()

    with pytest.raises(Cancelled):
        upscale_video(clip, out, settings=settings, on_event=stop, cancel=cancel)
    kept = {path.name: path.stat().st_mtime_ns for path in out.parent.glob("*.png")}
    assert 5 <= len(kept) < 40
    assert not list(out.parent.glob(".*.part"))
    done, _ = run(clip, out, nearest)
    assert done.frames == 40
    assert all((out.parent / name).stat().st_mtime_ns == time for name, time in kept.items())
    assert [shown(out.parent / f"{k:04d}.png") for k in range(1, 41)] == list(range(40))


def test_pictures_of_other_settings_are_not_touched(tmp_path, nearest):
    pattern, out = paint(tmp_path / "in"), tmp_path / "out" / "%04d.png"
    out.parent.mkdir()
    run(pattern, out, nearest)
    with pytest.raises(MediaError, match="pictures of other settings are there; add --overwrite"):
        run(pattern, out, nearest, scale=Fraction(1))
    done, _ = run(pattern, out, nearest, scale=Fraction(1), overwrite=True)
    assert done.frames == 6
    with Image.open(out.parent / "0001.png") as picture:
        assert picture.size == (64, 48)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda folder: (folder / "0003.png").unlink(), r"0003\.png: is missing, and the numbers go on to 0006\.png"),
        (lambda folder: Image.new("RGB", (32, 48)).save(folder / "0005.png"), r"0005\.png: is 32x48 pixels, the first"),
        (lambda folder: (folder / "0002.png").write_bytes(b"no picture"), r"0002\.png: cannot be read as a picture"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "no such pictures; check the name"),
    ],
)
def test_what_is_wrong_with_the_pictures_is_one_line(tmp_path, nearest, change, line):
    pattern = paint(tmp_path / "in")
    change(tmp_path / "in")
    with pytest.raises(MediaError, match=line) as caught:
        run(pattern, tmp_path / "out.mkv", nearest, fps=Fraction(24))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("output", "given", "line"),
    [
        ("out.mkv", {}, "numbered pictures have no times; say how many a second with --fps"),
        (None, {"fps": Fraction(24)}, "numbered pictures have no name to make another of"),
        ("%04d.exr", {}, "is no picture vsr numbers"),
        ("none/%04d.png", {}, "no such folder; make it first"),
        ("in/%04d.png", {}, "holds the source itself"),
    ],
)
def test_what_cannot_be_is_said_at_once(tmp_path, nearest, output, given, line):
    pattern = paint(tmp_path / "in")
    with pytest.raises((MediaError, ConfigError), match=line):
        run(pattern, None if output is None else tmp_path / output, nearest, **given)


def test_a_rate_is_for_pictures_alone(tmp_path, nearest):
    with pytest.raises(ConfigError, match="is for numbered pictures"):
        run(make_clip(tmp_path / "clip.mkv", frames=2), tmp_path / "out.mkv", nearest, fps=Fraction(24))


def test_a_file_with_a_percent_sign_is_a_file(tmp_path, nearest):
    clip = make_clip(tmp_path / "100%d.mkv", frames=3)
    assert run(clip, tmp_path / "out.mkv", nearest)[0].frames == 3


@pytest.mark.parametrize(("typed", "rate"), [("24", "24"), ("23.976", "24000/1001"), ("30000/1001", "30000/1001")])
def test_rates_as_they_are_typed(tmp_path, nearest, typed, rate):
    paint(tmp_path / "in", count=2)
    words = ["upscale", str(tmp_path / "in" / "%04d.png"), "--fps", typed, "-o", str(tmp_path / "out.mp4")]
    result = CliRunner().invoke(commands, [*words, "--model", str(nearest), "--scale", "2"])
    assert result.exit_code == 0, result.output
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert file.streams.video[0].average_rate == Fraction(rate)
