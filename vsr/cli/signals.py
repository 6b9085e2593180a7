"""Ctrl-C and SIGTERM: the first one asks the run to stop, the second one ends the process."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from vsr.errors import Cancelled
from vsr.events import NoteEvent
from vsr.stage import Cancel

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_END = b"\0"  # no signal has this number


class Interrupted(Cancelled):
    """A signal stopped the run. `status` is what the process should end with."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@contextmanager
def stop_on_signals(cancel: Cancel, on_event: Callable[[NoteEvent], None]) -> Iterator[None]:
    """On the first SIGINT or SIGTERM set `cancel` and tell; on the second end the process at once, status 130 or 143.

    Cancelled leaves the context as Interrupted when a signal was the cause. Must be entered in the main thread. Python
    runs signal handlers there and only between two steps of its own, so one long call of the network would delay them;
    the wake-up socket is written at once, and a thread listens to it.
    """
    heard: list[int] = []  # exit statuses
    listener, waker = socket.socketpair()
    waker.setblocking(False)
    thread = threading.Thread(target=_listen, args=(listener, cancel, on_event, heard), name="vsr-signals", daemon=True)
    thread.start()
    before_waker = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, _handle) for number in _SIGNALS}
    try:
        yield
    except Cancelled as e:
        if heard:
            raise Interrupted(str(e), heard[0]) from e
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_waker)
        waker.send(_END)
        thread.join()
        waker.close()
        listener.close()


def _handle(number: int, frame: object) -> None:
    """Takes the place of the default handlers; the wake-up socket does the work."""


def _listen(listener: socket.socket, cancel: Cancel, on_event: Callable[[NoteEvent], None], heard: list[int]) -> None:
    while (byte := listener.recv(1)) != _END:
        if byte[0] not in _SIGNALS:  # the socket is told of every signal that has a handler
            continue
        status = 128 + byte[0]
        if heard:
            os._exit(status)
        heard.append(status)
        cancel.set()
        with suppress(BrokenPipeError):  # the main thread will meet it, too
            on_event(NoteEvent(message="stopping; once more stops at once"))
