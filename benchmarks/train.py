"""What training costs by preset and stage: the making of data alone, the whole step, the wait for data, memory.

    python -m benchmarks.train --data FOLDER [--vgg FILE] [--device cuda] [--workers 2] [--preset NAME]...

Writes benchmarks/results/train-DEVICE.json and the table of that name in docs/training.md; with --preset, it only
prints. Linux only, for memory is read from /proc.
"""

import itertools
import multiprocessing
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import click
import torch
from torch import Tensor

from benchmarks.report import ROOT, described, machine, save, table, write_table
from vsr.preset import load_preset, preset_names
from vsr.train.ahead import BatchesAhead
from vsr.train.material import Material, Pair, stored
from vsr.train.prepare import Order, Plan, new_generator, prepare, type_of
from vsr.train.schedule import Lengths
from vsr.train.stage_parts import new_learner, new_pool
from vsr.train.start import read_settings
from vsr.train.team import Team
from vsr.training import Training

DOCUMENT = ROOT / "docs" / "training.md"
ROUNDS = 3
ROUND_S = 2.0  # at least
ROUND_STEPS = 4  # at least, for those of large networks take seconds and vary
REST_S = 2.0  # until workers have made the few samples they make ahead, and take no more time
# A step is to take seconds on a small machine, not minutes; how many images a second it sees hardly depends on these.
SMALLER_BATCHES = {"real_world": 1, "anime": 2, "esrgan": 2, "film": 4, "finetune": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One preset to measure."""

    preset: str
    data: tuple[Path, ...]
    vgg: Path | None
    device: str
    workers: int


def trained_presets() -> list[str]:
    """Presets that say how to train."""
    return [name for name in preset_names() if load_preset(name).train is not None]


def measure(task: Task) -> dict[str, object]:
    """All figures of one preset. To be called in a process of its own, for the peak of memory is the process's."""
    order = Order(data=task.data, vgg=task.vgg, device=task.device)
    training, degradation = read_settings(task.preset, [f"data.workers={task.workers}"])
    # Of a run's folder only its disk is looked at.
    plan = prepare(_with_smaller_batches(training, task), degradation, order, team=Team(), out=Path("runs"))
    torch.set_num_threads(plan.threads)
    materials, store = stored(plan.materials)
    rows = [row for indices in _of_one_pool(plan.training) for row in _measure_stages(task, plan, materials, indices)]
    return {
        "threads": plan.threads,
        "files": len(materials),
        "perceptual": "" if plan.perceptual is None else plan.perceptual.name,
        "shared_mb": store.bytes >> 20,
        "rows": rows,
    }


def _with_smaller_batches(training: Training, task: Task) -> Training:
    if task.device != "cpu" or task.preset not in SMALLER_BATCHES:
        return training
    batch = SMALLER_BATCHES[task.preset]
    return replace(training, stages=tuple(replace(stage, batch=batch, accumulate=1) for stage in training.stages))


def _of_one_pool(training: Training) -> list[list[int]]:
    """Numbers of the stages, those together that follow one another and see the same data: a pool is slow to fill."""

    def data_of(index: int) -> tuple[object, ...]:
        stage = training.stages[index]
        return stage.batch, stage.crop, stage.degrade

    return [list(group) for _, group in itertools.groupby(range(len(training.stages)), key=data_of)]


def _measure_stages(
    task: Task, plan: Plan, materials: tuple[Material | Pair, ...], indices: list[int]
) -> Iterator[dict[str, object]]:
    with new_pool(plan, indices[0], materials, Team()) as pool:
        batches = _batches(pool)
        next(batches)
        data = best_rate(lambda: next(batches), plan.training.stages[indices[0]].batch, plan.device)
        for index in indices:
            row = {**_measure_stage(task, plan, index, batches), "data_per_s": round(data, 1), **_memory()}
            print(row, flush=True)
            yield row


def _measure_stage(task: Task, plan: Plan, index: int, batches: Iterator[tuple[Tensor, Tensor]]) -> dict[str, object]:
    """Speeds in the middle of the stage, when all that warms up or unfreezes takes part."""
    stage = plan.training.stages[index]
    lengths = Lengths.of(stage, files=len(plan.materials))
    on_device = plan.device.type == "cuda"
    if on_device:
        torch.cuda.reset_peak_memory_stats(plan.device)
    learner, _ = new_learner(plan, index, new_generator(plan.training)[0], lengths, Team())
    steps = itertools.count(lengths.stage // 2)

    def step(batch: tuple[Tensor, Tensor]) -> None:
        if learner.step(next(steps), *batch) is None:
            raise RuntimeError(f"{task.preset}, {stage.name}: a step was skipped, its loss is not finite")

    held = next(batches)
    time.sleep(REST_S)
    cached = best_rate(lambda: step(held), stage.batch, plan.device)
    whole = best_rate(lambda: step(next(batches)), stage.batch, plan.device)
    row: dict[str, object] = {
        "preset": task.preset,
        "stage": stage.name,
        "parameters": sum(p.numel() for p in learner.net.parameters()),
        "type": str(type_of(stage.precision, plan)).removeprefix("torch."),
        "crop": stage.crop or plan.training.data.crop,
        "batch": stage.batch,
        "cached_per_s": round(cached, 2),
        "whole_per_s": round(whole, 2),
        "waiting": round(max(0.0, 1 - whole / cached), 3),
    }
    if on_device:
        row["device_mb"] = torch.cuda.max_memory_allocated(plan.device) >> 20
    return row


def _memory() -> dict[str, object]:
    """Peaks in MB of this process and of the largest that makes samples, less what they share."""
    own, *others = (
        _memory_mb(pid, "VmHWM") - _memory_mb(pid, "RssShmem")
        for pid in ("self", *(str(child.pid) for child in multiprocessing.active_children()))
    )
    return {"main_mb": own, "worker_mb": max(others, default=0)}


def _batches(pool: BatchesAhead) -> Iterator[tuple[Tensor, Tensor]]:
    """One after the other; the first one fills the pool."""
    return (pool.batch_at(step) for step in itertools.count())


def best_rate(work: Callable[[], object], images: int, device: torch.device) -> float:
    """Images a second, `images` a call, the best of some rounds after one more: the machine may be shared."""
    return images * max([_calls_per_second(work, device) for _ in range(ROUNDS + 1)][1:])


def _calls_per_second(work: Callable[[], object], device: torch.device) -> float:
    began, calls = time.perf_counter(), 0
    while calls < ROUND_STEPS or time.perf_counter() - began < ROUND_S:
        work()
        calls += 1
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return calls / (time.perf_counter() - began)


def _memory_mb(process: str, field: str) -> int:
    """A line of a process's status. VmHWM is the peak; unlike ru_maxrss it knows nothing of the parent's."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(encoding="ascii"))
    return int(found[1]) >> 10 if found else 0


def report(figures: dict) -> str:
    """The table of the page, from the figures saved."""
    rows = figures["rows"]
    lines = [
        (
            f"{row['preset']} {row['stage']}",
            f"{row['parameters'] / 1e6:.2f} M",
            row["type"],
            row["crop"],
            row["batch"],
            *(_three_digits(row[name]) for name in ("data_per_s", "cached_per_s", "whole_per_s")),
            f"{100 * row['waiting']:.0f} %",
            row["main_mb"],
            row["worker_mb"],
            *([row["device_mb"]] if "device_mb" in row else []),
        )
        for row in rows
    ]
    header = (
        *("preset, stage", "network", "type", "crop", "batch", "data alone", "step, cached data", "step, real data"),
        *("device waits", "memory", "of a worker"),
        *(["on the device"] if "device_mb" in rows[0] else []),
    )
    notes = (
        f"Speeds are images a second, the best of {ROUNDS} rounds. The device waits: what a step loses to one that "
        f"sees the same batch again and again. Memory is the peak in MB, besides the decoded pictures, up to "
        f"{figures['shared_mb']} MB, which all processes share. Pictures: up to {figures['files']}; processes that "
        f"make samples: {figures['workers']}; threads that compute: {figures['threads']}; perceptual loss: "
        f"{figures['perceptual']}."
    )
    return f"{table(header, lines)}\n\n{notes} {described(figures)}"


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), multiple=True, required=True)
@click.option("--vgg", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--device", default="cpu", show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--preset", "presets", multiple=True, metavar="NAME|FILE", help="Only these; nothing is written.")
def main(data: tuple[Path, ...], vgg: Path | None, device: str, workers: int, presets: tuple[str, ...]) -> None:
    """Measure what training costs and write the page's table."""
    spawn, found = multiprocessing.get_context("spawn"), []
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as executor:
        for name in presets or trained_presets():
            task = Task(preset=name, data=data, vgg=vgg, device=device, workers=workers)
            found.append(executor.submit(measure, task).result())
    figures: dict = {
        "machine": machine(device),
        "workers": workers,
        **{name: max(one[name] for one in found) for name in ("threads", "files", "perceptual", "shared_mb")},
        "rows": [row for one in found for row in one["rows"]],
    }
    print(report(figures))
    if not presets:
        name = f"train-{device.partition(':')[0]}"
        save(name, figures)
        write_table(DOCUMENT, name, report(figures))


if __name__ == "__main__":
    main()
