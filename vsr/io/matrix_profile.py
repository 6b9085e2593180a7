"""ICC profiles of three primaries and three curves, in floating point: lcms, through Pillow, hands out 8 bits.

Source: ICC.1:2022, sections 9.2, 10.6 and 10.18; IEC 61966-2-1 for sRGB.
"""

import struct
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Curve = Callable[[Floats], Floats]

# XYZ under D50, as profiles have it, to linear sRGB: the inverse of sRGB's primaries adapted by Bradford's method.
_SRGB_OF_XYZ = np.linalg.inv(
    np.array([[0.436066, 0.385147, 0.143066], [0.222488, 0.716873, 0.060608], [0.013916, 0.097076, 0.714096]])
)
_PARAMETERS = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}  # of the function types of a parametric curve


def matrix_to_srgb(rgb: Floats, icc: bytes) -> Floats | None:
    """(..., 3) values in [0, 1] in sRGB, clipped to it; None where the profile has no matrix, or tables besides."""
    tags = _tags(icc)
    names = (b"rXYZ", b"gXYZ", b"bXYZ")
    if b"A2B0" in tags or not all(name in tags for name in (*names, b"rTRC", b"gTRC", b"bTRC")):
        return None
    try:
        primaries = np.array([struct.unpack(">3i", tags[name][8:20]) for name in names]).T / 65536
        curves = [_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")]
    except (struct.error, KeyError):
        return None
    linear = [curve(rgb[..., k]) for k, curve in enumerate(curves)]
    mix = (_SRGB_OF_XYZ @ primaries).astype(np.float32)
    result = np.empty_like(rgb)
    for k in range(3):
        light = sum((mix[k, j] * linear[j] for j in range(3)), np.zeros_like(linear[0])).clip(0, 1)
        result[..., k] = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** np.float32(1 / 2.4) - 0.055)
    return result


def _tags(icc: bytes) -> dict[bytes, bytes]:
    if len(icc) < 132:
        return {}
    (count,) = struct.unpack_from(">I", icc, 128)
    found = {}
    for k in range(min(count, (len(icc) - 132) // 12)):
        name, start, length = struct.unpack_from(">4sII", icc, 132 + 12 * k)
        found[name] = icc[start : start + length]
    return found


def _curve(tag: bytes) -> Curve:
    if tag[:4] == b"para":
        (kind,) = struct.unpack_from(">H", tag, 8)
        count = _PARAMETERS[kind]
        return _parametric(kind, [value / 65536 for value in struct.unpack_from(f">{count}i", tag, 12)])
    (count,) = struct.unpack_from(">I", tag, 8)
    if not count:
        return lambda values: values
    if count == 1:
        gamma = np.float32(struct.unpack_from(">H", tag, 12)[0] / 256)
        return lambda values: values**gamma
    table = np.frombuffer(tag, ">u2", count, 12) / 65535
    places = np.linspace(0, 1, count)
    return lambda values: np.interp(values, places, table).astype(np.float32)


def _parametric(kind: int, given: list[float]) -> Curve:
    """Table 68 of the standard: a power above a border, a line below it."""
    gamma, a, b, c, d, e, f = given[0], 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    if kind in (1, 2):
        a, b = given[1:3]
        e = f = given[3] if kind == 2 else 0.0
        d = -b / a
    elif kind in (3, 4):
        a, b, c, d = given[1:5]
        e, f = given[5:7] if kind == 4 else (0.0, 0.0)

    def curve(values: Floats) -> Floats:
        power = np.maximum(np.float32(a) * values + np.float32(b), 0) ** np.float32(gamma) + np.float32(e)
        return np.where(values >= d, power, np.float32(c) * values + np.float32(f))

    return curve
