"""The classic comparison: bicubic, and networks trained here, on Set5 and Set14.

    python -m benchmarks.classic --data DATA --model SRCNN srcnn.safetensors --model SRGAN srgan.safetensors

DATA holds `images/Set5`, `images/Set14` and the metrics' `weights/`. Writes benchmarks/results/classic.json and the
tables of docs/training.md. The same figures come from `vsr eval --model bicubic --model srcnn.safetensors ...`.
"""

import json
from dataclasses import replace
from pathlib import Path

import click
import torch

from benchmarks.quality import SETS, report, short
from benchmarks.report import ROOT, machine, save, write_table
from vsr.evaluate.methods import load_methods
from vsr.evaluate.report import evaluate
from vsr.evaluate.samples import Material, check_sets
from vsr.evaluate.scores import load_judge
from vsr.evaluate.sets import find_sets
from vsr.evaluate.table import as_json


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--model", "models", multiple=True, type=(str, click.Path(path_type=Path, exists=True)), required=True)
@torch.inference_mode()
def main(data: Path, models: tuple[tuple[str, Path], ...]) -> None:
    """Measure and write the tables."""
    methods = load_methods(["bicubic", *(str(path) for _, path in models)], scale=4)
    named = [
        methods[0],
        *(replace(method, name=name) for method, (name, _) in zip(methods[1:], models, strict=True)),
    ]
    sets, material = find_sets([data / "images" / name for name in SETS], scale=4), Material(scale=4)
    check_sets(sets, material)
    rows = json.loads(as_json(evaluate(named, sets, material, load_judge([data / "weights"]))))["rows"]
    figures = {"machine": machine(), "rows": [short(row, 4) for row in rows]}
    save("classic", figures)
    print(report(figures))
    write_table(ROOT / "docs" / "training.md", "classic", report(figures))


if __name__ == "__main__":
    main()
