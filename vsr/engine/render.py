"""The way of a batch on the device: planes → RGB → network → final size → planes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vsr.engine.color import from_rgb, to_rgb
from vsr.engine.resize import resize
from vsr.engine.turn import turned
from vsr.engine.upscaler import Upscaler
from vsr.frames import ColorSpec, PixelLayout
from vsr.stage import Cancel

Planes = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Renderer:
    """Planes of a source in, planes for an encoder out; both stay on the device."""

    upscaler: Upscaler
    source: PixelLayout
    source_color: ColorSpec
    target: PixelLayout
    target_color: ColorSpec
    size: tuple[int, int]  # (height, width) of the result
    passes: int = 1
    display_matrix: tuple[int, ...] | None = None  # carried out before the network sees the picture

    @torch.inference_mode()
    def __call__(self, planes: Sequence[Tensor], *, cancel: Cancel | None = None) -> tuple[Planes, Tensor]:
        """Render (n, h, w) integer planes; returns planes of `size` and a doubt per frame as `Upscaler.run` does.

        Raises Cancelled at the next tile once `cancel` is set; so does `exact`.
        """
        rgb = self._picture(planes)
        doubt = torch.zeros(len(rgb), dtype=torch.int32, device=rgb.device)
        for _ in range(self.passes):
            rgb, found = self.upscaler.run(rgb, cancel=cancel)
            doubt = torch.maximum(doubt, found)
        return self._finish(rgb), doubt

    @torch.inference_mode()
    def exact(self, planes: Sequence[Tensor], *, cancel: Cancel | None = None) -> Planes:
        """The same with the network in float32, for a batch that was doubted."""
        rgb = self._picture(planes)
        for _ in range(self.passes):
            rgb = self.upscaler.rerun_exact(rgb, cancel=cancel)
        return self._finish(rgb)

    def _picture(self, planes: Sequence[Tensor]) -> Tensor:
        rgb = to_rgb(planes, self.source, self.source_color)
        return rgb if self.display_matrix is None else turned(rgb, self.display_matrix)

    def _finish(self, rgb: Tensor) -> Planes:
        return from_rgb(resize(rgb, self.size), self.target, self.target_color)
