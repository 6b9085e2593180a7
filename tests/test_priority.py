"""An encoder must not take the machine for itself."""

import os
from fractions import Fraction
from pathlib import Path

import av
import pytest

from vsr.frames import ColorSpec
from vsr.io.encoders import EncoderPlan
from vsr.io.pixel_formats import planar_layout
from vsr.io.priority import ordinary_priority
from vsr.io.sink import open_encoder
from vsr.stage import Cancel

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="only Linux tells how urgent threads are")


@pytest.fixture(autouse=True)
def ordinary():
    """Other tests make media with SVT-AV1 directly, and root's process is a real-time one from then on."""
    for entry in Path("/proc/self/task").iterdir():
        os.sched_setscheduler(int(entry.name), os.SCHED_OTHER, os.sched_param(0))


def policies() -> set[int]:
    return {os.sched_getscheduler(int(entry.name)) for entry in Path("/proc/self/task").iterdir()}


def test_svt_av1_and_its_threads_are_as_urgent_as_others():
    encoder = av.CodecContext.create("libsvtav1", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 64, 64, "yuv420p"
    encoder.framerate, encoder.time_base = Fraction(25), Fraction(1, 25)
    encoder.options = {"preset": "12", "svtav1-params": "lp=1"}
    threads = len(list(Path("/proc/self/task").iterdir()))
    with ordinary_priority():
        encoder.open()
    assert len(list(Path("/proc/self/task").iterdir())) > threads
    assert policies() == {os.SCHED_OTHER}
    encoder.encode(None)


def test_what_was_urgent_before_stays_so(monkeypatch):
    made = {1: os.SCHED_FIFO, 2: os.SCHED_OTHER}
    moved = []
    monkeypatch.setattr("vsr.io.priority._policies", lambda: dict(made))
    monkeypatch.setattr(os, "sched_setscheduler", lambda thread, policy, _: moved.append((thread, policy)))
    with ordinary_priority():
        made.update({2: os.SCHED_FIFO, 3: os.SCHED_FIFO})
    assert moved == [(2, os.SCHED_OTHER), (3, os.SCHED_OTHER)]


def test_a_segment_by_svt_av1_leaves_the_process_ordinary(tmp_path):
    plan = EncoderPlan(
        name="libsvtav1",
        codec="av1",
        width=64,
        height=64,
        pix_fmt="yuv420p",
        layout=planar_layout("yuv420p"),
        options={"preset": "12", "svtav1-params": "lp=1"},
        rate=Fraction(25),
        sample_aspect_ratio=None,
        threads=1,
        color=ColorSpec(matrix=1, primaries=1, transfer=1, full_range=False, siting="left"),
    )
    encoder = open_encoder(plan, tmp_path / "000000.mkv", Cancel())
    assert policies() == {os.SCHED_OTHER}
    encoder.discard()
