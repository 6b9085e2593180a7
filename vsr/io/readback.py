"""What a finished file holds, read back packet by packet; `vsr.verify` judges it."""

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Stream
from av.video.stream import VideoStream

from vsr.errors import MediaError
from vsr.frames import Siting, StreamInfo
from vsr.io.color_guess import first_said
from vsr.io.copies import is_filler
from vsr.io.decoder import Decoder
from vsr.io.opening import open_input, packets_of
from vsr.io.pixel_formats import has_alpha
from vsr.io.side_data import content_light_of, display_matrix_of, mastering_display_of, side_data_of
from vsr.io.source_color import chroma_siting
from vsr.io.streams import describe_streams, tagged_end
from vsr.io.tags import small_tags
from vsr.stage import Cancel

UNTOLD = -(2**63)  # in place of a time: libav does not read those before zero in Matroska


@dataclass(slots=True)
class FoundTrack:
    """One stream's packets, without fillers."""

    base: Fraction  # seconds a tick
    times: "array[int]" = field(default_factory=lambda: array("q"))  # in ticks, in the file's order
    hash: hashlib.blake2b = field(default_factory=hashlib.blake2b)
    hidden: int = 0  # packets that the container tells players not to show
    end: Fraction | None = None  # seconds, as far as the container says it of this stream
    rate: int | None = None  # samples a second, of sound
    channels: int | None = None  # of sound


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFrame:
    """The first frame of the picture, and what its stream says of its shape."""

    height: int
    width: int
    matrix: int
    primaries: int
    transfer: int
    full_range: bool | None  # None for RGB, which has no other
    siting: Siting | None
    sample_aspect_ratio: Fraction
    display_matrix: tuple[int, ...] | None
    has_alpha: bool
    mastering_display: tuple[int, ...] | None
    content_light: tuple[int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All that was read. `tracks` are by stream index, covers and attachments left out."""

    streams: tuple[StreamInfo, ...]  # without timed data
    tracks: Mapping[int, FoundTrack]
    chapters: tuple[tuple[Fraction, str], ...]  # start in seconds, title
    tags: Mapping[str, str]  # of the file, by names in small letters
    first_frame: FoundFrame | None  # None where it cannot be decoded


def read_back(path: Path, *, picture: int, cancel: Cancel | None = None) -> Found:
    """Read a whole file, and decode the first frame of the stream at place `picture` among those it holds.

    Raises MediaError when it cannot be read to its end.
    """
    try:
        with open_input(path) as file:
            streams = tuple(s for s in describe_streams(file) if s.kind != "data")
            wanted = [s for s in streams if not s.is_cover and s.kind != "attachment"]
            tracks = _read_tracks(file, wanted, cancel)
            chapters = tuple(
                (chapter["start"] * Fraction(chapter["time_base"] or 1), chapter["metadata"].get("title", ""))
                for chapter in file.chapters()
            )
            tags = small_tags(file.metadata)
        with open_input(path) as file:
            stream = file.streams[streams[picture].index] if picture < len(streams) else None
            first = _first_frame(file, stream) if isinstance(stream, VideoStream) else None
    except (FFmpegError, OSError) as e:
        raise MediaError(f"{path}: cannot be read to its end ({e.strerror or e}); run the same command again") from e
    return Found(streams=streams, tracks=tracks, chapters=chapters, tags=tags, first_frame=first)


def _read_tracks(file: InputContainer, wanted: Sequence[StreamInfo], cancel: Cancel | None) -> dict[int, FoundTrack]:
    codecs = {s.index: s.codec for s in wanted}
    tracks = {s.index: FoundTrack(file.streams[s.index].time_base or Fraction(1, 1000)) for s in wanted}
    if not tracks:  # demuxing no stream means demuxing all
        return tracks
    for packet in packets_of(file, *(file.streams[index] for index in tracks)):
        if cancel is not None:
            cancel.check()
        index = packet.stream.index
        if packet.size and not is_filler(codecs[index], packet):
            track = tracks[index]
            track.hidden += packet.is_discard
            track.times.append(UNTOLD if packet.pts is None else packet.pts)
            track.hash.update(packet)
    for index, track in tracks.items():
        stream = file.streams[index]
        track.end = _end(stream, track)
        if isinstance(stream, AudioStream):
            track.rate, track.channels = stream.codec_context.sample_rate, stream.codec_context.layout.nb_channels
    return tracks


def _end(stream: Stream, track: FoundTrack) -> Fraction | None:
    said = tagged_end(stream)
    if said is not None:
        return said
    if stream.duration is None:
        return None
    begins = min(track.times, default=0) if stream.start_time is None else stream.start_time  # sound may warm up before
    return (begins + stream.duration) * track.base


def _first_frame(file: InputContainer, stream: VideoStream) -> FoundFrame | None:
    decoder = Decoder(stream)
    frame = next((frame for packet in packets_of(file, stream) for frame in decoder.decode(packet)), None)
    if frame is None:
        return None
    context, side_data = stream.codec_context, side_data_of(frame)
    name = frame.format.name
    return FoundFrame(
        height=frame.height,
        width=frame.width,
        matrix=first_said(
            frame.colorspace, context.colorspace
        ),  # the decoder that sees alpha leaves tags to the header
        primaries=first_said(frame.color_primaries, context.color_primaries),
        transfer=first_said(frame.color_trc, context.color_trc),
        full_range=None if frame.format.is_rgb else frame.color_range == 2 or name.startswith("yuvj"),
        siting=chroma_siting(stream) if name.startswith(("yuv420", "yuvj420")) else None,
        sample_aspect_ratio=stream.sample_aspect_ratio or Fraction(1),
        display_matrix=display_matrix_of(frame),
        has_alpha=has_alpha(name),
        mastering_display=mastering_display_of(side_data),
        content_light=content_light_of(side_data),
    )
