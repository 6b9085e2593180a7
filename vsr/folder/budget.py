"""How much memory the pictures on their way may take, all of them together."""

import threading

from vsr.stage import Cancel

_WAIT = 0.05  # seconds; bounds how long a wait goes unnoticed


class Budget:
    """Bytes, and a number of pictures. What is larger than all there is goes alone."""

    def __init__(self, total: int, *, most: int) -> None:
        self.total = total
        self._most = most
        self._taken = 0
        self._count = 0
        self._changed = threading.Condition()

    def take(self, cost: int, cancel: Cancel) -> bool:
        """Take `cost` bytes if they are there within a moment. Raises Cancelled."""
        cancel.check()
        with self._changed:
            if not self._changed.wait_for(lambda: self._has(cost), _WAIT):
                return False
            self._taken += cost
            self._count += 1
            return True

    def give(self, cost: int) -> None:
        """Give back what was taken for one picture."""
        with self._changed:
            self._taken -= cost
            self._count -= 1
            self._changed.notify_all()

    def _has(self, cost: int) -> bool:
        return self._count == 0 or (self._count < self._most and self._taken + cost <= self.total)
