"""Pictures of a finished file: a few in a row at each of many places, as its own check can afford, or all of them."""

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vsr.errors import MediaError
from vsr.frames import PixelLayout, Plane
from vsr.io.opening import open_input
from vsr.io.pixel_formats import planar_layout
from vsr.io.pixels import PlaneReader
from vsr.io.streams import describe_streams


class Sample(NamedTuple):
    """One decoded picture."""

    planes: tuple[Plane, ...]  # (h, w) each
    layout: PixelLayout


def samples_at(path: Path, times: Sequence[Fraction], *, picture: int, count: int) -> Iterator[list[Sample]]:
    """`count` consecutive pictures, or as many as there are, from each of `times` on, where the file has keyframes.

    Times are in seconds and rise. `picture` is the place of the stream among those that hold no timed data. Raises
    MediaError when the file cannot be read there.
    """
    try:
        with open_input(path) as file:
            place = [stream for stream in describe_streams(file) if stream.kind != "data"][picture].index
            stream = file.streams[place]
            assert isinstance(stream, VideoStream)
            for time in times:
                yield [_sample(frame) for frame in _frames_from(file, stream, time, count)]
    except (FFmpegError, OSError) as e:
        raise MediaError(f"{path}: cannot be decoded ({e.strerror or e}); run the same command again") from e


def all_samples(path: Path, place: int) -> Iterator[tuple[Fraction, Sample]]:
    """Every picture of the stream at `place`, and its time in seconds. Raises MediaError where the file breaks off."""
    try:
        with open_input(path) as file:
            stream = file.streams[place]
            assert isinstance(stream, VideoStream)
            stream.thread_type = "AUTO"
            base = stream.time_base or Fraction(1, 1000)
            for frame in file.decode(stream):
                assert isinstance(frame, VideoFrame)
                yield (frame.pts or 0) * base, _sample(frame)
    except (FFmpegError, OSError) as e:
        raise MediaError(f"{path}: cannot be decoded ({e.strerror or e}); make it again") from e


def _frames_from(file: InputContainer, stream: VideoStream, time: Fraction, count: int) -> Iterator[VideoFrame]:
    base = stream.time_base or Fraction(1, 1000)
    ticks = round(time / base)
    file.seek(ticks, stream=stream, backward=True)
    late = (frame for frame in file.decode(stream) if isinstance(frame, VideoFrame) and (frame.pts or 0) >= ticks - 1)
    return itertools.islice(late, count)


def _sample(frame: VideoFrame) -> Sample:
    layout = planar_layout(frame.format.name)
    planes = PlaneReader(layout, frame.height, frame.width).read(frame)
    return Sample(tuple(plane.copy() for plane in planes), layout)
