"""One pass over a source for its other streams, as far as it can be read."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet

from vsr.disk import require_readable
from vsr.io.copies import Copies, Track
from vsr.io.demux import Demuxer, Read


def copied_packets(
    source: InputContainer, tracks: Sequence[Track], notes: list[str], *, path: Path
) -> Iterator[tuple[float, Packet]]:
    """The other streams' packets, timed for the output, each with its decode time in seconds.

    Where the source breaks off, the copies end, and `notes` gets a line that says so. Raises MediaError where it is the
    disk of `path`, which the source is read from, that fails.
    """
    if not tracks:
        return
    copies = Copies(tracks)
    streams = [source.streams[track.info.index] for track in tracks]
    for read in _until_damage(Demuxer(source, streams), notes, path):
        yield from copies.add(read)
    yield from copies.rest()


def _until_damage(demuxer: Demuxer, notes: list[str], path: Path) -> Iterator[Read]:
    """Packets that hold data. Where the source breaks off, the copies end, and a note says so."""
    reason: str | None = None
    try:
        yield from (read for read in demuxer.packets() if read.packet.size)
    except (FFmpegError, OSError) as e:
        reason = e.strerror or str(e)
    require_readable(path, 0 if reason else demuxer.reached)
    if reason:
        notes.append(f"the source breaks off ({reason}): its other streams end there")
