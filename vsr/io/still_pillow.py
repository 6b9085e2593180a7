"""Stills that Pillow reads: nearly all, at 8 bits, and 16-bit gray."""

import contextlib
import io
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from vsr.errors import MediaError
from vsr.io.profiles import to_srgb
from vsr.picture import LEVELS_8, LEVELS_16, Levels, Samples

# What Pillow's readers and tifffile raise for damaged or unsupported files, besides what is an OSError
DAMAGE = (
    *(OSError, ValueError, SyntaxError, EOFError, RuntimeError, KeyError, IndexError, TypeError, struct.error),
    ArithmeticError,
)


@contextlib.contextmanager
def opened(source: Path | io.BytesIO) -> Iterator[Image.Image]:
    """A picture whose header is read. Its own guard against huge ones is off: ours looks at the header first."""
    Image.MAX_IMAGE_PIXELS = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata; what is lost is said in our own words
        with Image.open(source) as picture:
            yield picture


def channels_of(picture: Image.Image) -> int:
    """How many channels `samples_of` gives."""
    mode = picture.mode
    with_alpha = "transparency" in picture.info or mode in ("LA", "La", "PA", "RGBA", "RGBa")
    is_gray = mode in ("1", "L", "LA", "La", "F") or mode.startswith("I")
    return (1 if is_gray else 3) + with_alpha


def samples_of(picture: Image.Image, icc: bytes | None = None) -> tuple[Samples, Levels]:
    """(h, w, c) samples of the picture or frame that is current, and what they mean.

    `icc` is for CMYK and Lab, which become sRGB. Raises what Pillow raises.
    """
    mode = picture.mode
    if mode.startswith("I;16"):
        return np.asarray(picture).astype(np.uint16)[:, :, None], LEVELS_16
    if mode == "I":
        return _integers(np.asarray(picture)[:, :, None])
    if mode == "F":
        return float_levels(np.asarray(picture)[:, :, None])
    if mode in ("CMYK", "LAB"):
        picture = to_srgb(picture, icc)
    wanted = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels_of(picture)]
    array = np.asarray(picture if picture.mode == wanted else picture.convert(wanted))
    return (array[:, :, None] if array.ndim == 2 else array), LEVELS_8


def float_levels(values: Samples) -> tuple[Samples, Levels]:
    """Floats, with black and white at 0 and 1, or at their own ends where they go beyond.

    Raises MediaError when some are no numbers.
    """
    values = values.astype(np.float32, copy=False)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    if not np.isfinite([low, high]).all():
        raise MediaError("holds values that are no finite numbers; replace them first")
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    return values, Levels(dtype=np.dtype(np.float32), black=low, white=high if high > low else low + 1)


def _integers(values: Samples) -> tuple[Samples, Levels]:
    """Pillow's 32-bit integers: of 16-bit files, but for rare ones."""
    if values.min() >= 0 and values.max() < 1 << 16:
        return values.astype(np.uint16), LEVELS_16
    return values.astype(np.int32), Levels(dtype=np.dtype(np.int32), black=values.min(), white=values.max())


def upright(samples: Samples, orientation: int) -> Samples:
    """The samples (h, w, c) turned as EXIF's orientation says. A view where that will do."""
    if orientation in (5, 6, 7, 8):
        samples = samples.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    return samples


def frame_of(picture: Image.Image, number: int) -> tuple[Samples, Levels]:
    """A frame of an animation, put together as shown, with alpha."""
    picture.seek(number)
    return np.asarray(picture.convert("RGBA")), LEVELS_8
