"""`vsr upscale`: one clip or still in, the same larger out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

import vsr
from vsr.cli.manners import lower_priority
from vsr.cli.options import settings_options


@click.command(
    epilog="""\b
Examples:
  vsr upscale clip.mp4                                     writes clip_x4.mp4
  vsr upscale clip.mp4 --size 1920x1080 --preset anime     writes clip_1920x1080.mp4
  vsr upscale tape.mkv --start 1:30 --end 1:40 -o try.mp4  ten seconds, to try
  vsr upscale film.mkv --codec hevc --crf 17 --preset film
  vsr upscale clip.mov --drop s,a:1 --encoder-option tune=grain
  vsr upscale photo.jpg                                    writes photo_x4.jpg
  vsr upscale scan.tif --scale 2 --format png --sheet      writes scan_x2.png and scan_x2_sheet.png

An existing output is refused without --overwrite. Ctrl-C stops after the current tile, a second one at once.
The same command goes on where a run was stopped, killed or lost its power; OUT.vsr/ holds what is done.
"""
)
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE|FOLDER", help="Where to write.")
@settings_options
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Say what is done inside, too.")
@click.option("--json", "as_json", is_flag=True, help="Tell all as JSON on stdout, one object a line.")
def upscale(
    *,
    source: Path,
    output: Path | None,
    preset: str | None,
    given: Mapping[str, Any],
    quiet: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Upscale SOURCE, a clip or a still.

    Of a clip sound, subtitles, chapters, colour and the time of every frame stay as they are; of a still its depth,
    transparency, colour profile and metadata.
    """
    if quiet and verbose:
        raise click.UsageError("-q and -v: give one of them.")
    if as_json and output is not None and str(output) == "-":
        raise click.UsageError("--json and -o -: both are standard output; give one of them.")
    if given.get("nice"):
        lower_priority()  # before torch and others start threads, which inherit it
    from vsr.cli.kind import is_still, refuse_foreign
    from vsr.cli.show import display, show_logs
    from vsr.cli.signals import stop_on_signals
    from vsr.errors import MediaError
    from vsr.preset import load_preset, override
    from vsr.stage import Cancel

    still = is_still(source, output)
    refuse_foreign(given, is_still=still)
    # imports torch, before signals are taken over, so that Ctrl-C ends that at once
    flow = vsr.upscale_image if still else vsr.upscale_video
    cancel = Cancel()
    with display(quiet=quiet, as_json=as_json) as on_event, stop_on_signals(cancel, on_event):
        show_logs(quiet=quiet, verbose=verbose)
        settings = override(load_preset(preset or ("real_world" if still else "video")).upscale, given)
        done = flow(source, output, settings=settings, on_event=on_event, cancel=cancel)
        if done.damage and not settings.allow_damaged:
            raise MediaError(
                f"{source}: {done.damage}; look at {done.output}, or give --allow-damaged to have status 0"
            )
        if done.damaged_places and not settings.allow_damaged:
            places = "one place" if done.damaged_places == 1 else f"{done.damaged_places} places"
            missing = f", {done.lost_frames} frames are missing" if done.lost_frames else ""
            raise MediaError(
                f"{source}: damaged at {places}{missing} in {done.output}; "
                "look at it, or give --allow-damaged to have status 0"
            )
