"""The first frame of a clip that can be shown, and its time, whatever the file begins with."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vsr.errors import MediaError
from vsr.io.decoder import Decoder
from vsr.io.opening import packets_of
from vsr.io.side_data import side_data_of
from vsr.io.streams import codec_name

MAX_SIDE = 32768  # pixels; a frame of this size is 3 GiB as RGB, more is an attack or a mistake
_PACKETS_TO_FIRST_FRAME = 600  # a decoder that stays silent for longer has nothing to give
_FRAMES_TO_KEY = 100  # before which a stream that begins amid others' frames has one to begin with
_FRAMES_LOOKED_AT = 12  # after the first: for what they carry, and for times where its own is not read


class FirstFrame(NamedTuple):
    """A frame, its time in ticks, and the names of the side data that the next few carry."""

    frame: VideoFrame
    pts: int
    later: set[str]


def first_frame(path: Path, container: InputContainer, stream: VideoStream) -> FirstFrame:
    """Find the first frame that can be shown. Raises MediaError where none can be decoded.

    Where the file does not begin with a keyframe, that is the next one: what comes before leans on frames that the file
    does not hold. Where none comes soon, as in streams that are refreshed bit by bit, it is the first frame of all.
    """
    context = stream.codec_context
    if context is None:
        number = [s.index for s in container.streams.video].index(stream.index)
        raise MediaError(f"{path}: v:{number} has a codec that is not known here; convert it first")
    _check_size(path, context.height, context.width)
    search = _Search(path, container, stream)
    frames = search.frames()
    first: tuple[VideoFrame, int] | None = None
    for number, frame in enumerate(frames):
        found = frame, search.time_of(frame, number)
        first = first or found
        if frame.key_frame or search.begins_with_key:
            first = found
            break
        if number >= _FRAMES_TO_KEY:
            break
    if first is None:
        why = f"no frame of its {codec_name(stream)} video can be decoded; copy it again"
        raise MediaError(f"{path}: {why}") from search.error
    frame, time = first
    later = list(itertools.islice(frames, _FRAMES_LOOKED_AT))  # captions and such need not begin with the first one
    if frame.pts is None and search.has_untimed:
        time = _before_zero(later, stream, time)
    return FirstFrame(frame, time, {name for one in later for name in side_data_of(one)})


class _Search:
    """Decodes from the beginning and ranks packets' times, past what cannot be decoded."""

    def __init__(self, path: Path, container: InputContainer, stream: VideoStream) -> None:
        self._path = path
        self._decoder = Decoder(stream, threads=1)
        self._packets = packets_of(container, stream)
        self._is_avi = container.format.name == "avi"
        self._times: list[int] = []
        self.begins_with_key: bool | None = None
        self.has_untimed = False  # packets that have no time at all
        self.error: Exception | None = None

    def frames(self) -> Iterator[VideoFrame]:
        """Frames in display order, until the file ends or nothing comes any more."""
        for _ in range(_PACKETS_TO_FIRST_FRAME):
            try:
                packet = next(self._packets, None)
                frames = self._decoder.decode(packet) if packet is not None else []
            except (FFmpegError, ValueError) as e:
                self.error = e
                continue
            if packet is None:
                return
            # AVI knows no presentation times: those PyAV gives are wrong where frames are reordered
            time = packet.dts if self._is_avi else packet.pts
            if self.begins_with_key is None:
                self.begins_with_key = packet.is_keyframe
            if packet.size and not packet.is_discard:
                self.has_untimed |= time is None and packet.dts is None
                if time is not None:
                    self._times.append(time)
            for frame in frames:
                _check_size(self._path, frame.height, frame.width)
                yield frame

    def time_of(self, frame: VideoFrame, number: int) -> int:
        """Its own, or that of the packet of the same rank."""
        if frame.pts is not None and not self._is_avi:
            return frame.pts
        return sorted(self._times)[min(number, len(self._times) - 1)] if self._times else 0


def _before_zero(frames: Sequence[VideoFrame], stream: VideoStream, otherwise: int) -> int:
    """The time of a first frame whose own libav does not read: as many steps before the first that has one."""
    rate, base = stream.guessed_rate or stream.average_rate, stream.time_base
    for number, frame in enumerate(frames, 1):
        if frame.pts is not None and rate and base:
            return frame.pts - round(number / rate / base)
    return otherwise


def _check_size(path: Path, height: int, width: int) -> None:
    if max(height, width) > MAX_SIDE:
        raise MediaError(f"{path}: {width}x{height} pixels are too many; at most {MAX_SIDE} a side can be read")
