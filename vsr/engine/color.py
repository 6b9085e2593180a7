"""Code values to RGB and back: the only YUV<->RGB conversion of the project.

Source: ITU-T H.273, section 8.3. The transfer function is left alone: networks were trained on, and see, non-linear
R'G'B'. Each plane is one affine mix of three others, so every matrix, range and depth is the same few additions. Plain
elementwise arithmetic on purpose: a convolution or a matmul would obey TF32, autocast and
`torch.set_float32_matmul_precision`, and colours would then depend on settings made elsewhere.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vsr.errors import MediaError
from vsr.frames import ColorSpec, PixelLayout

_KR_KB = {  # matrix code point -> weights of R and B in luma
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.470BG, BT.601 625
    6: (0.299, 0.114),  # SMPTE 170M, BT.601 525
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020 non-constant luminance
}
_IDENTITY, _YCGCO = 0, 8
# Pixels converted at a time, in strips of rows. Smaller ones make threads wait for each other's interpreter lock,
# larger ones leave the caches: two threads at 5 Mpx took 21 core-ms a megapixel at 2^15, 4.9 at 2^18, 11.6 at once.
_STRIP_PX = 1 << 18


@dataclass(frozen=True, slots=True)
class _Coding:
    """code = weights @ (R, G, B) + offsets, one row per plane; RGB nominally in [0, 1]."""

    weights: npt.NDArray[np.float64]  # (planes, 3)
    offsets: npt.NDArray[np.float64]  # (planes,)


@torch.no_grad()
def to_rgb(planes: Sequence[Tensor], layout: PixelLayout, color: ColorSpec) -> Tensor:
    """Turn decoded planes into what a network reads.

    `planes`: (n, h, w) each, uint8 or uint16 as `layout` says, without alpha, on any device. Returns (n, 3, h, w)
    float32 RGB clamped to [0, 1]: codes blacker than black, whiter than white or out of gamut end at the border, as on
    every screen. Chroma is interpolated linearly from where `color.siting` puts it. Raises MediaError for a matrix that
    is not affine.
    """
    weights, offsets = _decoding(_coding(layout, color))
    vertical, horizontal = _chroma_grid(layout, color)
    n, height, width = planes[0].shape
    rgb = torch.empty((n, 3, height, width), device=planes[0].device)
    for top, bottom in _strips(rgb, vertical[0]):
        codes = [_to_float(planes[0][:, top:bottom])]
        start = max(0, top // vertical[0] - 1)  # one sample of chroma more on either side
        stop = -(-bottom // vertical[0]) + 1
        for plane in planes[1:]:
            chroma = _interpolate(_to_float(plane[:, start:stop]), 2, width, horizontal)
            whole = _interpolate(chroma, 1, chroma.shape[1] * vertical[0], vertical)
            codes.append(whole[:, top - start * vertical[0] : bottom - start * vertical[0]])
        for channel in range(3):
            _mix(codes, weights[channel], offsets[channel], out=rgb[:, channel, top:bottom]).clamp_(0, 1)
    return rgb


@torch.no_grad()
def from_rgb(rgb: Tensor, layout: PixelLayout, color: ColorSpec) -> tuple[Tensor, ...]:
    """Turn RGB into planes of code values, rounded to nearest.

    `rgb`: (n, 3, h, w) floating point in [0, 1], contiguous or channels_last. Returns one (n, h, w) uint8 or uint16
    tensor per plane of `layout`. Values outside [0, 1] are not clipped first: they may use limited range's head- and
    footroom and end where the sample's bits do. A chroma sample is the mean of the pixels' area around its site; edges
    replicate. Raises MediaError for a matrix that is not affine.
    """
    coding = _coding(layout, color)
    n, _, height, width = rgb.shape
    vertical, horizontal = _chroma_grid(layout, color)
    planes = tuple(
        torch.empty((n, *size), dtype=_torch_dtype(layout), device=rgb.device)
        for size in layout.plane_sizes(height, width)
    )
    luma_planes = 1 if layout.kind == "yuv" and layout.log2_chroma != (0, 0) else len(planes)
    reach = max(0, -min(_box(*vertical))[0])
    for top, bottom in _strips(rgb, vertical[0]):
        start = max(0, top - reach)
        channels = _channels(rgb[:, :, start:bottom])
        own = [channel[:, top - start :] for channel in channels]
        for index in range(luma_planes):
            _store(_mix(own, coding.weights[index], coding.offsets[index] + 0.5), planes[index][:, top:bottom], layout)
        if luma_planes == len(planes):
            continue
        rows = slice(top // vertical[0], -(-bottom // vertical[0]))
        small = [_average(channel, 1, vertical, rows.stop - rows.start, top - start) for channel in channels]
        small = [_average(channel, 2, horizontal, planes[1].shape[2], 0) for channel in small]
        for index in range(luma_planes, len(planes)):
            _store(_mix(small, coding.weights[index], coding.offsets[index] + 0.5), planes[index][:, rows], layout)
    return planes


@torch.no_grad()
def to_alpha(plane: Tensor, layout: PixelLayout) -> Tensor:
    """Turn a decoded alpha plane (n, h, w) into (n, 1, h, w) float32 in [0, 1]. Alpha is always full range."""
    return _to_float(plane).div_(2**layout.depth - 1)[:, None]


@torch.no_grad()
def from_alpha(alpha: Tensor, layout: PixelLayout) -> Tensor:
    """Turn (n, 1, h, w) alpha in [0, 1] into a plane (n, h, w) of the layout's depth, rounded to nearest."""
    plane = torch.empty(alpha[:, 0].shape, dtype=_torch_dtype(layout), device=alpha.device)
    _store(alpha[:, 0] * (2**layout.depth - 1) + 0.5, plane, layout)
    return plane


def _coding(layout: PixelLayout, color: ColorSpec) -> _Coding:
    """What the codes of `layout` mean."""
    step = 2.0 ** (layout.depth - 8)
    peak = 2.0**layout.depth - 1
    luma = (peak, 0.0) if color.full_range else (219 * step, 16 * step)  # scale, offset
    difference = (peak if color.full_range else 224 * step, 128 * step)
    if layout.kind == "gray":
        kr, kb = _KR_KB.get(color.matrix, _KR_KB[1])  # RGB and unspecified: sRGB has BT.709's primaries
        return _Coding(luma[0] * np.array([[kr, 1 - kr - kb, kb]]), np.array([luma[1]]))
    if layout.kind == "rgb" or color.matrix == _IDENTITY:
        if layout.log2_chroma != (0, 0):
            raise MediaError(f"{layout.name}: tagged as RGB, which has no subsampling; give the clip its YUV matrix")
        return _Coding(luma[0] * np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]]), np.full(3, luma[1]))
    offsets = np.array([luma[1], difference[1], difference[1]])
    if color.matrix == _YCGCO:  # defined on RGB codes, so its differences have luma's scale
        return _Coding(luma[0] * np.array([[0.25, 0.5, 0.25], [-0.25, 0.5, -0.25], [0.5, 0, -0.5]]), offsets)
    if color.matrix not in _KR_KB:
        known = ", ".join(map(str, sorted({_IDENTITY, _YCGCO, *_KR_KB})))
        raise MediaError(f"{layout.name}: colour matrix {color.matrix} is not supported; convert to one of {known}")
    kr, kb = _KR_KB[color.matrix]
    y = np.array([kr, 1 - kr - kb, kb])
    cb = (np.array([0, 0, 1]) - y) / (2 * (1 - kb))
    cr = (np.array([1, 0, 0]) - y) / (2 * (1 - kr))
    return _Coding(np.array([luma[0] * y, difference[0] * cb, difference[0] * cr]), offsets)


def _decoding(coding: _Coding) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(weights, offsets) of (R, G, B) = weights @ codes + offsets."""
    if len(coding.weights) == 1:  # gray: three channels alike
        weights = np.full((3, 1), 1 / coding.weights.sum(), dtype=np.float64)
    else:
        weights = np.linalg.inv(coding.weights).astype(np.float64)
        weights[np.abs(weights) < 1e-12] = 0  # left by inverting; spares a pass
    return weights, -weights @ coding.offsets


def _chroma_grid(layout: PixelLayout, color: ColorSpec) -> tuple[tuple[int, float], tuple[int, float]]:
    """(luma pixels per chroma sample, position of the first one in luma pixels), vertical and horizontal."""
    down, across = (1 << shift for shift in layout.log2_chroma)
    vertical = 0.0 if color.siting == "topleft" else (down - 1) / 2
    horizontal = (across - 1) / 2 if color.siting == "center" else 0.0
    return (down, vertical), (across, horizontal)


def _torch_dtype(layout: PixelLayout) -> torch.dtype:
    return torch.uint8 if layout.depth <= 8 else torch.uint16


def _to_float(plane: Tensor) -> Tensor:
    if plane.dtype == torch.uint16:  # few kernels know uint16, none of MPS's: read it as int16
        plane = plane.view(torch.int16).to(torch.int32).bitwise_and_(0xFFFF)
    return plane.to(torch.float32)


def _store(codes: Tensor, plane: Tensor, layout: PixelLayout) -> None:
    """Write `codes`, which hold half a code too much, so that truncation rounds to nearest."""
    codes.clamp_(0, 2**layout.depth - 1)
    if plane.dtype == torch.uint16:  # see _to_float; int32 first, since 32768 and more wrap to int16 defined
        plane.view(torch.int16).copy_(codes.to(torch.int32))
    else:
        plane.copy_(codes)


def _mix(
    channels: Sequence[Tensor], weights: npt.NDArray[np.float64], offset: float, out: Tensor | None = None
) -> Tensor:
    """offset + sum of weight * channel; weights of zero cost nothing, and at least one is not."""
    used = [(channel, weight) for channel, weight in zip(channels, weights.tolist(), strict=True) if weight]
    total = torch.mul(*used[0], out=out)
    for channel, weight in used[1:]:
        total.add_(channel, alpha=weight)
    return total.add_(offset)


def _interpolate(plane: Tensor, axis: int, size: int, grid: tuple[int, float]) -> Tensor:
    """Read `plane` at `size` luma positions along `axis`, linearly; outside its first and last sample it is flat."""
    factor, origin = grid
    if factor == 1:
        return plane
    padded = torch.cat([plane.narrow(axis, 0, 1), plane, plane.narrow(axis, -1, 1)], axis)
    shape = list(plane.shape)
    shape[axis] = size
    whole = plane.new_empty(shape)
    strided = (slice(None),) * axis
    for phase in range(min(factor, size)):  # all positions of one phase lie equally far behind a sample
        behind = (phase - origin) / factor
        low = math.floor(behind)
        part = whole[(*strided, slice(phase, None, factor))]
        left, right = (padded.narrow(axis, 1 + at, part.shape[axis]) for at in (low, low + 1))
        torch.lerp(left, right, behind - low, out=part)
    return whole


def _box(factor: int, origin: float) -> list[tuple[int, float]]:
    """(pixel, weight) of the mean over `factor` pixels' area about `origin`: half weight where a border halves a pixel.

    Centred between two pixels this is the plain mean, on a pixel of 4:2:0 it is (1, 2, 1) / 4.
    """
    low, high = origin - factor / 2, origin + factor / 2
    pixels = range(math.floor(low + 0.5), math.ceil(high - 0.5) + 1)
    return [(pixel, (min(pixel + 0.5, high) - max(pixel - 0.5, low)) / factor) for pixel in pixels]


def _average(plane: Tensor, axis: int, grid: tuple[int, float], count: int, shift: int) -> Tensor:
    """`count` chroma samples along `axis`; luma pixel 0 of the grid is pixel `shift` of `plane`. Edges replicate."""
    factor, origin = grid
    if factor == 1:
        return plane
    size = plane.shape[axis]
    shape = list(plane.shape)
    shape[axis] = count
    total = plane.new_zeros(shape)
    for pixel, weight in _box(factor, origin):
        pixel += shift
        first = max(0, -(pixel // factor))  # samples below this read before the plane, from `end` on behind it
        end = min(count, (size - 1 - pixel) // factor + 1)
        inside = slice(first * factor + pixel, (end - 1) * factor + pixel + 1, factor)
        index = (slice(None),) * axis
        total[(*index, slice(first, end))].add_(plane[(*index, inside)], alpha=weight)
        if first:
            total[(*index, slice(0, first))].add_(plane[(*index, slice(0, 1))], alpha=weight)
        if end < count:
            total[(*index, slice(end, count))].add_(plane[(*index, slice(size - 1, size))], alpha=weight)
    return total


def _strips(rgb: Tensor, factor: int) -> Iterator[tuple[int, int]]:
    """Rows [top, bottom) that are converted together: the whole picture, except on a CPU, where caches count."""
    n, _, height, width = rgb.shape
    rows = height if rgb.device.type != "cpu" else max(1, _STRIP_PX // (n * width))
    rows = -(-rows // factor) * factor
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def _channels(strip: Tensor) -> tuple[Tensor, ...]:
    """R, G, B of a strip, (n, rows, w) float32 each, with pixels of a row side by side in memory."""
    if (
        strip.dtype != torch.float32 or strip.stride(-1) != 1
    ):  # channels_last: one gather here is cheaper than six later
        strip = strip.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    return strip.unbind(1)
