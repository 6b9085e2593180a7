"""What the manifest and the user are told of each file: what became of it, and why."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vsr.disk import is_full, why_not_written
from vsr.errors import Cancelled, MediaError, VsrError
from vsr.events import FileEvent
from vsr.folder.found import Found
from vsr.folder.job import Job
from vsr.folder.manifest import Manifest, Row, State
from vsr.folder.places import Places, Taken

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one file, or is about to."""

    name: str  # below the output folder
    seconds: float = 0
    damage: str = ""
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Its methods may be called from any thread."""

    job: Job
    manifest: Manifest
    places: Places

    def make_room(self, name: str) -> Path:
        """The path of a result whose folder is there. Raises MediaError when it cannot be made."""
        path = self.job.output / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            why = why_not_written(e, f"cannot be made: {e.strerror}; choose another output with -o")
            raise MediaError(f"{path.parent}: {why}") from e
        return path

    def record(self, found: Found, result: Result, state: State, written: Path | None) -> None:
        """Put the file's row in the place of its last one; `written` is where the result lies now, if it does."""
        status = None if written is None else written.stat()
        self.manifest.record(
            replace(
                self._row(found, state),
                output=result.name,
                output_size=None if status is None else status.st_size,
                output_mtime_ns=None if status is None else status.st_mtime_ns,
                seconds=round(result.seconds, 3),
                error=result.damage or None,
                notes="\n".join(result.notes),
            )
        )

    def made(self, found: Found, result: Result) -> FileEvent:
        """Tell of a result that bears its name; one of a damaged source counts as failed, unless that is allowed."""
        is_failed = result.damage and not self.job.recipe(found).settings.allow_damaged
        return FileEvent(
            source=found.name,
            state="failed" if is_failed else "done",
            output=str(self.job.output / result.name),
            seconds=result.seconds,
            reason=result.damage,
            notes=tuple(result.notes),
        )

    def left(self, found: Found, name: str) -> FileEvent:
        """Tell of a file whose place is taken and to be left so."""
        output = str(self.job.output / name)
        return FileEvent(source=found.name, state="skipped", output=output, reason="is there already")

    def failed(self, found: Found, error: Exception) -> FileEvent:
        """Record and tell that a file cannot be made; its last result, if there is one, stays ours.

        Raises `error` where no other file could be made: stopped, or the disk is full.
        """
        if isinstance(error, Cancelled) or is_full(error):
            raise error
        if isinstance(error, VsrError):
            reason = str(error).removeprefix(f"{self.job.source / found.name}: ")
        else:  # a bug or an odd library: no reason to give up the others
            log.warning("%s: unexpected error", found.name, exc_info=error)
            reason = f"unexpected {type(error).__name__}: {error}; please report this"
        if not isinstance(error, Taken):
            row = replace(self._row(found, "failed"), error=reason)
            last = self.manifest.row(found.name)
            if last is not None:
                known = {"output_size": last.output_size, "output_mtime_ns": last.output_mtime_ns}
                row = replace(row, output=last.output, **known)
            self.manifest.record(row)
        return FileEvent(source=found.name, state="failed", reason=reason)

    def _row(self, found: Found, state: State) -> Row:
        settings = self.job.recipe(found).mark
        return Row(source=found.name, size=found.size, mtime_ns=found.mtime_ns, settings=settings, state=state)
