"""Numbered samples, made ahead by worker processes and delivered in order."""

import itertools
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vsr.degradation import Degradation
from vsr.errors import VsrError
from vsr.train.degrade import degrade
from vsr.train.draw import Draw, sample_generator
from vsr.train.material import Material, Pair

_DEAD = "a worker process died ({}), as they do when memory runs out; use fewer workers and the same command"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a network is shown, and the truth as it was, not sharpened."""

    number: int
    low: Tensor  # (T, 3, side / scale, side / scale) uint8
    truth: Tensor  # (T, 3, side, side) uint8
    drawn: tuple[str, ...]
    failures: int  # codecs that failed and that a JPEG stands in for


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How sample `number` is made: a function of the seed and the number, and of nothing else.

    Pairs are as they are, not damaged; of one, a sample is `settings.frames` places instead of moments.
    """

    materials: tuple[Material | Pair, ...]
    settings: Degradation
    scale: int
    side: int  # of the truth, pixels, a multiple of `scale`
    seed: int

    def __call__(self, number: int) -> Sample:
        """Raises MediaError when the drawn file cannot be read or is too small."""
        generator = sample_generator(self.seed, number)
        draw = Draw(generator)
        material = self.materials[draw.integer(0, len(self.materials) - 1)]
        if isinstance(material, Pair):
            cuts = [material.cut_pair(self.side, scale=self.scale, draw=draw) for _ in range(self.settings.frames)]
            truth, low = (torch.cat(half) for half in zip(*cuts, strict=True))
            return Sample(number=number, low=low, truth=truth, drawn=("pair",), failures=0)
        truth = material.cut(
            self.side, frames=self.settings.frames, scale=self.scale, motion=self.settings.motion, draw=draw
        )
        damaged = degrade(truth, self.settings, scale=self.scale, generator=generator)
        return Sample(
            number=number,
            low=damaged.low,
            truth=truth.mul(255).round().to(torch.uint8),
            drawn=(*draw.notes, *damaged.drawn),
            failures=damaged.failures,
        )


def samples(recipe: Recipe, *, first: int = 0, workers: int = 0, ahead: int = 4) -> Generator[Sample, None, None]:
    """Samples `first`, `first` + 1, ... without end, the same for any number of workers.

    Each worker is a process with one thread that works at most `ahead` samples ahead; 0 workers: made here, when asked
    for. A VsrError in a worker is raised when its sample's turn comes, and one within seconds when a worker dies.
    """
    loader = DataLoader(
        _Numbered(recipe),
        sampler=itertools.count(first),  # type: ignore[arg-type]  # any iterable of keys will do
        batch_size=None,
        num_workers=workers,
        prefetch_factor=ahead if workers else None,
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=_start_worker,
        generator=torch.Generator(),  # else the loader draws from the global one
    )
    with _other_handlers_kept():
        iterator = iter(loader)
    try:
        while True:
            made = _next(iterator)
            if isinstance(made, VsrError):
                raise made
            yield made
    finally:
        del iterator  # ends the workers now, even where a traceback keeps this frame


def _next(iterator: "Iterator[Sample | VsrError]") -> Sample | VsrError:
    try:
        return next(iterator)
    except RuntimeError as e:
        if not str(e).startswith("DataLoader worker"):
            raise
        raise VsrError(f"data: {_DEAD.format(e)}") from e


@contextmanager
def _other_handlers_kept() -> Iterator[None]:
    """Undo that a loader has the death of any child raised wherever the main thread happens to be.

    The loader looks after its workers every five seconds as well, when it waits for them.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


class _Numbered(Dataset["Sample | VsrError"]):
    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def __getitem__(self, number: int) -> Sample | VsrError:
        try:
            return self._recipe(number)
        except VsrError as e:  # as a value: raised in a worker it would come back with a traceback in its text
            return e


def _start_worker(_: int) -> None:
    """Leave Ctrl-C to the process that asked, and be gone with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
