"""Hostile files: none crashes the interpreter, hangs, takes much memory, writes elsewhere or ends in a traceback."""

import os
import random
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz import campaign, child
from tests.fuzz.campaign import Result, attack
from tests.fuzz.corpus import make_corpus
from tests.fuzz.mutations import changed
from tests.fuzz.targets import TARGETS
from vsr.errors import ModelError
from vsr.models.checkpoint import load_model

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is watched as Linux tells it")
SHORT = {"media": 8, "images": 40, "checkpoints": 60, "presets": 60, "journals": 8, "manifests": 15}
LONG = {"media": 4000, "images": 4000, "checkpoints": 4000, "presets": 1000, "journals": 1000, "manifests": 1000}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("fuzz") / "corpus")


def require_clean(result: Result) -> None:
    told = "\n".join(f"{one.number}: {one.how}: {one.what}" for one in result.findings)
    assert not result.findings, f"{result.kind}, seed {result.seed}\n{told}"


@pytest.mark.parametrize("kind", SHORT)
def test_a_few_hostile_files_are_taken_or_refused_in_one_line(corpus, tmp_path, kind):
    """Here, in this process, which is not watched but for hanging by whoever waits for the tests."""
    for number in range(SHORT[kind]):
        folder = tmp_path / str(number)
        folder.mkdir()
        how, what = child.tried(kind, corpus, folder, random.Random(f"{kind} 0 {number}"))
        assert how in ("taken", "refused"), f"{number}: {what}"


def test_a_pickle_that_calls_os_system_is_refused_and_nothing_runs(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("f.pth", "g.pth"):
        assert b"system" in (corpus / "checkpoints" / name).read_bytes()
        with pytest.raises(ModelError, match="holds more than tensors and was not opened"):
            load_model(corpus / "checkpoints" / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", LONG)
def test_many_hostile_files_are_taken_or_refused_in_one_line(corpus, tmp_path, kind):
    result = attack(kind, corpus, tmp_path / "work", seed=1, count=LONG[kind])
    assert result.count == LONG[kind]
    require_clean(result)


def test_a_file_depends_on_its_seed_alone():
    one, other = (changed(bytes(range(200)) * 9, random.Random("media 1 7")) for _ in range(2))
    assert one == other != bytes(range(200)) * 9


HOSTILE = """
import ctypes, os, time
from tests.fuzz import child, targets
from vsr.errors import MediaError

def target(corpus, work, draw):
    counter = work.parent / "counter"
    number = int(counter.read_text()) if counter.exists() else 0
    counter.write_text(str(number + 1))
    match number:
        case 1: ctypes.string_at(0)
        case 2: time.sleep(60)
        case 3: bytearray(child.MEMORY + (64 << 20))
        case 4: os.system("true")
        case 5: raise KeyError("a bug")
        case 6: raise MediaError("two\\nlines")
        case 7: raise MediaError("one line; what to do")

targets.TARGETS["hostile"] = target
"""


@pytest.mark.slow
def test_the_watch_sees_what_it_is_for(tmp_path, monkeypatch):
    """Each kind of harm, done on purpose in a watched process; those that end it are followed by the next file."""
    (tmp_path / "sitecustomize.py").write_text(HOSTILE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(campaign.ROOT)]))
    monkeypatch.setattr(campaign, "_PATIENCE", 3)
    began = time.monotonic()
    result = attack("hostile", tmp_path, tmp_path / "work", seed=1, count=8)
    found = [(one.number, one.how) for one in result.findings]
    assert found == [(1, "crash"), (2, "hang"), (3, "memory"), (4, "outside"), (5, "traceback"), (6, "traceback")]
    assert result.outcomes["taken"] == 1
    assert result.outcomes["refused"] == 1
    assert time.monotonic() - began < 120
    assert "Segmentation fault" in result.findings[0].what
    assert set(TARGETS) == set(SHORT) == set(LONG)
