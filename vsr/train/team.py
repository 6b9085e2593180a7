"""Processes that train one network together: each computes its share of a batch, and gradients are averaged.

All of them decide alike: what a decision depends on is asked of the whole team first. Their weights begin equal and
get equal gradients, so they stay equal. The run's folder must be the same for all; only the first writes to it.
"""

import os
from collections.abc import Iterable
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

import torch
from torch import Tensor, nn

from vsr.errors import ConfigError, VsrError

if TYPE_CHECKING:
    from accelerate import Accelerator

PATIENCE = timedelta(hours=12)  # others wait so long for the first one's validation; launchers end what lost a member


class Team:
    """One process, or several under `accelerate launch` or `torchrun`; the first writes the run's folder.

    A context that several processes leave together. What they do together raises VsrError when one is gone.
    """

    def __init__(self, accelerator: "Accelerator | None" = None) -> None:
        self._accelerator = accelerator

    @classmethod
    def join(cls, *, on_cpu: bool) -> "Team":
        """The team that the launcher's environment describes. Raises ConfigError when there can be none."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        try:
            from accelerate import Accelerator
            from accelerate.utils import InitProcessGroupKwargs
        except ImportError as e:
            raise ConfigError("several processes: need Accelerate; install vsr[train]") from e
        on_cpu = on_cpu or not torch.cuda.is_available()  # Accelerate would have each go its own way
        accelerator = Accelerator(cpu=on_cpu, kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)])
        if accelerator.num_processes != size:
            raise ConfigError(
                f"several processes: {accelerator.num_processes} of {size} found each other; see Accelerate"
            )
        return cls(accelerator)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._accelerator is not None:
            self._accelerator.end_training()

    @property
    def size(self) -> int:
        return 1 if self._accelerator is None else self._accelerator.num_processes

    @property
    def rank(self) -> int:
        return 0 if self._accelerator is None else self._accelerator.process_index

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def device(self) -> torch.device | None:
        """The device that is this process's, or None when alone."""
        if self._accelerator is None:
            return None
        device = self._accelerator.device
        return device if device.type == "cuda" else torch.device("cpu")  # Accelerate numbers even the only one

    def share_of(self, batch: int, name: str) -> int:
        """This process's part of a batch of the whole team. Raises ConfigError, with `name`, when there is a rest."""
        if batch % self.size:
            raise ConfigError(f"{name} = {batch}: is shared by {self.size} processes; give a multiple of that")
        return batch // self.size

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the team."""
        self.average([p.grad for p in parameters if p.grad is not None])

    def average(self, tensors: list[Tensor]) -> None:
        """Replace each of these, which all have, by its mean over the team, in one transfer."""
        if self._accelerator is None or not tensors:
            return
        flat = self._reduced(torch.cat([tensor.flatten() for tensor in tensors]), "mean")
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def any(self, claim: bool) -> bool:
        """Whether it holds in some process."""
        return self._sum(claim) > 0

    def all(self, claim: bool) -> bool:
        """Whether it holds in every process."""
        return self._sum(claim) == self.size

    def as_first(self, count: int) -> int:
        """The number that the first has, below 2^24, when it has come so far."""
        return self._sum(count if self.is_first else 0)

    def wait(self) -> None:
        """Until all are here."""
        self._sum(0)

    def _sum(self, count: int) -> int:
        if self._accelerator is None:
            return count
        return int(self._reduced(torch.tensor(float(count), device=self._accelerator.device), "sum"))

    def _reduced(self, x: Tensor, how: Literal["sum", "mean"]) -> Tensor:
        assert self._accelerator is not None
        try:
            reduced = self._accelerator.reduce(x, reduction=how)
        except RuntimeError as e:  # gloo's and NCCL's alike
            raise VsrError(f"process {self.rank}: lost the others: {str(e).splitlines()[0]}; see what they say") from e
        assert isinstance(reduced, Tensor)
        return reduced
