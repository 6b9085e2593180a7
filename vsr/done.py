"""Which outputs are finished, and with which settings: so that the same command again is done at once.

Kept in the user's state folder, one small file an output, because not every container can carry a note.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path

import platformdirs

log = logging.getLogger(__name__)


def remember(output: Path, pinned: Mapping[str, object]) -> None:
    """Note that `output` was finished with these settings. A folder that cannot be written is no error."""
    path = _note_of(output)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"output": _state_of(output), "pinned": pinned}), encoding="utf-8")
    except OSError as e:
        log.info("%s: not remembered as done: %s", output, e)


def is_done(output: Path, pinned: Mapping[str, object]) -> bool:
    """Whether `output` is still the file that a run with these settings finished."""
    try:
        note = json.loads(_note_of(output).read_text(encoding="utf-8"))
        return note == {"output": _state_of(output), "pinned": pinned}
    except (OSError, ValueError):
        return False


def _state_of(output: Path) -> dict[str, int]:
    found = output.stat()
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}


def _note_of(output: Path) -> Path:
    name = hashlib.sha256(str(output.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return platformdirs.user_state_path("vsr") / "done" / f"{name}.json"
