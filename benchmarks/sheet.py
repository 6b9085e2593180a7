"""A sheet of clips before and after: for each, a crop of one source frame beside the same part of the result.

    python -m benchmarks.sheet --clip CLIP SECONDS LEFT TOP [--clip ...] --out docs/sheet.webp

Runs `vsr upscale` on a moment of each clip with the defaults. The source is shown pixel by pixel, the result at 100 %.
"""

import tempfile
from fractions import Fraction
from pathlib import Path

import av
import click
import numpy as np
from av.video.frame import VideoFrame
from PIL import Image

from vsr.settings import UpscaleSettings
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
    """The crop of the source, every pixel 4x4, and beside it the result's."""
    height, width = SIDE
    start = Fraction(seconds).limit_denominator(1000)
    settings = UpscaleSettings(start=start, end=start + Fraction(1, 5), overwrite=True)
    done = upscale_video(clip, folder / f"{clip.stem}.mkv", settings=settings)
    before = first_frame(clip, seconds).crop((left, top, left + width, top + height))
    after = first_frame(Path(done.output), 0).crop((4 * left, 4 * top, 4 * (left + width), 4 * (top + height)))
    both = [np.asarray(before.resize(after.size, Image.Resampling.NEAREST)), np.asarray(after)]
    return Image.fromarray(np.concatenate(both, axis=1))


@click.command()
@click.option("--clip", "clips", type=(click.Path(path_type=Path, exists=True), float, int, int), multiple=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(clips: tuple[tuple[Path, float, int, int], ...], out: Path) -> None:
    """Draw the sheet, as good as fits into 200 KB."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = [np.asarray(pair(*clip, Path(folder))) for clip in clips]
    sheet = Image.fromarray(np.concatenate(pairs))
    for quality in range(90, 40, -5):
        sheet.save(out, quality=quality)
        if out.stat().st_size <= LARGEST:
            break
    print(f"{out}: {sheet.width}x{sheet.height}, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
