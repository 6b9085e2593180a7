"""A sheet of clips and stills before and after: for each, a crop of the source beside the same part of the result.

    python -m benchmarks.sheet --clip CLIP SECONDS LEFT TOP [--clip ...] --out docs/sheet.webp
    python -m benchmarks.sheet --still PICTURE LEFT TOP [--still ...] --out docs/stills.webp

Runs `vsr upscale` on a moment of each clip, or on each still, with the defaults. Transparency lies on squares.
The source is shown pixel by pixel, the result at 100 %.
"""

import tempfile
from fractions import Fraction
from pathlib import Path

import av
import click
import numpy as np
from av.video.frame import VideoFrame
from PIL import Image, ImageOps

from vsr.settings import UpscaleSettings
from vsr.stills import upscale_image
from vsr.video import upscale_video

SIDE = (110, 120)  # (height, width) of a crop, in source pixels
LARGEST = 200_000  # bytes


def first_frame(clip: Path, seconds: float) -> Image.Image:
    """The first frame at or after a time after the clip's first frame."""
    first: float | None = None
    with av.open(str(clip)) as file:
        for frame in file.decode(video=0):
            assert isinstance(frame, VideoFrame)
            first = frame.time if first is None else first
            if (frame.time or 0) - (first or 0) >= seconds:
                return frame.to_image()
    raise click.BadParameter(f"{clip} is shorter than {seconds} s")


def pair(clip: Path, seconds: float, left: int, top: int, folder: Path) -> Image.Image:
    """The crop of a frame of the source, and beside it the result's."""
    start = Fraction(seconds).limit_denominator(1000)
    settings = UpscaleSettings(start=start, end=start + Fraction(1, 5), overwrite=True)
    done = upscale_video(clip, folder / f"{clip.stem}.mkv", settings=settings)
    return beside(first_frame(clip, seconds), first_frame(Path(done.output), 0), left, top)


def still_pair(still: Path, left: int, top: int, folder: Path) -> Image.Image:
    """The same of a still."""
    done = upscale_image(still, folder)
    return beside(shown(still, 4), shown(Path(done.output), 1), left, top)


def shown(path: Path, repeat: int) -> Image.Image:
    """A picture upright, on a ground of squares that are eight pixels wide once every pixel is repeated so often."""
    with Image.open(path) as picture:
        layers = ImageOps.exif_transpose(picture).convert("RGBA")
    y, x = np.mgrid[0 : layers.height, 0 : layers.width] * repeat // 8
    ground = np.where((x + y) % 2, 205, 255).astype(np.uint8)
    return Image.alpha_composite(Image.fromarray(ground).convert("RGBA"), layers).convert("RGB")


def beside(source: Image.Image, result: Image.Image, left: int, top: int) -> Image.Image:
    """The crop of the source, every pixel 4x4, and the result's; black where the source ends."""
    height, width = SIDE
    before = source.crop((left, top, left + width, top + height))
    after = result.crop((4 * left, 4 * top, 4 * (left + width), 4 * (top + height)))
    both = [np.asarray(before.resize(after.size, Image.Resampling.NEAREST)), np.asarray(after)]
    return Image.fromarray(np.concatenate(both, axis=1))


@click.command()
@click.option("--clip", "clips", type=(click.Path(path_type=Path, exists=True), float, int, int), multiple=True)
@click.option("--still", "stills", type=(click.Path(path_type=Path, exists=True), int, int), multiple=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(clips: tuple[tuple[Path, float, int, int], ...], stills: tuple[tuple[Path, int, int], ...], out: Path) -> None:
    """Draw the sheet, as good as fits into 200 KB."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = [np.asarray(pair(*clip, Path(folder))) for clip in clips]
        pairs += [np.asarray(still_pair(*still, Path(folder))) for still in stills]
    sheet = Image.fromarray(np.concatenate(pairs))
    for quality in range(90, 40, -5):
        sheet.save(out, quality=quality)
        if out.stat().st_size <= LARGEST:
            break
    print(f"{out}: {sheet.width}x{sheet.height}, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
