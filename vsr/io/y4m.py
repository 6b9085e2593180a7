"""YUV4MPEG2: plain pictures at a constant rate, which every tool reads from a pipe."""

from fractions import Fraction

from vsr.frames import VideoInfo
from vsr.io.encoders import EncoderPlan
from vsr.io.output_format import nearest_format, target_color
from vsr.io.pixel_formats import planar_layout
from vsr.settings import Matrix

Y4M_CODEC = "wrapped_avframe"  # libav's name for pictures that no encoder has seen
_CHROMA = ("gray", "yuv420p", "yuv422p", "yuv444p")
_FORMATS = [f"{chroma}{depth}" for depth in ("", "10le", "12le", "14le", "16le") for chroma in _CHROMA] + ["yuv411p"]


def plan_y4m(
    video: VideoInfo, *, size: tuple[int, int], sample_aspect_ratio: Fraction | None, matrix: Matrix
) -> tuple[EncoderPlan, list[str]]:
    """Pictures of `size` (height, width) as they are, and what to tell the user: the header says little of them."""
    pix_fmt = nearest_format(video.layout, _FORMATS)
    layout = planar_layout(pix_fmt)
    color, notes = target_color(video.color, video.layout, layout, codec=Y4M_CODEC, matrix=matrix)
    if video.has_alpha:
        notes.append("y4m has no alpha: transparent pixels show their colours")
    rate = video.rate.limit_denominator(1001)
    notes.append(
        f"y4m holds the picture only, at {rate} frames/s from 0 on, and does not say its matrix, primaries and transfer"
    )
    plan = EncoderPlan(
        name=Y4M_CODEC,
        codec=Y4M_CODEC,
        pix_fmt=pix_fmt,
        layout=layout,
        color=color,
        height=size[0],
        width=size[1],
        rate=rate,
        sample_aspect_ratio=sample_aspect_ratio,
        options={"chroma_sample_location": color.siting} if layout.log2_chroma == (1, 1) else {},
        threads=1,
    )
    return plan, notes
