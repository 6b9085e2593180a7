"""Gives hostile files to vsr one after another, and says what came of each. Run by `campaign`, which watches.

    python -m tests.fuzz.child CORPUS WORK KIND SEED FIRST LAST

A file depends on kind, seed and number alone. Writing outside of the file's own folder, starting a program and calling
a host are caught by an audit hook: what Python is asked for; libav and SQLite get their names from there.
"""

import faulthandler
import json
import os
import random
import resource
import shutil
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import platformdirs

from tests.fuzz.keeping import keep
from tests.fuzz.targets import TARGETS
from vsr.errors import VsrError

MEMORY = 1 << 30  # bytes that a file may take, besides what the process holds before the first
_ADDRESSES = 8 << 30  # bytes of addresses that it may take: a backstop, so that the machine does not suffer
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink"),
    *("os.chmod", "os.truncate", "os.utime"),
}
_FORBIDDEN = {"os.system", "os.exec", "os.fork", "os.posix_spawn", "os.startfile", "subprocess.Popen", "socket.connect"}


class Guard:
    """Notes what is done outside of a folder."""

    def __init__(self, folder: Path) -> None:
        self.caught: list[str] = []
        self._folder = os.path.realpath(folder)
        sys.addaudithook(self._look)

    def _look(self, event: str, arguments: Sequence[Any]) -> None:
        if event in _FORBIDDEN:
            self.caught.append(f"{event} {arguments!r:.200}")
        elif event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITES:
                self._require_inside(event, path)
        elif event == "sqlite3.connect" or event in _CHANGES:
            for path in arguments[: 2 if event in ("os.rename", "os.link") else 1]:
                self._require_inside(event, path)

    def _require_inside(self, event: str, path: object) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        name = os.fsdecode(path)
        where = os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name))  # noqa: PTH118, PTH119, PTH120
        if where not in (os.devnull, self._folder) and not where.startswith(self._folder + os.sep):
            self.caught.append(f"{event} {name}")


def main(corpus: Path, work: Path, kind: str, seed: int, first: int, last: int) -> None:
    """Try the files from `first` up to `last`, itself left out; one JSON object a line before and after each."""
    faulthandler.enable()
    state = work / "state"
    platformdirs.user_state_path = lambda *_: state
    limit = _bytes_of("VmSize") + _ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    guard = Guard(work)
    rest = _bytes_of("VmRSS")
    for number in range(first, last):
        folder = work / "file"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(state, ignore_errors=True)
        folder.mkdir(parents=True)
        _say(begins=number)
        Path("/proc/self/clear_refs").write_text("5")  # the highest amount of memory is counted anew
        guard.caught.clear()
        how, what = tried(kind, corpus, folder, random.Random(f"{kind} {seed} {number}"))
        taken = _bytes_of("VmHWM") - rest
        if guard.caught:
            how, what = "outside", guard.caught[0]
        elif taken > MEMORY:
            how, what = "memory", f"{taken >> 20} MiB ({what})"
        if how not in ("taken", "refused"):
            keep(work, f"{kind}-{seed}-{number}")
        _say(ends=number, how=how, what=what, taken=taken)


def tried(kind: str, corpus: Path, folder: Path, draw: random.Random) -> tuple[str, str]:
    """What came of one file: taken, refused in one line, or anything else."""
    try:
        TARGETS[kind](corpus, folder, draw)
    except VsrError as e:
        said = str(e)
        if isinstance(e.__cause__, Exception) and "please report this" in said:
            return "traceback", "".join(traceback.format_exception(e.__cause__))
        is_named = any((folder / name).exists() for name in ("out.mkv", "out.png"))
        if "\n" in said or is_named:
            return "traceback", f"{'an output is there' if is_named else 'more than one line'}: {said}"
        return "refused", said
    except BaseException:
        return "traceback", traceback.format_exc()
    return "taken", ""


def _bytes_of(name: str) -> int:
    """A figure of this process's memory, as Linux tells it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise KeyError(name)


def _say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:7]))
