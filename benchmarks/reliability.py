"""The table of docs/reliability.md: what was injected, how often, what was lost, and by which command.

    python -m benchmarks.reliability

Writes it from what the scripts in SCRIPTS have saved, as each of them does when it is done.
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from benchmarks.report import RESULTS, ROOT, described, load, machine, save, table, write_table

SCRIPTS = ("kills", "stops", "faults", "fuzz", "long_run")  # names of results, in the order of the table


class Row(TypedDict):
    """A line of the table."""

    injected: str
    times: int
    lost: str


def save_rows(name: str, rows: Sequence[Row], **figures: object) -> None:
    """Save what a script of that name found, and write the table anew. `figures` are kept beside the rows."""
    command = f"python -m benchmarks.{name}"
    save(name, {"command": command, "machine": machine(), **figures, "rows": rows})
    write_table(ROOT / "docs" / "reliability.md", "reliability", report())


def report() -> str:
    """The table, of all that is saved."""
    found = [load(name) for name in SCRIPTS if (RESULTS / f"{name}.json").is_file()]
    rows = [(row["injected"], row["times"], row["lost"], f"`{one['command']}`") for one in found for row in one["rows"]]
    return f"{table(('injected', 'times', 'lost', 'by'), rows)}\n\n{_machines(found)}"


def _machines(found: Sequence[Mapping[str, object]]) -> str:
    """The lines beside the table, one for each machine."""
    return "\n\n".join(dict.fromkeys(described(one) for one in found))


if __name__ == "__main__":
    write_table(ROOT / "docs" / "reliability.md", "reliability", report())
    print(report())
