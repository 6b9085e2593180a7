"""Straight through: frames are encoded as they are made into the file or pipe that is the output, in one pass.

What cannot be sought or cut comes and goes here: there are no segments, no join, and nothing to go on from.
"""

import math
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vsr.disk import remove_remains, why_not_written
from vsr.errors import Cancelled, MediaError
from vsr.frames import MediaInfo, Plane, RenderedBatch, StreamPlan
from vsr.io.assembly import Assembled, Assembly
from vsr.io.container_kind import Container, as_container, muxer
from vsr.io.copies import Copies
from vsr.io.encoders import EncoderPlan, quiet_encoders
from vsr.io.schedule import close_schedule, open_schedule, place_picture
from vsr.io.single_pass import SinglePass
from vsr.io.sink import FrameMaker, configure
from vsr.pipes import Outflow
from vsr.stage import Cancel, Stage

# A muxer of a pipe hands on at once what it gets, and waits for no stream longer than this.
_TO_PIPE = {"flush_packets": "1", "max_interleave_delta": "200000"}  # microseconds


class StraightSink:
    """Writes batches, and the other streams of the source beside them. `assembled` tells at last what was written.

    `target` is a file that is not there yet, and deleted unless all went well, or a pipe. `start` and `end` are where
    the clip was cut, in seconds after its first frame.
    """

    def __init__(
        self,
        info: MediaInfo,
        plan: Sequence[StreamPlan],
        target: Path | Outflow,
        *,
        container: str,
        encoder: EncoderPlan,
        source: SinglePass,
        start: Fraction = Fraction(0),
        end: Fraction | None = None,
        cancel: Cancel,
    ) -> None:
        self._info = info
        self._plan = plan
        self._target = target
        self._container: Container = as_container(container)
        self._encoder = encoder
        self._source = source
        self._is_cut = start > 0
        self._end = end
        self._cancel = cancel
        self.assembled: Assembled | None = None

    def write(self, rendered: Stage[RenderedBatch]) -> Iterator[int]:
        """Encode batches in order; yields the number of frames after each.

        Raises MediaError when the encoder, the disk or the pipe's reader gives up.
        """
        output: _Output | None = None
        try:
            for item in rendered.arrivals():
                if item is not None:
                    output = output or self._open(item.batch.pts[0])
                    for i in range(len(item.batch)):
                        output.write(item.batch.pts[i], [plane[i] for plane in item.planes])
                    yield len(item.batch)
                elif output is not None:
                    output.relieve()
            if output is not None:
                assembled = output.finish(self._info)
                if isinstance(self._target, Path):
                    output.assembly.finish(self._target)
                self.assembled = assembled
        except (FFmpegError, OSError, ValueError) as e:
            raise self._failed(e) from e
        finally:
            if self.assembled is None:
                if output is not None:
                    output.abandon()
                if isinstance(self._target, Path):
                    remove_remains(self._target)

    def _open(self, first_pts: int) -> "_Output":
        """Write the header: the time of the first frame is known, and with it where all streams begin."""
        info, source = self._info, self._source
        schedule, notes = open_schedule(
            info,
            first_pts,
            self._container,
            rate=self._encoder.rate,
            is_cut=self._is_cut,
            end=self._end,
            earliest=source.earliest(first_pts * info.video.time_base if self._is_cut else None),
        )
        assembly = Assembly(
            info=info,
            plan=self._plan,
            container=self._container,
            picture=self._encoder,
            schedule=schedule,
            source=source.container,
            notes=notes,
            is_pipe=isinstance(self._target, Outflow),
        )
        output = _Output(assembly, self._encoder, self._target, source, self._cancel)
        if info.pipe is not None:
            info.pipe.forget()  # nobody reads its beginning again
        source.begin_taking()
        return output

    def _failed(self, error: Exception) -> MediaError:
        name = self._target.path if isinstance(self._target, Outflow) else self._target.parent
        if isinstance(error, BrokenPipeError):
            return MediaError(f"{name}: its reader has gone, and did not take all; look at what it says")
        otherwise = f"cannot be written: {getattr(error, 'strerror', None) or error}; choose another output with -o"
        return MediaError(f"{name}: {why_not_written(error, otherwise)}")


class _Output:
    """The file or pipe once it is open, its encoder, and what is held back for a moment."""

    def __init__(
        self, assembly: Assembly, encoder: EncoderPlan, target: Path | Outflow, source: SinglePass, cancel: Cancel
    ) -> None:
        self.muxed = 0  # packets of the picture
        self.assembly = assembly
        self._encoder = encoder
        self._source = source
        self._cancel = cancel
        self._frames = FrameMaker(encoder)
        self._times: array[int] = array("q")  # of the frames so far, as written
        self._schedule = replace(assembly.schedule, pts=self._times)
        self._decoded = _Decoded()
        self._held: deque[Packet] = deque()  # until the time of the frame after theirs is known
        self._ready: deque[tuple[float, Packet]] = deque()  # copies, timed
        self._first: int | None = None  # frame's time, and how far frames are from an even rhythm: of y4m
        self._uneven = Fraction(0)  # seconds
        self._before_zero = 0  # packets of other streams
        self._delay = 0  # frames by which decoding runs ahead
        quiet_encoders()
        is_pipe = isinstance(target, Outflow)
        self._file = av.open(
            target if is_pipe else str(target.absolute()),
            "w",
            format=muxer(assembly.container),
            container_options=assembly.options() | (_TO_PIPE if is_pipe else {}),
            metadata_errors="surrogateescape",
        )
        try:
            self._tracks, self._video = assembly.prepare(self._file, self._add_picture)
            assembly.copy_covers(self._file)
        except BaseException:
            self.abandon()
            raise
        self._copies = Copies(self._tracks)

    def write(self, pts: int, planes: Sequence[Plane]) -> None:
        """Encode a frame of the time `pts`, in the source's ticks, and write what is due."""
        self._times.append(self._written_time(pts))
        self._encode(self._frames.make(planes))
        # the very last packet is placed otherwise, so one always waits
        while len(self._held) > 1 and (self._held[0].pts or 0) + 1 < len(self._times):
            self._mux_picture(is_last=False)

    def _written_time(self, pts: int) -> int:
        source, schedule = self.assembly.info.video.time_base, self._schedule
        if self.assembly.container != "y4m":
            return round((pts * source + schedule.shift) / schedule.time_base)
        self._first = pts if self._first is None else self._first
        self._uneven = max(self._uneven, abs((pts - self._first) * source - len(self._times) * schedule.time_base))
        return len(self._times)

    def relieve(self) -> None:
        """When reading cannot go on otherwise, write what of the other streams waits, wherever the picture is."""
        if self._source.is_full:
            self._copy(until=math.inf)

    def finish(self, info: MediaInfo) -> Assembled:
        """Write all that is held back and close. Raises MediaError unless every frame gave one packet."""
        self._encode(None)
        made = self.muxed + len(self._held)
        if made != len(self._times):
            what = f"made {made} packets of {len(self._times)} frames"
            raise MediaError(f"{self._encoder.name}: {what}; choose another --encoder or --codec")
        self._schedule = close_schedule(self._schedule, info, self.assembly.container)
        while self._held:
            self._mux_picture(is_last=len(self._held) == 1)
        self._copy(until=math.inf)
        for _, packet in self._copies.rest():
            self._mux_copy(packet)
        self._file.close()
        if self._before_zero:
            self.assembly.notes.append(f"{self._before_zero} packets lie before zero, and nut cannot hold them")
        if self._uneven > 1 / self._encoder.rate:
            what = f"frames lie up to {float(self._uneven):.3f} s from their times"
            self.assembly.notes.append(f"{what}: y4m has one rate, the source has not; use --container nut")
        return self.assembly.result(self._tracks, self._schedule)

    def abandon(self) -> None:
        """Close what is not whole."""
        with suppress(FFmpegError, OSError, ValueError, Cancelled):
            self._file.close()

    def _add_picture(self, file: OutputContainer) -> VideoStream:
        video = file.add_stream(self._encoder.name, rate=self._encoder.rate)
        assert isinstance(video, VideoStream)
        configure(video.codec_context, self._encoder)
        return video

    def _encode(self, frame: VideoFrame | None) -> None:
        for packet in self._video.codec_context.encode_lazy(frame):
            self._held.append(packet)
            self._cancel.check()  # draining a slow encoder takes seconds

    def _mux_picture(self, *, is_last: bool) -> None:
        packet = self._held.popleft()
        frame = packet.pts or 0  # encoders get frames that are numbered
        if not self.muxed:
            self._delay = 0 if packet.dts is None else frame - packet.dts
        if self.muxed - frame > self._delay:
            raise MediaError(f"{self._encoder.name}: reorders frames more than it says; choose another --codec")
        schedule, container = self._schedule, self.assembly.container
        place_picture(packet, schedule, self.muxed, frame, container=container, delay=self._delay, is_last=is_last)
        if container == "nut":
            packet.dts = self._decoded.latest_time(frame, self._times, ahead=self.muxed - self._delay)
        packet.stream = self._video
        self._copy(until=float((packet.dts or 0) * schedule.time_base))
        self._file.mux(packet)
        self.muxed += 1

    def _copy(self, until: float) -> None:
        """Write what of the other streams is decoded up to a time, in seconds, as far as it has been read."""
        while True:
            if self._ready:
                if self._ready[0][0] > until:
                    return
                self._mux_copy(self._ready.popleft()[1])
                continue
            read = self._source.next_copy()
            if read is None:
                return
            self._ready.extend(self._copies.add(read))

    def _mux_copy(self, packet: Packet) -> None:
        if self.assembly.container == "nut" and min(packet.pts or 0, packet.dts or 0) < 0:
            self._before_zero += 1  # what was not there when it was decided by how much all move up
            return
        self._file.mux(packet)


class _Decoded:
    """Which frames are decoded so far, for decode times as late as can be: NUT has no place for those before zero."""

    def __init__(self) -> None:
        self._lowest = 0  # frame that is not
        self._early: set[int] = set()  # frames above it that are

    def latest_time(self, frame: int, pts: Sequence[int], *, ahead: int) -> int:
        """The decode time of the next packet, which shows `frame`: the time of the lowest frame that is not decoded.

        Packets before that one's own come a tick earlier each; `ahead` is the packet's number less the encoder's delay.
        """
        lowest = self._lowest
        if frame != lowest:
            self._early.add(frame)
            return pts[lowest] - (lowest - ahead)
        self._lowest += 1
        while self._lowest in self._early:
            self._early.remove(self._lowest)
            self._lowest += 1
        return pts[lowest]
