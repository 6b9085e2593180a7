"""What is lost when runs are killed at random moments: nothing but the open segment.

    python -m benchmarks.kills

Writes benchmarks/results/kills.json and its lines of the table of docs/reliability.md. Every kill is of a run of its
own, at a frame drawn at random and up to 20 ms more, or at a packet of the join or of the check.
"""

import random
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from benchmarks.reliability import Row, report, save_rows
from tests.kills import KINDS, Kill, Killer, Phase

PLAN: tuple[Phase, ...] = ("frames", "frames", "frames", "join", "check")  # of each kind of source


def kill_all(model: str, seed: int) -> list[Kill]:
    """Kill runs of every kind of source, once for each phase of the plan."""
    draw, kills = random.Random(seed), []
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            killer = Killer(kind, Path(folder), model=model)
            for phase in PLAN:
                kills.append(killer.kill(phase, draw))
                print(kills[-1], flush=True)
    return kills


def rows_of(kills: Sequence[Kill]) -> list[Row]:
    """A line for each kind of source."""
    rows = []
    for name in dict.fromkeys(kill.kind for kill in kills):
        ours = [kill for kill in kills if kill.kind == name]
        counts = [sum(kill.phase == phase for kill in ours) for phase in ("frames", "join", "check")]
        where = f"{counts[0]} while it encodes, {counts[1]} in the join, {counts[2]} in the check"
        differ = sum(not kill.is_equal for kill in ours)
        lost = f"{differ} results differ" if differ else "nothing: each result is the undisturbed run's"
        twice = max(kill.made_twice for kill in ours)
        rows.append(
            Row(
                injected=f"`kill -9`, {name} source: {where}",
                times=len(ours),
                lost=f"{lost}; at most {twice} of {ours[0].frames} frames made twice",
            )
        )
    return rows


@click.command()
@click.option("--model", default="vsr-fast-x4", help="Network to run.")
@click.option("--seed", default=1, help="Of the moments.")
def main(model: str, seed: int) -> None:
    """Kill, save and write the table."""
    kills = kill_all(model, seed)
    figures = [{**asdict(kill), "made_twice": kill.made_twice} for kill in kills]
    save_rows("kills", rows_of(kills), model=model, seed=seed, kills=figures)
    print(report())


if __name__ == "__main__":
    main()
