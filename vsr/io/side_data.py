"""What frames carry beside their samples, and how their display matrix is to be read."""

import math
import struct
from collections.abc import Iterator, Mapping
from typing import cast

from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame

_MASTERING = struct.Struct("<22i")
_ONE = 1 << 16  # of the fixed-point numbers that turn, in a display matrix


def side_data_of(frame: VideoFrame) -> dict[str, bytes]:
    """What a frame carries beside its samples, by libav's names; nothing where PyAV does not know a type."""
    try:
        entries = cast(Iterator[SideData], iter(frame.side_data))  # values, whatever its stub says
        return {entry.type.name: bytes(entry) for entry in entries}
    except ValueError:  # one of a type newer than PyAV, such as Exif, and PyAV 18 hands out none
        return {}


def display_matrix_of(frame: VideoFrame) -> tuple[int, ...] | None:
    """How a frame is to be turned or mirrored, None when it is to be shown as it is."""
    raw = side_data_of(frame).get("DISPLAYMATRIX")
    return carried_matrix(struct.unpack("<9i", raw)) if raw else None


def mastering_display_of(side_data: Mapping[str, bytes]) -> tuple[int, ...] | None:
    """What display a picture was graded on, as AVMasteringDisplayMetadata has it: ten rationals, two flags.

    None unless primaries, white and both luminances are there: half of it can be written nowhere.
    """
    raw = side_data.get("MASTERING_DISPLAY_METADATA")
    values = _MASTERING.unpack(raw[: _MASTERING.size]) if raw else ()
    return values if values and all(values[20:]) and all(values[1:20:2]) else None


def content_light_of(side_data: Mapping[str, bytes]) -> tuple[int, int] | None:
    """The brightest pixel and the brightest frame's mean in cd/m2, None where both are unknown."""
    raw = side_data.get("CONTENT_LIGHT_LEVEL")
    brightest, mean = struct.unpack("<2I", raw[:8]) if raw else (0, 0)
    return (brightest, mean) if brightest or mean else None


def is_quarter_turn(matrix: tuple[int, ...]) -> bool:
    """Whether a display matrix turns by a multiple of 90 degrees, mirrored or not; then it only moves pixels."""
    a, b, c, d = (matrix[i] for i in (0, 1, 3, 4))
    return {abs(a), abs(b)} == {abs(c), abs(d)} == {0, _ONE} and abs(a) == abs(d)


def carried_matrix(matrix: tuple[int, ...]) -> tuple[int, ...] | None:
    """A display matrix as it can be carried: a turn by any angle, or by quarters and mirrored.

    None for one that says nothing, and for scaling and shearing, which players ignore and Matroska does not hold.
    """
    a, b, c, d = (matrix[i] for i in (0, 1, 3, 4))
    if (a, b, c, d) == (_ONE, 0, 0, _ONE):
        return None
    if is_quarter_turn(matrix):
        return matrix
    is_turn = abs(a - d) <= 2 and abs(b + c) <= 2 and abs(math.hypot(a, b) / _ONE - 1) < 1e-3
    return (a, b, matrix[2], -b, a, *matrix[5:]) if is_turn else None  # Matroska takes no other turn
