"""The shape of pixels written into finished Matroska files."""

import subprocess
import zlib
from fractions import Fraction

import av
import pytest

from tests.media_maker import Audio, Chapter, Subtitle, make_clip, read_frames, read_packets, rejoin
from vsr.errors import MediaError
from vsr.io.matroska import _elements, _read_tracks, declare_aspect, roomy_title
from vsr.verify import check_output


@pytest.mark.parametrize(
    ("aspect", "title"),
    [(Fraction(4, 3), ""), (Fraction(16, 11), "Süßes 夏"), (Fraction(5000, 4999), "x" * 300)],
    ids=["whole pixels", "only a ratio", "large numbers"],
)
@pytest.mark.parametrize(("codec", "container"), [("ffv1", "mkv"), ("libvpx-vp9", "webm")])
def test_the_shape_is_there_and_nothing_else_is_changed(tmp_path, aspect, codec, container, title):
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    path = make_clip(
        tmp_path / f"out.{container}",
        codec=codec,
        frames=3,
        title=roomy_title(title),
        language="fra",
        audio=[Audio(codec="libopus", title="sound")],
    )
    frames, packets, length = read_frames(path), read_packets(path), path.stat().st_size
    declare_aspect(path, title=title, size=(48, 64), aspect=aspect)
    assert (read_frames(path), read_packets(path), path.stat().st_size) == (frames, packets, length)
    with av.open(str(path)) as file:
        video, sound = file.streams.video[0], file.streams.audio[0]
        assert video.sample_aspect_ratio == aspect
        assert video.metadata.get("title", "") == title
        assert (video.metadata["language"], sound.metadata["title"]) == ("fra", "sound")
    strict = [ffmpeg, "-v", "warning", "-err_detect", "crccheck+explode", "-i", path, "-f", "null", "-"]
    assert subprocess.run(strict, capture_output=True, text=True).stderr == ""
    said = subprocess.run([ffmpeg, "-hide_banner", "-i", path], capture_output=True, text=True).stderr
    assert f"SAR {aspect.numerator}:{aspect.denominator}" in said


def test_the_check_sum_is_right_again(tmp_path):
    path = make_clip(tmp_path / "out.mkv", codec="ffv1", frames=2, title=roomy_title("a"))
    declare_aspect(path, title="a", size=(48, 64), aspect=Fraction(4, 3))
    with path.open("rb") as file:
        _, tracks = _read_tracks(file)
    number, start, end = next(_elements(tracks))
    assert number == 0xBF, "libav writes one in Matroska"
    assert tracks[start:end] == zlib.crc32(tracks[end:]).to_bytes(4, "little")


def test_a_track_that_is_not_there_is_an_error(tmp_path):
    path = make_clip(tmp_path / "out.mkv", frames=2, title="another")
    with pytest.raises(MediaError, match="is not found again"):
        declare_aspect(path, title="a", size=(48, 64), aspect=Fraction(4, 3))


@pytest.mark.parametrize(
    ("codec", "container"),
    [
        ("av1", "webm"),
        ("vp9", "webm"),
        ("ffv1", "mkv"),
        ("prores", "mkv"),
        ("h264", "mkv"),
        ("av1", "mkv"),
        ("vp9", "mp4"),
    ],
)
def test_every_codec_keeps_the_shape_of_pixels_in_every_container(tmp_path, codec, container):
    clip = make_clip(
        tmp_path / "in.mkv",
        size=(64, 64),
        aspect=Fraction(16, 11),
        title="film",
        subtitles=[Subtitle()],
        chapters=[Chapter(start=Fraction(0), end=Fraction(1, 4), title="one")],
    )
    output = tmp_path / f"out.{container}"
    joined = rejoin(clip, output, codec=codec)
    assert check_output(output, joined) == []
    with av.open(str(output)) as file:
        video = file.streams.video[0]
        assert video.sample_aspect_ratio == Fraction(16, 11)
        assert video.metadata.get("title" if container != "mp4" else "handler_name") == "film"
    assert [number for _, number in read_frames(output)] == list(range(12))
