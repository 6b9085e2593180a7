"""The encoded segments: their packets in decode order, each given the times of its frame."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from vsr.errors import MediaError
from vsr.frames import SegmentFile, VideoInfo
from vsr.io.container_kind import Container
from vsr.io.light_levels import with_light_levels
from vsr.io.schedule import Schedule, place_picture

_HEAD = 64 << 20  # bytes: holds the first cluster, or as much of it as will do
MOST_REORDERED = 16  # frames: the bound of h264 and hevc


class ReorderedMoreError(Exception):
    """A later segment reorders its frames more than was thought: begin again with `delay`."""

    def __init__(self, delay: int) -> None:
        super().__init__(delay)
        self.delay = delay


def video_packets(
    segments: Sequence[SegmentFile], codec: str, schedule: Schedule, video: Stream, *, container: Container, delay: int
) -> Iterator[Packet]:
    """The segments' packets, timed.

    Raises ReorderedMoreError when a frame is decoded further ahead of its turn than that.
    """
    last = len(schedule.pts) - 1
    for number, (packet, frame) in enumerate(_ranked(segments, codec)):
        if number - frame > delay:
            raise ReorderedMoreError(number - frame)
        place_picture(packet, schedule, number, frame, container=container, delay=delay, is_last=number == last)
        packet.stream = video
        yield packet


def reported_delay(segment: SegmentFile) -> int:
    """How many frames the first segment says or shows to be decoded ahead of their turn."""
    shown = max((number - rank for number, rank in enumerate(_ranks(segment))), default=0)
    with open_segment(segment) as file:
        return min(max(shown, video_of(file).codec_context.reorder_depth), MOST_REORDERED)


def open_segment(segment: SegmentFile) -> InputContainer:
    """Open a finished segment. Raises MediaError when it cannot be read."""
    try:
        return av.open(str(segment.path.absolute()), "r", container_options={"format_whitelist": "matroska,webm,mov"})
    except (FFmpegError, ValueError, OSError) as e:
        raise MediaError(f"{segment.path}: a finished segment cannot be read; run the same command again") from e


@contextmanager
def open_template(segment: SegmentFile, video: VideoInfo) -> Iterator[InputContainer]:
    """The first segment as a stream is to be made from it: its header says the source's light levels, too."""
    if video.mastering_display is None and video.content_light is None:
        with open_segment(segment) as file:
            yield file
        return
    with segment.path.open("rb") as file:
        head = with_light_levels(file.read(_HEAD), video)
    with av.open(BytesIO(head), "r", format="matroska") as file:
        yield file


def video_of(segment: InputContainer) -> VideoStream:
    """The one stream that a segment has."""
    return segment.streams.video[0]


def _ranked(segments: Sequence[SegmentFile], codec: str) -> Iterator[tuple[Packet, int]]:
    """Every packet of the segments in decode order, with the number of its frame in display order."""
    before = 0
    extradata: bytes | None = None
    for segment in segments:
        ranks = _ranks(segment)
        with open_segment(segment) as file:
            stream = video_of(file)
            if before and codec in ("h264", "hevc") and stream.codec_context.extradata != extradata:
                what = "was encoded with other settings than those before"
                raise MediaError(f"{segment.path}: {what}; run the same command again")
            extradata = stream.codec_context.extradata
            packets = (packet for packet in file.demux(stream) if packet.size)
            for packet, rank in zip(packets, ranks, strict=True):
                yield packet, before + rank
        before += len(segment.pts)


def _ranks(segment: SegmentFile) -> list[int]:
    """For each packet in decode order, the place of its frame in display order. Reads the file once."""
    with open_segment(segment) as file:
        times = [packet.pts or 0 for packet in file.demux(video_of(file)) if packet.size]
    if len(times) != len(segment.pts):
        what = f"holds {len(times)} frames where the journal has {len(segment.pts)}"
        raise MediaError(f"{segment.path}: {what}; run the same command again")
    ranks = [0] * len(times)
    for rank, number in enumerate(sorted(range(len(times)), key=lambda n: (times[n], n))):
        ranks[number] = rank
    return ranks
