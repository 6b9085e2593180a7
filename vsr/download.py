"""A file from the network, whole or not at all: continued where it broke off, verified before it gets its name."""

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from vsr.disk import free_bytes, sync_folder
from vsr.errors import DownloadError
from vsr.events import DownloadEvent, NoteEvent
from vsr.stage import Cancel
from vsr.transfer import BrokenTransferError, RangeError, RefusedError, Transfer

MAX_BYTES = 1 << 30  # of a file whose size is not known
PATIENCE = 20.0  # seconds of silence
_ATTEMPTS = 3  # that bring nothing new, in a row
_PAUSE = 0.5  # seconds before the second attempt, twice as long before each further one

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP)  # what some network disks answer

Tell = Callable[[DownloadEvent | NoteEvent], None]


def is_offline() -> bool:
    """Whether the environment keeps vsr off the network: VSR_OFFLINE is set, and neither to 0 nor to no."""
    return os.environ.get("VSR_OFFLINE", "").lower() not in ("", "0", "no", "false", "off")


def download(
    urls: Sequence[str], dst: Path, *, sha256: str, size: int | None = None, tell: Tell, cancel: Cancel
) -> None:
    """Fetch `dst` from the first of `urls` that gives a file with this hash; its folder is made.

    What arrived stays beside it under a temporary name when this is broken off, and is gone on from the next time.
    While another process fetches the same file this one waits, and then finds it. `size` is in bytes.
    Raises DownloadError with each address's reason, without saying what to do, and OSError when the disk is at fault.
    """
    dst.parent.mkdir(parents=True, exist_ok=True)
    with _alone(dst, tell, cancel):
        if not dst.exists():
            _from_any(urls, dst, sha256=sha256, size=size, tell=tell, cancel=cancel)


@contextmanager
def _alone(dst: Path, tell: Tell, cancel: Cancel) -> Iterator[None]:
    """Hold the lock of this file, where its disk has locks; the system frees it however a process ends."""
    lock, is_told = FileLock(dst.with_name(f".{dst.name}.lock")), False
    while True:
        cancel.check()
        try:
            lock.acquire(timeout=0.1)
            break
        except Timeout:
            if not is_told:
                tell(NoteEvent(message=f"{dst.name}: another process is fetching it; waiting for that"))
                is_told = True
        except OSError as e:
            if e.errno not in _NO_LOCKS:
                raise
            break
    try:
        yield
    finally:
        lock.release()


def _from_any(urls: Sequence[str], dst: Path, *, sha256: str, size: int | None, tell: Tell, cancel: Cancel) -> None:
    part, failures = dst.with_name(f".{dst.name}.part"), []
    for url in urls:
        try:
            _fetch(url, part, file=dst.name, sha256=sha256, size=size, tell=tell, cancel=cancel)
        except RefusedError as e:
            failures.append(f"{url}: {e}")
            continue
        part.replace(dst)
        sync_folder(dst.parent)
        return
    raise DownloadError("; ".join(failures))


def _fetch(url: str, part: Path, *, file: str, sha256: str, size: int | None, tell: Tell, cancel: Cancel) -> None:
    """Have `part` hold the file with this hash. Raises RefusedError when this address does not give it."""
    best, idle, is_anew = -1, 0, False
    while True:
        have = _size(part)
        if size is not None and have > size:
            have = _discard(part)
        try:
            if size is None or have < size:
                _receive(url, part, start=have, file=file, size=size, tell=tell, cancel=cancel)
            found = _hash(part)
            if found == sha256:
                return
            _discard(part)
            if is_anew or not have:
                raise RefusedError(f"gives another file, with SHA-256 {found}")
            tell(NoteEvent(message=f"{file}: what was continued is not the file wanted; all of it is fetched again"))
            is_anew = True
        except RangeError as e:
            _discard(part)
            if is_anew or not have:
                raise RefusedError(str(e)) from e
            is_anew = True
        except BrokenTransferError as e:
            idle = 0 if _size(part) > best else idle + 1
            best = max(best, _size(part))
            if idle >= _ATTEMPTS:
                raise RefusedError(str(e)) from e
            _wait(_PAUSE * 2**idle, cancel)


def _receive(url: str, part: Path, *, start: int, file: str, size: int | None, tell: Tell, cancel: Cancel) -> None:
    """Add to `part` what the address gives from `start` on; the whole file where it cannot continue."""
    with Transfer(url, start=start, patience=PATIENCE, cancel=cancel) as transfer:
        head = transfer.head()
        total = head.total if size is None else size
        if head.total not in (None, total) or (total or 0) > MAX_BYTES:
            raise RefusedError(f"offers {head.total} bytes, {'too many' if size is None else f'not {size}'}")
        received, most = head.start, total or MAX_BYTES
        _require_room(part, most - received if total else 0)
        tell(DownloadEvent(file=file, received=received, total=total))
        with part.open("ab" if head.start else "wb") as written:
            for chunk in transfer:
                received += len(chunk)
                if received > most:
                    raise RefusedError(f"gives more than {most} bytes")
                written.write(chunk)
                tell(DownloadEvent(file=file, received=received, total=total))
            written.flush()
            os.fsync(written.fileno())
    if total is None:
        tell(DownloadEvent(file=file, received=received, total=received))
    elif received < total:
        raise BrokenTransferError(f"breaks off after {received} of {total} bytes")


def _require_room(part: Path, needed: int) -> None:
    free = free_bytes(part.parent)
    if free is not None and free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _discard(part: Path) -> int:
    with suppress(FileNotFoundError):
        part.unlink()
    return 0


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wait(seconds: float, cancel: Cancel) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        cancel.check()
        time.sleep(0.05)
