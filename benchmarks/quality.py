"""How good networks are on clean and damaged pictures: ours and the official Compact files, against bicubic.

    python -m benchmarks.quality --data DATA

DATA holds `images/Set5`, `images/Set14` (each x4/HR and x4/LR) and `weights/` with the official files and those of the
metrics. Writes benchmarks/results/quality.json and the tables and the sheet of docs/quality.md.
"""

import json
from dataclasses import replace
from pathlib import Path

import click
import torch

from benchmarks.report import ROOT, described, machine, save, table, write_table
from vsr.evaluate.methods import load_methods
from vsr.evaluate.report import evaluate
from vsr.evaluate.samples import Material, check_sets, load_damage
from vsr.evaluate.scores import load_judge
from vsr.evaluate.sets import find_sets
from vsr.evaluate.sheet import Sheet
from vsr.evaluate.table import as_json
from vsr.io.images import write_rgb

DOCUMENT = ROOT / "docs" / "quality.md"
SHEET = ROOT / "docs" / "quality.webp"
SETS = ("Set5", "Set14")
OFFICIAL = ("realesr-animevideov3", "realesr-general-x4v3", "realesr-general-wdn-x4v3")
OWN = ("vsr-fast-x4",)
DAMAGES = (None, "real_world", "video")
SEED = 1
SHOWN = ("Set5_001_HR.png", "Set14_005_HR.png", "Set14_008_HR.png", "Set14_011_HR.png")  # on the sheet
COLUMNS = {  # field of a score -> heading, digits
    "psnr_y": ("PSNR-Y", 2),
    "ssim_y": ("SSIM-Y", 4),
    "psnr_rgb": ("PSNR-RGB", 2),
    "lpips": ("LPIPS", 4),
    "niqe": ("NIQE", 2),
}


def measure(data: Path) -> dict[str, object]:
    """Every method on every set and damage; the sheet is of the video damage."""
    methods = load_methods(
        ["bicubic", "lanczos", *OWN, *(str(data / "weights" / f"{name}.pth") for name in OFFICIAL)], scale=4
    )
    judge = load_judge([data / "weights"])
    reports = []
    for preset in DAMAGES:
        damage = None if preset is None else load_damage(preset, SEED)
        sets = find_sets([data / "images" / name for name in SETS], scale=4, pairs=damage is None)
        material = replace(Material(scale=4), damage=damage)
        check_sets(sets, material)
        sheet = Sheet(SHEET, sets, SHOWN)
        reports.append(json.loads(as_json(evaluate(methods, sets, material, judge, on_result=sheet.add))))
        print(f"{preset}: done", flush=True)
        if preset == "video":
            write_rgb(SHEET, sheet.picture(), quality=75)
    return {"machine": machine(), "seed": SEED, "rows": [short(row) for report in reports for row in report["rows"]]}


def short(row: dict) -> dict:
    """A row with its means and its pictures' PSNR only: the rest follows from the command."""
    items = {item["name"]: round(item["psnr_y"], 3) for item in row["items"]}
    mean = {key: None if value is None else round(value, 4) for key, value in row["mean"].items()}
    return {**{key: row[key] for key in ("data", "material", "model")}, "mean": mean, "psnr_y": items}


def report(figures: dict) -> str:
    """A table for each set and damage, from the figures saved."""
    parts = []
    for data, material in dict.fromkeys((row["data"], row["material"]) for row in figures["rows"]):
        rows = [row for row in figures["rows"] if (row["data"], row["material"]) == (data, material)]
        lines = [
            [row["model"], *(f"{row['mean'][key]:.{digits}f}" for key, (_, digits) in COLUMNS.items())] for row in rows
        ]
        heading = ["model", *(title for title, _ in COLUMNS.values())]
        parts.append(f"**{data}**, {material}, {len(rows[0]['psnr_y'])} pictures\n\n{table(heading, lines)}")
    return "\n\n".join([*parts, described(figures)])


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@torch.inference_mode()
def main(data: Path) -> None:
    """Measure and write the page."""
    figures = measure(data)
    save("quality", figures)
    print(report(figures))
    write_table(DOCUMENT, "quality", report(figures))


if __name__ == "__main__":
    main()
