"""Pictures held against the source's from afar: what is right is passed over, what is wrong is named."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from tests.media_maker import HD, SD
from vsr.engine.color import from_rgb
from vsr.frames import ColorSpec, FrameBatch, Plane
from vsr.io.pixel_formats import planar_layout
from vsr.look import Look, LookTaker, judged, look_of, look_size, read_look, shrunk

LAYOUT = planar_layout("yuv420p")
SIZE = (48, 64)


def _planes(number: int, *, scale: int = 1, color: ColorSpec = SD) -> tuple[Plane, ...]:
    """A coloured picture whose bright patch moves with `number`, `scale` times as large."""
    rgb = torch.empty(1, 3, *SIZE)
    rgb[:, 0], rgb[:, 1], rgb[:, 2] = 0.7, 0.3, 0.2
    rgb[:, :, 8:40, 6 * number : 6 * number + 16] = torch.tensor([0.1, 0.8, 0.3])[:, None, None]
    large = torch.nn.functional.interpolate(rgb, scale_factor=scale, mode="nearest")
    return tuple(plane[0].numpy() for plane in from_rgb(large, LAYOUT, color))


def _looks(numbers: range) -> list[Look]:
    return [look_of(shrunk(_planes(n), LAYOUT, look_size(*SIZE)), LAYOUT, SD) for n in numbers]


def _findings(numbers: range, *, coded: ColorSpec = SD, tagged: ColorSpec = SD) -> list[str]:
    """What is said of an output twice as large that shows these frames where 1, 2, 3 are due."""
    output = [shrunk(_planes(n, scale=2, color=coded), LAYOUT, look_size(*SIZE)) for n in numbers]
    return list(judged(_looks(range(1, 4)), output, LAYOUT, tagged))


def test_the_right_pictures_are_passed_over():
    assert _findings(range(1, 4)) == []
    assert _findings(range(1, 4), coded=HD, tagged=HD) == [], "the same colours in another matrix, as tagged"


@pytest.mark.parametrize(("numbers", "where"), [(range(2, 5), "after"), (range(3), "before")])
def test_a_shift_by_one_frame_is_found(numbers, where):
    assert _findings(numbers) == [f"shows the frame {where} the one that is due"]


def test_a_wrong_matrix_is_found():
    assert _findings(range(1, 4), coded=HD, tagged=SD) == [
        "has the colours of BT.709 in limited range, which it is not tagged with"
    ]


def test_a_wrong_range_is_found():
    full = replace(SD, full_range=True)
    assert _findings(range(1, 4), coded=full, tagged=SD) == [
        "has the colours of BT.601 in full range, which it is not tagged with"
    ]


def test_another_picture_is_found():
    black = [tuple(np.zeros_like(p) for p in shrunk(_planes(1), LAYOUT, look_size(*SIZE)))] * 3
    found = list(judged(_looks(range(1, 4)), black, LAYOUT, SD))
    assert len(found) == 1
    assert "of 255 on average" in found[0]


def test_looks_of_each_segments_first_frames_are_taken_on_the_way():
    def batch(segment: int, first: int, count: int) -> FrameBatch:
        frames = [_planes(n) for n in range(first, first + count)]
        planes = tuple(np.stack(some) for some in zip(*frames, strict=True))
        pts = tuple(range(first, first + count))
        return FrameBatch(planes=planes, pts=pts, time_base=Fraction(1, 25), segment=segment, last_crc=0)

    taker = LookTaker(LAYOUT, SD, None)
    batches = [batch(0, 0, 2), batch(0, 2, 2), batch(1, 4, 1)]
    assert list(taker.watch(batches)) == batches
    first, second = taker.hand_over(0), taker.hand_over(1)
    assert (len(first), len(second)) == (3, 1)
    wanted = _looks(range(3))
    for data, look in zip(first, wanted, strict=True):
        assert np.abs(read_look(data, look_size(*SIZE)) - look).max() <= 0.5, "bytes are rounded"


def test_small_pictures_have_small_looks():
    planes = tuple(plane[:3, :2] if n == 0 else plane[:2, :1] for n, plane in enumerate(_planes(1)))
    assert look_of(shrunk(planes, LAYOUT, look_size(3, 2)), LAYOUT, SD).shape == (3, 3, 2)
