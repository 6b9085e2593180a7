"""`vsr degrade`: what training would do to a picture or clip, to look at or to test with."""

from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  vsr degrade photo.jpg --preset video -n 8 --seed 1 -o sheet.png   a sheet: the truth, 8 damaged copies, what was drawn
  vsr degrade clip.mp4 --preset film -n 4 -o damaged/               4 lossless clips, a quarter of the size
  vsr degrade photo.jpg --preset real_world --scale 1 -o damaged/   damaged, but not smaller

The same source, preset, scale and seed give the same copies.
"""
)
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--preset", default="video", show_default=True, metavar="NAME|FILE", help="Whose [degrade] to carry out.")
@click.option("-n", "--count", default=8, show_default=True, type=click.IntRange(1), help="How many copies.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Another one draws other damage.")
@click.option(
    "--scale", default=4, show_default=True, type=click.IntRange(1, 8), help="How much smaller the copies are."
)
@click.option("--frames", default=24, show_default=True, type=click.IntRange(1), help="Of a clip, from its beginning.")
@click.option(
    "--crop", type=click.IntRange(32), help="Only the middle, so many pixels each way. [default on a sheet: 384]"
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="SHEET|FOLDER",
    help="A sheet if it ends in .png, .webp or .jpg, else a folder for the copies.",
)
@click.option("--overwrite", is_flag=True, help="Write over what is there.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
def degrade(
    *,
    source: Path,
    preset: str,
    count: int,
    seed: int,
    scale: int,
    frames: int,
    crop: int | None,
    output: Path,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Damage the picture or clip SOURCE as training does, and say how: a contact sheet, or files."""
    from vsr.errors import ConfigError
    from vsr.preset import load_degradation
    from vsr.train.copies import SHEET_PX, damaged_copies, read_original, write_copies, write_sheet

    is_sheet = output.suffix.lower() in (".png", ".webp", ".jpg", ".jpeg")
    if is_sheet and output.exists() and not overwrite:
        raise ConfigError(f"{output}: exists already; choose another name or give --overwrite")
    settings = load_degradation(preset)
    original = read_original(source, scale=scale, frames=frames, crop=crop or (SHEET_PX if is_sheet else None))
    copies = damaged_copies(original, settings, scale=scale, count=count, seed=seed)
    if is_sheet:
        made = list(copies)
        write_sheet(output, original, made, scale=scale)
        _tell(f"{output}: {len(made)} copies", quiet=quiet)
    else:
        for path in write_copies(output, original, copies, overwrite=overwrite):
            _tell(str(path), quiet=quiet)


def _tell(line: str, *, quiet: bool) -> None:
    if not quiet:
        click.echo(line, err=True)
