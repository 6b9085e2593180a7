"""Processes that train one network together: each computes its share of a batch, and gradients are averaged."""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vsr.errors import ConfigError

if TYPE_CHECKING:
    from accelerate import Accelerator


class Team:
    """One process, or several under `accelerate launch` or `torchrun`; the first writes the run's folder."""

    def __init__(self, accelerator: "Accelerator | None" = None) -> None:
        self._accelerator = accelerator

    @classmethod
    def join(cls, *, on_cpu: bool) -> "Team":
        """The team that the launcher's environment describes. Raises ConfigError when Accelerate is not installed."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        try:
            from accelerate import Accelerator
        except ImportError as e:
            raise ConfigError("several processes: need Accelerate; install vsr[train]") from e
        return cls(Accelerator(cpu=on_cpu))

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
        return None if self._accelerator is None else self._accelerator.device

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the team, in one transfer."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self._accelerator is None or not gradients:
            return
        flat = self._averaged(torch.cat([g.flatten() for g in gradients]))
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def mean(self, x: Tensor) -> Tensor:
        """The mean of all elements over the team; gradients pass through this process's own."""
        own = x.mean()
        if self._accelerator is None:
            return own
        return own + self._averaged(own.detach()) - own.detach()

    def all_finite(self, is_finite: bool) -> bool:
        """Whether it holds in every process, so that all skip a step or none does."""
        if self._accelerator is None:
            return is_finite
        return float(self._averaged(torch.tensor(float(is_finite), device=self._accelerator.device))) == 1

    def wait(self) -> None:
        """Until all are here."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()

    def _averaged(self, x: Tensor) -> Tensor:
        assert self._accelerator is not None
        mean = self._accelerator.reduce(x.clone(), reduction="mean")
        assert isinstance(mean, Tensor)
        return mean
