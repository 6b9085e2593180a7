"""What is done so far: one JSON line a segment, in a folder beside the output.

The order of writing is what makes it trustworthy: the segment's data, fsync, then its line, fsync, then the folder.
The first line pins all that changes pixels, so that a later run can tell whether it may continue.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TextIO

from vsr.disk import lock_folder, sync_file, sync_folder, why_not_written
from vsr.errors import MediaError
from vsr.frames import SegmentFile

VERSION = 1
_OURS = ("[0-9]*.mkv", "journal.jsonl", "joined.*.part")


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentLine:
    """One finished segment."""

    index: int
    file: str  # in the journal's folder
    pts: tuple[int, ...]  # in display order, in ticks of the source's time base
    last_crc: int  # CRC-32 of the last source frame as decoded: where a resumed run must find itself
    size: int  # bytes


class Journal:
    """The folder `OUT.vsr/` with its segments and `journal.jsonl`. A context manager; one writer at a time."""

    def __init__(self, output: Path) -> None:
        self.folder = output.with_name(output.name + ".vsr")
        self.lines: list[SegmentLine] = []
        self._file: TextIO | None = None
        self._lock: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None and not self.lines:  # ours, and nothing in it is worth keeping
            self.remove()
        self.close()

    def begin(self, pinned: Mapping[str, object]) -> None:
        """Start anew; `pinned` becomes the first line. Raises MediaError if it cannot be made."""
        try:
            self.folder.mkdir(exist_ok=True)
            self._lock = lock_folder(self.folder)
            self._clear()
            self._file = (self.folder / "journal.jsonl").open("w", encoding="utf-8")
            self._append({"vsr": VERSION, **pinned})
            sync_folder(self.folder.parent)
        except BlockingIOError as e:
            raise MediaError(f"{self.folder}: another run writes there; wait for its end, or choose another -o") from e
        except OSError as e:
            otherwise = f"cannot be made: {e.strerror}; choose another output with -o"
            raise MediaError(f"{self.folder}: {why_not_written(e, otherwise)}") from e

    def segment_path(self, index: int) -> Path:
        return self.folder / f"{index:06d}.mkv"

    def add(self, *, index: int, pts: tuple[int, ...], last_crc: int) -> SegmentLine:
        """Record a segment whose file is closed, syncing first the file and then the line.

        Raises MediaError when the disk is full or fails.
        """
        path = self.segment_path(index)
        try:
            sync_file(path)
            size = path.stat().st_size
            self._append({"segment": index, "file": path.name, "size": size, "crc": last_crc, "pts": list(pts)})
        except OSError as e:
            otherwise = f"cannot be written: {e.strerror}; choose another output with -o"
            raise MediaError(f"{self.folder}: {why_not_written(e, otherwise)}") from e
        line = SegmentLine(index=index, file=path.name, pts=pts, last_crc=last_crc, size=size)
        self.lines.append(line)
        return line

    def segments(self) -> list[SegmentFile]:
        """What the join needs, in order."""
        lines = sorted(self.lines, key=lambda line: line.index)
        return [SegmentFile(path=self.folder / line.file, pts=line.pts) for line in lines]

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

    def _close_file(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # a full disk was told when the line was written
                self._file.close()
            self._file = None

    def _clear(self) -> None:
        for pattern in _OURS:
            for path in self.folder.glob(pattern):
                path.unlink()

    def _append(self, values: Mapping[str, object]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(values, separators=(",", ":")) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        sync_folder(self.folder)
