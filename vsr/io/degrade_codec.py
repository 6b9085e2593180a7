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
    for index, pixels in enumerate(clip):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = index, Fraction(1, RATE)
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder = av.CodecContext.create(DECODERS[encoding.encoder], "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.extradata = encoder.extradata
    decoder.thread_count = 1
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    assert len(frames) == count
    return np.stack([frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False) for frame in frames])


def through_jpeg(picture: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    """The picture (H, W, 3) 8-bit RGB after JPEG compression with 4:2:0 chroma."""
    packed = io.BytesIO()
    Image.fromarray(picture).save(packed, "JPEG", quality=quality, subsampling="4:2:0")
    with Image.open(packed) as opened:
        return np.asarray(opened.convert("RGB"))


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
