"""What libav's pixel formats mean: where their samples lie, and the planar layout they are handed on in."""

import sys
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from av.video.format import VideoFormat

from vsr.errors import MediaError
from vsr.frames import PixelLayout

_NATIVE = "le" if sys.byteorder == "little" else "be"

# libav name without byte order -> per plane, the samples that repeat along a row. "A" is alpha, "-" padding.
_INTERLEAVED: dict[str, tuple[str, ...]] = {
    "rgb24": ("RGB",),
    "bgr24": ("BGR",),
    "rgb0": ("RGB-",),
    "bgr0": ("BGR-",),
    "0rgb": ("-RGB",),
    "0bgr": ("-BGR",),
    "rgba": ("RGBA",),
    "bgra": ("BGRA",),
    "argb": ("ARGB",),
    "abgr": ("ABGR",),
    "rgb48": ("RGB",),
    "bgr48": ("BGR",),
    "rgba64": ("RGBA",),
    "bgra64": ("BGRA",),
    "rgbf16": ("RGB",),
    "rgbf32": ("RGB",),
    "rgbaf16": ("RGBA",),
    "rgbaf32": ("RGBA",),
    "ya8": ("YA",),
    "ya16": ("YA",),
    "yaf16": ("YA",),
    "yaf32": ("YA",),
    "yuyv422": ("YUYV",),
    "uyvy422": ("UYVY",),
    "yvyu422": ("YVYU",),
    "y210": ("YUYV",),
    "y212": ("YUYV",),
    "y216": ("YUYV",),
    "ayuv": ("AYUV",),
    "vuya": ("VUYA",),
    "vuyx": ("VUY-",),
    "uyva": ("UYVA",),
    "vyu444": ("VYU",),
    "ayuv64": ("AYUV",),
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
class Format:
    """How samples lie in frames of one libav format, and the layout they are handed on in."""

    layout: PixelLayout
    packing: Literal["samples", "fields", "palette", "bits"]
    dtype: np.dtype[np.generic]  # of a sample, or of the word of fields, in the frame's byte order
    groups: tuple[str, ...] = ()  # as in _INTERLEAVED, for "samples"
    letters: str = ""  # which samples of `groups` make the layout's planes, in its order
    fields: tuple[tuple[int, int], ...] = ()  # (lowest bit, bits) in the layout's order, for "fields"
    shift: int = 0  # bits below a sample in its word


def planar_layout(pix_fmt: str, *, with_alpha: bool = False) -> PixelLayout:
    """The planar layout in which frames of a libav format are handed on.

    Every sample keeps its value; alpha, where the format has any, is a last plane or left out. Gray with alpha becomes
    RGB with alpha: libav has no planar format for it. Samples of fewer than 8 bits are spread over 8 bits (white stays
    white), and floats are rounded to 16 bits after clipping to [0, 1]. Raises MediaError for what is not offered:
    frames on a hardware device, sensor mosaics, XYZ, 32-bit integers, and a few that no decoder makes.
    """
    return format_of(pix_fmt, with_alpha=with_alpha).layout


def has_alpha(pix_fmt: str) -> bool:
    """Whether frames of a libav format carry alpha in every pixel. A palette's entries are not looked at."""
    try:
        return any(component.is_alpha for component in VideoFormat(pix_fmt).components)
    except ValueError as e:
        raise _unknown(pix_fmt) from e


@cache
def format_of(pix_fmt: str, *, with_alpha: bool) -> Format:
    """How frames of a libav format are to be read. Raises MediaError as `planar_layout` does."""
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
    layout = _layout(form, 16 if is_float else max(8, bits), with_alpha=with_alpha)
    order = ">" if form.is_big_endian else "<"
    if base == "pal8":
        return Format(layout=layout, packing="palette", dtype=np.dtype(np.uint8))
    if base in ("monow", "monob"):
        return Format(layout=layout, packing="bits", dtype=np.dtype(np.uint8))
    letters = _letters(layout, is_gray=len(samples) == 1)
    if base in _FIELDS:
        word, fields = _FIELDS[base]
        in_order = tuple(fields[letter] for letter in letters)
        return Format(layout=layout, packing="fields", dtype=np.dtype(f"{order}u{word}"), fields=in_order)
    groups = _INTERLEAVED.get(base) or _planar_groups(form)
    if groups is None:
        raise _unreadable(pix_fmt)
    dtype = np.dtype(f"{order}{'f' if is_float else 'u'}{-(-bits // 8)}")
    shift = 16 - bits if base in _HIGH_BITS or base.endswith("msb") else 0
    return Format(layout=layout, packing="samples", dtype=dtype, groups=groups, letters=letters, shift=shift)


def gray_layout(depth: int) -> PixelLayout:
    """One plane of `depth` bits a sample, 8 to 16."""
    return PixelLayout(name=f"gray{_suffix(depth)}", kind="gray", depth=depth)


def _layout(form: VideoFormat, depth: int, *, with_alpha: bool) -> PixelLayout:
    """The layout for a 16x16 format of known depth."""
    samples = [component for component in form.components if not component.is_alpha]
    has_alpha = with_alpha and len(samples) < len(form.components)
    a, suffix = "a" if has_alpha else "", _suffix(depth)
    if len(samples) == 1 and not form.has_palette and not has_alpha:
        return gray_layout(depth)
    if form.is_rgb or len(samples) == 1:
        return PixelLayout(name=f"gbr{a}p{suffix}", kind="rgb", depth=depth, has_alpha=has_alpha)
    log2_chroma = ((16 // samples[1].height).bit_length() - 1, (16 // samples[1].width).bit_length() - 1)
    digits = {(0, 0): "444", (0, 1): "422", (1, 1): "420", (1, 0): "440", (0, 2): "411", (2, 2): "410"}[log2_chroma]
    return PixelLayout(
        name=f"yuv{a}{digits}p{suffix}", kind="yuv", depth=depth, log2_chroma=log2_chroma, has_alpha=has_alpha
    )


def _suffix(depth: int) -> str:
    return "" if depth == 8 else f"{depth}{_NATIVE}"


def _planar_groups(form: VideoFormat) -> tuple[str, ...] | None:
    """Groups of a format that keeps each kind of sample in its own plane; None for any other."""
    letters = iter("RGB" if form.is_rgb else "YUV")
    by_plane = {c.plane: "A" if c.is_alpha else next(letters) for c in form.components}
    if len(by_plane) < len(form.components) or form.is_bit_stream:
        return None
    return tuple(by_plane[plane] for plane in sorted(by_plane))


def _letters(layout: PixelLayout, *, is_gray: bool) -> str:
    """The samples that make the planes of a layout, in its order."""
    colours = {"yuv": "YUV", "rgb": "YYY" if is_gray else "GBR", "gray": "Y"}[layout.kind]
    return colours + ("A" if layout.has_alpha else "")


def _unknown(pix_fmt: str) -> MediaError:
    return MediaError(f"{pix_fmt}: libav knows no such pixel format; give one that `ffmpeg -pix_fmts` lists")


def _unreadable(pix_fmt: str) -> MediaError:
    return MediaError(
        f"{pix_fmt}: pixels of this format cannot be read; convert the clip to yuv444p16le or rgb48le first"
    )
