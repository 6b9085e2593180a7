"""What goes through pipes: sources that come once, outputs that nobody can go back in."""

import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import pytest
from click.testing import CliRunner

from tests.clicks import lags, make_clicks
from tests.media_maker import Audio, Subtitle, make_clip, read_frames, read_packets
from vsr.audit import verify_video
from vsr.cli import commands
from vsr.errors import Cancelled, ConfigError, MediaError
from vsr.events import DoneEvent, NoteEvent, PlanEvent
from vsr.io import single_pass
from vsr.pipes import STANDARD, Inflow, is_pipe, outflow
from vsr.settings import UpscaleSettings
from vsr.stage import Cancel
from vsr.video import upscale_video

UNEVEN = [512 * k + 150 * (k % 3) for k in range(14)]  # ticks of 1/12800 s


class Piped:
    """A run from a pipe into a pipe, with what it told and what came out."""

    def __init__(self, folder: Path, settings: UpscaleSettings) -> None:
        self.source, self.target = folder / "in.fifo", folder / "out.fifo"
        for path in (self.source, self.target):
            os.mkfifo(path)
        self.settings = settings
        self.events: list = []
        self.out = b""
        self.unread = 0

    def run(self, data: bytes, *, most: int | None = None) -> DoneEvent:
        """Feed `data` in and take at most `most` bytes out."""
        threads = [
            threading.Thread(target=self._feed, args=(data,)),
            threading.Thread(target=self._drain, args=(most,)),
        ]
        for thread in threads:
            thread.start()
        try:
            return upscale_video(self.source, self.target, settings=self.settings, on_event=self.events.append)
        finally:
            self._let_go()
            for thread in threads:
                thread.join()

    def notes(self) -> str:
        return "\n".join(event.message for event in self.events if isinstance(event, NoteEvent))

    def plan(self) -> PlanEvent:
        return next(event for event in self.events if isinstance(event, PlanEvent))

    def _feed(self, data: bytes) -> None:
        with self.source.open("wb", buffering=0) as pipe:
            rest = memoryview(data)
            with suppress(BrokenPipeError):
                while rest:
                    rest = rest[pipe.write(rest[:65536]) :]
            self.unread = len(rest)

    def _drain(self, most: int | None) -> None:
        with self.target.open("rb", buffering=0) as pipe:
            while (most is None or len(self.out) < most) and (data := pipe.read(65536)):
                self.out += data

    def _let_go(self) -> None:
        """Open the other ends of what the run never opened, so that the threads come back."""
        for path, flag in ((self.source, os.O_RDONLY), (self.target, os.O_WRONLY)):
            with suppress(OSError):
                os.close(os.open(path, flag | os.O_NONBLOCK))


@pytest.fixture
def piped(tmp_path: Path, nearest: Path) -> Callable[..., Piped]:
    def make(**given: object) -> Piped:
        return Piped(tmp_path, UpscaleSettings(model=str(nearest), scale=Fraction(2), **given))  # type: ignore[arg-type]

    return make


def _as(clip: Path, suffix: str) -> bytes:
    """The clip's packets in another container."""
    form = {".nut": "nut", ".ts": "mpegts", ".mkv": "matroska"}[suffix]
    memory = io.BytesIO()
    with av.open(str(clip)) as source, av.open(memory, "w", format=form) as file:
        streams = {s.index: file.add_stream_from_template(s, opaque=True) for s in source.streams}
        for packet in source.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                file.mux(packet)
    return memory.getvalue()


def _kept(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _relative(path: Path) -> list[tuple[Fraction, int]]:
    frames = read_frames(path)
    return [(time - frames[0][0], number) for time, number in frames]


@pytest.mark.parametrize("suffix", [".mkv", ".nut", ".ts"])
def test_every_frame_goes_through_pipes_at_its_time(piped, tmp_path, suffix):
    clip = make_clip(tmp_path / "clip.mkv", frames=14, pts=UNEVEN, audio=[Audio()])
    data = _as(clip, suffix)
    source = _kept(tmp_path / f"source{suffix}", data)
    run = piped()
    done = run.run(data)
    assert done.frames == 14
    result = _kept(tmp_path / "result.nut", run.out)
    assert _relative(result) == _relative(source)


def test_sound_and_texts_keep_their_distance_to_the_picture(piped, tmp_path):
    clip = make_clip(
        tmp_path / "clip.mkv", frames=14, pts=UNEVEN, audio=[Audio(language="ger")], subtitles=[Subtitle()]
    )
    run = piped()
    run.run(clip.read_bytes())
    result = _kept(tmp_path / "result.nut", run.out)
    before, after = read_packets(clip), read_packets(result)
    first = [min(time for time, _ in packets[0]) for packets in (before, after)]
    assert [time - first[1] for time, _ in after[1]] == [time - first[0] for time, _ in before[1]]
    assert [data for _, data in after[1]] == [data for _, data in before[1]]
    assert [time - first[1] for time, _ in after[2]] == [time - first[0] for time, _ in before[2]]
    assert [row[2] for row in run.plan().streams] == ["upscale", "copy", "convert"]
    assert "before zero: all move up" in run.notes()  # AAC warms up before it, and NUT counts from zero
    with av.open(str(result)) as file:
        assert file.streams[1].metadata["language"] == "ger"


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "ffv1"])
def test_each_codec_streams_with_frames_in_any_order(piped, tmp_path, codec):
    clip = make_clip(tmp_path / "clip.mkv", frames=14, pts=UNEVEN)
    run = piped(codec=codec)
    run.run(clip.read_bytes())
    assert _relative(_kept(tmp_path / "result.nut", run.out)) == _relative(clip)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_piped_source_becomes_a_checked_file(piped, tmp_path, suffix):
    clip = make_clip(tmp_path / "clip.mkv", frames=14, pts=UNEVEN, audio=[Audio()])
    run = piped()
    run.target = tmp_path / f"result{suffix}"
    feeder = threading.Thread(target=run._feed, args=(clip.read_bytes(),))
    feeder.start()
    done = upscale_video(run.source, run.target, settings=run.settings)
    feeder.join()
    assert done.frames == 14
    assert _relative(run.target) == _relative(clip)
    assert not (tmp_path / f"result{suffix}.vsr").exists()
    assert verify_video(clip, run.target).findings == 0


def test_y4m_holds_the_picture_and_says_so(piped, tmp_path):
    clip = make_clip(tmp_path / "clip.mkv", frames=14, audio=[Audio()])
    run = piped(container="y4m")
    run.run(clip.read_bytes())
    assert run.out.startswith(b"YUV4MPEG2 W128 H96 F25:1 ")
    assert b"XCOLORRANGE=LIMITED" in run.out[:200]
    assert [row[2:] for row in run.plan().streams][1] == ("drop", "y4m cannot hold it")
    assert "y4m holds the picture only, at 25 frames/s" in run.notes()
    assert [number for _, number in read_frames(_kept(tmp_path / "r.y4m", run.out))] == list(range(14))


def test_y4m_tells_of_frames_that_lose_their_times(piped, tmp_path):
    late = [512 * k + (k > 7) * 5120 for k in range(14)]
    run = piped(container="y4m")
    run.run(make_clip(tmp_path / "clip.mkv", frames=14, pts=late).read_bytes())
    assert "y4m has one rate, the source has not" in run.notes()


def test_y4m_comes_back_in(piped, tmp_path):
    out = piped(container="y4m")
    out.run(make_clip(tmp_path / "clip.mkv", frames=14).read_bytes())
    (tmp_path / "again").mkdir()
    again = Piped(tmp_path / "again", out.settings)
    assert again.run(out.out).frames == 14


def test_a_cut_keeps_sound_in_step(piped, tmp_path):
    clip = tmp_path / "clip.mkv"
    make_clicks(clip)
    run = piped(start=Fraction(1, 2), end=Fraction(5, 2))
    run.run(clip.read_bytes())
    assert all(abs(lag) < Fraction(1, 25) for lag in lags(_kept(tmp_path / "result.nut", run.out)))


def test_the_end_stops_reading(piped, tmp_path):
    clip = make_clip(tmp_path / "clip.mkv", frames=400, codec="rawvideo")
    run = piped(end=Fraction(1, 5))
    assert run.run(clip.read_bytes()).frames == 5
    assert run.unread > 500_000


def test_a_reader_that_goes_is_one_line(piped, tmp_path):
    clip = make_clip(tmp_path / "clip.mkv", frames=60)
    run = piped(codec="ffv1")
    with pytest.raises(MediaError, match=r"out\.fifo: its reader has gone"):
        run.run(clip.read_bytes(), most=1000)
    assert not [t.name for t in threading.enumerate() if t.name.startswith("vsr-")]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "is empty; look at what was to write"),
        (b"no clip at all" * 1000, "is no video that can be recognised; pipe in matroska, nut, mpegts or y4m"),
        (b"\0\0\0\x20ftypisom" + bytes(4000), "an mp4 or mov whose index comes last"),
    ],
)
def test_what_is_no_clip_is_one_line(piped, data, line):
    with pytest.raises(MediaError, match=line):
        piped().run(data)


def test_a_pipe_that_breaks_off_gives_what_came(piped, tmp_path):
    data = make_clip(tmp_path / "clip.mkv", frames=100, codec="ffv1").read_bytes()
    run = piped()
    done = run.run(data[: len(data) // 2])
    frames = read_frames(_kept(tmp_path / "result.nut", run.out))
    assert 20 < done.frames < 80
    assert [number for _, number in frames] == list(range(done.frames))


def test_much_sound_beside_little_picture_stays_bounded(piped, tmp_path, monkeypatch):
    clip = make_clip(tmp_path / "clip.mkv", frames=3, audio=[Audio(codec="pcm_s16le", seconds=Fraction(8))])
    monkeypatch.setattr(single_pass, "_MOST_WAITING", 20_000)  # bytes, of about 800 kB
    run = piped()
    run.run(clip.read_bytes())
    sound = read_packets(_kept(tmp_path / "result.nut", run.out))[1]
    assert sum(len(data) for _, data in sound) == 8 * 48_000 * 2


def test_waiting_for_a_pipe_can_be_stopped(tmp_path, nearest):
    os.mkfifo(tmp_path / "in.fifo")
    cancel = Cancel()
    timer = threading.Timer(0.2, cancel.set)
    timer.start()
    with pytest.raises(Cancelled):
        upscale_video(tmp_path / "in.fifo", tmp_path / "out.mkv", settings=UpscaleSettings(), cancel=cancel)
    cancel = Cancel()
    timer = threading.Timer(0.2, cancel.set)
    timer.start()
    with pytest.raises(Cancelled), outflow(tmp_path / "in.fifo", cancel):
        pass


@pytest.mark.parametrize(
    ("given", "output", "line"),
    [
        ({}, None, "a pipe has no name to make another of"),
        ({"container": "mp4"}, "out.fifo", "no pipe takes mp4"),
        ({"crop": "auto"}, "out.fifo", "give W:H:X:Y"),
        ({"encoder": "ffmpeg:libx264"}, "out.fifo", "not in one pass"),
        ({"container": "nut"}, "result.nut", "nut is written to pipes only; give -o - --container nut"),
        ({"container": "mkv"}, "result.mp4", "is no mkv"),
    ],
)
def test_what_pipes_cannot_do_is_said_at_once(piped, tmp_path, given, output, line):
    run = piped(**given)
    data = make_clip(tmp_path / "clip.mkv", frames=2).read_bytes()
    feeder = threading.Thread(target=run._feed, args=(data,))
    feeder.start()
    with pytest.raises((MediaError, ConfigError), match=line):
        upscale_video(run.source, None if output is None else tmp_path / output, settings=run.settings)
    run._let_go()
    feeder.join()


def test_a_terminal_is_no_pipe(monkeypatch):
    monkeypatch.setattr(os, "isatty", lambda _: True)
    with pytest.raises(MediaError, match="-: standard input is a terminal; pipe a clip into it"):
        Inflow(STANDARD, Cancel())
    with pytest.raises(MediaError, match="-: standard output is a terminal"), outflow(STANDARD, Cancel()):
        pass


def test_standard_output_is_for_one_thing(tmp_path):
    clip = make_clip(tmp_path / "clip.mkv", frames=2)
    result = CliRunner().invoke(commands, ["upscale", str(clip), "-o", "-", "--json"])
    assert result.exit_code == 2
    assert "--json and -o -: both are standard output" in result.output


def test_the_head_of_a_pipe_is_read_again_until_it_is_forgotten(tmp_path):
    path = tmp_path / "in.fifo"
    os.mkfifo(path)
    assert is_pipe(path)
    feeder = threading.Thread(target=path.write_bytes, args=(bytes(range(100)),))
    feeder.start()
    with Inflow(path, Cancel()) as pipe:
        assert pipe.reader().read(10) == bytes(range(10))
        reader = pipe.reader()
        assert reader.read(40) == bytes(range(10))  # what is known comes at once
        pipe.forget()
        rest = b""
        while data := reader.read(7):
            rest += data
    feeder.join()
    assert rest == bytes(range(10, 100))


def test_nothing_but_the_stream_is_on_standard_output(tmp_path, nearest):
    clip = make_clip(tmp_path / "clip.mkv", frames=14, pts=UNEVEN, audio=[Audio()])
    command = [sys.executable, "-m", "vsr", "upscale", "-", "-o", "-", "--model", str(nearest), "--scale", "2"]
    done = subprocess.run(command, input=clip.read_bytes(), capture_output=True, check=True)
    assert _relative(_kept(tmp_path / "result.nut", done.stdout)) == _relative(clip)
    assert b"14 frames" in done.stderr


def test_the_ffmpeg_tool_reads_what_comes_out(piped, tmp_path):
    from imageio_ffmpeg import get_ffmpeg_exe

    run = piped()
    run.run(make_clip(tmp_path / "clip.mkv", frames=14, audio=[Audio()]).read_bytes())
    command = [
        get_ffmpeg_exe(),
        "-v",
        "error",
        "-i",
        "-",
        "-map",
        "0:v",
        "-fps_mode",
        "passthrough",
        "-f",
        "framemd5",
        "-",
    ]
    done = subprocess.run(command, input=run.out, capture_output=True, check=True)
    assert not done.stderr
    assert len([line for line in done.stdout.decode().splitlines() if not line.startswith("#")]) == 14


def test_the_shape_of_pixels_goes_where_a_file_can_be_changed_or_the_codec_tells_it(piped, tmp_path, nearest):
    clip = make_clip(tmp_path / "in.mkv", frames=4, aspect=Fraction(16, 11), title="film")
    run = piped(container="mkv", codec="ffv1")
    run.run(clip.read_bytes())
    assert "in a pipe cannot say that pixels of ffv1 are not square (16/11)" in run.notes()
    with av.open(io.BytesIO(run.out)) as file:
        assert file.streams.video[0].metadata["title"] == "film"
    settings = UpscaleSettings(model=str(nearest), scale=Fraction(2), codec="ffv1")
    feeding = threading.Thread(target=run._feed, args=(clip.read_bytes(),))
    feeding.start()
    upscale_video(run.source, tmp_path / "out.mkv", settings=settings)
    feeding.join()
    with av.open(str(tmp_path / "out.mkv")) as file:
        video = file.streams.video[0]
        assert (video.sample_aspect_ratio, video.metadata["title"]) == (Fraction(16, 11), "film")
