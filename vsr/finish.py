"""From segments to a file that may have a name: joined, and held against the source."""

import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from vsr.disk import free_bytes, sync_folder, told_size
from vsr.errors import MediaError
from vsr.events import ComparedEvent, DoneEvent, NoteEvent, Tell
from vsr.frames import SegmentFile
from vsr.io.assembly import Assembled
from vsr.io.join import join
from vsr.journal import Journal
from vsr.likeness import check_pictures
from vsr.look import Looks, look_size, read_looks
from vsr.naming import partial_path
from vsr.plan import Job
from vsr.production import tell_findings
from vsr.record import Ending, Named, SegmentLine
from vsr.stage import Cancel
from vsr.verify import check_output


def part_of(job: Job, journal: Journal) -> Path:
    """Where the output lies until it may have its name."""
    return journal.folder / f"joined.{job.container}.part"


def join_all(job: Job, journal: Journal, cancel: Cancel) -> Assembled:
    """Join all segments under a temporary name."""
    video, end = job.info.video, job.settings.end
    stop = None if end is None else video.first_pts * video.time_base + end
    return _joined(job, journal, journal.segments(), stop, cancel)


def check_and_name(job: Job, journal: Journal, written: Assembled, ending: Ending, tell: Tell, cancel: Cancel) -> Named:
    """Hold the file against the source, and only then give it its name.

    Raises MediaError when it fails its check, which is a bug of ours, and when its name was taken meanwhile.
    """
    part = part_of(job, journal)
    _check(job, journal, written, tell, cancel)
    if job.output.exists() and not job.settings.overwrite:  # it was not there when the run began
        raise MediaError(f"{job.output}: was made by another program meanwhile; choose another output with -o")
    return journal.name(part, ending, damaged_places=len(ending.damage) + len(written.damage))


def finish_partial(job: Job, tell: Tell, cancel: Cancel) -> DoneEvent:
    """Make a file of the segments up to the first that is missing, its sound cut there; the segments stay.

    Raises MediaError when there are none.
    """
    began, video = time.monotonic(), job.info.video
    output = partial_path(job.output)
    with Journal(job.output) as journal:
        journal.begin(job.pinned)
        segments = journal.segments()
        if not segments:
            raise MediaError(f"{journal.folder}: no segment is whole yet; run the command without --finish-partial")
        border = (journal.lines[len(segments) - 1].index + 1) * job.settings.segment
        end = border if job.settings.end is None else min(border, job.settings.end)
        written = _joined(job, journal, segments, video.first_pts * video.time_base + end, cancel)
        _check(job, journal, written, tell, cancel)
        part_of(job, journal).replace(output)
        sync_folder(output.parent)
    frames = sum(len(segment.pts) for segment in segments)
    until = f"only the first {frames} frames, those before --end {float(end):g}"
    tell(NoteEvent(message=f"{until}; without --finish-partial the same command goes on"))
    return DoneEvent(
        output=str(output),
        frames=frames,
        seconds=time.monotonic() - began,
        damaged_places=len(written.damage),
        resumed_frames=frames,
    )


def _joined(
    job: Job, journal: Journal, segments: Sequence[SegmentFile], end: Fraction | None, cancel: Cancel
) -> Assembled:
    """The file of these segments, which ends at `end` seconds of the source's times."""
    _require_room(journal, segments)
    return join(
        job.info,
        job.streams,
        segments,
        part_of(job, journal),
        container=job.container,
        picture=job.encoder,
        cancel=cancel,
        first_pts=segments[0].pts[0] if job.settings.start else None,
        end_time=end,
    )


def _check(job: Job, journal: Journal, written: Assembled, tell: Tell, cancel: Cancel) -> None:
    """Raise MediaError unless the file holds what was written into it, and its pictures are the source's."""
    tell_findings(written.notes, written.damage, tell)
    part = part_of(job, journal)
    findings = check_output(part, written, cancel=cancel)
    if not findings:
        lines, looks = _looks(job, journal, len(written.pts))

        def compared(place: int, difference: float) -> None:
            tell(ComparedEvent(index=lines[place].index, frames=len(looks[place][1]), difference=difference))

        findings = check_pictures(part, written, looks, tell=compared, cancel=cancel)
    if findings:
        what = f"fails its own check: {'; '.join(findings)}"
        raise MediaError(f"{job.output}: {what}; please report this, and look at {part}, which is kept")


def _require_room(journal: Journal, segments: Sequence[SegmentFile]) -> None:
    """Raise MediaError where the joined file cannot fit beside its segments."""
    needed = sum(segment.path.stat().st_size for segment in segments)
    free = free_bytes(journal.folder)
    if free is not None and free < needed:
        what = f"the joined file needs more than {told_size(needed)}, and {told_size(free)} are free"
        raise MediaError(f"{journal.folder}: {what}; make room and run the same command")


def _looks(job: Job, journal: Journal, frames: int) -> tuple[list[SegmentLine], list[tuple[int, Looks]]]:
    """Segments among the first `frames`, each with the number of its first one and what the source looks like there."""
    lines: list[SegmentLine] = []
    looks: list[tuple[int, Looks]] = []
    number = 0
    size = look_size(job.info.video.height, job.info.video.width)
    for line in journal.lines:
        if number < frames and line.looks:
            lines.append(line)
            looks.append((number, read_looks(line.looks, size)))
        number += len(line.pts)
    return lines, looks
