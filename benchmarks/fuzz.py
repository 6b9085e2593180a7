"""What hostile files do: nothing but being taken, or refused in one line.

    python -m benchmarks.fuzz

Writes benchmarks/results/fuzz.json and its lines of the table of docs/reliability.md. Files are valid ones changed at
random; each is given to a process that is watched (tests/fuzz). Linux only.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from benchmarks.reliability import Row, report, save_rows
from benchmarks.report import RESULTS, load
from tests.fuzz.campaign import SECONDS, Finding, Result, attack
from tests.fuzz.child import MEMORY
from tests.fuzz.corpus import make_corpus

COUNTS = {"media": 4000, "images": 4000, "checkpoints": 4000, "presets": 1000, "journals": 1000, "manifests": 1000}
_WORDS = {
    "media": "clips of 12 kinds, upscaled",
    "images": "stills of 9 kinds, upscaled",
    "checkpoints": "weights files, pickles that run commands among them",
    "presets": "presets",
    "journals": "journals of segments, gone on from",
    "manifests": "manifests of folders, gone on from",
}


def rows_of(results: Sequence[Result]) -> list[Row]:
    """A line for each kind of file."""
    return [Row(injected=f"random changes: {_WORDS[one.kind]}", times=one.count, lost=_lost(one)) for one in results]


def _lost(one: Result) -> str:
    taken, refused = (one.outcomes.get(how, 0) for how in ("taken", "refused"))
    most = f"at most {one.most_memory >> 20} MB each"
    if not one.findings:
        return f"nothing: {taken} taken, {refused} refused in one line, {most}"
    harms = ", ".join(f"{count} {how}" for how, count in one.outcomes.items() if how not in ("taken", "refused"))
    return f"{harms}; {taken} taken, {refused} refused in one line, {most}"


@click.command()
@click.option("--seed", default=1, help="Of the changes.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(COUNTS)), help="Only these; others stay.")
@click.option("--count", type=int, help="Files of each kind, for a try that is not saved.")
def main(seed: int, kinds: tuple[str, ...], count: int | None) -> None:
    """Attack, save and write the table."""
    with tempfile.TemporaryDirectory() as folder:
        corpus, results = make_corpus(Path(folder) / "corpus"), []
        for kind in kinds or COUNTS:
            result = attack(kind, corpus, Path(folder) / kind, seed=seed, count=count or COUNTS[kind])
            results.append(result)
            print(f"{kind}: {_lost(result)}", *result.findings, sep="\n", flush=True)
    if count is None:
        results = [*_earlier(but=[one.kind for one in results]), *results]
        results.sort(key=lambda one: list(COUNTS).index(one.kind))
        limits = {"processor_seconds": SECONDS, "memory_bytes": MEMORY}
        save_rows("fuzz", rows_of(results), limits=limits, results=[asdict(one) for one in results])
        print(report())


def _earlier(*, but: Sequence[str]) -> list[Result]:
    """What was saved of other kinds."""
    if not (RESULTS / "fuzz.json").is_file():
        return []
    found = [
        Result(**one | {"findings": [Finding(**each) for each in one["findings"]]}) for one in load("fuzz")["results"]
    ]
    return [one for one in found if one.kind not in but]


if __name__ == "__main__":
    main()
