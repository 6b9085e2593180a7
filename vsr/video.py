"""The whole flow of one clip: plan, produce segments, join them with everything else, check, give it its name."""

import logging
import time
from pathlib import Path

from vsr.done import remember
from vsr.earlier import is_left_over
from vsr.errors import MediaError
from vsr.events import DoneEvent, NoteEvent, Tell
from vsr.finish import check_and_name, finish_partial, join_all, part_of
from vsr.journal import Journal
from vsr.pipes import inflow, is_pipe, outflow
from vsr.plan import Job, plan_clip
from vsr.preset import load_preset
from vsr.production import (
    as_ending,
    complete,
    pass_straight,
    tell_findings,
    why_empty,
    write_pictures,
)
from vsr.record import Ending, Named
from vsr.settings import UpscaleSettings
from vsr.stage import Cancel

log = logging.getLogger(__name__)


def upscale_video(
    source: str | Path,
    output: str | Path | None = None,
    *,
    preset: str = "video",
    settings: UpscaleSettings | None = None,
    on_event: Tell | None = None,
    cancel: Cancel | None = None,
) -> DoneEvent:
    """Upscale a clip with all its streams; returns when the output bears its name.

    `output` None writes beside the source, a folder keeps the default name in it. `settings` go before `preset`.
    `on_event` is called in this thread. Setting `cancel` from another stops the run within a moment.
    Raises VsrError with one line for the user; Cancelled when stopped. A clip with damage is delivered as far as it
    can be decoded: look at `damaged_places` and `lost_frames` of the result.
    """
    began = time.monotonic()
    tell = on_event or (lambda event: log.debug("%s", event))
    chosen = load_preset(preset).upscale if settings is None else settings
    cancel = cancel or Cancel()
    with inflow(Path(source), cancel) as pipe:
        job = plan_clip(
            Path(source), None if output is None else Path(output), chosen, pipe=pipe, tell=tell, cancel=cancel
        )
        cancel.check()
        tell(job.event)
        if job.is_finished:
            _clear_up(job)
            done = DoneEvent(output=str(job.output), frames=0, seconds=0, already_done=True)
            tell(done)
            return done
        for note in job.notes:
            tell(NoteEvent(message=note))
        if chosen.finish_partial:
            done = finish_partial(job, tell, cancel)
            tell(done)
            return done
        made: Named | Ending
        resumed = 0
        if job.first_picture is not None:
            made = write_pictures(job, job.first_picture, tell, cancel)
            damaged = len(made.damage)
        elif is_pipe(job.output):
            made, damaged = _to_pipe(job, tell, cancel)
        else:
            made, resumed = _to_file(job, tell, cancel)
            damaged = made.damaged_places
    done = DoneEvent(
        output=str(job.output),
        frames=made.frames,
        seconds=time.monotonic() - began,
        lost_frames=made.lost,
        damaged_places=damaged,
        resumed_frames=resumed,
        retries=job.renderer.upscaler.retries,
    )
    tell(done)
    return done


def _to_file(job: Job, tell: Tell, cancel: Cancel) -> tuple[Named, int]:
    """Write the output under a temporary name; it gets its own when it is whole and checked.

    Returns what it holds, and how many of its frames an earlier run had made.
    """
    with Journal(job.output) as journal:
        journal.begin(job.pinned, restart=job.settings.restart)
        resumed, named = journal.frames, journal.named
        if named is None:  # else a run was stopped while it cleared up
            if job.is_straight:
                findings, written = pass_straight(job, part_of(job, journal), tell, cancel)
                ending = as_ending(findings)
            else:
                ending = complete(job, journal, tell, cancel)
                if not ending.frames:
                    raise MediaError(f"{job.info.path}: no frame to upscale: {why_empty(job, ending)}")
                written = join_all(job, journal, cancel)
            tell_findings(ending.notes, ending.damage, tell)
            named = check_and_name(job, journal, written, ending, tell, cancel)
        if job.pinned and not named.damaged_places:
            remember(job.output, job.pinned)
        journal.remove()
    return named, resumed


def _to_pipe(job: Job, tell: Tell, cancel: Cancel) -> tuple[Ending, int]:
    """Write into a pipe what belongs there, and check what can be checked of it on the way: frames and times.

    Returns what decoding found, and how many places of picture and sound are damaged.
    """
    with outflow(job.output, cancel) as pipe:
        findings, written = pass_straight(job, pipe, tell, cancel)
    ending = as_ending(findings)
    tell_findings([*ending.notes, *written.notes], [*ending.damage, *written.damage], tell)
    return ending, len(ending.damage) + len(written.damage)


def _clear_up(job: Job) -> None:
    """Remove what a run left that was stopped after its output had got its name; what another has begun stays."""
    if is_left_over(job.output):
        with Journal(job.output) as journal:
            journal.begin(job.pinned)
            journal.remove()
