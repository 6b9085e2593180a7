"""Decoded frames as planes, whatever order their samples lie in, and planes as frames.

Samples are picked out with numpy, by a table of where they lie. swscale 8.1 is not asked, though it offers: it takes
gbrap12be through YUV, gets gbrap10le and yuv444p10msble wrong, makes rgb565's white 248, and aborts the process on
yaf32le. What is picked is a view of the decoder's memory, except of palettes, bit fields, floats, foreign byte order
and samples that stand high in their words.
"""

import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import av
import numpy as np
import numpy.typing as npt
from av.video.format import VideoFormat
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from vsr.errors import MediaError
from vsr.frames import PixelLayout, Plane

_Samples = npt.NDArray[Any]  # its type is the format's, known at run time only

_NATIVE = "le" if sys.byteorder == "little" else "be"
_ACCURATE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT

# libav name without byte order -> per plane, the samples that repeat along a row. "-" is alpha or padding.
_INTERLEAVED: dict[str, tuple[str, ...]] = {
    "rgb24": ("RGB",),
    "bgr24": ("BGR",),
    "rgb0": ("RGB-",),
    "bgr0": ("BGR-",),
    "0rgb": ("-RGB",),
    "0bgr": ("-BGR",),
    "rgba": ("RGB-",),
    "bgra": ("BGR-",),
    "argb": ("-RGB",),
    "abgr": ("-BGR",),
    "rgb48": ("RGB",),
    "bgr48": ("BGR",),
    "rgba64": ("RGB-",),
    "bgra64": ("BGR-",),
    "rgbf16": ("RGB",),
    "rgbf32": ("RGB",),
    "rgbaf16": ("RGB-",),
    "rgbaf32": ("RGB-",),
    "ya8": ("Y-",),
    "ya16": ("Y-",),
    "yaf16": ("Y-",),
    "yaf32": ("Y-",),
    "yuyv422": ("YUYV",),
    "uyvy422": ("UYVY",),
    "yvyu422": ("YVYU",),
    "y210": ("YUYV",),
    "y212": ("YUYV",),
    "y216": ("YUYV",),
    "ayuv": ("-YUV",),
    "vuya": ("VUY-",),
    "vuyx": ("VUY-",),
    "uyva": ("UYV-",),
    "vyu444": ("VYU",),
    "ayuv64": ("-YUV",),
    "xv36": ("UYV-",),
    "xv48": ("UYV-",),
    "nv12": ("Y", "UV"),
    "nv16": ("Y", "UV"),
    "nv20": ("Y", "UV"),
    "nv24": ("Y", "UV"),
    "nv21": ("Y", "VU"),
    "nv42": ("Y", "VU"),
    "p010": ("Y", "UV"),
    "p012": ("Y", "UV"),
    "p016": ("Y", "UV"),
    "p210": ("Y", "UV"),
    "p212": ("Y", "UV"),
    "p216": ("Y", "UV"),
    "p410": ("Y", "UV"),
    "p412": ("Y", "UV"),
    "p416": ("Y", "UV"),
}
_HIGH_BITS = {"p010", "p012", "p210", "p212", "p410", "p412", "y210", "y212", "xv36"}  # and all that end in msb

# Several samples in one word: bytes a word, then each sample's lowest bit and its number of bits.
_FIELDS: dict[str, tuple[int, dict[str, tuple[int, int]]]] = {
    "rgb565": (2, {"R": (11, 5), "G": (5, 6), "B": (0, 5)}),
    "bgr565": (2, {"B": (11, 5), "G": (5, 6), "R": (0, 5)}),
    "rgb555": (2, {"R": (10, 5), "G": (5, 5), "B": (0, 5)}),
    "bgr555": (2, {"B": (10, 5), "G": (5, 5), "R": (0, 5)}),
    "rgb444": (2, {"R": (8, 4), "G": (4, 4), "B": (0, 4)}),
    "bgr444": (2, {"B": (8, 4), "G": (4, 4), "R": (0, 4)}),
    "rgb8": (1, {"R": (5, 3), "G": (2, 3), "B": (0, 2)}),
    "bgr8": (1, {"B": (6, 2), "G": (3, 3), "R": (0, 3)}),
    "rgb4_byte": (1, {"R": (3, 1), "G": (1, 2), "B": (0, 1)}),
    "bgr4_byte": (1, {"B": (3, 1), "G": (1, 2), "R": (0, 1)}),
    "x2rgb10": (4, {"R": (20, 10), "G": (10, 10), "B": (0, 10)}),
    "x2bgr10": (4, {"B": (20, 10), "G": (10, 10), "R": (0, 10)}),
    "xv30": (4, {"V": (20, 10), "Y": (10, 10), "U": (0, 10)}),
    "v30x": (4, {"V": (22, 10), "Y": (12, 10), "U": (2, 10)}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Format:
    """How samples lie in frames of one libav format, and the layout they are handed on in."""

    layout: PixelLayout
    packing: Literal["samples", "fields", "palette", "bits"]
    dtype: np.dtype[np.generic]  # of a sample, or of the word of fields, in the frame's byte order
    groups: tuple[str, ...] = ()  # as in _INTERLEAVED, for "samples"
    fields: tuple[tuple[int, int], ...] = ()  # (lowest bit, bits) in the layout's order, for "fields"
    shift: int = 0  # bits below a sample in its word


def planar_layout(pix_fmt: str) -> PixelLayout:
    """The planar layout in which frames of a libav format are handed on.

    Every sample keeps its value; alpha is left out. Samples of fewer than 8 bits are spread over 8 bits (white stays
    white), and floats are rounded to 16 bits after clipping to [0, 1]. Raises MediaError for what is not offered:
    frames on a hardware device, sensor mosaics, XYZ, 32-bit integers, and a few that no decoder makes.
    """
    return _format(pix_fmt).layout


def has_alpha(pix_fmt: str) -> bool:
    """Whether frames of a libav format carry alpha in every pixel. A palette's entries are not looked at."""
    try:
        return any(component.is_alpha for component in VideoFormat(pix_fmt).components)
    except ValueError as e:
        raise _unknown(pix_fmt) from e


class PlaneReader:
    """Reads every frame of a clip in the layout and size of its first.

    `foreign` counts the frames so far that had another size or layout and were resampled.
    """

    def __init__(self, layout: PixelLayout, height: int, width: int) -> None:
        self.layout = layout
        self.height = height
        self.width = width
        self.foreign = 0
        self._scaler = VideoReformatter()

    def read(self, frame: av.VideoFrame) -> tuple[Plane, ...]:
        """The planes of a frame without padding, (h, w) each, read-only.

        Mostly views of the decoder's memory, which they keep alive: copy them soon. Raises MediaError when the frame's
        samples are of another kind or depth than the clip's.
        """
        form = _format(frame.format.name)
        planes = _unpack(frame, form)
        if form.layout != self.layout or (frame.height, frame.width) != (self.height, self.width):
            self.foreign += 1
            planes = self._fit(planes, form.layout)
        for plane in planes:
            plane.flags.writeable = False  # decoded pictures are references of later ones
        return planes

    def _fit(self, planes: tuple[Plane, ...], layout: PixelLayout) -> tuple[Plane, ...]:
        """Resample planes to this reader's size and subsampling, bicubic, chroma taken as centred."""
        if (layout.kind, layout.depth) != (self.layout.kind, self.layout.depth):
            raise MediaError(
                f"{layout.name}: a frame of another kind than the clip's {self.layout.name}; "
                "cut the clip where its format changes"
            )
        height, width = planes[0].shape
        source = av.VideoFrame(width, height, _carrier(layout))
        write_planes(source, planes)
        scaled = self._scaler.reformat(
            source,
            width=self.width,
            height=self.height,
            format=_carrier(self.layout),
            interpolation=_ACCURATE,
            src_color_range=ColorRange.JPEG,  # equal ranges: values are not rescaled
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        return _unpack(scaled, _format(scaled.format.name))


def crc_of(frame: av.VideoFrame) -> int:
    """CRC-32 of a frame's samples as decoded, padding left out."""
    crc = 0
    for plane in _unpack(frame, _format(frame.format.name)):
        crc = zlib.crc32(np.ascontiguousarray(plane).data, crc)
    return crc


def write_planes(frame: av.VideoFrame, planes: Sequence[Plane]) -> None:
    """Copy planes of (h, w) into a frame whose format is a layout's, line padding left as it is.

    The frame must be fresh, not one that a decoder or encoder may still hold. Raises ValueError when formats or sizes
    differ.
    """
    form = _format(frame.format.name)
    sizes = form.layout.plane_sizes(frame.height, frame.width)
    if frame.format.name != form.layout.name or [plane.shape for plane in planes] != sizes:
        raise ValueError(f"planes of {[plane.shape for plane in planes]} for a {frame.format.name} frame of {sizes}")
    for source, target, (height, width) in zip(planes, frame.planes, sizes, strict=True):
        np.copyto(_rows(target, form.dtype, height, width), source, casting="no")


@cache
def _format(pix_fmt: str) -> _Format:
    try:
        form = VideoFormat(pix_fmt, 16, 16)
    except ValueError as e:
        raise _unknown(pix_fmt) from e
    samples = [component for component in form.components if not component.is_alpha]
    base = pix_fmt.removesuffix("le").removesuffix("be")
    bits = max((component.bits for component in samples), default=0)
    is_float = bits > 8 and base.endswith(("f16", "f32"))
    if not samples or form.is_bayer or base.startswith("xyz") or (bits > 16 and not is_float):
        raise _unreadable(pix_fmt)
    layout = _layout(form, 16 if is_float else max(8, bits))
    order = ">" if form.is_big_endian else "<"
    if base == "pal8":
        return _Format(layout=layout, packing="palette", dtype=np.dtype(np.uint8))
    if base in ("monow", "monob"):
        return _Format(layout=layout, packing="bits", dtype=np.dtype(np.uint8))
    if base in _FIELDS:
        word, fields = _FIELDS[base]
        in_order = tuple(fields[letter] for letter in _letters(layout))
        return _Format(layout=layout, packing="fields", dtype=np.dtype(f"{order}u{word}"), fields=in_order)
    groups = _INTERLEAVED.get(base) or _planar_groups(form)
    if groups is None:
        raise _unreadable(pix_fmt)
    dtype = np.dtype(f"{order}{'f' if is_float else 'u'}{-(-bits // 8)}")
    shift = 16 - bits if base in _HIGH_BITS or base.endswith("msb") else 0
    return _Format(layout=layout, packing="samples", dtype=dtype, groups=groups, shift=shift)


def _layout(form: VideoFormat, depth: int) -> PixelLayout:
    """The layout for a 16x16 format of known depth."""
    suffix = "" if depth == 8 else f"{depth}{_NATIVE}"
    if form.is_rgb or form.has_palette:
        return PixelLayout(name=f"gbrp{suffix}", kind="rgb", depth=depth)
    samples = [component for component in form.components if not component.is_alpha]
    if len(samples) == 1:
        return PixelLayout(name=f"gray{suffix}", kind="gray", depth=depth)
    log2_chroma = ((16 // samples[1].height).bit_length() - 1, (16 // samples[1].width).bit_length() - 1)
    digits = {(0, 0): "444", (0, 1): "422", (1, 1): "420", (1, 0): "440", (0, 2): "411", (2, 2): "410"}[log2_chroma]
    return PixelLayout(name=f"yuv{digits}p{suffix}", kind="yuv", depth=depth, log2_chroma=log2_chroma)


def _planar_groups(form: VideoFormat) -> tuple[str, ...] | None:
    """Groups of a format that keeps each kind of sample in its own plane; None for any other."""
    samples = [component for component in form.components if not component.is_alpha]
    by_plane = dict(zip((component.plane for component in samples), "RGB" if form.is_rgb else "YUV", strict=False))
    if len(by_plane) < len(samples) or form.is_bit_stream:
        return None
    return tuple(by_plane[plane] for plane in sorted(by_plane))


def _letters(layout: PixelLayout) -> str:
    return {"yuv": "YUV", "rgb": "GBR", "gray": "Y"}[layout.kind]


def _unpack(frame: av.VideoFrame, form: _Format) -> tuple[Plane, ...]:
    """The frame's samples in the order of its planar layout, as views where nothing is to be computed."""
    sizes = form.layout.plane_sizes(frame.height, frame.width)
    if form.packing == "samples":
        return tuple(
            _pick(frame, form, letter, size) for letter, size in zip(_letters(form.layout), sizes, strict=True)
        )
    height, width = sizes[0]
    if form.packing == "bits":
        bits = np.unpackbits(_rows(frame.planes[0], form.dtype, height, -(-width // 8)), axis=1, count=width)
        return (bits * 255 if frame.format.name == "monob" else 255 - bits * 255,)
    words = _rows(frame.planes[0], form.dtype, height, width)
    if form.packing == "palette":
        argb = np.frombuffer(_memory(frame.planes[1]), np.uint32, 256)  # native words, by libav's definition
        return tuple(((argb >> shift) & 0xFF).astype(np.uint8)[words] for shift in (8, 0, 16))
    return tuple(_spread((words >> low) & ((1 << bits) - 1), bits, form.layout) for low, bits in form.fields)


def _pick(frame: av.VideoFrame, form: _Format, letter: str, size: tuple[int, int]) -> Plane:
    index, group = next((index, group) for index, group in enumerate(form.groups) if letter in group)
    height, width = size
    step = len(group) // group.count(letter)
    first = group.index(letter)
    samples: _Samples = _rows(frame.planes[index], form.dtype, height, first + (width - 1) * step + 1)[:, first::step]
    if form.dtype.kind == "f":
        return np.rint(np.clip(np.nan_to_num(samples.astype(np.float32)), 0, 1) * np.float32(65535)).astype(np.uint16)
    if form.shift:
        samples = samples >> form.shift
    native: _Samples = samples.astype(form.layout.dtype, copy=False)  # copies only to swap bytes
    return native


def _rows(plane: VideoPlane, dtype: np.dtype[np.generic], height: int, width: int) -> _Samples:
    """The first `width` items of each line."""
    rows = np.ndarray((height, width), dtype, _memory(plane), strides=(abs(plane.line_size), dtype.itemsize))
    return rows if plane.line_size > 0 else rows[::-1]  # stored bottom up: the memory starts at the last line


def _memory(plane: VideoPlane) -> memoryview:
    return memoryview(plane)  # pyright: ignore[reportArgumentType]  # PyAV's stubs leave out the buffer protocol


def _spread(values: _Samples, bits: int, layout: PixelLayout) -> Plane:
    """Stretch full-scale values of a few bits to the layout's depth."""
    peak = (1 << layout.depth) - 1
    table: _Samples = np.rint(np.arange(1 << bits) * (peak / ((1 << bits) - 1))).astype(layout.dtype)
    return table[values]


def _carrier(layout: PixelLayout) -> str:
    """The format under which swscale resizes planes: it would take G, B, R through YUV, under their own name."""
    return layout.name.replace("gbrp", "yuv444p")


def _unknown(pix_fmt: str) -> MediaError:
    return MediaError(f"{pix_fmt}: libav knows no such pixel format; give one that `ffmpeg -pix_fmts` lists")


def _unreadable(pix_fmt: str) -> MediaError:
    return MediaError(
        f"{pix_fmt}: pixels of this format cannot be read; convert the clip to yuv444p16le or rgb48le first"
    )
