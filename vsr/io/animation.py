"""Animated WebP, which libav 8 does not decode: Pillow does, and hands it on as a lossless clip."""

import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image, UnidentifiedImageError

from vsr.errors import MediaError

_MILLISECOND = Fraction(1, 1000)
_ANIMATED = 0x02  # flag of the VP8X chunk
_SHORTEST = 1  # ms; frames of no length would share a time


def is_animated_webp(path: Path) -> bool:
    """Whether a file says by its first bytes that it is an animated WebP. Raises OSError where it cannot be read."""
    with path.open("rb") as file:
        head = file.read(21)
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) == 21 and bool(head[20] & _ANIMATED)


class Clip:
    """A file without a name, gone with the last reference to it: PyAV closes no file that it was given."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed below
        self.read, self.write = self._file.read, self._file.write
        self.seek, self.tell = self._file.seek, self._file.tell

    def __del__(self) -> None:
        self._file.close()


def as_clip(path: Path) -> Clip:
    """The animation as Matroska with FFV1, every pixel and time as it was.

    Raises MediaError for what Pillow cannot read.
    """
    clip = Clip()
    try:
        with Image.open(path) as pictures, av.open(clip, "w", format="matroska") as file:
            _encode(pictures, file)
    except (OSError, ValueError, SyntaxError, EOFError, UnidentifiedImageError, Image.DecompressionBombError) as e:
        raise MediaError(f"{path}: its animation cannot be read ({e}); copy it again") from e
    clip.seek(0)
    return clip


def _encode(pictures: Image.Image, file: OutputContainer) -> None:
    width, height = pictures.size
    stream = file.add_stream("ffv1", rate=Fraction(1000))
    assert isinstance(stream, VideoStream)
    stream.width, stream.height, stream.pix_fmt = width, height, "bgra"
    stream.codec_context.time_base = stream.time_base = _MILLISECOND
    stream.codec_context.color_range = 2
    time = 0
    for number in range(getattr(pictures, "n_frames", 1)):
        pictures.seek(number)
        rgba = np.asarray(pictures.convert("RGBA"))
        length = max(_SHORTEST, int(pictures.info.get("duration", 0)))
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(rgba[..., [2, 1, 0, 3]]), format="bgra")
        frame.pts, frame.time_base = time, _MILLISECOND
        for packet in stream.encode(frame):
            packet.duration = length
            file.mux(packet)
        time += length
    for packet in stream.encode(None):
        file.mux(packet)
