"""What became of each file of a folder: an SQLite file in the output folder, so that the same command goes on.

A row is on the disk before its result bears its name. So whatever a killed run leaves behind is known; a row whose
result is not there counts for nothing.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Literal, Self, get_args

from vsr.disk import lock_folder, why_not_written
from vsr.errors import MediaError
from vsr.folder.found import MANIFEST, Found, Sort

_VERSION = 1
_CHUNK = 256  # queued files read at once

# done: the result is, or is about to be, there. replacing: the same, but something of ours is there, too, until then.
# begun: a clip's journal is, or is about to be, beside the place of its result.
State = Literal["done", "replacing", "begun", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One file's row; fields are columns."""

    source: str  # below the folder, with / between its parts
    size: int  # of the source, in bytes
    mtime_ns: int
    settings: str  # hash of all that was asked for and changes the result
    state: State
    output: str | None = None  # below the output folder
    output_size: int | None = None
    output_mtime_ns: int | None = None
    seconds: float = 0
    error: str | None = None  # why it failed, or what is wrong with a result that is there
    notes: str = ""  # what the result does not carry, and why it is of another kind; one a line


_COLUMNS = [field.name for field in fields(Row)]
_KINDS: dict[str, type | UnionType] = {  # what may stand in each column, names decoded
    **dict.fromkeys(("source", "settings", "state", "notes"), str),
    **dict.fromkeys(("output", "error"), str | None),
    **dict.fromkeys(("size", "mtime_ns"), int),
    **dict.fromkeys(("output_size", "output_mtime_ns"), int | None),
    "seconds": float | int,
}
_TABLES = f"""
CREATE TABLE IF NOT EXISTS files ({", ".join(_COLUMNS)}, PRIMARY KEY (source)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_by_output ON files (output);
CREATE TEMP TABLE queue (number INTEGER PRIMARY KEY, name, sort, size, mtime_ns, is_twin);
CREATE TEMP TABLE claims (output PRIMARY KEY, source);
"""


class Manifest:
    """A context manager; one run a folder at a time. Safe to call from several threads.

    Raises MediaError when another run is at work there, and when the file cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / MANIFEST
        self._lock = threading.Lock()
        self._run_lock: int | None = None
        self._database: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        try:
            self._run_lock = lock_folder(self.path.parent)
        except BlockingIOError as e:
            raise MediaError(
                f"{self.path.parent}: another run writes there; wait for its end, or choose another folder with -o"
            ) from e
        try:
            with self._errors():
                self._database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
                (version,) = self._database.execute("PRAGMA user_version").fetchone()
                if version not in (0, _VERSION):
                    raise MediaError(
                        f"{self.path}: is of another version of vsr; use that one, or choose another folder with -o"
                    )
                self._database.execute("PRAGMA synchronous = FULL")
                self._database.executescript(_TABLES)
                self._database.execute(f"PRAGMA user_version = {_VERSION}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
        if self._run_lock is not None:
            os.close(self._run_lock)
            self._run_lock = None

    def row(self, source: str) -> Row | None:
        found = self._all(f"SELECT {', '.join(_COLUMNS)} FROM files WHERE source = ?", _key(source))
        return _row(found[0]) if found else None

    def makers(self, output: str) -> list[Row]:
        """The rows whose results are, were or should be at `output`."""
        found = self._all(f"SELECT {', '.join(_COLUMNS)} FROM files WHERE output = ?", _key(output))
        return [row for row in map(_row, found) if row is not None]

    def record(self, row: Row) -> None:
        """Put a row in the place of the file's last one; when this returns it is on the disk."""
        values = [_key(value) if isinstance(value, str) else value for value in astuple(row)]
        self._all(f"INSERT OR REPLACE INTO files VALUES ({', '.join('?' * len(values))})", *values)

    def claim(self, output: str, source: str) -> bool:
        """Keep the name `output` for `source` in this run; False when another source has it."""
        self._all("INSERT OR IGNORE INTO claims VALUES (?, ?)", _key(output.lower()), _key(source))
        ((owner,),) = self._all("SELECT source FROM claims WHERE output = ?", _key(output.lower()))
        return _text(owner) == source

    def enqueue(self, found: Found) -> None:
        """Keep one file to be made, on disk where there are many: memory is not to grow with the folder."""
        self._all(
            "INSERT INTO queue (name, sort, size, mtime_ns, is_twin) VALUES (?, ?, ?, ?, ?)",
            *(_key(found.name), found.sort, found.size, found.mtime_ns, found.is_twin),
        )

    def queued(self, sort: Sort) -> Iterator[Found]:
        """What was put into the queue, in that order."""
        last = 0
        while rows := self._all(
            "SELECT * FROM queue WHERE sort = ? AND number > ? ORDER BY number LIMIT ?", sort, last, _CHUNK
        ):
            last = rows[-1][0]
            for _, name, _, size, mtime_ns, is_twin in rows:
                yield Found(name=_text(name), sort=sort, size=size, mtime_ns=mtime_ns, is_twin=bool(is_twin))

    def _all(self, statement: str, *values: str | bytes | float | None) -> list[tuple]:
        with self._lock, self._errors():
            assert self._database is not None
            return self._database.execute(statement, values).fetchall()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as e:  # the second: a name in a damaged file
            what = f"cannot be read or written: {e}; remove it, and give --skip-existing to keep what is there"
            if getattr(e, "sqlite_errorname", "") == "SQLITE_FULL":
                what = why_not_written(OSError(28, ""), what)
            raise MediaError(f"{self.path}: {what}") from e


def _row(values: tuple) -> Row | None:
    """A row as it was written; None for one that somebody else wrote, or that is damaged: it counts for nothing."""
    named = dict(zip(_COLUMNS, values, strict=True))
    for column in ("source", "output"):
        if isinstance(named[column], bytes):
            named[column] = os.fsdecode(named[column])
    if not all(isinstance(named[column], kinds) for column, kinds in _KINDS.items()):
        return None
    output = named["output"]
    is_below = output is None or not (output.startswith("/") or ".." in output.split("/"))
    return Row(**named) if is_below and named["state"] in get_args(State) else None


def _key(text: str) -> str | bytes:
    """Names that are no Unicode go in as their bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text)
    return text


def _text(key: str | bytes) -> str:
    return os.fsdecode(key) if isinstance(key, bytes) else key
