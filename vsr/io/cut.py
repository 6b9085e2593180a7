"""Whether a file is shorter than its own structure says, as when a download or a recording was cut short."""

from pathlib import Path
from typing import BinaryIO

_SEGMENT = b"\x18\x53\x80\x67"  # Matroska, RFC 9559 section 5.1.2
_MOST_BOXES = 100_000  # of an mp4 with as many fragments; beyond that its end is not looked for


def is_cut_short(path: Path, container: str) -> bool:
    """Whether bytes are missing at the end of a Matroska, AVI or mp4 file; False where the format cannot tell.

    `container` is libav's name of the demuxer.
    """
    if not path.is_file():
        return False
    size = path.stat().st_size
    with path.open("rb") as file:
        if "matroska" in container:
            promised = _end_of_segment(file)
        elif container == "avi":
            promised = _end_of_chunks(file, size)
        elif "mp4" in container:
            promised = _end_of_boxes(file, size)
        else:
            promised = None
    return promised is not None and promised > size


def _end_of_segment(file: BinaryIO) -> int | None:
    """Where Matroska's segment ends; None for one of unknown size, as live recordings have."""
    head = file.read(4096)
    at = head.find(_SEGMENT)
    if at < 0 or at + 12 > len(head) or not head[at + 4]:
        return None
    first = head[at + 4]
    length = 9 - first.bit_length()  # of the size itself: as many bytes as there are leading zeros, and one
    value = int.from_bytes(head[at + 4 : at + 4 + length], "big") & ((1 << 7 * length) - 1)
    return None if value == (1 << 7 * length) - 1 else at + 4 + length + value


def _end_of_chunks(file: BinaryIO, size: int) -> int:
    """Where the last RIFF chunk ends: files of more than 1 GiB have several."""
    end = 0
    while end + 8 <= size:
        file.seek(end)
        head = file.read(8)
        if head[:4] != b"RIFF":
            break
        end += 8 + int.from_bytes(head[4:], "little")
    return end


def _end_of_boxes(file: BinaryIO, size: int) -> int | None:
    """Where the last box of an mp4 ends (ISO/IEC 14496-12, 4.2); None where that is the end of the file."""
    end = 0
    for _ in range(_MOST_BOXES):
        if end + 8 > size:
            return end
        file.seek(end)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8 or not head[4:8].isalnum():  # to the end of the file, or what others put behind the last box
            return None
        end += length
    return None
