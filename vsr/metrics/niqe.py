"""How natural a picture looks by itself: NIQE, lower is more natural; coarse, and to be read with care.

JPEG of middle quality and slight blur score better than the undamaged photograph: it tells gross damage only.

Source: Mittal, Soundararajan and Bovik, Making a "Completely Blind" Image Quality Analyzer, IEEE SPL 2013, with the
constants of the authors' MATLAB code and of BasicSR, whose parameter file is read.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vsr.errors import ModelError
from vsr.metrics.fidelity import luma

BLOCK_PX = 96  # at full size; half of it at half size
SMALLEST_PX = 2 * BLOCK_PX  # fewer blocks have no spread worth the name
FEATURES = 18  # per block and scale
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))  # rows and columns by which the second factor of a product is rolled
FLAT = 1e-6  # far below what one code of luma leaves, far above rounding
WANTED = "niqe_pris_params.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Niqe:
    """The model of undamaged photographs that pictures are measured against, float64."""

    mean: Tensor  # (36,) of the features
    covariance: Tensor  # (36, 36)
    window: Tensor  # (7, 7), Gaussian, of sum 1

    @classmethod
    def load(cls, path: Path) -> Self:
        """From BasicSR's niqe_pris_params.npz. Raises ModelError when it cannot be read or is another file."""
        shapes = {
            "mu_pris_param": (1, 2 * FEATURES),
            "cov_pris_param": (2 * FEATURES, 2 * FEATURES),
            "gaussian_window": (7, 7),
        }
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
                arrays = [torch.from_numpy(np.asarray(found[name], np.float64)) for name in shapes]
        except OSError as e:
            raise ModelError(f"{path}: cannot be read: {e.strerror}; give {WANTED}") from e
        except (ValueError, KeyError, IndexError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as e:
            raise ModelError(f"{path}: not the parameters of NIQE; give {WANTED}") from e
        if [tuple(array.shape) for array in arrays] != list(shapes.values()):
            raise ModelError(f"{path}: parameters of other sizes than NIQE's; give {WANTED}")
        mean, covariance, window = arrays
        return cls(mean=mean[0], covariance=covariance, window=window)

    def __call__(self, picture: Tensor) -> Tensor:
        """Distance to the model per picture (N,) in float64; NaN where fewer than two blocks have any detail.

        `picture`: (N, 3, H, W) RGB, floats in [0, 1] or uint8; its luma is rounded to 8 bits, and what exceeds whole
        blocks at the right and bottom is left out. ValueError when a side is below SMALLEST_PX.
        """
        height, width = picture.shape[2:]
        if min(height, width) < SMALLEST_PX:
            raise ValueError(f"{width}x{height} is too small for NIQE: at least {SMALLEST_PX} pixels each way")
        y = luma(picture[:, :, : height // BLOCK_PX * BLOCK_PX, : width // BLOCK_PX * BLOCK_PX]).round()
        return torch.stack([self._distance(one[None]) for one in y])

    def _distance(self, y: Tensor) -> Tensor:
        """Of one luma (1, 1, H, W) of whole blocks."""
        at_full = _features(_blocks(_contrast(y, self.window), BLOCK_PX))
        at_half = _features(_blocks(_contrast(halved(y), self.window), BLOCK_PX // 2))
        found = torch.cat([at_full, at_half], 1)
        whole = found[found.isfinite().all(1)]
        if len(whole) < 2:
            return torch.full((), torch.nan, dtype=y.dtype, device=y.device)
        apart = found.nanmean(0) - self.mean.to(y.device)
        spread = (self.covariance.to(y.device) + torch.cov(whole.T)) / 2
        # pinv, since few blocks leave the covariance short of rank
        return (apart @ torch.linalg.pinv(spread) @ apart).sqrt()


def _contrast(y: Tensor, window: Tensor) -> Tensor:
    """Luma less its local mean, over its local deviation plus one (eq. 1 of the paper), (1, 1, H, W)."""
    mean = _windowed(y, window)
    contrast = (y - mean) / ((_windowed(y.square(), window) - mean.square()).abs().sqrt() + 1)
    # In flat areas the rounding of sums would decide the signs, and they the features. BasicSR, in float32, has
    # zeros there, too.
    return contrast.where(contrast.abs() > FLAT, 0)


def _windowed(x: Tensor, window: Tensor) -> Tensor:
    """Weighted sum of the (7, 7) window around each pixel of (1, 1, H, W), the border repeated."""
    _, _, h, w = x.shape
    wide = F.pad(x, (3, 3, 3, 3), mode="replicate")
    total = torch.zeros_like(x)
    for row, weights in enumerate(window.tolist()):  # conv2d in float64 copies the picture 49 times before it adds
        for column, weight in enumerate(weights):
            total.add_(wide[:, :, row : row + h, column : column + w], alpha=weight)
    return total


def halved(y: Tensor) -> Tensor:
    """Half the size by MATLAB's imresize: Keys' cubic stretched by two, mirrored borders; sides must be even."""
    distance = (torch.arange(8, dtype=y.dtype, device=y.device) - 3.5).abs() / 2
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    taps = torch.where(distance <= 1, near, far)
    taps = (taps / taps.sum()).view(1, 1, 8, 1)
    for _ in range(2):  # rows, then columns
        wide = torch.cat([y[:, :, :3].flip(2), y, y[:, :, -3:].flip(2)], 2)
        y = F.conv2d(wide, taps, stride=(2, 1)).transpose(2, 3)
    return y


def _blocks(x: Tensor, side: int) -> Tensor:
    """(1, 1, H, W) as squares (blocks, side, side)."""
    _, _, h, w = x.shape
    return x.view(h // side, side, w // side, side).transpose(1, 2).reshape(-1, side, side)


def _features(blocks: Tensor) -> Tensor:
    """The FEATURES of each block (blocks, 18): of its contrasts, and of their products with four neighbours."""
    shape, left, right, _ = asymmetric_gaussian(blocks)
    features = [shape, (left + right) / 2]
    for shift in NEIGHBOURS:
        shape, left, right, mean = asymmetric_gaussian(blocks * blocks.roll(shift, (1, 2)))
        features += [shape, mean, left, right]
    return torch.stack(features, 1)


def asymmetric_gaussian(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shape, left and right scale and mean of the asymmetric generalised Gaussian fitted to each block, by moments.

    NaN where a block has nothing below or nothing above zero, but the shape: the least then, as in the authors' code.
    Source: Lasmar, Stitou and Berthoumieu 2009, as the paper cites it; the shape is the nearest in a table.
    """
    values = blocks.flatten(1)
    squares = values.square()
    below, above = values < 0, values > 0
    left = ((squares * below).sum(1) / below.sum(1)).sqrt()
    right = ((squares * above).sum(1) / above.sum(1)).sqrt()
    ratio = left / right
    wanted = values.abs().mean(1).square() / squares.mean(1)
    wanted = wanted * (ratio**3 + 1) * (ratio + 1) / (ratio.square() + 1).square()
    shapes = 0.2 + 0.001 * torch.arange(9801, dtype=values.dtype, device=values.device)
    one, two, three = (torch.lgamma(times / shapes) for times in (1, 2, 3))
    ratios = (2 * two - one - three).exp()  # rises with the shape
    after = torch.searchsorted(ratios, wanted).clamp(1, len(shapes) - 1)
    nearest = after - ((wanted - ratios[after - 1]) <= (ratios[after] - wanted)).long()
    nearest = nearest.where(wanted.isfinite(), 0)
    scale = ((one - three) / 2).exp()[nearest]
    left, right = left * scale, right * scale
    return shapes[nearest], left, right, (right - left) * (two - one).exp()[nearest]
