"""From the name of a model to an upscaler that is ready on a device."""

import logging
from dataclasses import replace
from pathlib import Path

import torch

from vsr.download import Tell
from vsr.engine.memory import limit_memory
from vsr.engine.tune import (
    FIDELITY_8_BIT,
    Fidelity,
    choose_device,
    choose_precision,
    choose_tile,
    default_overlap,
)
from vsr.engine.upscaler import Upscaler
from vsr.events import DownloadEvent, NoteEvent
from vsr.models.catalog import PUBLISHED
from vsr.models.checkpoint import load_model
from vsr.models.mix import Part, mixed
from vsr.models.other import OtherNet
from vsr.models.shares import Shares
from vsr.models.store import find
from vsr.settings import Precision
from vsr.stage import Cancel

log = logging.getLogger(__name__)

_LARGE_STILL = (4096, 4096)  # the picture that tiles are sized for when nothing nearer is known


def load(
    name_or_path: str | Path | Shares,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    tile: int | None = None,
    overlap: int | None = None,
    offline: bool = False,
    tell: Tell | None = None,
) -> Upscaler:
    """An upscaler from the name of a model or a weights file: call it on tensors and numpy pictures.

    Several names with their shares, such as {"A": 0.7, "B": 0.3}, are mixed. A published model that is not here yet is
    fetched, after one line to `tell` or the log that says so, unless `offline`. `tile` and `overlap` are in source
    pixels and chosen for the device when left out.
    Raises ModelError when there is no such model, ConfigError when there is no such device.
    """
    named = str(name_or_path) if isinstance(name_or_path, Path) else name_or_path
    upscaler, _ = prepare(
        named, device=device, precision=precision, fidelity=FIDELITY_8_BIT, offline=offline, tell=tell
    )
    upscaler.tile = tile or choose_tile(
        upscaler.spec, upscaler.device, upscaler.dtype, batch=1, height=_LARGE_STILL[0], width=_LARGE_STILL[1]
    )
    if overlap is not None:
        upscaler.overlap = overlap
    return upscaler


def prepare(
    name_or_shares: str | Shares,
    *,
    device: str,
    precision: Precision,
    fidelity: Fidelity,
    vram_limit: int | None = None,
    offline: bool = False,
    tell: Tell | None = None,
    cancel: Cancel | None = None,
) -> tuple[Upscaler, tuple[str, str]]:
    """An upscaler without tiles, and why this device and this precision were chosen. Raises as `load` does.

    `vram_limit` is the process's from here on, see `limit_memory`.
    """
    where, why_device = choose_device(device)
    limit_memory(where, vram_limit)
    shares = {name_or_shares: 1.0} if isinstance(name_or_shares, str) else name_or_shares
    parts = []
    for name, share in shares.items():
        net, spec = load_model(find(name, offline=offline, tell=tell or _log, cancel=cancel))
        if name in PUBLISHED:  # whose files do not say it
            spec = replace(spec, name=name, licence=PUBLISHED[name].licence)
        parts.append(Part(net=net, spec=spec, share=share))
    net, spec = mixed(parts)
    dtype, why_precision = choose_precision(
        precision, net, where, fidelity=fidelity, types=net.types if isinstance(net, OtherNet) else None
    )
    upscaler = Upscaler(net, spec, device=where, dtype=dtype, overlap=default_overlap(spec))
    return upscaler, (why_device, why_precision)


def _log(event: DownloadEvent | NoteEvent) -> None:
    if isinstance(event, NoteEvent):
        log.warning("%s", event.message)


PRECISION_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
