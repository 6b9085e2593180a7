"""How good networks are on clean and damaged pictures: ours and the official Compact files, against two filters.

    python -m benchmarks.quality --data DATA

DATA holds `images/Set5`, `images/Set14` (each x4/HR and x4/LR, and the same at x2), `train/`, of which the pictures in
held_back.txt are taken, `video/`, and `weights/` with the official files and those of the metrics. Writes
benchmarks/results/quality.json and the tables and the sheet of docs/quality.md.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import click
import numpy as np
import torch
from torch import Tensor

from benchmarks.cleanliness import Cleanliness, cleanliness_table
from benchmarks.held_back import write_crops
from benchmarks.report import ROOT, described, machine, save, table, write_table
from vsr.engine.matlab import shrink
from vsr.evaluate.methods import Method, load_methods
from vsr.evaluate.report import Result, evaluate
from vsr.evaluate.samples import Material, check_sets, load_damage
from vsr.evaluate.scores import Judge, load_judge
from vsr.evaluate.sets import find_sets
from vsr.evaluate.sheet import Sheet
from vsr.evaluate.table import as_json
from vsr.io.degrade_codec import Encoding, through_video
from vsr.io.images import write_rgb
from vsr.io.lossless import write_lossless

DOCUMENT = ROOT / "docs" / "quality.md"
SHEET = ROOT / "docs" / "quality.webp"
SETS = ("Set5", "Set14")
OFFICIAL = ("realesr-animevideov3", "realesr-general-x4v3", "realesr-general-wdn-x4v3")
DAMAGES = ("real_world", "video")
SEED = 1
METHODS = {  # of each scale
    4: ("bicubic", "lanczos", "vsr-fast-x4", "vsr-video-x4", "vsr-anime-x4", "vsr-photo-x4", *OFFICIAL),
    2: ("bicubic", "lanczos", "vsr-video-x2", "vsr-video-x4"),
}
CLIPS = ("carphone_pristine.mp4", "bikes.mp4")
FRAMES = 24
CRF = 32
SHOWN = ("Set5_001_HR.png", "Set14_005_HR.png", "Set14_008_HR.png", "Set14_011_HR.png")  # on the sheet
COLUMNS = {  # field of a score -> heading, digits
    "psnr_y": ("PSNR-Y", 2),
    "ssim_y": ("SSIM-Y", 4),
    "psnr_rgb": ("PSNR-RGB", 2),
    "lpips": ("LPIPS", 4),
    "niqe": ("NIQE", 2),
    "static_change": ("static change", 2),  # of clips
}


def measure(data: Path) -> tuple[list[dict], list[dict]]:
    """Every method on every set and damage, and how clean those of x4 are; the sheet is of the video damage at x4."""
    judge, rows, clean = load_judge([data / "weights"]), [], Cleanliness()
    with TemporaryDirectory() as folder:
        crops = Path(folder, "held back")
        crops.mkdir()
        write_crops(data / "train", crops)
        for scale, names in METHODS.items():
            clips = Path(folder, f"x{scale}", "low bitrate")
            write_clips(data / "video", clips, scale)
            methods = load_methods([_place(name, data) for name in names], scale=scale)
            measured = Measured(methods, judge, scale, clean if scale == max(METHODS) else None)
            sets = [data / "images" / name for name in SETS]
            rows += measured.rows(sets, None)
            for damage in DAMAGES:
                rows += measured.rows([*sets, crops], damage)
            rows += measured.rows([crops], None)
            rows += measured.rows([clips], None)
    return rows, clean.figures()


def _place(name: str, data: Path) -> str:
    """A method's name, or the file of an official network."""
    return str(data / "weights" / f"{name}.pth") if name in OFFICIAL else name


@dataclass(frozen=True, slots=True)
class Measured:
    """Methods of one scale, put to sets one after the other."""

    methods: Sequence[Method]
    judge: Judge
    scale: int
    clean: Cleanliness | None

    def rows(self, paths: Sequence[Path], preset: str | None) -> list[dict]:
        """Every method on these sets, with their own small halves, made by bicubic, or damaged by a preset."""
        damage = None if preset is None else load_damage(preset, SEED)
        sets = find_sets(paths, scale=self.scale, pairs=damage is None)
        material = replace(Material(scale=self.scale, frames=FRAMES), damage=damage)
        check_sets(sets, material)
        is_shown = preset == "video" and self.scale == max(METHODS)
        sheet = Sheet(SHEET, sets, SHOWN) if is_shown else None
        takers = [taker.add for taker in (sheet, self.clean) if taker is not None]

        def take(result: Result) -> None:
            for add in takers:
                add(result)

        report = evaluate(self.methods, sets, material, self.judge, on_result=take)
        if sheet is not None:
            write_rgb(SHEET, sheet.picture(), quality=75)
        print(f"x{self.scale}, {', '.join(path.name for path in paths)}, {preset}: done", flush=True)
        return [short(row, self.scale) for row in json.loads(as_json(report))["rows"]]


def write_clips(video: Path, folder: Path, scale: int) -> None:
    """Beginnings of clips, lossless, as HR, and as LR shrunk by MATLAB's bicubic and coded by x264 at a low bitrate."""
    for half in ("HR", "LR"):
        (folder / half).mkdir(parents=True)
    for name in CLIPS:
        with av.open(str(video / name)) as file:
            rate = Fraction(file.streams.video[0].average_rate or 25)
            frames = [frame.to_ndarray(format="rgb24") for frame in islice(file.decode(video=0), FRAMES)]
        height, width = (side // (2 * scale) * 2 * scale for side in frames[0].shape[:2])
        truth = np.stack([frame[:height, :width] for frame in frames]).astype(np.uint8, copy=False)
        low = _packed(shrink(torch.from_numpy(truth).permute(0, 3, 1, 2), scale))
        coded = through_video(low, Encoding(encoder="libx264", quality=CRF, preset="medium"))
        write_lossless(folder / "HR" / f"{Path(name).stem}.mkv", truth, rate)
        write_lossless(folder / "LR" / f"{Path(name).stem}.mkv", coded, rate)


def _packed(clip: Tensor) -> np.ndarray:
    """(T, 3, H, W) uint8 as (T, H, W, 3)."""
    return clip.permute(0, 2, 3, 1).contiguous().numpy()


def short(row: dict, scale: int) -> dict:
    """A row with its scale, its means and its pictures' PSNR only: the rest follows from the command."""
    items = {item["name"]: round(item["psnr_y"], 3) for item in row["items"]}
    mean = {key: None if value is None else round(value, 4) for key, value in row["mean"].items()}
    return {"scale": scale, **{key: row[key] for key in ("data", "material", "model")}, "mean": mean, "psnr_y": items}


def report(figures: dict) -> str:
    """A table for each scale, set and damage, from the figures saved."""
    parts, kept = [], {key: [] for key in dict.fromkeys(_table_of(row) for row in figures["rows"])}
    for row in figures["rows"]:
        kept[_table_of(row)].append(row)
    for (scale, data, material), rows in kept.items():
        columns = {key: column for key, column in COLUMNS.items() if rows[0]["mean"].get(key) is not None}
        lines = [
            [row["model"], *(f"{row['mean'][key]:.{digits}f}" for key, (_, digits) in columns.items())] for row in rows
        ]
        heading = ["model", *(title for title, _ in columns.values())]
        kind = "clips" if "static_change" in columns else "pictures"
        parts.append(f"**{data}, x{scale}**, {material}, {len(rows[0]['psnr_y'])} {kind}\n\n{table(heading, lines)}")
    return "\n\n".join([*parts, described(figures)])


def _table_of(row: dict) -> tuple[int, str, str]:
    return row["scale"], row["data"], row["material"]


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@torch.inference_mode()
def main(data: Path) -> None:
    """Measure and write the page."""
    rows, clean = measure(data)
    for name, found, told in (("quality", rows, report), ("cleanliness", clean, cleanliness_table)):
        figures = {"machine": machine(), "seed": SEED, "rows": found}
        save(name, figures)
        print(told(figures))
        write_table(DOCUMENT, name, told(figures))


if __name__ == "__main__":
    main()
