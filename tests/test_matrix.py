"""`--matrix bt709`: YUV is encoded anew, and what it shows stays the same."""

import numpy as np
import pytest

from tests.color_maker import BAR, BARS, KR_KB, codes_of, first_planes, upscale, write


def rgb_of(planes: list[np.ndarray], matrix: int, *, full: bool, depth: int) -> np.ndarray:
    """R, G, B (bars, 3) in the middle of each bar, by the formulas of ITU-T H.273."""
    kr, kb = KR_KB[matrix]
    row = planes[0].shape[0] // 2
    y, cb, cr = (
        plane[row * plane.shape[0] // planes[0].shape[0], plane.shape[1] // 16 :: plane.shape[1] // 8].astype(float)
        for plane in planes
    )
    step, top = 2.0 ** (depth - 8), 2.0**depth - 1
    half = 2.0 ** (depth - 1)
    y, cb, cr = (
        (y / top, (cb - half) / top, (cr - half) / top)
        if full
        else ((y / step - 16) / 219, (cb / step - 128) / 224, (cr / step - 128) / 224)
    )
    r, b = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    return np.stack([r, (y - kr * r - kb * b) / (1 - kr - kb), b], -1)


def clip(folder, matrix: int, *, full: bool = False, depth: int = 8, tags: tuple[int, int, int, int] | None):
    codes = codes_of(BARS, matrix, full, depth).astype(np.uint8 if depth == 8 else np.uint16)
    planes = [np.repeat(codes[0], BAR)[None].repeat(32, 0)]
    planes += [np.repeat(c, BAR // 2)[None].repeat(16, 0) for c in codes[1:]]
    return write(folder / "in.mkv", planes, "yuv420p" if depth == 8 else "yuv420p10le", tags=tags)


@pytest.mark.parametrize(
    ("matrix", "tags", "full", "depth"),
    [
        (6, (6, 6, 6, 1), False, 8),  # NTSC
        (6, (5, 5, 6, 1), False, 8),  # PAL, the same matrix under its other number
        (6, (6, 6, 6, 2), True, 8),
        (6, None, False, 8),  # guessed
        (9, (9, 9, 14, 1), False, 10),  # wide, not HDR
        (1, (1, 1, 1, 1), False, 8),
    ],
)
def test_rgb_stays_the_same(tmp_path, nearest, matrix, tags, full, depth):
    source = clip(tmp_path, matrix, full=full, depth=depth, tags=tags)
    notes = upscale(source, tmp_path / "out.mkv", nearest, matrix="bt709")
    planes, frame = first_planes(tmp_path / "out.mkv")
    assert frame.colorspace == 1
    given = tags or (6, 6, 6, 1)
    assert (frame.color_primaries, frame.color_trc, frame.color_range) == given[1:], "they say what RGB means"
    shown = rgb_of(planes, 1, full=full, depth=depth)
    # each of two roundings of Y, Cb, Cr moves RGB by half a code of luma and up to one of chroma
    assert np.abs(shown - BARS).max() * 255 <= 3 / 2 ** (depth - 8)
    assert np.abs(rgb_of(planes, 6, full=full, depth=depth) - BARS).max() > 0.02, "another matrix would show"
    if tags is None:
        assert any(
            note.endswith("taken as BT.601 limited range, and the output says BT.709 limited range") for note in notes
        )


def test_an_rgb_output_has_no_matrix(tmp_path, nearest):
    source = write(
        tmp_path / "in.mkv", [np.full((24, 40 * 4), 90, np.uint8)], "bgr0", tags=(0, 1, 13, 2), size=(24, 40)
    )
    assert "the output is RGB: --matrix changes nothing" in upscale(
        source, tmp_path / "out.mkv", nearest, matrix="bt709"
    )
    _, frame = first_planes(tmp_path / "out.mkv")
    assert frame.colorspace == 0
