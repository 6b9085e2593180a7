"""Decode times that a container does not store, made up from those around them."""

from collections.abc import Iterator

from av.packet import Packet

from vsr.io.segments import MOST_REORDERED


class DecodeTimes:
    """Gives the first pictures of copied streams the decode times that Matroska does not store."""

    def __init__(self) -> None:
        self._waiting: dict[int, list[Packet]] = {}  # by stream, until a time is known
        self._begun: set[int] = set()

    def add(self, packet: Packet) -> Iterator[Packet]:
        """The packet, with those that waited for it; nothing while it has to wait."""
        index = packet.stream.index
        if index in self._begun or packet.stream.type != "video":
            yield packet
            return
        held = self._waiting.setdefault(index, [])
        held.append(packet)
        if packet.dts is not None or len(held) > MOST_REORDERED:
            self._begun.add(index)
            yield from _backfilled(self._waiting.pop(index))

    def rest(self) -> Iterator[Packet]:
        """What still waits when the source has ended."""
        for held in self._waiting.values():
            yield from _backfilled(held)


def _backfilled(packets: list[Packet]) -> Iterator[Packet]:
    known = packets[-1].dts
    lowest = min((packet.pts for packet in packets if packet.pts is not None), default=0)
    known = lowest if known is None else known
    step = max(1, packets[0].duration or 1)
    for ahead, packet in zip(range(len(packets) - 1, -1, -1), packets, strict=True):
        if packet.dts is None:
            packet.dts = min(known - ahead * step, lowest - ahead)
        yield packet
