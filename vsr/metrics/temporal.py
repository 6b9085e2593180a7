"""How steady a clip is where nothing moves: flicker, told from motion by the truth."""

import torch.nn.functional as F
from torch import Tensor

from vsr.metrics.fidelity import luma

STILL_CODES = 2.0  # mean luma change that still counts as none: noise of sigma 1.7 in the truth
WINDOW_PX = 9  # the mean is taken over, so that the noise of single pixels decides nothing
LEAST_STILL = 0.01  # of all pixels; fewer say nothing about a clip


def static_change(frames: Tensor, truth: Tensor) -> float | None:
    """How much more `frames` change from frame to frame than `truth` does, where the truth stands still.

    The mean absolute change of luma there, less that of the truth, in 8-bit codes: 0 is as steady as the truth, more
    flickers, less is steadier. Noise of sigma codes, new in each frame, on a noiseless truth gives 2 sigma / sqrt(pi).

    Both (T, 3, H, W) RGB in order of time, floats in [0, 1] or uint8. A pixel stands still between two frames when the
    truth's luma changes by at most STILL_CODES in the mean over the WINDOW_PX square around it. None when fewer than
    LEAST_STILL of all pixels do, or there are less than two frames. ValueError when sizes differ.
    """
    if frames.shape != truth.shape:
        raise ValueError(f"clips {tuple(frames.shape)} and {tuple(truth.shape)} cannot be compared")
    excess, still, pixels = 0.0, 0, 0
    for now in range(1, len(truth)):  # two frames at a time, since a whole clip in float64 would fill memory
        pair = slice(now - 1, now + 1)
        of_truth, of_frames = _change(truth[pair]), _change(frames[pair]).to(truth.device)
        is_still = _mean_around(of_truth) <= STILL_CODES
        excess += float((of_frames - of_truth)[is_still].sum())
        still += int(is_still.sum())
        pixels += is_still.numel()
    return excess / still if still and still >= LEAST_STILL * pixels else None


def _change(pair: Tensor) -> Tensor:
    """Absolute difference of luma (1, 1, H, W) between two frames (2, 3, H, W)."""
    before, after = luma(pair).split(1)
    return (after - before).abs()


def _mean_around(x: Tensor) -> Tensor:
    """Mean over the window around each pixel, of what lies inside the picture; rows, then columns."""
    reach = WINDOW_PX // 2
    rows = F.avg_pool2d(x, (1, WINDOW_PX), 1, (0, reach), count_include_pad=False)
    return F.avg_pool2d(rows, (WINDOW_PX, 1), 1, (reach, 0), count_include_pad=False)
