"""`vsr train`: from pictures or clips to weights that `vsr upscale` uses."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vsr.cli.options import DEVICE
from vsr.events import NoteEvent

if TYPE_CHECKING:
    from vsr.train.start import Run

_PATH = click.Path(path_type=Path)


@click.command(
    epilog="""\b
Examples:
  vsr train --preset real_world --data photos/ --smoke       a minute's trial of both stages
  vsr train --preset video --data clips/ photos/ --out runs/a
  vsr train --preset compact --data photos/ --set data.crop=128 --set stages.net.length=20000
  vsr train --preset finetune --data photos/ --from runs/a/best --out runs/b
  vsr train --preset esrgan --data list.txt --stage net --dry-run

The same command goes on where a run stopped; Ctrl-C saves first. --data takes folders, searched to the bottom,
pictures, clips, and .txt lists (a path a line, or `truth, small`). A folder with HR and LR, or high_resolution and
low_resolution, holds pairs. Pictures may be given after the options, too.

In the run's folder: model.safetensors (averaged weights; vsr upscale --model reads it), best.safetensors, states/,
samples/, plots/, log.jsonl, config.toml.
"""
)
@click.option("--preset", default="real_world", show_default=True, metavar="NAME|FILE", help="Whose [train] to follow.")
@click.option("--data", multiple=True, type=_PATH, metavar="PATH...", help="What to train on; may be repeated.")
@click.argument("more", nargs=-1, type=_PATH, metavar="[PATH]...")
@click.option(
    "--paired", multiple=True, type=(_PATH, _PATH), metavar="HR LR", help="Folders of truths and of small pictures."
)
@click.option("--val", multiple=True, type=_PATH, metavar="PATH", help="What to judge by; else some of the data.")
@click.option("--out", type=_PATH, metavar="FOLDER", help="The run's folder.  [default: runs/PRESET]")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Another setting; may be repeated.")
@click.option("--stage", "stages", multiple=True, metavar="NAME|all", help="Only this stage; may be repeated.")
@click.option("--from", "start", default="", metavar="RUN[/best]|FILE", help="Begin with these weights.")
@click.option("--vgg", type=_PATH, metavar="FILE", help="Weights of the perceptual loss.")
@click.option("--metric-weights", multiple=True, type=_PATH, metavar="PATH", help="File or folder for LPIPS.")
@click.option("--device", type=DEVICE, default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--compile", "is_compiled", is_flag=True, help="Compile the network: faster, after a slow start.")
@click.option("--export", "exports", multiple=True, type=click.Choice(["pth"]), help="Write model.pth for other tools.")
@click.option("--dry-run", is_flag=True, help="Check everything, print the settings, and stop.")
@click.option("--offline", is_flag=True, help="Fetch no weights.")
@click.option("--smoke", is_flag=True, help="Small networks, crops and lengths: a minute through every stage.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Tell all as JSON on stdout, one object a line.")
def train(
    *,
    preset: str,
    data: tuple[Path, ...],
    more: tuple[Path, ...],
    paired: tuple[tuple[Path, Path], ...],
    val: tuple[Path, ...],
    out: Path | None,
    overrides: tuple[str, ...],
    stages: tuple[str, ...],
    start: str,
    vgg: Path | None,
    metric_weights: tuple[Path, ...],
    device: str,
    is_compiled: bool,
    exports: tuple[str, ...],
    dry_run: bool,
    offline: bool,
    smoke: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train a network as a preset says. Its file is the one that `vsr upscale --model` reads."""
    from vsr.cli.show import display, show_logs
    from vsr.cli.signals import stop_on_signals
    from vsr.stage import Cancel
    from vsr.train.config_file import as_toml
    from vsr.train.prepare import Order
    from vsr.train.start import described, plan_run, read_settings, train
    from vsr.train.team import Team

    if dry_run and as_json:
        raise click.UsageError("--dry-run prints TOML: leave --json out")
    cancel, is_silent = Cancel(), quiet or as_json
    with display(quiet=quiet, as_json=as_json) as on_event, stop_on_signals(cancel, on_event):
        show_logs(quiet=quiet, verbose=False)
        settings = read_settings(preset, overrides, stages=[name for name in stages if name != "all"], is_smoke=smoke)
        order = Order(
            data=(*data, *more),
            paired=paired,
            val=val,
            vgg=vgg,
            device=device,
            is_compiled=is_compiled,
            is_smoke=smoke,
            is_trial=dry_run,
            is_offline=offline,
        )
        with Team.join(on_cpu=device == "cpu") as team:
            folder = out or Path("runs") / Path(preset).stem
            run = plan_run(settings, order, out=folder, start=start, team=team, tell=on_event, cancel=cancel)
            if not is_silent and team.is_first:
                for name, value in described(run).items():
                    click.echo(f"{name:<10} {value}", err=True)
            if team.is_first:
                _tell(run, on_event)
            if dry_run:
                click.echo(as_toml(*run.settings), nl=False)
                return
            if not is_silent and team.is_first and not run.folder.has_begun:
                click.echo(f"\n{as_toml(*run.settings)}", err=True)
            path = train(run, tell=on_event, cancel=cancel, team=team, metric_weights=metric_weights, exports=exports)
            if not is_silent and team.is_first:
                click.echo(f"{path}: done", err=True)


def _tell(run: "Run", on_event: Callable[[NoteEvent], None]) -> None:
    """What was left out, and what else one should know."""
    for problem in run.plan.problems:
        on_event(NoteEvent(message=f"left out: {problem}"))
    for note in run.plan.notes:
        on_event(NoteEvent(message=note))
