"""Decode times that a container does not store, made up from those around them."""

from collections.abc import Iterator

from vsr.io.demux import Read
from vsr.io.segments import MOST_REORDERED


class DecodeTimes:
    """Gives the first pictures of copied streams the decode times that Matroska does not store."""

    def __init__(self) -> None:
        self._waiting: dict[int, list[Read]] = {}  # by stream, until a time is known
        self._begun: set[int] = set()

    def add(self, read: Read) -> Iterator[Read]:
        """The packet, with those that waited for it; nothing while it has to wait."""
        packet = read.packet
        index = packet.stream.index
        if index in self._begun or packet.stream.type != "video":
            yield read
            return
        held = self._waiting.setdefault(index, [])
        held.append(read)
        if packet.dts is not None or len(held) > MOST_REORDERED:
            self._begun.add(index)
            yield from _backfilled(self._waiting.pop(index))

    def rest(self) -> Iterator[Read]:
        """What still waits when the source has ended."""
        for held in self._waiting.values():
            yield from _backfilled(held)


def _backfilled(reads: list[Read]) -> Iterator[Read]:
    packets = [read.packet for read in reads]
    known = packets[-1].dts
    lowest = min((packet.pts for packet in packets if packet.pts is not None), default=0)
    known = lowest if known is None else known
    step = max(1, packets[0].duration or 1)
    for ahead, packet in zip(range(len(packets) - 1, -1, -1), packets, strict=True):
        if packet.dts is None:
            packet.dts = min(known - ahead * step, lowest - ahead)
    yield from reads
