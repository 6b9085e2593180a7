"""The whole flow of one folder: find, decide, make, remember. No network is loaded when there is nothing to make."""

import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vsr.disk import why_not_written
from vsr.errors import Cancelled, MediaError
from vsr.events import FileEvent, FolderDoneEvent, FolderEvent, Tell
from vsr.folder.found import Found
from vsr.folder.job import Job, make_job
from vsr.folder.manifest import Manifest
from vsr.folder.places import Places
from vsr.folder.scan import Patterns, Scan
from vsr.preset import load_preset
from vsr.settings import UpscaleSettings
from vsr.stage import Cancel

log = logging.getLogger(__name__)


def upscale_folder(
    source: str | Path,
    output: str | Path | None = None,
    *,
    preset: str = "real_world",
    settings: UpscaleSettings | None = None,
    clips: UpscaleSettings | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    skip_existing: bool = False,
    retry_failed: bool = False,
    on_event: Tell | None = None,
    cancel: Cancel | None = None,
) -> FolderDoneEvent:
    """Upscale all stills below a folder into a tree like it, x2 where the settings do not say otherwise.

    `output` None writes beside the source: photos_x2. `settings` go before `preset`. Clips are left alone unless
    `clips` says how to make them. A file whose row in the manifest has the same settings, and whose result is there, is
    skipped; one that failed is tried again only with `retry_failed`, or when it has changed. `include` and `exclude`
    are shell patterns, see `Patterns`. `on_event` is called in this thread; setting `cancel` from another stops it.
    A file that cannot be made is told as a FileEvent and counted, and the others go on. Raises VsrError with one line
    for the user where the run as a whole cannot go on; Cancelled when stopped.
    """
    began = time.monotonic()
    tell = on_event or (lambda event: log.debug("%s", event))
    cancel = cancel or Cancel()
    job = make_job(
        Path(source),
        None if output is None else Path(output),
        stills=load_preset(preset).upscale if settings is None else settings,
        clips=clips,
        patterns=Patterns(include=include, exclude=exclude),
        skip_existing=skip_existing,
        retry_failed=retry_failed,
        tell=tell,
        cancel=cancel,
    )
    tally = _Tally(tell)
    with _opened(job) as manifest:
        looked = _look(job, manifest, tally, cancel)
        tell(looked)
        try:
            for outcome in _made(job, manifest, looked, tell, cancel):
                tally.add(outcome)
        except Cancelled as e:
            raise Cancelled(f"stopped after {tally.words}; the same command goes on") from e
    done = FolderDoneEvent(
        output=str(job.output),
        done=tally.counts["done"],
        skipped=tally.counts["skipped"],
        failed=tally.counts["failed"],
        clips_left=looked.clips_left,
        seconds=time.monotonic() - began,
    )
    tell(done)
    return done


@dataclass(slots=True)
class _Tally:
    """Tells what came of each file, and counts."""

    tell: Tell
    counts: dict[str, int] = field(default_factory=lambda: {"done": 0, "skipped": 0, "failed": 0})

    def add(self, outcome: FileEvent) -> None:
        self.counts[outcome.state] += 1
        self.tell(outcome)

    @property
    def words(self) -> str:
        return ", ".join(f"{count} {state}" for state, count in self.counts.items())


def _opened(job: Job) -> Manifest:
    try:
        job.output.mkdir(exist_ok=True)
    except OSError as e:
        why = why_not_written(e, f"cannot be made: {e.strerror}; choose another output with -o")
        raise MediaError(f"{job.output}: {why}") from e
    return Manifest(job.output)


def _look(job: Job, manifest: Manifest, tally: _Tally, cancel: Cancel) -> FolderEvent:
    """Walk the source; what is to be made goes into the manifest's queue, all else is told and counted."""
    found = Scan(job.source, output=job.output, patterns=job.patterns, cancel=cancel)
    sorts = {"still": 0, "clip": 0}
    clips_left = 0
    for one in found:
        if one.sort == "clip" and job.clips is None:
            clips_left += 1
            continue
        known = _known(job, manifest, one)
        if known is None:
            manifest.enqueue(one)
            sorts[one.sort] += 1
        else:
            tally.add(known)
    for name, problem in found.problems:
        tally.add(FileEvent(source=name, state="failed", reason=problem))
    return FolderEvent(
        source=str(job.source),
        output=str(job.output),
        stills=sorts["still"],
        clips=sorts["clip"],
        skipped=tally.counts["skipped"],
        failed=tally.counts["failed"],
        clips_left=clips_left,
        passed_by=dict(sorted(found.passed.items())),
    )


def _known(job: Job, manifest: Manifest, found: Found) -> FileEvent | None:
    """What the manifest says of a file; None where it is to be made."""
    recipe, row = job.recipe(found), manifest.row(found.name)
    if row is None or not recipe.is_of(row, found):
        return None
    is_wrong = row.state == "failed" or (row.error is not None and not recipe.settings.allow_damaged)
    if row.state in ("replacing", "begun") or (is_wrong and job.retry_failed):
        return None
    if row.state == "failed":
        return FileEvent(
            source=found.name, state="failed", reason=f"{row.error} (failed before; --retry-failed tries again)"
        )
    if row.output is None or not (job.output / row.output).exists():
        return None
    output = str(job.output / row.output)
    if is_wrong:
        return FileEvent(source=found.name, state="failed", output=output, reason=row.error or "")
    return FileEvent(source=found.name, state="skipped", output=output, reason="made before")


def _made(job: Job, manifest: Manifest, looked: FolderEvent, tell: Tell, cancel: Cancel) -> Iterator[FileEvent]:
    """Make what is in the queue: stills, then clips."""
    if not looked.stills and not looked.clips:
        return
    from vsr.folder.clips import make_clips  # torch takes seconds to import
    from vsr.folder.ledger import Ledger
    from vsr.folder.pictures import make_pictures
    from vsr.folder.progress import Progress

    ledger = Ledger(job=job, manifest=manifest, places=Places(job=job, manifest=manifest))
    progress = Progress(job, manifest, looked.stills + looked.clips, cancel)
    with progress, warnings.catch_warnings():
        # Pillow's warnings are silenced where it reads, one thread's way out undoing another's: so here, for all.
        warnings.simplefilter("ignore")
        if looked.stills:
            yield from make_pictures(ledger, progress, tell, cancel)
        yield from make_clips(ledger, progress, tell, cancel)
        progress.end(tell)
