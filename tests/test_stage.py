"""Bounded threads in a chain."""

import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout

import pytest

from vsr import stage as module
from vsr.errors import Cancelled
from vsr.stage import Cancel, Stage, ordered_map


def test_items_come_in_order_and_all():
    with Stage("count", iter(range(100)), cancel=Cancel()) as stage:
        assert list(stage) == list(range(100))


def test_no_more_than_depth_items_wait():
    made = []

    def items():
        for i in range(50):
            made.append(i)
            yield i

    with Stage("eager", items(), cancel=Cancel(), depth=3) as stage:
        time.sleep(0.3)
        assert len(made) <= 5, "three in the queue, one in hand, one being made"
        assert list(stage) == list(range(50))


def test_an_error_in_a_stage_reaches_the_end_of_the_chain_and_stops_all():
    closed = threading.Event()

    def source():
        try:
            for i in range(1000):
                if i == 5:
                    raise OSError("the disk is gone")
                yield i
        finally:
            closed.set()

    cancel = Cancel()

    def run():
        with (
            Stage("first", source(), cancel=cancel) as first,
            Stage("second", (i * 2 for i in first), cancel=cancel) as second,
        ):
            seen.extend(second)

    seen: list[int] = []
    with pytest.raises(OSError, match="the disk is gone"):
        run()
    assert seen == [0, 2, 4, 6, 8]
    assert closed.is_set()
    assert not [t for t in threading.enumerate() if t.name.startswith("vsr-")]


def test_cancel_ends_a_stage_that_nobody_reads():
    cancel = Cancel()
    with Stage("endless", iter(int, 1), cancel=cancel):
        time.sleep(0.1)
        cancel.set()
    assert not [t for t in threading.enumerate() if t.name.startswith("vsr-")]


def test_cancel_is_raised_to_a_waiting_reader():
    cancel = Cancel()
    hold = threading.Event()

    def stuck():
        hold.wait(5)
        yield 1

    def read():
        with Stage("stuck", stuck(), cancel=cancel) as stage:
            threading.Timer(0.1, cancel.set).start()
            threading.Timer(0.3, hold.set).start()
            list(stage)

    with pytest.raises(Cancelled):
        read()


def test_leaving_early_closes_the_generator_in_its_own_thread():
    owner = []

    def items():
        try:
            while True:
                yield 1
        finally:
            owner.append(threading.current_thread().name)

    with Stage("early", items(), cancel=Cancel()) as stage:
        next(iter(stage))
    assert owner == ["vsr-early"]


def test_an_error_while_closing_reaches_the_reader():
    def items():
        try:
            while True:
                yield 1
        finally:
            raise OSError("cannot be deleted")

    cancel = Cancel()
    with Stage("early", items(), cancel=cancel) as stage:
        cancel.set()
        while [t for t in threading.enumerate() if t.name == "vsr-early"]:
            time.sleep(0.01)
        with pytest.raises(OSError, match="cannot be deleted"):
            list(stage)


def test_ordered_map_keeps_order_and_uses_its_workers():
    at_once, most, lock = 0, 0, threading.Lock()

    def work(i):
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.01 * (3 - i % 3))
        with lock:
            at_once -= 1
        return i

    assert list(ordered_map(work, range(20), workers=3, cancel=Cancel())) == list(range(20))
    assert most == 3


def test_ordered_map_raises_what_the_work_raises_even_a_timeout():
    def work(i):
        if i == 2:
            raise TimeoutError("mine")
        return i

    with pytest.raises(TimeoutError, match="mine"):
        list(ordered_map(work, range(5), workers=2, cancel=Cancel()))


def test_work_that_ends_as_its_wait_does_is_not_lost():
    """A busy machine may finish it between the end of the wait and the look at whether it is done."""

    class JustInTime(Future):
        def result(self, timeout=None):
            if timeout is not None:
                self.set_result("made")
                raise FutureTimeout
            return super().result()

    assert module._result(JustInTime(), Cancel()) == "made"


def test_none_hands_on_what_is_done():
    """Else the results that whoever makes the next item waits for would never come."""
    came: list[int] = []

    def items():
        yield 1
        while not came:
            yield None
        yield 2

    results = ordered_map(lambda x: 10 * x, items(), workers=3, cancel=Cancel())
    came.append(next(results))
    came.extend(results)
    assert came == [10, 20]
