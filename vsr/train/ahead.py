"""The next batch is cut while this one is learned from, so that a step waits for memory to be copied only once."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from torch import Tensor

from vsr.train.pool import PairPool

Batch = tuple[Tensor, Tensor]


class BatchesAhead:
    """The batches of a pool, the same as without, each begun in another thread when the one before is taken.

    A context manager: leaving it waits for the thread and closes the pool.
    """

    def __init__(self, pool: PairPool) -> None:
        self._pool = pool
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vsr-batches")
        self._next: tuple[int, Future[Batch]] | None = None
        self._waited_s = 0.0

    @property
    def waited_s(self) -> float:
        """Seconds in which nothing was computed because no batch was there yet."""
        return self._waited_s

    def batch_at(self, step: int) -> Batch:
        """As `PairPool.batch_at`; what went wrong with a batch made ahead is raised here, when it is asked for."""
        began = time.perf_counter()
        try:
            batch = self._taken(step)
        finally:
            self._waited_s += time.perf_counter() - began
        self._next = step + 1, self._thread.submit(self._pool.batch_at, step + 1)
        return batch

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)
        self._pool.close()

    def _taken(self, step: int) -> Batch:
        if self._next is None:  # workers are started by the thread that listens to signals
            return self._pool.batch_at(step)
        ahead, future = self._next
        self._next = None
        if ahead == step:
            return future.result()
        future.exception()  # wait; whatever it was, nobody asked for it
        return self._pool.batch_at(step)
