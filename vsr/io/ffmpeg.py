"""The system's ffmpeg as an encoder, for what PyAV's build lacks. Driven by ffmpeg-python, fed through a pipe."""

import contextlib
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import av
import ffmpeg
import numpy as np
from av.error import FFmpegError

from vsr.disk import remove_remains
from vsr.errors import MediaError
from vsr.frames import Plane
from vsr.io.encoders import EncoderPlan
from vsr.io.system_ffmpeg import find_ffmpeg, system_encoder
from vsr.stage import Cancel

_POLL = 0.05  # seconds between looks at the cancel token
_EMPTY_WORDS = re.compile(  # lines that only say that something went wrong
    r"conversion failed|task finished with error|terminating thread with|nothing was written|"
    r"maybe incorrect parameters|error (initializing|while opening) (output stream|encoder)|could not open encoder",
    re.IGNORECASE,
)


class SystemEncoder:
    """One segment through a child process: raw planes in, Matroska out, one packet a frame.

    The process has no terminal and no group in common with this one: Ctrl-C reaches it only through `cancel`. Should
    this process be killed, it finds its input at an end and ends, too. `limit` is how many seconds it may take in all.
    """

    def __init__(self, plan: EncoderPlan, path: Path, cancel: Cancel, *, limit: float | None = None) -> None:
        self._plan = plan
        self._path = path
        self._cancel = cancel
        self._deadline = None if limit is None else time.monotonic() + limit
        self._is_late = False
        self._written = 0
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
        self._is_over = threading.Event()
        try:
            self._process = _start(plan, path, self._log)
        except OSError as e:
            self._log.close()
            raise MediaError(f"{find_ffmpeg()}: does not start ({e.strerror}); install another ffmpeg") from e
        threading.Thread(target=self._watch, name="vsr-ffmpeg", daemon=True).start()

    def write(self, planes: Sequence[Plane]) -> None:
        """Send one frame: planes (h, w) of the plan's layout. Raises MediaError, or Cancelled."""
        pipe = self._process.stdin
        assert pipe is not None
        try:
            for plane in planes:
                pipe.write(np.ascontiguousarray(plane).data)
        except OSError as e:  # a broken pipe: the process has ended, or was ended
            raise self._failed() from e
        self._written += 1

    def close(self) -> None:
        """End the input and wait for the process. Raises MediaError unless each frame gave a packet, or Cancelled."""
        pipe = self._process.stdin
        assert pipe is not None
        try:
            pipe.close()
        except OSError as e:
            raise self._failed() from e
        status = self._process.wait()
        self._is_over.set()
        if status != 0:
            raise self._failed()
        packets = _count_packets(self._path)
        if packets != self._written:
            made = f"made {packets} packets of {self._written} frames"
            raise MediaError(f"{self._path}: {self._plan.name} {made}; choose another encoder")
        self._log.close()

    def discard(self) -> None:
        """Kill the process and delete the file; for a segment that is not whole."""
        self._is_over.set()
        self._process.kill()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # what was buffered has no reader left
                self._process.stdin.close()
        self._process.wait()
        self._log.close()
        remove_remains(self._path)

    def _watch(self) -> None:
        """Kill the process when the run is stopped or its time is up: then whoever waits for it goes on."""
        while not self._is_over.wait(_POLL):
            self._is_late = self._deadline is not None and time.monotonic() > self._deadline
            if self._cancel.is_set or self._is_late:
                self._process.kill()
                return

    def _failed(self) -> MediaError:
        """What to raise when the process is gone. Raises Cancelled when that was asked for."""
        status = self._process.wait()
        self._is_over.set()
        self._cancel.check()
        if self._is_late:
            return MediaError(f"{self._plan.name}: does not answer in time; choose another --encoder or --codec")
        self._log.seek(0)
        said = _reason(self._log.read().decode(errors="replace")) or f"ended with status {status}"
        return MediaError(
            f"{self._plan.name} failed at {self._plan.width}x{self._plan.height} {self._plan.pix_fmt}: {said}; "
            "choose another --encoder, --size or --encoder-option"
        )


def _reason(log: str) -> str:
    """The first line that tells something, without the address of who says it."""
    lines = [re.sub(r"^(\[[^]]*\]\s*)+", "", line.strip()).rstrip(".") for line in log.splitlines()]
    telling = [line for line in lines if line and not _EMPTY_WORDS.search(line)]
    return next(iter([*telling, *filter(None, lines)]), "")


def _count_packets(segment: Path) -> int:
    try:
        with av.open(str(segment.absolute()), "r", format="matroska") as file:
            return sum(packet.size > 0 for packet in file.demux(video=0))
    except (FFmpegError, ValueError, OSError, IndexError) as e:
        raise MediaError(f"{segment}: was not written whole by ffmpeg ({e}); choose another encoder") from e


def _start(plan: EncoderPlan, path: Path, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    color, name = plan.color, plan.name.removeprefix("ffmpeg:")
    tags = {
        "colorspace": color.matrix,
        "color_primaries": color.primaries,
        "color_trc": color.transfer,
        "color_range": "pc" if color.full_range else "tv",
    }
    if "chroma_sample_location" in plan.options:
        tags["chroma_sample_location"] = plan.options["chroma_sample_location"]
    size, rate = f"{plan.width}x{plan.height}", str(plan.rate)
    frames = ffmpeg.input("pipe:", format="rawvideo", pix_fmt=plan.layout.name, s=size, framerate=rate, **tags)
    filters = [] if plan.sample_aspect_ratio is None else [f"setsar={plan.sample_aspect_ratio}"]
    device = system_encoder(name).device
    hardware: list[str] = []
    if device is None:
        tags["pix_fmt"] = plan.pix_fmt
    else:
        filters += [f"format={plan.pix_fmt}", "hwupload"]
        hardware = ["-init_hw_device", f"{device}=card", "-filter_hw_device", "card"]
    output = ffmpeg.output(
        frames,
        str(path.absolute()),
        format="matroska",
        vcodec=name,
        threads=plan.threads,
        fps_mode="passthrough",
        **({"vf": ",".join(filters)} if filters else {}),
        **{**tags, **plan.options},
    )
    options = ("-hide_banner", "-loglevel", "error", *hardware)
    command = ffmpeg.compile(output.global_args(*options), cmd=find_ffmpeg(), overwrite_output=True)
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=log,
        start_new_session=True,  # on Windows it says nothing
        creationflags=subprocess.CREATE_NEW_PROCESS_GROUP if sys.platform == "win32" else 0,
    )
