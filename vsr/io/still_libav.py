"""Stills through libav: 16-bit PNG, deep AVIF, and what Pillow cannot read."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext

from vsr.errors import MediaError
from vsr.frames import ColorSpec, PixelLayout, Plane
from vsr.io.pixel_formats import planar_layout
from vsr.io.pixels import PlaneReader
from vsr.io.still_pillow import float_levels
from vsr.picture import LEVELS_8, LEVELS_16, Levels, Samples

# (planes, what they are, what they mean) -> (h, w, 3) floats in [0, 1]; arithmetic that `io` does not have
YuvToRgb = Callable[[tuple[Plane, ...], PixelLayout, ColorSpec], Samples]
UNREADABLE = (FFmpegError, ValueError, OSError, MediaError)

_PACKED_16 = {"gray16be": 1, "ya16be": 2, "rgb48be": 3, "rgba64be": 4}
_PACKED_8 = {"gray": 1, "ya8": 2, "rgb24": 3, "rgba": 4}
_FLOATS = {"grayf32": 1, "rgbf32": 3, "rgbaf32": 4}


def decode_png(data: bytes) -> tuple[Samples, Levels]:
    """(h, w, c) samples of a whole PNG at its own depth, by libav. Raises FFmpegError for damage."""
    decoder = av.CodecContext.create("png", "r")
    assert isinstance(decoder, VideoCodecContext)
    frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    if not frames:
        raise MediaError("holds no picture")
    return _samples(frames[0], None)


def encode_png_16(samples: Samples) -> bytes:
    """A 16-bit PNG of (h, w, c) samples, without metadata."""
    height, width, channels = samples.shape
    name = {count: name for name, count in _PACKED_16.items()}[channels]
    frame = av.VideoFrame(width, height, name)
    np.copyto(_packed(frame, ">u2", channels), samples)
    encoder = av.CodecContext.create("png", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, name, Fraction(1)
    encoder.options = {"pred": "mixed", "compression_level": "6"}
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def read_by_libav(path: Path, to_rgb: YuvToRgb | None, *, color: ColorSpec | None = None) -> tuple[Samples, Levels]:
    """(h, w, c) samples of a picture's first frame, not turned upright.

    `color` goes before what the frame says of itself. Raises one of UNREADABLE; YUV without `to_rgb` is unreadable.
    """
    with av.open(f"file:{path.absolute()}") as file:
        if not file.streams.video:
            raise MediaError("holds no picture")
        for frame in file.decode(file.streams.video[0]):
            return _samples(frame, to_rgb, color)
    raise MediaError("holds no picture")


def size_by_libav(path: Path) -> tuple[int, int]:
    """(height, width) as a header tells it. Raises one of UNREADABLE."""
    with av.open(f"file:{path.absolute()}") as file:
        if not file.streams.video:
            raise MediaError("holds no picture")
        context = file.streams.video[0].codec_context
        if context is None:  # libav knows the format, and has no decoder for it
            raise MediaError("holds no picture that libav can decode")
        return context.height, context.width


def _samples(frame: av.VideoFrame, to_rgb: YuvToRgb | None, color: ColorSpec | None = None) -> tuple[Samples, Levels]:
    name = frame.format.name
    if name in _PACKED_16:
        return _packed(frame, ">u2", _PACKED_16[name]).astype(np.uint16), LEVELS_16
    if name in _PACKED_8:
        return _packed(frame, "u1", _PACKED_8[name]).copy(), LEVELS_8
    base = name.removesuffix("le").removesuffix("be")
    if base in _FLOATS:
        kind = ">f4" if name.endswith("be") else "<f4"
        return float_levels(_packed(frame, kind, _FLOATS[base]).astype(np.float32))
    if base in ("gbrpf32", "gbrapf32"):
        order = (2, 0, 1, 3)[: 3 + (base == "gbrapf32")]
        kind = ">f4" if name.endswith("be") else "<f4"
        planes = [_plane(frame, index, kind) for index in order]
        return float_levels(np.stack(planes, 2).astype(np.float32))
    if base in ("bgra", "argb", "abgr", "pal8"):
        return np.asarray(frame.to_ndarray(format="rgba")), LEVELS_8
    layout = planar_layout(name, with_alpha=True)
    planes = PlaneReader(layout, frame.height, frame.width).read(frame)
    levels = Levels(dtype=np.dtype(layout.dtype), black=0, white=2**layout.depth - 1)
    if layout.kind == "gray":
        return widened(planes[0][:, :, None], levels)
    if layout.kind == "rgb":
        return widened(np.stack([planes[2], planes[0], planes[1], *planes[3:]], 2), levels)
    if to_rgb is None:
        raise MediaError(f"its pixels are {name}")
    rgb = to_rgb(planes[:3], layout.opaque, color or _color(frame))
    if not layout.has_alpha:
        return rgb, LEVELS_16
    alpha = np.rint(planes[3][:, :, None] * np.float32(65535 / levels.white)).astype(np.uint16)
    return np.concatenate([rgb, alpha], 2), LEVELS_16


def widened(samples: Samples, levels: Levels) -> tuple[Samples, Levels]:
    """Samples of 9 to 15 bits spread over 16, so that white is white; all others as they are."""
    if levels.white in (255, 65535):
        return samples, levels
    spread = np.rint(samples.astype(np.float32) * np.float32(65535 / levels.white))
    return spread.astype(np.uint16), LEVELS_16


def _color(frame: av.VideoFrame) -> ColorSpec:
    """As the frame says; where it does not, BT.601 and full range, as stills have it."""
    matrix = 6 if frame.colorspace in (2, 3) else int(frame.colorspace)
    return ColorSpec(
        matrix=matrix,
        primaries=int(frame.color_primaries),
        transfer=int(frame.color_trc),
        full_range=int(frame.color_range) != 1,
        siting="center",
    )


def _packed(frame: av.VideoFrame, kind: str, channels: int) -> Samples:
    plane = frame.planes[0]
    size = np.dtype(kind).itemsize
    return np.ndarray(
        (frame.height, frame.width, channels),
        kind,
        memoryview(plane),  # pyright: ignore[reportArgumentType]  # PyAV's stubs leave out the buffer protocol
        strides=(plane.line_size, channels * size, size),
    )


def _plane(frame: av.VideoFrame, index: int, kind: str) -> Samples:
    plane = frame.planes[index]
    memory = memoryview(plane)  # pyright: ignore[reportArgumentType]  # as above
    return np.ndarray((frame.height, frame.width), kind, memory, strides=(plane.line_size, 4))
