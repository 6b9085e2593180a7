"""The streams of an open clip: what they are, what their tags say, and which one is the picture."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Literal

from av.container import InputContainer
from av.stream import AttachmentStream, Disposition, Stream
from av.video.stream import VideoStream

from vsr.errors import MediaError
from vsr.frames import StreamInfo

_TAGGED_DURATION = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")


def describe_streams(container: InputContainer) -> tuple[StreamInfo, ...]:
    """List the streams of an open clip, without the track that mp4 and mov keep chapter titles in."""
    counts: dict[str, int] = {}
    found: list[StreamInfo] = []
    for stream in container.streams:
        if is_chapter_track(container, stream):
            continue
        kind = _kind(stream)
        found.append(
            StreamInfo(
                index=stream.index,
                kind=kind,
                position=counts.get(kind, 0),
                codec=codec_name(stream),
                is_cover=is_picture(stream),
                language=_tag(stream, "language", but="und"),
                title=_tag(stream, "title") or _tag(stream, "filename"),
                flags=flags_of(stream),
            )
        )
        counts[kind] = counts.get(kind, 0) + 1
    return tuple(found)


def choose_video(path: Path, container: InputContainer) -> VideoStream:
    """The stream to upscale: the one flagged default, else the first, pictures left out."""
    moving = [s for s in container.streams.video if not is_picture(s)]
    if not moving and container.streams.video:
        raise MediaError(f"{path}: holds no video, only a cover picture; give a file with moving pictures")
    if not moving:
        raise MediaError(f"{path}: holds no video; give a file with moving pictures")
    flagged = [s for s in moving if s.disposition & Disposition.default]
    return (flagged or moving)[0]


def flags_of(stream: Stream) -> tuple[str, ...]:
    """A stream's dispositions by name; that it is a picture is told by `is_picture`."""
    return tuple(flag.name or "" for flag in Disposition if stream.disposition & flag & ~Disposition.attached_pic)


def is_picture(stream: Stream) -> bool:
    """Whether a stream is a still attached to the file: cover art or thumbnails."""
    pictures = Disposition.attached_pic | Disposition.timed_thumbnails
    return stream.type == "video" and bool(stream.disposition & pictures)


def is_chapter_track(container: InputContainer, stream: Stream) -> bool:
    """Whether a stream is the text track in which mp4 and mov keep chapter titles; they are read as chapters."""
    return "mp4" in container.format.name and stream.type == "data" and stream.name == "bin_data"


def codec_name(stream: Stream) -> str:
    """The codec's own name, not the decoder's: av1, not libdav1d. Attachments have their MIME type."""
    if isinstance(stream, AttachmentStream):
        return stream.mimetype or "unknown"
    if stream.codec_context is not None:
        return stream.codec_context.codec.canonical_name
    return (stream.name if stream.type == "data" else None) or "unknown"


def tagged_end(stream: Stream) -> Fraction | None:
    """Seconds at which the track ends by Matroska's DURATION tag, if it is there.

    libav's own `duration` of such a stream may be the whole file's.
    """
    tag = _TAGGED_DURATION.fullmatch((_tag(stream, "duration") or "").rstrip("\0"))
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + Fraction(tag[3]) if tag else None


def _kind(stream: Stream) -> Literal["video", "audio", "subtitle", "attachment", "data"]:
    return "data" if stream.type == "unknown" else stream.type


def _tag(stream: Stream, name: str, *, but: str = "") -> str | None:
    """A metadata value that can be printed, None when it is absent or says nothing."""
    value = next((v for k, v in stream.metadata.items() if k.lower() == name), "")
    value = value.encode("utf-8", "replace").decode().strip()
    return None if value in ("", but) else value
