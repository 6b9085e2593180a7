"""Real runs that are stopped from outside: what they say, what they leave, and that they go on from there."""

import json
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from tests.kills import contents
from tests.media_maker import Audio, make_clip
from vsr.events import DoneEvent
from vsr.settings import UpscaleSettings
from vsr.video import upscale_video

FRAMES, A_SEGMENT = 250, 5


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds with sound."""
    return make_clip(tmp_path_factory.mktemp("clip") / "in.mkv", frames=FRAMES, audio=[Audio()])


@pytest.fixture(scope="module")
def whole(clip: Path, nearest: Path) -> tuple:
    """What a run holds that was left alone."""
    output = clip.with_name("whole.mkv")
    go_on(clip, output, nearest)
    return contents(output)


def go_on(clip: Path, output: Path, nearest: Path, **more) -> DoneEvent:
    settings = UpscaleSettings(
        model=str(nearest), scale=Fraction(2), device="cpu", segment=Fraction(A_SEGMENT, 25), **more
    )
    return upscale_video(clip, output, settings=settings)


def started(clip: Path, output: Path, nearest: Path) -> tuple["subprocess.Popen[str]", list[dict]]:
    """The same as a command in a process of its own, once it has made two segments; and what it told by then."""
    words = ["upscale", str(clip), "-o", str(output), "--model", str(nearest), "--scale", "2", "--device", "cpu"]
    words += ["--segment", str(A_SEGMENT / 25), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "vsr", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    told: list[dict] = []
    assert process.stdout is not None
    while [event["event"] for event in told].count("segment") < 2:
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        told.append(json.loads(line))
    return process, told


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_can_be_finished_in_part_or_go_on(tmp_path, nearest, clip, whole, number, status):
    output = tmp_path / "out.mkv"
    process, _ = started(clip, output, nearest)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (status, "vsr: stopped; what is done is kept\n")
    told = [json.loads(line)["event"] for line in out.splitlines()]
    stopping = told.index("note")
    assert set(told[stopping + 1 : -1]) <= {"progress", "segment"}, "what was on its way"
    assert told[-1] == "error"
    assert not output.exists()

    partial = go_on(clip, output, nearest, finish_partial=True)
    assert 2 * A_SEGMENT <= partial.frames < FRAMES
    assert partial.frames % A_SEGMENT == 0, "the open segment is dropped"
    pictures, sound = contents(Path(partial.output))
    assert pictures == whole[0][: partial.frames]
    assert sound == whole[1][: len(sound)]
    assert 0 < len(sound) < len(whole[1])

    done = go_on(clip, output, nearest)
    assert (done.frames, done.resumed_frames) == (FRAMES, partial.frames)
    assert contents(output) == whole


def test_a_reader_that_goes_is_no_traceback_and_the_run_can_go_on(tmp_path, nearest, clip, whole):
    output = tmp_path / "out.mkv"
    process, _ = started(clip, output, nearest)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 1
    assert err == ""
    assert not output.exists()
    assert go_on(clip, output, nearest).resumed_frames >= 2 * A_SEGMENT
    assert contents(output) == whole
