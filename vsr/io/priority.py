"""Keep encoders from taking the machine for themselves."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_THREADS = Path("/proc/self/task")


@contextmanager
def ordinary_priority() -> Iterator[None]:
    """What is opened in here leaves this process's threads as urgent as they were, and its own as these.

    SVT-AV1, where the user may do that (root in a container, say), moves itself and the thread that opens it to real
    time (SCHED_FIFO 99, `svt_aom_create_thread`): nothing else would run while a clip is encoded. Linux only.
    """
    if not (_THREADS.is_dir() and hasattr(os, "sched_getscheduler")):
        yield
        return
    before = _policies()
    usual = os.SCHED_OTHER, os.sched_param(0)
    try:
        yield
    finally:
        for thread, policy in _policies().items():
            if policy != before.get(thread, os.SCHED_OTHER):
                with suppress(OSError):  # it has ended
                    os.sched_setscheduler(thread, *usual)


def _policies() -> dict[int, int]:
    found = {}
    for entry in _THREADS.iterdir():
        with suppress(OSError):
            found[int(entry.name)] = os.sched_getscheduler(int(entry.name))
    return found
