"""Packets in the file's order, at times that run on over clocks that jump and gaps that damage left."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Stream

from vsr.io.opening import packets_of

_JUMP = Fraction(10)  # seconds ahead of what is due that are a new clock and no gap: ffmpeg's -dts_delta_threshold
_BACK = Fraction(1, 5)  # seconds behind what is due that are: decode times never go back
_SAME_CLOCK = Fraction(1)  # seconds by which streams may be apart where one clock gives way to another
_FEW = 4  # packets whose times may be damaged in a like way
_MOST_CLOCKS = 1000  # that are remembered: a file in which each packet has one is no clip
_HEADERS = 64  # bytes between two packets that containers need: block and cluster heads
_AVI_HEAD = 8  # bytes before the data of each chunk, an empty one too


class Read(NamedTuple):
    """A packet, and whether something is missing in the file right before it or in it."""

    packet: Packet
    is_after_hole: bool


class Jump(NamedTuple):
    """Where a source's clock was set anew: by how many seconds, at which time of those that run on."""

    at: Fraction
    by: Fraction


class Demuxer:
    """Reads the packets of some streams of a container, each stream's end marked by an empty one.

    Transport and program streams may change their clock where recordings are spliced: their times run on over that,
    sound and picture by the same amount; `jumps` tells where. AVI counts its packets: where some cannot be read, the
    index gives the others their places.
    """

    def __init__(self, container: InputContainer, streams: Sequence[Stream]) -> None:
        self._container = container
        self._wanted = {stream.index for stream in streams}
        name = container.format.name
        self._is_avi = name == "avi"
        self._has_gapless_bytes = self._is_avi or "matroska" in name
        self.end = 0  # byte after the last packet, where nothing lies between them
        self.reached = 0  # byte after the last packet, as far as packets tell their places
        self._clock = _RunningClock() if container.format.flags & Flags.ts_discont.value else None
        self._places = {s.index: _places(s) for s in container.streams} if self._is_avi else {}

    @property
    def jumps(self) -> Sequence[Jump]:
        """Where the clock was set anew so far, and stayed so: a damaged time is no new clock."""
        return self._clock.jumps() if self._clock else ()

    def want(self, stream: Stream) -> None:
        """Give the packets of this stream, too."""
        self._wanted.add(stream.index)

    def packets(self) -> Iterator[Read]:
        """All packets wanted. Raises what libav raises where the file cannot be read on."""
        torn: set[int] = set()  # streams whose next packet follows a hole
        last: dict[int, int] = {}  # of AVI: the place of each stream's last packet
        for packet in packets_of(self._container, *self._read_streams()):
            index = packet.stream.index
            if not packet.size:
                if index in self._wanted:
                    yield Read(packet, is_after_hole=False)
                continue
            if self._is_avi:
                self._replace(packet)
            at = -1 if packet.pos is None else packet.pos
            if at >= 0:
                self.reached = max(self.reached, at + packet.size)
            if self._has_gapless_bytes and at >= 0:
                skipped = (packet.dts or 0) - last.get(index, packet.dts or 0) if self._is_avi else 0
                room = _HEADERS + 2 * _AVI_HEAD * max(0, skipped)  # frames left out on purpose are empty chunks
                if self.end and at - self.end > room:
                    torn |= self._wanted
                self.end = max(self.end, at + packet.size)
                last[index] = packet.dts or 0
            if self._clock is not None:
                self._clock.set(packet)
            if packet.is_corrupt:  # where packets of a transport stream are missing, those of any of its streams are
                torn |= self._wanted
            if index in self._wanted:
                yield Read(packet, is_after_hole=index in torn)
                torn.discard(index)

    def _read_streams(self) -> list[Stream]:
        """All that tell of clocks and holes, or those that are wanted."""
        read_all = self._clock is not None or self._has_gapless_bytes
        kinds = ("video", "audio", "subtitle")
        return [s for s in self._container.streams if s.index in self._wanted or (read_all and s.type in kinds)]

    def _replace(self, packet: Packet) -> None:
        place = self._places[packet.stream.index].get(packet.pos or 0)
        if place is not None and packet.dts is not None and place != packet.dts:
            packet.dts = packet.pts = place


def _places(stream: Stream) -> dict[int, int]:
    """AVI's index: at which byte a packet begins, and which time it has, in ticks."""
    return {entry.pos + _AVI_HEAD: entry.timestamp for entry in stream.index_entries}


class _RunningClock:
    """Shifts times so that they run on where a source's clock is set anew.

    Each stream jumps by itself, since packets of both clocks lie mixed at the place; it takes the shift of a stream
    that has jumped before it, if that puts it about where it is due, so that sound and picture stay in step.
    """

    def __init__(self) -> None:
        self._shifts = [Fraction(0)]  # seconds, of each clock so far
        self._jumps: list[Jump] = []  # one for each shift but the first
        self._followers = [0]  # packets that have each shift
        self._shift: dict[int, Fraction] = {}  # by stream
        self._due: dict[int, Fraction] = {}  # seconds, by stream: decode time of the next packet

    def set(self, packet: Packet) -> None:
        """Move a packet's times to the clock that runs on."""
        raw = packet.dts if packet.dts is not None else packet.pts
        if raw is None or not packet.time_base:
            return
        index, base = packet.stream.index, packet.time_base
        time = raw * base
        shift = self._shifts[-1]
        if packet.stream.type in ("video", "audio"):  # texts come and go
            shift = self._followed(index, time, self._shift.get(index, shift))
            self._followers[self._shifts.index(shift)] += 1
            self._due[index] = time + shift + min((packet.duration or 0) * base, _BACK)
        if shift:
            ticks = round(shift / base)
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks

    def jumps(self) -> list[Jump]:
        """The clocks that more than a few packets follow."""
        return [jump for jump, followers in zip(self._jumps, self._followers[1:], strict=True) if followers > _FEW]

    def _followed(self, index: int, time: Fraction, shift: Fraction) -> Fraction:
        """The shift of a stream's packet, which may begin a new clock."""
        furthest = max(self._due.values(), default=None)  # a stream that paused is no further than the others
        due = self._due.get(index, furthest)
        if due is not None and furthest is not None:
            is_back = time + shift < due - (_BACK if index in self._due else _JUMP)
            if is_back or time + shift > max(due, furthest) + _JUMP:
                shift = self._shift_for(time, due, but=shift)
        self._shift[index] = shift
        return shift

    def _shift_for(self, time: Fraction, due: Fraction, *, but: Fraction) -> Fraction:
        for shift in reversed(self._shifts):
            if shift != but and abs(time + shift - due) <= _SAME_CLOCK:
                return shift
        if len(self._shifts) > _MOST_CLOCKS:
            return self._shifts[-1]
        shift = due - time
        self._jumps.append(Jump(due, self._shifts[-1] - shift))
        self._shifts.append(shift)
        self._followers.append(0)
        return shift
