"""The cutting of frames into windows."""

import pytest

from vsr.engine.tiling import halved, spans, windows


@pytest.mark.parametrize("multiple", [1, 2, 4])
@pytest.mark.parametrize("overlap", [0, 3, 8])
def test_kept_parts_cover_every_pixel_once_with_context(overlap, multiple):
    for length in range(multiple, 200, multiple):
        for tile in (20, 24, 33, 64):
            if tile // multiple <= 2 * -(-overlap // multiple):
                continue
            found = spans(length, tile, overlap, multiple)
            assert [s.keep_start for s in found] == [0] + [s.keep_stop for s in found[:-1]]
            assert found[-1].keep_stop == length
            assert len({s.stop - s.start for s in found}) == 1, "windows differ in size"
            assert found[0].stop - found[0].start <= max(tile, multiple)
            for s in found:
                assert 0 <= s.start < s.stop <= length
                assert s.start % multiple == 0
                assert s.keep_start < s.keep_stop
                assert s.start == 0 or s.keep_start - s.start >= overlap
                assert s.stop == length or s.stop - s.keep_stop >= overlap


def test_no_more_windows_than_needed():
    assert len(spans(1000, 520, 20)) == 2
    assert len(spans(1001, 520, 20)) == 3


def test_no_window_is_a_sliver():
    found = spans(1025, 512, 16)
    kept = [s.keep_stop - s.keep_start for s in found]
    assert max(kept) - min(kept) <= 2 * 16 + 2


def test_a_tile_not_over_twice_the_overlap_is_refused():
    with pytest.raises(ValueError, match="twice overlap"):
        spans(100, 16, 8)
    assert spans(100, 17, 8)


def test_windows_go_row_by_row():
    found = list(windows(40, 60, 32, 4))
    assert [(w.rows.start, w.columns.start) for w in found] == sorted((w.rows.start, w.columns.start) for w in found)


def test_halving_ends():
    tile: int | None = None
    seen = []
    while True:
        tile = halved(1080, 1920, tile, 32, 2)
        if tile is None:
            break
        seen.append(tile)
    assert seen == [960, 480, 240, 120, 80]
