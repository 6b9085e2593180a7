"""Which pictures of the training folder are only measured on, and the list of the others.

    python -m benchmarks.held_back --data DATA/train --out train.txt

`vsr train --data train.txt` is how the networks inside the package are trained.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import click
from PIL import Image

from benchmarks.report import ROOT
from vsr.footage import PICTURE_SUFFIXES

NAMES = ROOT / "benchmarks" / "held_back.txt"
SIZE = 256  # pixels of a crop, each way
_LINE = re.compile(r"(?P<name>\S+)(?: (?P<x>\d+) (?P<y>\d+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """One picture that is not trained on; with a crop, it is measured on."""

    name: str  # relative to the training folder
    crop: tuple[int, int] | None  # (x, y) of its upper left corner


def held_back() -> list[HeldBack]:
    """The list, in its order."""
    found = []
    for line in NAMES.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"{NAMES}: {line!r}: must be a name, or a name and two numbers")
        crop = None if match["x"] is None else (int(match["x"]), int(match["y"]))
        found.append(HeldBack(name=match["name"], crop=crop))
    return found


def write_crops(train: Path, folder: Path) -> None:
    """The crops to measure on as PNG, numbered in the list's order."""
    for number, picture in enumerate(one for one in held_back() if one.crop is not None):
        x, y = picture.crop or (0, 0)
        with Image.open(train / picture.name) as opened:
            opened.convert("RGB").crop((x, y, x + SIZE, y + SIZE)).save(folder / f"{number:02d}.png")


def trained_on(train: Path) -> list[Path]:
    """Every picture under the training folder that is not held back, by name.

    FileNotFoundError: one that is held back is missing.
    """
    kept_out = {train / one.name for one in held_back()}
    missing = sorted(str(path) for path in kept_out if not path.is_file())
    if missing:
        raise FileNotFoundError(
            f"{missing[0]}: held back, but not there; is {train} the folder of train/photo and art?"
        )
    return sorted(p for p in train.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES and p not in kept_out)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True)
def main(data: Path, out: Path) -> None:
    """Write the list for `vsr train --data`."""
    found = trained_on(data.resolve())
    out.write_text("".join(f"{path}\n" for path in found), encoding="utf-8")
    print(f"{out}: {len(found)} pictures; {len(held_back())} held back")


if __name__ == "__main__":
    main()
