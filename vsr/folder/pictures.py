"""The stills of a folder: reading, network and writing overlap, and pictures go through the network side by side.

plan, in order ─▶ read ─▶ render_together ─▶ write ─▶ this thread: what came of each
Every arrow is a queue; `Budget` bounds what all of them hold together.
"""

import queue
from collections.abc import Iterator
from dataclasses import replace

from vsr.engine.together import Order, Rendered, Turn, render_together
from vsr.engine.tune import Cores, choose_device, machine_memory, usable_cores
from vsr.events import Event, FileEvent, NoteEvent, PixelsEvent, Tell
from vsr.folder.budget import Budget
from vsr.folder.ledger import Ledger
from vsr.folder.making import Work, deliver_work, plan_work
from vsr.folder.progress import Progress
from vsr.io.still_write import flat
from vsr.picture import RenderedPage, Samples
from vsr.stage import Cancel, Stage, ordered_map
from vsr.stills import Network, network_event, open_network, pages_of, rendered_pages, renderer_for

_LARGEST_BUDGET = 1 << 30  # bytes, or an eighth of the memory
_MOST_ON_CPU, _MOST_ON_GPU = 16, 32  # files on their way; on a CPU three a worker, if that is more
_COPIES = 3  # of a result, while it is encoded
_MOST_WORKERS = 16  # blocks computed side by side on a CPU: each takes 64 MB
_GPU_WORKERS = 2  # one prepares its next batch while the card computes the other's

Item = Work | FileEvent  # a file on its way, or what came of it


def make_pictures(ledger: Ledger, progress: Progress, tell: Tell, cancel: Cancel) -> Iterator[FileEvent]:
    """Make every still in the manifest's queue."""
    line = _Line(ledger, progress, cancel)
    with (
        Stage("read", line.read(), cancel=cancel) as read,
        Stage("render", line.render(read), cancel=cancel) as rendered,
        Stage("write", line.write(rendered), cancel=cancel) as written,
    ):
        for outcome in written.arrivals():
            while not line.news.empty():
                tell(line.news.get())
            progress.tell(tell)
            if outcome is not None:
                yield outcome
    if line.retries:
        tell(NoteEvent(message=f"{line.retries} parts of pictures were computed again: out of memory, or not finite"))


class _Line:
    """The stages, each a generator that runs in a thread of its own. A file that fails keeps its turn."""

    def __init__(self, ledger: Ledger, progress: Progress, cancel: Cancel) -> None:
        self._ledger = ledger
        self._progress = progress
        self._cancel = cancel
        self._networks: dict[bool, Network] = {}  # by whether samples are deep
        self._blocks: dict[int, int] = {}  # of each network, by its identity
        device, _ = choose_device(ledger.job.stills.settings.device)
        self._is_cpu = device.type == "cpu"
        self._cores = usable_cores(nice=ledger.job.stills.settings.nice)
        self._workers = min(self._cores, _MOST_WORKERS) if self._is_cpu else _GPU_WORKERS
        most = max(_MOST_ON_CPU, 3 * self._workers) if self._is_cpu else _MOST_ON_GPU
        self._budget = Budget(min(_LARGEST_BUDGET, machine_memory() // 8), most=most)
        self.news: queue.SimpleQueue[Event] = queue.SimpleQueue()

    @property
    def retries(self) -> int:
        """As of `Upscaler`, over all networks."""
        return sum(network.upscaler.retries for network in self._networks.values())

    def read(self) -> Iterator[Item]:
        """Decode several files at once."""
        return ordered_map(self._decode, self._planned(), workers=min(self._cores, 8), cancel=self._cancel)

    def _planned(self) -> Iterator[Item | None]:
        """Read headers and find places, in the order of the files; wait for memory where there is none."""
        for found in self._ledger.manifest.queued("still"):
            try:
                work = plan_work(self._ledger, found)
            except Exception as e:
                yield self._ledger.failed(found, e)
                continue
            if isinstance(work, Work):
                work.cost = _cost(work)
                while not self._budget.take(work.cost, self._cancel):
                    yield None
            yield work

    def _decode(self, item: Item) -> Item:
        """Pictures that are large or have many pages are decoded later, page by page, while they are written."""
        if isinstance(item, FileEvent) or item.plan.info.pages > 1 or item.cost > self._budget.total:
            return item
        try:
            item.page = next(pages_of(item.plan))
        except Exception as e:
            return self._over(item, self._ledger.failed(item.found, e))
        if item.page.damage:
            item.damage.append(item.page.damage)
        return item

    def render(self, read: Stage[Item]) -> Iterator[Rendered[Item]]:
        """Take what is decoded through the network."""
        return render_together(
            self._orders(read),
            workers=self._workers,
            cancel=self._cancel,
            on_pixels=self._count,
        )

    def _orders(self, read: Stage[Item]) -> Iterator[Order[Item] | Turn[Item] | None]:
        cores = Cores(workers=self._workers, threads_per_worker=1, decoder=1, encoder=1)
        for item in read.arrivals():
            if item is None:
                yield None
            elif isinstance(item, FileEvent):
                yield Turn(key=item)
            else:
                item.network = self._network(item)
                if item.page is None:
                    yield Turn(key=item)
                else:
                    renderer = renderer_for(item.plan, item.network.upscaler, item.page)
                    # A card's free memory, which blocks go by, is less once the first have been through.
                    block = self._blocks.setdefault(id(item.network), renderer.block)
                    yield Order(
                        key=item,
                        renderer=replace(renderer, cores=cores, block=block),
                        samples=item.page.samples,
                        levels=item.page.levels,
                        batch_px=0 if self._is_cpu else block**2 // self._workers,
                    )

    def _network(self, work: Work) -> Network:
        is_deep = work.plan.info.bits > 8  # as with a file alone: deep samples ask for more
        if is_deep not in self._networks:
            self._networks[is_deep] = open_network(work.plan, tell=self.news.put, cancel=self._cancel)
            self.news.put(network_event(work.plan, self._networks[is_deep]))
        return self._networks[is_deep]

    def _count(self, item: Item, pixels: int) -> None:
        if isinstance(item, Work):
            item.counted += pixels
            self._progress.add(pixels)

    def write(self, rendered: Stage[Rendered[Item]]) -> Iterator[FileEvent]:
        """Encode several results at once; each gets its name when it is whole."""
        return ordered_map(self._write, rendered.arrivals(), workers=max(2, min(self._cores, 8)), cancel=self._cancel)

    def _write(self, done: Rendered[Item]) -> FileEvent:
        work = done.key
        if isinstance(work, FileEvent):
            return work
        try:
            if done.error is not None:
                raise done.error
            outcome = deliver_work(self._ledger, work, self._pages(work, done.samples))
        except Exception as e:
            outcome = self._ledger.failed(work.found, e)
        return self._over(work, outcome)

    def _pages(self, work: Work, samples: Samples | None) -> Iterator[RenderedPage]:
        """The pages of a result: the one that is rendered, or all, rendered as they are asked for."""
        assert work.network is not None
        if samples is None or work.page is None:

            def hear(event: Event) -> None:
                if isinstance(event, PixelsEvent):
                    self._count(work, event.pixels * work.pixels // event.total - work.counted)

            return rendered_pages(work.plan, work.network, hear, self._cancel, work.damage)
        levels = work.plan.levels_of(work.page.levels)
        work.page = None
        height, width, channels = samples.shape
        page = RenderedPage(height=height, width=width, channels=channels, levels=levels, bands=iter([samples]))
        return iter([flat(page) if work.plan.is_flattened else page])

    def _over(self, work: Work, outcome: FileEvent) -> FileEvent:
        """Give back what a file took; all its pixels count as done, however it ended."""
        self._count(work, work.pixels - work.counted)
        self._budget.give(work.cost)
        return outcome


def _cost(work: Work) -> int:
    """About how many bytes a picture takes on its way."""
    info, (height, width) = work.plan.info, work.plan.size
    return info.channels * info.bits // 8 * (info.height * info.width + _COPIES * height * width)
