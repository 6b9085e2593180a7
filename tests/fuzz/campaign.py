"""Many hostile files, by processes that are watched: one that dies or does not answer is replaced by the next."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.fuzz.keeping import keep

ROOT = Path(__file__).parents[2]
SECONDS = 20  # of processor time, that a file may take
_PATIENCE = 15 * SECONDS  # seconds on the clock, for waits that take no processor time
_START = 300  # seconds until a process must have begun


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A file that vsr neither took nor refused in one line."""

    number: int
    how: str  # crash, hang, memory, outside, traceback
    what: str


@dataclass(slots=True)
class Result:
    """What became of all files of a kind."""

    kind: str
    seed: int
    count: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)  # taken, refused and what findings are called
    findings: list[Finding] = field(default_factory=list)
    most_memory: int = 0  # bytes that one file took
    most_seconds: float = 0  # that one took on the clock

    def add(self, number: int, how: str, what: str) -> None:
        self.count += 1
        self.outcomes[how] = self.outcomes.get(how, 0) + 1
        if how not in ("taken", "refused"):
            self.findings.append(Finding(number=number, how=how, what=what))


def attack(kind: str, corpus: Path, work: Path, *, seed: int, count: int, first: int = 0) -> Result:
    """Try `count` files of a kind; those that are findings are kept beside `work`, in found/."""
    result, number, last = Result(kind, seed), first, first + count
    while number < last:
        number = _some(result, corpus, work, number, last)
    return result


def _some(result: Result, corpus: Path, work: Path, first: int, last: int) -> int:
    """Try files until the process ends or is ended; returns the number of the next one."""
    work.mkdir(parents=True, exist_ok=True)
    number, begun, is_open = first, time.monotonic(), False
    with _child(result, corpus, work, first, last) as (process, lines, errors):
        processor = 0.0
        while True:
            try:
                line = lines.get(timeout=1)
            except queue.Empty:
                spent = time.monotonic() - begun
                late = _processor_seconds(process.pid) - processor > SECONDS or spent > _PATIENCE
                if late if is_open else spent > _START:
                    process.kill()
                    result.add(number, "hang", f"no answer after {spent:.0f} s")
                    keep(work, f"{result.kind}-{result.seed}-{number}")
                    return number + 1
                continue
            if line is None:
                status = process.wait()
                if number >= last and not status:
                    return number
                errors.seek(0)
                result.add(number, "crash", f"status {status}: {errors.read()[-2000:].decode(errors='replace')}")
                keep(work, f"{result.kind}-{result.seed}-{number}")
                return number + 1
            told = json.loads(line)
            if "begins" in told:
                number, begun, is_open = told["begins"], time.monotonic(), True
                processor = _processor_seconds(process.pid)
                continue
            result.add(number, told["how"], told["what"])
            result.most_memory = max(result.most_memory, told["taken"])
            result.most_seconds = max(result.most_seconds, time.monotonic() - begun)
            number, is_open, begun = number + 1, False, time.monotonic()


@contextlib.contextmanager
def _child(
    result: Result, corpus: Path, work: Path, first: int, last: int
) -> Iterator[tuple["subprocess.Popen[str]", "queue.Queue[str | None]", IO[bytes]]]:
    command = [sys.executable, "-m", "tests.fuzz.child", str(corpus), str(work), result.kind]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(work), "OMP_NUM_THREADS": "1"}
    with (work / "errors").open("w+b") as errors:
        process = subprocess.Popen(
            [*command, str(result.seed), str(first), str(last)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        assert process.stdout is not None
        lines: queue.Queue[str | None] = queue.Queue()
        reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
        reader.start()
        try:
            yield process, lines, errors
        finally:
            process.kill()
            process.wait()
            reader.join()
            process.stdout.close()


def _read(stream: IO[str], lines: "queue.Queue[str | None]") -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _processor_seconds(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
