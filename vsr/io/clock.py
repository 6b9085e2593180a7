"""When decoded frames are shown: by their own times where the container has them, else by rank or by rate."""

import heapq
from collections.abc import Iterator
from dataclasses import replace

from av.packet import Packet
from av.video.frame import VideoFrame

from vsr.frames import MediaInfo
from vsr.io.filters import Timed


class Clock:
    """Times of decoded frames: their own where the container has them, else by the rank of demuxed packets.

    AVI stores no presentation times and libav's guesses are wrong with B-frames: the k-th frame in display order
    takes the k-th smallest packet time. Raw streams have no times at all: frame k is shown at k / rate, and so are the
    first frames of a Matroska file that begins before zero, whose times libav does not read.
    """

    def __init__(self, info: MediaInfo) -> None:
        self._video = info.video
        self.step = 1 / info.video.rate / info.video.time_base  # ticks, nominal
        self._by_rank = info.container == "avi"
        self._heap: list[int] = []
        self._untimed = 0  # packets without any time whose frames are still to come
        self._shown = 0
        self.latest: int | None = None  # of the packets
        self.last: int | None = None  # of the frames

    def add(self, packet: Packet) -> int | None:
        """Take note of a packet that goes into the decoder; the time of its frame, None where it has none."""
        time = self._time(packet)
        if time is None:
            self._untimed += 1
        else:
            self.latest = time if self.latest is None else max(time, self.latest)
            heapq.heappush(self._heap, time)
        return time

    def remove(self, packet: Packet) -> None:
        """Forget a packet that gave no frame."""
        time = self._time(packet)
        if time is None:
            self._untimed = max(0, self._untimed - 1)
        elif time in self._heap:
            self._heap.remove(time)
            heapq.heapify(self._heap)

    def time_of(self, frame: VideoFrame) -> int:
        """The time of the next frame in display order, in ticks of the stream."""
        if frame.pts is None and self._untimed and not self._by_rank:
            self._untimed -= 1
            pts = self._at_rate()
        elif self._by_rank or frame.pts is None:
            pts = heapq.heappop(self._heap) if self._heap else self._at_rate()
        else:
            pts = frame.pts
            while self._heap and self._heap[0] <= pts:
                heapq.heappop(self._heap)
        self._shown += 1
        self.last = pts if self.last is None else max(pts, self.last)
        return pts

    def _time(self, packet: Packet) -> int | None:
        return packet.dts if self._by_rank or packet.pts is None else packet.pts

    def _at_rate(self) -> int:
        return self._video.first_pts + round(self._shown * self.step)


def increasing(frames: Iterator[Timed]) -> Iterator[Timed]:
    """Make times strictly increase: two neighbours whose times are swapped get them back in order.

    Frames come in display order, so it is the times that are wrong (seen in a real Matroska file). Of two frames at one
    time the second is shown a tick later.
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
