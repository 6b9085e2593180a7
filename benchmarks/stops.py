"""How soon a run ends after Ctrl-C or SIGTERM, that nothing is lost by it, and what share of a run its check takes.

    python -m benchmarks.stops

Writes benchmarks/results/stops.json, its lines of the table of docs/reliability.md and a line there on the check. Runs
that are stopped are the command itself.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import numpy as np
import torch

import vsr
from benchmarks.reliability import Row, save_rows
from benchmarks.report import ROOT, described, load, write_table
from tests.kills import contents
from vsr import finish
from vsr.settings import UpscaleSettings

SAMPLE = ROOT / "examples" / "sample.mp4"  # 320x180
_SIZE = (180, 320)
_OPTIONS = ["--device", "cpu", "--segment", "0.5", "--end", "2", "--json"]
_FRAMES = 50
_STOPS = 3  # of each signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """One run that was sent a signal, once or twice."""

    signal: str
    times: int
    moment: int  # frames told by then
    status: int
    seconds: float  # from the (last) signal to the end of the process
    kept: int  # frames that the run after it did not compute again
    is_equal: bool  # its result and an undisturbed run's


class Stopper:
    """Stops runs of the sample clip."""

    def __init__(self, folder: Path, model: str) -> None:
        self._output = folder / "out.mp4"
        self._command = [sys.executable, "-m", "vsr", "upscale", str(SAMPLE), "-o", str(self._output), "--model", model]
        self._command += _OPTIONS
        self._environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
        self._run_to_end()
        self._whole = contents(self._output)

    def stop(self, number: signal.Signals, times: int, draw: random.Random) -> Stop:
        """Send a run the signal at a random frame, run the command again, and compare."""
        self._output.unlink()
        moment = draw.randrange(1, _FRAMES - 2)
        process = self._start()
        assert process.stdout is not None
        told = {"event": "", "frames": 0}
        while told["event"] != "progress" or told["frames"] < moment:
            told = json.loads(process.stdout.readline())
        if times == 2:
            process.send_signal(number)
            while told["event"] != "note":
                told = json.loads(process.stdout.readline())
        began = time.perf_counter()
        process.send_signal(number)
        process.communicate()
        seconds = time.perf_counter() - began
        if self._output.exists():
            raise RuntimeError("a run was stopped, and its output bears its name")
        return Stop(
            signal=number.name,
            times=times,
            moment=moment,
            status=process.returncode,
            seconds=round(seconds, 3),
            kept=self._run_to_end(),
            is_equal=contents(self._output) == self._whole,
        )

    def _start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self._command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def _run_to_end(self) -> int:
        """How many frames an earlier run had done."""
        out, _ = self._start().communicate()
        done = json.loads(out.splitlines()[-1])
        if done["event"] != "done":
            raise RuntimeError(done)
        return done["resumed_frames"]


def seconds_a_tile(model: str) -> float:
    """How long the network takes for one tile, here a whole frame, on one core."""
    torch.set_num_threads(1)
    upscaler = vsr.load(model, device="cpu")
    picture = np.zeros((*_SIZE, 3), np.uint8)
    upscaler(picture)
    began = time.perf_counter()
    upscaler(picture)
    return time.perf_counter() - began


def share_of_the_check(folder: Path, model: str) -> dict[str, float]:
    """Seconds of a whole run, and of its check: the file read back, and pictures compared."""
    spent = {"check_output": 0.0, "check_pictures": 0.0}

    def timed(name: str):
        real = getattr(finish, name)

        def measured(*args, **more):
            began = time.perf_counter()
            try:
                return real(*args, **more)
            finally:
                spent[name] += time.perf_counter() - began

        return patch.object(finish, name, measured)

    settings = UpscaleSettings(model=model, device="cpu", overwrite=True)
    with timed("check_output"), timed("check_pictures"):
        done = vsr.upscale_video(SAMPLE, folder / "checked.mp4", settings=settings)
    return {"run": round(done.seconds, 3), **{name: round(value, 4) for name, value in spent.items()}}


def rows_of(stops: Sequence[Stop], tile: float) -> list[Row]:
    """A line for each signal, once and twice."""
    rows = []
    for name, times in dict.fromkeys((stop.signal, stop.times) for stop in stops):
        ours = [stop for stop in stops if (stop.signal, stop.times) == (name, times)]
        differ = sum(not stop.is_equal for stop in ours)
        lost = f"{differ} results differ" if differ else "nothing: each result is the undisturbed run's"
        latest, statuses = max(stop.seconds for stop in ours), sorted({stop.status for stop in ours})
        rows.append(
            Row(
                injected=f"{name} {'once' if times == 1 else 'twice'}",
                times=len(ours),
                lost=f"{lost}; over after {latest:.2f} s at most (a tile takes {tile:.2f} s), status {statuses[0]}",
            )
        )
    return rows


@click.command()
@click.option("--model", default="vsr-fast-x4", help="Network to run.")
@click.option("--seed", default=1, help="Of the moments.")
def main(model: str, seed: int) -> None:
    """Stop, save and write the table."""
    draw, stops = random.Random(seed), []
    with tempfile.TemporaryDirectory() as folder:
        stopper = Stopper(Path(folder), model)
        for times, count in ((1, _STOPS), (2, 1)):
            for number in (signal.SIGINT, signal.SIGTERM):
                for _ in range(count):
                    stops.append(stopper.stop(number, times, draw))
                    print(stops[-1], flush=True)
        check = share_of_the_check(Path(folder), model)
    tile = seconds_a_tile(model)
    figures = {"model": model, "seed": seed, "tile_s": round(tile, 3), "check_s": check}
    save_rows("stops", rows_of(stops, tile), **figures, stops=[asdict(stop) for stop in stops])
    write_table(ROOT / "docs" / "reliability.md", "stops", report(load("stops")))
    print(report(load("stops")))


def report(figures: Mapping[str, Any]) -> str:
    """What the check costs, for docs/reliability.md."""
    spent = figures["check_s"]
    check = spent["check_output"] + spent["check_pictures"]
    took = f"{check:.2f} s of a run's {spent['run']:.1f} s, {check / spent['run']:.1%}"
    return f"The check took {took} (sample clip, 100 frames, x4, {figures['model']}). {described(figures)}"


if __name__ == "__main__":
    main()
