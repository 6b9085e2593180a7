"""`vsr verify`: whether an upscaled clip holds all that its source gives."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from vsr.cli.options import content_options


@click.command(
    epilog="""\b
Examples:
  vsr verify clip.mp4 clip_x4.mp4
  vsr verify film.mkv film_x2.mkv --start 1:30 --end 1:40 --drop s
  vsr verify clip.mp4 clip_x4.mp4 --json > findings.jsonl

Give the options that the run was given; where this computer made the file they are known, and need not be given.
Status: 0 nothing is wrong, 1 something is.
"""
)
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@content_options
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Say what is done inside, too.")
@click.option("--json", "as_json", is_flag=True, help="Tell all as JSON on stdout, one object a line.")
def verify(*, source: Path, output: Path, given: Mapping[str, Any], quiet: bool, verbose: bool, as_json: bool) -> int:
    """Hold OUTPUT, an upscaled clip, against its SOURCE: one line for each thing that is wrong.

    Both are decoded whole: the number and the times of frames, where sound begins, lengths, streams, copied packets,
    tags, and how far the pictures are apart when shrunk, which shows a wrong matrix or a shifted frame.
    """
    if quiet and verbose:
        raise click.UsageError("-q and -v: give one of them.")
    from vsr.audit import remembered_settings, verify_video
    from vsr.cli.show import display, show_logs
    from vsr.cli.signals import stop_on_signals
    from vsr.settings import UpscaleSettings
    from vsr.stage import Cancel

    cancel = Cancel()
    with display(quiet=quiet, as_json=as_json) as on_event, stop_on_signals(cancel, on_event):
        show_logs(quiet=quiet, verbose=verbose)
        settings = replace(remembered_settings(output) or UpscaleSettings(), **given)
        verified = verify_video(source, output, settings=settings, on_event=on_event, cancel=cancel)
    return 1 if verified.findings else 0
