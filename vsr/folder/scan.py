"""What there is in a folder: stills and clips, down to the bottom, in an order that depends on the names alone."""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from vsr.errors import MediaError
from vsr.folder.found import MANIFEST, Found, Sort
from vsr.io.clip_kind import is_clip
from vsr.io.still_kind import still_kind
from vsr.stage import Cancel

HIDDEN, EXCLUDED, FOREIGN, SIDECAR, RESULTS, LOOP = (
    "hidden",
    "excluded",
    "no pictures",
    "sidecars",
    "folders of results",
    "folders seen before",
)
_SIDECARS = (".thm", ".lrv", ".xmp", ".aae", ".pp3", ".dop", ".icc", ".icm")  # some are pictures, and none is a photo
_SYSTEM = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """Which files are wanted, by shell patterns; capitals do not count.

    A pattern with a slash is held against the whole name below the folder, any other against each of its parts. With
    `include`, a file must match one of them; one that matches an `exclude` is left out in any case.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def leave_out(self, name: str, *, is_folder: bool) -> bool:
        if _matches(name, self.exclude):
            return True
        return not is_folder and bool(self.include) and not _matches(name, self.include)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    whole = name.lower()
    parts = whole.split("/")
    for pattern in (one.lower() for one in patterns):
        if "/" in pattern:
            if fnmatchcase(whole, pattern.strip("/")):
                return True
        elif any(fnmatchcase(part, pattern) for part in parts):
            return True
    return False


class Scan:
    """Iterates what is found below `root`: of each folder first its files, then its folders.

    What is passed by is counted in `passed`, what cannot be looked at goes to `problems`. Links are followed, each
    folder is entered once, and `output` and other folders of results are left alone. Raises MediaError when `root`
    cannot be looked into, and Cancelled.
    """

    def __init__(self, root: Path, *, output: Path, patterns: Patterns, cancel: Cancel) -> None:
        self._root = root
        self._output = output
        self._patterns = patterns
        self._cancel = cancel
        self._seen: set[tuple[int, int]] = set()
        self.passed: Counter[str] = Counter()
        self.problems: list[tuple[str, str]] = []  # (name, what is wrong)

    def __iter__(self) -> Iterator[Found]:
        real, links = [""], []  # links are entered when all real folders have been
        while real or links:
            self._cancel.check()
            name = real.pop() if real else links.pop(0)
            listed = self._entered(name)
            yield from self._files(name, [entry for entry in listed if not _is_folder(entry)])
            inner: list[str] = []
            for entry in filter(_is_folder, listed):
                below = _joined(name, entry)
                if not self._is_passed(entry, below, is_folder=True):
                    (links if entry.is_symlink() else inner).append(below)
            real += reversed(inner)

    def _entered(self, name: str) -> list[os.DirEntry[str]]:
        """What lies in a folder, by name; nothing where it is not to be entered."""
        path = self._root / name
        try:
            status = path.stat()
            if (status.st_dev, status.st_ino) in self._seen:
                self.passed[LOOP] += 1
                return []
            if name and self._is_result(path):
                self.passed[RESULTS] += 1
                return []
            self._seen.add((status.st_dev, status.st_ino))
            with os.scandir(path) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as e:
            if not name:
                raise MediaError(f"{path}: cannot be looked into: {e.strerror}; check its name and rights") from e
            self.problems.append((name, f"cannot be looked into: {e.strerror}; check its rights"))
            return []

    def _files(self, folder: str, entries: Sequence[os.DirEntry[str]]) -> Iterator[Found]:
        found = [one for entry in entries if (one := self._file(folder, entry)) is not None]
        stems = Counter((one.sort, _stem(one.name)) for one in found)
        for one in found:
            is_twin = stems[one.sort, _stem(one.name)] > 1
            yield Found(name=one.name, sort=one.sort, size=one.size, mtime_ns=one.mtime_ns, is_twin=is_twin)

    def _file(self, folder: str, entry: os.DirEntry[str]) -> Found | None:
        name = _joined(folder, entry)
        if self._is_passed(entry, name, is_folder=False):
            return None
        if Path(entry.name).suffix.lower() in _SIDECARS:
            self.passed[SIDECAR] += 1
            return None
        path = self._root / name
        try:
            status = entry.stat()
        except OSError:  # a link that leads nowhere, or a name that vanished: whoever reads it will say why
            status = None
        sort = self._sort(path) if status is None or stat.S_ISREG(status.st_mode) else None
        if sort is None:
            self.passed[FOREIGN] += 1
            return None
        size, mtime_ns = (0, 0) if status is None else (status.st_size, status.st_mtime_ns)
        return Found(name=name, sort=sort, size=size, mtime_ns=mtime_ns)

    def _sort(self, path: Path) -> Sort | None:
        if still_kind(path) is not None:
            return "still"
        return "clip" if is_clip(path) else None

    def _is_passed(self, entry: os.DirEntry[str], name: str, *, is_folder: bool) -> bool:
        """Whether a name alone says that it is not wanted; counts it then."""
        if entry.name.startswith(".") or entry.name.lower() in _SYSTEM:
            self.passed[HIDDEN] += 1
        elif self._patterns.leave_out(name, is_folder=is_folder):
            self.passed[EXCLUDED] += 1
        else:
            return False
        return True

    def _is_result(self, path: Path) -> bool:
        """Whether a folder is made by vsr: this run's output, or another's."""
        return (path / MANIFEST).exists() or (self._output.exists() and path.samefile(self._output))


def _joined(folder: str, entry: os.DirEntry[str]) -> str:
    return f"{folder}/{entry.name}" if folder else entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _stem(name: str) -> str:
    folder, _, last = name.rpartition("/")
    return f"{folder}/{Path(last).stem.lower()}"
