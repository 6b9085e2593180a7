"""What files and streams say of themselves: the tags that stay true in the joined file, and its chapters."""

import io
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet

from vsr.frames import MediaInfo
from vsr.io.container_kind import Container, muxer
from vsr.io.opening import open_input
from vsr.io.schedule import Schedule

if TYPE_CHECKING:
    from av.container.core import Chapter  # the stubs' name for a dict

_STALE_TAGS = re.compile(
    r"(BPS|DURATION|NUMBER_OF_FRAMES|NUMBER_OF_BYTES|_STATISTICS_\w+|SOURCE_ID)(-\w+)?"
    r"|ENCODER|VENDOR_ID|HANDLER_NAME|LANGUAGE|TITLE|ROTATE|ALPHA_MODE|FILENAME|MIMETYPE",
    re.IGNORECASE,
)
_NO_TIME = "1970-01-01T00:00:00"  # an unset time of creation
_STALE_FILE_TAGS = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration")


def file_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """A file's tags without those that the muxer writes itself."""
    return {key: value for key, value in tags.items() if key.lower().partition("-")[0] not in _STALE_FILE_TAGS}


def is_quicktime(tags: Mapping[str, str]) -> bool:
    """Whether tags are of the kind that Apple's devices write, which mp4 and mov then keep under their full names."""
    return any(key.startswith("com.apple.quicktime.") for key in tags)


def lost_tags(info: MediaInfo, container: Container) -> tuple[str, ...]:
    """The file's tags that the container does not hold."""
    with open_input(info.path, pipe=info.pipe, numbered=info.numbered) as source:
        tags = file_tags(source.metadata)
    kept = kept_tags(tags, container)
    if kept is None:  # of the file itself, more will be heard
        return ()
    return tuple(key for key, value in tags.items() if key.lower() not in kept and not value.startswith(_NO_TIME))


def kept_tags(tags: Mapping[str, str], container: Container) -> dict[str, str] | None:
    """A file's tags as they are read back from the container, their names in small letters; None where it takes none.

    Found by writing them into memory.
    """
    trial = io.BytesIO()
    options = {"movflags": "+use_metadata_tags"} if container in ("mp4", "mov") and is_quicktime(tags) else {}
    try:
        with av.open(
            trial, "w", format=muxer(container), container_options=options, metadata_errors="surrogateescape"
        ) as file:
            file.metadata.update(file_tags(tags))
            stream = file.add_mux_stream("vp8" if container == "webm" else "mpeg4", width=16, height=16)
            stream.time_base = Fraction(1, 25)
            file.start_encoding()
            packet = Packet(bytes(16))
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, 0, 0, True
            file.mux(packet)
        trial.seek(0)
        with av.open(trial, metadata_errors="surrogateescape") as file:
            return small_tags(file.metadata)
    except (FFmpegError, ValueError, OSError):
        return None


def small_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """`file_tags` with names in small letters, as containers differ in that."""
    return {key.lower(): value for key, value in file_tags(tags).items()}


def stream_tags(tags: Mapping[str, str], container: Container) -> dict[str, str]:
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


def kept_chapters(source: InputContainer, schedule: Schedule) -> "Iterator[Chapter]":
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


def start_and_title(chapter: "Chapter") -> tuple[Fraction, str]:
    """A chapter's start in seconds, and its title."""
    base = chapter["time_base"] or Fraction(1)
    return chapter["start"] * base, chapter["metadata"].get("title", "")
