"""How a run is judged while it goes: the same few pictures every time, measured as `vsr eval` measures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from vsr.degradation import Degradation
from vsr.errors import ConfigError
from vsr.footage import frames_from, is_picture
from vsr.io.images import picture_size, write_rgb
from vsr.io.probe import probe
from vsr.io.sheet import Cell, contact_sheet
from vsr.metrics.fidelity import SSIM_WINDOW, psnr_y, ssim_y
from vsr.metrics.lpips import Lpips
from vsr.train.degrade import LEAST_SIDE, degrade
from vsr.train.draw import sample_generator
from vsr.train.losses import colour_drift
from vsr.train.material import check_pair
from vsr.train.sharpen import sharpen
from vsr.train.store import read_picture

Item = TypeVar("Item")

LEAST_PX = 32  # of a truth, each way; more at large scales, where less cannot be damaged or measured
LARGEST_SHARE = 10  # held back from the data is one file in so many at most
MOST_DB = 100.0  # what equal pictures count: one infinite PSNR would make every mean of a run the same
WINDOW_PX = 256  # of the truth, shown in a sheet
_QUALITY = 95  # of JPEG and WebP: its own damage must not be taken for the network's


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What the network is shown, and what it should be near to."""

    name: str
    low: Tensor  # (1, 3, h, w) uint8
    truth: Tensor  # (1, 3, h * scale, w * scale) uint8, not sharpened


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """What a network made of all pairs.

    The figures are means over the pairs: `psnr_y` in dB, of each MOST_DB at most, `ssim_y`, `val_loss`, `lpips` if it
    was given, and `colour_drift`, by how many 8-bit codes that one of R, G and B that moved most is off on the whole.
    """

    figures: dict[str, float]
    results: list[Tensor]  # (1, 3, H, W) uint8 on the CPU, in the order of the pairs


def held_back(paths: Sequence[Path], count: int) -> tuple[Path, ...]:
    """Which files of the training data to judge by, where no others are given: `count`, spread evenly by name.

    Never more than one in LARGEST_SHARE, and one at least. Of a single file it is that one, on which the network is
    then trained as well: the caller has to say so.
    """
    return _spread(sorted(paths), min(count, max(1, len(paths) // LARGEST_SHARE)))


def validation_pairs(
    paths: Sequence[Path],
    settings: Degradation,
    *,
    scale: int,
    crop: int,
    count: int,
    seed: int,
    lows: Mapping[Path, Path] | None = None,
) -> list[Pair]:
    """The middles of `count` pictures at most, spread evenly by name, each with its small half.

    A middle has `crop` pixels each way at most, a multiple of `scale`. The small half is cut from the picture that
    `lows` names for a truth; else it is the truth damaged, not sharpened, the same for the same files and `seed`. Of a
    clip, the frame in its middle is taken. What is too small is left out. Raises ConfigError when the crop is, or
    nothing is left, and MediaError when a file cannot be read or is not `scale` times its small half.
    """
    least = _least_px(scale)
    if crop // scale * scale < least:
        raise ConfigError(f"validation.crop = {crop}: give {least} pixels or more at x{scale}")
    usable = [path for path in sorted(paths) if min(_size(path)) >= least]
    if not usable:
        raise ConfigError(f"validation: none of {len(paths)} pictures has {least} pixels each way; give others")
    plain = replace(settings, sharpen=False)  # what is judged is the way back to the picture itself
    pairs = []
    for number, path in enumerate(_spread(usable, count)):
        truth = middle(_read(path), scale=scale, low_px=crop // scale)
        if lows and path in lows:
            low = _given_low(path, lows[path], scale=scale, low_px=crop // scale)
        else:
            low = degrade(truth.float() / 255, plain, scale=scale, generator=sample_generator(seed, number)).low
        pairs.append(Pair(name=path.name, low=low, truth=truth))
    return pairs


@torch.no_grad()
def validate(
    run: Callable[[Tensor], Tensor],
    pairs: Sequence[Pair],
    *,
    scale: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    lpips: Lpips | None,
    sharpen_truth: bool,
    device: torch.device,
) -> Validated:
    """Run a network over all pairs, one at a time, and measure.

    `run` takes (1, 3, h, w) float32 in [0, 1] and gives (1, 3, h * scale, w * scale) of any float type; `lpips` lies on
    `device` already. PSNR and SSIM are of luma in 8 bits without a border of `scale`, against the truth as it is;
    `loss` is of the result before it is rounded, against the truth, sharpened if `sharpen_truth`. Where a result is no
    number, it is shown black, and `val_loss` is what `loss` makes of it.
    """
    sums: dict[str, float] = {}
    drift = torch.zeros(3, dtype=torch.float64)
    results = []
    for pair in pairs:
        low, truth = pair.low.to(device).float() / 255, pair.truth.to(device)
        result = run(low).float()
        wanted = sharpen(truth.float() / 255) if sharpen_truth else truth.float() / 255
        shown = result.nan_to_num(nan=0.0).clamp(0, 1).mul(255).round().to(torch.uint8)
        figures = _measured(shown, truth, scale, lpips) | {"val_loss": float(loss(result, wanted))}
        for key, figure in figures.items():
            sums[key] = sums.get(key, 0.0) + figure
        drift += colour_drift(shown.float() / 255, low).double().cpu()
        results.append(shown.cpu())
    means = {key: total / len(pairs) for key, total in sums.items()}
    return Validated(figures=means | {"colour_drift": float(drift.abs().max()) / len(pairs)}, results=results)


def _measured(shown: Tensor, truth: Tensor, scale: int, lpips: Lpips | None) -> dict[str, float]:
    """The figures of a result in 8 bits."""
    figures = {
        "psnr_y": min(MOST_DB, float(psnr_y(shown, truth, shave=scale))),
        "ssim_y": float(ssim_y(shown, truth, shave=scale)),
    }
    return figures if lpips is None else figures | {"lpips": float(lpips(shown, truth))}


def sample_sheet(path: Path, pairs: Sequence[Pair], results: Sequence[Tensor], *, scale: int, count: int = 6) -> None:
    """Save the middles of `count` pairs at most, a row each: what the network saw, its result, the truth.

    `results` are (1, 3, H, W) uint8 on the CPU, one for each pair. The picture has the format of the path's suffix.
    Raises MediaError when it cannot be written.
    """
    cells = []
    for pair, result in _spread(list(zip(pairs, results, strict=True)), count):
        enlarged = pair.low.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        decibels = float(psnr_y(result, pair.truth, shave=scale))
        captions = {"seen": enlarged, f"result  {decibels:.2f} dB": result, f"truth  {pair.name}": pair.truth}
        for caption, picture in captions.items():
            window = middle(picture, scale=scale, low_px=WINDOW_PX // scale)[0]
            cells.append(Cell(picture=window.permute(1, 2, 0).contiguous().numpy(), caption=caption))
    write_rgb(path, contact_sheet(cells, columns=3), quality=_QUALITY)


def middle(pictures: Tensor, *, scale: int, low_px: int | None) -> Tensor:
    """What belongs to `low_px` small pixels each way at most, in the middle of (N, C, H, W); None: to all there are."""
    kept = []
    for length in pictures.shape[2:]:
        whole = length // scale
        side = whole if low_px is None else min(low_px, whole)
        start = (whole - side) // 2
        kept.append(slice(start * scale, (start + side) * scale))
    return pictures[:, :, kept[0], kept[1]].contiguous()


def _least_px(scale: int) -> int:
    least = max(LEAST_PX, LEAST_SIDE * scale, SSIM_WINDOW + 2 * scale)
    return -(-least // scale) * scale


def _spread(items: Sequence[Item], count: int) -> tuple[Item, ...]:
    """`count` of them at most, from the middles of as many equal stretches."""
    taken = min(count, len(items))
    return tuple(items[(2 * place + 1) * len(items) // (2 * taken)] for place in range(taken))


def _size(path: Path) -> tuple[int, int]:
    if is_picture(path):
        return picture_size(path)
    video = probe(path).video
    return video.height, video.width


def _read(path: Path) -> Tensor:
    """(1, 3, H, W) uint8 of a picture, or of a clip's frame in the middle."""
    if is_picture(path):
        return read_picture(path)[None]
    info = probe(path)
    seconds = Fraction(info.video.frame_estimate or 0) / info.video.rate / 2
    return frames_from(info, 1, start=seconds)


def _given_low(truth: Path, low: Path, *, scale: int, low_px: int) -> Tensor:
    check_pair(truth, _size(truth), low, _size(low), scale)
    return middle(_read(low), scale=1, low_px=low_px)
