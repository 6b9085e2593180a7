"""Still pictures: read and written as plain RGB."""

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from vsr.disk import why_not_written
from vsr.errors import MediaError

MAX_PIXELS = 1 << 28  # checked from the header, before memory is taken
# What Pillow's decoders raise on damaged or unsupported files, besides what is an OSError
DAMAGE = (OSError, ValueError, SyntaxError, EOFError, RuntimeError, struct.error, Image.DecompressionBombError)


def read_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """The picture as (height, width, 3) 8-bit RGB, upright; transparent parts lie on black.

    Raises MediaError when it cannot be read or has more than MAX_PIXELS.
    """
    try:
        with Image.open(path) as picture:
            _check_size(path, picture)
            upright = ImageOps.exif_transpose(picture)
            if "A" in upright.getbands() or "transparency" in upright.info:
                layers = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", layers.size, (0, 0, 0, 255)), layers)
            return np.asarray(upright.convert("RGB"))
    except DAMAGE as e:
        raise MediaError(f"{path}: cannot be read as a picture: {e}; give another file") from e


def picture_size(path: Path) -> tuple[int, int]:
    """(height, width) of what `read_rgb` gives, from the header alone.

    Raises MediaError when that cannot be read or tells of more than MAX_PIXELS; damage behind it is not seen.
    """
    try:
        with Image.open(path) as picture:
            _check_size(path, picture)
            # of the base class: PNG's own decodes the picture to look for tags behind it
            turn = Image.Image.getexif(picture).get(ExifTags.Base.Orientation, 1)
            is_turned = turn in (5, 6, 7, 8) and picture.format != "TIFF"  # whose size is told upright
            return (picture.width, picture.height) if is_turned else (picture.height, picture.width)
    except DAMAGE as e:
        raise MediaError(f"{path}: cannot be read as a picture: {e}; give another file") from e


def write_rgb(path: Path, picture: npt.NDArray[np.uint8], *, quality: int = 90) -> None:
    """Write (height, width, 3) 8-bit RGB in the format of the suffix; it bears its name only when whole.

    `quality` is of JPEG and lossy WebP. Raises MediaError for a suffix of no format, and when it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    form = Image.registered_extensions().get(path.suffix.lower())
    if form is None:
        raise MediaError(f"{path}: no picture format by the name of '{path.suffix}'; give .png, .webp or .jpg")
    try:
        Image.fromarray(picture).save(part, form, quality=quality)
        part.replace(path)
    except (OSError, ValueError) as e:
        part.unlink(missing_ok=True)
        raise MediaError(f"{path}: {why_not_written(e, f'cannot be written: {e}; choose another output')}") from e


def _check_size(path: Path, picture: Image.Image) -> None:
    if picture.width * picture.height > MAX_PIXELS:
        raise MediaError(f"{path}: {picture.width}x{picture.height} is too large; scale it down first")
