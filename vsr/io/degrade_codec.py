"""Real encoders as damage for training: a clip goes through one and comes back as a viewer would see it."""

import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from av.codec.codec import UnknownCodecError
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from PIL import Image

from vsr.io.planes_rgb import CHROMA_STEPS, Clip, Planes, to_planes, to_rgb
from vsr.io.priority import ordinary_priority

RATE = 25  # the MPEG encoders refuse times that do not fit their rate
GROUP_FRAMES = 250  # from one forced intra frame to the next: longer than any clip of training
SIDE_STEP = 4  # pixels; x264 and x265 refuse odd sides
LAMBDA = 118  # libav's FF_QP2LAMBDA: quantiser scale to global_quality
# below 96 pixels x265 repeats itself only with small tree blocks and one thread
X265_PARAMS = "log-level=none:pools=none:frame-threads=1:ctu=32"
X26_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow")
JPEG_SUBSAMPLINGS = ("4:2:0", "4:2:2", "4:4:4")


class CodecFailed(Exception):  # noqa: N818  # no fault of the user: the caller counts it and takes another damage
    """A clip did not come back from an encoder and its decoder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """What stands for a codec here, and what its encoder takes."""

    encoder: str  # as libav calls it
    decoder: str
    quality_bounds: tuple[int, int]  # of CRF or of the quantiser, both ends taken: more is worse
    smallest_side: int = 16  # pixels; smaller frames are padded
    presets: tuple[str, ...] = ()  # fast and slow ways to encode, as the encoder names them
    default_preset: str = ""
    pixels: tuple[str, ...] = ("yuv420p",)
    profiles: tuple[str, ...] = ()  # subsets of the standard, all of 4:2:0


CODECS = {
    "h264": Codec(
        encoder="libx264",
        decoder="h264",
        quality_bounds=(1, 51),  # 0 is lossless, which no profile below allows
        presets=X26_PRESETS,
        default_preset="veryfast",
        pixels=("yuv420p", "yuv422p", "yuv444p"),
        profiles=("baseline", "main", "high"),
    ),
    "hevc": Codec(
        encoder="libx265",
        decoder="hevc",
        quality_bounds=(0, 51),
        smallest_side=64,  # x265 corrupts memory at 48 pixels wide
        presets=X26_PRESETS,
        default_preset="veryfast",
        pixels=("yuv420p", "yuv422p", "yuv444p"),
    ),
    "mpeg2": Codec(encoder="mpeg2video", decoder="mpeg2video", quality_bounds=(2, 31), pixels=("yuv420p", "yuv422p")),
    "mpeg4": Codec(encoder="mpeg4", decoder="mpeg4", quality_bounds=(2, 31)),
    "vp9": Codec(
        encoder="libvpx-vp9",
        decoder="vp9",
        quality_bounds=(0, 63),
        presets=("5", "6", "7", "8"),  # its cpu-used
        default_preset="5",
        pixels=("yuv420p", "yuv422p", "yuv444p"),
    ),
    "av1": Codec(
        encoder="libsvtav1",
        decoder="libdav1d",
        quality_bounds=(1, 63),
        smallest_side=64,  # SVT-AV1 codes what is smaller by other rules, at a fixed quantiser
        presets=("8", "9", "10", "11"),
        default_preset="10",
    ),
}

# from hardly visible to plainly damaged, by codec: 35 dB of luma and more to 31 and less on moving detail
DEFAULT_QUALITIES = {
    "h264": (18, 36),
    "hevc": (20, 40),
    "mpeg2": (2, 16),
    "mpeg4": (2, 20),
    "vp9": (28, 58),
    "av1": (35, 63),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """One encoder and how hard it presses. Raises ValueError for what the codec does not take."""

    encoder: str  # a key of CODECS, or libav's name of that encoder
    quality: int  # within the codec's bounds: more is worse
    preset: str = ""  # "" is the codec's default; of no effect where the codec has none
    profile: str = ""  # "" leaves the choice to the encoder
    pixels: str = "yuv420p"

    def __post_init__(self) -> None:
        codec = codec_named(self.encoder)
        low, high = codec.quality_bounds
        if not low <= self.quality <= high:
            raise ValueError(f"{self.encoder}: quality {self.quality}: takes {low} to {high}")
        if self.preset and codec.presets:
            _check(f"{self.encoder}: preset", self.preset, codec.presets)
        if self.profile:
            _check(f"{self.encoder}: profile", self.profile, codec.profiles)
        _check(f"{self.encoder}: pixels", self.pixels, codec.pixels)
        if self.profile and self.pixels != "yuv420p":
            raise ValueError(
                f"{self.encoder}: profile {self.profile!r} takes yuv420p only, not {self.pixels}; give none"
            )

    @property
    def codec(self) -> Codec:
        """The row of CODECS that `encoder` names."""
        return codec_named(self.encoder)


def codec_named(name: str) -> Codec:
    """The row of CODECS under this key or with this encoder. Raises ValueError for any other name."""
    for key, codec in CODECS.items():
        if name in (key, codec.encoder):
            return codec
    known = [*(codec.encoder for codec in CODECS.values()), *CODECS]  # mpeg4 is both
    raise ValueError(f"encoder {name!r}: not one of {', '.join(dict.fromkeys(known))}")


def missing_codecs(names: Iterable[str]) -> list[str]:
    """Those of the codecs (each as `codec_named` takes it) that this build of libav cannot encode or decode."""
    return [name for name in names if not _is_built_in(codec_named(name))]


def through_video(clip: Clip, encoding: Encoding) -> Clip:
    """Encode frames (T, H, W, 3) 8-bit RGB, decode them, and return as many of the same size.

    Sides from 2 pixels, odd ones too: the encoder sees them padded by their border. The same clip and encoding give
    the same result. Raises CodecFailed when not every frame comes back.
    """
    padded = _padded(clip, encoding.codec.smallest_side)
    frames = _coded(padded, encoding)
    count, height, width, _ = padded.shape
    came = [(frame.height, frame.width, frame.format.name) for frame in frames]
    if came != [(height, width, encoding.pixels)] * count:
        raise CodecFailed(f"{encoding}: of {count} {width}x{height} frames came back {came}")
    return _cropped(to_rgb(_planes(frames)), clip)


def through_chroma(clip: Clip, pixels: str) -> Clip:
    """Frames (T, H, W, 3) 8-bit RGB after a trip to 8-bit YUV of these `pixels`, a key of CHROMA_STEPS: no codec."""
    _check("pixels", pixels, CHROMA_STEPS)
    return _cropped(to_rgb(to_planes(_padded(clip, SIDE_STEP), pixels)), clip)


def through_jpeg(picture: npt.NDArray[np.uint8], quality: int, subsampling: str = "4:2:0") -> npt.NDArray[np.uint8]:
    """The picture (H, W, 3) 8-bit RGB after JPEG compression; `subsampling` is one of JPEG_SUBSAMPLINGS."""
    _check("subsampling", subsampling, JPEG_SUBSAMPLINGS)
    packed = io.BytesIO()
    Image.fromarray(picture).save(packed, "JPEG", quality=quality, subsampling=subsampling)
    with Image.open(packed) as opened:
        return np.asarray(opened.convert("RGB"))


def _check(what: str, value: str, allowed: Iterable[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{what} {value!r}: takes {', '.join(allowed) or 'none'}")


def _is_built_in(codec: Codec) -> bool:
    try:
        av.Codec(codec.encoder, "w")
        av.Codec(codec.decoder, "r")
    except UnknownCodecError:
        return False
    return True


def _padded(clip: Clip, smallest: int) -> Clip:
    """The clip with its last row and column repeated until both sides suit every encoder."""
    count, height, width, _ = clip.shape
    if count < 1 or min(height, width) < 2:
        raise ValueError(f"{count} frames of {width}x{height}: at least one, of 2 pixels each way, can be coded")
    rows, columns = (max(smallest, -side // SIDE_STEP * -SIDE_STEP) - side for side in (height, width))
    return np.pad(clip, ((0, 0), (0, rows), (0, columns), (0, 0)), "edge") if rows or columns else clip


def _cropped(padded: Clip, clip: Clip) -> Clip:
    _, height, width, _ = clip.shape
    return np.ascontiguousarray(padded[:, :height, :width])


def _coded(clip: Clip, encoding: Encoding) -> list[VideoFrame]:
    """What the decoder gives for a clip of sizes that the encoder takes."""
    if encoding.codec.encoder == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # errors only: it writes 25 lines an encoder, past libav's own log
    try:
        packets, extradata = _encode(clip, encoding)
        decoder = av.CodecContext.create(encoding.codec.decoder, "r")
        assert isinstance(decoder, av.VideoCodecContext)
        decoder.extradata = extradata
        decoder.thread_count = 1
        return [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    except (FFmpegError, UnknownCodecError) as e:
        raise CodecFailed(f"{encoding}: {e}") from e


def _encode(clip: Clip, encoding: Encoding) -> tuple[list[av.Packet], bytes | None]:
    _, height, width, _ = clip.shape
    encoder = av.CodecContext.create(encoding.codec.encoder, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height, encoder.width, encoder.pix_fmt = height, width, encoding.pixels
    encoder.framerate, encoder.time_base = Fraction(RATE), Fraction(1, RATE)
    encoder.thread_count = 1
    encoder.options = _options(encoding)
    with ordinary_priority():
        encoder.open()
    packets = []
    for index, frame in enumerate(_frames(to_planes(clip, encoding.pixels), encoding.pixels)):
        frame.pts, frame.time_base = index, Fraction(1, RATE)
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    return packets, encoder.extradata


def _options(encoding: Encoding) -> dict[str, str]:
    """For the encoder. libav leaves what it does not know in the context's options, without a word."""
    quality, preset = str(encoding.quality), encoding.preset or encoding.codec.default_preset
    common = {"g": str(GROUP_FRAMES)}
    match encoding.codec.encoder:
        case "libx264":
            profile = {"profile": encoding.profile} if encoding.profile else {}
            return common | {"crf": quality, "preset": preset} | profile | _x264_limits()
        case "libx265":
            return common | {"crf": quality, "preset": preset, "x265-params": X265_PARAMS}
        case "libvpx-vp9":
            # speeds above 5 exist in realtime mode alone: the other takes them for 5
            deadline = "good" if preset == "5" else "realtime"
            return common | {"crf": quality, "b": "0", "deadline": deadline, "cpu-used": preset}
        case "libsvtav1":
            return common | {"crf": quality, "preset": preset, "svtav1-params": "lp=1"}
        case _:
            scale = str(encoding.quality * LAMBDA)
            return common | {"flags": "+qscale", "global_quality": scale, "qmin": quality, "qmax": quality}


def _x264_limits() -> dict[str, str]:
    """Keep x264 from AVX-512: its macroblock tree then reads memory nobody wrote, and a clip codes not twice alike."""
    simd = np.show_config(mode="dicts").get("SIMD Extensions", {})  # as NumPy finds them, kinds without any left out
    names = [name for kind in ("baseline", "found") for name in simd.get(kind, [])]
    has_avx512 = any(name.startswith(("AVX512", "X86_V4")) for name in names)  # the latter since NumPy 2.4
    return {"x264-params": "asm=avx2"} if has_avx512 else {}


def _frames(planes: Planes, pixels: str) -> Iterator[VideoFrame]:
    count, height, width = planes[0].shape
    for index in range(count):
        frame = VideoFrame(width, height, pixels)
        for plane, values in zip(frame.planes, planes, strict=True):
            _values(plane)[:] = values[index]
        yield frame


def _planes(frames: list[VideoFrame]) -> Planes:
    luma, cb, cr = (np.stack([_values(frame.planes[number]) for frame in frames]) for number in range(3))
    return luma, cb, cr


def _values(plane: VideoPlane) -> Clip:
    """The samples (H, W) of a plane, shared with it: what is written here is in the frame."""
    return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
