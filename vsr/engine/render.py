"""The way of a batch on the device: planes → RGB → network → final size → planes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vsr.engine.alpha import upscale_with_alpha
from vsr.engine.color import from_alpha, from_rgb, to_alpha, to_rgb
from vsr.engine.resize import resize
from vsr.engine.turn import turned
from vsr.engine.upscaler import Upscaler, is_out_of_memory
from vsr.errors import ModelError
from vsr.frames import ColorSpec, PixelLayout
from vsr.stage import Cancel

Planes = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Renderer:
    """Planes of a source in, planes for an encoder out; both stay on the device.

    Alpha goes through when both layouts have it. A target that has none takes the colours as they are.
    """

    upscaler: Upscaler
    source: PixelLayout
    source_color: ColorSpec
    target: PixelLayout
    target_color: ColorSpec
    size: tuple[int, int]  # (height, width) of the picture
    padded: tuple[int, int] | None = None  # (height, width) of the result, the last row and column repeated
    passes: int = 1
    display_matrix: tuple[int, ...] | None = None  # carried out before the network sees the picture

    @torch.inference_mode()
    def __call__(self, planes: Sequence[Tensor], *, cancel: Cancel | None = None) -> tuple[Planes, Tensor]:
        """Render (n, h, w) integer planes; returns those of the result, and a doubt per frame as `Upscaler.run` does.

        Raises Cancelled at the next tile once `cancel` is set, and ModelError when a single frame does not fit in
        memory; so does `exact`.
        """

        def rendered(planes: Sequence[Tensor]) -> Planes:
            doubts: list[Tensor] = []

            def network(rgb: Tensor) -> Tensor:
                high, found = self.upscaler.run(rgb, cancel=cancel)
                doubts.append(found)
                return high

            return (*self._rendered(planes, network), torch.stack(doubts).amax(0))

        *result, doubt = self._within_memory(planes, rendered)
        return tuple(result), doubt

    @torch.inference_mode()
    def exact(self, planes: Sequence[Tensor], *, cancel: Cancel | None = None) -> Planes:
        """The same with the network in float32, for a batch that was doubted."""

        def rendered(planes: Sequence[Tensor]) -> Planes:
            return self._rendered(planes, lambda rgb: self.upscaler.rerun_exact(rgb, cancel=cancel))

        return self._within_memory(planes, rendered)

    def _within_memory(self, planes: Sequence[Tensor], rendered: Callable[[Sequence[Tensor]], Planes]) -> Planes:
        """What `rendered` gives, frame by frame where the device has no room for the batch around the network."""
        try:
            return rendered(planes)
        except (RuntimeError, MemoryError) as e:
            if not is_out_of_memory(e):
                raise
            if len(planes[0]) == 1:
                height, width = self.padded or self.size
                what = f"out of memory on {self.upscaler.device} for a frame of {width}x{height}"
                how = "close other programs or give a smaller --size"
                raise ModelError(f"{self.upscaler.spec.name}: {what}; {how}") from e
        self.upscaler.count_retry("out of memory: this batch goes through frame by frame")
        frames = zip(*(plane.split(1) for plane in planes), strict=True)
        parts = [self._within_memory(frame, rendered) for frame in frames]
        return tuple(torch.cat(same) for same in zip(*parts, strict=True))

    def _rendered(self, planes: Sequence[Tensor], network: Callable[[Tensor], Tensor]) -> Planes:
        def upscale(rgb: Tensor) -> Tensor:
            for _ in range(self.passes):
                rgb = network(rgb)
            return rgb

        source, target = self.source, self.target
        rgb = self._upright(to_rgb(planes[: len(planes) - source.has_alpha], source.opaque, self.source_color))
        if not (source.has_alpha and target.has_alpha):
            return from_rgb(self._fitted(upscale(rgb)), target, self.target_color)
        alpha = self._upright(to_alpha(planes[-1], source))
        rgb, alpha = (self._fitted(high) for high in upscale_with_alpha(rgb, alpha, upscale))
        return (*from_rgb(rgb, target.opaque, self.target_color), from_alpha(alpha, target))

    def _upright(self, picture: Tensor) -> Tensor:
        return picture if self.display_matrix is None else turned(picture, self.display_matrix)

    def _fitted(self, picture: Tensor) -> Tensor:
        picture = resize(picture, self.size)
        if self.padded is None:
            return picture
        below, beside = (has - wants for has, wants in zip(self.padded, self.size, strict=True))
        return F.pad(picture, (0, beside, 0, below), mode="replicate")
