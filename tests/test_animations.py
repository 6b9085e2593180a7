"""Animations: frames, times, repeats and transparency, read back by Pillow and libav."""

import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.still_maker import slope, twice
from vsr.errors import MediaError
from vsr.io.animation_write import write_apng, write_gif, write_webp_frames
from vsr.io.gif_frames import reach_of
from vsr.io.still import Metadata
from vsr.picture import LEVELS_8, RenderedPage
from vsr.settings import UpscaleSettings
from vsr.still_plan import plan_still
from vsr.stills import upscale_image

TIMES = [Fraction(1, 10), Fraction(1, 25), Fraction(1, 10), Fraction(7, 100)]


@pytest.fixture
def settings(nearest) -> UpscaleSettings:
    return UpscaleSettings(model=str(nearest), scale=Fraction(2), device="cpu", precision="fp32")


def frames() -> list[np.ndarray]:
    """Four RGBA frames: a hole that moves over flat fields; the last two are equal."""
    found = []
    for left in (2, 8, 14, 14):
        frame = np.zeros((16, 28, 4), np.uint8)
        frame[:, :14] = (200, 30, 40, 255)
        frame[:, 14:] = (10, 90, 220, 255)
        frame[4:10, left : left + 6] = (0, 0, 0, 0)
        found.append(frame)
    return found


def pages(times=TIMES):
    for frame, seconds in zip(frames(), times, strict=True):
        yield RenderedPage(
            height=16, width=28, channels=4, levels=LEVELS_8, bands=iter([frame[:9], frame[9:]]), seconds=seconds
        )


def make(path: Path, loops: int | None = 3, times=TIMES) -> Path:
    match path.suffix:
        case ".png":
            write_apng(path, pages(times), loops=loops, chunks=[])
        case ".gif":
            write_gif(path, pages(times), loops=loops, comment=b"said")
        case ".webp":
            write_webp_frames(path, pages(times), loops=loops, quality=80, is_lossless=True, metadata=Metadata())
    return path


def shown(path: Path) -> list[tuple[np.ndarray, float]]:
    """(RGBA, milliseconds) of all frames, by Pillow."""
    with Image.open(path) as file:
        found = []
        for number in range(getattr(file, "n_frames", 1)):
            file.seek(number)
            found.append((np.asarray(file.convert("RGBA")), file.info["duration"]))
    return found


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_frames_times_repeats_and_holes_are_kept(settings, tmp_path, suffix):
    source = make(tmp_path / f"a{suffix}")
    output = Path(upscale_image(source, settings=settings).output)
    assert output.suffix == suffix
    found = shown(output)
    assert [time for _, time in found] == pytest.approx([100, 40, 100, 70])
    with Image.open(output) as file:
        assert file.info["loop"] == 3
    for (picture, _), frame in zip(found, frames(), strict=True):
        wanted = twice(frame)
        assert np.array_equal(picture[..., 3], wanted[..., 3])
        seen = wanted[..., 3] > 0
        assert np.array_equal(picture[seen], wanted[seen])


@pytest.mark.parametrize("suffix", [".gif", ".png"])
def test_libav_reads_the_same_frames_at_the_same_times(settings, tmp_path, suffix):
    output = Path(upscale_image(make(tmp_path / f"a{suffix}"), settings=settings).output)
    with av.open(str(output)) as file:
        read = [
            ((frame.pts or 0) * (frame.time_base or 0), frame.to_ndarray(format="rgba"))
            for frame in file.decode(video=0)
        ]
    assert [float(time) for time, _ in read] == pytest.approx([0, 0.1, 0.14, 0.24])
    for (_, picture), frame in zip(read, frames(), strict=True):
        seen = twice(frame)[..., 3] > 0
        assert np.array_equal(picture[seen], twice(frame)[seen])
        assert not picture[~seen][:, 3].any()


def test_an_apng_keeps_times_that_are_no_milliseconds(settings, tmp_path):
    times = [Fraction(1, 30), Fraction(1001, 24000), Fraction(1, 60), Fraction(2)]
    output = Path(upscale_image(make(tmp_path / "a.png", times=times), settings=settings).output)
    with Image.open(output) as file:
        told = []
        for number in range(4):
            file.seek(number)
            told.append(file.info["duration"])
    assert told == pytest.approx([float(time * 1000) for time in times])


def test_rounding_of_times_does_not_add_up(tmp_path):
    make(tmp_path / "a.gif", times=[Fraction(1, 30)] * 4)
    assert [time for _, time in shown(tmp_path / "a.gif")] == [30, 40, 30, 30]


@pytest.mark.parametrize("loops", [0, None])
@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_for_ever_and_once_are_told_apart(settings, tmp_path, suffix, loops):
    output = Path(upscale_image(make(tmp_path / f"a{suffix}", loops), settings=settings).output)
    with Image.open(output) as file:
        once = None if suffix == ".gif" else 1  # a GIF that says nothing plays once
        assert file.info.get("loop") == (0 if loops == 0 else once)


def test_a_comment_stays(settings, tmp_path):
    output = Path(upscale_image(make(tmp_path / "a.gif"), settings=settings).output)
    with Image.open(output) as file:
        assert file.info["comment"] == b"said"


def test_a_photo_in_a_gif_keeps_its_colours_near(settings, tmp_path):
    Image.fromarray(slope(3, size=(60, 80))).save(tmp_path / "a.gif")
    output = Path(upscale_image(tmp_path / "a.gif", settings=settings).output)
    with Image.open(tmp_path / "a.gif") as before, Image.open(output) as after:
        error = np.abs(np.asarray(after.convert("RGB")).astype(int) - twice(np.asarray(before.convert("RGB"))))
    assert error.mean() < 1


def test_an_animation_becomes_another_one_and_never_one_picture(settings, tmp_path):
    source = make(tmp_path / "a.gif")
    output = Path(upscale_image(source, settings=replace(settings, format="webp")).output)
    assert [time for _, time in shown(output)] == [100, 40, 100, 70]
    plan = plan_still(source, None, replace(settings, format="jpeg"))
    assert plan.output.name == "a_x2.png"
    assert plan.notes[0] == "JPEG holds no animation, and this has 4 frames: it becomes PNG"
    with pytest.raises(MediaError, match="JPEG holds no animation"):
        plan_still(source, tmp_path / "b.jpg", settings)


def test_an_animation_that_breaks_off_comes_as_far_as_it_goes(settings, tmp_path):
    source = make(tmp_path / "a.png")
    data = source.read_bytes()
    last = data.rindex(b"fdAT")
    source.write_bytes(data[: last + 12])
    done = upscale_image(source, settings=settings)
    assert done.damage.startswith("breaks off after frame 3 of 4")
    assert len(shown(Path(done.output))) == 3


@pytest.mark.parametrize(("width", "height"), [(28, 20), (60_000, 30_000)])
def test_a_gif_whose_later_frame_claims_more_than_the_picture_is_given_no_room(settings, tmp_path, width, height):
    Image.fromarray(slope(3)).quantize(16).save(tmp_path / "a.gif")
    data = (tmp_path / "a.gif").read_bytes()
    head = 13 + (3 << (data[10] & 7) + 1)
    frame = data[head:-1]
    assert frame[:1] == b","
    (tmp_path / "a.gif").write_bytes(data[:-1] + b"," + struct.pack("<4H", 0, 0, width, height) + frame[9:] + b";")
    assert reach_of(tmp_path / "a.gif") == (height, width)
    if width == 28:
        upscale_image(tmp_path / "a.gif", settings=settings)
        return
    with pytest.raises(MediaError, match="has frames that reach beyond its 28x20 pixels; save it again"):
        upscale_image(tmp_path / "a.gif", settings=settings)
