"""Less memory for more time: blocks that are computed again when their gradients are wanted; and norms left alone."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Statistics:
    """What the batch normalisation of a network had averaged and counted, to go back to."""

    def __init__(self, net: nn.Module) -> None:
        norms = [layer for layer in net.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
        self._kept = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]

    def restore(self) -> None:
        for buffer, before in self._kept:
            buffer.copy_(before)


@contextmanager
def statistics_kept(net: nn.Module) -> Iterator[None]:
    """What is computed in here leaves no trace in the network's statistics, not even where it was no number."""
    before = Statistics(net)
    try:
        yield
    finally:
        before.restore()


def checkpointed(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """What `net` computes, keeping of each block of its body only what goes in; gradients are the same.

    Statistics are updated once. For the networks whose body is made of blocks.
    Source: Chen et al. 2016 (Training Deep Nets with Sublinear Memory Cost), section 4.
    """
    body = getattr(net, "body", None)
    assert isinstance(body, nn.Sequential)  # that of compact is a list, and the settings refuse it
    blocks = list(body)

    def forward(x: Tensor) -> Tensor:
        with _recomputing(blocks):
            return net(x)

    return forward


@contextmanager
def _recomputing(blocks: list[nn.Module]) -> Iterator[None]:
    """For so long only: copies of a block would take a lasting change along."""
    for block in blocks:
        block.forward = partial(
            checkpoint,
            block.forward,
            use_reentrant=False,
            preserve_rng_state=False,  # nothing in a block draws
            context_fn=partial(_contexts, block),
        )
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Those of the first and of the second computation."""
    return nullcontext(), statistics_kept(block)
