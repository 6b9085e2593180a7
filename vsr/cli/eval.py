"""`vsr eval`: networks and filters held against the truth, in one table."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from vsr.cli.options import DEVICE
from vsr.disk import why_not_written
from vsr.errors import ConfigError, MediaError
from vsr.settings import Precision

if TYPE_CHECKING:
    from vsr.evaluate.report import Result
    from vsr.evaluate.sheet import Sheet

_STDOUT = Path("-")
_SHEETS = (".png", ".webp", ".jpg", ".jpeg")
_FILE = click.Path(path_type=Path, dir_okay=False, allow_dash=True)


@click.command(
    name="eval",
    epilog="""\b
Examples:
  vsr eval --model bicubic --model vsr-fast-x4 --data Set5 Set14
  vsr eval --model mine.safetensors --model bicubic --data Set14 --metric-weights weights/
  vsr eval --model mine.safetensors --data clips --frames 8 --degrade video --seed 1
  vsr eval --model mine.safetensors --data Set5 --crop 128 --markdown - --sheet look.webp

In DIR, the first of these holds the truth: x4/HR (as --scale says), HR, DIR itself. LR beside HR is used as it is,
paired by name with HR and LR exchanged, or by order. Else LR is made from the truth by MATLAB's bicubic.

PSNR and SSIM leave out a border as wide as the scale. LPIPS (SqueezeNet) and NIQE need files that are not part of
vsr: squeezenet1_1.pth, lpips_lin_v0.1_squeeze.pth, niqe_pris_params.npz. Clips also get their static change: how much
more they change from frame to frame than the truth, where that stands still.

Files are written over without asking.
""",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    required=True,
    metavar="NAME|FILE",
    help="A network, bicubic or lanczos; may be repeated.",
)
@click.option(
    "--data",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR...",
    help="Folder of pictures or clips, or one file; may be repeated.",
)
@click.argument("more", nargs=-1, type=click.Path(path_type=Path), metavar="[DIR]...")
@click.option(
    "--scale", type=click.IntRange(1, 16), default=4, metavar="S", help="Of truth to small pictures.  [default: 4]"
)
@click.option("--crop", type=click.IntRange(1), metavar="N", help="Only the middle N x N pixels of the truth.")
@click.option(
    "--frames",
    type=click.IntRange(1),
    default=24,
    metavar="N",
    help="Frames of a clip, from its beginning.  [default: 24]",
)
@click.option("--degrade", metavar="PRESET", help="Make LR by the damage of this preset, also where LR is given.")
@click.option("--seed", type=click.IntRange(0), default=1, metavar="N", help="Of the damage.  [default: 1]")
@click.option(
    "--metric-weights",
    "weights",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="File or folder for LPIPS and NIQE; may be repeated.",
)
@click.option(
    "--device", type=DEVICE, default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps.  [default: auto]"
)
@click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    default="fp32",
    help="Number type of the networks; in fp32 figures are alike on all machines.  [default: fp32]",
)
@click.option("--csv", "csv_file", type=_FILE, metavar="FILE", help="Write the means as CSV.")
@click.option("--json", "json_file", type=_FILE, metavar="FILE", help="Write all as JSON, each picture's figures, too.")
@click.option(
    "--markdown",
    "markdown_file",
    type=_FILE,
    metavar="FILE",
    help="Write the table as Markdown. - is stdout, in place of the table; so for --csv and --json.",
)
@click.option(
    "--sheet",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a picture of results beside the truth: .png, .webp or .jpg.",
)
@click.option(
    "--sheet-picture",
    "shown",
    multiple=True,
    metavar="NAME",
    help="File of the data to show on it; may be repeated.  [default: six of all]",
)
@click.option("--offline", is_flag=True, help="Fetch no model; one that is not here is an error.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
def eval_command(
    *,
    models: tuple[str, ...],
    data: tuple[Path, ...],
    more: tuple[Path, ...],
    scale: int,
    crop: int | None,
    frames: int,
    degrade: str | None,
    seed: int,
    weights: tuple[Path, ...],
    device: str,
    precision: Precision,
    csv_file: Path | None,
    json_file: Path | None,
    markdown_file: Path | None,
    sheet: Path | None,
    shown: tuple[str, ...],
    offline: bool,
    quiet: bool,
) -> None:
    """Hold networks, bicubic and lanczos against the truth: PSNR, SSIM, LPIPS and NIQE for each set and model."""
    files = [file for file in (csv_file, json_file, markdown_file) if file is not None]
    _check_outputs(files, sheet)
    if not data + more:
        raise click.UsageError("Missing option '--data'.")
    from vsr.cli.show import display, show_logs
    from vsr.evaluate import table
    from vsr.evaluate.methods import load_methods
    from vsr.evaluate.report import evaluate
    from vsr.evaluate.samples import Material, check_sets, load_damage
    from vsr.evaluate.scores import load_judge
    from vsr.evaluate.sets import find_sets
    from vsr.evaluate.sheet import Sheet

    show_logs(quiet=quiet, verbose=False)
    judge = load_judge(weights, device=device)
    with display(quiet=quiet, as_json=False) as tell:
        methods = load_methods(models, scale=scale, device=device, precision=precision, offline=offline, tell=tell)
    damage = None if degrade is None else load_damage(degrade, seed)
    material = Material(scale=scale, crop=crop, frames=frames, damage=damage)
    sets = find_sets(data + more, scale=scale, pairs=damage is None)
    check_sets(sets, material)
    gathered = None if sheet is None else Sheet(sheet, sets, shown)
    with _progress(len(methods) * sum(len(one.items) for one in sets), gathered, is_shown=not quiet) as on_result:
        report = evaluate(methods, sets, material, judge, on_result=on_result)
    for file, text in ((csv_file, table.as_csv), (json_file, table.as_json), (markdown_file, table.markdown)):
        if file is not None:
            _write(file, text(report))
    if _STDOUT not in files:
        click.echo(table.terminal(report), nl=False)
    if gathered is not None:
        gathered.write()


def _check_outputs(files: list[Path], sheet: Path | None) -> None:
    """Refuse before the work what could not be written after it."""
    if files.count(_STDOUT) > 1:
        raise click.UsageError("-: only one of --csv, --json and --markdown can go to stdout.")
    if sheet is not None and sheet.suffix.lower() not in _SHEETS:
        raise click.BadParameter(f"'{sheet}' does not end in {', '.join(_SHEETS)}.", param_hint="'--sheet'")
    for file in [*files, *([] if sheet is None else [sheet])]:
        if not file.parent.is_dir():
            raise ConfigError(f"{file}: there is no folder {file.parent}; make it, or choose another output")


@contextmanager
def _progress(total: int, sheet: "Sheet | None", *, is_shown: bool) -> Iterator[Callable[["Result"], None]]:
    """What to call with each result: it moves a bar, on a terminal, and fills the sheet."""
    from tqdm import tqdm

    is_off = not (is_shown and sys.stderr.isatty())
    with tqdm(total=total, unit=" results", dynamic_ncols=True, file=sys.stderr, disable=is_off, leave=False) as bar:

        def on_result(result: "Result") -> None:
            bar.set_postfix_str(f"{result.data.name} {result.model}", refresh=False)
            bar.update()
            if sheet is not None:
                sheet.add(result)

        yield on_result


def _write(file: Path, text: str) -> None:
    if file == _STDOUT:
        click.echo(text, nl=False)
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as e:
        raise MediaError(
            f"{file}: {why_not_written(e, f'cannot be written: {e.strerror}; choose another output')}"
        ) from e
