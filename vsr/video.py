"""The whole flow of one clip: plan, produce segments, join them with everything else, check, give it its name."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from vsr.disk import sync_folder
from vsr.done import remember
from vsr.engine.prefetch import DeviceQueue
from vsr.errors import MediaError
from vsr.events import DoneEvent, Event, NoteEvent, ProgressEvent, SegmentEvent, Wait
from vsr.io.join import join
from vsr.io.sink import FinishedSegment, VideoSink
from vsr.io.source import Findings, VideoSource
from vsr.journal import Journal
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
    can be decoded: look at `lost_frames` of the result.
    """
    began = time.monotonic()
    tell = on_event or (lambda event: log.debug("%s", event))
    chosen = load_preset(preset).upscale if settings is None else settings
    cancel = cancel or Cancel()
    job = plan_clip(Path(source), None if output is None else Path(output), chosen)
    tell(job.event)
    if job.is_finished:
        done = DoneEvent(output=str(job.output), frames=0, seconds=0, already_done=True)
        tell(done)
        return done
    for note in job.notes:
        tell(NoteEvent(message=note))
    with Journal(job.output) as journal:
        journal.begin(job.pinned)
        findings = produce(job, journal, tell, cancel)
        if not findings.frames:
            raise MediaError(f"{job.info.path}: no frame to upscale: {_why_empty(job, findings)}")
        _join_and_check(job, journal, tell, cancel)
        journal.remove()
    if not findings.lost:
        remember(job.output, job.pinned)
    done = DoneEvent(
        output=str(job.output),
        frames=findings.frames,
        seconds=time.monotonic() - began,
        lost_frames=findings.lost,
        retries=job.renderer.upscaler.retries,
    )
    tell(done)
    return done


def produce(job: Job, journal: Journal, tell: Tell, cancel: Cancel) -> Findings:
    """Make the clip's segments: decode → upload → compute → encode, each in its own thread, this one only waits."""
    settings = job.settings
    source = VideoSource(
        job.info,
        batch=job.batch,
        segment=settings.segment,
        start=settings.start,
        end=settings.end,
        threads=job.cores.decoder,
    )
    lane = DeviceQueue(job.renderer, workers=job.cores.workers, threads=job.cores.threads_per_worker, cancel=cancel)

    def record(segment: FinishedSegment) -> None:
        journal.add(index=segment.index, pts=segment.pts, last_crc=segment.last_crc)

    sink = VideoSink(job.encoder, path_of=journal.segment_path, on_finished=record, cancel=cancel)
    with (
        Stage("decode", source, cancel=cancel, depth=job.cores.workers + 1) as decoded,
        Stage("upload", lane.upload(decoded), cancel=cancel) as loaded,
        Stage("compute", lane.render(loaded), cancel=cancel) as rendered,
        Stage("encode", sink.write(rendered), cancel=cancel) as encoded,
    ):
        frames = told = 0
        for count in encoded:
            frames += count
            tell(ProgressEvent(frames=frames, total=job.event.frames, waits_for=_bottleneck(loaded, rendered)))
            told = _tell_segments(journal, told, tell)
        _tell_segments(journal, told, tell)
    _tell_findings(source.findings, tell)
    return source.findings


def _why_empty(job: Job, findings: Findings) -> str:
    """Why a run that ended has no frames, and what to do."""
    if findings.damage:
        return f"{findings.damage[0]}; give a whole clip"
    start, end, length = job.settings.start, job.settings.end, job.info.duration
    until = "the end" if end is None else f"--end {float(end):g}"
    lasts = "" if length is None else f"the clip lasts {float(length):g} s; "
    return f"none is shown from --start {float(start):g} to {until}; {lasts}give another time"


def _bottleneck(loaded: Stage, rendered: Stage) -> Wait:
    if rendered.is_full:
        return "encode"
    return "compute" if not loaded.is_empty else "decode"


def _tell_segments(journal: Journal, told: int, tell: Tell) -> int:
    for line in journal.lines[told:]:
        tell(SegmentEvent(index=line.index, frames=len(line.pts)))
        told += 1
    return told


def _tell_findings(findings: Findings, tell: Tell) -> None:
    """Say what decoding found."""
    for line in [*findings.notes, *findings.damage[:_MOST_LINES]]:
        tell(NoteEvent(message=line))
    more = len(findings.damage) - _MOST_LINES
    if more > 0:
        tell(NoteEvent(message=f"and {more} more places like these"))


def _join_and_check(job: Job, journal: Journal, tell: Tell, cancel: Cancel) -> None:
    """Write the output under a temporary name, hold it against the source, and only then give it its name."""
    settings, video = job.settings, job.info.video
    segments = journal.segments()
    part = journal.folder / f"joined.{job.container}.part"
    joined = join(
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
    for note in joined.notes:
        tell(NoteEvent(message=note))
    findings = check_output(part, joined, cancel=cancel)
    if findings:
        part.unlink()
        raise MediaError(f"{job.output}: fails its own check: {'; '.join(findings)}; please report this")
    if job.output.exists() and not settings.overwrite:  # it was not there when the run began
        raise MediaError(f"{job.output}: was made by another program meanwhile; choose another output with -o")
    part.replace(job.output)
    sync_folder(job.output.parent)
