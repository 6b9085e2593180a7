"""Sheets of pictures with a caption under each."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Picture = npt.NDArray[np.uint8]

GAP = 8  # pixels between cells and around them
TEXT_PX = 12
LINE_PX = 15
INK, PAPER = (235, 235, 235), (28, 28, 28)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One picture of a sheet, shown pixel by pixel."""

    picture: Picture  # (h, w, 3) RGB
    caption: str  # wrapped to the picture's width


def contact_sheet(cells: Sequence[Cell], *, columns: int) -> Picture:
    """Lay cells out in rows of `columns`, all as large as the largest; gives (H, W, 3) RGB."""
    font = ImageFont.load_default(TEXT_PX)
    width = max(cell.picture.shape[1] for cell in cells)
    height = max(cell.picture.shape[0] for cell in cells)
    letters = max(8, int(width / font.getlength("n")))
    captions = [textwrap.wrap(cell.caption, letters) for cell in cells]
    rows = [range(start, min(start + columns, len(cells))) for start in range(0, len(cells), columns)]
    heights = [height + LINE_PX * max(len(captions[i]) for i in row) + GAP for row in rows]
    sheet = Image.new("RGB", (GAP + min(columns, len(cells)) * (width + GAP), GAP + sum(heights) + GAP // 2), PAPER)
    pen = ImageDraw.Draw(sheet)
    top = GAP
    for row, row_height in zip(rows, heights, strict=True):
        for place, index in enumerate(row):
            left = GAP + place * (width + GAP)
            sheet.paste(Image.fromarray(cells[index].picture), (left, top))
            for line, text in enumerate(captions[index]):
                pen.text((left, top + height + 2 + line * LINE_PX), text, fill=INK, font=font)
        top += row_height
    return np.asarray(sheet)
