"""How a clip becomes numbered pictures: format, depth and colour of each, decided before the first frame."""

from dataclasses import replace
from fractions import Fraction

from vsr.frames import MediaInfo, StreamPlan, VideoInfo
from vsr.io.encoders import EncoderPlan
from vsr.io.output_format import HDR_TRANSFERS, target_color
from vsr.io.pixel_formats import planar_layout
from vsr.settings import Matrix

_DEEP = ("png", "tiff")  # hold 16 bits; the others 8
_SRGB = 13  # a transfer of H.273: what programs take a picture for that says nothing
_OPTIONS = {"png": {"pred": "mixed"}, "tiff": {"compression_algo": "deflate"}}


def plan_pictures(
    video: VideoInfo, kind: str, *, size: tuple[int, int], sample_aspect_ratio: Fraction | None, matrix: Matrix
) -> tuple[EncoderPlan, list[str]]:
    """Pictures of `size` (height, width), and what to tell the user: above 8 bits they have 16, where `kind` can."""
    wanted = planar_layout(video.pix_fmt, with_alpha=True)
    is_deep = wanted.depth > 8 and kind in _DEEP
    has_alpha = wanted.has_alpha and kind != "jpeg"
    is_gray = wanted.kind == "gray" and not has_alpha and kind != "webp"
    name = "gray" if is_gray else "gbrap" if has_alpha else "gbrp"
    layout = planar_layout(f"{name}16le" if is_deep else name, with_alpha=True)
    packed = {"gray": "gray", "gbrp": "rgb", "gbrap": "rgba"}[name]
    if is_deep:
        packed += {"gray": "16", "rgb": "48", "rgba": "64"}[packed] + ("be" if kind == "png" else "le")
    color, notes = target_color(video.color, wanted, layout, codec=kind, matrix=matrix)
    color = replace(color, full_range=True)
    if color.transfer not in HDR_TRANSFERS:
        color = replace(color, transfer=_SRGB)
    if wanted.depth > 8 and not is_deep:
        notes.append(f"{kind} holds 8 bits, the source has {wanted.depth}: .png and .tif keep them")
    if wanted.has_alpha and not has_alpha:
        notes.append(f"{kind} has no alpha: transparent pixels show their colours; .png, .tif and .webp keep it")
    if sample_aspect_ratio not in (None, 1) and kind != "png":
        notes.append(f"{kind} does not say that pixels are not square ({sample_aspect_ratio}); --size makes them so")
    if video.display_matrix is not None:
        notes.append("pictures do not say how they are turned; --apply-rotation turns the pixels")
    plan = EncoderPlan(
        name=kind,
        codec=kind,
        pix_fmt="rgb24" if packed == "rgb" else packed,
        layout=layout,
        color=color,
        height=size[0],
        width=size[1],
        rate=video.rate.limit_denominator(1001),
        sample_aspect_ratio=sample_aspect_ratio,
        options=_OPTIONS.get(kind, {}),
        threads=1,
    )
    return plan, notes


def picture_streams(info: MediaInfo, kind: str) -> tuple[StreamPlan, ...]:
    """What becomes of each stream: pictures hold the picture."""
    return tuple(
        StreamPlan(stream=stream, action="upscale", why=f"to {kind}")
        if stream.index == info.video.index
        else StreamPlan(stream=stream, action="drop", why="numbered pictures cannot hold it")
        for stream in info.streams
    )
