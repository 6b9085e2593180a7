"""Clips go through real encoders and come back: whole, the same each time, and as damaged as asked."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.error import FFmpegError
from av.video.frame import PictureType

from vsr.io import degrade_codec
from vsr.io.degrade_codec import (
    CODECS,
    DEFAULT_QUALITIES,
    JPEG_SUBSAMPLINGS,
    CodecFailed,
    Encoding,
    missing_codecs,
    through_chroma,
    through_jpeg,
    through_video,
)
from vsr.io.images import read_rgb
from vsr.io.planes_rgb import CHROMA_STEPS, to_planes, to_rgb

PHOTOS = ("cid22_1001682.webp", "cid22_7062177.webp")
WORST = 2  # codes that rounding YUV to 8 bits may cost: one of chroma is up to two of blue


@pytest.fixture(scope="session")
def texture() -> np.ndarray:
    """A picture (160, 160, 3) as detailed as a photograph shrunk to a fourth: amplitude falls with frequency^1.3."""
    frequency = np.hypot(np.fft.fftfreq(160)[:, None], np.fft.fftfreq(160))
    frequency[0, 0] = 1
    noise = np.random.default_rng(0).standard_normal((3, 160, 160))
    detail = np.fft.ifft2(np.fft.fft2(noise) / frequency**1.3).real
    detail = 0.8 * detail[:1] + 0.2 * detail  # mostly gray
    return (128 + 50 * (detail - detail.mean()) / detail.std()).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)


def panned(picture: np.ndarray, height: int, width: int, count: int, *, number: int = 0) -> np.ndarray:
    """A window that moves steadily over the picture: (count, height, width, 3)."""
    rng = np.random.default_rng(number)
    down, across = rng.integers(-2, 3, 2)
    top, left = (
        rng.integers(10, length - side - 10) for length, side in zip(picture.shape[:2], (height, width), strict=True)
    )
    starts = [(top + index * down, left + index * across) for index in range(count)]
    return np.stack([picture[row : row + height, column : column + width] for row, column in starts])


def luma_psnr(a: np.ndarray, b: np.ndarray) -> float:
    difference = (a.astype(float) - b) @ [65.481, 128.553, 24.966] / 255
    return 10 * np.log10(255**2 / (difference**2).mean())


def error(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b).max())


def digest(clip: np.ndarray) -> str:
    return hashlib.sha256(clip.tobytes()).hexdigest()


def kinds(clip: np.ndarray, encoding: Encoding) -> list[str]:
    return [PictureType(frame.pict_type).name for frame in degrade_codec._coded(clip, encoding)]


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("size", [(17, 23), (64, 64), (8, 8), (2, 3)])
@pytest.mark.parametrize("count", [1, 6])
def test_a_clip_of_any_size_comes_back_whole_and_in_place(texture, name, size, count):
    height, width = size
    clip = panned(texture, height, width, count)
    coded = through_video(clip, Encoding(encoder=name, quality=max(2, CODECS[name].quality_bounds[0])))
    assert (coded.shape, coded.dtype) == (clip.shape, np.uint8)
    assert luma_psnr(coded, clip) > 32  # one row or column off it is 25


@pytest.mark.parametrize(("name", "pixels"), [(name, p) for name, codec in CODECS.items() for p in codec.pixels])
def test_both_bounds_are_taken_in_every_format_of_pixels(texture, name, pixels):
    clip = panned(texture, 64, 64, 2)
    best, worst = (
        luma_psnr(through_video(clip, Encoding(encoder=name, quality=quality, pixels=pixels)), clip)
        for quality in CODECS[name].quality_bounds
    )
    assert best > worst + 10


@pytest.mark.parametrize("name", CODECS)
def test_padding_repeats_the_border(texture, name):
    clip, encoding = panned(texture, 65, 71, 2), Encoding(encoder=name, quality=30)
    wide = np.pad(clip, ((0, 0), (0, 3), (0, 1), (0, 0)), "edge")
    assert np.array_equal(through_video(clip, encoding), through_video(wide, encoding)[:, :65, :71])


def test_a_longer_clip_has_one_intra_frame_still(texture):
    clip = np.repeat(panned(texture, 64, 64, 1), 30, axis=0)  # libav's own choice for MPEG is one in twelve
    assert kinds(clip, Encoding(encoder="mpeg2", quality=5)) == ["I"] + ["P"] * 29


@pytest.mark.parametrize("name", CODECS)
def test_frames_are_predicted_from_others(texture, name):
    first, *others = kinds(panned(texture, 64, 64, 6), Encoding(encoder=name, quality=30))
    assert first == "I"
    assert set(others) == ({"P", "B"} if name in ("h264", "hevc") else {"P"})


def test_a_profile_limits_the_encoder(texture):
    clip = panned(texture, 64, 64, 6)
    assert "B" in kinds(clip, Encoding(encoder="h264", quality=30, profile="main"))
    assert "B" not in kinds(clip, Encoding(encoder="h264", quality=30, profile="baseline"))


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("h264", "ultrafast", "slow"),
        ("hevc", "ultrafast", "slow"),
        ("vp9", "5", "6"),  # but for realtime mode these are the same
        ("vp9", "6", "8"),
        ("av1", "8", "11"),
    ],
)
def test_presets_are_different_ways_to_encode(texture, name, one, other):
    clip = panned(texture, 96, 96, 6)
    coded = [through_video(clip, Encoding(encoder=name, quality=35, preset=preset)) for preset in (one, other)]
    assert not np.array_equal(coded[0], coded[1])


@pytest.mark.parametrize("name", CODECS)
def test_no_preset_is_the_usual_one(texture, name):
    clip = panned(texture, 64, 64, 6)
    plain, named = (
        through_video(clip, Encoding(encoder=name, quality=30, preset=preset))
        for preset in ("", CODECS[name].default_preset or "veryfast")
    )
    assert np.array_equal(plain, named)  # and what has no presets takes no notice of one


@pytest.mark.parametrize("name", CODECS)
def test_the_encoder_knows_every_option(name):
    encoding = Encoding(encoder=name, quality=30, profile=CODECS[name].profiles[-1] if CODECS[name].profiles else "")
    encoder = av.CodecContext.create(encoding.codec.encoder, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height = encoder.width = 64
    encoder.pix_fmt, encoder.framerate, encoder.time_base = "yuv420p", Fraction(25), Fraction(1, 25)
    encoder.options = degrade_codec._options(encoding)
    encoder.open()
    assert encoder.options == {}  # what is left was not understood, and libav says nothing


JOBS = [f"{name} {preset}" for name, codec in CODECS.items() for preset in ("", *codec.presets[-2:])]
ELSEWHERE = """
import hashlib, sys
import numpy as np
from vsr.io.degrade_codec import Encoding, through_video
clips = np.load(sys.argv[1])
for job in sys.argv[2:]:
    name, preset = job.split(" ")
    encoding = Encoding(encoder=name, quality=30, preset=preset)
    print(*(hashlib.sha256(through_video(clip, encoding).tobytes()).hexdigest() for clip in clips.values()))
"""


@pytest.fixture(scope="module")
def clips(texture) -> list[np.ndarray]:
    return [panned(texture, side, side, 6, number=number) for number, side in enumerate([64, 64, 64, 23, 96])]


@pytest.fixture(scope="module")
def elsewhere(clips, tmp_path_factory) -> subprocess.CompletedProcess[str]:
    """What another process makes of the same clips, in which no encoder has run yet."""
    path = tmp_path_factory.mktemp("clips") / "clips.npz"
    np.savez(path, *clips)
    environment = {name: value for name, value in os.environ.items() if name != "SVT_LOG"}
    command = [sys.executable, "-c", ELSEWHERE, str(path), *JOBS]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)


@pytest.mark.parametrize("job", JOBS)
def test_the_same_clip_gives_the_same_bytes_here_and_in_another_process(clips, elsewhere, job):
    name, preset = job.split(" ")
    encoding = Encoding(encoder=name, quality=30, preset=preset)
    first, again = ([digest(through_video(clip, encoding)) for clip in clips] for _ in range(2))
    assert first == again == elsewhere.stdout.splitlines()[JOBS.index(job)].split()


@pytest.mark.parametrize(
    ("simd", "limits"),
    [
        ({"baseline": ["X86_V2"], "found": ["X86_V3", "X86_V4"]}, {"x264-params": "asm=avx2"}),
        ({"baseline": ["SSE"], "found": ["AVX2", "AVX512F", "AVX512_SKX"]}, {"x264-params": "asm=avx2"}),
        ({"baseline": ["SSE"], "found": ["AVX2"], "not found": ["AVX512F"]}, {}),
        ({"baseline": ["NEON"]}, {}),
    ],
)
def test_x264_is_kept_from_avx512_where_there_is_any(monkeypatch, simd, limits):
    monkeypatch.setattr(np, "show_config", lambda mode: {"SIMD Extensions": simd})
    assert degrade_codec._x264_limits() == limits


def test_encoders_write_nothing_to_the_terminal(elsewhere):
    assert elsewhere.stderr == ""


def assert_spanned(name: str, pictures: list[np.ndarray]) -> None:
    crops = [panned(picture, 64, 64, 6, number=number) for picture in pictures for number in range(3)]
    best, worst = (
        np.mean([luma_psnr(through_video(clip, Encoding(encoder=name, quality=quality)), clip) for clip in crops])
        for quality in DEFAULT_QUALITIES[name]
    )
    assert best >= 35
    assert worst <= 31


@pytest.mark.parametrize("name", CODECS)
def test_default_qualities_reach_from_slight_to_plain_damage(texture, name):
    assert_spanned(name, [texture])


@pytest.mark.parametrize("name", CODECS)
def test_default_qualities_do_so_on_photographs(media: Path, name):
    pictures = []
    for file in PHOTOS:
        photo = read_rgb(media / "train" / "photo" / file)
        height, width = (length // 4 for length in photo.shape[:2])
        blocks = photo[: 4 * height, : 4 * width].reshape(height, 4, width, 4, 3)
        pictures.append(blocks.mean((1, 3)).round().astype(np.uint8))
    assert_spanned(name, pictures)


def test_an_encoder_that_refuses_is_a_failed_codec(texture, monkeypatch):
    monkeypatch.setitem(CODECS, "hevc", replace(CODECS["hevc"], smallest_side=8))
    with pytest.raises(CodecFailed, match="hevc") as failure:
        through_video(panned(texture, 8, 8, 2), Encoding(encoder="hevc", quality=30))
    assert isinstance(failure.value.__cause__, FFmpegError)


def test_lost_frames_are_a_failed_codec(texture, monkeypatch):
    coded = degrade_codec._coded
    monkeypatch.setattr(degrade_codec, "_coded", lambda *arguments: coded(*arguments)[1:])
    for count in (1, 3):
        with pytest.raises(CodecFailed, match=f"of {count} 64x64 frames came back"):
            through_video(panned(texture, 64, 64, count), Encoding(encoder="mpeg4", quality=5))


@pytest.mark.parametrize("lacking", [{"encoder": "libxvid"}, {"decoder": "no_such_decoder"}])
def test_what_libav_lacks_is_told_beforehand_and_fails(texture, monkeypatch, lacking):
    assert missing_codecs(CODECS) == []
    monkeypatch.setitem(CODECS, "mpeg4", replace(CODECS["mpeg4"], **lacking))
    assert missing_codecs(["h264", "mpeg4"]) == ["mpeg4"]
    with pytest.raises(CodecFailed, match="mpeg4"):
        through_video(panned(texture, 64, 64, 1), Encoding(encoder="mpeg4", quality=5))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"encoder": "libxvid"}, "not one of libx264, .*, h264, hevc, mpeg2, vp9, av1"),
        ({"quality": 52}, "h264: quality 52: takes 1 to 51"),
        ({"encoder": "mpeg2", "quality": 1}, "mpeg2: quality 1: takes 2 to 31"),
        ({"preset": "quick"}, "h264: preset 'quick': takes ultrafast, .*, slow"),
        ({"encoder": "av1", "preset": "12"}, "av1: preset '12': takes 8, 9, 10, 11"),
        ({"profile": "high10"}, "h264: profile 'high10': takes baseline, main, high"),
        ({"encoder": "mpeg4", "profile": "main"}, "mpeg4: profile 'main': takes none"),
        ({"encoder": "av1", "pixels": "yuv444p"}, "av1: pixels 'yuv444p': takes yuv420p"),
        ({"pixels": "rgb24"}, "h264: pixels 'rgb24': takes yuv420p, yuv422p, yuv444p"),
        ({"profile": "high", "pixels": "yuv422p"}, "profile 'high' takes yuv420p only, not yuv422p"),
        ({"profile": "baseline", "pixels": "yuv444p"}, "profile 'baseline' takes yuv420p only, not yuv444p"),
    ],
)
def test_what_a_codec_does_not_take_is_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        Encoding(**({"encoder": "h264", "quality": 30} | wrong))


def test_the_encoder_stands_for_its_codec(texture):
    clip = panned(texture, 64, 64, 2)
    for name, codec in CODECS.items():
        by_codec, by_encoder = (through_video(clip, Encoding(encoder=one, quality=30)) for one in (name, codec.encoder))
        assert np.array_equal(by_codec, by_encoder)


@pytest.mark.parametrize("shape", [(0, 64, 64, 3), (1, 1, 64, 3), (1, 64, 1, 3)])
def test_nothing_to_code_is_refused(shape):
    clip = np.zeros(shape, np.uint8)
    with pytest.raises(ValueError, match="at least one, of 2 pixels each way"):
        through_video(clip, Encoding(encoder="mpeg2", quality=5))
    with pytest.raises(ValueError, match="at least one, of 2 pixels each way"):
        through_chroma(clip, "yuv420p")


@pytest.mark.parametrize(
    ("rgb", "yuv"),
    [
        ((0, 0, 0), (16, 128, 128)),
        ((255, 255, 255), (235, 128, 128)),
        ((255, 0, 0), (81, 90, 240)),
        ((0, 255, 0), (145, 54, 34)),
        ((0, 0, 255), (41, 240, 110)),
    ],
)
@pytest.mark.parametrize("pixels", CHROMA_STEPS)
def test_pure_colours_have_the_codes_of_the_standard(rgb, yuv, pixels):
    planes = to_planes(np.full((1, 4, 4, 3), rgb, np.uint8), pixels)
    assert [np.unique(plane).tolist() for plane in planes] == [[code] for code in yuv]
    assert error(to_rgb(planes), np.full((1, 4, 4, 3), rgb)) <= WORST


@pytest.mark.parametrize("pixels", CHROMA_STEPS)
@pytest.mark.parametrize("size", [(256, 8), (8, 256), (17, 23), (2, 2)])
def test_gray_keeps_every_code_but_one(pixels, size):
    gray = np.random.default_rng(0).permuted(np.arange(np.prod(size)) % 256).astype(np.uint8).reshape(1, *size, 1)
    coded = through_chroma(gray.repeat(3, 3), pixels)
    assert error(coded, gray) <= 1  # 220 codes of luma for 256
    assert np.ptp(coded, axis=3).max() == 0


def test_whole_chroma_keeps_colour_and_subsampled_does_not():
    clip = np.random.default_rng(0).integers(0, 256, (2, 31, 33, 3), dtype=np.uint8)
    errors = [error(through_chroma(clip, pixels), clip) for pixels in ("yuv444p", "yuv422p", "yuv420p")]
    assert errors[0] <= WORST
    assert min(errors[1:]) > 50


@pytest.mark.parametrize("pixels", CHROMA_STEPS)
@pytest.mark.parametrize("axis", [1, 2])
def test_chroma_is_not_displaced(pixels, axis):
    ramp = np.full((1, 32, 32, 3), 128, np.uint8)
    ramp[..., 2] = np.arange(0, 256, 8, dtype=np.uint8).reshape(-1, *[1] * (2 - axis))  # half a pixel would be 4 codes
    inner = (slice(None), slice(4, -4), slice(4, -4))
    assert error(through_chroma(ramp, pixels)[inner], ramp[inner]) <= WORST


def test_chroma_alone_takes_no_other_pixels():
    with pytest.raises(ValueError, match="pixels 'rgb24': takes yuv420p, yuv422p, yuv444p"):
        through_chroma(np.zeros((1, 8, 8, 3), np.uint8), "rgb24")


def test_jpeg_with_whole_chroma_keeps_more_colour(texture):
    colour = texture[..., [0, 2, 1]] // 2 + np.random.default_rng(0).integers(0, 128, (160, 160, 3), dtype=np.uint8)
    errors = [np.abs(through_jpeg(colour, 95, one) - colour.astype(int)).mean() for one in JPEG_SUBSAMPLINGS]
    assert errors[0] > errors[1] > errors[2]
    assert np.array_equal(through_jpeg(colour, 95), through_jpeg(colour, 95, "4:2:0"))
    with pytest.raises(ValueError, match="subsampling '4:1:1': takes 4:2:0, 4:2:2, 4:4:4"):
        through_jpeg(colour, 95, "4:1:1")


@pytest.mark.parametrize("name", CODECS)
def test_coding_keeps_brightness_and_colour(name):
    smooth = np.broadcast_to(np.linspace(40, 200, 96)[:, None, None] * [1, 0.9, 0.6], (96, 96, 3))
    clip = np.stack([smooth.astype(np.uint8)] * 2)
    drift = (through_video(clip, Encoding(encoder=name, quality=2)) - clip.astype(float)).mean((0, 1, 2))
    assert abs(drift @ [0.299, 0.587, 0.114]) < 0.4  # rounding only; swscale's own conversion loses one code
    assert np.abs(drift).max() < 2  # one code of chroma is two of blue


def test_jpeg_damages_more_at_lower_quality(texture):
    errors = [np.abs(through_jpeg(texture, quality) - texture.astype(int)).mean() for quality in (95, 30)]
    assert 0 < errors[0] < errors[1]
