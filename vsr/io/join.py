"""The join: encoded segments and everything else of the source become one file, each packet at its exact time.

How times stay exact is measured in the project's notes on PyAV 18: segments carry frame numbers, not times; here each
packet gets the time of its frame, decode times are rebuilt, and durations are those on the screen.
"""

import hashlib
import logging
import math
import re
import statistics
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import av
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import AttachmentStream, Disposition, Stream
from av.video.stream import VideoStream

from vsr.disk import sync_file, why_not_written
from vsr.errors import MediaError
from vsr.frames import ColorSpec, MediaInfo, SegmentFile, StreamInfo, StreamPlan
from vsr.io.container import (
    Container,
    ExpectedStream,
    as_container,
    cover_type,
    expected_streams,
    kept_language,
    muxer,
)
from vsr.io.probe import open_input, packets_of
from vsr.stage import Cancel

if TYPE_CHECKING:
    from av.container.core import Chapter  # the stubs' name for a dict

log = logging.getLogger(__name__)

_FINEST_TIMESCALE = 10_000_000  # ticks a second of the mp4 header; more wants 64-bit durations after minutes
_LONGEST_SAMPLE = 2**31 - 1  # ticks between two mp4 samples
_COARSE_BASES = (Fraction(1, 90_000), Fraction(1, 1000))
_PRIMING = Fraction(1, 5)  # seconds before a sound's start in which packets only warm the decoder up
_MOST_REORDERED = 16  # frames: the bound of h264 and hevc
_KEEPS_SAR_IN_MATROSKA = ("h264", "hevc")  # they say it themselves; PyAV 18 cannot make the muxer say it
_STALE_TAGS = re.compile(
    r"(BPS|DURATION|NUMBER_OF_FRAMES|NUMBER_OF_BYTES|_STATISTICS_\w+|SOURCE_ID)(-\w+)?"
    r"|ENCODER|VENDOR_ID|HANDLER_NAME|LANGUAGE|TITLE|ROTATE|ALPHA_MODE|FILENAME|MIMETYPE",
    re.IGNORECASE,
)
_STALE_FILE_TAGS = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration")


class Picture(Protocol):
    """What the joined video must look like; an EncoderPlan is one."""

    @property
    def codec(self) -> str: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def color(self) -> ColorSpec: ...
    @property
    def sample_aspect_ratio(self) -> Fraction | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedStream:
    """What was written of one copied stream. Filler packets (mov_text's empty ones) are not counted."""

    expected: ExpectedStream
    digest: str | None  # of all packets' bytes in order; None where the muxer rewrites them by rule
    times: Sequence[int]  # of each packet, as written, in ticks
    time_base: Fraction  # of `times`
    source_tick: Fraction  # seconds: the precision with which the source knew them


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """All that the finished file must hold: what `verify.check_output` compares it with."""

    container: Container
    streams: tuple[ExpectedStream, ...]  # in the file's order
    copies: tuple[CopiedStream, ...]
    picture: Picture
    display_matrix: tuple[int, ...] | None
    sample_aspect_ratio: Fraction | None  # None where the file cannot say it
    pts: Sequence[int]  # of the video's frames as written, in ticks, rising
    time_base: Fraction  # of `pts`
    end: Fraction  # seconds: where the last frame ends
    chapters: tuple[tuple[Fraction, str], ...]  # start in seconds, title
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Schedule:
    """When each frame is shown, in ticks of `time_base`, and the part of the source that is kept, in its seconds."""

    pts: Sequence[int]  # as written
    end: int  # of the last frame
    step: int  # the shortest between two frames
    time_base: Fraction
    shift: Fraction  # seconds added to every time of the source
    start: Fraction | None  # seconds; None keeps all from the beginning
    stop: Fraction | None  # seconds; None keeps all to the end


@dataclass(slots=True)
class _Track:
    """A copied stream on its way: its clock, and what was written so far."""

    info: StreamInfo
    out: Stream
    expected: ExpectedStream
    source_tick: Fraction
    filter: BitStreamFilterContext | None
    is_rewritten: bool
    base: Fraction = Fraction(1)  # seconds a tick in the output, known when its header is written
    scale: tuple[int, int, int] = (1, 0, 1)  # written = (source * a + b) / c, to the nearest
    hash: hashlib.blake2b = field(default_factory=hashlib.blake2b)
    times: "array[int]" = field(default_factory=lambda: array("q"))
    last_dts: int | None = None
    last_pts: int | None = None  # in the source's ticks, as the next
    next_pts: int | None = None
    has_begun: bool = False
    written: int = 0
    damaged: int = 0  # packets that could not be written

    def filtered(self, packet: Packet) -> list[Packet]:
        """The packet in the form that the container holds; nothing while parts of it are missing, or damaged."""
        if self.filter is None:
            return [packet]
        try:
            return self.filter.filter(packet)
        except FFmpegError as e:
            log.info("%s: a packet at %s is damaged: %s", self.info.selector, packet.pts, e)
            self.damaged += 1
            return []

    def guessed_duration(self, pts: int) -> int:
        """For a packet that tells none, in the source's ticks: mp4 cuts a last one that lasts for nothing (ALAC)."""
        if self.info.kind == "subtitle":
            return 0
        return 1 if self.last_pts is None else max(1, pts - self.last_pts)

    def ticks(self, time: int) -> int:
        a, b, c = self.scale
        return (2 * (time * a + b) + c) // (2 * c)


class _ReorderedMoreError(Exception):
    """A later segment reorders its frames more than was thought: begin again with `delay`."""

    def __init__(self, delay: int) -> None:
        super().__init__(delay)
        self.delay = delay


def join(
    info: MediaInfo,
    plan: Sequence[StreamPlan],
    segments: Sequence[SegmentFile],
    output: Path,
    *,
    container: str,
    picture: Picture,
    cancel: Cancel,
    first_pts: int | None = None,
    end_time: Fraction | None = None,
) -> Joined:
    """Write `output` from encoded segments and the source's other streams; the file is synced when this returns.

    Segments come in order of time. `first_pts` is the first kept frame's when the clip was cut at its start; it then
    sits where the source's first frame sat. `end_time`, in the source's seconds, is where the clip was cut at its end.
    On any error the file is deleted; MediaError has one line for the user.
    """
    target = as_container(container)
    try:
        with open_input(info.path) as source:
            schedule, notes = _schedule(info, segments, target, first_pts, end_time)
            delay = min(_reported_delay(segments[0]), _MOST_REORDERED)
            while True:
                job = _Join(info, plan, segments, target, picture, schedule, source, cancel)
                try:
                    return job.write(output, delay, notes)
                except _ReorderedMoreError as e:
                    log.info("%s: frames are reordered by %d, not %d; joining again", output, e.delay, delay)
                    delay = e.delay
                    source.seek(0)
    except (FFmpegError, OSError, ValueError) as e:
        otherwise = f"cannot be written: {getattr(e, 'strerror', None) or e}; choose another output with -o"
        raise MediaError(f"{output}: {why_not_written(e, otherwise)}") from e


class _Join:
    """One attempt to write the file; a second one happens only when frames are reordered more than they said."""

    def __init__(
        self,
        info: MediaInfo,
        plan: Sequence[StreamPlan],
        segments: Sequence[SegmentFile],
        container: Container,
        picture: Picture,
        schedule: _Schedule,
        source: InputContainer,
        cancel: Cancel,
    ) -> None:
        self._info = info
        self._plan = plan
        self._segments = segments
        self._container: Container = container
        self._picture = picture
        self._schedule = schedule
        self._source = source
        self._cancel = cancel
        self._expected = expected_streams(plan, container, picture.codec)
        self._chapters = list(_chapters(source, schedule))
        self._notes: list[str] = []

    def write(self, output: Path, delay: int, notes: Sequence[str]) -> Joined:
        """Write, close and sync. On any exception the file is gone."""
        is_whole = False
        file = av.open(
            str(output.absolute()),
            "w",
            format=muxer(self._container),
            container_options=self._options(),
            metadata_errors="surrogateescape",
        )
        try:
            tracks, video = self._prepare(file)
            self._copy_covers(file)
            self._mux(file, video, tracks, delay)
            file.close()
            is_whole = True
        finally:
            if not is_whole:
                with suppress(FFmpegError, OSError, ValueError):
                    file.close()
                output.unlink(missing_ok=True)
        sync_file(output)
        return self._result(tracks, [*notes, *self._notes])

    def _options(self) -> dict[str, str]:
        if self._container in ("mkv", "webm"):
            return {"avoid_negative_ts": "disabled"}  # else sound that begins at -21 ms moves everything
        flags = "+faststart"
        if any(key.startswith("com.apple.quicktime.") for key in self._source.metadata):
            flags += "+use_metadata_tags"
        return {"movflags": flags, "movie_timescale": str(self._movie_timescale()), "write_tmcd": "0"}

    def _movie_timescale(self) -> int:
        """Ticks in which mp4 counts when a track begins: exact for the picture, and for sound as far as it fits."""
        scale = self._schedule.time_base.denominator
        for entry in self._plan:
            if entry.action == "copy" and entry.stream.kind == "audio":
                rate = (self._source.streams[entry.stream.index].time_base or Fraction(1)).denominator
                if math.lcm(scale, rate) <= _FINEST_TIMESCALE:
                    scale = math.lcm(scale, rate)
        while scale < 10_000:
            scale *= 2
        return scale

    def _prepare(self, file: OutputContainer) -> tuple[list[_Track], Stream]:
        """Add all streams and write the header."""
        file.metadata.update(_file_tags(self._source.metadata))
        file.set_chapters(self._chapters)
        tracks: list[_Track] = []
        video: Stream | None = None
        for expected in self._expected:
            template = self._source.streams[expected.source.index]
            if expected.source.index == self._info.video.index:
                video = self._add_video(file, expected, template)
            elif expected.kind == "attachment" or (expected.is_cover and self._container == "mkv"):
                self._attach(file, expected, template)
            else:
                added = file.add_stream_from_template(template, opaque=True)
                if expected.codec == "hevc" and self._container in ("mp4", "mov"):
                    added.codec_context.codec_tag = "hvc1"
                self._describe(added, expected, template)
                if not expected.is_cover:
                    tracks.append(_track(expected, template, added))
        assert video is not None
        file.start_encoding()
        for track in tracks:
            track.base = track.out.time_base or track.source_tick
            ratio, offset = track.source_tick / track.base, self._schedule.shift / track.base
            common = math.lcm(ratio.denominator, offset.denominator)
            track.scale = (int(ratio * common), int(offset * common), common)
        return tracks, video

    def _add_video(self, file: OutputContainer, expected: ExpectedStream, original: Stream) -> Stream:
        picture = self._picture
        with _open_segment(self._segments[0]) as segment:
            video = file.add_stream_from_template(_video_of(segment), opaque=True)
        video.time_base = self._schedule.time_base
        video.codec_context.framerate = self._info.video.rate.limit_denominator(100_000)
        if picture.sample_aspect_ratio is not None:
            video.codec_context.sample_aspect_ratio = picture.sample_aspect_ratio
            if _loses_aspect(picture, self._container):
                self._notes.append(
                    f"{self._container} with {picture.codec} cannot say that pixels are not square "
                    f"({picture.sample_aspect_ratio}): players will show them so; --size makes them square"
                )
        if expected.codec == "hevc" and self._container in ("mp4", "mov"):
            video.codec_context.codec_tag = "hvc1"  # the only name that Apple's players take
        video.set_display_matrix(_scaled_matrix(self._info, picture))
        self._describe(video, expected, original)
        return video

    def _describe(self, added: Stream, expected: ExpectedStream, original: Stream) -> None:
        added.metadata.clear()
        added.metadata.update(_stream_tags(original.metadata, self._container))
        language = kept_language(expected.source.language, self._container)
        if language is not None:
            added.metadata["language"] = language
        added.disposition = original.disposition

    def _attach(self, file: OutputContainer, expected: ExpectedStream, template: Stream) -> None:
        name = expected.source.title or f"attachment{expected.source.index}"
        if isinstance(template, AttachmentStream):
            file.add_attachment(name, expected.codec, template.data)
            return
        suffix = cover_type(expected.codec).partition("/")[2]
        file.add_attachment(
            expected.source.title or f"cover.{suffix}", cover_type(expected.codec), self._cover(expected)
        )

    def _cover(self, expected: ExpectedStream) -> bytes:
        """The picture's bytes; libav hands them out before anything else."""
        with open_input(self._info.path) as source:
            for packet in packets_of(source, source.streams[expected.source.index]):
                if packet.size:
                    return bytes(packet)
        raise MediaError(f"{self._info.path}: its cover is empty; leave it out with --drop {expected.source.selector}")

    def _copy_covers(self, file: OutputContainer) -> None:
        if self._container == "mkv":
            return
        covers = [e for e in self._expected if e.is_cover]
        streams = [s for s in file.streams if s.disposition & Disposition.attached_pic]
        for expected, stream in zip(covers, streams, strict=True):
            packet = Packet(self._cover(expected))
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, 0, 0, True
            file.mux(packet)

    def _mux(self, file: OutputContainer, video: Stream, tracks: list[_Track], delay: int) -> None:
        """Merge picture and copies by decode time, so that the muxer never has to wait for one of them."""
        copies = self._copied(tracks)
        copy = next(copies, None)
        tick = float(self._schedule.time_base)
        for packet in self._video_packets(video, delay):
            self._cancel.check()
            while copy is not None and copy[0] <= (packet.dts or 0) * tick:
                file.mux(copy[1])
                copy = next(copies, None)
            file.mux(packet)
        while copy is not None:
            self._cancel.check()
            file.mux(copy[1])
            copy = next(copies, None)

    def _video_packets(self, video: Stream, delay: int) -> Iterator[Packet]:
        """The segments' packets, timed. Decode times are the display times `delay` frames earlier: never too late."""
        pts, step = self._schedule.pts, self._schedule.step
        first_dts = pts[0] - delay * step
        for number, (packet, frame) in enumerate(_ranked(self._segments, self._picture.codec)):
            if number - frame > delay:
                raise _ReorderedMoreError(number - frame)
            following = pts[frame + 1] if frame + 1 < len(pts) else self._schedule.end
            packet.pts = pts[frame]
            packet.dts = pts[number - delay] if number >= delay else pts[0] - (delay - number) * step
            packet.duration = following - pts[frame]
            if number == len(pts) - 1 and self._container in ("mp4", "mov"):
                # there durations count from one decode time to the next: the last one makes up the whole
                packet.duration = max(1, (self._schedule.end - pts[0]) - (packet.dts - first_dts))
            packet.time_base = self._schedule.time_base
            packet.stream = video
            yield packet

    def _copied(self, tracks: list[_Track]) -> Iterator[tuple[float, Packet]]:
        """The other streams' packets, timed for the output, each with its decode time in seconds."""
        by_index = {track.info.index: track for track in tracks}
        if not by_index:
            return
        streams = [self._source.streams[index] for index in by_index]
        for packet in _until_damage(self._source, streams, self._notes):
            track = by_index[packet.stream.index]
            for timed in (timed for one in track.filtered(packet) for timed in self._timed(one, track)):
                yield (timed.dts or 0) * float(track.base), timed

    def _timed(self, packet: Packet, track: _Track) -> Iterator[Packet]:
        pts = packet.pts if packet.pts is not None else packet.dts
        pts = track.next_pts if pts is None else pts
        if pts is None:  # nothing before it tells where it belongs
            return
        dts = packet.dts if packet.dts is not None else pts
        duration = packet.duration or track.guessed_duration(pts)
        track.next_pts = pts + duration
        track.last_pts = pts
        is_key = packet.is_keyframe
        wanted = self._wanted(track, pts, duration, is_key=is_key, is_hidden=packet.is_discard)
        if wanted is None:
            return
        pts, duration = wanted
        if track.info.kind != "video":
            dts = pts
        track.has_begun = True
        self._place(packet, track, pts, dts, duration)
        yield packet

    def _wanted(
        self, track: _Track, pts: int, duration: int, *, is_key: bool, is_hidden: bool
    ) -> tuple[int, int] | None:
        """(pts, duration) of a packet that is kept, in the source's ticks; None when it is left out."""
        tick, start, stop = track.source_tick, self._schedule.start, self._schedule.stop
        kind = track.info.kind
        begins, ends = pts * tick, (pts + max(duration, 1)) * tick
        if is_hidden and kind == "audio" and not self._is_priming(track, begins):
            return None
        if stop is not None and begins >= stop:
            return None
        if start is not None and ends <= start:
            return None
        if start is not None and kind == "video" and not track.has_begun and (begins < start or not is_key):
            return None
        if kind == "subtitle" and duration:
            first = max(pts, math.ceil(start / tick)) if start is not None else pts
            last = min(pts + duration, math.floor(stop / tick)) if stop is not None else pts + duration
            return first, max(1, last - first)
        return pts, duration

    def _is_priming(self, track: _Track, begins: Fraction) -> bool:
        """Whether a hidden packet only warms the decoder up, rather than being cut away by the source's edit list."""
        start = self._source.streams[track.info.index].start_time or 0
        return start * track.source_tick - _PRIMING <= begins < start * track.source_tick

    def _place(self, packet: Packet, track: _Track, pts: int, dts: int, duration: int) -> None:
        """Set a packet's times in the output's ticks; decode times that go back, as in damaged files, stay put."""
        shown, decoded = track.ticks(pts), track.ticks(dts)
        if track.last_dts is not None:
            decoded = max(decoded, track.last_dts + (self._container in ("mp4", "mov")))  # which want them to rise
        track.last_dts = decoded
        packet.pts, packet.dts = max(shown, decoded), decoded
        packet.duration = track.ticks(pts + duration) - shown if duration else 0
        packet.time_base = track.base
        packet.stream = track.out
        track.written += 1
        if not is_filler(track.info.codec, packet):
            track.hash.update(packet)
            track.times.append(packet.pts)

    def _result(self, tracks: Sequence[_Track], notes: list[str]) -> Joined:
        schedule, picture = self._schedule, self._picture
        notes += [f"{t.info.selector}: {t.damaged} damaged packets are left out" for t in tracks if t.damaged]
        drops = () if self._container in ("mkv", "webm") else tuple(t for t in tracks if not t.written)
        empty = {t.info.index for t in drops if t.info.codec != "mov_text"}  # which ends in a filler of its own
        notes += [
            f"{track.info.selector}: has nothing in this part, and {self._container} leaves it out"
            for track in tracks
            if track.info.index in empty
        ]
        return Joined(
            container=self._container,
            streams=tuple(e for e in self._expected if e.source.index not in empty),
            copies=tuple(_copied_stream(track) for track in tracks if track.info.index not in empty),
            picture=picture,
            display_matrix=_scaled_matrix(self._info, picture),
            sample_aspect_ratio=None if _loses_aspect(picture, self._container) else picture.sample_aspect_ratio,
            pts=schedule.pts,
            time_base=schedule.time_base,
            end=schedule.end * schedule.time_base,
            chapters=tuple(_begin(chapter) for chapter in self._chapters),
            notes=tuple(notes),
        )


def _copied_stream(track: _Track) -> CopiedStream:
    return CopiedStream(
        expected=track.expected,
        digest=None if track.is_rewritten else track.hash.hexdigest(),
        times=track.times,
        time_base=track.base,
        source_tick=track.source_tick,
    )


def _begin(chapter: "Chapter") -> tuple[Fraction, str]:
    """A chapter's start in seconds, and its title."""
    base = chapter["time_base"] or Fraction(1)
    return chapter["start"] * base, chapter["metadata"].get("title", "")


def is_filler(codec: str, packet: Packet) -> bool:
    """Whether a packet only fills a gap: mov_text has empty texts that muxers add and drop as they like."""
    return codec == "mov_text" and packet.size == 2 and bytes(packet) == b"\0\0"


def _schedule(
    info: MediaInfo, segments: Sequence[SegmentFile], container: Container, first_pts: int | None, end: Fraction | None
) -> tuple[_Schedule, list[str]]:
    """When every frame is shown, and what of the other streams belongs to them."""
    video, notes = info.video, []
    base = video.time_base
    times = [time for segment in segments for time in segment.pts]
    steps = [after - before for before, after in pairwise(times)]
    typical = round(statistics.median(steps)) if steps else max(1, round(1 / (video.rate * base)))
    natural = None if info.duration is None else video.first_pts + round(info.duration / base)
    is_cut_short = end is not None and (natural is None or end < natural * base)
    last = _last_duration(info, times[-1], natural, typical, max(steps, default=typical), is_cut=is_cut_short)
    shift = 0 if first_pts is None else video.first_pts - first_pts
    if times[0] + shift < 0:
        notes.append(f"the picture begins at {float(times[0] * base):.3f} s, before zero: all streams move up by that")
        shift = -times[0]
    pts = [time + shift for time in times]
    finish = pts[-1] + last
    longest = max([*steps, last])
    out_base = base
    if container in ("mp4", "mov") and longest * base.numerator > _LONGEST_SAMPLE:
        out_base = next((b for b in _COARSE_BASES if longest * base / b < _LONGEST_SAMPLE), _COARSE_BASES[-1])
        notes.append(
            f"{container} cannot count {float(longest * base):.0f} s by {base} s: times in steps of {out_base} s"
        )
        pts, finish = _coarser(pts, base / out_base), round(finish * base / out_base)
    schedule = _Schedule(
        pts=pts,
        end=finish,
        step=max(1, min((after - before for before, after in pairwise(pts)), default=1)),
        time_base=out_base,
        shift=shift * base,
        start=None if first_pts is None or first_pts <= video.first_pts else first_pts * base,
        stop=(times[-1] + last) * base if is_cut_short else None,
    )
    return schedule, notes


def _coarser(pts: Sequence[int], ratio: Fraction) -> list[int]:
    """Times in longer ticks, still rising."""
    rounded: list[int] = []
    for time in pts:
        rounded.append(max(round(time * ratio), rounded[-1] + 1 if rounded else round(time * ratio)))
    return rounded


def _last_duration(
    info: MediaInfo, last_pts: int, natural_end: int | None, typical: int, longest: int, *, is_cut: bool
) -> int:
    """How long the last frame stays, in ticks: as the source says where that is believable."""
    if natural_end is None or is_cut or natural_end <= last_pts:
        return typical
    said = natural_end - last_pts
    if "mp4" in info.container:  # its tables say it exactly
        return said
    return said if typical / 2 <= said <= max(longest, 2 * typical) else typical


def _ranked(segments: Sequence[SegmentFile], codec: str) -> Iterator[tuple[Packet, int]]:
    """Every packet of the segments in decode order, with the number of its frame in display order."""
    before = 0
    extradata: bytes | None = None
    for segment in segments:
        ranks = _ranks(segment)
        with _open_segment(segment) as file:
            stream = _video_of(file)
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
    with _open_segment(segment) as file:
        times = [packet.pts or 0 for packet in file.demux(_video_of(file)) if packet.size]
    if len(times) != len(segment.pts):
        what = f"holds {len(times)} frames where the journal has {len(segment.pts)}"
        raise MediaError(f"{segment.path}: {what}; run the same command again")
    ranks = [0] * len(times)
    for rank, number in enumerate(sorted(range(len(times)), key=lambda n: (times[n], n))):
        ranks[number] = rank
    return ranks


def _open_segment(segment: SegmentFile) -> InputContainer:
    try:
        return av.open(str(segment.path.absolute()), "r", format="matroska")
    except (FFmpegError, ValueError, OSError) as e:
        raise MediaError(f"{segment.path}: a finished segment cannot be read; run the same command again") from e


def _video_of(segment: InputContainer) -> VideoStream:
    return segment.streams.video[0]


def _reported_delay(segment: SegmentFile) -> int:
    """How many frames the first segment says or shows to be decoded ahead of their turn."""
    shown = max((number - rank for number, rank in enumerate(_ranks(segment))), default=0)
    with _open_segment(segment) as file:
        return max(shown, _video_of(file).codec_context.reorder_depth)


def _until_damage(source: InputContainer, streams: Sequence[Stream], notes: list[str]) -> Iterator[Packet]:
    """Packets that hold data. Where the source breaks off, the copies end, and a note says so."""
    try:
        yield from _with_decode_times(packet for packet in packets_of(source, *streams) if packet.size)
    except (FFmpegError, OSError) as e:
        notes.append(f"the source breaks off ({e.strerror}): its other streams end there")


def _with_decode_times(packets: Iterator[Packet]) -> Iterator[Packet]:
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
        if packet.dts is None and len(held) <= _MOST_REORDERED:
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


def _track(expected: ExpectedStream, template: Stream, added: Stream) -> _Track:
    extradata = template.codec_context.extradata or b""
    is_annexb = expected.codec in ("h264", "hevc", "vvc") and not extradata.startswith(b"\x01")
    return _Track(
        info=expected.source,
        out=added,
        expected=expected,
        source_tick=template.time_base or Fraction(1, 90_000),
        filter=_filter(expected.codec, template),
        is_rewritten=is_annexb,
    )


def _filter(codec: str, template: Stream) -> BitStreamFilterContext | None:
    """What the muxers would do on their own, done here, so that it is known what they are given."""
    if codec == "aac" and not template.codec_context.extradata:  # ADTS, from transport streams
        return BitStreamFilterContext("aac_adtstoasc", template)
    if codec == "hdmv_pgs_subtitle":  # Blu-ray splits a picture over packets; damaged, it would end in another stream
        return BitStreamFilterContext("pgs_frame_merge", template)
    return None


def _file_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if key.lower() not in _STALE_FILE_TAGS}


def _stream_tags(tags: Mapping[str, str], container: Container) -> dict[str, str]:
    """A stream's tags without those that the muxer or the upscaling makes untrue. mp4 keeps a title as handler name."""
    kept = {key: value for key, value in tags.items() if not _STALE_TAGS.fullmatch(key)}
    title = next((value for key, value in tags.items() if key.lower() == "title"), None)
    handler = next((value for key, value in tags.items() if key.lower() == "handler_name"), None)
    if container in ("mp4", "mov"):
        if title or handler:
            kept["handler_name"] = title or handler or ""
    elif title:
        kept["title"] = title
    return kept


def _chapters(source: InputContainer, schedule: _Schedule) -> "Iterator[Chapter]":
    """The chapters that touch the kept part, moved with it."""
    for chapter in source.chapters():
        base = chapter["time_base"] or Fraction(1, 1000)
        begins, ends = chapter["start"] * base, chapter["end"] * base
        if schedule.start is not None:
            begins = max(begins, schedule.start)
        if schedule.stop is not None:
            ends = min(ends, schedule.stop)
        if ends <= begins and (schedule.start is not None or schedule.stop is not None):
            continue
        if schedule.shift or begins != chapter["start"] * base or ends != chapter["end"] * base:
            base = Fraction(1, 1_000_000)
        start, end = round((begins + schedule.shift) / base), round((ends + schedule.shift) / base)
        yield {
            "id": chapter["id"],
            "start": max(0, start),
            "end": max(0, end),
            "time_base": base,
            "metadata": chapter["metadata"],
        }


def _scaled_matrix(info: MediaInfo, picture: Picture) -> tuple[int, ...] | None:
    """The display matrix with its translation, which is in pixels, in the new picture's."""
    matrix = info.video.display_matrix
    if matrix is None:
        return None
    scale = Fraction(picture.height, info.video.height)
    moved = [min(max(round(matrix[i] * scale), -(2**31)), 2**31 - 1) for i in (6, 7)]
    return (*matrix[:6], *moved, matrix[8])


def _loses_aspect(picture: Picture, container: Container) -> bool:
    ratio = picture.sample_aspect_ratio
    return ratio not in (None, 1) and container in ("mkv", "webm") and picture.codec not in _KEEPS_SAR_IN_MATROSKA
