"""Sound and texts that the container cannot hold: converted at the source's times, and the plan equals the file."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.packet import Packet

from tests.media_maker import Look, changed_packets, make_clip, make_segments
from vsr.io.container import plan_streams
from vsr.io.join import Joined, join
from vsr.io.probe import probe
from vsr.stage import Cancel
from vsr.verify import check_output

_RATE = 48000
_CLICK = Fraction(1, 4)  # seconds between clicks
_CONTAINERS = {"mp4": "aac", "mov": "aac", "mkv": "flac", "webm": "opus"}


def _converted(clip: Path, output: Path, audio: Any = "auto", *, drop: Sequence[str] = (), cut: bool = False) -> Joined:
    """The clip joined with pictures of its own times, 25 a second; `cut` keeps its second second only."""
    info, container = probe(clip), output.suffix[1:]
    codec = "av1" if container == "webm" else "h264"
    base, first = info.video.time_base, info.video.first_pts
    times = [first + round(Fraction(k, 25) / base) for k in range(25 if cut else 0, 50)]
    encoder = {"av1": "libsvtav1", "h264": "libx264"}[codec]
    return join(
        info,
        plan_streams(info, container, codec, drop, audio),
        make_segments(output.with_suffix(".segments"), [times], codec=encoder),
        output,
        container=container,
        picture=Look(codec=codec),
        cancel=Cancel(),
        first_pts=times[0] if cut else None,
    )


def _clicks(seconds: Fraction, rate: int = _RATE) -> np.ndarray:
    """A click every quarter of a second, of 20 samples, in silence."""
    sound = np.zeros(round(seconds * rate), np.float32)
    for n in range(1, round(seconds / _CLICK)):
        at = round(n * _CLICK * rate)
        sound[at : at + 20] = 0.8
    return sound


def _click_clip(path: Path, *, start: Fraction = Fraction(0), codec: str = "pcm_s16le", rate: int = _RATE) -> Path:
    """Two seconds of picture from zero; its sound, put in from `start`, has clicks at whole quarters after that."""
    silent = make_clip(path.with_suffix(".silent.mkv"), frames=50)
    with av.open(str(silent)) as old, av.open(str(path), "w") as new:
        video = new.add_stream_from_template(old.streams.video[0], opaque=True)
        sound = new.add_stream(codec, rate=rate)
        assert isinstance(sound, AudioStream)
        sound.codec_context.layout = "mono"
        new.start_encoding()
        packets: list[Packet] = [p for p in old.demux() if p.size]
        for packet in packets:
            packet.stream = video
        samples = _clicks(2 - start, rate)
        for at in range(0, len(samples), 1000):
            part = np.ascontiguousarray(samples[at : at + 1000][None] * 32767).astype(np.int16)
            frame = AudioFrame.from_ndarray(part, format="s16", layout="mono")
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = at + round(start * rate)
            packets += sound.encode(frame)
        packets += sound.encode(None)
        for packet in sorted(packets, key=lambda p: (p.dts or 0) * Fraction(p.time_base)):
            new.mux(packet)
    return path


def _decoded(path: Path) -> tuple[Fraction, np.ndarray, int]:
    """(time of the first sample, samples of the first channel on one time line, rate)."""
    with av.open(str(path)) as file:
        parts: list[tuple[int, np.ndarray]] = []
        rate = file.streams.audio[0].codec_context.sample_rate
        first: Fraction | None = None
        for frame in file.decode(file.streams.audio[0]):
            samples = frame.to_ndarray()
            channels = frame.layout.nb_channels
            one = samples[0] if frame.format.is_planar else samples.reshape(-1, channels)[:, 0]
            time = (frame.pts or 0) * Fraction(frame.time_base or 1)
            first = time if first is None else first
            scale = {2: 32767, 4: 2**31}[one.dtype.itemsize] if one.dtype.kind == "i" else 1
            parts.append((round((time - first) * rate), one.astype(np.float64) / scale))
    assert first is not None
    line = np.zeros(parts[-1][0] + len(parts[-1][1]) + 100)
    for at, samples in parts:
        line[at : at + len(samples)] = samples
    return first, line, rate


def _heard(path: Path) -> list[float]:
    """Seconds at which clicks begin, as a player hears them."""
    first, line, rate = _decoded(path)
    loud = np.flatnonzero(np.abs(line) > 0.2)
    begins = loud[np.flatnonzero(np.diff(loud, prepend=-rate) > rate / 10)]
    return [float(first) + at / rate for at in begins]


def _in_step(path: Path, wanted: Sequence[float]) -> None:
    heard = _heard(path)
    assert len(heard) == len(wanted), heard
    assert max(abs(a - b) for a, b in zip(heard, wanted, strict=True)) <= 0.0011  # a tick of Matroska, and a sample


@pytest.mark.parametrize("container", list(_CONTAINERS))
@pytest.mark.parametrize("start", [Fraction(0), Fraction(1, 100), Fraction(1, 2)])
def test_clicks_stay_where_they_were(tmp_path: Path, container: str, start: Fraction) -> None:
    clip = _click_clip(tmp_path / "clip.mkv", start=start)
    output = tmp_path / f"out.{container}"
    joined = _converted(clip, output, _CONTAINERS[container])
    assert check_output(output, joined) == []
    wanted = [float(start + n * _CLICK) for n in range(1, round((2 - start) / _CLICK))]
    _in_step(output, wanted)
    with av.open(str(output)) as file:
        assert file.streams.audio[0].codec_context.codec.canonical_name == _CONTAINERS[container]


def test_the_cut_of_converted_sound_is_exact(tmp_path: Path) -> None:
    clip = _click_clip(tmp_path / "clip.mkv")
    for container, codec in _CONTAINERS.items():
        output = tmp_path / f"out.{container}"
        joined = _converted(clip, output, codec, cut=True)
        assert check_output(output, joined) == []
        _in_step(output, [0, 0.25, 0.5, 0.75])


def test_a_gap_becomes_silence_and_an_overlap_is_cut(tmp_path: Path) -> None:
    clip = _click_clip(tmp_path / "clip.mkv")
    for move, wanted in (
        (100, [0.25, 0.5, 0.75, 1.1, 1.35, 1.6, 1.85]),
        (-20, [0.25, 0.5, 0.75, 0.98, 1.23, 1.48, 1.73]),
    ):

        def moved(packet: Packet, move: int = move) -> Packet:
            if packet.stream.type == "audio" and (packet.pts or 0) * packet.time_base >= Fraction(9, 10):
                packet.pts = packet.dts = (packet.pts or 0) + move
            return packet

        with changed_packets(clip, tmp_path / f"moved{move}.mkv", moved) as source:
            for container, codec in _CONTAINERS.items():
                output = tmp_path / f"out{move}.{container}"
                joined = _converted(source, output, codec)
                assert check_output(output, joined) == []
                _in_step(output, wanted)


def test_damaged_sound_becomes_silence_of_its_length(tmp_path: Path) -> None:
    clip = _click_clip(tmp_path / "clip.mkv", codec="flac")

    def torn(packet: Packet) -> Packet:
        if packet.stream.type == "audio" and 0.3 < (packet.pts or 0) * packet.time_base < 0.6:
            bad = Packet(bytes(packet)[:20])
            bad.pts, bad.dts, bad.duration, bad.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
            return bad
        return packet

    with changed_packets(clip, tmp_path / "torn.mkv", torn) as source:
        joined = _converted(source, tmp_path / "out.mp4", "aac")
    assert any("damaged packets became silence" in note for note in joined.notes), joined.notes
    assert check_output(tmp_path / "out.mp4", joined) == []
    _in_step(tmp_path / "out.mp4", [0.25, 0.75, 1.0, 1.25, 1.5, 1.75])
