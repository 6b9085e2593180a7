"""Decoded frames as planes, whatever order their samples lie in, and planes as frames.

Samples are picked out with numpy, by a table of where they lie (`pixel_formats`). swscale 8.1 is not asked, though it
offers: it takes gbrap12be through YUV, gets gbrap10le and yuv444p10msble wrong, makes rgb565's white 248, and aborts
the process on yaf32le. What is picked is a view of the decoder's memory, except of palettes, bit fields, floats,
foreign byte order and samples that stand high in their words.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from vsr.errors import MediaError
from vsr.frames import PixelLayout, Plane
from vsr.io.pixel_formats import Format, format_of, gray_layout

_Samples = npt.NDArray[Any]  # its type is the format's, known at run time only

_ACCURATE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


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
        form = format_of(frame.format.name, with_alpha=self.layout.has_alpha)
        planes, alpha = _unpack(frame, form), None
        if form.layout.has_alpha:
            *colours, alpha = planes
            planes = tuple(colours)
        own, target = form.layout.opaque, self.layout.opaque
        if own != target or (frame.height, frame.width) != (self.height, self.width):
            self.foreign += 1
            planes = self._fit(planes, own, target)
            gray = gray_layout(own.depth)
            alpha = None if alpha is None else self._fit((alpha,), gray, gray)[0]
        if self.layout.has_alpha:
            planes = (*planes, self._opaque() if alpha is None else alpha)
        for plane in planes:
            plane.flags.writeable = False  # decoded pictures are references of later ones
        return planes

    def _opaque(self) -> Plane:
        """The alpha of a frame that has none, in a clip that has."""
        plane = self.layout.empty(self.height, self.width)
        plane.fill((1 << self.layout.depth) - 1)
        return plane

    def _fit(self, planes: tuple[Plane, ...], layout: PixelLayout, target: PixelLayout) -> tuple[Plane, ...]:
        """Resample planes to this reader's size and a layout's subsampling, bicubic, chroma taken as centred."""
        if (layout.kind, layout.depth) != (target.kind, target.depth):
            raise MediaError(
                f"{layout.name}: a frame of another kind than the clip's {target.name}; "
                "cut the clip where its format changes"
            )
        height, width = planes[0].shape
        source = av.VideoFrame(width, height, _carrier(layout))
        write_planes(source, planes)
        scaled = self._scaler.reformat(
            source,
            width=self.width,
            height=self.height,
            format=_carrier(target),
            interpolation=_ACCURATE,
            src_color_range=ColorRange.JPEG,  # equal ranges: values are not rescaled
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        return _unpack(scaled, format_of(scaled.format.name, with_alpha=False))


def crc_of(frame: av.VideoFrame) -> int:
    """CRC-32 of a frame's samples as decoded, alpha included, padding left out."""
    crc = 0
    for plane in _unpack(frame, format_of(frame.format.name, with_alpha=True)):
        crc = zlib.crc32(np.ascontiguousarray(plane).data, crc)
    return crc


def write_planes(frame: av.VideoFrame, planes: Sequence[Plane]) -> None:
    """Copy planes of (h, w) into a frame whose format is a layout's, line padding left as it is.

    The frame must be fresh, not one that a decoder or encoder may still hold. Raises ValueError when formats or sizes
    differ.
    """
    form = format_of(frame.format.name, with_alpha=True)
    sizes = form.layout.plane_sizes(frame.height, frame.width)
    if frame.format.name != form.layout.name or [plane.shape for plane in planes] != sizes:
        raise ValueError(f"planes of {[plane.shape for plane in planes]} for a {frame.format.name} frame of {sizes}")
    for source, target, (height, width) in zip(planes, frame.planes, sizes, strict=True):
        np.copyto(_rows(target, form.dtype, height, width), source, casting="no")


def _unpack(frame: av.VideoFrame, form: Format) -> tuple[Plane, ...]:
    """The frame's samples in the order of its planar layout, as views where nothing is to be computed."""
    sizes = form.layout.plane_sizes(frame.height, frame.width)
    if form.packing == "samples":
        return tuple(_pick(frame, form, letter, size) for letter, size in zip(form.letters, sizes, strict=True))
    height, width = sizes[0]
    if form.packing == "bits":
        bits = np.unpackbits(_rows(frame.planes[0], form.dtype, height, -(-width // 8)), axis=1, count=width)
        return (bits * 255 if frame.format.name == "monob" else 255 - bits * 255,)
    words = _rows(frame.planes[0], form.dtype, height, width)
    if form.packing == "palette":
        argb = np.frombuffer(_memory(frame.planes[1]), np.uint32, 256)  # native words, by libav's definition
        return tuple(((argb >> shift) & 0xFF).astype(np.uint8)[words] for shift in (8, 0, 16))
    return tuple(_spread((words >> low) & ((1 << bits) - 1), bits, form.layout) for low, bits in form.fields)


def _pick(frame: av.VideoFrame, form: Format, letter: str, size: tuple[int, int]) -> Plane:
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
