"""Damaged copies of one picture or clip, to look at or to test with."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vsr.degradation import Degradation
from vsr.errors import ConfigError, MediaError
from vsr.footage import frames_from, is_picture
from vsr.io.images import read_rgb, write_rgb
from vsr.io.lossless import write_lossless
from vsr.io.probe import probe
from vsr.io.sheet import Cell, Picture, contact_sheet
from vsr.train.degrade import LEAST_SIDE, degrade
from vsr.train.draw import sample_generator
from vsr.train.storage import check_codecs

SHEET_PX = 384  # side of what a sheet shows of each copy, in pixels of the truth
FIELD = "drawn.jsonl"  # in a folder of copies: what happened to each


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """What is damaged."""

    path: Path
    frames: Tensor  # (T, 3, H, W) uint8, sides multiples of the scale
    rate: Fraction | None  # frames a second; None for a picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One damaged copy."""

    number: int
    frames: Tensor  # (T, 3, H / scale, W / scale) uint8
    drawn: tuple[str, ...]
    failures: int  # codecs that failed and that a JPEG stands in for


def read_original(path: Path, *, scale: int, frames: int, crop: int | None = None) -> Original:
    """A picture, or the first `frames` frames of a clip: whole, or the middle of it, `crop` pixels each way or less.

    Raises MediaError when it cannot be read or is too small to be damaged.
    """
    if is_picture(path):
        pixels, rate = torch.from_numpy(read_rgb(path).copy()).permute(2, 0, 1)[None], None
    else:
        info = probe(path)
        pixels, rate = frames_from(info, frames), info.video.rate
    height, width = (min(side, crop or side) // scale * scale for side in pixels.shape[2:])
    least = LEAST_SIDE * scale
    if min(height, width) < least:
        raise MediaError(f"{path}: {width}x{height} is smaller than {least}, the least at x{scale}; take a larger part")
    top, left = (pixels.shape[2] - height) // 2, (pixels.shape[3] - width) // 2
    return Original(path=path, frames=pixels[:, :, top : top + height, left : left + width], rate=rate)


def damaged_copies(original: Original, settings: Degradation, *, scale: int, count: int, seed: int) -> Iterator[Copy]:
    """Copies 0, 1, ... each drawn from (seed, number) alone.

    Raises ConfigError before the first one when a codec of the settings cannot be had.
    """
    check_codecs(settings)
    truth = original.frames.float() / 255
    for number in range(count):
        damaged = degrade(truth, settings, scale=scale, generator=sample_generator(seed, number))
        yield Copy(number=number, frames=damaged.low, drawn=damaged.drawn, failures=damaged.failures)


def write_sheet(path: Path, original: Original, copies: Sequence[Copy], *, scale: int) -> None:
    """The original and its copies side by side, every pixel of a copy `scale` x `scale`, captions under them.

    Of a clip the middle frame is shown. Raises MediaError when the sheet cannot be written.
    """
    middle = len(original.frames) // 2
    cells = [Cell(picture=_picture(original.frames[middle]), caption=f"{original.path.name}, the truth")]
    for copy in copies:
        enlarged = copy.frames[middle].repeat_interleave(scale, 1).repeat_interleave(scale, 2)
        cells.append(Cell(picture=_picture(enlarged), caption=f"{copy.number}: {' · '.join(copy.drawn)}"))
    write_rgb(path, contact_sheet(cells, columns=math.ceil(math.sqrt(len(cells)))), quality=80)


def write_copies(folder: Path, original: Original, copies: Iterator[Copy], *, overwrite: bool) -> Iterator[Path]:
    """Write copies as they come, PNG or lossless Matroska, and what happened to each; yields the path of each.

    Raises ConfigError for files that are there already, unless they may be overwritten, MediaError when one cannot be
    written.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as e:
        raise MediaError(f"{folder}: cannot be made: {e.strerror}; choose another folder") from e
    with (folder / FIELD).open("w" if overwrite else "a", encoding="utf-8") as log:
        for copy in copies:
            suffix = ".png" if original.rate is None else ".mkv"
            path = folder / f"{original.path.stem}_{copy.number:03}{suffix}"
            if path.exists() and not overwrite:
                raise ConfigError(f"{path}: exists already; choose another folder or give --overwrite")
            clip = copy.frames.permute(0, 2, 3, 1).contiguous().numpy()
            if original.rate is None:
                write_rgb(path, clip[0])
            else:
                write_lossless(path, clip, original.rate)
            log.write(json.dumps({"file": path.name, "drawn": copy.drawn, "failures": copy.failures}) + "\n")
            yield path


def _picture(frame: Tensor) -> Picture:
    return np.ascontiguousarray(frame.permute(1, 2, 0).numpy())
