"""How much context a tile of an RRDB network needs: the largest difference between tiled and whole, in codes of 255.

    python -m benchmarks.overlap --model FILE [--model FILE] --clip CLIP [--clip CLIP]

Writes benchmarks/results/overlap.json and the table of docs/performance.md. Run on a frame of each clip.
"""

from pathlib import Path

import av
import click
import numpy as np
import torch
from av.video.frame import VideoFrame
from torch import Tensor

from benchmarks.report import ROOT, described, machine, save, table, write_table
from vsr.engine.upscaler import Upscaler
from vsr.models.checkpoint import load_model
from vsr.models.store import find

OVERLAPS = (0, 2, 4, 8, 16, 32)
SIDE = 128  # pixels of the crop; the tile keeps 32 of its own


def crop_of(clip: Path) -> Tensor:
    """The middle of the ninth frame, (1, 3, SIDE, SIDE) in [0, 1]."""
    with av.open(str(clip)) as file:
        for number, frame in enumerate(file.decode(video=0)):
            if number == 8:
                assert isinstance(frame, VideoFrame)
                rgb = frame.to_ndarray(format="rgb24")
                top, left = max(0, rgb.shape[0] - SIDE) // 2, max(0, rgb.shape[1] - SIDE) // 2
                part = rgb[top : top + SIDE, left : left + SIDE].astype(np.float32) / 255
                return torch.from_numpy(part).permute(2, 0, 1)[None]
    raise click.BadParameter(f"{clip} has fewer than nine frames")


@click.command()
@click.option("--model", "models", multiple=True, required=True)
@click.option("--clip", "clips", multiple=True, required=True, type=click.Path(path_type=Path, exists=True))
def main(models: tuple[str, ...], clips: tuple[Path, ...]) -> None:
    """Measure, print, save and write the table."""
    torch.set_num_threads(1)  # pictures this small gain nothing from more
    crops = [crop_of(clip) for clip in clips]
    rows = []
    for model in models:
        net, spec = load_model(find(model))
        whole = [Upscaler(net, spec)(crop) for crop in crops]
        worst = {}
        for overlap in OVERLAPS:
            upscaler = Upscaler(net, spec, tile=32 + 2 * overlap, overlap=overlap)
            pairs = zip(crops, whole, strict=True)
            worst[str(overlap)] = 255 * max(float((upscaler(crop) - full).abs().max()) for crop, full in pairs)
        rows.append({"model": Path(model).stem, "blocks": spec.depth, "reach": spec.reach, "codes": worst})
    figures = {"machine": machine(), "clips": [clip.name for clip in clips], "models": rows}
    save("overlap", figures)
    write_table(ROOT / "docs" / "performance.md", "overlap", report(figures))
    print(report(figures))


def report(figures: dict) -> str:
    """The table of docs/performance.md."""
    rows = [
        [row["model"], row["blocks"], row["reach"], *(f"{row['codes'][str(o)]:.2f}" for o in OVERLAPS)]
        for row in figures["models"]
    ]
    header = ["model", "blocks", "reach", *(f"{o} px" for o in OVERLAPS)]
    return f"{described(figures)} Clips: {', '.join(figures['clips'])}.\n\n{table(header, rows)}"


if __name__ == "__main__":
    main()
