"""Colour through ICC profiles: what has no RGB of its own becomes sRGB."""

import io
import struct
from dataclasses import replace
from functools import cache

import numpy as np
from PIL import Image, ImageCms

from vsr.errors import MediaError
from vsr.io.matrix_profile import matrix_to_srgb
from vsr.picture import LEVELS_8, Page, Samples, has_alpha

_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION


@cache
def srgb_profile() -> bytes:
    """A profile of sRGB, always the same bytes: lcms would put the time into it."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return made[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + made[36:84] + bytes(16) + made[100:]


def to_srgb(picture: Image.Image, icc: bytes | None) -> Image.Image:
    """An 8-bit picture in sRGB, by its own profile; CMYK without one goes by the plain formula, Lab needs none.

    `picture` is L, RGB, CMYK or LAB; the result is RGB. Raises MediaError for a profile that does not fit.
    """
    if icc is None and picture.mode != "LAB":
        return picture.convert("RGB")
    source = ImageCms.createProfile("LAB") if icc is None else io.BytesIO(icc)
    try:
        change = ImageCms.buildTransform(
            source,  # pyright: ignore[reportArgumentType]  # the stub leaves out what createProfile makes
            ImageCms.createProfile("sRGB"),
            picture.mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            _FLAGS,
        )
        changed = ImageCms.applyTransform(picture, change)
    except (ImageCms.PyCMSError, OSError, ValueError) as e:
        raise MediaError(f"its colour profile does not fit its {picture.mode} pixels: {e}") from e
    assert changed is not None
    return changed


def profile_space(icc: bytes) -> str:
    """The colour space of a profile's pixels, such as RGB, GRAY or CMYK; empty for what is no profile."""
    return icc[16:20].decode("latin-1").strip() if len(icc) >= 128 and icc[36:40] == b"acsp" else ""


def page_to_srgb(page: Page, icc: bytes) -> Page:
    """The page in sRGB, alpha as it was. Deep pages go through a profile of tables as 8 bits, see `is_exact`.

    Raises MediaError for a profile that does not fit.
    """
    samples, levels = page.samples, page.levels
    colours = samples.shape[2] - has_alpha(samples.shape[2])
    values = samples[:, :, :colours]
    if levels != LEVELS_8:
        span = np.float32(levels.white - levels.black)
        share = ((values - np.float32(levels.black)) / span).astype(np.float32)
        exact = matrix_to_srgb(share, icc) if colours == 3 else None
        if exact is None:
            small = np.rint(share.clip(0, 1) * 255).astype(np.uint8)
            exact = _by_lcms(small, icc).astype(np.float32) / 255
        wide = exact * span + np.float32(levels.black)
        changed = (wide if levels.dtype.kind == "f" else np.rint(wide)).astype(samples.dtype)
    else:
        changed = _by_lcms(values, icc)
    return replace(page, samples=np.concatenate([changed, samples[:, :, colours:]], 2))


def is_exact(icc: bytes) -> bool:
    """Whether deep pages keep their depth on the way to sRGB."""
    return matrix_to_srgb(np.zeros((1, 3), np.float32), icc) is not None


def _by_lcms(values: Samples, icc: bytes) -> Samples:
    """8-bit gray or RGB in sRGB; gray stays one channel."""
    is_gray = values.shape[2] == 1
    picture = Image.fromarray(np.ascontiguousarray(values[:, :, 0] if is_gray else values))
    changed = np.asarray(to_srgb(picture, icc))
    return changed[:, :, 1:2] if is_gray else changed
