"""Which settings numbered pictures are made with: the pictures themselves are the journal of what is done.

A small hidden file beside them holds what pins their pixels, so that a later run knows whether they are its own.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from vsr.disk import lock_folder, sync_folder, why_not_written
from vsr.errors import MediaError


class PictureJournal:
    """A context manager; one writer a folder at a time."""

    def __init__(self, pattern: Path) -> None:
        self._pattern = pattern
        self._note = pattern.with_name(f".{pattern.name}.vsr")
        self._lock: int | None = None
        self.goes_on = False  # whether the pictures that are there are of these settings

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def begin(self, pinned: Mapping[str, object], *, are_there: bool, overwrite: bool) -> None:
        """Go on where the same settings stopped, else begin anew.

        Raises MediaError when pictures are there that others made and that must not be overwritten.
        """
        folder = self._pattern.parent
        try:
            self._lock = lock_folder(folder)
            self.goes_on = not overwrite and self._read().get("pinned") == _plain(pinned)
            if are_there and not self.goes_on and not overwrite:
                raise MediaError(
                    f"{self._pattern}: pictures of other settings are there; add --overwrite, or choose another folder"
                )
            self._write({"pinned": pinned})
            sync_folder(folder)
        except BlockingIOError as e:
            raise MediaError(f"{folder}: another run writes there; wait for its end, or choose another folder") from e
        except OSError as e:
            otherwise = f"cannot be written: {e.strerror}; choose another output with -o"
            raise MediaError(f"{folder}: {why_not_written(e, otherwise)}") from e

    def finish(self, pinned: Mapping[str, object], first: int, count: int) -> None:
        """Note that all are there. Raises MediaError when the disk is full or fails."""
        try:
            self._write({"pinned": pinned, "first": first, "count": count})
        except OSError as e:
            otherwise = f"cannot be written: {e.strerror}; choose another output with -o"
            raise MediaError(f"{self._note}: {why_not_written(e, otherwise)}") from e

    def finished(self, pinned: Mapping[str, object]) -> range:
        """The numbers of the pictures that a run with these settings finished; none if none did."""
        found = self._read()
        first, count = found.get("first"), found.get("count")
        if found.get("pinned") != _plain(pinned) or not isinstance(first, int) or not isinstance(count, int):
            return range(0)
        return range(first, first + count)

    def _read(self) -> dict[str, object]:
        try:
            found = json.loads(self._note.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, values: Mapping[str, object]) -> None:
        part = self._note.with_name(f"{self._note.name}.part")
        part.write_text(json.dumps(values), encoding="utf-8")
        part.replace(self._note)


def _plain(pinned: Mapping[str, object]) -> object:
    """As it reads back from JSON."""
    return json.loads(json.dumps(pinned))
