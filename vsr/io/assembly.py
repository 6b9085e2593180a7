"""An output file in the making: its streams as planned, their tags, covers and chapters, and what it must hold."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import AttachmentStream, Disposition, Stream
from av.video.stream import VideoStream

from vsr.errors import MediaError
from vsr.frames import MediaInfo, StreamPlan
from vsr.io.container import add_stream
from vsr.io.container_kind import Container
from vsr.io.copies import CopiedStream, Track, open_track
from vsr.io.cut import is_cut_short
from vsr.io.damage import Damage, SoundCheck
from vsr.io.expected_streams import ExpectedStream, cover_type, expected_streams, kept_language
from vsr.io.matroska import declare_aspect, roomy_title
from vsr.io.opening import open_input, packets_of
from vsr.io.picture import Picture, scaled_matrix
from vsr.io.priority import ordinary_priority
from vsr.io.schedule import Schedule, movie_timescale
from vsr.io.tags import file_tags, is_quicktime, kept_chapters, kept_tags, start_and_title, stream_tags

if TYPE_CHECKING:
    from av.container.core import Chapter  # the stubs' name for a dict

_TELLS_ASPECT = ("h264", "hevc")  # in every packet's own words


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """All that the finished file must hold: what `verify.check_output` compares it with."""

    container: Container
    streams: tuple[ExpectedStream, ...]  # in the file's order
    copies: tuple[CopiedStream, ...]
    picture: Picture
    display_matrix: tuple[int, ...] | None
    sample_aspect_ratio: Fraction | None  # None where the file cannot say it
    mastering_display: tuple[int, ...] | None
    content_light: tuple[int, int] | None
    pts: Sequence[int]  # of the video's frames as written, in ticks, rising
    time_base: Fraction  # of `pts`
    end: Fraction  # seconds: where the last frame ends
    chapters: tuple[tuple[Fraction, str], ...]  # start in seconds, title
    tags: Mapping[str, str] | None  # of the file, by names in small letters; None where it is not known
    notes: tuple[str, ...]
    damage: tuple[Damage, ...]  # of the sound


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """What goes into a file, whether its picture is joined from segments or comes straight from the encoder."""

    info: MediaInfo
    plan: Sequence[StreamPlan]
    container: Container
    picture: Picture
    schedule: Schedule
    source: InputContainer
    notes: list[str] = field(default_factory=list)
    is_pipe: bool = False  # what is written cannot be changed afterwards

    @property
    def expected(self) -> tuple[ExpectedStream, ...]:
        """The streams that the file will hold, in its order."""
        return expected_streams(self.plan, self.container, self.picture.codec)

    @property
    def chapters(self) -> "list[Chapter]":
        """Those of the source that touch the kept part."""
        return list(kept_chapters(self.source, self.schedule))

    def options(self) -> dict[str, str]:
        """What the muxer is to be told."""
        if self.container in ("mkv", "webm"):
            return {"avoid_negative_ts": "disabled"}  # else sound that begins at -21 ms moves everything
        if self.container == "nut":
            return {"avoid_negative_ts": "disabled"}  # it stores no decode times, which alone lie before zero
        if self.container == "y4m":
            return {"strict": "-1"}  # more than 8 bits are an extension
        flags = "+faststart"
        if is_quicktime(self.source.metadata):
            flags += "+use_metadata_tags"
        return {
            "movflags": flags,
            "movie_timescale": str(movie_timescale(self.schedule, self.plan, self.source)),
            "write_tmcd": "0",
        }

    def prepare(
        self, file: OutputContainer, add_picture: Callable[[OutputContainer], VideoStream]
    ) -> tuple[list[Track], VideoStream]:
        """Add all streams, the picture by `add_picture`, and write the header."""
        file.metadata.update(file_tags(self.source.metadata))
        file.set_chapters(self.chapters)
        tracks: list[Track] = []
        video: VideoStream | None = None
        for expected in self.expected:
            template = self.source.streams[expected.source.index]
            if expected.source.index == self.info.video.index:
                video = add_picture(file)
                self._describe_picture(video, expected, template)
            elif expected.kind == "attachment" or (expected.is_cover and self.container == "mkv"):
                self._attach(file, expected, template)
            else:
                added = add_stream(file, template, expected.codec if expected.is_converted else None)
                if expected.codec == "hevc" and self.container in ("mp4", "mov"):
                    added.codec_context.codec_tag = "hvc1"
                self._describe(added, expected, template)
                if not expected.is_cover:
                    tracks.append(self._track(expected, template, added))
        assert video is not None
        with ordinary_priority():
            file.start_encoding()
        for track in tracks:
            track.start_clock()
        return tracks, video

    def _track(self, expected: ExpectedStream, template: Stream, added: Stream) -> Track:
        info, check = self.info, None
        zero = info.video.first_pts * info.video.time_base
        if isinstance(template, AudioStream):
            is_shorter = info.pipe is None and is_cut_short(info.path, info.container)
            check = SoundCheck(expected.source.selector, zero=zero, is_shorter=is_shorter)
        return open_track(
            expected, template, added, container=self.container, schedule=self.schedule, check=check, zero=zero
        )

    def _describe_picture(self, video: VideoStream, expected: ExpectedStream, original: Stream) -> None:
        picture = self.picture
        video.time_base = self.schedule.time_base
        if picture.sample_aspect_ratio is not None:
            video.codec_context.sample_aspect_ratio = picture.sample_aspect_ratio
        if expected.codec == "hevc" and self.container in ("mp4", "mov"):
            video.codec_context.codec_tag = "hvc1"  # the only name that Apple's players take
        video.set_display_matrix(scaled_matrix(self.info, picture))
        alpha = {key: value for key, value in video.metadata.items() if key.lower() == "alpha_mode"}
        self._describe(video, expected, original)
        video.metadata.update(alpha)  # Matroska's sign that alpha lies beside the packets
        if self._aspect_kept != picture.sample_aspect_ratio:
            self.notes.append(
                f"{self.container} in a pipe cannot say that pixels of {picture.codec} are not square "
                f"({picture.sample_aspect_ratio}): players will show them so; --size makes them square"
            )
        if self._aspect_left is not None and not self.is_pipe:
            video.metadata["title"] = roomy_title(video.metadata.get("title", ""))

    @property
    def _aspect_left(self) -> Fraction | None:
        """The shape of pixels, where the muxer cannot be told of it."""
        ratio = self.picture.sample_aspect_ratio
        return ratio if self.container in ("mkv", "webm") and ratio != 1 else None

    @property
    def _aspect_kept(self) -> Fraction | None:
        """The shape of pixels that the file will tell."""
        is_lost = self.is_pipe and self._aspect_left is not None and self.picture.codec not in _TELLS_ASPECT
        return None if is_lost else self.picture.sample_aspect_ratio

    def finish(self, output: Path) -> None:
        """Write into the closed file what its muxer could not."""
        ratio = self._aspect_left
        if ratio is not None and not self.is_pipe:
            original = self.source.streams[self.info.video.index]
            title = stream_tags(original.metadata, self.container).get("title", "")
            declare_aspect(output, title=title, size=(self.picture.height, self.picture.width), aspect=ratio)

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
        with open_input(self.info.path, pipe=self.info.pipe, numbered=self.info.numbered) as source:
            for packet in packets_of(source, source.streams[expected.source.index]):
                if packet.size:
                    return bytes(packet)
        raise MediaError(f"{self.info.path}: its cover is empty; leave it out with --drop {expected.source.selector}")

    def copy_covers(self, file: OutputContainer) -> None:
        """Write the pictures that are streams of their own; after the header, before all else."""
        if self.container == "mkv":
            return
        covers = [e for e in self.expected if e.is_cover]
        streams = [s for s in file.streams if s.disposition & Disposition.attached_pic]
        for expected, stream in zip(covers, streams, strict=True):
            packet = Packet(self._cover(expected))
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, 0, 0, True
            file.mux(packet)

    def result(self, tracks: Sequence[Track], schedule: Schedule) -> Assembled:
        """What the file must hold, now that it is written: the picture as in `schedule`."""
        picture, notes = self.picture, list(self.notes)
        notes += [f"{t.info.selector}: {t.damaged} damaged packets are left out" for t in tracks if t.damaged]
        late = [(t.info.selector, t.begins_late) for t in tracks if t.begins_late]
        notes += [f"{name}: begins {float(time):.3f} s after the cut, at its next keyframe" for name, time in late]
        drops = () if self.container in ("mkv", "webm") else tuple(t for t in tracks if not t.written)
        empty = {t.info.index for t in drops if t.expected.codec != "mov_text"}  # which ends in a filler of its own
        notes += [
            f"{track.info.selector}: has nothing in this part, and {self.container} leaves it out"
            for track in tracks
            if track.info.index in empty
        ]
        return Assembled(
            container=self.container,
            streams=tuple(e for e in self.expected if e.source.index not in empty),
            copies=tuple(track.result() for track in tracks if track.info.index not in empty),
            picture=picture,
            display_matrix=scaled_matrix(self.info, picture),
            mastering_display=self.info.video.mastering_display,
            content_light=self.info.video.content_light,
            sample_aspect_ratio=self._aspect_kept,
            pts=schedule.pts,
            time_base=schedule.time_base,
            end=schedule.end * schedule.time_base,
            chapters=tuple(start_and_title(chapter) for chapter in self.chapters),
            tags=None if self.is_pipe else kept_tags(self.source.metadata, self.container),
            notes=tuple(notes),
            damage=tuple(damage for track in tracks for damage in track.damage()),
        )
