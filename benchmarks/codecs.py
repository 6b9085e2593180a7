"""What damage by real encoders costs in training, how far it reaches, and whether memory stays where it was.

    python -m benchmarks.codecs --pictures FOLDER

Writes benchmarks/results/codecs-cpu.json and the table of docs/degradation.md. FOLDER holds photographs; each is
shrunk to a fourth.
"""

import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.report import ROOT, described, machine, save, table, write_table
from vsr.io.degrade_codec import CODECS, DEFAULT_QUALITIES, Encoding, through_chroma, through_video
from vsr.io.images import read_rgb
from vsr.io.planes_rgb import Clip
from vsr.metrics.fidelity import psnr_y

FRAMES, SIDES = 6, (64, 96)
PICTURES = 8
SECONDS = 3  # for each speed
WARM_UP, ENCODES, CHECK_EVERY = 120, 2000, 500


def pictures_of(folder: Path) -> list[np.ndarray]:
    """Some of the folder's pictures, evenly taken by name, shrunk to a fourth by antialiased bicubic, 8-bit RGB."""
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    shrunk = []
    for path in paths[:: max(1, len(paths) // PICTURES)][:PICTURES]:
        whole = torch.from_numpy(read_rgb(path).copy()).permute(2, 0, 1)[None].float()
        small = F.interpolate(whole, scale_factor=0.25, mode="bicubic", antialias=True)
        shrunk.append(small[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy())
    return shrunk


def moving_crops(pictures: list[np.ndarray], side: int) -> Iterator[Clip]:
    """Without end: a window that moves up to two pixels a frame over each picture in turn."""
    rng = np.random.default_rng(0)
    margin = 2 * FRAMES
    while True:
        for picture in pictures:
            down, across = rng.integers(-2, 3, 2)
            top, left = (int(rng.integers(margin, length - side - margin)) for length in picture.shape[:2])
            starts = [(top + index * down, left + index * across) for index in range(FRAMES)]
            yield np.stack([picture[row : row + side, column : column + side] for row, column in starts])


def clips_per_second(name: str | None, clips: list[Clip]) -> float:
    """Whole trips, at presets and qualities drawn evenly; without a codec, the conversion to 4:2:0 and back alone."""
    rng = np.random.default_rng(0)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        clip = clips[done % len(clips)]
        if name is None:
            through_chroma(clip, "yuv420p")
        else:
            through_video(clip, drawn(name, rng))
        done += 1
    return done / (time.perf_counter() - start)


def drawn(name: str, rng: np.random.Generator) -> Encoding:
    """Any quality of the default range, any preset."""
    low, high = DEFAULT_QUALITIES[name]
    presets = CODECS[name].presets
    preset = presets[rng.integers(len(presets))] if presets else ""
    return Encoding(encoder=name, quality=int(rng.integers(low, high + 1)), preset=preset)


def luma_psnr(name: str, quality: int, clips: list[Clip]) -> float:
    """Mean over the clips, in dB, at the default preset."""
    encoding = Encoding(encoder=name, quality=quality)
    scores = [psnr_y(*(_frames(c) for c in (through_video(clip, encoding), clip)), shave=0).mean() for clip in clips]
    return float(torch.stack(scores).mean())


def memory_of_many(clips: list[Clip]) -> dict[str, float]:
    """Resident MiB by number of encodes, by all codecs in turn, once each has run a few times and has its tables."""
    rng = np.random.default_rng(0)
    found = {}
    for index in range(-WARM_UP, ENCODES + 1):
        if index >= 0 and index % CHECK_EVERY == 0:
            found[str(index)] = _resident_mib()
        name = list(CODECS)[index % len(CODECS)]
        through_video(clips[index % len(clips)], drawn(name, rng))
    return found


def report(figures: dict) -> str:
    """The table of the docs, from the figures saved."""
    rows = []
    for row in figures["codecs"]:
        speeds = [f"{row['clips_per_second'][str(side)]:.0f}" for side in SIDES]
        ends = [f"{quality}: {psnr:.1f} dB" for quality, psnr in row["psnr_y"].items()]
        rows.append([row["codec"], *speeds, *(ends or ["", ""])])
    header = ["codec", *(f"clips a second, {FRAMES}x{side}x{side}" for side in SIDES), "mildest", "strongest"]
    memory = ", ".join(f"{mib:.0f}" for mib in figures["resident_mib"].values())
    notes = (
        f"{described(figures)} One process; the machine was shared, so speeds are a lower bound. Speeds include both "
        f"conversions, over all presets and the default range; PSNR of luma at {SIDES[0]} pixels, at its two ends. "
        f"Resident memory after {WARM_UP} encodes by all in turn, and after every {CHECK_EVERY} of {ENCODES} more: "
        f"{memory} MiB."
    )
    return f"{notes}\n\n{table(header, rows)}"


def _frames(clip: Clip) -> torch.Tensor:
    return torch.from_numpy(clip).permute(0, 3, 1, 2)


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@click.command()
@click.option("--pictures", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
def main(pictures: Path) -> None:
    """Measure, save and print."""
    torch.set_num_threads(1)
    shrunk = pictures_of(pictures)
    clips = {side: list(islice(moving_crops(shrunk, side), 2 * PICTURES)) for side in SIDES}
    rows: list[dict[str, object]] = []
    for name in (None, *CODECS):
        speeds = {str(side): clips_per_second(name, clips[side]) for side in SIDES}
        ends = {str(q): luma_psnr(name, q, clips[SIDES[0]]) for q in DEFAULT_QUALITIES[name]} if name else {}
        rows.append({"codec": name or "4:2:0 alone", "clips_per_second": speeds, "psnr_y": ends})
        print(rows[-1], flush=True)
    mixed = [clip for pair in zip(*clips.values(), strict=True) for clip in pair]
    figures = {"machine": machine(), "codecs": rows, "resident_mib": memory_of_many(mixed)}
    save("codecs-cpu", figures)
    print(report(figures))
    write_table(ROOT / "docs" / "degradation.md", "codecs-cpu", report(figures))


if __name__ == "__main__":
    main()
