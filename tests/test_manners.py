"""Leaving room for others: priority, cores and a card's memory."""

import os
from fractions import Fraction

import pytest
import torch

from tests.media_maker import make_clip
from vsr import settings as settings_module
from vsr.cli import manners, run
from vsr.cli.options import BYTES
from vsr.engine import memory, tune
from vsr.engine.memory import free_memory, limit_memory
from vsr.engine.tune import activation_bytes, choose_tile
from vsr.errors import ConfigError
from vsr.events import NoteEvent
from vsr.models.compact import SRVGGNetCompact
from vsr.models.network import describe
from vsr.plan import plan_clip
from vsr.settings import UpscaleSettings
from vsr.video import upscale_video

CARD = torch.device("cuda:0")
TOTAL = 24 << 30  # bytes of a card that is not there


def settings(nearest, **changes) -> UpscaleSettings:
    return UpscaleSettings(model=str(nearest), scale=Fraction(2), device="cpu", **changes)


def test_a_nice_run_takes_half_of_the_cores(tmp_path, nearest, monkeypatch):
    monkeypatch.setattr(tune, "available_cores", lambda: 8)
    source = make_clip(tmp_path / "in.mkv", frames=2)
    cores = [plan_clip(source, None, settings(nearest, nice=nice)).cores for nice in (False, True)]
    assert [one.workers * one.threads_per_worker for one in cores] == [8, 4]
    assert [one.encoder for one in cores] == [8, 4]
    assert [one.decoder for one in cores] == [4, 4]
    monkeypatch.setattr(tune, "available_cores", lambda: 1)
    assert plan_clip(source, None, settings(nearest, nice=True)).cores.workers == 1


@pytest.mark.skipif(not hasattr(os, "nice"), reason="Windows has classes of priority instead")
@pytest.mark.parametrize("command", ["upscale", "folder"])
def test_nice_lowers_the_priority_before_anything_is_begun(tmp_path, monkeypatch, command):
    said = []
    monkeypatch.setattr(os, "nice", said.append)
    assert run([command, str(tmp_path / "missing"), "--nice", "-q"]) == 1
    assert said == [manners._NICENESS]
    assert run([command, str(tmp_path / "missing"), "-q"]) == 1
    assert len(said) == 1


@pytest.mark.parametrize(("text", "size"), [("6G", 6 * 10**9), ("1500MB", 1_500_000_000), ("2.5g", 2_500_000_000)])
def test_sizes_are_typed_as_people_write_them(text, size):
    assert BYTES.convert(text, None, None) == size


@pytest.fixture
def card(monkeypatch) -> list[float]:
    """The shares of a card that torch is told; it has TOTAL bytes, all free."""
    shares: list[float] = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: type("", (), {"total_memory": TOTAL}))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, _: shares.append(share))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (TOTAL, TOTAL))
    return shares


@pytest.mark.parametrize("limit", [10**9, 6 * 10**9, 20 << 30])
def test_torch_is_told_what_is_left_of_the_limit_beside_cudas_own_share(card, limit):
    limit_memory(CARD, limit)
    assert card[0] * TOTAL + memory._CONTEXT == pytest.approx(limit)
    limit_memory(CARD, None)
    limit_memory(CARD, 2 * TOTAL)
    assert card[1:] == [1, 1], "a limit of an earlier run is gone"


def test_tiles_are_chosen_to_fit_the_limit(card):
    spec = describe(SRVGGNetCompact(), name="net")
    size = {"batch": 1, "height": 8000, "width": 8000}
    free = choose_tile(spec, CARD, torch.float16, **size)
    tile = choose_tile(spec, CARD, torch.float16, vram_limit=4 << 30, **size)
    assert tile is not None
    assert free is None or free > tile
    assert tile**2 * activation_bytes(spec, torch.float16) <= free_memory(CARD, 4 << 30) <= 4 << 30


def test_a_limit_of_the_cards_memory_says_that_there_is_no_card(tmp_path, nearest):
    events = []
    source = make_clip(tmp_path / "in.mkv", frames=2)
    upscale_video(source, None, settings=settings(nearest, vram_limit=2 << 30), on_event=events.append)
    notes = [event.message for event in events if isinstance(event, NoteEvent)]
    assert "vram_limit is for cards: this run computes on the CPU" in notes


def test_a_limit_in_which_nothing_fits_is_refused():
    with pytest.raises(ConfigError, match=r"vram_limit = 0\.5 GB: nothing fits in that; give at least 1 GB"):
        UpscaleSettings(vram_limit=5 * 10**8)
    assert UpscaleSettings(vram_limit=settings_module.LEAST_VRAM)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a card")
def test_a_card_holds_no_more_than_the_limit_and_a_tenth(tmp_path):
    """As the driver counts it, all processes together; CUDA's own share is there before the run."""
    free, source, taken = torch.cuda.mem_get_info()[0], make_clip(tmp_path / "in.mkv", size=(1080, 1920), frames=20), []
    chosen = UpscaleSettings(device="cuda", vram_limit=3 * 10**9, codec="h264", size=(2160, None))
    upscale_video(source, None, settings=chosen, on_event=lambda _: taken.append(free - torch.cuda.mem_get_info()[0]))
    assert max(taken) + memory._CONTEXT <= 1.1 * 3 * 10**9
