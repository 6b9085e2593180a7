"""Makes clips of known colours, upscales them, and reads the codes that came out."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vsr.events import NoteEvent
from vsr.io.decoder import Decoder
from vsr.io.opening import open_input, packets_of
from vsr.settings import UpscaleSettings
from vsr.video import upscale_video

KR_KB = {6: (0.299, 0.114), 1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}
BARS = np.array(  # R, G, B of eight bars
    [[1, 1, 1], [0.75, 0.75, 0], [0, 0.75, 0.75], [0, 0.75, 0], [0.75, 0, 0.75], [0.75, 0, 0], [0, 0, 0.75], [0, 0, 0]]
)
BAR = 16  # pixels


def codes_of(rgb: np.ndarray, matrix: int, full: bool, depth: int) -> np.ndarray:
    """Y, Cb, Cr codes (3, bars) by the formulas of ITU-T H.273, in float64."""
    kr, kb = KR_KB[matrix]
    r, g, b = rgb.T
    y = kr * r + (1 - kr - kb) * g + kb * b
    cb, cr = (b - y) / (2 * (1 - kb)), (r - y) / (2 * (1 - kr))
    top, step = 2**depth - 1, 2 ** (depth - 8)
    coded = (
        [y * top, cb * top + 2 ** (depth - 1), cr * top + 2 ** (depth - 1)]
        if full
        else [219 * step * y + 16 * step, 224 * step * cb + 128 * step, 224 * step * cr + 128 * step]
    )
    return np.rint(np.stack(coded)).clip(0, top)


def write(
    path: Path, planes: list[np.ndarray], pix_fmt: str, *, tags: tuple[int, int, int, int] | None, **more
) -> Path:
    """Three frames of the same planes, lossless. `tags`: matrix, primaries, transfer, range."""
    height, width = more.pop("size", planes[0].shape)
    codec = more.pop("codec", "ffv1")
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25, options=more)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        context = stream.codec_context
        if tags is not None:
            context.colorspace, context.color_primaries, context.color_trc, context.color_range = tags
        for k in range(3):
            frame = av.VideoFrame(width, height, pix_fmt)
            for plane, values in zip(frame.planes, planes, strict=True):
                rows = np.frombuffer(memoryview(plane), values.dtype).reshape(plane.height, -1)
                rows[:, : values.shape[1]] = values
            if tags is not None:
                frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = tags
            frame.pts, frame.time_base = k, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def frames_of(path: Path) -> Iterator[av.VideoFrame]:
    """The frames of the first video stream, alpha included."""
    with open_input(path) as file:
        stream = file.streams.video[0]
        decoder = Decoder(stream)
        for packet in packets_of(file, stream):
            yield from decoder.decode(packet)


def first_planes(path: Path) -> tuple[list[np.ndarray], av.VideoFrame]:
    frame = next(frames_of(path))
    dtype = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    planes = [np.frombuffer(memoryview(p), dtype).reshape(p.height, -1)[:, : p.width].copy() for p in frame.planes]
    return planes, frame  # packed formats: one plane, its rows cut at the picture's width in samples


def upscale(source: Path, output: Path, nearest: Path, **changes) -> list[str]:
    notes: list[str] = []
    settings = UpscaleSettings(model=str(nearest), device="cpu", **{"scale": Fraction(2), "codec": "ffv1", **changes})
    upscale_video(
        source,
        output,
        settings=settings,
        on_event=lambda e: notes.append(e.message) if isinstance(e, NoteEvent) else None,
    )
    return notes
