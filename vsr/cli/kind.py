"""Whether a source is a clip or a still, and which options mean nothing for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from vsr.cli.options import option_name
from vsr.settings import CLIP_ONLY, CONTAINERS, STILL_ONLY


def is_still(source: Path, output: Path | None) -> bool:
    """By the file's first bytes, or its name where these say nothing.

    Numbered frames (%06d.png) are a clip, and so is what is to become one: a GIF for an .mp4, or for a pipe.
    """
    from vsr.io.numbered import is_numbered
    from vsr.io.still_kind import still_kind

    if output is not None and (str(output) == "-" or output.suffix.lower().lstrip(".") in CONTAINERS):
        return False
    return (
        not any(path is not None and is_numbered(path) for path in (source, output)) and still_kind(source) is not None
    )


def refuse_foreign(given: Mapping[str, Any], *, is_still: bool) -> None:
    """Raise UsageError for an option that was typed and would do nothing."""
    foreign = sorted(set(given) & (CLIP_ONLY if is_still else STILL_ONLY))
    if foreign:
        kinds = ("clips", "a still") if is_still else ("stills", "a clip")
        raise click.UsageError(f"{option_name(foreign[0])} is for {kinds[0]}, and this is {kinds[1]}.")
