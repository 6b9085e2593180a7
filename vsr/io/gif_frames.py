"""How far the frames of a GIF reach, as their headers say: Pillow would make room for whatever they claim."""

import struct
from pathlib import Path
from typing import BinaryIO

_COLORS = 0x80  # flag: a table of colours follows, of 2 to 256 entries


def reach_of(path: Path) -> tuple[int, int]:
    """(height, width) that all frames need together, as far as the file can be read. Raises OSError.

    Source: GIF89a, sections 18 to 20. Unknown bytes between blocks are passed over, as Pillow does.
    """
    height = width = 0
    with path.open("rb") as file:
        head = file.read(13)
        _skip_colors(file, head[10:11])
        while (mark := file.read(1)) not in (b"", b";"):
            if mark == b"!":
                file.read(1)
                _skip_blocks(file)
            elif mark == b",":
                frame = file.read(9)
                if len(frame) < 9:
                    break
                left, top, across, down = struct.unpack("<4H", frame[:8])
                height, width = max(height, top + down), max(width, left + across)
                _skip_colors(file, frame[8:])
                file.read(1)
                _skip_blocks(file)
    return height, width


def _skip_colors(file: BinaryIO, flags: bytes) -> None:
    if flags and flags[0] & _COLORS:
        file.seek(3 << (flags[0] & 7) + 1, 1)


def _skip_blocks(file: BinaryIO) -> None:
    while (length := file.read(1)) not in (b"", b"\0"):
        file.seek(length[0], 1)
