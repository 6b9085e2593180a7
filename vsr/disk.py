"""Have the system put files and names on the disk, and tell a full one from other failures."""

import errno
import os
from pathlib import Path


def sync_file(path: Path) -> None:
    """Wait until the file's data is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until the folder's names are on the disk, where the system can do that."""
    if os.name == "nt":  # folders cannot be opened there
        return
    sync_file(folder)


def lock_folder(folder: Path) -> int | None:
    """Keep other runs out of a folder until the descriptor is closed; None where the system cannot do that.

    Raises BlockingIOError while another holds it. The lock ends with the process, however that ends.
    """
    if os.name == "nt":
        return None
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(descriptor)
        if isinstance(e, BlockingIOError):
            raise
        return None  # some network disks have no locks
    return descriptor


def why_not_written(error: Exception, otherwise: str) -> str:
    """`what; what to do` for an error while writing: the disk is full, or else `otherwise`."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; make room and run the same command"
    return otherwise
