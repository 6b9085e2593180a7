"""What lies in the folder of odd pictures, and how a result is held against its source by other readers."""

import os
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import tifffile
from av.error import FFmpegError
from PIL import Image, ImageOps

from tests.still_maker import read_back, twice

# The files are listed where tests are collected; the fixture `media` skips or fails when they are not there.
FOLDER = Path(os.environ.get("VSR_TEST_DATA", "/nowhere")) / "images_odd"
FILES = sorted(path.name for path in FOLDER.glob("*") if path.suffix != ".tsv") if FOLDER.is_dir() else []

# What neither Pillow nor libav decodes, and what the one line says of it.
BAD = {
    "libavif__color_grid_alpha_grid_tile_shared_in_dimg.avif": "Not implemented",  # libav shows one tile of its grid
    "pillow__00r0_gray_l.jp2": "broken data stream",
    "pillow__apng_sequence_fdat_fctl.png": "frame sequence errors",
    "pillow__bmp_b_badwidth.bmp": "are more than 500 million",
    "pillow__bmp_b_reallybig.bmp": "are more than 500 million",
    "pillow__bmp_g_rgb32bf.bmp": "Unsupported BMP bitfields layout",
    "pillow__bmp_q_pal2.bmp": "Unsupported BMP pixel depth",
    "pillow__bmp_q_rgb24png.bmp": "Unsupported BMP pixel depth",
    "pillow__broken.png": "no picture that Pillow or libav can read",
    "pillow__decompression_bomb.ico": "cannot be read as a picture",
    "pillow__seek_too_large.tif": "no page in it",
    "pillow__ultrahdr.jpg": "truncated",  # a header without pixels
    "pillow__unknown_compression_method.png": "no picture that Pillow or libav can read",
    "pillow__zero_width.gif": "no picture that Pillow or libav can read",
    "pngsuite__xcrn0g04.png": "no picture that Pillow or libav can read",
    "pngsuite__xd9n2c08.png": "no picture that Pillow or libav can read",
    "pngsuite__xdtn0g01.png": "cannot load this image",
    "pngsuite__xs4n0g01.png": "no picture that Pillow or libav can read",
    "sharp__check.svg": "no picture that Pillow or libav can read",
}
CUT_OFF = {"pillow__truncated_jpeg.jpg", "sharp__truncated.jpg"}
LOSSY = {".jpg", ".avif", ".webp"}


def first_page(path: Path) -> np.ndarray | None:
    """(h, w, c) of a source by its independent reader, upright; None where each reads it in a way of its own."""
    if path.suffix.lower() in (".tif", ".tiff"):
        try:
            with tifffile.TiffFile(path) as file:
                page = file.pages[0]
                assert isinstance(page, tifffile.TiffPage)
                if page.photometric in (3, 5, 8) or page.tags.valueof(274, 1) != 1:
                    return None
                found = page.asarray()
                if page.photometric == 0:
                    found = ~found if found.dtype == bool else 255 - found
                if found.dtype == bool:
                    found = found.astype(np.uint8) * 255
                return found if found.ndim == 3 else found[..., None]
        except (ValueError, NotImplementedError):
            return None
    try:
        opened = Image.open(path)
    except OSError:
        return None  # read by libav
    with opened as picture:
        if picture.info.get("default_image"):
            picture.seek(1)
        if picture.mode not in ("L", "LA", "RGB", "RGBA", "1") or "transparency" in picture.info:
            return None
        if getattr(picture, "n_frames", 1) > 1:
            picture = picture.convert("RGBA")
        upright = ImageOps.exif_transpose(picture.convert("L") if picture.mode == "1" else picture)
        found = np.asarray(upright)
    return found if found.ndim == 3 else found[..., None]


def depth_of(path: Path) -> int:
    """Bits of a sample in a file, as libav or tifffile tells."""
    if path.suffix.lower() in (".tif", ".tiff"):
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            assert isinstance(page, tifffile.TiffPage)
            bits = page.bitspersample
        return 8 if bits <= 8 else 16 if bits <= 16 else 32
    with av.open(f"file:{path}") as file:
        frame = next(file.decode(video=0))
        return 8 if max(component.bits for component in frame.format.components) <= 8 else 16


def check_pixels(source: Path, output: Path) -> None:
    """Assert that a result has its source's depth and, where its source can be read elsewhere, every pixel twice."""
    name = source.name
    wanted = first_page(source) if name not in CUT_OFF else None
    if output.suffix not in (".webp", ".avif"):  # 8 bits always
        try:
            assert depth_of(output) == max(8, depth_of(source))
        except (FFmpegError, ValueError, StopIteration):
            assert depth_of(output) in (8, 16)  # a source that libav cannot read, or whose side data PyAV cannot name
    found = read_back(output)
    if wanted is None:
        return
    assert found.shape[:2] == (2 * wanted.shape[0], 2 * wanted.shape[1])
    if found.dtype != wanted.dtype or found.shape[2] != wanted.shape[2]:
        return  # more depth or alpha than Pillow hands out
    large = twice(wanted)
    if wanted.shape[2] in (2, 4):
        seen = large[..., -1] > 0
        found, large = found[seen], large[seen]
    error = np.abs(found.astype(float) - large)
    assert error.mean() <= (4 if output.suffix in LOSSY else 0.5), "edges of alpha are smoothed, all else is exact"


def check_said(source: Path, output: Path, notes: Sequence[str] = ()) -> None:
    """Assert that a result says of itself what its source says, as Pillow reads both."""
    try:
        Image.open(source).close()
    except OSError:
        return  # read by libav, which hands out no metadata
    with Image.open(source) as before, Image.open(output) as after:
        icc, kept = before.info.get("icc_profile"), after.info.get("icc_profile")
        assert not icc or kept == icc
        assert after.getexif().get(274, 1) == 1
        made = dict(before.getexif().get_ifd(0x8769))
        said = dict(after.getexif().get_ifd(0x8769))
        for tag in (0x9003, 0x829A, 0x829D, 0x9000):
            assert made.get(tag) == said.get(tag), (hex(tag), notes)
        assert dict(before.getexif().get_ifd(0x8825)) == dict(after.getexif().get_ifd(0x8825))
        frames = getattr(before, "n_frames", 1) - bool(before.info.get("default_image"))
        if before.format not in ("MPO",):
            assert getattr(after, "n_frames", 1) == frames
        if frames > 1 and before.format in ("GIF", "WEBP", "PNG"):
            assert after.info.get("loop") == before.info.get("loop")
