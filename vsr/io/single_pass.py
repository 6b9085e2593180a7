"""One pass over a source that cannot be read twice: pictures go to the decoder, all else waits for the writer."""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction

from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream

from vsr.io.demux import Demuxer, Read
from vsr.stage import Cancel

_MOST_WAITING = 64 << 20  # bytes; then reading waits for the writer
_UNEVEN = Fraction(2)  # seconds by which sound may lie behind the picture in a file, and be found after the cut
_POLL = 0.05  # seconds


class SinglePass:
    """The packets of an open source, in the order in which they lie there, shared by a decoder and a writer.

    The decoder's thread iterates `pictures`; the writer's takes what lies between with `next_copy`. `start` is where
    the kept part begins, in the source's seconds.
    """

    def __init__(
        self, container: InputContainer, copied: Sequence[int], cancel: Cancel, *, start: Fraction | None = None
    ) -> None:
        self.container = container
        self._start = start
        self._copied = [container.streams[index] for index in copied]
        self._cancel = cancel
        self.demuxer = Demuxer(container, self._copied)
        self._waiting: deque[Read] = deque()
        self._changed = threading.Condition()
        self._bytes = 0
        self._is_taken = False  # whether the writer is there

    def pictures(self, stream: Stream) -> Iterator[Read]:
        """The packets of the picture, and an empty one at the end; what lies between them is set aside."""
        self.demuxer.want(stream)
        for read in self.demuxer.packets():
            if read.packet.stream.index == stream.index:
                yield read
            elif read.packet.size:
                self._set_aside(read)

    def read_on(self, picture: int, end: Fraction) -> None:
        """Set aside what belongs to the part before `end`, in the source's seconds, and lies behind it in the file."""
        open_ends = {one.index for one in self._copied if one.type == "audio"}
        if not open_ends:
            return
        with suppress(FFmpegError, OSError):  # told when the picture is read
            for read in self.demuxer.packets():
                packet = read.packet
                ticks = packet.pts if packet.dts is None else packet.dts
                time = None if ticks is None else ticks * (packet.stream.time_base or 0)
                if packet.stream.index != picture and packet.size:
                    self._set_aside(read)
                if time is not None and time >= end:
                    open_ends.discard(packet.stream.index)
                if not open_ends or (time is not None and time > end + _UNEVEN):
                    return

    def begin_taking(self) -> None:
        """Tell that the writer is there: from now on reading waits when too much is set aside."""
        with self._changed:
            self._is_taken = True

    @property
    def is_full(self) -> bool:
        """Whether reading waits for the writer."""
        return self._bytes > _MOST_WAITING

    def earliest(self, cut: Fraction | None) -> Fraction | None:
        """Seconds at which the first begins of what was set aside, as far as it goes on after `cut`."""
        begins: list[Fraction] = []
        with self._changed:
            for packet, _ in self._waiting:
                tick = packet.stream.time_base or Fraction(0)
                if packet.pts is not None and (cut is None or (packet.pts + (packet.duration or 0)) * tick > cut):
                    begins.append(min(packet.pts, packet.dts or packet.pts) * tick)
        return min(begins, default=None)

    def next_copy(self) -> Read | None:
        """The next packet that was set aside, None where there is none now."""
        with self._changed:
            if not self._waiting:
                return None
            read = self._waiting.popleft()
            self._bytes -= read.packet.size
            self._changed.notify_all()
            return read

    def _set_aside(self, read: Read) -> None:
        packet = read.packet
        if self._is_long_before(packet):
            return
        with self._changed:
            while self.is_full and self._is_taken:
                self._cancel.check()
                self._changed.wait(_POLL)
            self._waiting.append(read)
            self._bytes += packet.size

    def _is_long_before(self, packet: Packet) -> bool:
        """Whether nothing needs a sound or picture, so far before the kept part: only a text may last until it."""
        if self._start is None or packet.pts is None or packet.stream.type not in ("audio", "video"):
            return False
        return packet.pts * (packet.stream.time_base or 0) < self._start - _UNEVEN
