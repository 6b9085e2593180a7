"""The prefetching device queue: batches reach the device ahead of their use, results leave it behind their making.

On CUDA: pinned host memory (torch's caching allocator is the ring: a block returns to it once its batch is gone
and its copies have run), one stream a direction, events between streams, never a wait for the whole device.
On a CPU the same calls hand tensors on, and frames are computed side by side on several threads.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vsr.engine.render import Planes, Renderer
from vsr.frames import FrameBatch, Plane, RenderedBatch
from vsr.stage import Cancel, ordered_map

_IN_FLIGHT = 2  # batches given to a GPU before the first one's result is waited for


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A batch whose planes are on the device, or on their way: `ready` tells when (CUDA only)."""

    batch: FrameBatch
    planes: Planes
    ready: torch.cuda.Event | None = None


class DeviceQueue:
    """Both directions of one device. `upload` and `render` are generators, each run by a stage of its own."""

    def __init__(self, renderer: Renderer, *, workers: int = 1, threads: int = 1, cancel: Cancel) -> None:
        self._renderer = renderer
        self._device = renderer.upscaler.device
        self._workers = workers
        self._threads = threads
        self._cancel = cancel
        is_cuda = self._device.type == "cuda"
        # One stream a direction: a result that waits for its computation must not hold up the next upload.
        self._uploads = torch.cuda.Stream(self._device) if is_cuda else None
        self._downloads = torch.cuda.Stream(self._device) if is_cuda else None

    def upload(self, batches: Iterable[FrameBatch]) -> Iterator[Loaded]:
        """Send each batch's planes ahead."""
        for batch in batches:
            if self._uploads is None:
                planes = tuple(torch.from_numpy(plane).to(self._device) for plane in batch.planes)
                yield Loaded(batch=batch, planes=planes)
                continue
            with torch.cuda.stream(self._uploads):
                planes = tuple(_pinned(plane).to(self._device, non_blocking=True) for plane in batch.planes)
                ready = torch.cuda.Event()
                ready.record(self._uploads)
            yield Loaded(batch=batch, planes=planes, ready=ready)

    def render(self, loaded: Iterable[Loaded]) -> Iterator[RenderedBatch]:
        """Compute each batch and bring the result back, in order."""
        if self._downloads is not None:
            yield from self._render_ahead(loaded, self._downloads)
            return
        threads_before = torch.get_num_threads()
        try:
            yield from ordered_map(self._render_here, loaded, workers=self._workers, cancel=self._cancel)
        finally:
            torch.set_num_threads(threads_before)

    def _render_here(self, item: Loaded) -> RenderedBatch:
        if self._device.type == "cpu" and torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        planes, doubt = self._renderer(item.planes, cancel=self._cancel)
        if bool(doubt.any()):
            planes = self._renderer.exact(item.planes, cancel=self._cancel)
        return RenderedBatch(batch=item.batch, planes=tuple(plane.cpu().numpy() for plane in planes))

    def _render_ahead(self, loaded: Iterable[Loaded], downloads: torch.cuda.Stream) -> Iterator[RenderedBatch]:
        """CUDA: the next batch is queued before the last one's copy back is waited for."""
        flying: deque[tuple[Loaded, tuple[Tensor, ...], Tensor, torch.cuda.Event]] = deque()
        with torch.cuda.device(self._device):
            for item in loaded:
                flying.append(self._launch(item, downloads))
                if len(flying) > _IN_FLIGHT:
                    yield self._land(*flying.popleft())
            while flying:
                yield self._land(*flying.popleft())

    def _launch(
        self, item: Loaded, downloads: torch.cuda.Stream
    ) -> tuple[Loaded, tuple[Tensor, ...], Tensor, torch.cuda.Event]:
        compute = torch.cuda.current_stream(self._device)
        assert item.ready is not None
        compute.wait_event(item.ready)
        for plane in item.planes:  # made on the upload stream: not to be reused there before compute is through
            plane.record_stream(compute)
        planes, doubt = self._renderer(item.planes, cancel=self._cancel)
        downloads.wait_stream(compute)
        with torch.cuda.stream(downloads):
            host = tuple(_to_pinned(plane, downloads) for plane in planes)
            host_doubt = _to_pinned(doubt, downloads)
            done = torch.cuda.Event()
            done.record(downloads)
        return item, host, host_doubt, done

    def _land(self, item: Loaded, host: Sequence[Tensor], doubt: Tensor, done: torch.cuda.Event) -> RenderedBatch:
        done.synchronize()
        if bool(doubt.any()):
            host = tuple(plane.cpu() for plane in self._renderer.exact(item.planes, cancel=self._cancel))
        return RenderedBatch(batch=item.batch, planes=tuple(plane.numpy() for plane in host))


def _pinned(plane: Plane) -> Tensor:
    source = torch.from_numpy(plane)
    pinned = torch.empty(source.shape, dtype=source.dtype, pin_memory=True)
    np.copyto(pinned.numpy(), plane)
    return pinned


def _to_pinned(tensor: Tensor, stream: torch.cuda.Stream) -> Tensor:
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    tensor.record_stream(stream)
    return host
