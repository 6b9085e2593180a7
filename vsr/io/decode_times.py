"""Decode times that a container does not store, made up from those around them."""

from collections.abc import Iterator

from av.packet import Packet

from vsr.io.segments import MOST_REORDERED


def with_decode_times(packets: Iterator[Packet]) -> Iterator[Packet]:
    """Give the first pictures of a copied stream the decode times that Matroska does not store."""
    waiting: dict[int, list[Packet]] = {}
    begun: set[int] = set()
    for packet in packets:
        index = packet.stream.index
        if index in begun or packet.stream.type != "video":
            yield packet
            continue
        held = waiting.setdefault(index, [])
        held.append(packet)
        if packet.dts is None and len(held) <= MOST_REORDERED:
            continue
        begun.add(index)
        yield from _backfilled(waiting.pop(index))
    for held in waiting.values():
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
