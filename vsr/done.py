"""Which outputs are finished, and with which settings: so that the same command again is done at once.

Kept in the user's state folder, one small file an output, because not every container can carry a note.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from vsr.disk import state_of

log = logging.getLogger(__name__)


def remember(output: Path, pinned: Mapping[str, object]) -> None:
    """Note that `output` was finished with these settings. A folder that cannot be written is no error."""
    path = _note_of(output)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"output": state_of(output), "pinned": pinned}), encoding="utf-8")
    except OSError as e:
        log.info("%s: not remembered as done: %s", output, e)


def is_done(output: Path, pinned: Mapping[str, object]) -> bool:
    """Whether `output` is still the file that a run with these settings finished."""
    return finished_with(output) == pinned


def finished_with(output: Path) -> dict[str, object] | None:
    """What the run was begun with that finished `output`; None where none did, or the file is another one since."""
    try:
        note = json.loads(_note_of(output).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    state = state_of(output)
    if not isinstance(note, dict) or state is None or note.get("output") != state:
        return None
    pinned = note.get("pinned")
    return pinned if isinstance(pinned, dict) else None


def _note_of(output: Path) -> Path:
    name = hashlib.sha256(str(output.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return platformdirs.user_state_path("vsr") / "done" / f"{name}.json"
