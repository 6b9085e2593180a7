"""The system's ffmpeg as an encoder: what it is asked, and a process that fails, blocks, or is left alone."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.media_maker import HD
from vsr.errors import Cancelled, ConfigError, MediaError
from vsr.io import ffmpeg, system_ffmpeg
from vsr.io.encoders import EncoderPlan
from vsr.io.ffmpeg import SystemEncoder
from vsr.io.pixel_formats import planar_layout
from vsr.io.system_ffmpeg import find_ffmpeg, system_encoder
from vsr.stage import Cancel

pytest.importorskip("imageio_ffmpeg")
SIZE = (480, 640)  # larger than a pipe holds
FRAME = [np.full(shape, 128, np.uint8) for shape in planar_layout("yuv420p").plane_sizes(*SIZE)]


@pytest.fixture(autouse=True)
def asked_anew():
    """What was asked of one ffmpeg is not true of the next."""
    answers = (system_ffmpeg.find_ffmpeg, system_ffmpeg.system_encoder, system_ffmpeg._codecs)
    for answer in answers:
        answer.cache_clear()
    yield
    for answer in answers:
        answer.cache_clear()


def plan(name: str = "ffmpeg:libx264", **options: str) -> EncoderPlan:
    return EncoderPlan(
        name=name,
        codec="h264",
        pix_fmt="yuv420p",
        layout=planar_layout("yuv420p"),
        color=HD,
        height=SIZE[0],
        width=SIZE[1],
        rate=Fraction(25),
        sample_aspect_ratio=None,
        options=options,
        threads=1,
    )


def write(encoder: SystemEncoder, *, frames: int) -> None:
    """Encode so many frames, and end."""
    for _ in range(frames):
        encoder.write(FRAME)
    encoder.close()


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program of ours in ffmpeg's place, for encoding only."""
    path = tmp_path / "ffmpeg"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(ffmpeg, "find_ffmpeg", lambda: str(path))


def is_running(pid: int) -> bool:
    """Whether a process is there and not only waits to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def gone(pid: int) -> bool:
    for _ in range(200):
        if not is_running(pid):
            return True
        time.sleep(0.05)
    return False


def test_an_encoder_says_what_it_makes_and_takes():
    found = system_encoder("libx265")
    assert found.codec == "hevc"
    assert {"yuv420p", "yuv420p10le"} <= set(found.pix_fmts)
    assert {"crf", "x265-params"} <= found.options
    assert found.device is None
    assert system_encoder("mpeg4").codec == "mpeg4", "which no list of encoders names, as it is called like its codec"
    assert system_encoder("h264_vaapi").device == "vaapi", "its pictures must be uploaded first"
    assert system_encoder("hevc_nvenc").device is None, "it takes them from memory, too"


@pytest.mark.parametrize("name", ["nosuch264", "aac", "h264_cuvid", ""])
def test_what_is_no_video_encoder_there_is_one_line(name):
    with pytest.raises(ConfigError, match="has no video encoder of that name"):
        system_encoder(name)


def test_no_ffmpeg_at_all_is_one_line(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ConfigError, match="no ffmpeg on PATH; install it"):
        system_encoder("libx264")


def test_an_ffmpeg_that_does_not_run_is_one_line(tmp_path, monkeypatch):
    broken = tmp_path / "ffmpeg"
    broken.write_text("no program\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="does not run") as caught:
        system_encoder("libx264")
    assert "\n" not in str(caught.value)


def test_a_process_that_fails_says_why_in_one_line(tmp_path):
    encoder = SystemEncoder(plan(preset="sloow"), tmp_path / "0.mkv", Cancel())
    with pytest.raises(MediaError, match="sloow") as caught:
        write(encoder, frames=3)
    assert "\n" not in str(caught.value)
    encoder.discard()
    assert not (tmp_path / "0.mkv").exists()


def test_a_process_that_dies_midway_is_an_error(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, "head -c 1000000 > /dev/null; echo 'card has fallen off the bus' >&2; exit 5")
    encoder = SystemEncoder(plan(), tmp_path / "0.mkv", Cancel())
    with pytest.raises(MediaError, match="card has fallen off the bus; choose another"):
        write(encoder, frames=10)
    encoder.discard()


def test_a_process_that_ends_well_but_writes_too_little_is_an_error(tmp_path, monkeypatch):
    one = SystemEncoder(plan(), tmp_path / "one.mkv", Cancel())
    one.write(FRAME)
    one.close()
    stand_in(tmp_path, monkeypatch, f"cat > /dev/null; cp '{tmp_path}/one.mkv' '{tmp_path}/0.mkv'")
    encoder = SystemEncoder(plan(), tmp_path / "0.mkv", Cancel())
    encoder.write(FRAME)
    encoder.write(FRAME)
    with pytest.raises(MediaError, match="made 1 packets of 2 frames"):
        encoder.close()
    encoder.discard()


@pytest.mark.parametrize("script", ["exec sleep 600", "cat > /dev/null; exec sleep 600"], ids=["writing", "closing"])
def test_a_process_that_blocks_ends_with_the_run(tmp_path, monkeypatch, script):
    stand_in(tmp_path, monkeypatch, script)
    cancel = Cancel()
    encoder = SystemEncoder(plan(), tmp_path / "0.mkv", cancel)
    threading.Timer(0.3, cancel.set).start()
    with pytest.raises(Cancelled):
        write(encoder, frames=1)
    encoder.discard()
    assert gone(encoder._process.pid)


def test_a_process_that_blocks_is_given_up_at_its_limit(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, "exec sleep 600")
    encoder = SystemEncoder(plan(), tmp_path / "0.mkv", Cancel(), limit=0.3)
    with pytest.raises(MediaError, match="does not answer in time"):
        encoder.write(FRAME)
    encoder.discard()
    assert gone(encoder._process.pid)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for the process in /proc")
def test_no_process_outlives_a_run_that_is_killed(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from tests.test_system_ffmpeg import *\n"
        "encoder = SystemEncoder(plan(), Path(sys.argv[1]), Cancel()); encoder.write(FRAME)\n"
        "print(encoder._process.pid, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "0.mkv")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        assert is_running(pid)
        os.kill(run.pid, signal.SIGKILL)
    assert gone(pid)


def test_ctrl_c_does_not_reach_the_process(tmp_path):
    """A terminal sends it to a whole group; the encoder is asked to stop by its cancel token alone."""
    encoder = SystemEncoder(plan(), tmp_path / "0.mkv", Cancel())
    assert os.getpgid(encoder._process.pid) != os.getpgid(0)
    encoder.discard()


def test_the_system_is_asked_once(monkeypatch):
    find_ffmpeg()
    system_encoder("libx264")
    monkeypatch.setattr(system_ffmpeg, "_answer", lambda *_: pytest.fail("asked again"))
    system_encoder("libx264")
