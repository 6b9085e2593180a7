"""What is held against the truth: networks by name or file, and two filters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vsr.download import Tell
from vsr.engine.matlab import enlarge, enlarge_lanczos
from vsr.engine.resize import resize
from vsr.engine.upscaler import Upscaler
from vsr.errors import ConfigError
from vsr.loading import load
from vsr.settings import Precision

FILTERS: dict[str, Callable[[Tensor, int], Tensor]] = {"bicubic": enlarge, "lanczos": enlarge_lanczos}


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A way to make pictures larger: (T, 3, H, W) uint8 to (T, 3, H * scale, W * scale) uint8, both on the CPU."""

    name: str
    run: Callable[[Tensor], Tensor]
    note: str | None = None  # what the reader of its figures has to know


def load_methods(
    names: Sequence[str],
    *,
    scale: int,
    device: str = "auto",
    precision: Precision = "fp32",
    offline: bool = False,
    tell: Tell | None = None,
) -> list[Method]:
    """A method for each name: `bicubic`, `lanczos`, a model or a weights file.

    A network of another scale is resized to `scale` by the filter of `vsr upscale`. Raises ModelError when there is no
    such model, ConfigError when there is no such device or a name is given twice.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"model {', '.join(twice)}: given twice; leave one out")
    short = [_short(name) for name in names]
    methods = []
    for typed, name in zip(names, short, strict=True):
        told = typed if short.count(name) > 1 else name
        if typed in FILTERS:
            methods.append(_filter(typed, scale))
        else:
            upscaler = load(typed, device=device, precision=precision, offline=offline, tell=tell)
            methods.append(_network(told, upscaler, scale))
    return methods


def _short(name: str) -> str:
    """A file's name without folder and suffix."""
    return Path(name).stem if Path(name).is_file() else name


def _filter(name: str, scale: int) -> Method:
    return Method(name=name, run=lambda frames: FILTERS[name](frames, scale))


def _network(name: str, upscaler: Upscaler, scale: int) -> Method:
    def run(frames: Tensor) -> Tensor:
        return torch.cat([_frame(upscaler, frame, scale) for frame in frames.split(1)])

    own = upscaler.scale
    note = None if own == scale else f"{name} is a network of x{own}: its result is resized to x{scale}"
    return Method(name=name, run=run, note=note)


def _frame(upscaler: Upscaler, frame: Tensor, scale: int) -> Tensor:
    _, _, height, width = frame.shape
    high = resize(upscaler(frame.float() / 255), (height * scale, width * scale))
    return high.mul(255).round().to(torch.uint8).cpu()
