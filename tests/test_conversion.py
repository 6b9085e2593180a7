"""Sound and texts that the container cannot hold: converted at the source's times, and the plan equals the file."""

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Disposition
from av.subtitles.subtitle import AssSubtitle

from tests.containers_table import outcomes, sayings, table
from tests.media_maker import Audio, Look, Subtitle, changed_packets, make_clip, make_segments
from vsr.errors import MediaError
from vsr.io import audio as audio_module
from vsr.io.assembly import Assembled
from vsr.io.container import default_suffix, plan_streams
from vsr.io.join import join
from vsr.io.probe import probe
from vsr.stage import Cancel
from vsr.verify import check_output

_RATE = 48000
_CLICK = Fraction(1, 4)  # seconds between clicks
_CONTAINERS = {"mp4": "aac", "mov": "aac", "mkv": "flac", "webm": "opus"}


def _converted(
    clip: Path, output: Path, audio: Any = "auto", *, drop: Sequence[str] = (), cut: bool = False
) -> Assembled:
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
    assert joined.damage
    assert {(damage.stream, damage.is_missing) for damage in joined.damage} == {("a:0", False)}
    assert check_output(tmp_path / "out.mp4", joined) == []
    _in_step(tmp_path / "out.mp4", [0.25, 0.75, 1.0, 1.25, 1.5, 1.75])


def test_the_tables_in_the_docs_are_what_comes_out(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "containers.md").read_text(encoding="utf-8")
    assert table(outcomes(tmp_path)) in page
    assert table(sayings(tmp_path)) in page


def _cues(path: Path) -> list[tuple[float, float, str]]:
    """(begin, end, text without marks) in seconds, as decoded."""
    found: list[tuple[float, float, str]] = []
    with av.open(str(path)) as file:
        stream = file.streams.subtitles[0]
        for packet in file.demux(stream):
            cues = stream.codec_context.decode2(packet) if packet.size else None
            texts = [rect.dialogue.decode() for rect in cues or () if isinstance(rect, AssSubtitle)]
            if packet.pts is not None and any(texts):
                begin = packet.pts * packet.time_base
                found.append(
                    (
                        float(begin),
                        float(begin + (packet.duration or 0) * packet.time_base),
                        re.sub(r"{[^}]*}", "", "|".join(texts)),
                    )
                )
    return found


_LINES = [(0.1, 0.2, "one"), (0.4, 0.5, "zwei, drei & vier"), (1.5, 0.4, "пять")]


@pytest.mark.parametrize("text", ["subrip", "ass", "webvtt", "mov_text"])
def test_texts_keep_their_words_and_times(tmp_path: Path, text: str) -> None:
    suffix = "mp4" if text == "mov_text" else "mkv"
    track = Subtitle(codec=text, texts=_LINES, language="fra", flags=Disposition.forced)
    clip = make_clip(tmp_path / f"clip.{suffix}", frames=50, subtitles=[track])
    for container in _CONTAINERS:
        output = tmp_path / f"out.{container}"
        joined = _converted(clip, output)
        assert check_output(output, joined) == []
        found = _cues(output)
        assert [line for _, _, line in found] == [line for _, _, line in _LINES]
        for (begin, end, _), (at, length, _) in zip(found, _LINES, strict=True):
            assert begin == pytest.approx(at, abs=0.001)
            assert end == pytest.approx(at + length, abs=0.001)
        assert probe(output).streams[1].language == "fra"


def test_a_cut_clips_converted_texts(tmp_path: Path) -> None:
    lines = [(0.2, 0.3, "gone"), (0.8, 0.5, "clipped"), (1.5, 0.2, "moved")]
    clip = make_clip(tmp_path / "clip.mkv", frames=50, subtitles=[Subtitle(texts=lines)])
    joined = _converted(clip, tmp_path / "out.mp4", cut=True)
    assert check_output(tmp_path / "out.mp4", joined) == []
    assert _cues(tmp_path / "out.mp4") == [(0, 0.3, "clipped"), (0.5, 0.7, "moved")]


def _tones(path: Path, layout: str, rate: int = _RATE, codec: str = "pcm_s16le") -> Path:
    """A clip whose sound has another tone in each channel: 300 Hz, 500 Hz, ..."""
    silent = make_clip(path.with_suffix(".silent.mkv"), frames=50)
    with av.open(str(silent)) as old, av.open(str(path), "w") as new:
        video = new.add_stream_from_template(old.streams.video[0], opaque=True)
        sound = new.add_stream(codec, rate=rate)
        assert isinstance(sound, AudioStream)
        sound.codec_context.layout = layout
        new.start_encoding()
        for packet in old.demux():
            if packet.size:
                packet.stream = video
                new.mux(packet)
        channels = sound.codec_context.layout.nb_channels
        time = np.arange(2 * rate)[:, None] / rate
        waves = 0.3 * np.sin(2 * np.pi * (300 + 200 * np.arange(channels)) * time)
        for at in range(0, len(waves), 960):
            part = np.ascontiguousarray(waves[at : at + 960].reshape(1, -1) * 32767).astype(np.int16)
            frame = AudioFrame.from_ndarray(part, format="s16", layout=layout)
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), at
            new.mux(sound.encode(frame))
        new.mux(sound.encode(None))
    return path


def _loudest(path: Path) -> tuple[str, int, list[float]]:
    """(layout, rate, the loudest frequency in each channel)."""
    with av.open(str(path)) as file:
        packed: list[np.ndarray] = []
        for frame in file.decode(file.streams.audio[0]):
            for one in AudioResampler("flt").resample(frame):
                packed += [one.to_ndarray().reshape(-1, one.layout.nb_channels)]
        context = file.streams.audio[0].codec_context
        rate, layout = context.sample_rate, context.layout.name
    second = np.concatenate(packed)[rate // 2 : rate // 2 + rate]
    return layout, rate, list(np.abs(np.fft.rfft(second * np.hanning(rate)[:, None], axis=0)).argmax(axis=0))


@pytest.mark.parametrize(
    ("layout", "container", "audio", "wanted"),
    [
        ("stereo", "mp4", "aac", ("stereo", [300, 500])),
        ("5.1", "mp4", "flac", ("5.1(side)", [300, 500, 700, 900, 1100, 1300])),  # as FLAC calls it
        ("5.1(side)", "webm", "opus", ("5.1", [300, 500, 700, 900, 1100, 1300])),
        ("5.0", "mkv", "opus", ("5.1", [300, 500, 700, 0, 900, 1100])),
        ("7.1", "mkv", "opus", ("7.1", [300, 500, 700, 900, 1100, 1300, 1500, 1700])),
        ("quad", "mov", "aac", ("5.0", [300, 500, 0, 700, 900])),
        ("5.1", "mov", "aac", ("5.1", [300, 500, 700, None, 1100, 1300])),  # AAC keeps only the bass of its fourth
    ],
)
def test_channels_keep_their_order(
    tmp_path: Path, layout: str, container: str, audio: str, wanted: tuple[str, list[int | None]]
) -> None:
    clip = (
        _tones(tmp_path / "clip.nut", layout)
        if audio == "flac"
        else _tones(tmp_path / "clip.mkv", layout, codec="flac")
    )
    output = tmp_path / f"out.{container}"
    joined = _converted(clip, output, audio)
    assert check_output(output, joined) == []
    name, rate, tones = _loudest(output)
    assert (name, rate) == (wanted[0], _RATE)
    for found, tone in zip(tones, wanted[1], strict=True):
        assert tone in (found, None)


@pytest.mark.parametrize(("rate", "written"), [(44100, 44100), (8000, 8000), (192000, 96000)])
def test_the_rate_is_kept_where_the_encoder_has_it(tmp_path: Path, rate: int, written: int) -> None:
    clip = _tones(tmp_path / "clip.mkv", "stereo", rate)
    for container, codec, wanted in (("mp4", "aac", written), ("webm", "opus", 48000), ("mkv", "flac", rate)):
        output = tmp_path / f"out.{container}"
        joined = _converted(clip, output, codec)
        assert check_output(output, joined) == []
        assert _loudest(output)[1:] == (wanted, [300, 500])


def test_clicks_stay_where_they_were_at_another_rate(tmp_path: Path) -> None:
    clip = _click_clip(tmp_path / "clip.mkv", start=Fraction(1, 2), rate=44100)
    for container, codec in (("mp4", "opus"), ("webm", "opus"), ("mov", "aac"), ("mkv", "aac")):
        output = tmp_path / f"out.{container}"
        assert check_output(output, _converted(clip, output, codec)) == []
        _in_step(output, [0.75, 1.0, 1.25, 1.5, 1.75])


def test_sound_that_changes_midway_goes_on(tmp_path: Path) -> None:
    base = Fraction(1, 90000)
    first = make_clip(tmp_path / "a.ts", pts=[k * 3600 for k in range(25)], time_base=base, audio=[Audio(codec="mp2")])
    second = make_clip(
        tmp_path / "b.ts",
        pts=[k * 3600 for k in range(25, 50)],
        time_base=base,
        audio=[Audio(codec="mp2", rate=44100)],
    )
    clip = tmp_path / "clip.ts"
    clip.write_bytes(first.read_bytes() + second.read_bytes())
    joined = _converted(clip, tmp_path / "out.mp4", "aac")
    assert check_output(tmp_path / "out.mp4", joined) == []
    _, line, rate = _decoded(tmp_path / "out.mp4")
    loud = np.abs(line[: 19 * rate // 10]).reshape(-1, rate // 10).max(axis=1) > 0.1
    assert loud.all(), loud


def test_what_audio_orders_is_done(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", audio=[Audio(), Audio(codec="flac", language="deu"), Audio(codec="ac3")])
    info = probe(clip)

    def plan(container: str, audio: Any) -> list[tuple[str, str]]:
        return [(p.action, p.why) for p in plan_streams(info, container, "av1", audio=audio)[1:]]

    assert plan("mkv", "auto") == [("copy", "")] * 3
    assert plan("webm", "auto") == [("convert", "to opus 64 kb/s")] * 3
    assert plan("mkv", "aac") == [("copy", ""), ("convert", "to aac 96 kb/s"), ("convert", "to aac 96 kb/s")]
    assert plan("mkv", "flac") == [("convert", "to flac"), ("copy", ""), ("convert", "to flac")]
    assert plan("mp4", "none") == [("drop", "asked by --audio none")] * 3
    assert plan("mp4", "copy") == [("copy", "")] * 3
    with pytest.raises(MediaError, match=r"a:0 \(aac\), a:1 \(flac\), a:2 \(ac3\) cannot go .*--drop .*NAME.mkv"):
        plan("webm", "copy")
    with pytest.raises(MediaError, match=r"a:0 \(aac as opus\), .* cannot go into mov; .*-o NAME.mkv"):
        plan_streams(info, "mov", "h264", audio="opus")


def test_no_container_is_chosen_that_needs_a_conversion(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", audio=[Audio(codec="flac")])
    assert default_suffix(probe(clip)) == ".mp4"
    assert default_suffix(probe(clip), "prores") == ".mkv"  # mov would need AAC
    assert default_suffix(probe(clip), "prores", audio="aac") == ".mkv"
    mov = make_clip(tmp_path / "clip.mov", audio=[Audio()])
    assert default_suffix(probe(mov), "prores") == default_suffix(probe(mov), audio="none") == ".mov"
    assert default_suffix(probe(mov), audio="opus") == ".mkv"
    webm = make_clip(tmp_path / "clip.webm", codec="libvpx-vp9", audio=[Audio(codec="libopus")])
    assert default_suffix(probe(webm), audio="aac") == ".mkv"
    strange = make_clip(tmp_path / "clip.asf", audio=[Audio(codec="wmav2")])
    assert default_suffix(probe(strange)) == ".mkv"


def test_wrong_conversions_are_found(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    clip = make_clip(tmp_path / "clip.mkv", frames=50, audio=[Audio(codec="flac")], subtitles=[Subtitle()])
    joined = _converted(clip, output, "aac")
    assert check_output(output, joined) == []
    sound, text = joined.copies
    assert sound.sound is not None
    for change, said in (
        ({"channels": 2}, "a:0: has 1 channels at 48000 Hz instead of 2 at 48000 Hz"),
        ({"rate": 44100}, "a:0: has 1 channels at 48000 Hz instead of 1 at 44100 Hz"),
        ({"end": Fraction(3)}, "a:0: ends at 2.000 s instead of 3.000 s"),
    ):
        wrong = replace(joined, copies=(replace(sound, sound=replace(sound.sound, **change)), text))
        assert check_output(output, wrong) == [said]
    wrong = replace(joined, copies=(sound, replace(text, digest="other")))
    assert check_output(output, wrong) == ["s:0: its packets differ from those encoded"]
    late = replace(joined, copies=(sound, replace(text, times=[time + 100 for time in text.times])))
    assert check_output(output, late) == ["s:0: is 100.0 ms early against the picture"]


@pytest.mark.parametrize(
    ("codec", "suffix"), [("aac", "mp4"), ("libopus", "mkv"), ("libmp3lame", "mkv"), ("ac3", "ts"), ("mp2", "ts")]
)
def test_clicks_of_any_source_stay_where_it_has_them(tmp_path: Path, codec: str, suffix: str) -> None:
    clip = _click_clip(tmp_path / f"clip.{suffix}", codec=codec)  # which may start with an encoder's delay, told or not
    for container, audio in (("mp4", "flac"), ("mov", "aac"), ("webm", "opus")):
        output = tmp_path / f"out.{container}"
        joined = _converted(clip, output, audio)
        assert check_output(output, joined) == []
        _in_step(output, _heard(clip))


def test_a_file_that_starts_late_keeps_sound_and_picture_together(tmp_path: Path) -> None:
    def later(packet: Packet) -> Packet:
        packet.pts, packet.dts = (packet.pts or 0) + 10_000, (packet.dts or 0) + 10_000
        return packet

    with changed_packets(_click_clip(tmp_path / "clip.mkv"), tmp_path / "late.mkv", later) as clip:
        for container, audio in _CONTAINERS.items():
            output = tmp_path / f"out.{container}"
            assert check_output(output, _converted(clip, output, audio)) == []
            assert probe(output).video.first_pts * probe(output).video.time_base == 10
            _in_step(output, [10 + n / 4 for n in range(1, 8)])
            cut = _converted(clip, output, audio, cut=True)
            assert check_output(output, cut) == []
            _in_step(output, [10.0, 10.25, 10.5, 10.75])


def test_what_the_encoder_refuses_is_refused_before_the_first_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(tmp_path / "clip.mkv", audio=[Audio(codec="flac")])
    monkeypatch.setattr(audio_module, "_OPUS_RATE", 11025)  # which libopus does not take
    with pytest.raises(MediaError, match=r"a:0 \(flac\) cannot go into webm; .*-o NAME.mkv"):
        plan_streams(probe(clip), "webm", "av1")
