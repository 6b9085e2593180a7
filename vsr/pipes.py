"""Pipes: bytes that come once and in order, and waits for them that a cancel token ends."""

import os
import select
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from vsr.errors import MediaError
from vsr.stage import Cancel

STANDARD = Path("-")  # standard input as a source, standard output as a target
_ALSO_STANDARD_OUTPUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
_WAIT = 0.05  # seconds between looks at the cancel token
_MOST_KEPT = 1 << 30  # bytes read before a picture is found; more is no clip
_SAFE_WRITE = getattr(select, "PIPE_BUF", 512)  # bytes that go into a pipe at once when it says that it is ready


class Reader(Protocol):
    """What libav reads from."""

    def read(self, count: int, /) -> bytes: ...


def is_pipe(path: Path) -> bool:
    """Whether a path is standard input or output, a named pipe, or a device such as /dev/fd/63 and /dev/null."""
    if path == STANDARD:
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # not there, or not to be looked up
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


def is_standard_output(path: Path) -> bool:
    """Whether what is written to `path` goes where printed lines go."""
    return path == STANDARD or str(path) in _ALSO_STANDARD_OUTPUT


class Inflow:
    """What comes through a pipe. Each `reader` begins at its first byte, until `forget` is called; then one is left.

    A context manager. Reading raises Cancelled soon after the token is set, OSError where the system fails.
    """

    def __init__(self, path: Path, cancel: Cancel) -> None:
        self._path = path
        self._cancel = cancel
        self._head = bytearray()  # what is kept, beginning with byte `_from`
        self._from = 0
        self._is_kept = True
        self._lock = threading.Lock()  # of the head
        self._reading = threading.Lock()  # of the descriptor
        self._descriptor = self._open()

    def __enter__(self) -> "Inflow":
        return self

    def __exit__(self, *_: object) -> None:
        if self._path != STANDARD:
            os.close(self._descriptor)

    def reader(self) -> Reader:
        """A reader of its own from the first byte on."""
        return _View(self)

    def forget(self) -> None:
        """Keep nothing more than what the reader that is left has not read yet."""
        self._is_kept = False

    def is_empty(self) -> bool:
        """Whether the pipe ends before its first byte; waits for that."""
        return not self.read_at(0, 1)

    def read_at(self, place: int, count: int) -> bytes:
        """Up to `count` bytes from `place` on, as many as are there; none at the end. For readers of this pipe."""
        known = self._known(place, count)
        if known is not None:
            return known
        with self._reading:
            known = self._known(place, count)  # another reader may have been faster
            if known is not None:
                return known
            data = self._more(count)
            with self._lock:
                if self._is_kept:
                    self._head += data
                    self._check_size()
                else:
                    self._from += len(data)
            return data

    def _known(self, place: int, count: int) -> bytes | None:
        with self._lock:
            at = place - self._from
            if at < 0 or at >= len(self._head):
                return None
            data = bytes(self._head[at : at + count])
            if not self._is_kept:
                del self._head[: at + len(data)]
                self._from = place + len(data)
            return data

    def _check_size(self) -> None:
        if len(self._head) > _MOST_KEPT:
            raise MediaError(f"{self._path}: holds no picture in its first {_MOST_KEPT >> 20} MB; pipe a clip in")

    def _open(self) -> int:
        if self._path == STANDARD:
            return _standard_input()
        try:
            # not blocking: a named pipe that nobody writes to yet would hold us, whatever the token says
            return os.open(self._path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        except OSError as e:
            raise MediaError(f"{self._path}: cannot be opened ({e.strerror}); check the pipe") from e

    def _more(self, count: int) -> bytes:
        while True:
            self._cancel.check()
            if not _is_ready(self._descriptor, "read"):
                continue
            with suppress(BlockingIOError):
                return os.read(self._descriptor, count)


@contextmanager
def inflow(path: Path, cancel: Cancel) -> Iterator[Inflow | None]:
    """What comes through `path`, None where that is no pipe."""
    if not is_pipe(path):
        yield None
        return
    with Inflow(path, cancel) as pipe:
        yield pipe


class _View:
    """A place in a pipe. libav takes it for what cannot be sought, since it has no more than this."""

    def __init__(self, pipe: Inflow) -> None:
        self._pipe = pipe
        self._place = 0

    def read(self, count: int, /) -> bytes:
        data = self._pipe.read_at(self._place, count)
        self._place += len(data)
        return data


class Outflow:
    """A pipe that is written to. Waits for its reader, and for room, as long as `cancel` is not set."""

    def __init__(self, path: Path, descriptor: int, cancel: Cancel) -> None:
        self.path = path
        self._descriptor = descriptor
        self._cancel = cancel
        self._most = _SAFE_WRITE if stat.S_ISFIFO(os.fstat(descriptor).st_mode) else 1 << 20

    def write(self, data: bytes, /) -> int:
        """Write all of `data`. Raises BrokenPipeError when the reader has gone, Cancelled when the token is set."""
        rest = memoryview(data)
        while rest:
            self._cancel.check()
            if not _is_ready(self._descriptor, "write"):
                continue
            with suppress(BlockingIOError):
                rest = rest[os.write(self._descriptor, rest[: self._most]) :]
        return len(data)


@contextmanager
def outflow(path: Path, cancel: Cancel) -> Iterator[Outflow]:
    """Open a pipe for writing. Meanwhile what libraries print on standard output goes to standard error.

    Raises MediaError when it is a terminal or cannot be opened.
    """
    if is_standard_output(path):
        with _own_standard_output() as descriptor:
            yield Outflow(STANDARD, descriptor, cancel)
        return
    descriptor = _opened_for_writing(path, cancel)
    try:
        yield Outflow(path, descriptor, cancel)
    finally:
        os.close(descriptor)


def require_reader(path: Path) -> None:
    """Raise MediaError when a pipe that is to be written to is a terminal or closed."""
    if not is_standard_output(path):
        return
    try:
        is_terminal = os.isatty(1)
        os.fstat(1)
    except OSError as e:
        raise MediaError("-: standard output is closed; pipe it into a program") from e
    if is_terminal:
        raise MediaError("-: standard output is a terminal; pipe it into a program, or name a file")


def _standard_input() -> int:
    try:
        os.fstat(0)
    except OSError as e:
        raise MediaError("-: standard input is closed; pipe a clip into it, or name a file") from e
    if os.isatty(0):
        raise MediaError("-: standard input is a terminal; pipe a clip into it, or name a file")
    return 0


@contextmanager
def _own_standard_output() -> Iterator[int]:
    """A descriptor of our own for what is now standard output; others' prints go to standard error meanwhile."""
    require_reader(STANDARD)
    sys.stdout.flush()
    ours = os.dup(1)
    try:
        with suppress(OSError):  # there is no standard error
            os.dup2(2, 1)
        yield ours
    finally:
        os.dup2(ours, 1)
        os.close(ours)


def _opened_for_writing(path: Path, cancel: Cancel) -> int:
    while True:
        cancel.check()
        try:
            return os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
        except OSError as e:
            if not path.exists() or not stat.S_ISFIFO(path.stat().st_mode) or isinstance(e, PermissionError):
                raise MediaError(f"{path}: cannot be opened ({e.strerror}); choose another output with -o") from e
        time.sleep(_WAIT)  # a named pipe that nobody reads yet


def _is_ready(descriptor: int, what: str) -> bool:
    """Whether a read or a write would not wait, found out within a moment; also true for errors and ends."""
    if not hasattr(select, "poll"):  # Windows: then it waits, and only a second Ctrl-C ends that
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLIN if what == "read" else select.POLLOUT)
    return bool(poll.poll(_WAIT * 1000))
