"""Drawing at random: every sample is a function of (seed, number), and tells what was drawn."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Generator

Key = TypeVar("Key", bound=str)


def sample_generator(seed: int, number: int) -> Generator:
    """The source of all randomness of sample `number` of a run with `seed`.

    Both are mixed first: torch's generator on the CPU takes only the low 32 bits of what it is seeded with.
    """
    state = np.random.SeedSequence([seed, number]).generate_state(1)[0]
    return torch.Generator().manual_seed(int(state))


class Draw:
    """A torch.Generator with the few kinds of draws that damage needs, and a list of what they came to."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.notes: list[str] = []

    def uniform(self, low: float, high: float) -> float:
        """Evenly from [low, high)."""
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def integer(self, low: int, high: int) -> int:
        """Evenly from low to high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def chance(self, share: float) -> bool:
        return float(torch.rand((), generator=self.generator)) < share

    def choice(self, shares: Mapping[Key, float]) -> Key:
        """A key, as often as its share says."""
        left = self.uniform(0, sum(shares.values()))
        for key, share in shares.items():
            left -= share
            if left < 0:
                return key
        return [key for key, share in shares.items() if share > 0][-1]  # rounding

    def one_of(self, items: Sequence[Key]) -> Key:
        return items[self.integer(0, len(items) - 1)]

    def on(self, device: torch.device) -> Generator:
        """A generator on `device`, seeded by a draw: for noise made where the picture lies."""
        return torch.Generator(device).manual_seed(self.integer(0, 2**31 - 1))

    def note(self, text: str) -> None:
        self.notes.append(text)
