"""Bounded threads, chained: each pulls from the one before and hands on through a queue of fixed depth."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Generic, Self, TypeVar

from vsr.errors import Cancelled

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")

_POLL = 0.05  # seconds between looks at the cancel token; bounds how long any wait can last


class Cancel:
    """One token for a whole run: once set, every stage stops at its next wait."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raise Cancelled when the token is set."""
        if self._event.is_set():
            raise Cancelled("stopped; what is done is kept")


class _End:
    """Closes a stage's queue; carries the error that ended it, if one did."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Stage(Generic[T]):
    """Run `items` in a thread of its own and iterate its results here, at most `depth` of them waiting.

    An error in the thread is raised to whoever iterates. Leaving the context sets the run's cancel token when
    results are still to come, and always waits for the thread, so that nothing outlives the run.
    """

    def __init__(self, name: str, items: Iterable[T], *, cancel: Cancel, depth: int = 2) -> None:
        self.name = name
        self._items = items
        self._cancel = cancel
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._thread = threading.Thread(target=self._run, name=f"vsr-{name}", daemon=True)
        self._is_over = False

    @property
    def is_full(self) -> bool:
        """Whether results wait for their taker: the next stage is the slow one."""
        return self._queue.full()

    @property
    def is_empty(self) -> bool:
        return self._queue.empty()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_over:
            self._cancel.set()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        return (item for item in self.arrivals() if item is not None)

    def arrivals(self) -> Iterator[T | None]:
        """Results as they come, and None after each moment in which none did."""
        while not self._is_over:
            try:
                item = self._queue.get(timeout=_POLL)
            except queue.Empty:
                self._cancel.check()
                if not self._thread.is_alive() and self._queue.empty():
                    raise RuntimeError(f"the {self.name} thread is gone without a word") from None
                yield None
                continue
            if isinstance(item, _End):
                self._is_over = True
                if item.error is not None:
                    raise item.error
                return
            yield item

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            try:
                for item in self._items:
                    self._put(item)
            finally:
                close = getattr(self._items, "close", None)
                if close is not None:
                    close()
        except BaseException as e:
            error = e
        try:
            self._put(_End(error))
        except Cancelled:
            self._force_end(error)

    def _put(self, item: T | _End) -> None:
        while True:
            self._cancel.check()
            try:
                self._queue.put(item, timeout=_POLL)
                return
            except queue.Full:
                continue

    def _force_end(self, error: BaseException | None) -> None:
        """Make room for the end mark: after a cancel nobody needs the waiting results."""
        while True:
            try:
                self._queue.put_nowait(_End(error or Cancelled("stopped; what is done is kept")))
                return
            except queue.Full:
                try:
                    self._queue.get_nowait()
                except queue.Empty:
                    continue


def ordered_map(work: Callable[[A], B], items: Iterable[A | None], *, workers: int, cancel: Cancel) -> Iterator[B]:
    """Apply `work` to items on `workers` threads; results come in the order of the items, at most `workers` early.

    None among the items says that the next is not there yet; what is done is handed on meanwhile.
    """
    pending: deque[Future[B]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="vsr-work") as pool:
        try:
            for item in items:
                if item is not None:
                    pending.append(pool.submit(work, item))
                while pending and (len(pending) > workers or pending[0].done()):
                    yield _result(pending.popleft(), cancel)
            while pending:
                yield _result(pending.popleft(), cancel)
        finally:
            for future in pending:
                future.cancel()


def _result(future: Future[B], cancel: Cancel) -> B:
    while True:
        cancel.check()
        try:
            return future.result(timeout=_POLL)
        except FutureTimeout:
            if future.done():  # between the two, or the work itself raised a TimeoutError
                return future.result()
