"""Tables in the docs say what their JSON says, and benchmarks run."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from av.video.frame import VideoFrame

import benchmarks.cleanliness
import benchmarks.codecs
import benchmarks.degrade
import benchmarks.faults
import benchmarks.folder
import benchmarks.network
import benchmarks.overlap
import benchmarks.quality
import benchmarks.reliability
import benchmarks.stops
import benchmarks.train
import benchmarks.upscale
from benchmarks.held_back import held_back, trained_on
from benchmarks.report import ROOT, load, replace_between
from vsr.models.checkpoint import load_model
from vsr.models.compact import SRVGGNetCompact
from vsr.models.store import find

TABLES = {  # name of figures and markers -> (page, what writes the table)
    "upscale-cpu": ("performance.md", benchmarks.upscale.report),
    "network-cpu": ("performance.md", benchmarks.network.report),
    "overlap": ("performance.md", benchmarks.overlap.report),
    "degrade-cpu": ("degradation.md", benchmarks.degrade.report),
    "codecs-cpu": ("degradation.md", benchmarks.codecs.report),
    "train-cpu": ("training.md", benchmarks.train.report),
    "folder-cpu": ("folder.md", benchmarks.folder.report),
    "quality": ("quality.md", benchmarks.quality.report),
    "cleanliness": ("quality.md", benchmarks.cleanliness.cleanliness_table),
    "stops": ("reliability.md", benchmarks.stops.report),
    "classic": ("training.md", benchmarks.quality.report),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_page_says_what_was_measured(name):
    page, report = TABLES[name]
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert replace_between(text, name, report(load(name))) == text


def test_the_page_on_reliability_says_what_was_injected():
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert replace_between(text, "reliability", benchmarks.reliability.report()) == text


def test_every_fault_of_the_table_is_a_test():
    text = "".join((ROOT / "tests" / name).read_text(encoding="utf-8") for name in benchmarks.faults.FILES)
    for test in (test for tests in benchmarks.faults.FAULTS.values() for test in tests):
        assert f"def {test}(" in text
    passed = {"one": ["passed", "passed"]}
    assert benchmarks.faults.row_of("harm", ("one",), passed)["times"] == 2
    assert benchmarks.faults.row_of("harm", ("one", "two"), passed)["lost"] == "1 not run"


def test_the_drawn_clip_repeats_no_frame(tmp_path):
    import av

    path = tmp_path / "clip.mp4"
    benchmarks.upscale.draw_clip(path, height=48, width=64, frames=6)
    with av.open(str(path)) as file:
        frames = [f.to_ndarray(format="gray") for f in file.decode(video=0) if isinstance(f, VideoFrame)]
    assert len(frames) == 6
    assert all(np.abs(a.astype(int) - b).mean() > 1 for a, b in pairwise(frames))


def test_operations_are_counted_over_all_convolutions():
    net = SRVGGNetCompact(num_feat=8, num_conv=2, scale=4)
    assert benchmarks.upscale.flop_per_pixel(net) == 2 * 9 * (3 * 8 + 2 * 8 * 8 + 8 * 48)


def test_the_plain_way_computes_the_same_network():
    net, _ = load_model(find("vsr-fast-x4"))
    low = torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(benchmarks.upscale.published_forward(net, low), net(low), atol=1e-5)


def test_24_crops_are_held_back_and_no_picture_twice():
    found = held_back()
    assert sum(one.crop is not None for one in found) == 24
    assert len({one.name for one in found}) == len(found)


def test_what_is_held_back_is_not_trained_on(media):
    pictures = {path.relative_to(media / "train").as_posix() for path in trained_on(media / "train")}
    assert pictures
    assert pictures.isdisjoint(one.name for one in held_back())
