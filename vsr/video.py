"""The whole flow of one clip: plan, produce segments, join them with everything else, check, give it its name."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from vsr.disk import sync_folder
from vsr.done import remember
from vsr.engine.prefetch import DeviceQueue
from vsr.errors import MediaError
from vsr.events import DoneEvent, Event, NoteEvent, ProgressEvent, SegmentEvent, Wait
from vsr.frames import FrameBatch, RenderedBatch
from vsr.io.assembly import Assembled
from vsr.io.damage import Damage
from vsr.io.join import join
from vsr.io.numbered import NumberedSink, numbers_of
from vsr.io.opening import open_input
from vsr.io.single_pass import SinglePass
from vsr.io.sink import FinishedSegment, VideoSink
from vsr.io.source import Findings, VideoSource
from vsr.io.straight import StraightSink
from vsr.journal import Journal
from vsr.picture_journal import PictureJournal
from vsr.pipes import Outflow, inflow, is_pipe, outflow
from vsr.plan import Job, plan_clip
from vsr.preset import load_preset
from vsr.settings import UpscaleSettings
from vsr.stage import Cancel, Stage
from vsr.verify import check_output

log = logging.getLogger(__name__)

Tell = Callable[[Event], None]
_MOST_LINES = 10  # of damage that are told one by one


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
        job = plan_clip(Path(source), None if output is None else Path(output), chosen, pipe=pipe)
        tell(job.event)
        if job.is_finished:
            done = DoneEvent(output=str(job.output), frames=0, seconds=0, already_done=True)
            tell(done)
            return done
        for note in job.notes:
            tell(NoteEvent(message=note))
        if job.first_picture is not None:
            findings = _to_pictures(job, job.first_picture, tell, cancel)
        elif is_pipe(job.output):
            findings = _to_pipe(job, tell, cancel)
        else:
            findings = _to_file(job, tell, cancel)
    done = DoneEvent(
        output=str(job.output),
        frames=findings.frames,
        seconds=time.monotonic() - began,
        lost_frames=findings.lost,
        damaged_places=len(findings.damage),
        retries=job.renderer.upscaler.retries,
    )
    tell(done)
    return done


def _to_file(job: Job, tell: Tell, cancel: Cancel) -> Findings:
    """Write the output under a temporary name; it gets its own when it is whole and checked."""
    with Journal(job.output) as journal:
        journal.begin(job.pinned)
        part = journal.folder / f"joined.{job.container}.part"
        if job.is_straight:
            findings, written = pass_straight(job, part, tell, cancel)
        else:
            findings = produce(job, journal, tell, cancel)
            written = _join(job, journal, part, cancel)
        _tell_written(written, findings, tell)
        _check_and_name(job, part, written, cancel)
        journal.remove()
    if job.pinned and not findings.damage:
        remember(job.output, job.pinned)
    return findings


def _to_pipe(job: Job, tell: Tell, cancel: Cancel) -> Findings:
    """Write into a pipe what belongs there, and check what can be checked of it on the way: frames and times."""
    with outflow(job.output, cancel) as pipe:
        findings, written = pass_straight(job, pipe, tell, cancel)
    _tell_written(written, findings, tell)
    return findings


def _to_pictures(job: Job, first: int, tell: Tell, cancel: Cancel) -> Findings:
    """Write numbered pictures. Those that are there, of the same settings, stay as they are."""
    with PictureJournal(job.output) as journal:
        journal.begin(job.pinned, are_there=bool(numbers_of(job.output)), overwrite=job.settings.overwrite)
        workers = job.cores.encoder
        sink = NumberedSink(
            job.output, job.encoder, first=first, goes_on=journal.goes_on, workers=workers, cancel=cancel
        )
        source = _source(job)
        findings = _run_stages(job, source, sink.write, tell, cancel, batches=sink.missing(source))
        journal.finish(job.pinned, first, sink.count)
    return findings


def produce(job: Job, journal: Journal, tell: Tell, cancel: Cancel) -> Findings:
    """Make the clip's segments. Raises MediaError when there is no frame."""
    told = 0

    def record(segment: FinishedSegment) -> None:
        journal.add(index=segment.index, pts=segment.pts, last_crc=segment.last_crc)

    def tell_segments() -> None:
        nonlocal told
        for line in journal.lines[told:]:
            tell(SegmentEvent(index=line.index, frames=len(line.pts)))
            told += 1

    sink = VideoSink(job.encoder, path_of=journal.segment_path, on_finished=record, cancel=cancel)
    return _run_stages(job, _source(job), sink.write, tell, cancel, also=tell_segments)


def pass_straight(job: Job, target: Path | Outflow, tell: Tell, cancel: Cancel) -> tuple[Findings, Assembled]:
    """Encode into the output itself, the source's other streams beside, all in one pass. Raises as `produce`."""
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
        findings = _run_stages(job, _source(job, shared), sink.write, tell, cancel)
    assert sink.assembled is not None
    return findings, sink.assembled


def _source(job: Job, shared: SinglePass | None = None) -> VideoSource:
    settings = job.settings
    return VideoSource(
        job.info,
        batch=job.batch,
        segment=settings.segment,
        start=settings.start,
        end=settings.end,
        threads=job.cores.decoder,
        shared=shared,
    )


def _run_stages(
    job: Job,
    source: VideoSource,
    encode: Callable[[Stage[RenderedBatch]], Iterator[int]],
    tell: Tell,
    cancel: Cancel,
    *,
    also: Callable[[], None] = lambda: None,
    batches: Iterable[FrameBatch] | None = None,
) -> Findings:
    """Decode → upload → compute → encode, each in its own thread; this one only waits, and tells, and calls `also`.

    `batches` are those of `source` that are wanted; None is all.
    """
    lane = DeviceQueue(job.renderer, workers=job.cores.workers, threads=job.cores.threads_per_worker, cancel=cancel)
    with (
        Stage("decode", source if batches is None else batches, cancel=cancel, depth=job.cores.workers + 1) as decoded,
        Stage("upload", lane.upload(decoded), cancel=cancel) as loaded,
        Stage("compute", lane.render(loaded), cancel=cancel) as rendered,
        Stage("encode", encode(rendered), cancel=cancel) as encoded,
    ):
        frames = 0
        for count in encoded:
            frames += count
            tell(ProgressEvent(frames=frames, total=job.event.frames, waits_for=_bottleneck(loaded, rendered)))
            also()
    also()
    _tell(source.findings.notes, source.findings.damage, tell)
    if not source.findings.frames:
        raise MediaError(f"{job.info.path}: no frame to upscale: {_why_empty(job, source.findings)}")
    return source.findings


def _why_empty(job: Job, findings: Findings) -> str:
    """Why a run that ended has no frames, and what to do."""
    if findings.reason:
        return f"{findings.reason}; give a whole clip"
    start, end, length = job.settings.start, job.settings.end, job.info.duration
    until = "the end" if end is None else f"--end {float(end):g}"
    lasts = "" if length is None else f"the clip lasts {float(length):g} s; "
    return f"none is shown from --start {float(start):g} to {until}; {lasts}give another time"


def _bottleneck(loaded: Stage, rendered: Stage) -> Wait:
    if rendered.is_full:
        return "encode"
    return "compute" if not loaded.is_empty else "decode"


def _tell_written(written: Assembled, findings: Findings, tell: Tell) -> None:
    """Say what came of the other streams, and count the damage of the sound in."""
    _tell(written.notes, written.damage, tell)
    findings.damage.extend(written.damage)


def _tell(notes: Sequence[str], damage: Sequence[Damage], tell: Tell) -> None:
    """Say what was noticed, and what is missing or damaged, and when; no endless list."""
    for line in [*notes, *map(str, damage[:_MOST_LINES])]:
        tell(NoteEvent(message=line))
    more = len(damage) - _MOST_LINES
    if more > 0:
        tell(NoteEvent(message=f"and {more} more places like these"))


def _join(job: Job, journal: Journal, part: Path, cancel: Cancel) -> Assembled:
    settings, video = job.settings, job.info.video
    segments = journal.segments()
    return join(
        job.info,
        job.streams,
        segments,
        part,
        container=job.container,
        picture=job.encoder,
        cancel=cancel,
        first_pts=segments[0].pts[0] if settings.start else None,
        end_time=None if settings.end is None else video.first_pts * video.time_base + settings.end,
    )


def _check_and_name(job: Job, part: Path, written: Assembled, cancel: Cancel) -> None:
    """Hold the file against the source, and only then give it its name."""
    findings = check_output(part, written, cancel=cancel)
    if findings:
        part.unlink()
        raise MediaError(f"{job.output}: fails its own check: {'; '.join(findings)}; please report this")
    if job.output.exists() and not job.settings.overwrite:  # it was not there when the run began
        raise MediaError(f"{job.output}: was made by another program meanwhile; choose another output with -o")
    part.replace(job.output)
    sync_folder(job.output.parent)
