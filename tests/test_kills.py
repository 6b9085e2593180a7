"""Runs that are killed at random moments and started again give what an undisturbed run gives."""

import os
import random

import pytest

from tests.kills import KINDS, LENGTH, Killer, Phase

pytestmark = pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a signal of Unix")
_BY_NAME = {kind.name: kind for kind in KINDS}
_FRAMES_OF_A_SEGMENT = int(10 * LENGTH)
_AHEAD = 12  # frames that may be encoded before they are told


def _kill(name: str, phases: list[Phase], folder, model, seed: int) -> None:
    draw = random.Random(seed)
    killer = Killer(_BY_NAME[name], folder, model=str(model))
    for phase in phases:
        kill = killer.kill(phase, draw)
        assert kill.is_equal, kill
        fields = 2 if name == "deinterlaced" else 1
        most = fields * _FRAMES_OF_A_SEGMENT + _AHEAD if phase == "frames" else 0
        assert kill.made_twice <= most, kill


def test_killed_runs_go_on_to_the_same_result(tmp_path, nearest):
    """Five kills."""
    _kill("open GOP", ["frames", "check"], tmp_path, nearest, seed=7)
    _kill("deinterlaced", ["frames", "frames", "join"], tmp_path, nearest, seed=8)


@pytest.mark.slow
@pytest.mark.parametrize("name", _BY_NAME)
def test_killed_runs_of_every_kind_of_source_go_on_to_the_same_result(tmp_path, nearest, name):
    """Thirty kills."""
    _kill(name, ["frames", "frames", "frames", "join", "check"], tmp_path, nearest, seed=len(name))
