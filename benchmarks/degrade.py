"""What damage costs: each stage alone and every preset whole, on one core and through workers.

    python -m benchmarks.degrade --data FOLDER [--device cuda] [--workers 2]

FOLDER holds pictures. Writes benchmarks/results/degrade-DEVICE.json and the table of that name in docs/degradation.md.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import click
import torch
from torch import Tensor

from benchmarks.report import ROOT, described, machine, save, table, write_table
from vsr.degradation import Blur, Compression, Film, Noise, Order, Resize
from vsr.footage import is_picture
from vsr.preset import load_degradation, preset_names
from vsr.train.degrade import degrade
from vsr.train.draw import Draw, sample_generator
from vsr.train.film import print_on_film
from vsr.train.material import Still
from vsr.train.samples import Recipe, samples
from vsr.train.sharpen import sharpen

DOCUMENT = ROOT / "docs" / "degradation.md"
SIDE = 400  # of a truth, pixels: the official size
SCALE = 4
ROUNDS = 24
PLAIN = Order(
    blur=Blur(chance=0),
    resize=Resize(up=0, down=0, keep=1),
    noise=Noise(chance=0),
    compression=Compression(media={"none": 1}),
)


def stages() -> dict[str, Callable[[Tensor, Draw], object]]:
    """Each stage on one truth, with the published parameters."""
    base = replace(load_degradation("real_world"), sharpen=False, first=PLAIN, second=PLAIN)
    base = replace(base, final=replace(base.final, sinc_chance=0))
    published = load_degradation("real_world").first

    def only(**part: object) -> Callable[[Tensor, Draw], object]:
        settings = replace(base, first=replace(PLAIN, **part))
        return lambda truth, draw: degrade(truth, settings, scale=SCALE, generator=draw.generator)

    film = Film(chance=1.0)
    return {
        "the final size alone": only(),
        "+ lens": only(blur=published.blur),
        "+ detour over another size": only(resize=published.resize),
        "+ Gaussian noise": only(noise=replace(published.noise, gaussian=1.0)),
        "+ shot noise": only(noise=replace(published.noise, gaussian=0.0)),
        "+ JPEG of the whole truth": only(compression=published.compression),
        "sharpening the truth": lambda truth, _: sharpen(truth),
        "film": lambda truth, draw: print_on_film(truth, film, draw),
    }


def rate(work: Callable[[int], object], device: str) -> float:
    """Calls a second, the best of three rounds: the machine may be shared."""
    work(0)
    best = 0.0
    for turn in range(3):
        began = time.perf_counter()
        for number in range(turn * ROUNDS, (turn + 1) * ROUNDS):
            work(number)
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        best = max(best, ROUNDS / (time.perf_counter() - began))
    return best


def measure(folder: Path, device: str, workers: int) -> dict[str, object]:
    torch.set_num_threads(1)
    stills = tuple(Still(path) for path in sorted(folder.iterdir()) if is_picture(path))[:16]
    preset = load_degradation("real_world")
    recipe = Recipe(materials=stills, settings=preset, scale=SCALE, side=SIDE, seed=1)
    truth = recipe(0).truth.to(device).float() / 255
    rows: list[dict[str, object]] = []
    for name, stage in stages().items():
        found = rate(lambda n, run=stage: run(truth, Draw(sample_generator(1, n))), device)
        rows.append({"what": name, "per_s": round(found, 1)})
        print(rows[-1], flush=True)
    for name in preset_names():
        made = replace(recipe, settings=load_degradation(name))
        whole = rate(made, "cpu") if device == "cpu" else rate(lambda n, s=made: degrade_on(truth, s, n), device)
        row: dict[str, object] = {"what": f"preset {name}", "frames": made.settings.frames, "per_s": round(whole, 1)}
        if workers and device == "cpu":
            stream = samples(made, workers=workers)
            list(islice(stream, 16 * workers))  # until all have read their pictures
            began = time.perf_counter()
            failures = sum(sample.failures for sample in islice(stream, 4 * ROUNDS))
            row["with_workers_per_s"] = round(4 * ROUNDS / (time.perf_counter() - began), 1)
            row["failures"] = failures
            stream.close()
        rows.append(row)
        print(row, flush=True)
    return {"machine": machine(device), "side": SIDE, "scale": SCALE, "workers": workers, "rows": rows}


def degrade_on(truth: Tensor, recipe: Recipe, number: int) -> object:
    """One sample from a truth that lies on a device already."""
    return degrade(truth, recipe.settings, scale=recipe.scale, generator=sample_generator(1, number))


def report(figures: dict) -> str:
    """The table of the page, from the figures saved."""
    lines = [
        (
            row["what"],
            row.get("frames", 1),
            row["per_s"],
            f"{1000 / row['per_s']:.1f}",
            row.get("with_workers_per_s", ""),
            row.get("failures", ""),
        )
        for row in figures["rows"]
    ]
    header = (
        *("stage", "frames a sample", "samples/s, one core", "ms a sample"),
        *(f"samples/s, {figures['workers']} workers", "codecs that failed"),
    )
    side, small = figures["side"], figures["side"] // figures["scale"]
    return f"{table(header, lines)}\n\nTruths of {side}x{side} become {small}x{small}. {described(figures)}"


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--workers", default=2, show_default=True)
def main(data: Path, device: str, workers: int) -> None:
    """Measure what damage costs and write the page's table."""
    figures = measure(data, device, workers)
    name = f"degrade-{device.partition(':')[0]}"
    save(name, figures)
    print(report(figures))
    write_table(DOCUMENT, name, report(figures))


if __name__ == "__main__":
    main()
