"""How fast `vsr folder` is, as ratios within one run: against the same pictures one at a time, and against the cores.

    python -m benchmarks.folder [--small 500] [--large 20] [--finished 10000] [--only PART]

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

from benchmarks.report import ROOT, described, load, machine, save, table, write_table
from vsr.engine.tune import available_cores

NAME = "folder-cpu"
EQUAL = (240, 320)  # (height, width) of pictures that are all alike
SETS = {
    "small": "pictures of 128 to 512 px, half of them JPEG, half PNG",
    "large": "pictures of 12 MP, JPEG",
}
MODEL = "vsr-fast-x4"  # the smallest: all else weighs most beside it
COMMANDS = {"small": 8, "large": 2}  # pictures that are upscaled by a command each


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

    settings = replace(load_preset("real_world").upscale, model=MODEL, scale=Fraction(2), device="cpu")
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

    settings = replace(load_preset("real_world").upscale, model=MODEL, device="cpu")
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


def speed(folder: Path, name: str, count: int) -> dict[str, Any]:
    """Both ways on one of SETS, and the first pictures of it by a command each."""
    draw_set(folder / name, name, count)
    found: dict[str, Any] = {way: measured(way, folder / name, folder / f"{name}-{way}") for way in WAYS}
    some = sorted(path for path in (folder / name).rglob("*") if path.is_file())[: COMMANDS[name]]
    began = time.perf_counter()
    for path in some:
        words = [sys.executable, "-m", "vsr", "upscale", str(path), "--model", MODEL, "--scale", "2", "-q"]
        subprocess.run([*words, "-o", str(folder)], check=True, cwd=ROOT)
    found["command"] = (time.perf_counter() - began) / len(some)
    return found


def peaks(folder: Path) -> dict[str, float]:
    """Peak memory in MB with 20 and with 500 equal pictures."""
    found = {}
    for count in (20, 500):
        source = folder / f"equal{count}"
        source.mkdir()
        picture = draw(*EQUAL, 0)
        for k in range(count):
            picture.save(source / f"{k:04}.jpg", quality=92)
        found[str(count)] = measured("folder", source, folder / f"equal{count}-out")["peak_mb"]
    return found


def finished(folder: Path, count: int) -> float:
    """Seconds of a second run over many tiny files, from command to prompt."""
    source, output = folder / "many", folder / "many-out"
    for k in range(count):
        path = source / f"{k // 500:03}" / f"{k:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(16, 16, k).save(path)
    words = [sys.executable, "-m", "vsr", "folder", str(source), "-o", str(output), "--model", MODEL, "-q"]
    subprocess.run(words, check=True, cwd=ROOT)
    began = time.perf_counter()
    subprocess.run(words, check=True, cwd=ROOT)
    return time.perf_counter() - began


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
                f"{found['command'] * folder['pictures'] / folder['wall']:.1f}x",
                f"{one['cpu'] / one['wall'] / cores:.0%}",
                f"{folder['cpu'] / folder['wall'] / cores:.0%}",
            ]
        )
    header = [
        *(f"x2, {MODEL}", "than one at a time", "limit of that", "than a command each"),
        *("cores at work, one at a time", "as a folder"),
    ]
    small, large = figures["peaks"]["20"], figures["peaks"]["500"]
    return "\n".join(
        [
            table(header, rows),
            "",
            f"Peak memory is {large - small:+.0f} MB with 500 pictures of {EQUAL[1]}x{EQUAL[0]} against 20 of them "
            f"({large:.0f} and {small:.0f} MB). A second run over {figures['files']:,} finished files takes "
            f"{figures['finished']:.1f} s from command to prompt.",
            "",
            described(figures),
        ]
    )


@click.command()
@click.option("--small", default=500)
@click.option("--large", default=20)
@click.option("--finished", "files", default=10000)
@click.option("--only", type=click.Choice(["small", "large", "peaks", "finished"]), help="Measure this part anew.")
@click.option("--way", nargs=3, help="WAY SOURCE OUTPUT: one run, its figures as JSON.")
def main(small: int, large: int, files: int, only: str | None, way: tuple[str, str, str] | None) -> None:
    if way:
        _run(way[0], Path(way[1]), Path(way[2]))
        return
    figures: dict[str, Any] = load(NAME) if only else {"speeds": {}}
    figures |= {"machine": machine(), "cores": available_cores()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, count in (("small", small), ("large", large)):
            if only in (None, part):
                figures["speeds"][part] = speed(folder, part, count)
        if only in (None, "peaks"):
            figures["peaks"] = peaks(folder)
        if only in (None, "finished"):
            figures |= {"files": files, "finished": finished(folder, files)}
    save(NAME, figures)
    write_table(ROOT / "docs" / "folder.md", NAME, report(figures))


if __name__ == "__main__":
    main()
