"""A long run takes no more at its end than at its beginning."""

import sys

import pytest

from benchmarks.long_run import FRAMES, run

MOST = 20e6  # bytes that may come from the tenth part of a run to its end


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is watched as Linux tells it")
def test_memory_and_open_files_stay_the_same_for_twenty_thousand_frames(tmp_path):
    first, *later = run(tmp_path)
    assert (first.frames, later[-1].frames) == (FRAMES // 10, FRAMES)
    assert max(look.resident for look in later) - first.resident < MOST
    assert max(look.files for look in later) <= first.files
