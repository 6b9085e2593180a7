"""Change the size of pictures: one filter, down and up."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def resize(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize to (height, width) with one antialiased bicubic filter.

    `picture`: (n, c, h, w) float32 in [0, 1]; so is the result, clamped, because a bicubic filter overshoots at edges.
    At the wanted size already: the tensor itself, untouched. On MPS the filter runs on the CPU, since not every torch
    we support has it there.
    """
    if picture.shape[-2:] == size:
        return picture
    source = picture.cpu() if picture.device.type == "mps" else picture
    resized = F.interpolate(source, size, mode="bicubic", antialias=True).clamp_(0, 1)
    return resized.to(picture.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Where a piece of a larger picture lies in it. Pixels."""

    whole: tuple[int, int]  # (height, width) of the larger picture
    top: int
    left: int


@torch.no_grad()
def resize_part(
    piece: Tensor, at: Piece, size: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> Tensor:
    """The rows and columns (start, stop) of what `resize` makes of a whole picture, from a piece of it.

    `piece`: (n, c, h, w) float32 in [0, 1], must hold every pixel that the part depends on: two pixels, or twice the
    ratio of the sizes, beyond the part's own on each side. Equal to the whole's to about 1e-6. Where the piece begins
    between two samples of the result, which torch's filter cannot, the same filter is applied here, many times slower.
    """
    flat = _resampled(piece, 2, at.top, at.whole[0], size[0], rows)
    return _resampled(flat, 3, at.left, at.whole[1], size[1], columns).clamp_(0, 1)


def _resampled(piece: Tensor, axis: int, first: int, length: int, size: int, part: tuple[int, int]) -> Tensor:
    """Samples `part` of `size` along `axis`, from the ones of `length` that `piece` holds from `first` on."""
    start, stop = part
    if length == size:
        return piece.narrow(axis, start - first, stop - start)
    index, weight = _taps(length, size, start, stop)
    unit = length // math.gcd(length, size)  # every so many samples, old and new ones begin at one place
    held = piece.shape[axis] // unit * unit  # all of it at the picture's end, since `length` is a whole number of units
    if first % unit == 0 and int(index[-1].max()) < first + held and piece.device.type != "mps":
        sizes = list(piece.shape[2:])
        sizes[axis - 2] = held * size // length
        aligned = F.interpolate(piece.narrow(axis, 0, held), sizes, mode="bicubic", antialias=True)
        return aligned.narrow(axis, start - first * size // length, stop - start)
    index, weight = (index - first).to(piece.device), weight.to(piece.device, piece.dtype)
    shape = [1] * piece.ndim
    shape[axis] = stop - start
    total = piece.new_zeros((*piece.shape[:axis], stop - start, *piece.shape[axis + 1 :]))
    for tap in range(index.shape[1]):
        total.addcmul_(piece.index_select(axis, index[:, tap]), weight[:, tap].view(shape))
    return total


def _taps(length: int, size: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """(samples, taps) indices into `length`, and weights, as torch's antialiased bicubic filter has them."""
    ratio = length / size
    stretch = max(ratio, 1.0)
    centre = (torch.arange(start, stop, dtype=torch.float64) + 0.5) * ratio
    low = (centre - 2 * stretch + 0.5).floor().clamp_min(0).long()
    high = (centre + 2 * stretch + 0.5).floor().clamp_max(length).long()
    index = low[:, None] + torch.arange(int((high - low).max()))
    distance = ((index - centre[:, None] + 0.5) / stretch).abs()
    weight = torch.where(
        distance < 1,
        (1.5 * distance - 2.5) * distance**2 + 1,
        ((-0.5 * distance + 2.5) * distance - 4) * distance + 2,  # Keys, 1981, a = -0.5
    ).where((distance < 2) & (index < high[:, None]), 0)
    return index.minimum(high[:, None] - 1), weight / weight.sum(1, keepdim=True)
