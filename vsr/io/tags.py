"""What files and streams say of themselves: the tags that stay true in the joined file, and its chapters."""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

from av.container import InputContainer

from vsr.io.container import Container
from vsr.io.schedule import Schedule

if TYPE_CHECKING:
    from av.container.core import Chapter  # the stubs' name for a dict

_STALE_TAGS = re.compile(
    r"(BPS|DURATION|NUMBER_OF_FRAMES|NUMBER_OF_BYTES|_STATISTICS_\w+|SOURCE_ID)(-\w+)?"
    r"|ENCODER|VENDOR_ID|HANDLER_NAME|LANGUAGE|TITLE|ROTATE|ALPHA_MODE|FILENAME|MIMETYPE",
    re.IGNORECASE,
)
_STALE_FILE_TAGS = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration")


def file_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """A file's tags without those that the muxer writes itself."""
    return {key: value for key, value in tags.items() if key.lower() not in _STALE_FILE_TAGS}


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
