"""The pixel format of the output, and what its values mean: as near to the source's as the encoder allows."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache

import av
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext

from vsr.errors import ConfigError, MediaError
from vsr.frames import ColorSpec, PixelLayout
from vsr.io.pixel_formats import has_alpha, planar_layout
from vsr.io.priority import ordinary_priority
from vsr.settings import Matrix

HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
KEEPS_ALPHA = "--codec prores (mov), ffv1 (mkv) or vp9 (webm)"
_ALPHA_IN_MATROSKA_ONLY = ("libvpx", "libvpx-vp9")  # beside each packet; other containers have no place for it
_OPENS_WITH_ALPHA = {
    "libvpx": {"auto-alt-ref": "0"},
    "libvpx-vp9": {"auto-alt-ref": "0"},
    "libx265": {"x265-params": "log-level=none"},
}


def _bt601(color: ColorSpec) -> ColorSpec:
    return color if color.matrix in (5, 6) else replace(color, matrix=6)


# What a codec's standard fixes, so that no tag can say otherwise, and decoders look for none.
_FIXED_COLORS: dict[str, Callable[[ColorSpec], ColorSpec]] = {
    "mjpeg": lambda color: replace(_bt601(color), full_range=True, siting="center"),
    "ljpeg": lambda color: replace(_bt601(color), full_range=True, siting="center"),
    "vp8": lambda color: replace(_bt601(color), full_range=False),
    "mpeg1video": lambda color: replace(color, full_range=False, siting="center"),
    "mpeg2video": lambda color: replace(color, full_range=False, siting="left"),
    "mpeg4": lambda color: replace(color, full_range=False),
    "dnxhd": lambda color: replace(color, matrix=1, full_range=False),
    "prores": lambda color: replace(color, full_range=False),
}


def offered_formats(encoder: str, taken: Sequence[str], wanted: PixelLayout, *, container: str) -> list[str]:
    """The formats among those `taken` by an encoder that we can make, without the deprecated yuvj.

    Those with alpha only where `wanted` has it and the container can hold it.
    """
    names = [name for name in taken if not name.startswith("yuvj")]
    if encoder == "libx264":  # its gray forgets the matrix, and is decoded as 4:2:0 anyway
        names = [name for name in names if not name.startswith("gray")]
    is_alpha_held = encoder not in _ALPHA_IN_MATROSKA_ONLY or container in ("mkv", "webm")
    usable = []
    for name in names:
        if has_alpha(name) and not (wanted.has_alpha and is_alpha_held and _takes_alpha(encoder, name)):
            continue
        try:
            planar_layout(name)
        except MediaError:  # on a card, or not understood
            continue
        usable.append(name)
    return usable or [wanted.opaque.name]


@cache
def _takes_alpha(encoder: str, pix_fmt: str) -> bool:
    """Whether the encoder opens with a format that has alpha: some list it, and refuse it by how they were built."""
    if pix_fmt.startswith("ya"):
        return False  # packed gray, which no layout of ours is
    try:
        context = av.CodecContext.create(encoder, "w")
        assert isinstance(context, VideoCodecContext)
        context.width = context.height = 64
        context.pix_fmt, context.time_base = pix_fmt, Fraction(1, 25)
        context.options = _OPENS_WITH_ALPHA.get(encoder, {})
        with ordinary_priority():
            context.open()
    except (FFmpegError, ValueError, OSError):
        return False
    return True


def nearest_format(wanted: PixelLayout, offered: list[str]) -> str:
    """The offered format nearest to `wanted`: with no less alpha, depth and chroma if that can be, then least more."""

    def cost(name: str) -> tuple[int, ...]:
        have = planar_layout(name, with_alpha=wanted.has_alpha)
        lost = [max(0, h - w) for h, w in zip(have.log2_chroma, wanted.log2_chroma, strict=True)]
        more = [max(0, w - h) for h, w in zip(have.log2_chroma, wanted.log2_chroma, strict=True)]
        is_needed = wanted.kind != "gray"
        return (
            int(wanted.has_alpha and not have.has_alpha),
            int(is_needed and have.kind == "gray"),
            max(0, wanted.depth - have.depth),
            sum(lost) if is_needed else 0,
            int(have.kind != wanted.kind) + int(have.kind == "rgb" != wanted.kind),
            have.depth - wanted.depth + sum(more),
            int(have.name != name),  # planar before packed
        )

    return min(offered, key=cost)


def loses_samples(wanted: PixelLayout, layout: PixelLayout) -> bool:
    """Whether a layout is of another kind than the one wanted, less deep, or coarser in chroma."""
    is_coarser = any(h > w for h, w in zip(layout.log2_chroma, wanted.log2_chroma, strict=True))
    return layout.kind != wanted.kind or layout.depth < wanted.depth or is_coarser


def target_color(
    source: ColorSpec, wanted: PixelLayout, layout: PixelLayout, *, codec: str, matrix: Matrix
) -> tuple[ColorSpec, list[str]]:
    """The colour of the output, and what to say of it: the source's, but for what its format cannot say.

    `wanted` is the source's layout. By `matrix` "bt709" RGB becomes YUV in another way and stays what it is, and so do
    the tags of primaries and transfer, which tell what RGB means. Raises ConfigError where that makes no sense.
    """
    color, notes = source, []
    if matrix == "bt709" and source.transfer in HDR_TRANSFERS:
        raise ConfigError(
            f"matrix = {matrix}: the source is {HDR_TRANSFERS[source.transfer]}, which is BT.2020's and not mapped to "
            "less light; leave --matrix out"
        )
    if matrix == "bt709" and layout.kind == "rgb":
        notes.append("the output is RGB: --matrix changes nothing")
    elif matrix == "bt709":
        color = replace(color, matrix=1)
    if wanted.kind == "rgb" and layout.kind != "rgb":
        color = replace(color, matrix=1, full_range=False)
        notes.append(f"RGB becomes {layout.name} with the BT.709 matrix")
    elif layout.kind == "rgb":
        color = replace(color, matrix=0, full_range=True)
    fix = _FIXED_COLORS.get(codec)
    if fix is None or layout.kind != "yuv":
        return color, notes
    fixed = fix(color)
    name = "BT.709" if fixed.matrix == 1 else "BT.601"
    only = [f"the {name} matrix"] if fixed.matrix != color.matrix else []
    only += ["full range" if fixed.full_range else "limited range"] if fixed.full_range != color.full_range else []
    if only:
        notes.append(f"{codec} knows only {' and '.join(only)}: colours are converted to that")
    return fixed, notes
