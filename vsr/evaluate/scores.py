"""The figures of one result, and their means."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor

from vsr.engine.tune import choose_device
from vsr.metrics.fidelity import psnr_rgb, psnr_y, ssim_y
from vsr.metrics.lpips import Lpips
from vsr.metrics.niqe import SMALLEST_PX as NIQE_LEAST_PX
from vsr.metrics.niqe import Niqe
from vsr.metrics.temporal import static_change
from vsr.metrics.weights import find_weights
from vsr.places import models_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Of a picture, or means over a clip's frames or over a set. None: could not be measured.

    A clip's PSNR is that of its mean squared error, so that one black frame, which all get right, does not decide it.
    """

    psnr_y: float | None = None  # dB, inf where equal; a border of `scale` pixels is left out here and in the next two
    ssim_y: float | None = None
    psnr_rgb: float | None = None  # dB
    lpips: float | None = None  # of the whole picture; lower is nearer to the truth
    niqe: float | None = None  # of the whole picture, without the truth; lower is more natural
    static_change: float | None = None  # 8-bit codes more from frame to frame than the truth's, where that stands still


KEYS = tuple(field.name for field in fields(Scores))


def mean(scores: Sequence[Scores]) -> Scores:
    """The mean of each figure over those that have it."""
    columns = {key: [value for one in scores if (value := getattr(one, key)) is not None] for key in KEYS}
    return Scores(**{key: sum(values) / len(values) for key, values in columns.items() if values})


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Measures results on a device, with the metrics whose weights are there."""

    device: torch.device
    lpips: Lpips | None = None
    niqe: Niqe | None = None

    @property
    def without(self) -> tuple[str, ...]:
        """Fields of Scores that no weights were found for."""
        return tuple(key for key, metric in (("lpips", self.lpips), ("niqe", self.niqe)) if metric is None)

    @torch.inference_mode()
    def __call__(self, frames: Tensor, truth: Tensor, *, shave: int, is_clip: bool) -> Scores:
        """The figures of one result. Both (T, 3, H, W) uint8; a picture has one frame."""
        frames, truth = frames.to(self.device), truth.to(self.device)
        measured = [self._frame(*pair, shave) for pair in zip(frames.split(1), truth.split(1), strict=True)]
        if not is_clip:
            return measured[0]
        return replace(
            mean(measured),
            psnr_y=_of_mean_error([one.psnr_y for one in measured]),
            psnr_rgb=_of_mean_error([one.psnr_rgb for one in measured]),
            static_change=static_change(frames, truth),
        )

    def _frame(self, frame: Tensor, truth: Tensor, shave: int) -> Scores:
        return Scores(
            psnr_y=float(psnr_y(frame, truth, shave=shave)),
            ssim_y=float(ssim_y(frame, truth, shave=shave)),
            psnr_rgb=float(psnr_rgb(frame, truth, shave=shave)),
            lpips=None if self.lpips is None else float(self.lpips(frame, truth)),
            niqe=None if self.niqe is None else _naturalness(self.niqe, frame),
        )


def _of_mean_error(psnrs: Sequence[float | None]) -> float:
    """The PSNR of the mean of the squared errors that PSNRs stand for."""
    error = sum(10 ** (-psnr / 10) for psnr in psnrs if psnr is not None) / len(psnrs)
    return -10 * math.log10(error) if error else math.inf


def _naturalness(niqe: Niqe, frame: Tensor) -> float | None:
    """None where the frame is too small, or too flat, to say."""
    if min(frame.shape[2:]) < NIQE_LEAST_PX:
        return None
    found = float(niqe(frame))
    return None if math.isnan(found) else found


def load_judge(given: Sequence[Path], *, cache: Path | None = None, device: str = "auto") -> Judge:
    """A judge with the weights among `given`, files and folders, or else in `cache` (None: where models are kept).

    Raises ConfigError for a given path that holds none and for a device that is not there, ModelError for a file that
    is damaged or another.
    """
    where, _ = choose_device(device)
    found = find_weights(given, models_folder() if cache is None else cache)
    backbone, linear = found.squeeze, found.lpips
    return Judge(
        device=where,
        lpips=Lpips.load(backbone, linear).to(where) if backbone and linear else None,
        niqe=Niqe.load(found.niqe) if found.niqe else None,
    )
