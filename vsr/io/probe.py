"""Say what is in a clip: streams, size, colour, rate, and what cannot be carried."""

import itertools
import statistics
from collections.abc import Container, Iterable, Mapping
from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vsr.frames import MediaInfo, NumberedFrames, VideoInfo
from vsr.io.first_frame import first_frame
from vsr.io.opening import open_input, packets_of
from vsr.io.pixel_formats import has_alpha, planar_layout
from vsr.io.side_data import content_light_of, display_matrix_of, mastering_display_of, side_data_of
from vsr.io.source_color import source_color
from vsr.io.streams import choose_video, codec_name, describe_streams, tagged_end
from vsr.pipes import Inflow

_WIDEST_PIXEL = Fraction(100)
_PACKETS_FOR_RATE = 40
_SLOWEST = Fraction(1, 1000)  # encoders are told it; the times of frames stay as they are
_FASTEST = Fraction(1000)  # frames a second; segments count frames in Matroska's milliseconds
_LOST_SIDE_DATA = {
    "A53_CC": "closed captions inside the pictures are not carried",
    "DOVI_RPU_BUFFER": "Dolby Vision metadata is not carried; the base layer's colours are",
    "DOVI_METADATA": "Dolby Vision metadata is not carried; the base layer's colours are",
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata is not carried; HDR10 is",
}


def probe(path: Path, *, pipe: Inflow | None = None, numbered: NumberedFrames | None = None) -> MediaInfo:
    """Find the streams of a clip, in a file or at the head of `pipe`, and decode the first frame of the one to upscale.

    Raises MediaError when the file cannot be read or holds no video.
    """
    with open_input(path, pipe=pipe, numbered=numbered, threads=1) as container:
        streams = describe_streams(container)
        stream = choose_video(path, container)
        first = first_frame(path, container, stream)
        frame, first_pts, later = first.frame, first.pts, first.later
        side_data = side_data_of(frame)
        video = _video_info(container, stream, frame, first_pts, side_data)
        return MediaInfo(
            path=path,
            container=container.format.name,
            streams=streams,
            video=video,
            duration=_duration(container, stream, first_pts),
            notes=tuple(_notes({*side_data, *later})),
            chapters=len(container.chapters()),
            pipe=pipe,
            numbered=numbered,
        )


def _video_info(
    container: InputContainer, stream: VideoStream, frame: VideoFrame, first_pts: int, side_data: Mapping[str, bytes]
) -> VideoInfo:
    layout = planar_layout(frame.format.name)
    rate = _rate(container, stream)
    return VideoInfo(
        index=stream.index,
        height=frame.height,
        width=frame.width,
        codec=codec_name(stream),
        pix_fmt=frame.format.name,
        layout=layout,
        color=source_color(stream, frame, layout),
        rate=rate,
        time_base=stream.time_base or 1 / rate,
        first_pts=first_pts,
        sample_aspect_ratio=_aspect(stream),
        display_matrix=display_matrix_of(frame),
        has_alpha=has_alpha(frame.format.name),
        is_interlaced=bool(frame.interlaced_frame) or stream.codec_context.field_order in (2, 3, 4, 5),
        frame_estimate=_frame_estimate(stream, rate, _duration(container, stream, first_pts)),
        mastering_display=mastering_display_of(side_data),
        content_light=content_light_of(side_data),
    )


def _aspect(stream: VideoStream) -> Fraction | None:
    """The shape of a pixel; nonsense, as damage makes it, is taken as not said."""
    ratio = stream.sample_aspect_ratio
    return ratio if ratio and 1 / _WIDEST_PIXEL <= ratio <= _WIDEST_PIXEL else None


def _rate(container: InputContainer, stream: VideoStream) -> Fraction:
    """A rate one can believe: libav's guess when the average bears it out, else measured on the first packets."""
    said = [r for r in (stream.guessed_rate, stream.average_rate) if r]
    if len(said) == 2 and abs(said[0] - said[1]) <= said[1] / 10:
        return _believable(said[0])
    measured = _measured_rate(container, stream)
    return _believable(measured or min(said, default=Fraction(25)))


def _believable(rate: Fraction) -> Fraction:
    return max(_SLOWEST, min(rate, _FASTEST))


def _measured_rate(container: InputContainer, stream: VideoStream) -> Fraction | None:
    times: list[int] = []
    try:
        container.seek(0, backward=True, any_frame=False)
        for packet in packets_of(container, stream):
            if packet.size and packet.pts is not None:
                times.append(packet.pts)
            if len(times) >= _PACKETS_FOR_RATE:
                break
    except (FFmpegError, OSError):  # cannot be sought, or ends in damage: measure what came
        pass
    times = sorted(times)[:-4]  # late ones may lack a neighbour that is still to come
    steps = [after - before for before, after in itertools.pairwise(times) if after > before]
    if len(steps) < 4 or not stream.time_base:
        return None
    return 1 / (Fraction(statistics.median(steps)) * stream.time_base)


def _duration(container: InputContainer, stream: VideoStream, first_pts: int) -> Fraction | None:
    """Seconds from the first frame to the end of the last, from the stream where it tells, else of the whole file."""
    end = tagged_end(stream)
    if end is not None and stream.time_base:
        return max(Fraction(0), end - first_pts * stream.time_base) or None
    if stream.duration and stream.time_base:
        unshown = 0 if stream.start_time is None else max(0, first_pts - stream.start_time)  # before the first keyframe
        return max(1, stream.duration - unshown) * stream.time_base
    if container.duration:
        return Fraction(container.duration, 1_000_000)
    return None


def _frame_estimate(stream: VideoStream, rate: Fraction, duration: Fraction | None) -> int | None:
    counted = stream.frames or _tagged_count(stream.metadata.items())
    if counted:
        return counted
    return None if duration is None else max(1, round(duration * rate))


def _tagged_count(tags: Iterable[tuple[str, str]]) -> int:
    """mkvmerge's statistics: NUMBER_OF_FRAMES, or NUMBER_OF_FRAMES-eng."""
    return next((int(v) for k, v in tags if k.startswith("NUMBER_OF_FRAMES") and v.isdigit()), 0)


def _notes(side_data: Container[str]) -> Iterable[str]:
    yield from dict.fromkeys(note for name, note in _LOST_SIDE_DATA.items() if name in side_data)
