"""The pair pool: batches are mixed from many samples, of which few are new, and yet repeat exactly.

Source of the idea: the training pair pool of Real-ESRGAN (Wang et al. 2021, section 4.1). There, what the pool holds
depends on all that went before; here it is a function of the seed and the step, so that a run can go on anywhere.
"""

import math
from collections.abc import Callable, Generator
from fractions import Fraction
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from vsr.errors import ConfigError
from vsr.train.draw import Draw
from vsr.train.samples import Sample

Stream = Callable[[int], Generator[Sample, None, None]]  # from the so-many-th sample of this process


class PairPool:
    """A ring of uint8 pairs that is renewed as training goes on, and batches drawn from it.

    Each sample brings `frames` pairs. Before step s, samples 0 to `fill` + s * `refresh` (rounded down) have entered,
    `fill` being as many as the `capacity` takes, and the last `capacity` pairs are held. Which of them make a batch,
    none twice, follows from (seed, s); where a pair is cut, flipped, turned and tinted, from (seed, s, number of the
    pair). So any step may be asked for at any time; one that does not follow the step before costs the making of
    `fill` samples. With a whole `refresh` and `refresh` * `frames` = `batch` = `capacity`, every pair is used once, in
    order. Memory is taken when the first sample comes.

    Of `size` processes that train together, number `rank` holds the samples `rank`, `rank` + `size` and so on; its
    capacity, refresh and batch are its share. Where every pair is used once, the shares of a step are together what
    one process alone would have, cut and turned alike.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        capacity: int,
        refresh: float,
        crop: int,
        scale: int,
        batch: int,
        seed: int,
        frames: int = 1,
        flips: bool = True,
        rotations: bool = True,
        jitter: float = 0.0,
        rank: int = 0,
        size: int = 1,
    ) -> None:
        """`crop` in pixels of the truth; `refresh` in samples a step; `jitter` as in `tinted`.

        Raises ConfigError for sizes that do not go together.
        """
        if crop % scale or crop < scale:
            raise ConfigError(f"crop = {crop}: must be a multiple of the scale {scale}")
        if not 1 <= batch <= capacity:
            raise ConfigError(f"pool = {capacity}: must hold at least one batch of {batch}")
        self._refresh = Fraction(refresh).limit_denominator(10_000)  # two thirds of three are two
        if not 0 <= self._refresh * frames <= capacity:
            raise ConfigError(f"refresh = {refresh:g}: x {frames} pairs a step must fit into the pool of {capacity}")
        if not 0 <= jitter < 1:
            raise ConfigError(f"jitter = {jitter:g}: must be 0 or more, and less than 1")
        self._make_stream, self._stream = stream, None
        self._capacity, self._frames, self._batch = capacity, frames, batch
        self._crop, self._scale, self._seed = crop, scale, seed
        self._flips, self._rotations, self._jitter = flips, rotations, jitter
        self._rank, self._size = rank, size
        self._entered = 0  # samples of this process that have entered, held or not
        self._numbers = torch.zeros(capacity, dtype=torch.int64)  # of the pairs held, among those of all processes
        self._low = self._truth = torch.empty(0, dtype=torch.uint8)

    @property
    def fill(self) -> int:
        """Samples that fill the ring."""
        return -(-self._capacity // self._frames)

    @property
    def bytes(self) -> int:
        """Memory of the ring; 0 before the first batch."""
        return self._low.numel() + self._truth.numel()

    def batch_at(self, step: int) -> tuple[Tensor, Tensor]:
        """What a network is shown at a step, and the truth.

        (B, 3, crop / scale, crop / scale) and (B, 3, crop, crop), uint8. Raises VsrError when a
        sample cannot be made; the pool can then be asked again.
        """
        self._advance(step)
        chosen, low_crop = self._chosen(step), self._crop // self._scale
        low = torch.empty(len(chosen), 3, low_crop, low_crop, dtype=torch.uint8)
        truth = torch.empty(len(chosen), 3, self._crop, self._crop, dtype=torch.uint8)
        for place, index in enumerate(chosen):
            self._show(index, step, low[place], truth[place])
        return low, truth

    def close(self) -> None:
        """End the workers; what is held may still be asked for, other steps start new ones."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _advance(self, step: int) -> None:
        """Have the ring hold what it holds at `step`."""
        wanted = self.fill + math.floor(self._refresh * step)
        if wanted == self._entered:
            return
        oldest = wanted - self.fill
        try:
            if self._stream is None or not oldest <= self._entered < wanted:
                self.close()
                self._stream, self._entered = self._make_stream(oldest), oldest
            while self._entered < wanted:
                self._enter(next(self._stream))
        except BaseException:
            self.close()
            self._entered = 0
            raise

    def _enter(self, sample: Sample) -> None:
        """Put a sample in the place of the oldest: pair g of this process lies at g modulo the capacity."""
        wanted = self._entered * self._size + self._rank
        if sample.number != wanted or len(sample.low) != self._frames:
            raise ValueError(f"sample {sample.number} of {len(sample.low)} frames came, not {wanted}")
        if not self.bytes:
            if self._crop > sample.truth.shape[2]:
                raise ConfigError(f"crop = {self._crop}: samples are only {sample.truth.shape[2]} pixels large")
            self._low, self._truth = (x.new_empty(self._capacity, *x.shape[1:]) for x in (sample.low, sample.truth))
        for frame in range(max(0, self._frames - self._capacity), self._frames):
            place = (self._entered * self._frames + frame) % self._capacity
            self._low.numpy()[place] = sample.low[frame].numpy()
            self._truth.numpy()[place] = sample.truth[frame].numpy()
            self._numbers[place] = sample.number * self._frames + frame
        self._entered += 1

    def _chosen(self, step: int) -> list[int]:
        """The places of a batch's pairs."""
        if self._batch == self._capacity:
            return list(range(self._capacity))
        generator = _generator(1, self._seed, step)
        return torch.randperm(self._capacity, generator=generator)[: self._batch].tolist()

    def _show(self, index: int, step: int, low: Tensor, truth: Tensor) -> None:
        """Write one pair of the ring as it is shown this time: NumPy's views are turned before anything is copied."""
        path = self._seed, step, int(self._numbers[index])
        words = [int(word) for word in np.random.SeedSequence(path, spawn_key=(3,)).generate_state(5)]
        top, left = (
            word % (length - low.shape[1] + 1) for word, length in zip(words, self._low.shape[2:], strict=False)
        )
        is_flipped, quarters = self._flips and words[2] % 2 == 1, words[3] % 4 if self._rotations else 0
        for pictures, scale, shown in ((self._low, 1, low), (self._truth, self._scale, truth)):
            side = shown.shape[1]
            cut = pictures[index].numpy()[:, scale * top :, scale * left :][:, :side, :side]
            shown.numpy()[:] = np.rot90(cut[:, :, ::-1] if is_flipped else cut, quarters, (1, 2))
        if self._jitter:
            tints = tinted(low, truth, self._jitter, Draw(torch.Generator().manual_seed(words[4])))
            for shown, tint in zip((low, truth), tints, strict=True):
                shown.copy_(tint)


def tinted(low: Tensor, truth: Tensor, strength: float, draw: Draw) -> tuple[Tensor, Tensor]:
    """Both with other brightness, contrast and saturation, the same for both: (3, h, w) uint8.

    Each is multiplied by a factor drawn from 1 - `strength` to 1 + `strength`: contrast about the mean of the truth's
    luma, saturation about the luma (ITU-R BT.601) of each pixel.
    """
    brightness, contrast, saturation = (draw.uniform(1 - strength, 1 + strength) for _ in range(3))
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    mean = (truth * weights).sum(0).mean()

    def changed(picture: Tensor) -> Tensor:
        pixels = picture.float()
        luma = (pixels * weights).sum(0, keepdim=True)
        pixels = luma + saturation * (pixels - luma)
        pixels = brightness * (mean + contrast * (pixels - mean))
        return pixels.round().clamp(0, 255).to(torch.uint8)

    return changed(low), changed(truth)


def _generator(use: int, *path: int) -> torch.Generator:
    """A source of randomness for one `use`, another one than any sample's."""
    state = np.random.SeedSequence(path, spawn_key=(use,)).generate_state(1)[0]
    return torch.Generator().manual_seed(int(state))
