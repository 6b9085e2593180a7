"""Real encoders as damage for training: a clip goes through one and comes back as a viewer would see it."""

import io
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

Clip = npt.NDArray[np.uint8]
DECODERS = {"libx264": "h264", "libx265": "hevc", "mpeg4": "mpeg4", "mpeg2video": "mpeg2video"}
RATE = 25  # the MPEG encoders refuse times that do not fit their rate
SMALLEST = {"libx264": 16, "libx265": 64, "mpeg4": 16, "mpeg2video": 16}  # x265 corrupts memory at 48 pixels wide
LAMBDA = 118  # libav's FF_QP2LAMBDA: quantiser scale to global_quality
RGB_TO_YUV = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112], [112, -93.786, -18.214]], np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """One encoder and how hard it presses."""

    encoder: str  # a key of DECODERS
    quality: int  # CRF of libx264 and libx265, quantiser 2 to 31 of the others: more is worse
    preset: str = "veryfast"  # libx264 and libx265 only
    options: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        if self.encoder not in DECODERS:
            raise ValueError(f"encoder {self.encoder!r}: not one of {', '.join(DECODERS)}")
        object.__setattr__(self, "options", _options(self.encoder, self.quality, self.preset))


def through_video(clip: Clip, encoding: Encoding) -> Clip:
    """Encode frames (T, H, W, 3) 8-bit RGB as 4:2:0, decode them, and return as many of the same size.

    The same clip and encoding give the same result. Raises ValueError when a side is odd or below SMALLEST.
    """
    count, height, width, _ = clip.shape
    smallest = SMALLEST[encoding.encoder]
    if height % 2 or width % 2 or min(height, width) < smallest:
        raise ValueError(
            f"{width}x{height}: frames for {encoding.encoder} must be even and at least {smallest} each way"
        )
    encoder = av.CodecContext.create(encoding.encoder, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height, encoder.width, encoder.pix_fmt = height, width, "yuv420p"
    encoder.framerate, encoder.time_base = Fraction(RATE), Fraction(1, RATE)
    encoder.thread_count = 1
    encoder.options = encoding.options
    packets = []
    for index, planes in enumerate(_to_planes(clip)):
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = index, Fraction(1, RATE)
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder = av.CodecContext.create(DECODERS[encoding.encoder], "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.extradata = encoder.extradata
    decoder.thread_count = 1
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    assert len(frames) == count
    return _to_rgb(np.stack([frame.to_ndarray() for frame in frames]), height)


def through_jpeg(picture: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    """The picture (H, W, 3) 8-bit RGB after JPEG compression with 4:2:0 chroma."""
    packed = io.BytesIO()
    Image.fromarray(picture).save(packed, "JPEG", quality=quality, subsampling="4:2:0")
    with Image.open(packed) as opened:
        return np.asarray(opened.convert("RGB"))


def _to_planes(clip: Clip) -> Clip:
    """BT.601 studio-swing 4:2:0 as libav lays it out, (T, 3H/2, W): chroma sits between rows, on even columns.

    swscale is no way here: it loses a code of luma on the round trip, and a network learns to brighten.
    """
    count, height, width, _ = clip.shape
    y, cb, cr = np.moveaxis(clip @ (RGB_TO_YUV.T / 255) + np.array([16, 128, 128], np.float32), 3, 0)
    chroma = np.stack([cb, cr], 1).reshape(count, 2, height // 2, 2, width).mean(3)
    left = np.concatenate([chroma[..., :1], chroma[..., 1:-1:2]], 3)
    chroma = (left + 2 * chroma[..., ::2] + chroma[..., 1::2]) / 4
    planes = np.concatenate([y.reshape(count, -1), chroma.reshape(count, -1)], 1)
    return np.rint(planes).clip(0, 255).astype(np.uint8).reshape(count, height * 3 // 2, width)


def _to_rgb(planes: npt.NDArray[np.generic], height: int) -> Clip:
    """The inverse of `_to_planes`, chroma interpolated linearly."""
    count, _, width = planes.shape
    flat = planes.astype(np.float32)
    y = flat[:, :height]
    chroma = flat[:, height:].reshape(count, 2, height // 2, width // 2)
    right = np.concatenate([chroma[..., 1:], chroma[..., -1:]], 3)
    chroma = np.stack([chroma, (chroma + right) / 2], 4).reshape(count, 2, height // 2, width)
    padded = np.pad(chroma, ((0, 0), (0, 0), (1, 1), (0, 0)), "edge")
    above, below = padded[:, :, :-2], padded[:, :, 2:]
    chroma = np.stack([0.75 * chroma + 0.25 * above, 0.75 * chroma + 0.25 * below], 3).reshape(count, 2, height, width)
    yuv = np.stack([y - 16, chroma[:, 0] - 128, chroma[:, 1] - 128], 3)
    return np.rint(yuv @ (np.linalg.inv(RGB_TO_YUV).T * 255)).clip(0, 255).astype(np.uint8)


def _options(encoder: str, quality: int, preset: str) -> dict[str, str]:
    if encoder == "libx264":
        return {"crf": str(quality), "preset": preset}
    if encoder == "libx265":
        # below 96 pixels x265 repeats itself only with small tree blocks and one thread
        quiet = "log-level=none:pools=none:frame-threads=1:ctu=32"
        return {"crf": str(quality), "preset": preset, "x265-params": quiet}
    return {
        "flags": "+qscale",
        "global_quality": str(quality * LAMBDA),
        "qmin": str(quality),
        "qmax": str(quality),
    }
