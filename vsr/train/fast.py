"""Train a small Compact x4 network from pictures: clean, blurred, JPEG and video-coded pairs, L1 or L2.

python -m vsr.train.fast --data FOLDER --out vsr-fast-x4.safetensors
"""

import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
import torch
import torch.nn.functional as F
from torch import Tensor

from vsr.errors import ConfigError, VsrError
from vsr.models.checkpoint import describe, load_model, save_model
from vsr.models.compact import SRVGGNetCompact, init_as_skip
from vsr.train.data import SCALE, Bank, read_pictures

Forward = Callable[[Tensor], Tensor]
Criterion = Callable[[Tensor, Tensor], Tensor]
LOSSES: dict[str, Criterion] = {"l1": F.l1_loss, "l2": F.mse_loss}
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FastSettings:
    """Every choice of a run. The same settings, threads and machine give the same weights."""

    num_feat: int = 32
    num_conv: int = 8
    steps: int = 60_000
    batch: int = 16
    low_px: int = 32  # side of a low crop
    is_compiled: bool = False  # a quarter faster from the second minute on; other rounding
    lr: float = 1e-3
    warmup_steps: int = 200
    bank_draws: int = 1500  # three pairs each
    refresh_steps: int = 25  # between two new draws
    snapshot_steps: int = 2000
    loss: Literal["l1", "l2"] = "l1"  # L2 gives the mean of what may have been, so more PSNR where little is left
    start: Path | None = None  # weights to go on from, with a new optimizer; their sizes go before num_feat, num_conv
    seed: int = 0
    name: str = "vsr-fast-x4"
    licence: str = "unknown"
    trained_on: str = "unknown"


def train(data: Path, out: Path, settings: FastSettings) -> None:
    """Train on the pictures under `data`; `out` always holds the averaged weights of the last snapshot, whole.

    Raises MediaError and ConfigError for the pictures, ModelError when `out` cannot be written.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    net = _started(settings, generator).to(memory_format=torch.channels_last)
    averaged = copy.deepcopy(net)
    spec = describe(net, name=settings.name, licence=settings.licence, trained_on=settings.trained_on)
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.lr, betas=(0.9, 0.99), weight_decay=0, fused=True)
    bank = Bank(read_pictures(data), draws=settings.bank_draws, seed=settings.seed)
    forward = torch.compile(net) if settings.is_compiled else net
    started, loss_sum, skip_sum = time.monotonic(), 0.0, 0.0
    for step in range(1, settings.steps + 1):
        low, high = bank.batch(settings.batch, settings.low_px, generator)
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * _lr_share(step, settings)
        loss = _step(forward, optimizer, low, high, LOSSES[settings.loss])
        _average(averaged, net, decay=min(0.999, (1 + step) / (10 + step)))
        loss_sum += loss
        skip_sum += float(LOSSES[settings.loss](F.interpolate(low, scale_factor=SCALE, mode="nearest"), high))
        if step % settings.refresh_steps == 0:
            bank.refresh(1)
        if step % settings.snapshot_steps == 0 or step == settings.steps:
            save_model(averaged, spec, out, dtype=torch.float16)
            minutes = (time.monotonic() - started) / 60
            log.info("step %d, %.1f min: loss %.4f of the skip path's", step, minutes, loss_sum / skip_sum)
            loss_sum = skip_sum = 0.0


def _started(settings: FastSettings, generator: torch.Generator) -> SRVGGNetCompact:
    if settings.start is None:
        net = SRVGGNetCompact(num_feat=settings.num_feat, num_conv=settings.num_conv, scale=SCALE)
        init_as_skip(net, generator)
        return net
    net, spec = load_model(settings.start)
    if not isinstance(net, SRVGGNetCompact) or spec.scale != SCALE:
        raise ConfigError(f"{settings.start}: {spec.arch} x{spec.scale} cannot be the start of Compact x{SCALE}")
    return net.train().requires_grad_(True)


def _step(forward: Forward, optimizer: torch.optim.Optimizer, low: Tensor, high: Tensor, criterion: Criterion) -> float:
    with torch.autocast("cpu", torch.bfloat16):
        out = forward(low.contiguous(memory_format=torch.channels_last))
    loss = criterion(out, high)
    if not bool(torch.isfinite(loss)):
        raise FloatingPointError(f"the loss is {float(loss.detach())}")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
    optimizer.step()
    return float(loss.detach())


def _lr_share(step: int, settings: FastSettings) -> float:
    """Linear warm-up, then a cosine down to 2 %."""
    if step <= settings.warmup_steps:
        return step / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))


@torch.no_grad()
def _average(averaged: SRVGGNetCompact, net: SRVGGNetCompact, *, decay: float) -> None:
    for kept, new in zip(averaged.parameters(), net.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)


DEFAULTS = FastSettings()


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True)
@click.option("--threads", default=1, show_default=True, help="More than one need as many idle cores.")
@click.option("--steps", default=DEFAULTS.steps, show_default=True)
@click.option("--lr", default=DEFAULTS.lr, show_default=True)
@click.option("--loss", type=click.Choice(list(LOSSES)), default=DEFAULTS.loss, show_default=True)
@click.option("--start", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Weights to go on from.")
@click.option("--num-feat", default=DEFAULTS.num_feat, show_default=True)
@click.option("--num-conv", default=DEFAULTS.num_conv, show_default=True)
@click.option("--bank-draws", default=DEFAULTS.bank_draws, show_default=True, help="Three pairs in memory each.")
@click.option("--compile", "is_compiled", is_flag=True, help="A quarter faster; needs a C++ compiler.")
@click.option("--seed", default=DEFAULTS.seed, show_default=True)
@click.option("--licence", default=DEFAULTS.licence, show_default=True)
@click.option("--trained-on", default=DEFAULTS.trained_on, show_default=True)
def main(
    *,
    data: Path,
    out: Path,
    threads: int,
    steps: int,
    lr: float,
    loss: Literal["l1", "l2"],
    start: Path | None,
    num_feat: int,
    num_conv: int,
    bank_draws: int,
    is_compiled: bool,
    seed: int,
    licence: str,
    trained_on: str,
) -> None:
    """Train a small Compact x4 network on the pictures under a folder, from scratch or from weights."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    settings = FastSettings(
        num_feat=num_feat,
        num_conv=num_conv,
        steps=steps,
        lr=lr,
        loss=loss,
        start=start,
        bank_draws=bank_draws,
        is_compiled=is_compiled,
        seed=seed,
        licence=licence,
        trained_on=trained_on,
    )
    try:
        train(data, out, settings)
    except VsrError as e:
        raise click.ClickException(str(e)) from e


if __name__ == "__main__":
    main()
