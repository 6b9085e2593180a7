"""Where hostile files stay that are findings."""

import shutil
from pathlib import Path


def keep(work: Path, name: str) -> None:
    """Copy what lies in a process's folder to found/ beside it, to be looked at."""
    kept = work.with_name("found") / name
    shutil.rmtree(kept, ignore_errors=True)
    if (work / "file").is_dir():
        shutil.copytree(work / "file", kept, symlinks=True)
