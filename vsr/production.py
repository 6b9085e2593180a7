"""Someone produces segments: all of a clip's that the journal does not have yet, whether it was ever begun or not."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from vsr.engine.prefetch import DeviceQueue
from vsr.engine.upscaler import is_out_of_memory
from vsr.errors import MediaError, VsrError
from vsr.events import NoteEvent, ProgressEvent, SegmentEvent, Tell, Wait
from vsr.frames import FrameBatch, RenderedBatch
from vsr.io.assembly import Assembled
from vsr.io.numbered import NumberedSink, numbers_of
from vsr.io.opening import open_input
from vsr.io.single_pass import SinglePass
from vsr.io.sink import FinishedSegment, VideoSink
from vsr.io.source import Findings, VideoSource
from vsr.io.straight import StraightSink
from vsr.journal import Journal
from vsr.look import LookTaker
from vsr.picture_journal import PictureJournal
from vsr.pipes import Outflow
from vsr.plan import Job
from vsr.record import Ending, Gap, SegmentLine
from vsr.room import require_room, tell_estimate
from vsr.stage import Cancel, Stage

log = logging.getLogger(__name__)

_MOST_LINES = 10  # of damage that are told one by one


def complete(job: Job, journal: Journal, tell: Tell, cancel: Cancel) -> Ending:
    """Make every segment that is missing, and record that nothing is; returns what decoding the source found.

    Raises VsrError, and Cancelled; what is done by then is kept.
    """
    for index in journal.lost:
        tell(NoteEvent(message=f"{journal.segment_path(index)}: is missing or damaged: it is made again"))
    if journal.lines:
        tell(NoteEvent(message=f"an earlier run has done {journal.frames} frames: this one goes on from there"))
        _take_over_tile(job, journal.lines)
    tell_estimate(job, journal, tell)
    for gap in journal.gaps():
        require_room(journal)
        findings = produce(job, journal, gap, tell, cancel)
        if gap.until is None:
            journal.end(as_ending(replace(findings, frames=journal.frames)))
    ending = journal.ending
    assert ending is not None
    return ending


def produce(job: Job, journal: Journal, gap: Gap, tell: Tell, cancel: Cancel) -> Findings:
    """Make the segments of a gap."""
    taker = LookTaker(job.renderer.source, job.renderer.source_color, job.renderer.display_matrix)
    made: list[SegmentLine] = [] if gap.after is None else [gap.after]
    told = len(made)

    def record(segment: FinishedSegment) -> None:
        line = journal.add(
            index=segment.index,
            after=made[-1].index if made else -1,
            pts=segment.pts,
            last_crc=segment.last_crc,
            tally=segment.tally,
            tile=job.renderer.upscaler.tile,
            looks=taker.hand_over(segment.index),
        )
        made.append(line)
        require_room(journal)

    def tell_segments() -> None:
        nonlocal told
        for line in made[told:]:
            tell(SegmentEvent(index=line.index, frames=len(line.pts)))
            told += 1

    source = _source(job, gap=gap)
    sink = VideoSink(job.encoder, path_of=journal.segment_path, on_finished=record, cancel=cancel)
    _run_stages(job, taker.watch(source), sink.write, tell, cancel, done=journal.frames, also=tell_segments)
    return source.findings


def pass_straight(job: Job, target: Path | Outflow, tell: Tell, cancel: Cancel) -> tuple[Findings, Assembled]:
    """Encode into the output itself, the source's other streams beside, all in one pass: for what has no segments."""
    settings, info = job.settings, job.info
    first = info.video.first_pts * info.video.time_base
    copied = [p.stream.index for p in job.streams if p.action in ("copy", "convert") and not p.stream.is_cover]
    with open_input(info.path, pipe=info.pipe) as container:
        shared = SinglePass(container, copied, cancel, start=first + settings.start if settings.start else None)
        sink = StraightSink(
            info,
            job.streams,
            target,
            container=job.container,
            encoder=job.encoder,
            source=shared,
            start=settings.start,
            end=settings.end,
            cancel=cancel,
        )
        source = _source(job, shared=shared)
        _run_stages(job, source, sink.write, tell, cancel)
    if sink.assembled is None:
        raise MediaError(f"{job.info.path}: no frame to upscale: {why_empty(job, as_ending(source.findings))}")
    return source.findings, sink.assembled


def write_pictures(job: Job, first: int, tell: Tell, cancel: Cancel) -> Ending:
    """Write numbered pictures. Those that are there, of the same settings, stay as they are."""
    with PictureJournal(job.output) as journal:
        journal.begin(job.pinned, are_there=bool(numbers_of(job.output)), overwrite=job.settings.overwrite)
        workers = job.cores.encoder
        sink = NumberedSink(
            job.output, job.encoder, first=first, goes_on=journal.goes_on, workers=workers, cancel=cancel
        )
        source = _source(job)
        _run_stages(job, sink.missing(source), sink.write, tell, cancel)
        ending = as_ending(source.findings)
        tell_findings(ending.notes, ending.damage, tell)
        if not ending.frames:
            raise MediaError(f"{job.info.path}: no frame to upscale: {why_empty(job, ending)}")
        journal.finish(job.pinned, first, sink.count)
    return ending


def as_ending(findings: Findings) -> Ending:
    """What decoding found, as a journal has it."""
    return Ending(
        frames=findings.frames,
        lost=findings.lost,
        damage=tuple(map(str, findings.damage)),
        notes=tuple(findings.notes),
        reason=findings.reason,
    )


def why_empty(job: Job, ending: Ending) -> str:
    """Why a run that ended has no frames, and what to do."""
    if ending.reason:
        return f"{ending.reason}; give a whole clip"
    start, end, length = job.settings.start, job.settings.end, job.info.duration
    until = "the end" if end is None else f"--end {float(end):g}"
    lasts = "" if length is None else f"the clip lasts {float(length):g} s; "
    return f"none is shown from --start {float(start):g} to {until}; {lasts}give another time"


def tell_lines(lines: Iterable[str], tell: Tell) -> None:
    """Tell each line as a note."""
    for line in lines:
        tell(NoteEvent(message=line))


def tell_findings(notes: Sequence[str], damage: Sequence[object], tell: Tell) -> None:
    """Say what was noticed, and what is missing or damaged, and when; no endless list."""
    tell_lines([*notes, *map(str, damage[:_MOST_LINES])], tell)
    more = len(damage) - _MOST_LINES
    if more > 0:
        tell(NoteEvent(message=f"and {more} more places like these"))


def _source(job: Job, *, gap: Gap | None = None, shared: SinglePass | None = None) -> VideoSource:
    settings = job.settings
    return VideoSource(
        job.info,
        batch=job.batch,
        segment=settings.segment,
        start=settings.start,
        end=settings.end,
        threads=job.cores.decoder,
        after=gap.after.place if gap is not None and gap.after is not None else None,
        until=None if gap is None else gap.until,
        shared=shared,
    )


def _run_stages(
    job: Job,
    batches: Iterable[FrameBatch],
    encode: Callable[[Stage[RenderedBatch]], Iterator[int]],
    tell: Tell,
    cancel: Cancel,
    *,
    done: int = 0,
    also: Callable[[], None] = lambda: None,
) -> None:
    """Decode → upload → compute → encode, each in its own thread; this one only waits, and tells, and calls `also`.

    `done` is how many frames there are already.
    """
    lane = DeviceQueue(job.renderer, workers=job.cores.workers, threads=job.cores.threads_per_worker, cancel=cancel)
    with (
        _told(job.info.path),
        Stage("decode", batches, cancel=cancel, depth=job.cores.workers + 1) as decoded,
        Stage("upload", lane.upload(decoded), cancel=cancel) as loaded,
        Stage("compute", lane.render(loaded), cancel=cancel) as rendered,
        Stage("encode", encode(rendered), cancel=cancel) as encoded,
    ):
        for count in encoded:
            done += count
            tell(ProgressEvent(frames=done, total=job.event.frames, waits_for=_bottleneck(loaded, rendered)))
            also()
    also()


@contextmanager
def _told(source: Path) -> Iterator[None]:
    """What a stage died of, as one line: it may be a bug of ours, but what is done stays done."""
    try:
        yield
    except (VsrError, BrokenPipeError):  # the latter: whoever read what is told has gone
        raise
    except Exception as e:
        if is_out_of_memory(e):
            what = "out of memory; close other programs"
        else:
            log.error("%s: unexpected error", source, exc_info=e)
            what = f"unexpected {type(e).__name__}: {' '.join(str(e).split())}; please report this with the lines above"
        raise MediaError(f"{source}: {what}, and run the same command again") from e


def _take_over_tile(job: Job, lines: Sequence[SegmentLine]) -> None:
    """Go on with the tile that an earlier run was left with when its device had no more memory."""
    upscaler, tiles = job.renderer.upscaler, [line.tile for line in lines if line.tile is not None]
    if tiles and (upscaler.tile is None or min(tiles) < upscaler.tile):
        upscaler.tile = min(tiles)


def _bottleneck(loaded: Stage, rendered: Stage) -> Wait:
    if rendered.is_full:
        return "encode"
    return "compute" if not loaded.is_empty else "decode"
