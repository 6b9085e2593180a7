"""Sound and picture stay together on every path: clips that flash and click at the same moments come out so."""

from fractions import Fraction
from pathlib import Path

import pytest

from tests.clicks import clicks, flashes, make_clicks

_TICK = Fraction(2, 1000)  # seconds: Matroska's for either, and the front of a click


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "ts"])
@pytest.mark.parametrize("start", [Fraction(0), Fraction(1, 5), Fraction(-1, 5)])
def test_the_maker_s_clips_flash_and_click_together(tmp_path: Path, start: Fraction, suffix: str) -> None:
    clip = tmp_path / f"clip.{suffix}"
    moments = make_clicks(clip, picture_start=Fraction(1, 2), sound_start=start)
    seen, heard = flashes(clip), clicks(clip)
    assert len(seen) == len(heard) == len(moments)
    moved = seen[0] - moments[0]  # muxers of transport streams begin later
    for flash, click, moment in zip(seen, heard, moments, strict=True):
        assert abs(flash - moved - moment) <= _TICK
        assert abs(click - flash) <= _TICK
