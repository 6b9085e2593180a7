"""A network on a device: RGB in, RGB out. Large pictures go through in tiles; failures are mended, and counted."""

import copy
import logging
import threading
from types import EllipsisType
from typing import overload

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsr.engine.tiling import Window, halved, windows
from vsr.errors import ModelError
from vsr.models.spec import ModelSpec
from vsr.stage import Cancel

log = logging.getLogger(__name__)

Array = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.float32]

_DIM = 0.25  # a tile whose mean falls below this share of its source's is not believed
_NOT_FINITE = 2
_BLACK = 4 / 255  # sources darker than this may well become black


class Upscaler:
    """Same input, same output; tiled or not within the model's stated bound.

    `tile` is the side of the windows in source pixels, context included; None is the whole picture.
    `overlap` is the context around what is kept; at `spec.reach` tiled equals whole exactly.
    Safe to call from several threads. `retries` counts tiles made smaller and tiles computed in a wider type.
    """

    def __init__(
        self,
        net: nn.Module,
        spec: ModelSpec,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        tile: int | None = None,
        overlap: int | None = None,
    ) -> None:
        self.spec = spec
        self.device = torch.device(device)
        self.dtype = dtype
        self.tile = tile
        self.overlap = spec.reach if overlap is None else overlap
        self.retries = 0
        self._exact = net.float().eval().requires_grad_(False)
        self._net = _placed(copy.deepcopy(self._exact) if dtype != torch.float32 else self._exact, self.device, dtype)
        self._lock = threading.Lock()
        self._told: set[str] = set()  # what was warned of once

    @property
    def scale(self) -> int:
        return self.spec.scale

    @overload
    def __call__(self, rgb: Tensor) -> Tensor: ...
    @overload
    def __call__(self, rgb: Array) -> Array: ...

    def __call__(self, rgb: Tensor | Array) -> Tensor | Array:
        """Upscale one picture or a batch.

        A tensor is (n, 3, h, w), float, in [0, 1]; the result is float32 on the upscaler's device.
        An array is (h, w, 3), uint8, uint16 or float32 in [0, 1]; the result has its dtype.
        Raises ModelError when the network gives no finite result, ValueError for another shape or dtype.
        """
        if isinstance(rgb, Tensor):
            if not rgb.is_floating_point():
                raise ValueError(f"{rgb.dtype}: a tensor is floating point in [0, 1]")
            low = rgb.to(self.device, torch.float32)
            result, doubt = self.run(low)
            # A copy, for what inference mode makes may not be changed outside of it.
            return (self.rerun_exact(low) if bool(doubt.any()) else result).clone()
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype not in (np.uint8, np.uint16, np.float32):
            raise ValueError(f"shape {rgb.shape}, {rgb.dtype}: a picture is (h, w, 3) of uint8, uint16 or float32")
        top = 1.0 if rgb.dtype == np.float32 else float(np.iinfo(rgb.dtype).max)
        low = torch.from_numpy(rgb.astype(np.float32) / top).permute(2, 0, 1)[None]
        high = self(low)[0].permute(1, 2, 0).cpu().numpy()
        return high if rgb.dtype == np.float32 else np.rint(high * top).astype(rgb.dtype)

    @torch.inference_mode()
    def run(self, rgb: Tensor, *, cancel: Cancel | None = None) -> tuple[Tensor, Tensor]:
        """Upscale (n, 3, h, w) float32 on the device; returns the result, in [0, 1], and a doubt per frame.

        A doubt (n,) int32 is 2 when a tile holds NaN or Inf, 1 when one is black where its source is not
        and a wider type might know better, else 0.
        Nothing here waits for the device: the caller reads the doubts when the frames come back, and calls
        `rerun_exact` for a batch with any. Out of memory sends a batch through frame by frame, then halves the tile.
        Raises Cancelled at the next tile once `cancel` is set.
        """
        if rgb.ndim != 4 or rgb.shape[1] != 3:
            raise ValueError(f"shape {tuple(rgb.shape)}: expected (n, 3, h, w)")
        return self._within_memory(self._net, rgb, cancel)

    @torch.inference_mode()
    def rerun_exact(self, rgb: Tensor, *, cancel: Cancel | None = None) -> Tensor:
        """The same in float32, for a batch that `run` doubted. A black result is then believed.

        Out of memory and `cancel` are as in `run`. Raises ModelError when even this is not finite.
        """
        self.count_retry("the result was not finite, or black where the source is not: computed again in float32")
        exact = self._exact.to(self.device)
        parts = [self._within_memory(exact, frame, cancel) for frame in rgb.split(1)]
        if any(int(doubt.max()) == _NOT_FINITE for _, doubt in parts):
            raise ModelError(f"{self.spec.name}: gives NaN or infinite values even in float32; use another model")
        return torch.cat([result for result, _ in parts])

    def _within_memory(self, net: nn.Module, rgb: Tensor, cancel: Cancel | None) -> tuple[Tensor, Tensor]:
        """As `_tiled`, in parts as small as memory asks for. What failed is freed before it is tried again."""
        while True:
            tile = self.tile
            try:
                return self._tiled(net, rgb, tile, cancel)
            except (RuntimeError, MemoryError) as e:
                if not is_out_of_memory(e):
                    raise
            if len(rgb) > 1:
                self.count_retry("out of memory: this batch goes through frame by frame")
                parts = [self._within_memory(net, frame, cancel) for frame in rgb.split(1)]
                return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
            self._shrink(rgb.shape[-2], rgb.shape[-1], tile)

    def _tiled(self, net: nn.Module, rgb: Tensor, tile: int | None, cancel: Cancel | None) -> tuple[Tensor, Tensor]:
        n, _, height, width = rgb.shape
        s, multiple = self.scale, self.spec.multiple
        padded = _pad(rgb, multiple)
        h, w = padded.shape[-2:]
        if tile is None or (h <= tile and w <= tile):
            out, doubt = self._window(net, padded)
            return out[..., : height * s, : width * s], doubt
        out = rgb.new_empty((n, 3, h * s, w * s))
        doubt = torch.zeros(n, dtype=torch.int32, device=rgb.device)
        for window in windows(h, w, max(tile, multiple), self.overlap, multiple):
            if cancel is not None:
                cancel.check()
            r, c = window.rows, window.columns
            high, found = self._window(net, padded[..., r.start : r.stop, c.start : c.stop])
            out[_kept_in_picture(window, s)] = high[_kept_in_window(window, s)]
            doubt = torch.maximum(doubt, found)
        return out[..., : height * s, : width * s], doubt

    def _window(self, net: nn.Module, low: Tensor) -> tuple[Tensor, Tensor]:
        """One pass of the network; the result is clamped and doubted as in `run`."""
        high = net(low.contiguous(memory_format=torch.channels_last))
        mean_low, mean_high = low.mean(dim=(1, 2, 3)), high.mean(dim=(1, 2, 3))
        is_black = (mean_low > _BLACK) & (mean_high < _DIM * mean_low)
        doubt = (is_black if net is not self._exact else torch.zeros_like(is_black)).int()  # no type is wider
        doubt.masked_fill_(~torch.isfinite(mean_high), _NOT_FINITE)
        return high.clamp_(0, 1), doubt

    def _shrink(self, height: int, width: int, tile: int | None) -> None:
        with self._lock:
            if self.tile != tile:  # another thread was first
                return
            smaller = halved(height, width, tile, self.overlap, self.spec.multiple)
            if smaller is None:
                raise ModelError(
                    f"{self.spec.name}: out of memory on {self.device} even with tiles of {tile} pixels; "
                    "close other programs or use a smaller model"
                )
            self.tile = smaller
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.count_retry(f"out of memory: tiles of {smaller} pixels from here on")

    def count_retry(self, what: str) -> None:
        """Count something that was mended; it is logged as a warning the first time."""
        with self._lock:
            self.retries += 1
            level = logging.DEBUG if what in self._told else logging.WARNING
            self._told.add(what)
        log.log(level, "%s", what)


def _placed(net: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    return net.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _pad(rgb: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until both sizes are multiples."""
    down, right = -rgb.shape[-2] % multiple, -rgb.shape[-1] % multiple
    return F.pad(rgb, (0, right, 0, down), mode="replicate") if down or right else rgb


def _kept_in_picture(window: Window, scale: int) -> tuple[EllipsisType, slice, slice]:
    r, c = window.rows, window.columns
    rows = slice(r.keep_start * scale, r.keep_stop * scale)
    return (..., rows, slice(c.keep_start * scale, c.keep_stop * scale))


def _kept_in_window(window: Window, scale: int) -> tuple[EllipsisType, slice, slice]:
    r, c = window.rows, window.columns
    rows = slice((r.keep_start - r.start) * scale, (r.keep_stop - r.start) * scale)
    return (..., rows, slice((c.keep_start - c.start) * scale, (c.keep_stop - c.start) * scale))


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, on a device or in the machine."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)  # the CPU allocator and MPS raise plain RuntimeErrors
    return "can't allocate memory" in text or "out of memory" in text
