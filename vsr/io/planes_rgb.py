"""RGB as the planes that encoders take, and back: 8-bit YUV, BT.601 studio swing, chroma whole or subsampled.

swscale is no way here: it loses a code of luma on the round trip, and a network learns to brighten.
Source of the numbers: ITU-R BT.601-7, sections 2.5.1 to 2.5.3.
"""

import numpy as np
import numpy.typing as npt

Clip = npt.NDArray[np.uint8]
Planes = tuple[Clip, Clip, Clip]
Floats = npt.NDArray[np.float32]

CHROMA_STEPS = {"yuv420p": (2, 2), "yuv422p": (1, 2), "yuv444p": (1, 1)}  # rows and columns of luma to one of chroma
RED, GREEN, BLUE = 0.299, 0.587, 0.114
LUMA_GAIN = 219 / 255
CB_GAIN = 224 / 255 / (2 * (1 - BLUE))
CR_GAIN = 224 / 255 / (2 * (1 - RED))


def to_planes(clip: Clip, pixels: str) -> Planes:
    """Luma (T, H, W) and both chroma planes of frames (T, H, W, 3), all 8-bit.

    `pixels` is a key of CHROMA_STEPS, by which H and W must divide. Subsampled chroma sits on even columns and, in
    4:2:0, between rows, as MPEG-2 and its successors have it.
    """
    # no matrix product: on wide input BLAS starts threads, and sums in an order that depends on the machine
    red, green, blue = np.moveaxis(clip, 3, 0).astype(np.float32, order="C")
    light = RED * red
    light += GREEN * green
    light += BLUE * blue
    chroma = [
        _rounded(_reduced(colour - light, *CHROMA_STEPS[pixels]), gain, 128)
        for colour, gain in ((blue, CB_GAIN), (red, CR_GAIN))
    ]
    return _rounded(light, LUMA_GAIN, 16), chroma[0], chroma[1]


def to_rgb(planes: Planes) -> Clip:
    """The inverse of `to_planes`, chroma interpolated linearly: (T, H, W, 3) 8-bit."""
    luma, cb, cr = planes
    _, height, width = luma.shape
    rows, columns = height // cb.shape[1], width // cb.shape[2]
    light = (luma.astype(np.float32) - 16) / LUMA_GAIN + 0.5  # the half rounds on the way to 8 bits
    blue = _enlarged((cb.astype(np.float32) - 128) / CB_GAIN, rows, columns)
    red = _enlarged((cr.astype(np.float32) - 128) / CR_GAIN, rows, columns)
    green = (red * RED + blue * BLUE) / -GREEN
    clip = np.empty((*luma.shape, 3), np.uint8)
    for channel, difference in enumerate((red, green, blue)):
        difference += light
        clip[..., channel] = difference.clip(0, 255, out=difference)
    return clip


def _rounded(x: Floats, gain: float, offset: int) -> Clip:
    x *= gain
    x += offset + 0.5
    return x.astype(np.uint8)  # studio swing leaves nothing to clip


def _reduced(x: Floats, rows: int, columns: int) -> Floats:
    """Mean of two rows, and 1-2-1 over columns around each even one; the border is repeated."""
    if rows == 2:
        x = (x[:, ::2] + x[:, 1::2]) * 0.5
    if columns == 2:
        even, odd = x[..., ::2], x[..., 1::2]
        mean = 2 * even + odd
        mean[..., 0] += x[..., 0]
        mean[..., 1:] += odd[..., :-1]
        mean *= 0.25
        return mean
    return x


def _enlarged(x: Floats, rows: int, columns: int) -> Floats:
    """Linear between the places that `_reduced` samples at; the border is repeated."""
    count, height, width = x.shape
    if rows == 2:
        tall = np.empty((count, 2 * height, width), np.float32)
        near, far = x * 0.75, x * 0.25
        tall[:, 2::2], tall[:, 0] = near[:, 1:] + far[:, :-1], x[:, 0]
        tall[:, 1:-1:2], tall[:, -1] = near[:, :-1] + far[:, 1:], x[:, -1]
        x = tall
    if columns == 2:
        wide = np.empty((count, x.shape[1], 2 * width), np.float32)
        wide[..., ::2], wide[..., -1] = x, x[..., -1]
        wide[..., 1:-1:2] = (x[..., :-1] + x[..., 1:]) * 0.5
        x = wide
    return x
