"""A contact sheet of a folder: of each picture that `vsr folder` made, the source on the left, the result on the right.

    python -m benchmarks.folder_sheet FOLDER --out docs/folder.webp

Runs with the defaults; only first pages and frames are shown, fitted into small cells, on squares where they are clear.
"""

import tempfile
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from PIL import Image

from vsr.events import Event, FileEvent
from vsr.folder.run import upscale_folder
from vsr.io.sheet import Cell, contact_sheet
from vsr.io.still_read import open_still, read_pages
from vsr.picture import Page, has_alpha
from vsr.stills import yuv_to_rgb

CELL = (64, 72)  # (height, width) of one picture
COLUMNS = 9
LARGEST = 200_000  # bytes


def shown(page: Page) -> Image.Image:
    """A page fitted into a cell, small ones with their pixels repeated."""
    share = (page.samples.astype(np.float32) - page.levels.black) / (page.levels.white - page.levels.black)
    height, width, channels = share.shape
    y, x = np.mgrid[0:height, 0:width] * 8 // max(height, width)
    ground = np.where((x + y) % 2, 0.8, 1.0)[:, :, None]
    alpha = share[:, :, -1:] if has_alpha(channels) else 1.0
    colour = share[:, :, : channels - has_alpha(channels)]
    picture = Image.fromarray(
        np.rint(
            (colour * alpha + ground * (1 - alpha)).repeat(4 - colour.shape[2], 2)[:, :, :3].clip(0, 1) * 255
        ).astype(np.uint8)
    )
    factor = min(CELL[0] / height, CELL[1] / width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    fitted = picture.resize(size, Image.Resampling.NEAREST if factor > 1 else Image.Resampling.LANCZOS)
    cell = Image.new("RGB", (CELL[1], CELL[0]), (28, 28, 28))
    cell.paste(fitted, ((CELL[1] - size[0]) // 2, (CELL[0] - size[1]) // 2))
    return cell


def first_page(path: Path) -> Page:
    return next(iter(read_pages(open_still(path, max_pixels=1 << 40), yuv_to_rgb)))


def pair(source: Path, result: Path) -> npt.NDArray[np.uint8]:
    """Source and result side by side."""
    return np.concatenate([np.asarray(shown(first_page(path))) for path in (source, result)], 1)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(folder: Path, out: Path) -> None:
    made: list[FileEvent] = []

    def hear(event: Event) -> None:
        if isinstance(event, FileEvent) and event.output is not None:
            made.append(event)

    with tempfile.TemporaryDirectory() as name:
        upscale_folder(folder, Path(name) / "large", on_event=hear)
        cells = [
            Cell(
                picture=pair(folder / event.source, Path(event.output or "")), caption=event.source.rpartition("__")[2]
            )
            for event in made
        ]
    sheet = Image.fromarray(contact_sheet(cells, columns=COLUMNS))
    quality = 90
    sheet.save(out, quality=quality, method=6)
    while out.stat().st_size > LARGEST and quality > 25:
        quality -= 5
        sheet.save(out, quality=quality, method=6)
    print(f"{len(cells)} pictures, {out.stat().st_size} bytes at quality {quality}")


if __name__ == "__main__":
    main()
