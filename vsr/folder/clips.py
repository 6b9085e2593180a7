"""The clips of a folder: one after the other, each through the whole flow of a clip."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from vsr.events import DoneEvent, DownloadEvent, Event, FileEvent, NoteEvent, PlanEvent, ProgressEvent, Tell
from vsr.folder.found import Found
from vsr.folder.ledger import Ledger, Result
from vsr.folder.progress import Progress, clip_pixels
from vsr.io.probe import probe
from vsr.naming import default_container
from vsr.settings import UpscaleSettings
from vsr.stage import Cancel
from vsr.video import upscale_video


def make_clips(ledger: Ledger, progress: Progress, tell: Tell, cancel: Cancel) -> Iterator[FileEvent]:
    """Make every clip in the manifest's queue."""
    for found in ledger.manifest.queued("clip"):
        cancel.check()
        try:
            outcome = _make(ledger, found, progress, tell, cancel)
        except Exception as e:
            outcome = ledger.failed(found, e)
        progress.tell(tell)
        yield outcome


def _make(ledger: Ledger, found: Found, progress: Progress, tell: Tell, cancel: Cancel) -> FileEvent:
    """Make one. A row says first that it is begun, so that what a killed run leaves in its place is known as ours."""
    settings = ledger.job.recipe(found).settings
    source = ledger.job.source / found.name
    name = ledger.places.name(found, _suffix(source, settings))
    row = ledger.manifest.row(found.name)
    # What is there may have come of a run that was killed before it could say so: upscale_video knows.
    is_begun = row is not None and (row.state, row.output) == ("begun", name)
    if not is_begun and not ledger.places.may_write(name):
        return ledger.left(found, name)
    output = ledger.make_room(name)
    if not output.exists():
        ledger.record(found, Result(name=name), "begun", None)
    elif not is_begun:
        settings = replace(settings, overwrite=True)
    listener = _Listener(progress, tell)
    began = time.monotonic()
    done = upscale_video(source, output, settings=settings, on_event=listener.hear, cancel=cancel)
    result = Result(name=name, seconds=time.monotonic() - began, damage=_damage(done), notes=listener.notes)
    ledger.record(found, result, "done", output)
    listener.finish()
    return ledger.made(found, result)


def _suffix(source: Path, settings: UpscaleSettings) -> str:
    """The source's own where its container holds the result, too."""
    info = probe(source)
    container = settings.container or default_container(info, settings, info.video.width)
    return source.suffix if source.suffix.lower() == f".{container}" else f".{container}"


def _damage(done: DoneEvent) -> str:
    if not done.damaged_places:
        return ""
    places = "one place" if done.damaged_places == 1 else f"{done.damaged_places} places"
    missing = f", {done.lost_frames} frames are missing" if done.lost_frames else ""
    return f"damaged at {places}{missing}; look at {done.output}"


@dataclass(slots=True)
class _Listener:
    """Turns what one clip tells into pixels of the folder, and keeps its notes."""

    progress: Progress
    tell: Tell
    notes: list[str] = field(default_factory=list)
    pixels: int = 0
    counted: int = 0

    def hear(self, event: Event) -> None:
        if isinstance(event, NoteEvent):
            self.notes.append(event.message)
        elif isinstance(event, PlanEvent):
            self.pixels = clip_pixels(event.source_size, event.frames)
        elif isinstance(event, ProgressEvent):
            self._count(self.pixels * event.frames // max(event.total or event.frames, event.frames, 1))
            self.progress.tell(self.tell)
        elif isinstance(event, DownloadEvent):
            self.tell(event)

    def finish(self) -> None:
        self._count(self.pixels)

    def _count(self, pixels: int) -> None:
        self.progress.add(pixels - self.counted)
        self.counted = pixels
