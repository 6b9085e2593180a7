"""Every encoder through segments, join and check: frames, times, tags, depth, order."""

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from tests.encoder_runs import ASPECT, BASE, FULL, GROUPS, WIDE, Case, card, encoded, joined_into, planned
from tests.encoders_table import rows, table
from tests.media_maker import HD, SD, make_clip, number_of
from vsr.frames import MediaInfo
from vsr.io.encoders import EncoderPlan
from vsr.io.pixel_formats import planar_layout
from vsr.io.pixels import PlaneReader
from vsr.io.probe import probe
from vsr.verify import check_output

ALL = ("mp4", "mov", "mkv", "webm")
MPEG = ("mp4", "mov", "mkv")
DEEP = "yuv420p10le"
CASES = [
    Case(encoder="libx264", containers=MPEG, reorders=True),
    Case(encoder="libx264", containers=MPEG, given=DEEP, color=WIDE, reorders=True),
    Case(encoder="libx264", containers=MPEG, given="yuv444p", color=FULL, reorders=True),
    Case(encoder="libx264", containers=MPEG, color=replace(SD, full_range=True), reorders=True),
    Case(encoder="libx265", containers=MPEG, color=SD, reorders=True),
    Case(encoder="libx265", containers=MPEG, color=FULL, reorders=True),
    Case(encoder="libx265", containers=MPEG, given=DEEP, color=WIDE, reorders=True),
    Case(encoder="libx265", containers=MPEG, given="yuv422p12le", color=WIDE, reorders=True),
    Case(encoder="libsvtav1", containers=("mp4", "mkv", "webm"), size=(64, 64), color=FULL),
    Case(encoder="libsvtav1", containers=("mp4", "mkv", "webm"), size=(64, 64), given=DEEP, color=WIDE),
    Case(encoder="libvpx-vp9", containers=("mp4", "mkv", "webm"), color=SD),
    Case(encoder="libvpx-vp9", containers=("mp4", "mkv", "webm"), color=FULL),
    Case(encoder="libvpx-vp9", containers=("mp4", "mkv", "webm"), given="yuv444p"),
    Case(encoder="prores_ks", containers=("mov", "mkv"), given="yuv422p10le"),
    Case(encoder="prores_ks", containers=("mov", "mkv"), given="yuv444p10le", color=WIDE),
    Case(encoder="ffv1", containers=("mp4", "mkv"), color=FULL),
    Case(encoder="ffv1", containers=("mp4", "mkv"), given="yuv420p16le", color=WIDE),
    Case(encoder="dnxhd", containers=("mov",), given="yuv422p", size=(128, 256), color=FULL, written=HD),
    Case(
        encoder="dnxhd",
        containers=("mov",),
        given="yuv422p10le",
        size=(128, 256),
        color=WIDE,
        written=replace(WIDE, matrix=1),
    ),
    Case(encoder="dnxhd", containers=("mov",), given="yuv444p10le", size=(128, 256)),
    Case(encoder="mpeg2video", containers=MPEG, color=FULL, written=HD, reorders=True),
    Case(encoder="mpeg2video", containers=MPEG, given="yuv422p", reorders=True),
    Case(encoder="mpeg4", containers=MPEG, color=FULL, written=HD, reorders=True),
    Case(encoder="mpeg4", containers=MPEG, color=SD, reorders=True),
    Case(
        encoder="mjpeg",
        containers=MPEG,
        written=replace(HD, matrix=5, full_range=True, siting="center"),
    ),
    Case(encoder="png", containers=("mp4", "mov"), made="gbrp", written=replace(HD, matrix=0, full_range=True)),
    Case(encoder="libvpx", containers=("mkv", "webm"), written=replace(HD, matrix=6)),
    Case(encoder="jpeg2000", containers=MPEG),
    Case(encoder="magicyuv", containers=("mov",)),
    Case(encoder="ffmpeg:libx264", containers=MPEG, reorders=True),
    Case(encoder="ffmpeg:libx265", containers=MPEG, given=DEEP, color=WIDE, reorders=True),
    Case(encoder="ffmpeg:libvpx-vp9", containers=("mp4", "mkv", "webm"), given=DEEP, color=WIDE),
    Case(encoder="ffmpeg:libaom-av1", containers=("mp4", "mkv", "webm"), options=(("cpu-used", "8"),)),
    Case(encoder="ffmpeg:mpeg2video", containers=MPEG, reorders=True),
    Case(encoder="ffmpeg:ffv1", containers=("mp4", "mkv"), given=DEEP, color=WIDE),
    Case(encoder="ffmpeg:prores_ks", containers=("mov", "mkv"), given="yuv422p10le"),
]


@pytest.fixture(scope="module")
def ffmpeg() -> str:
    return pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> MediaInfo:
    """A clip of nothing but a picture."""
    return probe(make_clip(tmp_path_factory.mktemp("source") / "in.mkv", frames=3))


def visible(frame: VideoFrame) -> VideoFrame:
    """The same with luma as its first plane."""
    return frame.reformat(format="yuv444p") if frame.format.is_rgb else frame


def differences(plan: EncoderPlan, frames: Sequence[VideoFrame]) -> Iterator[float]:
    """By frame: how far its first samples are from those given, in 255ths, on the average."""
    for number, frame in enumerate(frames):
        given = card(number, plan.layout, (plan.height, plan.width))[0] / (1 << (plan.layout.depth - 8))
        made = planar_layout(frame.format.name)
        samples = PlaneReader(made, plan.height, plan.width).read(frame)[0] / (1 << (made.depth - 8))
        yield float(np.abs(samples - given).mean())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_frame_comes_back_in_order_at_its_time_with_its_tags(tmp_path, source, ffmpeg, case: Case):
    plan, info = planned(source, case)
    assert plan.layout.name == (case.made or case.given)
    segments = encoded(plan, tmp_path)
    times = [time * BASE for group in GROUPS for time in group]
    written = case.written or case.color
    for container in case.containers:
        output = tmp_path / f"out.{container}"
        assert check_output(output, joined_into(container, plan, info, segments, output)) == [], container
        tick = 0 if container in ("mp4", "mov") else Fraction(1, 2000)
        with av.open(str(output)) as file:
            assert file.streams.video[0].sample_aspect_ratio == ASPECT, container
            frames = cast(Any, list(file.decode(video=0)))
            assert [number_of(picture) for picture in map(visible, frames)] == list(range(14)), container
            assert max(differences(plan, frames)) < 8, container
            assert all(abs(f.pts * f.time_base - t) <= tick for f, t in zip(frames, times, strict=True)), container
            found = planar_layout(frames[0].format.name)
            assert (found.kind, found.log2_chroma) == (plan.layout.kind, plan.layout.log2_chroma), container
            assert found.depth in (plan.layout.depth, 12 if plan.codec == "prores" else None), container
            found = {(f.color_primaries, f.color_trc, 6 if f.colorspace == 5 else f.colorspace) for f in frames}
            matrix = 6 if written.matrix == 5 else written.matrix
            assert found == {(written.primaries, written.transfer, matrix)}, container
            if written.matrix != 0:
                # mov says no range unless the codec does, and that is limited
                ranges = {2} if written.full_range else {1, 0} if container == "mov" else {1}
                assert {f.color_range for f in frames} <= ranges, container
        with av.open(str(output)) as file:
            packets = cast(Any, [p for p in file.demux(video=0) if p.size])
        starts = [group[0] * BASE for group in GROUPS]
        keys = [p.pts * p.time_base for p in packets if p.is_keyframe]
        assert all(any(abs(key - start) <= tick for key in keys) for start in starts), container
        decoded = [p.dts for p in packets if p.dts is not None]  # Matroska keeps none; libav counts them back
        assert decoded == sorted(set(decoded)), "decode times rise"
        assert all(p.dts <= p.pts for p in packets if p.dts is not None)
        assert ([p.pts for p in packets] != sorted(p.pts for p in packets)) == case.reorders, container
        run = subprocess.run(
            [ffmpeg, "-v", "warning", "-i", output, "-map", "0:v", "-f", "framemd5", "-"],
            capture_output=True,
            text=True,
        )
        assert run.stderr == "", container
        assert sum(not line.startswith("#") for line in run.stdout.splitlines()) == 14


def test_the_documented_table_is_what_comes_out(tmp_path):
    documented = (Path(__file__).parent.parent / "docs" / "encoders.md").read_text(encoding="utf-8")
    assert table(rows(tmp_path)) in documented
