"""Clips whose lamp flashes at the moments at which their sound clicks, and what of both a file shows and sounds.

The upper half of frame k shows k & 255 as bars, the lower half is the lamp. Files are read by decoding them.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from tests.media_maker import numbered_planes
from vsr.io.priority import ordinary_priority

BEATS = (6, 17, 31, 43)  # frames that flash; no two of their distances are alike, so none is taken for another
_SIZE = (64, 64)
_BURST = Fraction(1, 100)  # seconds of a click: 1 kHz, so that every codec keeps its front
_TONE = 1000  # Hz
_PULLDOWN = (0, 2, 5, 7)  # fields of video at which four frames of film begin; the fifth begins at 10
_BOTTOM_FIRST = {"x264-params": "bff=1:qp=4:keyint=10"}  # PyAV 18 can flag no other order


@ordinary_priority()  # which SVT-AV1 else takes from the tests
def make_clicks(
    path: Path,
    *,
    beats: Sequence[int] = BEATS,
    frames: int = 50,
    rate: Fraction = Fraction(25),
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 90000),
    picture_start: Fraction = Fraction(0),
    sound_start: Fraction = Fraction(0),
    sound_rate: int = 48000,
    video: str = "libx264",
    audio: str | None = "aac",
    fields: Literal["progressive", "interlaced", "telecined"] = "progressive",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> list[Fraction]:
    """Write a clip and give the seconds of its beats; the suffix chooses the container.

    `pts` are ticks of `time_base`, counted like `rate` from `picture_start`. The sound begins `sound_start` seconds
    after the picture, negative before, and ends with it. `telecined` counts frames and beats of film: four of them are
    five of the video.
    """
    shown = _shown(frames, beats, fields)
    ticks = [
        round((picture_start + k / rate) / time_base) if pts is None else round(picture_start / time_base) + pts[k]
        for k in range(len(shown))
    ]
    end = (ticks[-1] + ticks[-1] - ticks[-2]) * time_base
    if fields == "telecined":
        half = 1 / rate / 2
        moments = [picture_start + (10 * (beat // 4) + _PULLDOWN[beat % 4]) * half for beat in beats]
    else:
        moments = [ticks[beat] * time_base for beat in beats]
    own = {"movie_timescale": str(time_base.denominator)} if path.suffix in (".mp4", ".mov") else {}
    own |= {"avoid_negative_ts": "disabled"} if path.suffix in (".mkv", ".webm") else {}
    with av.open(str(path), "w", container_options={**own, **(container_options or {})}) as file:
        stream = file.add_stream(video, rate=rate)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, stream.pix_fmt = *_SIZE, "yuv420p"
        stream.time_base = stream.codec_context.time_base = time_base
        interlaced = {} if fields == "progressive" else _BOTTOM_FIRST
        stream.codec_context.options = {**interlaced, **(options or {})}
        sound = None if audio is None else file.add_stream(audio, rate=sound_rate)
        packets: list[Packet] = []
        for frame, tick in zip(shown, ticks, strict=True):
            frame.pts, frame.time_base = tick, time_base
            packets += stream.encode(frame)
        packets += stream.encode(None)
        following = dict(zip(ticks, [*ticks[1:], 2 * ticks[-1] - ticks[-2]], strict=True))
        for number, packet in enumerate(packets):
            packet.duration = following[packet.pts or 0] - (packet.pts or 0)
            if number == len(packets) - 1:  # mp4 counts from one decode time to the next
                packet.duration = max(
                    1, (following[ticks[-1]] - ticks[0]) - ((packet.dts or 0) - (packets[0].dts or 0))
                )
        if isinstance(sound, AudioStream):
            packets += _sound(sound, moments, picture_start + sound_start, end)
        for packet in sorted(packets, key=lambda p: (p.dts or 0) * Fraction(p.time_base)):
            file.mux(packet)
    return moments


def flashes(path: Path) -> list[Fraction]:
    """Seconds at which the lamp goes on, as the file's first video stream is decoded."""
    found: list[Fraction] = []
    was_lit = False
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            is_lit = _lamp(frame) > 120
            if is_lit and not was_lit:
                found.append((frame.pts or 0) * Fraction(frame.time_base or 0))
            was_lit = is_lit
    return found


def clicks(path: Path) -> list[Fraction]:
    """Seconds at which clicks begin, as the file's first sound stream is decoded."""
    first, line, rate = sound_line(path)
    loud = np.flatnonzero(line > max(0.1, line.max() / 2))
    begins = loud[np.flatnonzero(np.diff(loud, prepend=-rate) > rate / 20)]
    return [first + Fraction(int(at), rate) for at in begins]


def sound_line(path: Path) -> tuple[Fraction, np.ndarray, int]:
    """(seconds of the first sample, how loud each one is by its frame's time, rate) of the first sound stream."""
    parts: list[tuple[Fraction, np.ndarray]] = []
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        rate = stream.codec_context.sample_rate
        for frame in file.decode(stream):
            time = (frame.pts or 0) * Fraction(frame.time_base or 1)
            for one in AudioResampler("fltp", "mono", rate).resample(frame):
                parts.append((time, np.abs(one.to_ndarray()[0])))
                time += Fraction(one.samples, rate)
    first = parts[0][0]
    line = np.zeros(round((parts[-1][0] - first) * rate) + len(parts[-1][1]) + rate)
    for time, samples in parts:
        at = round((time - first) * rate)
        line[at : at + len(samples)] = samples
    return first, line, rate


def lags(path: Path) -> list[Fraction]:
    """Seconds by which each click comes after its flash; there must be as many of the one as of the other."""
    seen, heard = flashes(path), clicks(path)
    assert len(seen) == len(heard) > 0, ([float(t) for t in seen], [float(t) for t in heard])
    return [click - flash for flash, click in zip(seen, heard, strict=True)]


def _shown(count: int, beats: Sequence[int], fields: str) -> list[VideoFrame]:
    """The frames that are encoded."""
    pictures = [_picture(k, is_lit=k in beats) for k in range(count)]
    if fields != "telecined":
        return pictures
    half = [picture for k, picture in enumerate(pictures) for _ in range(2 + k % 2)]
    return [_woven(first, second) for first, second in zip(half[::2], half[1::2], strict=False)]


def _picture(number: int, *, is_lit: bool) -> VideoFrame:
    frame = numbered_planes(number, size=_SIZE)
    _luma(frame)[frame.height // 2 :] = 220 if is_lit else 30
    return frame


def _woven(first: VideoFrame, second: VideoFrame) -> VideoFrame:
    """One frame of two fields, the bottom one of the earlier moment."""
    frame = numbered_planes(0, size=_SIZE)
    _luma(frame)[1::2], _luma(frame)[0::2] = _luma(first)[1::2], _luma(second)[0::2]
    return frame


def _luma(frame: VideoFrame) -> np.ndarray:
    """The luma of an 8-bit frame, (height, line), to be read and written."""
    return np.frombuffer(memoryview(frame.planes[0]), np.uint8).reshape(frame.height, -1)


def _lamp(frame: VideoFrame) -> float:
    """How bright the lamp is, of 255, at whatever size and depth."""
    depth = frame.format.components[0].bits
    plane = frame.planes[0]
    lines = np.frombuffer(memoryview(plane), np.uint8 if depth == 8 else np.uint16).reshape(plane.height, -1)
    return float(lines[plane.height * 3 // 4 :, : plane.width].mean()) / (1 << (depth - 8))


def _sound(stream: AudioStream, moments: Sequence[Fraction], start: Fraction, end: Fraction) -> list[Packet]:
    """Silence from `start` to `end` with a click at each of the moments between them."""
    context = stream.codec_context
    context.layout, rate = "mono", context.sample_rate
    if not context.codec.lossless:
        context.bit_rate = 64000
    line = np.zeros(round((end - start) * rate), np.float32)
    burst = 0.8 * np.sin(2 * np.pi * _TONE * np.arange(round(_BURST * rate)) / rate + np.pi / 2)
    for moment in moments:
        at = round((moment - start) * rate)
        if 0 <= at < len(line) - len(burst):
            line[at : at + len(burst)] = burst
    packets: list[Packet] = []
    size = context.frame_size or 1024
    to_encoder = AudioResampler(context.format.name, "mono", rate)
    for at in range(0, len(line), size):
        frame = AudioFrame.from_ndarray(line[at : at + size][None], format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), round(start * rate) + at
        for one in to_encoder.resample(frame):
            packets += stream.encode(one)
    return [*packets, *stream.encode(None)]
