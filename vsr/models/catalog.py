"""Names of the weights that come with vsr, and the way from a name or path to a file."""

import difflib
from pathlib import Path

from vsr.errors import ModelError

WEIGHTS = Path(__file__).parent / "weights"
EMBEDDED: dict[str, str] = {
    "vsr-fast-x4": "vsr-fast-x4.safetensors",
}


def find(name_or_path: str) -> Path:
    """The weights file of an embedded name, or else the file at that path.

    Raises ModelError, naming the nearest known name, when it is neither.
    """
    if name_or_path in EMBEDDED:
        path = WEIGHTS / EMBEDDED[name_or_path]
        if not path.is_file():
            raise ModelError(f"{name_or_path}: its weights file is missing from this installation; reinstall vsr")
        return path
    path = Path(name_or_path)
    if name_or_path and path.exists():
        return path
    near = difflib.get_close_matches(name_or_path, EMBEDDED, n=1)
    known = f"did you mean {near[0]}" if near else f"known names: {', '.join(EMBEDDED)}"
    raise ModelError(f"model {name_or_path!r}: no such name or file; {known}, or give the path of a weights file")
