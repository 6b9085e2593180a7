"""What is done so far: one JSON line a segment, in a folder beside the output, from which a later run goes on.

The order of writing is what makes it trustworthy: the segment's data, fsync, then its line, fsync, then the folder.
The first line pins all that changes pixels, so that a later run can tell whether it may continue. A line is believed
only while its file still has the size and the digest that it states.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Self, TextIO

from vsr.disk import lock_folder, remove_remains, state_of, sync_file, sync_folder, why_not_written
from vsr.errors import MediaError
from vsr.frames import SegmentFile, Tally
from vsr.record import VERSION, Ending, Gap, Named, Record, SegmentLine, differences, read_record, sealed, segment_entry

_NAME = "journal.jsonl"
_OURS = ("[0-9]*.mkv", _NAME, "joined.*.part")


class Journal:
    """The folder `OUT.vsr/` with its segments and `journal.jsonl`. A context manager; one writer at a time."""

    def __init__(self, output: Path) -> None:
        self.folder = folder_of(output)
        self.lines: list[SegmentLine] = []  # of segments that are whole, in order
        self.ending: Ending | None = None  # once the source came to its end
        self.lost: list[int] = []  # indices of segments whose files are no longer what they were
        self._output = output
        self._named: Named | None = None
        self._file: TextIO | None = None
        self._lock: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None and not self.lines:  # ours, and nothing in it is worth keeping
            self.remove()
        self.close()

    def begin(self, pinned: Mapping[str, object], *, restart: bool = False) -> None:
        """Go on with what was begun with the same `pinned`, else start anew; it becomes the first line.

        Raises MediaError when the folder cannot be made, another run holds it, or it was begun with something else and
        `restart` is not set.
        """
        try:
            self.folder.mkdir(exist_ok=True)
            self._lock = lock_folder(self.folder)
            path = self.folder / _NAME
            record = None if restart else read_record(path)
            if record is None or not (record.segments or record.named):  # nothing is lost
                self._clear()
                self._file = path.open("w", encoding="utf-8")
                self._append({"vsr": VERSION, "pinned": pinned})
            else:
                self._take_over(record, pinned)
                self._clear(keep={_NAME, *(self.segment_path(line.index).name for line in self.lines)})
                os.truncate(path, record.length)  # a last line that is not whole
                self._file = path.open("a", encoding="utf-8")
            sync_folder(self.folder.parent)
        except BlockingIOError as e:
            raise MediaError(f"{self.folder}: another run writes there; wait for its end, or choose another -o") from e
        except OSError as e:
            otherwise = f"cannot be made: {e.strerror}; choose another output with -o"
            raise MediaError(f"{self.folder}: {why_not_written(e, otherwise)}") from e

    @property
    def frames(self) -> int:
        """Of all segments that are whole."""
        return sum(len(line.pts) for line in self.lines)

    @property
    def named(self) -> Named | None:
        """The output, if it is the file that an earlier run joined and checked, and only had to clear up after."""
        return self._named if self._named is not None and is_left(self._named, self._output) else None

    def gaps(self) -> list[Gap]:
        """What is still to be made, in order; nothing once all segments are whole and the source came to its end."""
        found: list[Gap] = []
        before: SegmentLine | None = None
        for line in self.lines:
            if line.after != (-1 if before is None else before.index):
                found.append(Gap(after=before, until=line.index))
            before = line
        if self.ending is None:
            found.append(Gap(after=before, until=None))
        return found

    def segment_path(self, index: int) -> Path:
        return self.folder / f"{index:06d}.mkv"

    def add(
        self,
        *,
        index: int,
        after: int,
        pts: tuple[int, ...],
        last_crc: int,
        tally: Tally,
        tile: int | None = None,
        looks: tuple[bytes, ...] = (),
    ) -> SegmentLine:
        """Record a segment whose file is closed, syncing first the file and then the line.

        Raises MediaError when the disk is full or fails.
        """
        path = self.segment_path(index)
        with self._told():
            sync_file(path)
            line = SegmentLine(
                index=index,
                after=after,
                size=path.stat().st_size,
                digest=_digest(path),
                pts=pts,
                last_crc=last_crc,
                tally=tally,
                tile=tile,
                looks=looks,
            )
            self._append(segment_entry(line))
        self.lines = sorted([*self.lines, line], key=lambda line: line.index)
        return line

    def end(self, ending: Ending) -> None:
        """Record that the source came to its end, and what was found on the way. Raises MediaError as `add` does."""
        with self._told():
            self._append({"end": asdict(ending)})
        self.ending = ending

    def name(self, part: Path, ending: Ending, *, damaged_places: int) -> Named:
        """Give a checked file the output's name, once it is recorded as the one. Raises MediaError as `add` does."""
        with self._told():
            found = part.stat()
            self._named = Named(
                size=found.st_size,
                mtime_ns=found.st_mtime_ns,
                frames=ending.frames,
                lost=ending.lost,
                damaged_places=damaged_places,
            )
            self._append({"named": asdict(self._named)})
            part.replace(self._output)
            sync_folder(self._output.parent)
        return self._named

    def segments(self) -> list[SegmentFile]:
        """What the join needs, in order: the segments up to the first gap."""
        gaps = self.gaps()
        whole = self.lines
        if gaps:
            last = -1 if gaps[0].after is None else gaps[0].after.index
            whole = [line for line in self.lines if line.index <= last]
        return [SegmentFile(path=self.segment_path(line.index), pts=line.pts) for line in whole]

    def close(self) -> None:
        self._close_file()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove(self) -> None:
        """Delete the folder with all that this run put there; other files keep it alive."""
        self._close_file()
        self._clear()
        with suppress(OSError):  # it holds others' files, or is a link
            self.folder.rmdir()
        self.close()

    def _take_over(self, record: Record, pinned: Mapping[str, object]) -> None:
        """Believe a record that was begun with the same, as far as its files bear it out."""
        how = "give the same again, or --restart to begin anew"
        if record.pinned is None:
            what = "its journal is damaged, or of another version of vsr"
            raise MediaError(f"{self.folder}: {what}; --restart begins anew")
        different = differences(record.pinned, pinned)
        if different is not None:
            raise MediaError(f"{self.folder}: was begun with {different}; {how}")
        self.ending, self._named = record.ending, record.named
        for line in record.segments:
            if self._is_whole(line):
                self.lines.append(line)
            else:
                self.lost.append(line.index)

    def _is_whole(self, line: SegmentLine) -> bool:
        path = self.segment_path(line.index)
        return path.is_file() and path.stat().st_size == line.size and _digest(path) == line.digest

    def _close_file(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # a full disk was told when the line was written
                self._file.close()
            self._file = None

    def _clear(self, keep: set[str] | None = None) -> None:
        """Delete what runs put there, but for the names to keep."""
        for pattern in _OURS:
            for path in self.folder.glob(pattern):
                if path.name not in (keep or ()):
                    remove_remains(path)

    def _append(self, values: Mapping[str, object]) -> None:
        assert self._file is not None
        self._file.write(sealed(values).decode("ascii"))
        self._file.flush()
        os.fsync(self._file.fileno())
        sync_folder(self.folder)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the system refuses, as one line."""
        try:
            yield
        except OSError as e:
            otherwise = f"cannot be written: {e.strerror}; choose another output with -o"
            raise MediaError(f"{self.folder}: {why_not_written(e, otherwise)}") from e


def folder_of(output: Path) -> Path:
    """Where segments lie until `output` is whole."""
    return output.with_name(output.name + ".vsr")


def begun(output: Path) -> Record | None:
    """What the journal beside `output` says, if a run was begun there; reading it stops no other run."""
    try:
        return read_record(folder_of(output) / _NAME)
    except OSError:
        return None


def is_left(named: Named, output: Path) -> bool:
    """Whether a file is the one that got this name."""
    return state_of(output) == {"size": named.size, "mtime_ns": named.mtime_ns}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
