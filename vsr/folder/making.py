"""The steps of one still of a folder, and what the manifest is told of each."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from vsr.disk import is_full, why_not_written
from vsr.errors import Cancelled, MediaError, VsrError
from vsr.events import FileEvent
from vsr.folder.found import Found
from vsr.folder.job import Job
from vsr.folder.manifest import Manifest, Row, State
from vsr.folder.places import Places, Taken
from vsr.picture import Page, RenderedPage
from vsr.still_output import deliver
from vsr.still_plan import StillPlan, plan_still
from vsr.stills import Network, write_sheet

log = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """Plans and delivers; every method may be called from any thread, `plan` in the order of the files."""

    job: Job
    manifest: Manifest
    places: Places

    def plan(self, found: Found) -> Work | FileEvent:
        """Read the header and find a place. Raises what `failed` takes."""
        name = ""

        def place(suffix: str) -> Path:
            nonlocal name
            name = self.places.name(found, suffix)
            return self.job.output / name

        plan = plan_still(self.job.source / found.name, None, self.job.stills.settings, place=place)
        if not self.places.may_write(name):
            return FileEvent(source=found.name, state="skipped", output=str(plan.output), reason="is there already")
        return Work(found=found, plan=plan, name=name)

    def deliver(self, work: Work, pages: Iterator[RenderedPage]) -> FileEvent:
        """Write the result and its row. Raises what `failed` takes."""
        plan, settings = work.plan, self.job.stills.settings
        try:
            plan.output.parent.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            why = why_not_written(e, f"cannot be made: {e.strerror}; choose another output with -o")
            raise MediaError(f"{plan.output.parent}: {why}") from e
        replaces = plan.output.exists()

        def record(part: Path) -> None:
            self._record(work, part, "replacing" if replaces else "done")

        deliver(plan, pages, damage=work.damage, overwrite=replaces, before_named=record)
        if replaces:
            self._record(work, plan.output, "done")
        if settings.sheet:
            write_sheet(plan)
        damage = "; ".join(work.damage)
        return FileEvent(
            source=work.found.name,
            state="failed" if damage and not settings.allow_damaged else "done",
            output=str(plan.output),
            seconds=time.monotonic() - work.began,
            reason=damage,
            notes=plan.notes,
        )

    def failed(self, found: Found, error: Exception) -> FileEvent:
        """Note that a file cannot be made. Raises `error` where no other could be: stopped, or the disk is full."""
        if isinstance(error, Cancelled) or is_full(error):
            raise error
        if isinstance(error, VsrError):
            reason = str(error).removeprefix(f"{self.job.source / found.name}: ")
        else:  # a bug or an odd library: no reason to give up the others
            log.warning("%s: unexpected error", found.name, exc_info=error)
            reason = f"unexpected {type(error).__name__}: {error}; please report this"
        if not isinstance(error, Taken):
            self._record_failure(found, reason)
        return FileEvent(source=found.name, state="failed", reason=reason)

    def _record(self, work: Work, result: Path, state: State) -> None:
        status = result.stat()
        self.manifest.record(
            Row(
                source=work.found.name,
                size=work.found.size,
                mtime_ns=work.found.mtime_ns,
                settings=self.job.stills.mark,
                state=state,
                output=work.name,
                output_size=status.st_size,
                output_mtime_ns=status.st_mtime_ns,
                seconds=round(time.monotonic() - work.began, 3),
                error="; ".join(work.damage) or None,
                notes="\n".join(work.plan.notes),
            )
        )

    def _record_failure(self, found: Found, reason: str) -> None:
        """The last result, if there is one, stays ours."""
        row = Row(
            source=found.name,
            size=found.size,
            mtime_ns=found.mtime_ns,
            settings=self.job.recipe(found).mark,
            state="failed",
            error=reason,
        )
        last = self.manifest.row(found.name)
        if last is not None:
            row = replace(row, output=last.output, output_size=last.output_size, output_mtime_ns=last.output_mtime_ns)
        self.manifest.record(row)
