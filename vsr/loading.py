"""From the name of a model to an upscaler that is ready on a device."""

from pathlib import Path

import torch

from vsr.engine.tune import (
    FIDELITY_8_BIT,
    Fidelity,
    choose_device,
    choose_precision,
    choose_tile,
    default_overlap,
)
from vsr.engine.upscaler import Upscaler
from vsr.models.catalog import find
from vsr.models.checkpoint import load_model
from vsr.settings import Precision

_LARGE_STILL = (4096, 4096)  # the picture that tiles are sized for when nothing nearer is known


def load(
    name_or_path: str | Path,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    tile: int | None = None,
    overlap: int | None = None,
) -> Upscaler:
    """An upscaler from the name of a model or a weights file: call it on tensors and numpy pictures.

    `tile` and `overlap` are in source pixels and chosen for the device when left out.
    Raises ModelError when there is no such model, ConfigError when there is no such device.
    """
    upscaler, _ = prepare(str(name_or_path), device=device, precision=precision, fidelity=FIDELITY_8_BIT)
    upscaler.tile = tile or choose_tile(
        upscaler.spec, upscaler.device, upscaler.dtype, batch=1, height=_LARGE_STILL[0], width=_LARGE_STILL[1]
    )
    if overlap is not None:
        upscaler.overlap = overlap
    return upscaler


def prepare(
    name_or_path: str, *, device: str, precision: Precision, fidelity: Fidelity
) -> tuple[Upscaler, tuple[str, str]]:
    """An upscaler without tiles, and why this device and this precision were chosen. Raises as `load` does."""
    where, why_device = choose_device(device)
    net, spec = load_model(find(name_or_path))
    dtype, why_precision = choose_precision(precision, net, where, fidelity=fidelity)
    upscaler = Upscaler(net, spec, device=where, dtype=dtype, overlap=default_overlap(spec))
    return upscaler, (why_device, why_precision)


PRECISION_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
