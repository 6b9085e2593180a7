"""The join: encoded segments and everything else of the source become one file, each packet at its exact time.

How times stay exact is measured in the project's notes on PyAV 18: segments carry frame numbers, not times; here each
packet gets the time of its frame, decode times are rebuilt, and durations are those on the screen.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import AttachmentStream, Disposition, Stream

from vsr.disk import sync_file, why_not_written
from vsr.errors import MediaError
from vsr.frames import MediaInfo, SegmentFile, StreamPlan
from vsr.io.container import (
    Container,
    ExpectedStream,
    add_stream,
    as_container,
    cover_type,
    expected_streams,
    kept_language,
    muxer,
)
from vsr.io.copies import CopiedStream, Track, copied_packets, open_track
from vsr.io.opening import open_input, packets_of
from vsr.io.picture import Picture, loses_aspect, scaled_matrix
from vsr.io.schedule import Schedule, make_schedule, movie_timescale
from vsr.io.segments import ReorderedMoreError, open_segment, reported_delay, video_of, video_packets
from vsr.io.tags import file_tags, kept_chapters, start_and_title, stream_tags
from vsr.stage import Cancel

if TYPE_CHECKING:
    from av.container.core import Chapter  # the stubs' name for a dict

log = logging.getLogger(__name__)


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
            schedule, notes = make_schedule(info, segments, target, first_pts=first_pts, end=end_time)
            delay = reported_delay(segments[0])
            while True:
                job = _Join(
                    info=info,
                    plan=plan,
                    segments=segments,
                    container=target,
                    picture=picture,
                    schedule=schedule,
                    source=source,
                    cancel=cancel,
                    expected=expected_streams(plan, target, picture.codec),
                    chapters=list(kept_chapters(source, schedule)),
                )
                try:
                    return job.write(output, delay, notes)
                except ReorderedMoreError as e:
                    log.info("%s: frames are reordered by %d, not %d; joining again", output, e.delay, delay)
                    delay = e.delay
                    source.seek(0)
    except (FFmpegError, OSError, ValueError) as e:
        otherwise = f"cannot be written: {getattr(e, 'strerror', None) or e}; choose another output with -o"
        raise MediaError(f"{output}: {why_not_written(e, otherwise)}") from e


@dataclass(frozen=True, slots=True, kw_only=True)
class _Join:
    """One attempt to write the file; a second one happens only when frames are reordered more than they said."""

    info: MediaInfo
    plan: Sequence[StreamPlan]
    segments: Sequence[SegmentFile]
    container: Container
    picture: Picture
    schedule: Schedule
    source: InputContainer
    cancel: Cancel
    expected: Sequence[ExpectedStream]
    chapters: "list[Chapter]"
    notes: list[str] = field(default_factory=list)  # of this attempt

    def write(self, output: Path, delay: int, notes: Sequence[str]) -> Joined:
        """Write, close and sync. On any exception the file is gone."""
        is_whole = False
        file = av.open(
            str(output.absolute()),
            "w",
            format=muxer(self.container),
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
        return self._result(tracks, [*notes, *self.notes])

    def _options(self) -> dict[str, str]:
        if self.container in ("mkv", "webm"):
            return {"avoid_negative_ts": "disabled"}  # else sound that begins at -21 ms moves everything
        flags = "+faststart"
        if any(key.startswith("com.apple.quicktime.") for key in self.source.metadata):
            flags += "+use_metadata_tags"
        return {
            "movflags": flags,
            "movie_timescale": str(movie_timescale(self.schedule, self.plan, self.source)),
            "write_tmcd": "0",
        }

    def _prepare(self, file: OutputContainer) -> tuple[list[Track], Stream]:
        """Add all streams and write the header."""
        file.metadata.update(file_tags(self.source.metadata))
        file.set_chapters(self.chapters)
        tracks: list[Track] = []
        video: Stream | None = None
        for expected in self.expected:
            template = self.source.streams[expected.source.index]
            if expected.source.index == self.info.video.index:
                video = self._add_video(file, expected, template)
            elif expected.kind == "attachment" or (expected.is_cover and self.container == "mkv"):
                self._attach(file, expected, template)
            else:
                added = add_stream(file, template, expected.codec if expected.is_converted else None)
                if expected.codec == "hevc" and self.container in ("mp4", "mov"):
                    added.codec_context.codec_tag = "hvc1"
                self._describe(added, expected, template)
                if not expected.is_cover:
                    tracks.append(
                        open_track(expected, template, added, container=self.container, schedule=self.schedule)
                    )
        assert video is not None
        file.start_encoding()
        for track in tracks:
            track.start_clock()
        return tracks, video

    def _add_video(self, file: OutputContainer, expected: ExpectedStream, original: Stream) -> Stream:
        picture = self.picture
        with open_segment(self.segments[0]) as segment:
            video = file.add_stream_from_template(video_of(segment), opaque=True)
        video.time_base = self.schedule.time_base
        video.codec_context.framerate = self.info.video.rate.limit_denominator(100_000)
        if picture.sample_aspect_ratio is not None:
            video.codec_context.sample_aspect_ratio = picture.sample_aspect_ratio
            if loses_aspect(picture, self.container):
                self.notes.append(
                    f"{self.container} with {picture.codec} cannot say that pixels are not square "
                    f"({picture.sample_aspect_ratio}): players will show them so; --size makes them square"
                )
        if expected.codec == "hevc" and self.container in ("mp4", "mov"):
            video.codec_context.codec_tag = "hvc1"  # the only name that Apple's players take
        video.set_display_matrix(scaled_matrix(self.info, picture))
        self._describe(video, expected, original)
        return video

    def _describe(self, added: Stream, expected: ExpectedStream, original: Stream) -> None:
        added.metadata.clear()
        added.metadata.update(stream_tags(original.metadata, self.container))
        language = kept_language(expected.source.language, self.container)
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
        with open_input(self.info.path) as source:
            for packet in packets_of(source, source.streams[expected.source.index]):
                if packet.size:
                    return bytes(packet)
        raise MediaError(f"{self.info.path}: its cover is empty; leave it out with --drop {expected.source.selector}")

    def _copy_covers(self, file: OutputContainer) -> None:
        if self.container == "mkv":
            return
        covers = [e for e in self.expected if e.is_cover]
        streams = [s for s in file.streams if s.disposition & Disposition.attached_pic]
        for expected, stream in zip(covers, streams, strict=True):
            packet = Packet(self._cover(expected))
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, 0, 0, True
            file.mux(packet)

    def _mux(self, file: OutputContainer, video: Stream, tracks: list[Track], delay: int) -> None:
        """Merge picture and copies by decode time, so that the muxer never has to wait for one of them."""
        copies = copied_packets(self.source, tracks, self.notes)
        copy = next(copies, None)
        tick = float(self.schedule.time_base)
        packets = video_packets(
            self.segments, self.picture.codec, self.schedule, video, container=self.container, delay=delay
        )
        for packet in packets:
            self.cancel.check()
            while copy is not None and copy[0] <= (packet.dts or 0) * tick:
                file.mux(copy[1])
                copy = next(copies, None)
            file.mux(packet)
        while copy is not None:
            self.cancel.check()
            file.mux(copy[1])
            copy = next(copies, None)

    def _result(self, tracks: Sequence[Track], notes: list[str]) -> Joined:
        schedule, picture = self.schedule, self.picture
        notes += [f"{t.info.selector}: {t.damaged} damaged packets are left out" for t in tracks if t.damaged]
        sounds = [(t.info.selector, t.sound.damaged) for t in tracks if t.sound is not None and t.sound.damaged]
        notes += [f"{selector}: {damaged} damaged packets became silence" for selector, damaged in sounds]
        late = [(t.info.selector, t.begins_late) for t in tracks if t.begins_late]
        notes += [f"{name}: begins {float(time):.3f} s after the cut, at its next keyframe" for name, time in late]
        drops = () if self.container in ("mkv", "webm") else tuple(t for t in tracks if not t.written)
        empty = {t.info.index for t in drops if t.expected.codec != "mov_text"}  # which ends in a filler of its own
        notes += [
            f"{track.info.selector}: has nothing in this part, and {self.container} leaves it out"
            for track in tracks
            if track.info.index in empty
        ]
        return Joined(
            container=self.container,
            streams=tuple(e for e in self.expected if e.source.index not in empty),
            copies=tuple(track.result() for track in tracks if track.info.index not in empty),
            picture=picture,
            display_matrix=scaled_matrix(self.info, picture),
            sample_aspect_ratio=None if loses_aspect(picture, self.container) else picture.sample_aspect_ratio,
            pts=schedule.pts,
            time_base=schedule.time_base,
            end=schedule.end * schedule.time_base,
            chapters=tuple(start_and_title(chapter) for chapter in self.chapters),
            notes=tuple(notes),
        )
