"""`vsr folder`: all stills below a folder, and clips if asked, into a tree like it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

import vsr
from vsr.cli.manners import lower_priority
from vsr.cli.options import option_name, settings_options
from vsr.settings import CLIP_ONLY


@click.command(
    epilog="""\b
Examples:
  vsr folder photos                                   writes photos_x2/, a tree like photos/
  vsr folder photos -o large --scale 4 --format webp
  vsr folder photos --include '*.jpg' --exclude raw --exclude 'trips/2019/*'
  vsr folder archive --videos --crf 18                clips, too
  vsr folder photos --retry-failed                    goes on, and tries again what failed

The same command goes on where a run was stopped or killed, and skips what it made before. What others put into the
output folder is never replaced without --overwrite. Status 1 if any file failed.
"""
)
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FOLDER", help="Where to write the tree.")
@click.option("--include", multiple=True, metavar="PATTERN", help="Only such names, as '*.jpg'; may be repeated.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="No such files and folders, as raw or 'a/b/*'.")
@click.option("--videos", is_flag=True, help="Upscale clips, too.")
@click.option("--skip-existing", is_flag=True, help="Leave results alone that are there, whoever made them.")
@click.option("--retry-failed", is_flag=True, help="Try again what failed in an earlier run.")
@settings_options
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Say what is done inside, and what each file does not carry.")
@click.option("--json", "as_json", is_flag=True, help="Tell all as JSON on stdout, one object a line.")
def folder(
    *,
    source: Path,
    output: Path | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    videos: bool,
    skip_existing: bool,
    retry_failed: bool,
    preset: str | None,
    given: Mapping[str, Any],
    quiet: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    """Upscale all stills below SOURCE, a folder, into a tree like it.

    Each keeps its format, depth, transparency, colour profile, metadata and times, as with vsr upscale.
    """
    if quiet and verbose:
        raise click.UsageError("-q and -v: give one of them.")
    if skip_existing and "overwrite" in given:
        raise click.UsageError("--skip-existing and --overwrite: give one of them.")
    foreign = sorted(set(given) & CLIP_ONLY)
    if foreign and not videos:
        raise click.UsageError(f"{option_name(foreign[0])} is for clips, which only --videos takes.")
    if "finish_partial" in given:
        raise click.UsageError("--finish-partial is for one clip, which vsr upscale takes.")
    if "fps" in given:
        raise click.UsageError("--fps is for numbered pictures, which vsr upscale makes into a clip.")
    if given.get("nice"):
        lower_priority()  # before torch and others start threads, which inherit it
    from vsr.cli.show import display, show_logs
    from vsr.cli.signals import stop_on_signals
    from vsr.preset import load_preset, override
    from vsr.settings import STILL_ONLY
    from vsr.stage import Cancel

    cancel = Cancel()
    with display(quiet=quiet, as_json=as_json, verbose=verbose) as on_event, stop_on_signals(cancel, on_event):
        show_logs(quiet=quiet, verbose=verbose)
        of_stills = {name: value for name, value in given.items() if name not in CLIP_ONLY}
        of_clips = {name: value for name, value in given.items() if name not in STILL_ONLY}
        done = vsr.upscale_folder(
            source,
            output,
            settings=override(load_preset(preset or "real_world").upscale, of_stills),
            clips=override(load_preset(preset or "video").upscale, of_clips) if videos else None,
            include=include,
            exclude=exclude,
            skip_existing=skip_existing,
            retry_failed=retry_failed,
            on_event=on_event,
            cancel=cancel,
        )
    return 1 if done.failed else 0
