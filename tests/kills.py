"""Kills runs with SIGKILL at random moments, runs the same command again, and compares with an undisturbed run.

Each run is a process of its own, forked from one that has torch imported, so that it begins at once.
"""

import hashlib
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any, Literal

import av
import platformdirs
from av.video.frame import VideoFrame

from tests.media_maker import Audio, make_clip
from vsr.errors import VsrError
from vsr.events import DoneEvent, Event, ProgressEvent
from vsr.settings import UpscaleSettings
from vsr.stage import Cancel

Phase = Literal["frames", "join", "check"]
FRAMES = 200  # of each source
LENGTH = Fraction(1)  # seconds of a segment
_MILLISECOND = Fraction(1, 1000)
_GOP = {"g": "20", "bf": "2"}
_LATER = 0.02  # seconds after a frame within which a kill may come
_SECONDS = 300  # that a run may take


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of source, and how it is upscaled."""

    name: str
    suffix: str = ".mkv"
    pts: Sequence[int] = tuple(100 * n for n in range(FRAMES))  # milliseconds
    options: Mapping[str, str] = field(default_factory=lambda: _GOP)
    settings: Mapping[str, Any] = field(default_factory=dict)
    has_index: bool = True


KINDS = (
    Kind(name="plain"),
    Kind(name="open GOP", options={**_GOP, "x264-params": "open-gop=1"}),
    Kind(name="variable rate", suffix=".mp4", pts=tuple(100 * n + (37 * n) % 71 for n in range(FRAMES))),
    Kind(name="deinterlaced", options={**_GOP, "flags": "+ildct+ilme"}, settings={"deinterlace": "double"}),
    Kind(name="trimmed", settings={"start": Fraction(5, 2), "end": Fraction(35, 2), "audio": "flac"}),
    Kind(name="broken index", suffix=".mp4", has_index=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill and what came of it."""

    kind: str
    phase: Phase
    moment: int  # frames told as encoded, or packets joined or read back
    kept: int  # frames that the run after it did not compute again
    frames: int  # of the output
    is_equal: bool  # decoded pictures, their times, and sound packets

    @property
    def made_twice(self) -> int:
        """Frames that were encoded and are encoded again; what was told is a few behind what was done."""
        return max(0, self.moment - self.kept) if self.phase == "frames" else self.frames - self.kept


class Killer:
    """Runs a kind of source undisturbed once, then kills runs of it. `model` is a network or weights file."""

    def __init__(self, kind: Kind, folder: Path, *, model: str) -> None:
        self._kind = kind
        self._context = _context()
        self._source = _make_source(kind, folder)
        self._output = folder / f"{self._source.stem}_out{kind.suffix}"
        self._settings = UpscaleSettings(
            model=model, scale=Fraction(2), device="cpu", segment=LENGTH, overwrite=True, **kind.settings
        )
        done, self._progress = self._run_to_end()
        self._frames = done.frames
        self._whole = contents(self._output)

    def kill(self, phase: Phase, draw: random.Random) -> Kill:
        """Kill one run, run the command again, and compare. Raises RuntimeError where a run does not do its part."""
        self._output.unlink(missing_ok=True)
        moment = draw.randrange(self._progress if phase == "frames" else self._frames)
        process, ours = self._start(phase, moment)
        if phase == "frames":
            for _ in range(moment):
                ours.recv()
            time.sleep(draw.uniform(0, _LATER))
            process.kill()
        process.join(_SECONDS)
        if process.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"{self._kind.name}: the run was to be killed, but ended with {process.exitcode}")
        if self._output.exists():
            raise RuntimeError(f"{self._kind.name}: killed in the {phase}, and the output bears its name")
        done, _ = self._run_to_end()
        return Kill(
            kind=self._kind.name,
            phase=phase,
            moment=moment,
            kept=done.resumed_frames,
            frames=done.frames,
            is_equal=contents(self._output) == self._whole,
        )

    def _run_to_end(self) -> tuple[DoneEvent, int]:
        """What the run told last, and how often it told progress."""
        process, ours = self._start(None, 0)
        progress, told = 0, None
        while ours.poll(_SECONDS):
            try:
                told = ours.recv()
            except EOFError:
                break
            progress += isinstance(told, ProgressEvent)
        process.join(_SECONDS)
        if not isinstance(told, DoneEvent):
            raise RuntimeError(f"{self._kind.name}: {told or 'the run said nothing'}")
        return told, progress

    def _start(self, phase: Phase | None, moment: int) -> tuple[ForkServerProcess, Connection]:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_run, args=(self._source, self._output, self._settings, theirs, phase, moment)
        )
        process.start()
        theirs.close()
        return process, ours


def contents(path: Path) -> tuple[list[tuple[int, str]], list[tuple[int, bytes]]]:
    """(time, digest of the samples) of every decoded picture, and (time, bytes) of every packet of sound."""
    with av.open(str(path)) as file:
        frames = [frame for frame in file.decode(video=0) if isinstance(frame, VideoFrame)]
        pictures = [(frame.pts or 0, hashlib.blake2b(frame.to_ndarray().tobytes()).hexdigest()) for frame in frames]
    with av.open(str(path)) as file:
        sound = [(packet.pts or 0, bytes(packet)) for packet in file.demux(audio=0) if packet.size]
    return pictures, sound


def _make_source(kind: Kind, folder: Path) -> Path:
    """A clip of that kind, 20 s long, with sound."""
    path = make_clip(
        folder / f"{kind.name.replace(' ', '_')}{kind.suffix}",
        pts=kind.pts,
        time_base=_MILLISECOND,
        rate=Fraction(10),
        options=kind.options,
        audio=[Audio()],
    )
    if not kind.has_index:  # without a list of keyframes every frame is taken for one, and seeking leads astray
        data = path.read_bytes()
        assert data.count(b"stss") == 1
        path.write_bytes(data.replace(b"stss", b"free"))
    return path


def _context() -> ForkServerContext:
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["vsr.video"])
    return found


class _Deadly(Cancel):
    """A token that kills the process when it is asked for the n-th time, once it is armed."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None

    def check(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        super().check()


def _run(
    source: Path, output: Path, settings: UpscaleSettings, told: Connection, phase: Phase | None, moment: int
) -> None:
    """One run in a process of its own, which tells its progress and its end."""
    import torch

    from vsr import finish, video

    torch.set_num_threads(1)
    platformdirs.user_state_path = lambda *_: output.parent / "state"
    cancel = _Deadly()

    def arm(name: str) -> None:
        real = getattr(finish, name)

        def armed(*args: Any, **more: Any) -> Any:
            cancel.left = moment
            return real(*args, **more)

        setattr(finish, name, armed)

    if phase in ("join", "check"):
        arm("join" if phase == "join" else "check_output")

    def tell(event: Event) -> None:
        if isinstance(event, ProgressEvent | DoneEvent):
            told.send(event)

    try:
        video.upscale_video(source, output, settings=settings, on_event=tell, cancel=cancel)
    except VsrError as e:
        told.send(str(e))
