"""What training begins with: published weights by name, fetched and verified, or nothing, which is said."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.file_server import serving
from vsr.errors import ModelError
from vsr.models import catalog
from vsr.models.catalog import PUBLISHED, Published
from vsr.models.rrdb import RRDBNet
from vsr.train.prepare import Order, new_generator
from vsr.train.start import Run, plan_run, read_settings

SMALL = (  # as `finetune` is, in a size that takes no time
    "generator.num_feat=4",
    "generator.num_grow=2",
    "data.crop=32",
    "data.margin=8",
    "data.pool=8",
    "data.workers=0",
    "stages.gan.batch=2",
    "stages.gan.losses.perceptual=0",
)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("VSR_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return RRDBNet(num_feat=4, num_block=23, num_grow_ch=2).state_dict()


@pytest.fixture
def published(weights, tmp_path, monkeypatch) -> Published:
    """A small network in the place of the one that `finetune` begins with."""
    torch.save({"params_ema": weights}, tmp_path / "origin.pth")
    sha256 = hashlib.sha256((tmp_path / "origin.pth").read_bytes()).hexdigest()
    row = replace(PUBLISHED["RealESRNet_x4plus"], sha256=sha256)
    monkeypatch.setitem(PUBLISHED, row.name, row)
    return row


@pytest.fixture
def server(published, tmp_path, monkeypatch):
    with serving((tmp_path / "origin.pth").read_bytes(), monkeypatch) as state:
        monkeypatch.setattr(catalog, "_RELEASES", state.url)
        yield state


@pytest.fixture
def plan(tmp_path):
    """Plans a run of `finetune`, and gives what was told besides."""
    (tmp_path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for index in range(3):
        pixels = rng.integers(0, 256, (96, 112, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{index}.png")

    def planned(*overrides: str, is_trial: bool = False, is_offline: bool = False) -> tuple[Run, list[str]]:
        told = []
        order = Order(data=(tmp_path / "pictures",), device="cpu", is_trial=is_trial, is_offline=is_offline)
        settings = read_settings("finetune", [*SMALL, *overrides])
        run = plan_run(settings, order, out=tmp_path / "run", tell=told.append)
        return run, [event.message for event in told if hasattr(event, "message")]

    return planned


def notes(run: Run) -> list[str]:
    """Those on what the run begins with."""
    return [note for note in run.plan.notes if note.startswith("init")]


def require_begun_with(weights: dict[str, torch.Tensor], run: Run) -> None:
    net, note = new_generator(run.plan.training)
    assert note == ""
    assert all(torch.equal(tensor, weights[key]) for key, tensor in net.state_dict().items())


def test_finetune_begins_with_the_published_network_that_is_here(plan, folder, published, weights, tmp_path):
    folder.mkdir()
    (tmp_path / "origin.pth").rename(folder / published.file)
    run, told = plan()
    assert (notes(run), told) == ([], [])
    require_begun_with(weights, run)


def test_finetune_fetches_what_it_begins_with_after_a_line_that_says_so(plan, folder, server, published, weights):
    run, told = plan()
    assert told == [f"{published.name}: is not here yet; fetching from {published.url} into {folder}"]
    assert len(server.asked) == 1
    require_begun_with(weights, run)


def test_offline_nothing_is_asked_of_the_network(plan, folder, server, published):
    for is_trial in (False, True):
        run, _ = plan(is_offline=True, is_trial=is_trial)
        assert "is not here, and the network is not to be asked" in notes(run)[0]
    assert server.asked == []


def test_where_it_cannot_be_had_training_begins_from_scratch_and_both_is_said(plan, folder, server, published):
    server.status = 404
    run, _ = plan()
    for word in ("init: RealESRNet_x4plus: cannot be fetched", published.url, published.sha256, str(folder)):
        assert word in notes(run)[0]
    assert new_generator(run.plan.training)[1] == (
        "init = RealESRNet_x4plus: not at hand; training begins from scratch"
    )


def test_a_dry_run_says_what_a_run_will_fetch_and_asks_nothing_of_the_network(plan, folder, server, published):
    run, told = plan(is_trial=True)
    assert notes(run) == [f"init = {published.name}: is not here; a run fetches it from {published.url}"]
    assert (told, server.asked, folder.exists()) == ([], [], False)


@pytest.mark.parametrize("is_trial", [False, True])
def test_another_file_under_the_name_is_refused(plan, folder, published, is_trial):
    folder.mkdir()
    (folder / published.file).write_bytes(b"another")
    with pytest.raises(ModelError, match="bears the name of RealESRNet_x4plus and is another file"):
        plan(is_trial=is_trial)


def test_a_name_that_is_unknown_is_refused_and_not_begun_without(plan):
    with pytest.raises(ModelError, match="'RealESRNet_x4': no such name or file; did you mean RealESRNet_x4plus"):
        plan("generator.init=RealESRNet_x4")
