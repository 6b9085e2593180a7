"""Many pictures through one network: they share the workers, and blocks of one shape, whosever they are, share batches.

A picture's blocks are those that it would have alone, and each is computed by the same steps. On a CPU a batch is one
block and a worker takes one after the other, so that the result is bit for bit the same; in larger batches sums may be
rounded in another order.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import numpy as np
import torch

from vsr.engine.blocks import Part, PictureRenderer, as_rgb
from vsr.errors import ModelError
from vsr.picture import Levels, Samples, has_alpha
from vsr.stage import Cancel, ordered_map

K = TypeVar("K")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Order(Generic[K]):
    """One picture to be rendered: `samples` (h, w, c) of these `levels`."""

    key: K  # the caller's own
    renderer: PictureRenderer
    samples: Samples
    levels: Levels
    batch_px: int = 0  # how many source pixels of such blocks are computed at once; a block is in any case


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Turn(Generic[K]):
    """Nothing to be rendered: handed on in its turn."""

    key: K


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rendered(Generic[K]):
    """What came of an order: (H, W, c) samples, or why there are none. Of a turn: neither."""

    key: K
    samples: Samples | None = None
    error: ModelError | None = None


def render_together(
    orders: Iterable[Order[K] | Turn[K] | None],
    *,
    workers: int,
    cancel: Cancel,
    on_pixels: Callable[[K, int], None] = lambda *_: None,
) -> Iterator[Rendered[K]]:
    """Render pictures as they come; each is handed on when its last block is done.

    None among the orders says that the next is not there yet: what waits for company then goes without. `on_pixels` is
    told, in this thread, how many more of an order's source pixels are done. A picture whose result is not finite fails
    alone. Raises Cancelled.
    """
    threads_before = torch.get_num_threads()
    work = partial(_computed, cancel)
    try:
        for done in ordered_map(work, _batches(orders), workers=workers, cancel=cancel):
            if isinstance(done, Turn):
                yield Rendered(key=done.key)
                continue
            for piece, result in done:
                picture = piece.picture
                on_pixels(picture.order.key, picture.take(piece.part, result))
                if not picture.left:
                    yield Rendered(key=picture.order.key, samples=picture.whole, error=picture.error)
    finally:
        torch.set_num_threads(threads_before)


class _Picture(Generic[K]):
    """An order on its way: which of its parts are still to come, and the result as far as it is there."""

    def __init__(self, order: Order[K], parts: int) -> None:
        self.order = order
        self.left = parts
        self.error: ModelError | None = None
        self.whole: Samples | None = None

    def take(self, part: Part, result: Samples | ModelError | None) -> int:
        """Put a part's result into its place; returns how many source pixels it stands for."""
        (height, width, channels), size = self.order.samples.shape, self.order.renderer.size
        rows, columns = slice(*part.rows_out), slice(*part.columns_out)
        self.left -= 1
        if isinstance(result, ModelError):
            self.error, self.whole = result, None
        elif result is not None and self.error is None:
            if self.whole is None:
                self.whole = np.empty((*size, channels), result.dtype)
            self.whole[rows, columns] = result[0]
        share = (rows.stop - rows.start) * (columns.stop - columns.start) / (size[0] * size[1])
        return round(share * height * width)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Piece(Generic[K]):
    """A part of a picture."""

    picture: _Picture[K]
    part: Part

    @property
    def renderer(self) -> PictureRenderer:
        return self.picture.order.renderer

    @property
    def source(self) -> Samples:
        """The whole picture, as a batch of one."""
        return self.picture.order.samples[None]

    @property
    def levels(self) -> Levels:
        return self.picture.order.levels


_Result = tuple[_Piece[K], Samples | ModelError | None]


def _batches(orders: Iterable[Order[K] | Turn[K] | None]) -> Iterator[list[_Piece[K]] | Turn[K] | None]:
    """Pieces of one shape, as many as belong together; None where nothing is there for the moment."""
    waiting: dict[tuple[int, ...], list[_Piece[K]]] = {}
    for order in orders:
        if isinstance(order, Turn):
            yield order
        elif order is None:
            yield from waiting.values()
            waiting.clear()
            yield None
        else:
            parts = list(order.renderer.parts(*order.samples.shape))
            picture = _Picture(order, len(parts))
            for part in parts:
                piece = _Piece(picture=picture, part=part)
                if has_alpha(order.samples.shape[2]):  # what is computed depends on what is transparent
                    yield [piece]
                    continue
                (top, bottom), (left, right) = part.rows, part.columns
                alike = (id(order.renderer.upscaler), order.renderer.passes, bottom - top, right - left)
                batch = waiting.setdefault(alike, [])
                batch.append(piece)
                if (len(batch) + 1) * (bottom - top) * (right - left) > order.batch_px:
                    yield waiting.pop(alike)
    yield from waiting.values()


def _computed(cancel: Cancel, batch: list[_Piece[K]] | Turn[K]) -> list[_Result[K]] | Turn[K]:
    """The result of each piece, or what is wrong with it; nothing for pictures that have failed before."""
    if isinstance(batch, Turn):
        return batch
    wanted = [piece for piece in batch if piece.picture.error is None]
    found: list[_Result[K]] = [(piece, None) for piece in batch if piece.picture.error is not None]
    try:
        return found + list(zip(wanted, _results(cancel, wanted), strict=True))
    except ModelError as e:
        if len(wanted) == 1:
            return [*found, (wanted[0], e)]
    for piece in wanted:
        alone = _computed(cancel, [piece])
        assert isinstance(alone, list)
        found += alone
    return found


@torch.inference_mode()
def _results(cancel: Cancel, batch: list[_Piece[K]]) -> list[Samples]:
    """The result of each piece, by one pass of the network."""
    if len(batch) < 2:
        return [p.renderer.block_of(p.source, p.levels, cancel, p.part) for p in batch]
    network = batch[0].renderer
    network.divide_threads()
    rgb = torch.cat([as_rgb(p.renderer.source_of(p.source, p.levels, p.part)) for p in batch])
    high = network.enlarged(rgb, cancel=cancel)
    return [p.renderer.result_of([high[n : n + 1]], p.source.shape, p.part) for n, p in enumerate(batch)]
