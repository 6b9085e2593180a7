"""A finished file held against its source once more, when all that is left of the run are these two files."""

import itertools
import logging
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vsr.done import finished_with
from vsr.errors import MediaError
from vsr.events import ComparedEvent, FindingEvent, NoteEvent, ProgressEvent, Tell, VerifiedEvent
from vsr.filtering import filtered, frame_estimate
from vsr.frames import MediaInfo, Plane, SegmentFile, StreamPlan, VideoInfo
from vsr.io.container import plan_streams
from vsr.io.container_kind import CONTAINERS
from vsr.io.expectation import FoundPicture, GivenPicture, expected_file, find_picture
from vsr.io.filters import FilteredVideo
from vsr.io.output_format import target_color
from vsr.io.pixel_formats import planar_layout
from vsr.io.probe import probe
from vsr.io.samples import Sample, all_samples
from vsr.io.schedule import make_schedule
from vsr.io.source import VideoSource
from vsr.likeness import wrong_colors
from vsr.look import Jury, Looks, Verdict, look_size, shrunk, source_looks
from vsr.naming import numbered_source
from vsr.pinned import ordered_in, untold_in
from vsr.settings import UpscaleSettings
from vsr.stage import Cancel
from vsr.verify import findings_in

log = logging.getLogger(__name__)

_BATCH = 8  # frames decoded before they are looked at
_WINDOW = Fraction(10)  # seconds that are judged at once
_SAME_TIME = Fraction(3, 2000)  # seconds: Matroska counts milliseconds
_SAME_SHAPE = 3  # pixels of rounding, of even sizes
_MOST_TOLD = 3  # misplaced frames in one window


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """Two files, and what is known of them before their frames are read."""

    info: MediaInfo
    settings: UpscaleSettings
    output: Path
    container: str
    streams: tuple[StreamPlan, ...]
    found: FoundPicture
    picture: GivenPicture
    has_shape: bool

    @property
    def video(self) -> FilteredVideo:
        assert isinstance(self.info.video, FilteredVideo)
        return self.info.video


@dataclass(slots=True)
class _Seen:
    """What comes of reading all frames of both files."""

    pts: "array[int]" = field(default_factory=lambda: array("q"))  # of the source's frames that are wanted
    findings: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)  # of the source
    compared: int = 0  # frames
    total: float = 0.0  # of their differences

    @property
    def difference(self) -> float | None:
        return self.total / self.compared if self.compared else None


class _Due(NamedTuple):
    """A frame of the source."""

    window: int
    number: int
    seconds: Fraction  # in the output
    look: Looks  # (1, 3, h, w)


def verify_video(
    source: str | Path,
    output: str | Path,
    *,
    settings: UpscaleSettings | None = None,
    on_event: Tell | None = None,
    cancel: Cancel | None = None,
) -> VerifiedEvent:
    """Hold an upscaled clip against its source: frames, times, streams, packets, tags and pictures.

    `settings`: what the run was told that decides what its output holds (start, end, drop, audio, crop, deinterlace,
    apply_rotation, matrix, fps); None is what was told to the run that made it here, if that is still known. Each
    finding is told to `on_event`, which is called in this thread. Both files are decoded whole, and neither is changed.
    Raises VsrError when one of them cannot be read.
    """
    tell = on_event or (lambda event: log.debug("%s", event))
    cancel = cancel or Cancel()
    case = _case(Path(source), Path(output), settings or remembered_settings(Path(output)) or UpscaleSettings())
    seen = _compare(case, tell, cancel)
    for line in seen.damage:
        tell(NoteEvent(message=f"the source is damaged: {line}"))
    findings = [*_structure(case, seen, cancel), *seen.findings]
    for message in findings:
        tell(FindingEvent(output=str(output), message=message))
    verified = VerifiedEvent(
        source=str(source),
        output=str(output),
        frames=len(seen.pts),
        findings=len(findings),
        difference=seen.difference,
    )
    tell(verified)
    return verified


def remembered_settings(output: Path) -> UpscaleSettings | None:
    """What the run was told that made a file and that decides what the file holds; None where that is not known."""
    pinned = finished_with(output)
    return None if pinned is None else ordered_in(pinned)


def _case(source: Path, output: Path, settings: UpscaleSettings) -> _Case:
    """Look both files up. Raises VsrError when they are not what can be compared."""
    if not output.is_file():
        raise MediaError(f"{output}: no such file; give a clip that vsr wrote")
    container = output.suffix.lower().lstrip(".")
    if container not in CONTAINERS:
        raise MediaError(f"{output}: no clip of this kind can be verified; give an .mp4, .mov, .mkv or .webm")
    info = probe(source, numbered=numbered_source(source, output, settings))
    video, _ = filtered(info, settings)
    info = replace(info, video=video)
    moving = [s for s in info.streams if s.kind == "video" and not s.is_cover and s.index <= info.video.index]
    dropped = [selector for selector in settings.drop if selector in {s.selector for s in moving}]
    found = find_picture(output, len(moving) - 1 - len(dropped))
    pinned = finished_with(output) or {}
    wanted, layout = planar_layout(video.pix_fmt), planar_layout(found.pix_fmt)
    ratio, has_shape = _pixel_shape(video, found)
    return _Case(
        info=info,
        settings=settings,
        output=output,
        container=container,
        streams=plan_streams(info, container, found.codec, settings.drop, settings.audio),
        found=found,
        picture=GivenPicture(
            codec=found.codec,
            height=found.height,
            width=found.width,
            color=target_color(video.color, wanted, layout, codec=found.codec, matrix=settings.matrix)[0],
            sample_aspect_ratio=ratio,
            untold=untold_in(pinned),
        ),
        has_shape=has_shape,
    )


def _pixel_shape(video: VideoInfo, found: FoundPicture) -> tuple[Fraction | None, bool]:
    """The sample aspect ratio that the output must have, and whether its picture has the source's shape at all.

    A scale keeps the source's ratio, a size makes it 1; which of them was ordered, the output's size tells.
    """
    ratio = video.sample_aspect_ratio
    for wide, meant in ((Fraction(video.width), ratio), (video.width * (ratio or 1), Fraction(1))):
        if abs(found.width * video.height - found.height * wide) <= _SAME_SHAPE * max(video.height, wide):
            return meant, True
    return None, False


def _structure(case: _Case, seen: _Seen, cancel: Cancel) -> list[str]:
    """Everything but pictures. Raises MediaError where the source has no frame."""
    info, settings = case.info, case.settings
    if not seen.pts:
        raise MediaError(f"{info.path}: no frame is shown there; give the times that the run was given")
    first = info.video.first_pts * info.video.time_base
    expected = expected_file(
        info,
        case.streams,
        case.output,
        pts=seen.pts,
        container=case.container,
        picture=case.picture,
        place=case.found.place,
        cancel=cancel,
        first_pts=seen.pts[0] if settings.start else None,
        end_time=None if settings.end is None else first + settings.end,
    )
    findings = [finding.text for finding in findings_in(case.output, expected, cancel=cancel)]
    if not case.has_shape:
        has, of = f"{case.found.width}x{case.found.height}", f"{info.video.width}x{info.video.height}"
        findings.append(f"is {has}, which is not the shape of {of}")
    return findings


def _compare(case: _Case, tell: Tell, cancel: Cancel) -> _Seen:
    """Decode both files side by side, and judge what both show at the same times."""
    seen, video = _Seen(), case.video
    source = VideoSource(
        case.info, batch=_BATCH, segment=_WINDOW, start=case.settings.start, end=case.settings.end, threads=0
    )
    layout = planar_layout(case.found.pix_fmt)
    size = look_size(video.height, video.width)
    due = _due(case, source, seen, tell, cancel)
    if not video.has_alpha:  # the colours of what cannot be seen may change
        jury = Jury(layout, case.picture.color)
        for window, pairs in itertools.groupby(_paired(due, _shown(case, seen)), lambda pair: pair[0].window):
            frames: list[_Due] = []
            small: list[tuple[Plane, ...]] = []
            for frame, sample in pairs:
                frames.append(frame)
                small.append(shrunk([plane[None] for plane in sample.planes], layout, size))
            planes = [np.concatenate(planes) for planes in zip(*small, strict=True)]
            verdict = jury.judge(np.concatenate([frame.look for frame in frames]), planes)
            seen.compared += len(frames)
            seen.total += verdict.difference * len(frames)
            seen.findings += _told(frames, verdict)
            tell(ComparedEvent(index=window, frames=len(frames), difference=verdict.difference))
        reading = jury.wrong_reading()
        seen.findings += [] if reading is None else [wrong_colors(reading)]
    for _ in due:  # what the output does not hold counts, too
        pass
    seen.damage = [str(damage) for damage in source.findings.damage]
    return seen


def _due(case: _Case, source: VideoSource, seen: _Seen, tell: Tell, cancel: Cancel) -> Iterator[_Due]:
    """The source's frames, each with its time in the output; `seen` gets their times in the source."""
    video, total = case.video, frame_estimate(case.info.video, case.settings)
    shift: Fraction | None = None
    for batch in source:
        cancel.check()
        if shift is None:
            first = SegmentFile(path=case.output, pts=batch.pts[:1])
            first_pts = batch.pts[0] if case.settings.start else None
            schedule, _ = make_schedule(case.info, [first], "mkv", first_pts=first_pts, end=None)
            shift = schedule.shift
        looks = source_looks(batch.planes, video.layout, video.color, video.turn)
        for place, pts in enumerate(batch.pts):
            seen.pts.append(pts)
            seconds = pts * video.time_base + shift
            yield _Due(batch.segment, len(seen.pts) - 1, seconds, looks[place : place + 1])
        tell(ProgressEvent(frames=len(seen.pts), total=total, waits_for="decode"))


def _shown(case: _Case, seen: _Seen) -> Iterator[tuple[Fraction, Sample]]:
    """The output's pictures; where they break off, that is a finding."""
    try:
        yield from all_samples(case.output, case.found.place)
    except MediaError as e:
        seen.findings.append(str(e).removeprefix(f"{case.output}: "))


def _paired(due: Iterator[_Due], shown: Iterator[tuple[Fraction, Sample]]) -> Iterator[tuple[_Due, Sample]]:
    """What is due and what is shown at the same time; whatever has no counterpart is passed over."""
    frame, found = next(due, None), next(shown, None)
    while frame is not None and found is not None:
        seconds, sample = found
        if abs(frame.seconds - seconds) <= _SAME_TIME:
            yield frame, sample
            frame, found = next(due, None), next(shown, None)
        elif frame.seconds < seconds:
            frame = next(due, None)
        else:
            found = next(shown, None)


def _told(frames: list[_Due], verdict: Verdict) -> Iterator[str]:
    """A line for each of the first misplaced frames, and one for all others."""
    for place, what in verdict.findings[:_MOST_TOLD]:
        frame = frames[place]
        yield f"frame {frame.number} at {float(frame.seconds):.3f} s {what}"
    more = len(verdict.findings) - _MOST_TOLD
    if more > 0:
        yield f"and {more} more frames within {float(_WINDOW):g} s like these"
