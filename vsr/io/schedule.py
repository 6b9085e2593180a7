"""The schedule: when each frame is shown, how long the last one stays, and in which ticks a file can say so."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from vsr.frames import MediaInfo, SegmentFile, StreamPlan
from vsr.io.audio import sound_target
from vsr.io.container_kind import Container

_FINEST_TIMESCALE = 10_000_000  # ticks a second of the mp4 header; more wants 64-bit durations after minutes
_LONGEST_SAMPLE = 2**31 - 1  # ticks between two mp4 samples
_NUT_FINER = 32  # more than the frames that any codec decodes ahead
_COARSE_BASES = (Fraction(1, 90_000), Fraction(1, 1000))


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When each frame is shown, in ticks of `time_base`, and the part of the source that is kept, in its seconds.

    One that is still open grows at its end while frames are made.
    """

    pts: Sequence[int]  # as written
    end: int  # of the last frame
    step: int  # the shortest between two frames
    time_base: Fraction
    shift: Fraction  # seconds added to every time of the source
    start: Fraction | None  # seconds; None keeps all from the beginning
    stop: Fraction | None  # seconds; None keeps all to the end


def make_schedule(
    info: MediaInfo,
    segments: Sequence[SegmentFile],
    container: Container,
    *,
    first_pts: int | None,
    end: Fraction | None,
) -> tuple[Schedule, list[str]]:
    """When every frame is shown, and what of the other streams belongs to them."""
    video, notes = info.video, []
    base = video.time_base
    times = [time for segment in segments for time in segment.pts]
    steps = [after - before for before, after in pairwise(times)]
    typical = round(statistics.median(steps)) if steps else max(1, round(1 / (video.rate * base)))
    natural = None if info.duration is None else video.first_pts + round(info.duration / base)
    is_cut_short = end is not None and (natural is None or end < natural * base)
    last = _last_duration(info, times[-1], natural, typical, max(steps, default=typical), is_cut=is_cut_short)
    shift = 0 if first_pts is None else video.first_pts - first_pts
    if times[0] + shift < 0:
        notes.append(f"the picture begins at {float(times[0] * base):.3f} s, before zero: all streams move up by that")
        shift = -times[0]
    pts = [time + shift for time in times]
    finish = pts[-1] + last
    longest = max([*steps, last])
    out_base = base
    if container in ("mp4", "mov") and longest * base.numerator > _LONGEST_SAMPLE:
        out_base = next((b for b in _COARSE_BASES if longest * base / b < _LONGEST_SAMPLE), _COARSE_BASES[-1])
        notes.append(
            f"{container} cannot count {float(longest * base):.0f} s by {base} s: times in steps of {out_base} s"
        )
        pts, finish = _coarser(pts, base / out_base), round(finish * base / out_base)
    schedule = Schedule(
        pts=pts,
        end=finish,
        step=max(1, min((after - before for before, after in pairwise(pts)), default=1)),
        time_base=out_base,
        shift=shift * base,
        start=None if first_pts is None or first_pts <= video.first_pts else first_pts * base,
        stop=(times[-1] + last) * base if is_cut_short else None,
    )
    return schedule, notes


def open_schedule(
    info: MediaInfo,
    first: int,
    container: Container,
    *,
    rate: Fraction,
    is_cut: bool,
    end: Fraction | None,
    earliest: Fraction | None,
) -> tuple[Schedule, list[str]]:
    """A schedule of which only the time of the first kept frame is known, `first`, in the source's ticks.

    `rate` is the encoder's. `is_cut` tells that frames before the first are left out; `end` is where the clip is cut,
    in seconds after its first frame; `earliest` the time at which the first of the other streams begins.
    """
    if container == "y4m":  # which counts frames and nothing else
        return Schedule(pts=(), end=0, step=1, time_base=1 / rate, shift=Fraction(0), start=None, stop=None), []
    video, notes = info.video, []
    base = video.time_base
    shift = video.first_pts - first if is_cut else 0
    begins = first + shift
    if earliest is not None and container == "nut":  # which has no times before zero
        begins = min(begins, math.floor(earliest / base) + shift)
    if begins < 0:
        notes.append(f"the first stream begins at {float(begins * base):.3f} s, before zero: all move up by that")
        shift -= begins
    natural = None if info.duration is None else video.first_pts * base + info.duration
    stop = None if end is None else video.first_pts * base + end
    out_base = base
    if container == "nut" and base.denominator * _NUT_FINER < 2**31:  # so that decode times fit between two frames
        out_base /= _NUT_FINER
    schedule = Schedule(
        pts=(),
        end=0,
        step=max(1, round(1 / (rate * out_base))),
        time_base=out_base,
        shift=shift * base,
        start=first * base if is_cut and first > video.first_pts else None,
        stop=stop if stop is not None and (natural is None or stop < natural) else None,
    )
    return schedule, notes


def close_schedule(schedule: Schedule, info: MediaInfo, container: Container) -> Schedule:
    """The schedule, now that all frames are in it: when the last one ends."""
    pts, base = schedule.pts, schedule.time_base
    if container == "y4m":
        return replace(schedule, end=len(pts))
    begins = info.video.first_pts * info.video.time_base + schedule.shift
    steps = [after - before for before, after in pairwise(pts)]
    typical = round(statistics.median(steps)) if steps else schedule.step
    natural = None if info.duration is None else round((begins + info.duration) / base)
    is_cut = schedule.stop is not None
    last = _last_duration(info, pts[-1], natural, typical, max(steps, default=typical), is_cut=is_cut)
    return replace(schedule, end=pts[-1] + last)


def place_picture(
    packet: Packet, schedule: Schedule, number: int, frame: int, *, container: Container, delay: int, is_last: bool
) -> None:
    """Time an encoded picture, the `number`-th in decode order, that shows the `frame`-th in display order.

    Decode times are the display times `delay` frames earlier: never too late.
    """
    pts, step = schedule.pts, schedule.step
    following = pts[frame + 1] if frame + 1 < len(pts) else schedule.end
    packet.pts = pts[frame]
    packet.dts = pts[number - delay] if number >= delay else pts[0] - (delay - number) * step
    packet.duration = following - pts[frame]
    if is_last and container in ("mp4", "mov"):
        # there durations count from one decode time to the next: the last one makes up the whole
        packet.duration = max(1, (schedule.end - pts[0]) - (packet.dts - (pts[0] - delay * step)))
    packet.time_base = schedule.time_base


def movie_timescale(schedule: Schedule, plan: Sequence[StreamPlan], source: InputContainer) -> int:
    """Ticks in which mp4 counts when a track begins: exact for the picture, and for sound as far as it fits."""
    scale = schedule.time_base.denominator
    for entry in plan:
        stream = source.streams[entry.stream.index]
        if entry.action in ("copy", "convert") and isinstance(stream, AudioStream):
            rate = (stream.time_base or Fraction(1)).denominator
            if entry.codec is not None:
                rate = sound_target(stream.codec_context, entry.codec).rate
            if math.lcm(scale, rate) <= _FINEST_TIMESCALE:
                scale = math.lcm(scale, rate)
    while scale < 10_000:
        scale *= 2
    return scale


def _coarser(pts: Sequence[int], ratio: Fraction) -> list[int]:
    """Times in longer ticks, still rising."""
    rounded: list[int] = []
    for time in pts:
        rounded.append(max(round(time * ratio), rounded[-1] + 1 if rounded else round(time * ratio)))
    return rounded


def _last_duration(
    info: MediaInfo, last_pts: int, natural_end: int | None, typical: int, longest: int, *, is_cut: bool
) -> int:
    """How long the last frame stays, in ticks: as the source says where that is believable."""
    if natural_end is None or is_cut or natural_end <= last_pts:
        return typical
    said = natural_end - last_pts
    if "mp4" in info.container:  # its tables say it exactly
        return said
    return said if typical / 2 <= said <= max(longest, 2 * typical) else typical
