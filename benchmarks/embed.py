"""Put a trained network into the package: as fp16, under its name, with what it was trained on.

    python -m benchmarks.embed runs/video-x4/model.safetensors --name vsr-video-x4 --pictures 475
    python -m benchmarks.embed runs/anime-x4/model.safetensors --mean-with runs/video/model.safetensors ...

The mean of a network and what it was begun from keeps most of what either knows (Wortsman et al. 2022, WiSE-FT).
"""

from dataclasses import replace
from pathlib import Path

import click
import torch

from benchmarks.report import ROOT
from vsr.models.checkpoint import load_model, save_model
from vsr.models.mix import Part, mixed

WEIGHTS = ROOT / "vsr" / "models" / "weights"
SOURCES = (
    "CLIC 2025 and wallpapers (Unsplash, NASA, LGPL, CC-BY-SA), CID22 (CC-BY-SA-4.0), Free Gophers (CC0), "
    "Climate Frogs (CC-BY-SA-4.0), Pepper&Carrot (CC-BY-4.0), Ren'Py (MIT), KDE and Pop!_OS art (CC-BY-SA, LGPL), "
    "a visual novel's art (CC-BY-SA-4.0)"
)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--name", required=True, help="As it will be known.")
@click.option("--pictures", required=True, type=int, help="How many were trained on.")
@click.option("--mean-with", type=_FILE, help="Take the mean of these weights and FILE's.")
def main(file: Path, name: str, pictures: int, mean_with: Path | None) -> None:
    """Write vsr/models/weights/NAME.safetensors and say how large it is."""
    files = [file] if mean_with is None else [file, mean_with]
    loaded = [load_model(one) for one in files]
    net, _ = mixed([Part(net=net, spec=spec, share=1 / len(files)) for net, spec in loaded])
    spec = replace(loaded[0][1], name=name, licence="MIT", trained_on=f"{pictures} pictures: {SOURCES}")
    path = WEIGHTS / f"{name}.safetensors"
    save_model(net, spec, path, dtype=torch.float16)
    print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
