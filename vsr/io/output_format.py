"""The pixel format of the output, and what its values mean: as near to the source's as the encoder allows."""

from dataclasses import replace
from fractions import Fraction
from functools import cache

import av
from av.codec import Codec
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext

from vsr.errors import ConfigError, MediaError
from vsr.frames import ColorSpec, PixelLayout
from vsr.io.pixel_formats import has_alpha, planar_layout
from vsr.settings import Matrix

HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
KEEPS_ALPHA = "--codec prores (mov), ffv1 (mkv) or vp9 (webm)"
_ALPHA_IN_MATROSKA_ONLY = ("libvpx", "libvpx-vp9")  # beside each packet; other containers have no place for it
_OPENS_WITH_ALPHA = {
    "libvpx": {"auto-alt-ref": "0"},
    "libvpx-vp9": {"auto-alt-ref": "0"},
    "libx265": {"x265-params": "log-level=none"},
}


def offered_formats(encoder: str, wanted: PixelLayout, *, container: str) -> list[str]:
    """Names of the formats an encoder takes that we can make, without the deprecated yuvj.

    Those with alpha only where `wanted` has it and the container can hold it. Raises ConfigError for no encoder.
    """
    try:
        found = Codec(encoder, "w").video_formats or []
    except (FFmpegError, ValueError) as e:
        raise ConfigError(f"encoder = {encoder}: no encoder of this build of PyAV; see --codec") from e
    names = [f.name for f in found if not f.name.startswith("yuvj")]
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
    source: ColorSpec, wanted: PixelLayout, layout: PixelLayout, *, encoder: str, matrix: Matrix
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
    if encoder == "prores_ks" and color.full_range:
        color = replace(color, full_range=False)
        notes.append("ProRes has no full range: the output is limited range")
    return color, notes
