"""Pictures held against the source's from afar: what is right is passed over, what is wrong is named."""

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from tests.color_maker import BAR, BARS, codes_of, upscale, write
from tests.media_maker import HD, SD, make_clip
from vsr.engine.color import from_rgb
from vsr.engine.prefetch import DeviceQueue
from vsr.errors import MediaError
from vsr.frames import ColorSpec, FrameBatch, Plane
from vsr.io.pixel_formats import planar_layout
from vsr.look import Jury, Looks, LookTaker, Verdict, look_size, looks_of, read_looks, shrunk

LAYOUT = planar_layout("yuv420p")
SIZE = (48, 64)


def _planes(
    numbers: Iterable[int], *, scale: int = 1, color: ColorSpec = SD, tint: float = 0, fade: float = 0
) -> tuple[Plane, ...]:
    """Coloured pictures whose bright patch moves with the number, `scale` times as large, (n, h, w) each.

    All are `tint` codes brighter, and each `fade` codes more than the one before.
    """
    rgb = torch.empty(len(list(numbers)), 3, *SIZE)
    rgb[:, 0], rgb[:, 1], rgb[:, 2] = 0.7, 0.3, 0.2
    for place, number in enumerate(numbers):
        at = 0 if fade else 6 * number
        rgb[place, :, 8:40, at : at + 16] = torch.tensor([0.1, 0.8, 0.3])[:, None, None]
        rgb[place] += (tint + fade * number) / 255
    large = torch.nn.functional.interpolate(rgb, scale_factor=scale, mode="nearest")
    return tuple(plane.numpy() for plane in from_rgb(large, LAYOUT, color))


def _looks(numbers: Iterable[int], **more) -> Looks:
    return looks_of(shrunk(_planes(numbers, **more), LAYOUT, look_size(*SIZE)), LAYOUT, SD)


def _judged(
    numbers: Iterable[int], *, tagged: ColorSpec = SD, due: Looks | None = None, **more
) -> tuple[Verdict, Jury]:
    """What is said of an output twice as large that shows these frames where 1, 2, 3 are due, or others."""
    jury = Jury(LAYOUT, tagged)
    output = shrunk(_planes(numbers, scale=2, **more), LAYOUT, look_size(*SIZE))
    return jury.judge(_looks(range(1, 4)) if due is None else due, output), jury


def _findings(numbers: Iterable[int], **more) -> tuple[tuple[int, str], ...]:
    return _judged(numbers, **more)[0].findings


def test_the_right_pictures_are_passed_over():
    for color in (SD, HD):  # the same colours in another matrix, as tagged
        verdict, jury = _judged(range(1, 4), color=color, tagged=color)
        assert verdict.findings == ()
        assert verdict.difference < 4, "chroma has half the size, and the patch hard edges"
        assert jury.wrong_reading() is None


@pytest.mark.parametrize(("numbers", "first", "where"), [(range(2, 5), 0, "after"), (range(3), 0, "before")])
def test_a_shift_by_one_frame_is_found(numbers, first, where):
    assert _findings(numbers) == ((first, f"and those that follow show the frame {where} the one that is due"),)


def test_one_frame_that_is_shown_twice_is_found():
    due = _looks(range(8))
    assert _findings([0, 1, 2, 3, 3, 5, 6, 7], due=due) == ((4, "shows the frame before the one that is due"),)
    assert _findings([0, 1, 2, 4, 4, 5, 6, 7], due=due) == ((3, "shows the frame after the one that is due"),)


@pytest.mark.parametrize("tint", [1.0, -1.0])
def test_a_tint_in_a_slow_fade_is_no_shift(tint):
    """A network that brightens by as much as the clip does from frame to frame."""
    due = _looks(range(6), fade=1.0)
    assert _findings(range(6), due=due, fade=1.0, tint=tint) == ()


def test_a_wrong_matrix_is_found():
    assert _judged(range(1, 4), color=HD, tagged=SD)[1].wrong_reading() == "BT.709 in limited range"


def test_a_wrong_range_is_found():
    full = replace(SD, full_range=True)
    assert _judged(range(1, 4), color=full, tagged=SD)[1].wrong_reading() == "BT.601 in full range"


def test_another_network_s_colours_are_no_wrong_matrix():
    verdict, jury = _judged(range(1, 4), tint=12.0)
    assert verdict.difference > 10
    assert verdict.findings == ()
    assert jury.wrong_reading() is None


def test_another_picture_is_found():
    black = [np.zeros_like(plane) for plane in shrunk(_planes(range(1, 4)), LAYOUT, look_size(*SIZE))]
    ((frame, what),) = Jury(LAYOUT, SD).judge(_looks(range(1, 4)), black).findings
    assert frame == 0
    assert what.startswith("shows another picture, ")


def test_looks_of_each_segments_first_frames_are_taken_on_the_way():
    def batch(segment: int, first: int, count: int) -> FrameBatch:
        pts = tuple(range(first, first + count))
        return FrameBatch(planes=_planes(pts), pts=pts, time_base=Fraction(1, 25), segment=segment, last_crc=0)

    taker = LookTaker(LAYOUT, SD, None)
    batches = [batch(0, 0, 2), batch(0, 2, 2), batch(1, 4, 1)]
    assert list(taker.watch(batches)) == batches
    first, second = taker.hand_over(0), taker.hand_over(1)
    assert (len(first), len(second)) == (3, 1)
    assert np.abs(read_looks(first, look_size(*SIZE)) - _looks(range(3))).max() <= 0.5, "bytes are rounded"


def test_small_pictures_have_small_looks():
    planes = tuple(plane[:, :3, :2] if n == 0 else plane[:, :2, :1] for n, plane in enumerate(_planes([1])))
    assert looks_of(shrunk(planes, LAYOUT, look_size(3, 2)), LAYOUT, SD).shape == (1, 3, 3, 2)


def test_a_run_that_writes_colours_by_another_matrix_gets_no_name(tmp_path, nearest, monkeypatch):
    codes = codes_of(BARS, 6, full=False, depth=8).astype(np.uint8)
    planes = [np.tile(np.repeat(row, BAR), (64, 1)) for row in codes]
    source = write(tmp_path / "in.mkv", planes, "yuv444p", tags=(6, 6, 6, 1))
    monkeypatch.setattr("vsr.engine.render.from_rgb", lambda rgb, layout, color: from_rgb(rgb, layout, HD))
    with pytest.raises(MediaError, match=r"has the colours of BT\.709 in limited range, which it is not tagged with"):
        upscale(source, tmp_path / "out.mkv", nearest)
    assert not (tmp_path / "out.mkv").exists()


def test_a_run_that_shifts_frames_gets_no_name(tmp_path, nearest, monkeypatch):
    """Every frame shows the one before it, as when a decoder's first frame came twice."""
    source = make_clip(tmp_path / "in.mkv", frames=24)
    real = DeviceQueue.render

    def late(self, loaded):
        before = None
        for item in real(self, loaded):
            yield replace(item, planes=item.planes if before is None else before)
            before = item.planes

    monkeypatch.setattr(DeviceQueue, "render", late)
    with pytest.raises(MediaError, match=r"frame 10 at 0\.400 s and those that follow show the frame before"):
        upscale(source, tmp_path / "out.mkv", nearest, segment=Fraction(2, 5))
    assert not (tmp_path / "out.mkv").exists()
