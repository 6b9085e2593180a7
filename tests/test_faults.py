"""Disks, encoders, devices, networks and threads that fail in the middle of a run.

After each: one line, nothing under the final name, no thread left, and the same command gives what an undisturbed run
gives. A journal cut within a line and segments damaged between two runs are in test_resume.py.
"""

import ctypes
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from av import error as av_error

from tests.media_maker import Audio, make_clip, read_packets
from vsr.engine.prefetch import DeviceQueue
from vsr.engine.render import Renderer
from vsr.errors import VsrError
from vsr.events import DoneEvent, SegmentEvent
from vsr.io import ffmpeg, sink, system_ffmpeg
from vsr.io.demux import Demuxer
from vsr.io.source import VideoSource
from vsr.plan import prepare
from vsr.settings import UpscaleSettings
from vsr.stage import Cancel, Stage
from vsr.video import upscale_video

FRAMES, FIFTH = 30, Fraction(1, 5)  # six segments of five
MIDDLE = 13  # frame
LONGEST = 60  # seconds; a run that takes as long hangs


def run(source: Path, output: Path, nearest: Path, on_event: Callable = lambda event: None, **changes) -> DoneEvent:
    chosen = {"model": str(nearest), "scale": Fraction(2), "device": "cpu", "precision": "fp32", "segment": FIFTH}
    return upscale_video(source, output, settings=UpscaleSettings(**chosen | changes), on_event=on_event)


def failing(*args, **more) -> str:
    """What a run says that fails, and leaves neither an output nor threads."""
    said: list[BaseException] = []

    def attempt() -> None:
        try:
            run(*args, **more)
        except BaseException as e:
            said.append(e)

    before = set(threading.enumerate())
    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(LONGEST)
    assert not thread.is_alive(), "it hangs"
    assert {t.name for t in set(threading.enumerate()) - before if t.name.startswith("vsr")} <= {"vsr-ffmpeg"}
    assert len(said) == 1
    assert isinstance(said[0], VsrError), said
    line = str(said[0])
    assert "\n" not in line
    assert ": " in line
    assert "; " in line
    assert not args[1].exists()
    return line


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "in.mkv", frames=FRAMES, audio=[Audio()])


@pytest.fixture(scope="module")
def whole(clip, nearest, tmp_path_factory) -> dict:
    """The packets of an undisturbed run."""
    output = tmp_path_factory.mktemp("whole") / "out.mkv"
    run(clip, output, nearest)
    return read_packets(output)


@pytest.fixture
def output(tmp_path, clip, nearest, whole) -> Iterator[Path]:
    """Where to write; once the test has brought a run down, the same command gives the undisturbed run's packets."""
    path = tmp_path / "out.mkv"
    yield path
    done = run(clip, path, nearest)
    assert done.frames == FRAMES
    assert read_packets(path) == whole
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


@pytest.fixture
def injected() -> Iterator[pytest.MonkeyPatch]:
    """A patch that is gone before the same command is given again."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def after_segment(index: int, act: Callable[[], None]) -> Callable:
    """An observer that acts once a segment is done."""

    def watch(event) -> None:
        if isinstance(event, SegmentEvent) and event.index == index:
            act()

    return watch


# Disks


@pytest.mark.parametrize("how", ["an error", "an end"])
@pytest.mark.parametrize("which", ["decode", "join"])
def test_a_read_error_is_no_damage(clip, nearest, output, injected, how, which):
    """libav tells some of them as errors and takes others for the end of the file."""
    real_packets, real_open, passes = Demuxer.packets, Path.open, 0

    def packets(self):
        nonlocal passes
        passes += 1
        wanted = passes if which == "join" else 2
        for number, read in enumerate(real_packets(self)):
            if wanted == 2 and number == MIDDLE:
                if how == "an error":
                    raise av_error.OSError(errno.EIO, "Input/output error")
                return
            yield read

    def opened(self, *args, **more):
        if more.get("buffering") == 0:
            raise OSError(errno.EIO, "Input/output error")
        return real_open(self, *args, **more)

    injected.setattr(Demuxer, "packets", packets)
    injected.setattr(Path, "open", opened)
    line = failing(clip, output, nearest)
    assert line.startswith(f"{clip}: cannot be read at byte ")
    assert line.endswith("Input/output error; look at its disk or network, and run the same command again")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
@pytest.mark.parametrize("name", ["000003.mkv", "joined.mkv.part"])
def test_a_disk_that_is_full_in_the_middle_of_a_file(clip, nearest, output, name):
    folder = output.with_name(f"{output.name}.vsr")
    fill = after_segment(0, lambda: (folder / name).symlink_to("/dev/full"))
    assert failing(clip, output, nearest, fill).endswith(": the disk is full; make room and run the same command")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_also_refuses_to_delete(clip, nearest, output, injected, number):
    def refuse(*args, **more):
        raise OSError(number, os.strerror(number))

    def fail(event) -> None:
        if isinstance(event, SegmentEvent) and event.index == 1:
            injected.setattr("vsr.journal.sync_file", refuse)
            injected.setattr(Path, "unlink", refuse)

    line = failing(clip, output, nearest, fail)
    injected.undo()
    assert ("the disk is full" if number == errno.ENOSPC else f"cannot be written: {os.strerror(number)}") in line


_FAILING_CALLS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The error that FAULT orders for this call on this file, at or after the byte AT. */
static int fault(const char *call, int fd, size_t *count) {
    const char *order = getenv("FAULT"), *path = getenv("FAULT_PATH"), *at = getenv("FAULT_AT");
    char link[64], name[PATH_MAX];
    if (!order || !path || !at || strcmp(order, call)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, sizeof name - 1);
    if (length <= 0) return 0;
    name[length] = 0;
    if (strcmp(name, path)) return 0;
    off_t place = count ? lseek(fd, 0, SEEK_CUR) : 0, bad = count ? atol(at) : 0;
    if (place >= bad) return place < bad + 65536 ? atoi(getenv("FAULT_ERRNO")) : 0;
    if (count && place + (off_t)*count > bad) *count = bad - place;
    return 0;
}
ssize_t read(int fd, void *data, size_t count) {
    int failed = fault("read", fd, &count);
    if (failed) { errno = failed; return -1; }
    return ((ssize_t (*)(int, void *, size_t))dlsym(RTLD_NEXT, "read"))(fd, data, count);
}
ssize_t write(int fd, const void *data, size_t count) {
    int failed = fault("write", fd, &count);
    if (failed) { errno = failed; return -1; }
    return ((ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write"))(fd, data, count);
}
int fsync(int fd) {
    int failed = fault("fsync", fd, NULL);
    if (failed) { errno = failed; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}
"""
_RUNS = """
import json, os, sys
from fractions import Fraction
from pathlib import Path
from vsr import disk
from vsr.settings import UpscaleSettings
from vsr.video import upscale_video

disk._END_BYTES = 4096  # else all of a small file is read before the first frame
model, *runs = json.load(sys.stdin)
for source, output, fault in runs:
    os.environ.update(fault)
    settings = UpscaleSettings(
        model=model, scale=Fraction(2), device="cpu", precision="fp32", segment=Fraction(1, 5)
    )
    try:
        upscale_video(source, output, settings=settings)
    except Exception as e:
        print(json.dumps([type(e).__name__, str(e), os.path.exists(output)]))
    else:
        print(json.dumps(["none", "", os.path.exists(output)]))
"""


@pytest.fixture(scope="module")
def failing_calls(tmp_path_factory) -> Path:
    """A library that lets single calls of the system fail, to be loaded before all others."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler, and Linux")
    folder = tmp_path_factory.mktemp("calls")
    (folder / "calls.c").write_text(_FAILING_CALLS)
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(folder / "calls.so"), str(folder / "calls.c"), "-ldl"]
    subprocess.run(command, check=True)
    ctypes.CDLL(str(folder / "calls.so"))
    return folder / "calls.so"


def test_what_the_system_refuses_loses_nothing(tmp_path, nearest, clip, whole, injected, failing_calls):
    """Reads, writes and syncs that the system itself lets fail, as libav and Python meet them."""
    injected.setattr("vsr.disk._END_BYTES", 4096)  # as below
    sources = {
        suffix: make_clip(
            tmp_path / f"in.{suffix}", frames=FRAMES, size=(120, 160), audio=[Audio()], options={"g": "5"}
        )
        for suffix in ("mkv", "mp4", "ts")
    }
    runs: list[tuple[Path, Path, dict[str, str]]] = []

    def order(source: Path, call: str, number: int, path: Path | str, at: int) -> None:
        output = tmp_path / f"{len(runs)}.mkv"
        where = path if isinstance(path, Path) else tmp_path / f"{output.name}.vsr" / path
        fault = {"FAULT": call, "FAULT_ERRNO": str(number), "FAULT_PATH": str(where), "FAULT_AT": str(at)}
        runs.append((source, output, fault))

    for source in sources.values():
        order(source, "read", errno.EIO, source, source.stat().st_size // 2)
    order(clip, "write", errno.ENOSPC, "000002.mkv", 100)
    order(clip, "write", errno.EIO, "joined.mkv.part", 3000)
    order(clip, "write", errno.ENOSPC, "journal.jsonl", 3000)
    order(clip, "fsync", errno.EIO, "000003.mkv", 0)
    told = subprocess.run(
        [sys.executable, "-c", _RUNS],
        input=json.dumps([str(nearest), *[(str(source), str(output), fault) for source, output, fault in runs]]),
        env=os.environ | {"LD_PRELOAD": str(failing_calls)},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=LONGEST * 2,
        check=False,
    )
    results = [json.loads(line) for line in told.stdout.splitlines()]
    assert len(results) == len(runs), told.stderr
    undisturbed = {clip: whole}
    for (source, output, fault), (kind, line, is_there) in zip(runs, results, strict=True):
        assert kind == "MediaError", (fault, kind, line)
        assert not is_there
        assert "\n" not in line
        words = "the disk is full" if fault["FAULT_ERRNO"] == str(errno.ENOSPC) else "Input/output error"
        assert words in line
        assert line.startswith(f"{source}: " if fault["FAULT"] == "read" else f"{output}")
        if source not in undisturbed:
            run(source, tmp_path / f"{source.name}.mkv", nearest)
            undisturbed[source] = read_packets(tmp_path / f"{source.name}.mkv")
        run(source, output, nearest)
        assert read_packets(output) == undisturbed[source]


def test_a_segment_that_is_damaged_before_the_join(clip, nearest, output):
    """Its line is in the journal already: the next run finds that the file is another."""
    segment = output.with_name(f"{output.name}.vsr") / "000001.mkv"

    def damage() -> None:
        segment.write_bytes(segment.read_bytes()[: segment.stat().st_size // 2])

    line = failing(clip, output, nearest, after_segment(5, damage))
    assert line.startswith(str(segment))
    assert line.endswith("run the same command again")


# Encoders


def test_an_encoder_that_fails_in_the_middle(clip, nearest, output, injected):
    def refuse(frame):
        raise av_error.ExternalError(errno.EIO, "Generic error in an external library")

    real, frames = sink._LibavEncoder.write, 0

    def write(self, planes):
        nonlocal frames
        frames += 1
        if frames == MIDDLE:
            self._stream = SimpleNamespace(codec_context=SimpleNamespace(encode_lazy=refuse))
        real(self, planes)

    injected.setattr(sink._LibavEncoder, "write", write)
    line = failing(clip, output, nearest)
    injected.undo()
    assert "libx264 failed: Generic error in an external library; choose another --encoder" in line


def test_an_encoder_that_swallows_a_frame(clip, nearest, output, injected):
    real, frames = sink._LibavEncoder._mux, 0

    def mux(self, frame):
        nonlocal frames
        frames += 1
        if frames != MIDDLE:
            real(self, frame)

    injected.setattr(sink._LibavEncoder, "_mux", mux)
    line = failing(clip, output, nearest)
    injected.undo()
    assert "libx264 made 4 packets of 5 frames; choose another encoder" in line


def test_an_encoders_process_that_is_killed(tmp_path, clip, nearest, injected):
    pytest.importorskip("imageio_ffmpeg")
    system_ffmpeg.find_ffmpeg.cache_clear()
    real, frames = ffmpeg.SystemEncoder.write, 0

    def write(self, planes):
        nonlocal frames
        frames += 1
        if frames == MIDDLE:
            self._process.kill()
            self._process.wait()
        real(self, planes)

    injected.setattr(ffmpeg.SystemEncoder, "write", write)
    output = tmp_path / "out.mkv"
    assert "ffmpeg:libx264 failed" in failing(clip, output, nearest, encoder="ffmpeg:libx264")
    injected.undo()
    assert run(clip, output, nearest, encoder="ffmpeg:libx264").resumed_frames


# Devices and networks


def with_network(injected: pytest.MonkeyPatch, change: Callable[[int, torch.Tensor], torch.Tensor]) -> None:
    """Have each call of the network, counted from 1, give what `change` makes of its result."""
    calls = 0

    def hook(module, inputs, result):
        nonlocal calls
        calls += 1
        return change(calls, result)

    def prepared(*args, **more):
        upscaler, why = prepare(*args, **more)
        upscaler._net.register_forward_hook(hook)
        return upscaler, why

    injected.setattr("vsr.plan.prepare", prepared)


@pytest.mark.parametrize("failing_call", [1, MIDDLE])
def test_a_device_that_runs_out_of_memory_once_changes_nothing(
    tmp_path, clip, nearest, whole, injected, failing_call, caplog
):
    def change(call, result):
        if call == failing_call:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return result

    with_network(injected, change)
    done = run(clip, tmp_path / "out.mkv", nearest)
    assert done.retries == 1
    assert read_packets(tmp_path / "out.mkv") == whole
    assert "out of memory: tiles of" in caplog.text


@pytest.mark.parametrize("first", [1, MIDDLE])
def test_a_device_that_stays_out_of_memory(clip, nearest, output, injected, first):
    def change(call, result):
        if call >= first:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return result

    with_network(injected, change)
    line = failing(clip, output, nearest)
    injected.undo()
    assert "nearest-x2: out of memory on cpu even with tiles of" in line


@pytest.mark.parametrize("batch", [1, 4])
def test_a_device_that_runs_out_of_memory_around_the_network(tmp_path, clip, nearest, whole, injected, batch):
    """What is computed of whole frames needs memory, too: of one frame less than of a batch."""
    from vsr.engine import render

    real = render.resize

    def resize(picture, size):
        if len(picture) > 1 or batch == 1:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory")
        return real(picture, size)

    injected.setattr(render, "resize", resize)
    output = tmp_path / "out.mkv"
    if batch == 1:
        said = "nearest-x2: out of memory on cpu for a frame of 128x96; close other programs or give a smaller --size"
        assert failing(clip, output, nearest, batch=batch) == said
        return
    assert run(clip, output, nearest, batch=batch).retries
    assert [data for _, data in read_packets(output)[0]] == [data for _, data in whole[0]]


def test_a_machine_without_memory(clip, nearest, output, injected):
    def full(self, *args):
        raise MemoryError

    injected.setattr(VideoSource, "_to_batch", full)
    line = failing(clip, output, nearest)
    injected.undo()
    assert line == f"{clip}: out of memory; close other programs, and run the same command again"


def test_nan_is_mended_where_a_second_look_helps(tmp_path, clip, nearest, whole, injected):
    with_network(injected, lambda call, result: result * torch.nan if call == MIDDLE else result)
    done = run(clip, tmp_path / "out.mkv", nearest)
    assert done.retries == 1
    assert read_packets(tmp_path / "out.mkv") == whole


def test_nan_that_stays(clip, nearest, output, injected):
    with_network(injected, lambda call, result: result * torch.nan if call >= MIDDLE else result)
    line = failing(clip, output, nearest)
    injected.undo()
    assert line == "nearest-x2: gives NaN or infinite values even in float32; use another model"


# Threads

STAGES = {
    "decode": (VideoSource, "_to_batch"),
    "compute": (Renderer, "__call__"),
    "encode": (sink.FrameMaker, "make"),
}


@pytest.mark.parametrize(("stage", "number"), [("decode", 1), ("decode", FRAMES), ("compute", MIDDLE), ("encode", 20)])
def test_a_thread_that_dies_of_a_bug(clip, nearest, output, injected, caplog, stage, number):
    owner, name = STAGES[stage]
    real, calls = getattr(owner, name), 0

    def dying(self, *args, **more):
        nonlocal calls
        calls += 1
        if calls == number:
            raise KeyError("boom")
        return real(self, *args, **more)

    injected.setattr(owner, name, dying)
    line = failing(clip, output, nearest)
    injected.undo()
    again = "please report this with the lines above, and run the same command again"
    assert line == f"{clip}: unexpected KeyError: 'boom'; {again}"
    assert "Traceback" in caplog.text


def test_an_upload_that_dies(clip, nearest, output, injected):
    real = DeviceQueue.upload

    def upload(self, batches):
        for number, item in enumerate(real(self, batches)):
            if number == MIDDLE:
                raise RuntimeError("CUDA error: unspecified launch failure\nCompile with TORCH_USE_CUDA_DSA")
            yield item

    injected.setattr(DeviceQueue, "upload", upload)
    line = failing(clip, output, nearest)
    injected.undo()
    assert "unexpected RuntimeError: CUDA error: unspecified launch failure Compile with TORCH_USE_CUDA_DSA" in line


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("stage", ["decode", "upload", "compute", "encode"])
def test_a_thread_that_is_gone_without_a_word(clip, nearest, output, injected, stage):
    real, calls = Stage._put, 0

    def put(self, item):
        nonlocal calls
        calls += self.name == stage
        if calls >= MIDDLE and self.name == stage:
            raise SystemError("killed")
        real(self, item)

    injected.setattr(Stage, "_put", put)
    line = failing(clip, output, nearest)
    injected.undo()
    assert f"unexpected RuntimeError: the {stage} thread is gone without a word" in line


def test_any_wait_ends_when_the_run_is_stopped(tmp_path, clip, nearest, injected):
    """Each stage in turn hangs until the run is stopped; all others wait for it."""
    for owner, name in [*STAGES.values(), (Demuxer, "packets")]:
        cancel, hanging = Cancel(), threading.Event()

        def hang(self, *args, cancel=cancel, hanging=hanging, **more):
            hanging.set()
            while not cancel.is_set:
                threading.Event().wait(0.01)
            cancel.check()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, hang)
            output = tmp_path / f"{name}.mkv"
            settings = UpscaleSettings(model=str(nearest), scale=Fraction(2), device="cpu", segment=FIFTH)

            def attempt(output=output, settings=settings, cancel=cancel):
                with pytest.raises(VsrError, match="stopped"):
                    upscale_video(clip, output, settings=settings, cancel=cancel)

            thread = threading.Thread(target=attempt, daemon=True)
            thread.start()
            assert hanging.wait(LONGEST)
            cancel.set()
            thread.join(LONGEST)
            assert not thread.is_alive(), f"{name} hangs"
        assert list(tmp_path.iterdir()) == []
