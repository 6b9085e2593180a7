"""How good a weights file is: Set5, Set14 and strongly coded clips, against bicubic.

    python -m benchmarks.model_card --data DATA [--model vsr-fast-x4]

Writes benchmarks/results/NAME.json, and the table and the pictures of docs/models/NAME.md. DATA holds `images/Set5`,
`images/Set14` (each xN/HR and xN/LR), `video/`, `train/` with the pictures of held_back.txt, and `weights/` with the
official files.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import click
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.held_back import write_crops
from benchmarks.report import ROOT, load, machine, save, table, write_table
from vsr.evaluate.methods import Method, load_methods
from vsr.evaluate.report import evaluate
from vsr.evaluate.samples import Material, load_damage
from vsr.evaluate.scores import Judge
from vsr.evaluate.sets import find_sets
from vsr.evaluate.sheet import Sheet
from vsr.io.degrade_codec import Encoding, through_video
from vsr.io.images import read_rgb, write_rgb
from vsr.loading import load as load_upscaler
from vsr.metrics.fidelity import psnr_y, ssim_y
from vsr.models.checkpoint import Network, load_model
from vsr.models.store import find

DOCS = ROOT / "docs" / "models"
CLIPS = ("carphone_pristine.mp4", "bikes.mp4", "bigbuckbunny.mp4")
FRAMES = 30
CRFS = (32, 18)
SMALLEST = "vsr-fast-x4"
LARGEST = 200_000  # bytes of a sheet
HEADER = ("material", "pictures", "bicubic PSNR-Y", "model PSNR-Y", "gain", "bicubic SSIM-Y", "model SSIM-Y")


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetPlan:
    """What a network is shown on, and beside whom."""

    damage: str  # a preset
    crops: tuple[int, ...]  # of held_back.txt, from 0
    official: tuple[str, ...]


SHEETS = {
    "vsr-fast-x4": SheetPlan(damage="video", crops=(2, 9, 18, 23), official=("realesr-animevideov3",)),
    "vsr-video-x4": SheetPlan(damage="video", crops=(2, 9, 18, 23), official=("realesr-general-x4v3",)),
    "vsr-video-x2": SheetPlan(damage="video", crops=(2, 9, 18, 23), official=()),
    "vsr-anime-x4": SheetPlan(damage="anime", crops=(12, 16, 22, 23), official=("realesr-animevideov3",)),
    "vsr-photo-x4": SheetPlan(damage="real_world", crops=(1, 4, 7, 9), official=("realesr-general-x4v3",)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A small picture (1, 3, h, w) and its truth, both fp32 in [0, 1]."""

    low: Tensor
    truth: Tensor


def stills(folder: Path, scale: int) -> Iterator[Pair]:
    """The set's own pictures: MATLAB bicubic, never coded."""
    for path in sorted((folder / f"x{scale}" / "LR").iterdir()):
        low = _tensor(read_rgb(path))
        truth = _tensor(read_rgb(folder / f"x{scale}" / "HR" / path.name.replace("LR", "HR")))
        yield Pair(low=low, truth=truth[:, :, : low.shape[2] * scale, : low.shape[3] * scale])


def coded_frames(path: Path, scale: int, crf: int) -> Iterator[Pair]:
    """The clip's first frames, shrunk by antialiased bicubic and coded by x264 at medium."""
    with av.open(path) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in islice(container.decode(video=0), FRAMES)]
    step = 2 * scale  # low frames must be even
    height, width = (length // step * step for length in frames[0].shape[:2])
    truth = torch.cat([_tensor(frame[:height, :width]) for frame in frames])
    low = _rounded(F.interpolate(truth, scale_factor=1 / scale, mode="bicubic", antialias=True))
    packed = (low * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    coded = through_video(packed, Encoding(encoder="libx264", quality=crf, preset="medium"))
    for index, frame in enumerate(coded):
        yield Pair(low=_tensor(frame), truth=truth[index : index + 1])


def bicubic(low: Tensor, scale: int) -> Tensor:
    return _rounded(F.interpolate(low, scale_factor=scale, mode="bicubic", antialias=True))


def upscaled(net: Network, low: Tensor) -> Tensor:
    return _rounded(net(low))


def score(net: Network, name: str, pairs: Iterator[Pair]) -> dict[str, str | int | float]:
    """Mean PSNR-Y and SSIM-Y, the scale shaved, of bicubic and of the network in fp32, both rounded to 8 bits."""
    scores = []
    for pair in pairs:
        both = torch.cat([bicubic(pair.low, net.scale), upscaled(net, pair.low)])
        truth = pair.truth.expand_as(both)
        scores.append(torch.stack([psnr_y(both, truth, shave=net.scale), ssim_y(both, truth, shave=net.scale)]))
    (psnr_bicubic, psnr_model), (ssim_bicubic, ssim_model) = torch.stack(scores).mean(0).tolist()
    return {
        "material": name,
        "pictures": len(scores),
        "psnr_bicubic": round(psnr_bicubic, 3),
        "psnr_model": round(psnr_model, 3),
        "ssim_bicubic": round(ssim_bicubic, 4),
        "ssim_model": round(ssim_model, 4),
    }


def card_table(name: str) -> str:
    """The table of a card, from the figures saved."""
    figures = load(name)
    rows = [
        (
            row["material"],
            row["pictures"],
            f"{row['psnr_bicubic']:.2f}",
            f"{row['psnr_model']:.2f}",
            f"{row['psnr_model'] - row['psnr_bicubic']:+.2f}",
            f"{row['ssim_bicubic']:.4f}",
            f"{row['ssim_model']:.4f}",
        )
        for row in figures["rows"]
    ]
    parts = [table(HEADER, rows)]
    if cost := figures.get("cost_s"):
        ratio = cost[name] / cost[SMALLEST]
        beside = "" if name == SMALLEST else f", {ratio:.1f} times what `{SMALLEST}` takes"
        parts.append(f"A picture of 640x480 takes {cost[name]:.2f} s on this CPU{beside}.")
    hardware = ", ".join(f"{key} {value}" for key, value in figures["machine"].items())
    parts.append(f"SHA-256 of the weights `{figures['sha256'][:16]}…`. Measured on: {hardware}.")
    return "\n\n".join(parts)


def sheet(name: str, scale: int, data: Path) -> None:
    """Source, bicubic, network, an official one and truth at 100 %, of four held-back crops. At most 200 KB."""
    plan = SHEETS[name]
    official = [str(data / "weights" / f"{other}.pth") for other in plan.official]
    source = Method(name="source", run=lambda low: low.repeat_interleave(scale, 2).repeat_interleave(scale, 3))
    bicubic, *networks = load_methods(["bicubic", name, *official], scale=scale)
    path = DOCS / f"{name}.webp"
    with TemporaryDirectory() as folder:
        crops = Path(folder, "held back")
        crops.mkdir()
        write_crops(data / "train", crops)
        for crop in crops.iterdir():
            if int(crop.stem) not in plan.crops:
                crop.unlink()
        sets = find_sets([crops], scale=scale, pairs=False)
        material = Material(scale=scale, damage=load_damage(plan.damage, seed=1))
        drawn = Sheet(path, sets)
        evaluate([source, bicubic, *networks], sets, material, Judge(device=torch.device("cpu")), on_result=drawn.add)
    for quality in range(90, 40, -5):
        write_rgb(path, drawn.picture(), quality=quality)
        if path.stat().st_size <= LARGEST:
            break


def picture_s(name: str, *, repeats: int = 3) -> float:
    """Seconds that the fastest of some runs takes for a picture of 640x480, as `vsr upscale` would run the network."""
    upscaler = load_upscaler(name, device="cpu")
    picture = torch.rand(1, 3, 480, 640, generator=torch.Generator().manual_seed(0))
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        upscaler(picture)
        taken.append(time.perf_counter() - began)
    return min(taken)


def _tensor(rgb: np.ndarray) -> Tensor:
    return torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 255


def _rounded(x: Tensor) -> Tensor:
    return (x.clamp(0, 1) * 255).round() / 255


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--model", default="vsr-fast-x4", show_default=True, help="A name or a weights file.")
@torch.inference_mode()
def main(data: Path, model: str) -> None:
    """Score a weights file and write its card's table and pictures."""
    net, spec = load_model(find(model))
    tasks = {name: stills(data / "images" / name, net.scale) for name in ("Set5", "Set14")}
    for crf, clip in product(CRFS, CLIPS):
        tasks[f"{Path(clip).stem}, x264 CRF {crf}"] = coded_frames(data / "video" / clip, net.scale, crf)
    rows = []
    for name, pairs in tasks.items():
        rows.append(score(net, name, pairs))
        print(rows[-1], flush=True)
    cost = {other: round(picture_s(other), 3) for other in dict.fromkeys([spec.name, SMALLEST])}
    save(spec.name, {"model": spec.name, "sha256": spec.sha256, "machine": machine(), "rows": rows, "cost_s": cost})
    print(card_table(spec.name))
    card = DOCS / f"{spec.name}.md"
    if card.is_file():
        write_table(card, "figures", card_table(spec.name))
        sheet(spec.name, net.scale, data)


if __name__ == "__main__":
    main()
