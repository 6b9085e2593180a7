"""Have the system put files and names on the disk, and tell a full one from other failures."""

import errno
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vsr.errors import MediaError

log = logging.getLogger(__name__)

_END_BYTES = 1 << 20  # of a file that are read to tell it from others


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


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; when that is done it becomes `path`, else it is gone.

    Raises OSError when that cannot be.
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        part = Path(file.name)
    try:
        yield part
        sync_file(part)
        part.chmod(0o644)  # a temporary file is private
        part.replace(path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


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


def state_of(path: Path) -> dict[str, int] | None:
    """What tells a file from others that had its name: renaming keeps it. None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}


def digest_of_ends(path: Path) -> str:
    """A digest of a file's first and last megabyte: what tells a large one from another without reading it all.

    Raises MediaError when it cannot be read.
    """
    try:
        with path.open("rb") as file:
            ends = hashlib.blake2b(file.read(_END_BYTES), digest_size=16)
            file.seek(max(0, path.stat().st_size - _END_BYTES))
            ends.update(file.read(_END_BYTES))
    except OSError as e:
        raise MediaError(f"{path}: cannot be read: {e.strerror}; check the file") from e
    return ends.hexdigest()


def require_readable(path: Path, begin: int = 0) -> None:
    """Read a file from a byte on to its end, only to know that it can be read: libav may take a failing disk or network
    for the end of the file.

    Raises MediaError when the system cannot.
    """
    at = begin
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(begin)
            while block := file.read(_END_BYTES):
                at += len(block)
    except OSError as e:
        what = f"cannot be read at byte {at}: {e.strerror}"
        raise MediaError(f"{path}: {what}; look at its disk or network, and run the same command again") from e


def remove_remains(path: Path) -> None:
    """Delete what is not whole. A disk that refuses that is no further error: the next run deletes it."""
    try:
        path.unlink(missing_ok=True)
    except OSError as e:
        log.info("%s: cannot be deleted: %s", path, e.strerror)


def free_bytes(folder: Path) -> int | None:
    """How much can still be written there; None where the system does not say."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def told_size(count: float) -> str:
    """A number of bytes for people."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"


def why_not_written(error: Exception, otherwise: str) -> str:
    """`what; what to do` for an error while writing: the disk is full, or else `otherwise`."""
    return "the disk is full; make room and run the same command" if is_full(error) else otherwise


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is that the disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False
