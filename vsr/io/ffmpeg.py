"""The system's ffmpeg as an encoder, for what PyAV's build lacks. Driven by ffmpeg-python, fed through a pipe."""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import ffmpeg
import numpy as np

from vsr.errors import ConfigError, MediaError
from vsr.frames import Plane
from vsr.io.encoders import EncoderPlan


class SystemEncoder:
    """One segment through a child process: raw planes in, Matroska out, one packet a frame."""

    def __init__(self, plan: EncoderPlan, path: Path) -> None:
        self._path = path
        self._plan = plan
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
        self._process = _start(plan, path, self._log)

    @staticmethod
    def rehearse(plan: EncoderPlan) -> None:
        """Encode one frame of anything into nothing, so that a refusal is known at the start. Raises MediaError."""
        with tempfile.TemporaryDirectory() as folder:
            encoder = SystemEncoder(plan, Path(folder) / "rehearsal.mkv")
            sizes = plan.layout.plane_sizes(plan.height, plan.width)
            try:
                encoder.write([plan.layout.empty(*size) for size in sizes])
                encoder.close()
            finally:
                encoder.discard()

    def write(self, planes: Sequence[Plane]) -> None:
        """Send one frame: planes (h, w) of the plan's layout."""
        pipe = self._process.stdin
        assert pipe is not None
        try:
            for plane in planes:
                pipe.write(np.ascontiguousarray(plane).data)
        except BrokenPipeError as e:
            raise self._failed() from e

    def close(self) -> None:
        """End the pipe and wait for the process. Raises MediaError when it failed."""
        pipe = self._process.stdin
        assert pipe is not None
        try:
            pipe.close()
        except BrokenPipeError as e:
            raise self._failed() from e
        if self._process.wait() != 0:
            raise self._failed()
        self._log.close()

    def discard(self) -> None:
        """Kill the process and delete the file; for a segment that is not whole."""
        self._process.kill()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # what was buffered has no reader left
                self._process.stdin.close()
        self._process.wait()
        self._log.close()
        self._path.unlink(missing_ok=True)

    def _failed(self) -> MediaError:
        self._process.wait()
        self._log.seek(0)
        lines = [line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else f"status {self._process.returncode}"
        return MediaError(f"{self._plan.name}: the system's ffmpeg failed: {reason}; choose another --encoder")


def find_ffmpeg() -> str:
    """The path of ffmpeg: on PATH, else the binary of the imageio-ffmpeg package. Raises ConfigError without either."""
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError as e:
        raise ConfigError("encoder = ffmpeg:NAME: no ffmpeg on PATH; install it, or pip install imageio-ffmpeg") from e
    return get_ffmpeg_exe()


def _start(plan: EncoderPlan, path: Path, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    color = plan.color
    tags = {
        "colorspace": color.matrix,
        "color_primaries": color.primaries,
        "color_trc": color.transfer,
        "color_range": "pc" if color.full_range else "tv",
    }
    size, rate = f"{plan.width}x{plan.height}", str(plan.rate)
    frames = ffmpeg.input("pipe:", format="rawvideo", pix_fmt=plan.layout.name, s=size, framerate=rate, **tags)
    output = ffmpeg.output(
        frames,
        str(path.absolute()),
        format="matroska",
        vcodec=plan.name.removeprefix("ffmpeg:"),
        pix_fmt=plan.pix_fmt,
        threads=plan.threads,
        fps_mode="passthrough",
        **tags,
        **plan.options,
    )
    command = ffmpeg.compile(
        output.global_args("-hide_banner", "-loglevel", "error"), cmd=find_ffmpeg(), overwrite_output=True
    )
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log)
