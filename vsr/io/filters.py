"""Deinterlacing inside libav: each decoded frame once through a graph, and what comes out at times of our own."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cache
from typing import NamedTuple, Self

from av.error import FFmpegError
from av.filter import Graph
from av.video.frame import VideoFrame

from vsr.errors import MediaError
from vsr.frames import VideoInfo
from vsr.io.picture import moved_matrix
from vsr.settings import Crop, Deinterlace

WARM_UP = 3  # frames before the first one wanted that a filter must have seen
_GRAPH_RATE = Fraction(25)  # graphs see numbered frames; decimate wants a rate, any will do


class _Rhythm(NamedTuple):
    """How many frames come out for how many that go in."""

    taken: int
    given: int


_RHYTHMS: dict[Deinterlace, _Rhythm] = {
    "auto": _Rhythm(1, 1),
    "on": _Rhythm(1, 1),
    "double": _Rhythm(1, 2),
    "ivtc": _Rhythm(5, 4),
}
_CHAINS: dict[Deinterlace, tuple[tuple[str, str], ...]] = {
    "auto": (("bwdif", "mode=send_frame:deint=interlaced"),),
    "on": (("bwdif", "mode=send_frame:deint=all"),),
    "double": (("bwdif", "mode=send_field:deint=all"),),
    # fieldmatch leaves its flag on what it could not match, and bwdif deinterlaces that
    "ivtc": (("fieldmatch", "combmatch=full"), ("bwdif", "mode=send_frame:deint=interlaced"), ("decimate", "cycle=5")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A frame to hand on, its time, and the decoded frame that it is or comes from."""

    frame: VideoFrame
    pts: int  # ticks of the stream's time base; of a filter's, once filtered
    decoded: VideoFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class FilteredVideo(VideoInfo):
    """A video as it is handed on, and what is done to the one that is decoded to make it so."""

    decoded: VideoInfo
    deinterlace: Deinterlace = "off"
    crop: Crop | None = None  # aligned
    turn: tuple[int, ...] | None = None  # a display matrix that the renderer carries out

    @classmethod
    def of(
        cls,
        video: VideoInfo,
        deinterlace: Deinterlace = "off",
        *,
        crop: Crop | None = None,
        turn: tuple[int, ...] | None = None,
    ) -> Self:
        """What `video` is after deinterlacing, cropping and turning, in this order.

        Its times are in ticks that can say them; its size, shape of pixels, rate and number of frames follow.
        """
        same = {field.name: getattr(video, field.name) for field in fields(VideoInfo)}
        taken, given = _RHYTHMS.get(deinterlace, _Rhythm(1, 1))
        count = video.frame_estimate
        height, width = (video.height, video.width) if crop is None else (crop.height, crop.width)
        ratio, matrix = video.sample_aspect_ratio, video.display_matrix
        if crop is not None and matrix is not None:
            matrix = moved_matrix(matrix, height, width)
        if turn is not None:
            matrix = None
            if turn[0] == 0:
                height, width, ratio = width, height, 1 / ratio if ratio else None
        changed = {
            "height": height,
            "width": width,
            "sample_aspect_ratio": ratio,
            "display_matrix": matrix,
            "rate": video.rate * given / taken,
            "time_base": video.time_base / given,
            "first_pts": video.first_pts * given,
            "is_interlaced": video.is_interlaced and deinterlace == "off",
            "frame_estimate": None if count is None else count // taken * given + count % taken * given // taken,
        }
        return cls(**{**same, **changed}, decoded=video, deinterlace=deinterlace, crop=crop, turn=turn)


def can_deinterlace(pix_fmt: str, how: Deinterlace, *, height: int, width: int) -> bool:
    """Whether the filters take such frames as they are, without a conversion in between."""
    try:
        _graph(how, width, height, pix_fmt, threads=1)
    except (FFmpegError, ValueError):  # pictures of less than 4 lines, for one
        return False
    return _keeps_format(pix_fmt, how)


@cache
def _keeps_format(pix_fmt: str, how: Deinterlace) -> bool:
    graph = _graph(how, 32, 32, pix_fmt, threads=1)
    for number in range(8):
        graph.vpush(_numbered(VideoFrame(32, 32, pix_fmt), number))
    return next(_pulled(graph)).format.name == pix_fmt


def deinterlaced(frames: Iterator[Timed], how: Deinterlace, *, step: int, threads: int) -> Iterator[Timed]:
    """Send frames through libav's filters, none lost, and time what comes out.

    `on`, `auto`: every frame at its own time. `double`: one frame a field, the second in the middle between its frame's
    time and the next one's. `ivtc`: four frames for each five, evenly spread over the time of the five; fewer than five
    at the end keep their times. `step` is what the last frame stays, in ticks. `pts` of the results counts the ticks of
    FilteredVideo. `auto` hands on untouched what the filters cannot take, the others raise MediaError.
    """
    paired = _with_next(frames, step)
    for (width, height, pix_fmt), run in itertools.groupby(paired, _kind_of):
        if can_deinterlace(pix_fmt, how, height=height, width=width):
            graph = _graph(how, width, height, pix_fmt, threads=threads)
            yield from _through(graph, run, _RHYTHMS[how])
        elif how == "auto":
            yield from (timed for timed, _ in run)
        else:
            raise MediaError(
                f"the clip goes on as {width}x{height} {pix_fmt}, which cannot be deinterlaced; cut it there"
            )


def _through(graph: Graph, frames: Iterable[tuple[Timed, int]], rhythm: _Rhythm) -> Iterator[Timed]:
    """Frames of one size through a graph of their own, drained at the end."""
    waiting: deque[tuple[Timed, int]] = deque()  # frames that went in, beginning with those due to come out
    place = 0  # of the next one among those that come out for the first `taken` that wait
    for number, entry in enumerate(itertools.chain(frames, (None,))):
        if entry is not None:
            waiting.append(entry)
        graph.vpush(None if entry is None else _numbered(entry[0].frame, number))
        for frame in _pulled(graph):
            if len(waiting) < rhythm.taken:  # the end: too few to leave one out
                timed, _ = waiting.popleft()
                yield Timed(frame=frame, pts=timed.pts * rhythm.given, decoded=timed.decoded)
                continue
            yield _placed(frame, waiting, place, rhythm)
            place = (place + 1) % rhythm.given
            if not place:
                for _ in range(rhythm.taken):
                    waiting.popleft()
    if waiting:
        raise MediaError(f"{len(waiting)} frames did not come back from deinterlacing; please report this")


def _placed(frame: VideoFrame, waiting: Sequence[tuple[Timed, int]], place: int, rhythm: _Rhythm) -> Timed:
    """A result at its share of the time from the first frame taken to the one after the last."""
    first, (_, end) = waiting[0][0], waiting[rhythm.taken - 1]
    source = waiting[place * rhythm.taken // rhythm.given][0]
    return Timed(frame=frame, pts=first.pts * rhythm.given + place * (end - first.pts), decoded=source.decoded)


def _with_next(frames: Iterator[Timed], step: int) -> Iterator[tuple[Timed, int]]:
    """Each frame and the time at which the next one is shown; the last one stays as long as the one before."""
    held: Timed | None = None
    for timed in frames:
        if held is not None:
            yield held, timed.pts
            step = timed.pts - held.pts
        held = timed
    if held is not None:
        yield held, held.pts + step


def _kind_of(entry: tuple[Timed, int]) -> tuple[int, int, str]:
    frame = entry[0].frame
    return frame.width, frame.height, frame.format.name


def _graph(how: Deinterlace, width: int, height: int, pix_fmt: str, *, threads: int) -> Graph:
    graph = Graph()
    graph.threads = threads
    source = f"video_size={width}x{height}:pix_fmt={pix_fmt}:time_base={1 / _GRAPH_RATE}:frame_rate={_GRAPH_RATE}"
    nodes = [graph.add("buffer", source), *(graph.add(*link) for link in _CHAINS[how]), graph.add("buffersink")]
    graph.link_nodes(*nodes)
    graph.configure()
    return graph


def _numbered(frame: VideoFrame, number: int) -> VideoFrame:
    frame.pts, frame.time_base = number, 1 / _GRAPH_RATE
    return frame


def _pulled(graph: Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            frame = graph.vpull()
        except (BlockingIOError, EOFError):
            return
        assert isinstance(frame, VideoFrame)
        yield frame
