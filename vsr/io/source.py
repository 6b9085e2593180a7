"""Decoding: every frame of a clip once, in order, at its time, as planes in batches that never cross a segment."""

import heapq
import itertools
import logging
import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vsr.frames import FrameBatch, MediaInfo, Plane, VideoInfo
from vsr.io.crop import cut_out
from vsr.io.decoder import Decoder
from vsr.io.filters import WARM_UP, FilteredVideo, Timed, deinterlaced
from vsr.io.opening import open_input, packets_of
from vsr.io.pixels import PlaneReader, crc_of
from vsr.io.single_pass import SinglePass
from vsr.io.streams import tagged_end
from vsr.settings import Crop

log = logging.getLogger(__name__)

_SEEK_MARGIN = Fraction(3)  # seconds before the wanted time at which decoding starts, for streams that land late
_WORTH_SEEKING = Fraction(10)  # seconds; a start nearer than this is decoded up to


@dataclass(slots=True)
class Findings:
    """What decoding found out, complete once the source is exhausted."""

    frames: int = 0
    lost: int = 0  # frames the file should hold and that could not be decoded, as far as it can be told
    damage: list[str] = field(default_factory=list)  # one line each
    notes: list[str] = field(default_factory=list)


class VideoSource:
    """Iterate once for FrameBatch values. Errors that leave nothing to decode are MediaError.

    A FilteredVideo is decoded, and what is done to it is done.
    `start` and `end` are seconds after the clip's first frame, `end` itself left out. Segment k holds the frames
    with k·L ≤ pts - first_pts < (k+1)·L. What can be decoded of a damaged clip is
    delivered; `findings` tells the rest. `shared` is read instead of the file where other streams come from the same
    pass over it: nothing is sought then, and nothing decoded twice.
    """

    def __init__(
        self,
        info: MediaInfo,
        *,
        batch: int,
        segment: Fraction,
        start: Fraction = Fraction(0),
        end: Fraction | None = None,
        threads: int = 0,
        shared: SinglePass | None = None,
    ) -> None:
        video = info.video if isinstance(info.video, FilteredVideo) else FilteredVideo.of(info.video, "off")
        self._video = video
        self._info = replace(info, video=video.decoded)
        self._batch = batch
        self._segment = segment
        self._start = start
        self._end = end
        self._threads = threads
        self._shared = shared
        self._reader = PlaneReader(video.layout, video.decoded.height, video.decoded.width)
        self._crop = video.crop or Crop(height=video.decoded.height, width=video.decoded.width, top=0, left=0)
        self._decoded_frames = 0  # from start to end
        self._interlaced = 0  # of these
        self.findings = Findings()

    def __iter__(self) -> Iterator[FrameBatch]:
        video = self._video
        pending: list[Timed] = []
        segment = 0
        for timed in self._wanted():
            index = max(0, math.floor((timed.pts - video.first_pts) * video.time_base / self._segment))
            if pending and (index != segment or len(pending) == self._batch):
                yield self._to_batch(pending, segment)
                pending = []
            segment = index
            pending.append(timed)
        if pending:
            yield self._to_batch(pending, segment)
        if self._shared is not None and self._end is not None:
            first = video.decoded.first_pts * video.decoded.time_base
            self._shared.read_on(video.index, first + self._end)
        self.findings.notes += self._noticed()

    def _to_batch(self, timed: list[Timed], segment: int) -> FrameBatch:
        layout, crop = self._reader.layout, self._crop
        sizes = layout.plane_sizes(crop.height, crop.width)
        planes: tuple[Plane, ...] = tuple(layout.empty(len(timed), h, w) for h, w in sizes)
        for i, one in enumerate(timed):
            for stack, plane in zip(planes, cut_out(self._reader.read(one.frame), layout, crop), strict=True):
                np.copyto(stack[i], plane)  # the decoder keeps its own planes for reference
        self.findings.frames += len(timed)
        return FrameBatch(
            planes=planes,
            pts=tuple(one.pts for one in timed),
            time_base=self._video.time_base,
            segment=segment,
            last_crc=crc_of(timed[-1].decoded),
        )

    def _noticed(self) -> Iterator[str]:
        """What is known of the frames once all are out."""
        if self._reader.foreign:
            size = f"{self._reader.width}x{self._reader.height}"
            yield f"{self._reader.foreign} frames have another size: resized to {size} like the first"
        frames, counted = self.findings.frames, f"{self._decoded_frames} frames of the source became"
        if self._video.deinterlace == "double":
            yield f"{counted} {frames}, one a field"
        elif self._video.deinterlace == "ivtc":
            yield f"{counted} {frames} of film"
        elif self._video.deinterlace == "auto":
            yield from self._noticed_flags()

    def _noticed_flags(self) -> Iterator[str]:
        """Where the frames' flags do not say the same from first to last."""
        if self._interlaced and self._interlaced < self._decoded_frames:
            yield f"{self._interlaced} of {self._decoded_frames} frames are interlaced: only these were deinterlaced"
        elif self._video.decoded.is_interlaced and not self._interlaced:
            yield "no frame says that it is interlaced: none was deinterlaced; --deinterlace on does it all the same"

    def _wanted(self) -> Iterator[Timed]:
        """Frames from `start` up to `end`, filtered."""
        frames = self._from_start()
        if self._video.deinterlace != "off":
            decoded = self._video.decoded
            step = round(1 / decoded.rate / decoded.time_base)
            frames = deinterlaced(self._counted(frames), self._video.deinterlace, step=step, threads=self._threads)
        for timed in frames:
            seconds = self._seconds(timed, self._video)
            if self._end is not None and seconds >= self._end:
                return
            if seconds >= self._start:
                yield timed

    def _counted(self, frames: Iterator[Timed]) -> Iterator[Timed]:
        """The same frames; counts those between `start` and `end`, and the interlaced ones among them."""
        for timed in frames:
            seconds = self._seconds(timed, self._video.decoded)
            if seconds >= self._start and (self._end is None or seconds < self._end):
                self._decoded_frames += 1
                self._interlaced += bool(timed.decoded.interlaced_frame)
            yield timed

    @staticmethod
    def _seconds(timed: Timed, video: VideoInfo) -> Fraction:
        """From the first frame's time to this one's, which counts in the ticks of `video`."""
        return (timed.pts - video.first_pts) * video.time_base

    def _from_start(self) -> Iterator[Timed]:
        """Decoded frames in order, beginning before `start`: by seeking where that is safe, else from the beginning.

        Filters see some frames before the first one wanted. What goes by fives must begin at the first frame.
        """
        video = self._info.video
        how = self._video.deinterlace
        if self._start >= _WORTH_SEEKING and self._shared is None and how != "ivtc":
            wanted = video.first_pts + int((self._start - _SEEK_MARGIN) / video.time_base)
            frames = self._recovered(seek_to=wanted)
            head = list(itertools.islice(frames, 1 if how == "off" else 1 + WARM_UP))
            if head and head[-1].pts <= video.first_pts + self._start / video.time_base:
                yield from head
                yield from frames
                return
            frames.close()
            self.findings = Findings()
        yield from self._recovered(seek_to=None)

    def _recovered(self, *, seek_to: int | None) -> Generator[Timed, None, None]:
        """Decode with frame threads; on the first damage begin again with slice threads and skip what is out.

        An error while frame threads are drained would take the frames inside them along (measured: 3 of 29).
        """
        last: int | None = None
        if self._shared is not None:
            yield from _increasing(self._decoded("SLICE", seek_to))
            return
        try:
            for timed in _increasing(self._decoded("AUTO", seek_to)):
                last = timed.pts
                yield timed
            return
        except _DamagedError as e:
            log.info("%s: %s; decoding again on one thread", self._info.path, e)
        for timed in _increasing(self._decoded("SLICE", seek_to)):
            if last is None or timed.pts > last:
                yield timed

    def _decoded(self, threading: str, seek_to: int | None) -> Iterator[Timed]:
        """Frames as decoded, with their best known times. Raises _DamagedError when `threading` is AUTO."""
        tolerant = threading == "SLICE"
        with self._opened() as container:
            stream = container.streams[self._info.video.index]
            assert isinstance(stream, VideoStream)
            decoder = Decoder(stream, threading=threading, threads=self._threads)
            if seek_to is not None and not _is_sought(container, stream, seek_to):
                return
            clock = _Clock(self._info)
            decoded = 0
            for packet in self._packets(container, stream, tolerant=tolerant):
                if packet.size and not packet.is_discard:
                    clock.add(packet)
                for frame in self._frames_of(decoder, packet, clock, tolerant=tolerant):
                    if frame.is_corrupt and not tolerant and decoded:
                        raise _DamagedError("a corrupt frame")
                    pts = clock.time_of(frame)
                    if frame.is_corrupt and decoded:  # the first may lean on frames before the cut
                        self._damaged(f"the frame at {_when(pts, self._info)} is damaged", is_lost=False)
                    decoded += 1
                    yield Timed(frame=frame, pts=pts, decoded=frame)
            if seek_to is None and self._end is None:
                self._missing_at_end(stream, clock)

    @contextmanager
    def _opened(self) -> Iterator[InputContainer]:
        if self._shared is not None:
            yield self._shared.container
            return
        with open_input(self._info.path, numbered=self._info.numbered) as container:
            yield container

    def _packets(self, container: InputContainer, stream: VideoStream, *, tolerant: bool) -> Iterator[av.Packet]:
        """All packets of the picture and one empty one that drains the decoder, whatever the demuxer does."""
        is_drained = False
        try:
            shared = self._shared
            for packet in packets_of(container, stream) if shared is None else shared.pictures(stream):
                is_drained = not packet.size
                yield packet
        except FFmpegError as e:
            if not tolerant:
                raise _DamagedError(str(e)) from e
            self._damaged(f"the file cannot be read on: {e.strerror}")
        if not is_drained:
            last = av.Packet()
            last.stream = stream
            yield last

    def _frames_of(self, decoder: Decoder, packet: av.Packet, clock: "_Clock", *, tolerant: bool) -> list[VideoFrame]:
        try:
            return decoder.decode(packet)
        except FFmpegError as e:
            if not tolerant:
                raise _DamagedError(str(e)) from e
            clock.remove(packet)
            self._damaged(f"a packet at {_when(packet.pts, self._info)} cannot be decoded: {e.strerror}")
            return []

    def _missing_at_end(self, stream: VideoStream, clock: "_Clock") -> None:
        """Tell when the file promised more than it held: containers hide a cut-off tail without any error."""
        missing = stream.frames - clock.packets if stream.frames else 0
        if self._info.container == "avi" and clock.last is not None:  # its count includes frames left out on purpose
            missing = min(missing, stream.frames - 1 - clock.last)
        promised = tagged_end(stream)
        if promised is not None and clock.last is not None:
            short = promised - clock.last * self._info.video.time_base
            missing = max(missing, int(short * self._info.video.rate) - 1 if short > Fraction(1, 4) else 0)
        if missing > 0:
            at = "its beginning" if clock.last is None else _when(clock.last, self._info)
            self.findings.lost += missing
            self.findings.damage.append(f"the file breaks off after {at}: about {missing} frames are missing")

    def _damaged(self, what: str, *, is_lost: bool = True) -> None:
        self.findings.lost += is_lost
        self.findings.damage.append(what)
        log.info("%s: %s", self._info.path, what)


class _DamagedError(Exception):
    """The bits are damaged: decode again with slice threads."""


class _Clock:
    """Times of decoded frames: their own where the container has them, else by the rank of demuxed packets.

    AVI stores no presentation times and libav's guesses are wrong with B-frames: the k-th frame in display order
    takes the k-th smallest packet time. Raw streams have no times at all: frame k is shown at k / rate.
    """

    def __init__(self, info: MediaInfo) -> None:
        self._video = info.video
        self._by_rank = info.container == "avi"
        self._heap: list[int] = []
        self._shown = 0
        self.packets = 0
        self.last: int | None = None

    def add(self, packet: av.Packet) -> None:
        self.packets += 1
        time = self._time(packet)
        if time is not None:
            heapq.heappush(self._heap, time)

    def remove(self, packet: av.Packet) -> None:
        """Forget a packet that gave no frame."""
        time = self._time(packet)
        if time in self._heap:
            self._heap.remove(time)
            heapq.heapify(self._heap)

    def time_of(self, frame: VideoFrame) -> int:
        """The time of the next frame in display order, in ticks of the stream."""
        if self._by_rank or frame.pts is None:
            pts = heapq.heappop(self._heap) if self._heap else self._at_rate()
        else:
            pts = frame.pts
            while self._heap and self._heap[0] <= pts:
                heapq.heappop(self._heap)
        self._shown += 1
        self.last = pts if self.last is None else max(pts, self.last)
        return pts

    def _time(self, packet: av.Packet) -> int | None:
        return packet.dts if self._by_rank or packet.pts is None else packet.pts

    def _at_rate(self) -> int:
        return self._video.first_pts + round(self._shown / self._video.rate / self._video.time_base)


def _increasing(frames: Iterator[Timed]) -> Iterator[Timed]:
    """Make times strictly increase: two neighbours whose times are swapped get them back in order.

    Frames come in display order, so it is the times that are wrong (seen in a real Matroska file).
    """
    held: Timed | None = None
    last: int | None = None
    for timed in frames:
        if held is None:
            held = timed
            continue
        low, high = sorted((held.pts, timed.pts))
        low = low if last is None else max(low, last + 1)
        yield replace(held, pts=low)
        last = low
        held = replace(timed, pts=max(high, low + 1))
    if held is not None:
        yield held


def _is_sought(container: InputContainer, stream: VideoStream, pts: int) -> bool:
    """Go to a keyframe before `pts`; False where the format cannot, as raw H.264, and decoding must begin anew."""
    try:
        container.seek(pts, stream=stream, backward=True)
    except (FFmpegError, OSError) as e:
        log.info("%s: cannot be sought: %s", container.name, e)
        return False
    return True


def _when(pts: int | None, info: MediaInfo) -> str:
    if pts is None:
        return "an unknown time"
    return f"{float((pts - info.video.first_pts) * info.video.time_base):.3f} s"
