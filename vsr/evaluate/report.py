"""The evaluation itself: every method on every item of every set, and what came of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vsr.evaluate.methods import Method
from vsr.evaluate.samples import Material, Sample, read_sample
from vsr.evaluate.scores import Judge, Scores, mean
from vsr.evaluate.sets import DataSet, Item


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemScores:
    """One picture or clip."""

    name: str
    scores: Scores
    drawn: tuple[str, ...] = ()  # the damage it got, in order


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method on one set."""

    data: str
    material: str  # how the small halves came about
    model: str
    items: tuple[ItemScores, ...]

    @property
    def mean(self) -> Scores:
        return mean([item.scores for item in self.items])


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All there is to tell; sets and methods in the order given."""

    scale: int
    rows: tuple[Row, ...]
    without: tuple[str, ...] = ()  # fields of Scores that no weights were found for
    notes: tuple[str, ...] = ()  # what the reader of the figures has to know, one line each


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one method made of one sample."""

    data: DataSet
    item: Item
    sample: Sample
    model: str
    frames: Tensor  # (T, 3, H, W) uint8, like the sample's truth
    scores: Scores


def evaluate(
    methods: Sequence[Method],
    sets: Sequence[DataSet],
    material: Material,
    judge: Judge,
    *,
    on_result: Callable[[Result], None] | None = None,
) -> Report:
    """Measure each method on sets that `check_sets` has passed.

    `on_result` is called with each result in this thread: every method's on one item, then on the next.
    Raises VsrError with one line for the user.
    """
    found: dict[tuple[str, str], list[ItemScores]] = {(d.name, m.name): [] for d in sets for m in methods}
    failures = 0
    for result in _results(methods, sets, material, judge):
        item = ItemScores(name=result.item.name, scores=result.scores, drawn=result.sample.drawn)
        found[result.data.name, result.model].append(item)
        failures += result.sample.failures if result.model == methods[0].name else 0
        if on_result is not None:
            on_result(result)
    materials = {data.name: material.of(data) for data in sets}
    rows = [
        Row(data=data, material=materials[data], model=model, items=tuple(items))
        for (data, model), items in found.items()
    ]
    return Report(
        scale=material.scale,
        rows=tuple(rows),
        without=judge.without,
        notes=tuple(_notes(methods, rows, failures, judge)),
    )


def _results(methods: Sequence[Method], sets: Sequence[DataSet], material: Material, judge: Judge) -> Iterator[Result]:
    for data in sets:
        for number, item in enumerate(data.items):
            sample = read_sample(item, material, number=number)
            for method in methods:
                # without this, CUDA would round what convolutions read to ten bits
                with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                    frames = method.run(sample.low)
                    scores = judge(frames, sample.truth, shave=material.scale, is_clip=item.is_clip)
                yield Result(data=data, item=item, sample=sample, model=method.name, frames=frames, scores=scores)


def _notes(methods: Sequence[Method], rows: Sequence[Row], failures: int, judge: Judge) -> Iterator[str]:
    yield from (method.note for method in methods if method.note is not None)
    if failures:
        yield f"{failures} codecs failed while damaging: JPEG stands in for them"
    if judge.niqe is not None:
        for row in rows:
            without = [item.name for item in row.items if item.scores.niqe is None]
            if without and row.model == methods[0].name:
                yield f"{row.data}: too small or too flat for NIQE: {', '.join(without)}"
