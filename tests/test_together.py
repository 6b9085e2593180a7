"""Pictures that go through the network together are what they are alone."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from vsr.engine.blocks import PictureRenderer
from vsr.engine.together import Order, Turn, render_together
from vsr.engine.tune import Cores
from vsr.engine.upscaler import Upscaler
from vsr.errors import Cancelled, ModelError
from vsr.loading import load
from vsr.picture import LEVELS_8, LEVELS_16
from vsr.stage import Cancel

CORES = Cores(workers=2, threads_per_worker=1, decoder=1, encoder=1)
SIZES = [(40, 50, 3), (40, 50, 3), (64, 64, 1), (33, 47, 4), (40, 50, 1), (70, 30, 3), (40, 50, 2), (5, 3, 3)]


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def network(request) -> Upscaler:
    upscaler = load("vsr-fast-x4", device="cpu", precision=request.param)
    upscaler.tile = None
    return upscaler


def renderer(network: Upscaler, shape: tuple[int, ...], block: int = 32) -> PictureRenderer:
    size = (2 * shape[0], 2 * shape[1])
    return PictureRenderer(upscaler=network, size=size, levels=LEVELS_16, block=block, cores=CORES)


def orders(network: Upscaler, batch_px: int = 0) -> list[Order[int]]:
    generator = np.random.default_rng(3)
    pictures = [generator.integers(0, 256, shape).astype(np.uint8) for shape in SIZES]
    return [
        Order(key=key, renderer=renderer(network, picture.shape), samples=picture, levels=LEVELS_8, batch_px=batch_px)
        for key, picture in enumerate(pictures)
    ]


def alone(order: Order[int]) -> np.ndarray:
    return order.renderer(order.samples[None], order.levels, cancel=Cancel())[0]


@pytest.mark.parametrize("batch_px", [0, 10**5])
def test_together_is_alone(network, batch_px):
    rounding = 1 if network.dtype == torch.float32 else 256  # of 65535: a batch's sums may come in another order
    most = rounding if batch_px else 0
    made = {}
    for done in render_together(orders(network, batch_px), workers=2, cancel=Cancel()):
        made[done.key] = done.samples
    assert len(made) == len(SIZES)
    for order in orders(network):
        assert np.abs(made[order.key].astype(int) - alone(order)).max() <= most, SIZES[order.key]


def test_blocks_of_one_shape_share_a_batch_whosever_they_are(network, monkeypatch):
    batches = []
    run = network.run
    monkeypatch.setattr(network, "run", lambda rgb, **more: batches.append(tuple(rgb.shape)) or run(rgb, **more))
    shapes = [(20, 30, 3), (20, 30, 1), (25, 30, 3), (20, 30, 3)]
    several = [
        Order(key=k, renderer=renderer(network, s, 100), samples=np.zeros(s, np.uint8), levels=LEVELS_8, batch_px=10**5)
        for k, s in enumerate(shapes)
    ]
    list(render_together(several, workers=1, cancel=Cancel()))
    assert sorted(batches) == [(1, 3, 25, 30), (3, 3, 20, 30)]
    batches.clear()
    smaller = [replace(order, batch_px=1300) for order in several]
    list(render_together(smaller, workers=1, cancel=Cancel()))
    assert sorted(batches) == [(1, 3, 20, 30), (1, 3, 25, 30), (2, 3, 20, 30)]


def test_what_waits_for_company_goes_when_none_comes(network):
    first = orders(network, 10**6)[0]
    has_come = threading.Event()

    def coming():
        yield first
        while not has_come.is_set():
            yield None
        yield Turn(key=7)

    made = []
    for done in render_together(coming(), workers=2, cancel=Cancel()):
        made.append(done.key)
        has_come.set()
    assert made == [0, 7]


def test_turns_are_kept(network):
    several = orders(network)
    mixed = [several[0], Turn(key=10), several[5], Turn(key=11)]
    keys = [done.key for done in render_together(mixed, workers=2, cancel=Cancel())]
    assert keys == [0, 10, 5, 11]


def test_every_source_pixel_is_counted_once(network):
    counted: dict[int, int] = {}

    def count(key: int, pixels: int) -> None:
        counted[key] = counted.get(key, 0) + pixels

    list(render_together(orders(network), workers=2, cancel=Cancel(), on_pixels=count))
    for key, (height, width, _) in enumerate(SIZES):
        assert abs(counted[key] - height * width) <= 4, "each block is rounded"


@pytest.mark.parametrize("batch_px", [0, 10**5])
def test_a_picture_whose_result_is_not_finite_fails_alone(network, monkeypatch, batch_px):
    several = [
        replace(order, samples=order.samples // 2) for order in orders(network, batch_px) if order.samples.shape[2] == 3
    ]
    several[1].samples[:, :] = 255
    window = network._window

    def spoiled(net, low):
        high, doubt = window(net, low)
        return high, torch.where(low.mean(dim=(1, 2, 3)) > 0.9, 2, doubt).int()

    monkeypatch.setattr(network, "_window", spoiled)
    made = {done.key: done for done in render_together(several, workers=2, cancel=Cancel())}
    assert [isinstance(made[order.key].error, ModelError) for order in several] == [False, True, False, False]
    assert all((made[order.key].samples is None) == (k == 1) for k, order in enumerate(several))


def test_a_run_stops_when_told(network):
    cancel = Cancel()

    def endless():
        while True:
            yield orders(network)[0]

    results = render_together(endless(), workers=2, cancel=cancel)
    next(results)
    cancel.set()
    with pytest.raises(Cancelled):
        list(results)
