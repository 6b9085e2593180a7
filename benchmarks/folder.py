"""How fast `vsr folder` is, as ratios within one run: against the same pictures one at a time, and against the cores.

    python -m benchmarks.folder [--small 500] [--large 20] [--finished 10000]

Every run is a process of its own, so that its memory can be told. Writes benchmarks/results/folder-cpu.json and the
tables of docs/folder.md.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from benchmarks.report import ROOT, described, machine, save, table, write_table
from vsr.engine.tune import available_cores

NAME = "folder-cpu"
SETS = {
    "small": "pictures of 128 to 512 px, half of them JPEG, half PNG",
    "large": "pictures of 12 MP, JPEG",
}


def draw(height: int, width: int, seed: int) -> Image.Image:
    """A picture with slopes, edges and grain, no two alike."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    phase = generator.uniform(0, 40, 3)
    luma = 128 + 60 * np.sin((x + phase[0]) / 23) * np.cos((y - phase[1]) / 31)
    luma[(x + y + phase[2]).astype(int) % 97 < 3] = 235
    luma += generator.normal(0, 4, (height, width)).astype(np.float32)
    rgb = np.stack([luma, luma * 0.8 + 20 * np.sin(x / 50), luma * 0.6 + 40], 2)
    return Image.fromarray(rgb.clip(0, 255).astype(np.uint8))


def draw_set(folder: Path, name: str, count: int) -> None:
    """The pictures of one of SETS, in folders of a hundred."""
    sizes = np.random.default_rng(0).integers(128, 513, (count, 2))
    for k in range(count):
        height, width = (3000, 4000) if name == "large" else sizes[k]
        path = folder / f"{k // 100}" / f"{k:05}.{'jpg' if name == 'large' or k % 2 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(height, width, k).save(path, quality=92)


def one_at_a_time(source: Path, output: Path) -> int:
    """What a loop over `vsr upscale` would do, but for loading the network once; returns how many were made."""
    from vsr.events import Event
    from vsr.preset import load_preset
    from vsr.stage import Cancel
    from vsr.still_plan import plan_still
    from vsr.stills import Network, make_still, open_network

    def ignore(_: Event) -> None:
        pass

    settings = replace(load_preset("real_world").upscale, scale=Fraction(2), device="cpu")
    network: Network | None = None
    paths = sorted(path for path in source.rglob("*") if path.is_file())
    for path in paths:
        target = output / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        plan = plan_still(path, target, settings)
        network = network or open_network(plan, tell=ignore, cancel=Cancel())
        make_still(plan, network, tell=ignore, cancel=Cancel())
    return len(paths)


def as_a_folder(source: Path, output: Path) -> int:
    """The same by `vsr folder`."""
    from vsr.folder.run import upscale_folder
    from vsr.preset import load_preset

    settings = replace(load_preset("real_world").upscale, device="cpu")
    done = upscale_folder(source, output, settings=settings)
    return done.done + done.skipped


WAYS = {"one": one_at_a_time, "folder": as_a_folder}


def measured(way: str, source: Path, output: Path) -> dict[str, float]:
    """Wall and processor seconds and peak memory of one way, in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.folder", "--way", way, str(source), str(output)]
    began = time.perf_counter()
    told = subprocess.run(words, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    return {**json.loads(told.splitlines()[-1]), "process": time.perf_counter() - began}


def _run(way: str, source: Path, output: Path) -> None:
    output.mkdir(exist_ok=True)
    began, busy = time.perf_counter(), time.process_time()
    count = WAYS[way](source, output)
    figures = {
        "pictures": count,
        "wall": time.perf_counter() - began,
        "cpu": time.process_time() - busy,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    click.echo(json.dumps(figures))


def speeds(folder: Path, counts: Mapping[str, int]) -> dict[str, Any]:
    """Both ways on each set, in turns."""
    found = {}
    for name, count in counts.items():
        draw_set(folder / name, name, count)
        found[name] = {way: measured(way, folder / name, folder / f"{name}-{way}") for way in WAYS}
    return found


def peaks(folder: Path) -> dict[str, float]:
    """Peak memory in MB with 20 and with 500 equal pictures."""
    found = {}
    for count in (20, 500):
        source = folder / f"equal{count}"
        source.mkdir()
        picture = draw(384, 512, 0)
        for k in range(count):
            picture.save(source / f"{k:04}.jpg", quality=92)
        found[str(count)] = measured("folder", source, folder / f"equal{count}-out")["peak_mb"]
    return found


def finished(folder: Path, count: int) -> dict[str, float]:
    """Seconds of a first and a second run over many tiny files, from command to prompt."""
    source, output = folder / "many", folder / "many-out"
    for k in range(count):
        path = source / f"{k // 500:03}" / f"{k:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(16, 16, k).save(path)
    return {way: measured("folder", source, output)["process"] for way in ("first", "second")}


def report(figures: Mapping[str, Any]) -> str:
    """The tables of docs/folder.md."""
    cores = figures["cores"]
    rows = []
    for name, found in figures["speeds"].items():
        one, folder = found["one"], found["folder"]
        rows.append(
            [
                f"{one['pictures']} {SETS[name]}",
                f"{one['wall'] / folder['wall']:.2f}x",
                f"{one['wall'] * cores / one['cpu']:.2f}x",
                f"{one['wall'] * cores / folder['cpu']:.2f}x",
                f"{one['cpu'] / one['wall'] / cores:.0%}, {folder['cpu'] / folder['wall'] / cores:.0%}",
            ]
        )
    header = ["x2, embedded network", "faster", "limit", "limit of what it computes", "cores at work"]
    small, large = figures["peaks"]["20"], figures["peaks"]["500"]
    seconds = figures["finished"]
    return "\n".join(
        [
            table(header, rows),
            "",
            f"Peak memory is {large - small:+.0f} MB with 500 pictures of 512x384 against 20 of them "
            f"({large:.0f} and {small:.0f} MB). A second run over {figures['files']:,} finished files takes "
            f"{seconds['second']:.1f} s from command to prompt; the first took {seconds['first']:.0f} s.",
            "",
            described(figures),
        ]
    )


@click.command()
@click.option("--small", default=500)
@click.option("--large", default=20)
@click.option("--finished", "files", default=10000)
@click.option("--way", nargs=3, help="WAY SOURCE OUTPUT: one run, its figures as JSON.")
def main(small: int, large: int, files: int, way: tuple[str, str, str] | None) -> None:
    if way:
        _run(way[0], Path(way[1]), Path(way[2]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = {
            "machine": machine(),
            "cores": available_cores(),
            "speeds": speeds(folder, {"small": small, "large": large}),
            "peaks": peaks(folder),
            "files": files,
            "finished": finished(folder, files),
        }
    save(NAME, figures)
    write_table(ROOT / "docs" / "folder.md", NAME, report(figures))


if __name__ == "__main__":
    main()
