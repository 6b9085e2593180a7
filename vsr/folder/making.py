"""The steps of one still of a folder that are not the network's: planned, put in its place, entered in the ledger."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from vsr.events import FileEvent
from vsr.folder.found import Found
from vsr.folder.ledger import Ledger, Result
from vsr.picture import Page, RenderedPage
from vsr.still_output import deliver
from vsr.still_plan import StillPlan, plan_still
from vsr.stills import Network, sheet_path, write_sheet


@dataclass(slots=True, kw_only=True, eq=False)
class Work:
    """One still on its way."""

    found: Found
    plan: StillPlan
    name: str  # of the result, below the output folder
    began: float = field(default_factory=time.monotonic)
    damage: list[str] = field(default_factory=list)
    cost: int = 0  # bytes of memory, about
    counted: int = 0  # source pixels that are done
    page: Page | None = None  # decoded
    network: Network | None = None

    @property
    def pixels(self) -> int:
        """Of the source, or its first page."""
        return self.plan.info.height * self.plan.info.width


def plan_work(ledger: Ledger, found: Found) -> Work | FileEvent:
    """Read the header and find a place, to be called in the order of the files. Raises what `Ledger.failed` takes."""
    job, name = ledger.job, ""

    def place(suffix: str) -> Path:
        nonlocal name
        name = ledger.places.name(found, suffix)
        return job.output / name

    plan = plan_still(job.source / found.name, None, job.stills.settings, place=place)
    if not ledger.places.may_write(name):
        return ledger.left(found, name)
    return Work(found=found, plan=plan, name=name)


def deliver_work(ledger: Ledger, work: Work, pages: Iterator[RenderedPage]) -> FileEvent:
    """Write the result; its row is on the disk before it bears its name. Raises what `Ledger.failed` takes."""
    found, plan = work.found, work.plan
    output = ledger.make_room(work.name)
    replaces = output.exists()

    def result() -> Result:
        seconds = time.monotonic() - work.began
        return Result(name=work.name, seconds=seconds, damage="; ".join(work.damage), notes=plan.notes)

    def record(part: Path) -> None:
        ledger.record(found, result(), "replacing" if replaces else "done", part)

    deliver(plan, pages, damage=work.damage, overwrite=replaces, before_named=record)
    if replaces:
        ledger.record(found, result(), "done", output)
    made = ledger.made(found, result())
    if not plan.settings.sheet:
        return made
    sheet = sheet_path(plan)
    is_anothers = os.path.lexists(ledger.job.source / sheet.relative_to(ledger.job.output))
    if is_anothers or (sheet.exists() and not replaces and not plan.settings.overwrite):
        return replace(made, notes=(*made.notes, f"no sheet: {sheet} is there already, or another picture's"))
    write_sheet(plan)
    return made
