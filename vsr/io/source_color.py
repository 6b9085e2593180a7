"""What colours a source says or means, and where its chroma samples lie."""

import io

import av
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vsr.frames import ColorSpec, PixelLayout, Siting
from vsr.io.color_guess import first_said, guess_color
from vsr.io.streams import codec_name

_SITING_CODES: dict[tuple[int, int], Siting] = {(1, 2): "left", (2, 2): "center", (1, 1): "topleft"}


def source_color(stream: VideoStream, frame: VideoFrame, layout: PixelLayout) -> ColorSpec:
    """What the samples of a stream mean, as its first frame or its header say; the rest is guessed, and named."""
    context = stream.codec_context
    color_range = frame.color_range or context.color_range
    is_jpeg = frame.format.name.startswith("yuvj")
    is_said = color_range in (1, 2) or is_jpeg or layout.kind == "rgb"
    full_range = color_range == 2 or is_jpeg or (layout.kind == "rgb" and color_range != 1)
    tagged = ColorSpec(
        matrix=first_said(frame.colorspace, context.colorspace),
        primaries=first_said(frame.color_primaries, context.color_primaries),
        transfer=first_said(frame.color_trc, context.color_trc),
        full_range=full_range,
        guessed=() if is_said else ("full_range",),
    )
    return guess_color(
        tagged,
        layout=layout,
        size=(frame.height, frame.width),
        codec=codec_name(stream),
        siting=chroma_siting(stream),
    )


def chroma_siting(stream: VideoStream) -> Siting | None:
    """Where chroma samples lie, None when the stream does not say.

    PyAV 18 has no such attribute, but its Matroska muxer writes it: copy the header into memory and look there.
    """
    memory = io.BytesIO()
    try:
        with av.open(memory, "w", format="matroska") as trial:
            trial.add_stream_from_template(stream, opaque=True)
            trial.start_encoding()
    except (FFmpegError, ValueError, OSError):  # a codec that Matroska does not hold
        return None
    head = memory.getvalue()
    across, down = head.find(b"\x55\xb7\x81"), head.find(b"\x55\xb8\x81")  # ChromaSitingHorz, ChromaSitingVert
    if across < 0 or down < 0:
        return None
    return _SITING_CODES.get((head[across + 3], head[down + 3]))
