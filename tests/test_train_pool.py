"""The pair pool: a batch is a function of seed and step, pairs stay registered, and workers end as they should."""

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from functools import partial

import pytest
import torch
from PIL import Image

from vsr.degradation import Degradation
from vsr.errors import ConfigError, MediaError, VsrError
from vsr.preset import load_degradation
from vsr.train.ahead import BatchesAhead
from vsr.train.draw import Draw
from vsr.train.material import Still
from vsr.train.pool import PairPool, tinted
from vsr.train.samples import Recipe, Sample, samples

BICUBIC = Degradation(clean=1.0, sharpen=False)


def numbered(first: int = 0, *, frames: int = 1, made: list[int] | None = None, side: int = 32, scale: int = 4):
    """Samples whose every pixel of frame t of sample n is n * frames + t."""
    number = first
    while True:
        if made is not None:
            made.append(number)
        values = torch.arange(number * frames, (number + 1) * frames, dtype=torch.uint8).view(-1, 1, 1, 1)
        low = values.expand(-1, 3, side // scale, side // scale)
        yield Sample(number=number, low=low, truth=values.expand(-1, 3, side, side), drawn=(), failures=0)
        number += 1


def ramps(first: int = 0):
    """Samples whose pixels tell their place: red the row, green the column, of the small picture."""
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    low = torch.stack([rows * 8, columns * 8, rows * 0])[None].to(torch.uint8)
    while True:
        truth = low.repeat_interleave(4, 2).repeat_interleave(4, 3)
        yield Sample(number=first, low=low, truth=truth, drawn=(), failures=0)
        first += 1


def pool(stream=numbered, **changes) -> PairPool:
    settings = {"capacity": 8, "refresh": 2, "crop": 16, "scale": 4, "batch": 4, "seed": 1}
    return PairPool(stream, **{**settings, **changes})


def same(a, b) -> bool:
    return torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Still, ...]:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(2):
        pixels = torch.randint(0, 256, (96, 112, 3), generator=torch.Generator().manual_seed(seed)).byte()
        Image.fromarray(pixels.numpy()).save(folder / f"{seed}.png")
    return tuple(Still(path) for path in sorted(folder.iterdir()))


def test_the_ring_holds_the_last_pairs_of_its_step():
    with pool(batch=8) as ring:
        for step in (0, 1, 5):
            low, truth = ring.batch_at(step)
            held = sorted(low[:, 0, 0, 0].tolist())
            assert held == list(range(2 * step, 2 * step + 8))
            assert low[:, 0, 0, 0].tolist() == truth[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("step", [0, 1, 7, 3])
@pytest.mark.parametrize(("frames", "refresh"), [(1, 2), (3, 0.3), (1, 8)])
def test_any_step_equals_that_of_an_unbroken_run(frames: int, refresh: float, step: int):
    stream = partial(numbered, frames=frames)
    with pool(stream, frames=frames, refresh=refresh) as unbroken:
        batches = [unbroken.batch_at(s) for s in range(step + 1)]
    with pool(stream, frames=frames, refresh=refresh) as resumed:
        assert same(resumed.batch_at(step), batches[step])
        resumed.batch_at(step + 5)
        assert same(resumed.batch_at(step), batches[step])  # back to an earlier state


def test_resuming_makes_only_what_is_held():
    made: list[int] = []
    with pool(partial(numbered, made=made)) as resumed:
        resumed.batch_at(100)
        assert made == list(range(200, 208))
        resumed.batch_at(100)
        resumed.batch_at(101)
    assert made == list(range(200, 210))


def test_a_refresh_of_a_quarter_brings_a_sample_every_fourth_step():
    made: list[int] = []
    with pool(partial(numbered, made=made), refresh=0.25) as ring:
        counts = []
        for step in range(9):
            ring.batch_at(step)
            counts.append(len(made))
    assert counts == [8, 8, 8, 8, 9, 9, 9, 9, 10]


def test_without_a_pool_every_pair_is_used_once():
    with pool(capacity=4, refresh=4) as ring:
        used = [number for step in range(6) for number in sorted(ring.batch_at(step)[0][:, 0, 0, 0].tolist())]
    assert used == list(range(24))


@pytest.mark.parametrize("frames", [1, 2])
def test_shares_of_a_team_are_together_what_one_would_have(frames: int):
    def shared(rank: int, size: int):
        def stream(first: int):
            source = noise(frames)
            return (source(first * size + rank + size * further) for further in range(100))

        share = {"capacity": 8 // size, "batch": 8 // size, "refresh": 8 // size // frames, "rank": rank, "size": size}
        return pool(stream, frames=frames, jitter=0.2, **share)

    with shared(0, 1) as alone, shared(0, 2) as first, shared(1, 2) as second:
        for step in (0, 1, 4):
            whole, *halves = (ring.batch_at(step) for ring in (alone, first, second))
            for index in range(2):
                # samples take turns
                parts = [half[index].view(-1, frames, *half[index].shape[1:]) for half in halves]
                together = torch.stack(parts, 1).flatten(0, 2)
                assert torch.equal(together, whole[index])


def test_a_pair_is_cut_alike_wherever_it_lies_in_a_batch():
    with pool(ramps, capacity=8, batch=8) as large, pool(ramps, capacity=4, batch=4) as small:
        low, _ = large.batch_at(0)
        assert torch.equal(low[:4], small.batch_at(0)[0])


def noise(frames: int):
    """Samples of random pixels, made by their number."""

    def made(number: int) -> Sample:
        drawn = torch.Generator().manual_seed(number)
        low = torch.randint(0, 256, (frames, 3, 8, 8), generator=drawn).byte()
        truth = torch.randint(0, 256, (frames, 3, 32, 32), generator=drawn).byte()
        return Sample(number=number, low=low, truth=truth, drawn=(), failures=0)

    return made


def test_a_batch_that_is_no_whole_number_of_samples_can_be_all_new():
    with pool(partial(numbered, frames=3), frames=3, capacity=8, batch=8, refresh=8 / 3) as ring:
        assert sorted(ring.batch_at(3)[0][:, 0, 0, 0].tolist()) == list(range(25, 33))


def test_batches_differ_by_step_and_seed():
    def chosen(seed: int, step: int) -> list[int]:
        with pool(capacity=60, refresh=0, seed=seed) as ring:
            return ring.batch_at(step)[0][:, 0, 0, 0].tolist()

    assert len({tuple(chosen(seed, step)) for seed in (1, 2) for step in (0, 1)}) == 4


@pytest.mark.parametrize(("flips", "rotations", "kinds"), [(0, 0, 1), (1, 0, 2), (0, 1, 4), (1, 1, 8)])
def test_crops_flips_and_turns_keep_pairs_registered(flips: bool, rotations: bool, kinds: int):
    seen, places = set(), set()
    with pool(ramps, crop=32, flips=flips, rotations=rotations) as ring:
        for step in range(20):
            for low, truth in zip(*ring.batch_at(step), strict=True):
                assert torch.equal(low.repeat_interleave(4, 1).repeat_interleave(4, 2), truth)
                down, across = low[:2, 1, 0].int() - low[:2, 0, 0].int(), low[:2, 0, 1].int() - low[:2, 0, 0].int()
                seen.add((*down.tolist(), *across.tolist()))
                places.add(tuple(low.amin((1, 2)).tolist()))
    assert len(seen) == kinds
    assert len(places) > 20  # of 81


def test_a_tint_is_the_same_for_both_and_no_stronger_than_asked():
    low = torch.randint(80, 170, (3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    truth = low.repeat_interleave(4, 1).repeat_interleave(4, 2)
    for seed in range(10):
        changed, changed_truth = tinted(low, truth, 0.1, Draw(torch.Generator().manual_seed(seed)))
        assert torch.equal(changed.repeat_interleave(4, 1).repeat_interleave(4, 2), changed_truth)
        assert not torch.equal(changed, low)
        # 10 % of brightness on codes of 170, contrast and saturation on 45 codes either side of the middle
        assert (changed.int() - low.int()).abs().max() <= 0.1 * 170 + 0.22 * 90


@pytest.mark.parametrize("preset", ["bicubic", "video"])
def test_a_resumed_pool_of_real_samples_repeats_with_any_number_of_workers(photos, preset: str):
    settings = replace(load_degradation(preset), frames=1 if preset == "bicubic" else 3)
    recipe = Recipe(materials=photos, settings=settings, scale=4, side=64, seed=2)

    def made(workers: int, steps: list[int]):
        stream = lambda first: samples(recipe, first=first, workers=workers)  # noqa: E731
        frames = settings.frames
        with PairPool(
            stream, capacity=6, refresh=1, crop=32, scale=4, batch=3, seed=2, frames=frames, jitter=0.1
        ) as ring:
            return [ring.batch_at(step) for step in steps][-1]

    unbroken = made(0, [0, 1, 2, 3, 4])
    assert same(made(0, [4]), unbroken)
    if preset == "video":
        assert same(made(2, [3, 4]), unbroken)


def test_waiting_is_counted():
    def slow(first: int):
        for sample in numbered(first):
            time.sleep(0.01)
            yield sample

    with BatchesAhead(pool(slow)) as batches:
        batches.batch_at(0)
        waited = batches.waited_s
        assert 0.08 <= waited < 2
        time.sleep(0.1)  # the two samples of the next are made meanwhile
        batches.batch_at(1)
        assert batches.waited_s < waited + 0.01


def test_memory_of_the_ring_is_told():
    with pool() as ring:
        ring.batch_at(0)
        assert ring.bytes == 8 * 3 * (32 * 32 + 8 * 8)


def test_batches_made_ahead_are_those_asked_for():
    with BatchesAhead(pool()) as ahead, pool() as ring:
        for step in (0, 1, 2, 7, 8, 3, 3, 4):  # in order, past a gap, back to an earlier state, and once more
            assert same(ahead.batch_at(step), ring.batch_at(step))


def test_what_fails_ahead_is_raised_when_it_is_asked_for_and_may_be_asked_again():
    made = []

    def failing(first: int):
        for sample in numbered(first):
            made.append(sample.number)
            if sample.number == 8 and made.count(8) == 1:
                raise MediaError("8: cannot be read; save it anew")
            yield sample

    with BatchesAhead(pool(failing)) as batches:
        batches.batch_at(0)  # the first eight
        with pytest.raises(MediaError, match="8: cannot be read"):
            batches.batch_at(1)
        with pool() as ring:
            assert same(batches.batch_at(1), ring.batch_at(1))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("vsr-batches")]


def test_a_killed_worker_is_one_line_within_seconds(photos):
    recipe = Recipe(materials=photos, settings=BICUBIC, scale=4, side=64, seed=2)
    with pool(lambda first: samples(recipe, first=first, workers=1), refresh=8) as ring:
        ring.batch_at(0)
        (worker,) = multiprocessing.active_children()
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        time.sleep(0.2)  # the loader's handler would raise here
        began = time.perf_counter()
        with pytest.raises(
            VsrError, match=r"^data: a worker process died \(.*\), as they do when memory runs out; "
        ) as e:
            ring.batch_at(1)
        assert time.perf_counter() - began < 15
        assert "\n" not in str(e.value)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"crop": 18}, "crop = 18: must be a multiple of the scale 4"),
        ({"crop": 64}, "crop = 64: samples are only 32 pixels large"),
        ({"batch": 9}, "pool = 8: must hold at least one batch of 9"),
        ({"refresh": -1}, "refresh = -1: x 1 pairs a step must fit"),
        ({"refresh": 9}, "refresh = 9: x 1 pairs a step must fit into the pool of 8"),
        ({"jitter": 1}, "jitter = 1: must be 0 or more"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(changes, line):
    with pytest.raises(ConfigError, match=line):
        pool(**changes).batch_at(0)
