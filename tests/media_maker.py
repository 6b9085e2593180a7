"""Makes small clips whose frames, times, colours and streams are known, for all tests that read or write video."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.subtitles.stream import SubtitleStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vsr.frames import ColorSpec, SegmentFile
from vsr.io.assembly import Assembled
from vsr.io.container import plan_streams
from vsr.io.join import join
from vsr.io.opening import open_input, packets_of
from vsr.io.priority import ordinary_priority
from vsr.io.probe import probe
from vsr.stage import Cancel

if TYPE_CHECKING:
    from av.container.core import Chapter as AvChapter

os.environ.setdefault("SVT_LOG", "1")  # the library writes to stderr itself, unless told so before its first use

SIZE = (48, 64)  # (height, width)
SD = ColorSpec(matrix=6, primaries=6, transfer=6, full_range=False)
HD = ColorSpec(matrix=1, primaries=1, transfer=1, full_range=False)
_BITS = 8  # of a frame's number, shown as bars
_MUXERS = {".mkv": "matroska", ".ts": "mpegts", ".mpg": "mpeg"}
ENCODERS = {
    "h264": "libx264",
    "hevc": "libx265",
    "av1": "libsvtav1",
    "vp9": "libvpx-vp9",
    "ffv1": "ffv1",
    "prores": "prores_ks",
}
_QUIET = {"libx265": {"x265-params": "log-level=none:info=0"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Audio:
    """One sound track: a tone, another for each track."""

    codec: str = "aac"
    start: Fraction = Fraction(0)  # seconds
    language: str | None = None
    title: str | None = None
    flags: int = 0  # of av.stream.Disposition
    rate: int = 48000
    seconds: Fraction | None = None  # None is as long as the picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Subtitle:
    """One track of texts: (start, duration, text) in seconds."""

    codec: str = "subrip"  # subrip, ass, mov_text, webvtt
    texts: Sequence[tuple[float, float, str]] = ((0.1, 0.2, "one"), (0.4, 0.2, "two"))
    language: str | None = None
    title: str | None = None
    flags: int = 0  # of av.stream.Disposition


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    start: Fraction
    end: Fraction
    title: str


def numbered_planes(number: int, pix_fmt: str = "yuv420p", size: tuple[int, int] = SIZE) -> VideoFrame:
    """A frame that shows its number as eight upright bars of luma, dark for 0 and bright for 1, on grey chroma."""
    height, width = size
    frame = VideoFrame(width, height, pix_fmt)
    depth = frame.format.components[0].bits
    scale = 1 << (depth - 8)
    for index, plane in enumerate(frame.planes):
        dtype = np.uint8 if depth == 8 else np.uint16
        samples = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, -1)
        values = np.full((plane.height, plane.width), 128 * scale, dtype)
        if index == 0:
            bars = [200 if number >> bit & 1 else 40 for bit in range(_BITS)]
            columns = np.array(bars, np.int64)[np.arange(width) * _BITS // width]
            values[:] = (columns * scale).astype(dtype)
        samples[:, : plane.width] = values
    return frame


def number_of(frame: VideoFrame) -> int:
    """The number that `numbered_planes` put into a frame, of any size, after any codec."""
    plane = frame.planes[0]
    depth = frame.format.components[0].bits
    samples = np.frombuffer(memoryview(plane), np.uint8 if depth == 8 else np.uint16).reshape(plane.height, -1)
    luma = samples[:, : plane.width].astype(np.float64) / (1 << (depth - 8))
    edges = [plane.width * bit // _BITS for bit in range(_BITS + 1)]
    means = [luma[:, a + (b - a) // 4 : b - (b - a) // 4].mean() for a, b in pairwise(edges)]
    return sum(1 << bit for bit, mean in enumerate(means) if mean > 120)


@ordinary_priority()  # which SVT-AV1 else takes from the tests
def make_clip(
    path: Path,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = SIZE,
    pts: Sequence[int] | None = None,
    frames: int = 12,
    first: int = 0,
    time_base: Fraction = Fraction(1, 12800),
    rate: Fraction = Fraction(25),
    color: ColorSpec | None = SD,
    aspect: Fraction | None = None,
    matrix: Sequence[int] | None = None,
    options: Mapping[str, str] | None = None,
    audio: Sequence[Audio] = (),
    subtitles: Sequence[Subtitle] = (),
    chapters: Sequence[Chapter] = (),
    fonts: Sequence[str] = (),
    cover: bool = False,
    language: str | None = None,
    title: str | None = None,
    more_video: int = 0,
    container_options: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a clip; the suffix chooses the container. Frame k shows (first + k) & 255, at pts[k] ticks."""
    ticks = list(pts) if pts is not None else [round(k / rate / time_base) for k in range(frames)]
    muxer = _MUXERS.get(path.suffix, path.suffix[1:])
    chosen = {"movie_timescale": str(max(time_base.denominator, 1000))} if path.suffix in (".mp4", ".mov") else {}
    if path.suffix in (".mkv", ".webm"):
        chosen = {"avoid_negative_ts": "disabled"}
    with av.open(str(path), "w", format=muxer, container_options={**chosen, **(container_options or {})}) as file:
        file.metadata.update(metadata or {})
        if chapters:
            file.set_chapters([_chapter(number, chapter) for number, chapter in enumerate(chapters)])
        videos = [
            _add_video(file, codec, pix_fmt, size, rate, time_base, color, {**_QUIET.get(codec, {}), **(options or {})})
            for _ in range(1 + more_video)
        ]
        _describe(videos[0], language, title, None)
        if aspect is not None:
            videos[0].codec_context.sample_aspect_ratio = aspect
        if matrix is not None:
            videos[0].set_display_matrix(matrix)
        tones = [_add_audio(file, track) for track in audio]
        texts = [_add_subtitle(file, track) for track in subtitles]
        for name in fonts:
            file.add_attachment(name, "font/ttf", b"not quite a font " * 20 + name.encode())
        picture = _add_cover(file, path.suffix) if cover else None
        file.start_encoding()
        if picture is not None:
            file.mux(picture)
        last = ticks[-1] + (ticks[-1] - ticks[-2] if len(ticks) > 1 else round(1 / rate / time_base))
        sources = [_encoded_video(v, pix_fmt, size, ticks, last, time_base, color, first) for v in videos]
        sources += [
            _encoded_audio(stream, track, n, (last - ticks[0]) * time_base, ticks[0] * time_base)
            for n, (stream, track) in enumerate(zip(tones, audio, strict=True))
        ]
        sources += [_text_packets(stream, track) for stream, track in zip(texts, subtitles, strict=True)]
        packets = [packet for source in sources for packet in source]
        for packet in sorted(packets, key=lambda p: (p.dts or 0) * Fraction(p.time_base)):
            file.mux(packet)
    return path


@ordinary_priority()
def make_segments(
    folder: Path,
    groups: Sequence[Sequence[int]],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = SIZE,
    rate: Fraction = Fraction(25),
    color: ColorSpec = SD,
    aspect: Fraction | None = None,
    options: Mapping[str, str] | None = None,
) -> list[SegmentFile]:
    """Encode one segment a group of times, as the sink does: Matroska, frame k of each segment at time k.

    Frames show their number counted through all segments.
    """
    folder.mkdir(exist_ok=True)
    made: list[SegmentFile] = []
    number = 0
    for index, group in enumerate(groups):
        path = folder / f"{index:06d}.mkv"
        with av.open(str(path), "w", format="matroska") as file:
            quiet = {**_QUIET.get(codec, {}), **(options or {})}
            stream = _add_video(file, codec, pix_fmt, size, rate, 1 / rate, color, quiet)
            if aspect is not None:
                stream.codec_context.sample_aspect_ratio = aspect
            stream.codec_context.thread_count = 1
            for k in range(len(group)):
                for packet in stream.encode(_frame(number + k, pix_fmt, size, k, 1 / rate, color)):
                    file.mux(packet)
            for packet in stream.encode(None):
                file.mux(packet)
        number += len(group)
        made.append(SegmentFile(path=path, pts=tuple(group)))
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The joined picture, as a sink's plan would tell it."""

    codec: str = "h264"
    height: int = SIZE[0]
    width: int = SIZE[1]
    color: ColorSpec = SD
    sample_aspect_ratio: Fraction | None = None
    has_alpha: bool = False
    untold: frozenset[str] = frozenset()


def rejoin(
    clip: Path,
    output: Path,
    *,
    codec: str = "h264",
    segments: int = 3,
    frames: slice = slice(None),
    end_time: Fraction | None = None,
    options: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
    cancel: Cancel | None = None,
) -> Assembled:
    """Join numbered pictures, at the times of a clip's own, with its other streams; the suffix chooses the container.

    `frames` are those that are kept, as if the clip had been cut.
    """
    info = probe(clip)
    container = output.suffix[1:]
    with open_input(clip) as file:  # packets, not frames: a damaged clip holds more than can be decoded
        packets = packets_of(file, file.streams[info.video.index])
        shown = {p.pts for p in packets if p.size and p.pts is not None and not p.is_discard}
    times = sorted(time for time in shown if time >= info.video.first_pts)[frames]
    length = -(-len(times) // segments)
    groups = [times[at : at + length] for at in range(0, len(times), length)]
    aspect = info.video.sample_aspect_ratio
    pieces = make_segments(
        output.with_suffix(".segments"),
        groups,
        codec=ENCODERS[codec],
        pix_fmt="yuv422p10le" if codec == "prores" else "yuv420p",
        color=info.video.color,
        aspect=aspect,
        options=options,
    )
    return join(
        info,
        plan_streams(info, container, codec, drop),
        pieces,
        output,
        container=container,
        picture=Look(codec=codec, color=info.video.color, sample_aspect_ratio=aspect),
        cancel=cancel or Cancel(),
        first_pts=times[0] if frames.start else None,
        end_time=end_time,
    )


@contextmanager
def changed_packets(source: Path, target: Path, change: Callable[[Packet], Packet | None]) -> Iterator[Path]:
    """A copy of a file with packets changed, or left out where `change` gives None. Same container, same streams."""
    muxer = _MUXERS.get(target.suffix, target.suffix[1:])
    options = {"avoid_negative_ts": "disabled"} if muxer in ("matroska", "webm") else {"movie_timescale": "1000000"}
    with av.open(str(source)) as old, av.open(str(target), "w", format=muxer, container_options=options) as new:
        new.set_chapters(old.chapters())
        kept = [s for s in old.streams if s.type in ("video", "audio", "subtitle")]
        streams: dict[int, Stream] = {}
        for stream in kept:
            added = new.add_stream_from_template(stream, opaque=True)
            added.metadata.update(stream.metadata)
            added.disposition = stream.disposition
            streams[stream.index] = added
        for packet in old.demux(kept):
            if packet.size:
                index = packet.stream.index
                result = change(packet)
                if result is not None:
                    result.stream = streams[index]
                    new.mux(result)
    yield target


def read_packets(path: Path) -> dict[int, list[tuple[Fraction, bytes]]]:
    """(time in seconds, bytes) of all packets, by stream index, in the file's order."""
    found: dict[int, list[tuple[Fraction, bytes]]] = {}
    with av.open(str(path)) as file:
        for packet in file.demux():
            if packet.size and packet.pts is not None:
                entry = (packet.pts * packet.time_base, bytes(packet))
                found.setdefault(packet.stream.index, []).append(entry)
    return found


def read_frames(path: Path) -> list[tuple[Fraction, int]]:
    """(time in seconds, number shown) of all frames of the first video stream."""
    with av.open(str(path)) as file:
        return [((frame.pts or 0) * Fraction(frame.time_base or 0), number_of(frame)) for frame in file.decode(video=0)]


def _add_video(
    file: OutputContainer,
    codec: str,
    pix_fmt: str,
    size: tuple[int, int],
    rate: Fraction,
    time_base: Fraction,
    color: ColorSpec | None,
    options: Mapping[str, str],
) -> VideoStream:
    stream = file.add_stream(codec, rate=rate)
    assert isinstance(stream, VideoStream)
    context = stream.codec_context
    stream.height, stream.width = context.height, context.width = size
    context.pix_fmt = pix_fmt
    context.time_base = time_base
    stream.time_base = time_base
    context.options = dict(options)
    if color is not None:
        context.colorspace, context.color_primaries = color.matrix, color.primaries
        context.color_trc, context.color_range = color.transfer, 2 if color.full_range else 1
        context.options = {"chroma_sample_location": color.siting, **options}
    return stream


def _frame(
    number: int, pix_fmt: str, size: tuple[int, int], pts: int, time_base: Fraction, color: ColorSpec | None
) -> VideoFrame:
    frame = numbered_planes(number, pix_fmt, size)
    frame.pts, frame.time_base = pts, time_base
    if color is not None:
        frame.colorspace, frame.color_primaries = color.matrix, color.primaries
        frame.color_trc, frame.color_range = color.transfer, 2 if color.full_range else 1
    return frame


def _encoded_video(
    stream: VideoStream,
    pix_fmt: str,
    size: tuple[int, int],
    ticks: Sequence[int],
    last: int,
    time_base: Fraction,
    color: ColorSpec | None,
    first: int = 0,
) -> Iterator[Packet]:
    after = dict(zip(ticks, [*ticks[1:], last], strict=True))
    packets: list[Packet] = []
    for k, tick in enumerate(ticks):
        packets += stream.encode(_frame(first + k, pix_fmt, size, tick, time_base, color))
    packets += stream.encode(None)
    for number, packet in enumerate(packets):
        packet.duration = after.get(packet.pts or 0, 1) - (packet.pts or 0)
        if number == len(packets) - 1:  # mp4 counts from one decode time to the next
            packet.duration = max(1, (last - ticks[0]) - ((packet.dts or 0) - (packets[0].dts or 0)))
        yield packet


def _add_audio(file: OutputContainer, track: Audio) -> AudioStream:
    stream = file.add_stream(track.codec, rate=track.rate)
    assert isinstance(stream, AudioStream)
    stream.codec_context.layout = "mono"
    stream.codec_context.bit_rate = 64000
    _describe(stream, track.language, track.title, track.flags)
    return stream


def _encoded_audio(
    stream: AudioStream, track: Audio, number: int, seconds: Fraction, begin: Fraction
) -> Iterator[Packet]:
    count = int((track.seconds or seconds) * track.rate)
    size = stream.codec_context.frame_size or 1024
    tone = np.sin(np.arange(count) * (0.03 + 0.02 * number)).astype(np.float32) * 0.3
    layout = stream.codec_context.format.name
    for at in range(0, count, size):
        part = np.ascontiguousarray(tone[at : at + size][None])
        if layout.startswith("s16"):
            frame = AudioFrame.from_ndarray((part * 32767).astype(np.int16), format=layout, layout="mono")
        elif layout.startswith("s32"):
            frame = AudioFrame.from_ndarray((part * 2e9).astype(np.int32), format=layout, layout="mono")
        else:
            frame = AudioFrame.from_ndarray(part, format=layout, layout="mono")
        frame.sample_rate = track.rate
        frame.time_base = Fraction(1, track.rate)
        frame.pts = at + round((begin + track.start) * track.rate)
        yield from stream.encode(frame)
    yield from stream.encode(None)


_ASS_HEADER = (
    b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\nStyle: Default,Arial,16\n\n"
    b"[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)


def _add_subtitle(file: OutputContainer, track: Subtitle) -> Stream:
    stream = file.add_stream({"subrip": "srt"}.get(track.codec, track.codec))
    assert isinstance(stream, SubtitleStream)
    stream.codec_context.subtitle_header = _ASS_HEADER
    stream.codec_context.time_base = Fraction(1, 1000)
    stream.time_base = Fraction(1, 1000)
    _describe(stream, track.language, track.title, track.flags)
    return stream


def _text_packets(stream: Stream, track: Subtitle) -> Iterator[Packet]:
    for number, (start, duration, text) in enumerate(track.texts):
        data = text.encode()
        if track.codec == "mov_text":
            data = len(data).to_bytes(2, "big") + data
        if track.codec == "ass":
            data = f"{number},0,Default,,0,0,0,,{text}".encode()
        packet = Packet(data)
        packet.stream = stream
        packet.time_base = Fraction(1, 1000)
        packet.pts = packet.dts = round(start * 1000)
        packet.duration = round(duration * 1000)
        packet.is_keyframe = True
        yield packet


def _add_cover(file: OutputContainer, suffix: str) -> Packet | None:
    png = _png()
    if suffix == ".mkv":
        file.add_attachment("cover.png", "image/png", png)
        return None
    stream = file.add_mux_stream("png", width=16, height=16)
    stream.disposition = Disposition.attached_pic
    packet = Packet(png)
    packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 1000)
    packet.is_keyframe = True
    return packet


def _png() -> bytes:
    context = av.CodecContext.create("png", "w")
    context.width = context.height = 16
    context.pix_fmt, context.time_base = "rgb24", Fraction(1, 25)
    frame = VideoFrame.from_ndarray(np.full((16, 16, 3), 90, np.uint8), format="rgb24")
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def _describe(stream: Stream, language: str | None, title: str | None, flags: int | None) -> None:
    if language is not None:
        stream.metadata["language"] = language
    if title is not None:
        stream.metadata["title"] = title
    if flags is not None:
        stream.disposition = Disposition(flags)


def _chapter(number: int, chapter: Chapter) -> "AvChapter":
    return {
        "id": number + 1,
        "start": round(chapter.start * 1000),
        "end": round(chapter.end * 1000),
        "time_base": Fraction(1, 1000),
        "metadata": {"title": chapter.title},
    }
