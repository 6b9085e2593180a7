"""What a run tells between two lines of its log: means over the steps since, and how long they took."""

import time
from collections.abc import Mapping

from vsr.train.learner import Terms


class Meter:
    """Sums up steps. Its sums belong to a run's state, so that a resumed run logs what an unbroken one does."""

    def __init__(self) -> None:
        self._sums: Terms = {}
        self._counts: dict[str, int] = {}
        self._began, self._images, self._waited = time.perf_counter(), 0, 0.0

    def add(self, terms: Terms, *, images: int) -> None:
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1
        self._images += images

    def wait(self, seconds: float) -> None:
        self._waited += seconds

    @property
    def images_per_s(self) -> float:
        return self._images / max(1e-9, time.perf_counter() - self._began)

    @property
    def waiting(self) -> float:
        """The share of the time that went by waiting for samples."""
        return min(1.0, self._waited / max(1e-9, time.perf_counter() - self._began))

    def means(self) -> Terms:
        return {name: total / self._counts[name] for name, total in self._sums.items()}

    def state(self) -> dict[str, object]:
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load(self, state: Mapping[str, object]) -> None:
        sums, counts = state["sums"], state["counts"]
        assert isinstance(sums, dict)
        assert isinstance(counts, dict)
        self._sums, self._counts = dict(sums), dict(counts)
