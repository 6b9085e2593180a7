"""What every benchmark ends with: the machine it ran on, its figures as JSON, its table in the docs."""

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import torch

from vsr import __version__
from vsr.engine.tune import available_cores

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def machine(device: str = "cpu") -> dict[str, str]:
    """Hardware and versions, for the line beside every table."""
    found = {"cpu": f"{_cpu_name()}, {available_cores()} cores"}
    if device.startswith("cuda"):
        found["gpu"] = torch.cuda.get_device_name(device)
    versions = {"vsr": __version__, "torch": torch.__version__, "PyAV": av.__version__}
    return {**found, **versions, "Python": platform.python_version()}


def described(figures: Mapping[str, Any]) -> str:
    """The line beside a table: where its figures were measured."""
    found = figures["machine"]
    return f"Measured on: {', '.join(v if k in ('cpu', 'gpu') else f'{k} {v}' for k, v in found.items())}."


def save(name: str, figures: Mapping[str, object]) -> Path:
    """Write figures to benchmarks/results/NAME.json."""
    path = RESULTS / f"{name}.json"
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return path


def load(name: str) -> dict:
    """Read back what `save` wrote."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def replace_between(text: str, name: str, body: str) -> str:
    """`text` with what stands between `<!-- NAME -->` and `<!-- /NAME -->` exchanged for `body`."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"no {start} … {end} in the text")
    return f"{before}{start}\n{body}\n{end}{after}"


def write_table(document: Path, name: str, body: str) -> None:
    """Put `body` into a document of the docs, between its markers."""
    text = document.read_text(encoding="utf-8")
    document.write_text(replace_between(text, name, body), encoding="utf-8")


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
