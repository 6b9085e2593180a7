"""Pixel formats by encoders: what is chosen for each source, and what its decoded frames then hold."""

from dataclasses import replace

import numpy as np
import pytest

from tests.color_maker import frames_of
from tests.media_maker import make_clip
from vsr.frames import ColorSpec, VideoInfo
from vsr.io.encoders import plan_encoder
from vsr.io.pixel_formats import planar_layout
from vsr.io.pixels import PlaneReader
from vsr.io.probe import probe
from vsr.io.sink import open_encoder
from vsr.settings import UpscaleSettings
from vsr.stage import Cancel

SIZE = HEIGHT, WIDTH = 64, 64
PRESETS = {"h264": "ultrafast", "hevc": "ultrafast", "av1": "12", "vp9": "8"}
CONTAINERS = {"prores": "mov", "vp9": "webm", "av1": "webm"}
# "-" is the source's own format. Less chroma or depth only where the encoder has no more.
TABLE = """
source        h264          hevc        av1           vp9       prores        ffv1
yuv410p       yuv420p       yuv420p     yuv420p       yuv420p   yuv422p10le   -
yuv411p       yuv422p       yuv422p     yuv420p       yuv422p   yuv422p10le   -
yuv420p       -             -           -             -         yuv422p10le   -
yuv422p       -             -           yuv420p       -         yuv422p10le   -
yuv440p       yuv444p       yuv444p     yuv420p       -         yuv444p10le   -
yuv444p       -             -           yuv420p       -         yuv444p10le   -
yuv420p10le   -             -           -             yuv420p   yuv422p10le   -
yuv422p10le   -             -           yuv420p10le   yuv422p   -             -
yuv444p10le   -             -           yuv420p10le   yuv444p   -             -
yuv420p12le   yuv420p10le   -           yuv420p10le   yuv420p   yuv422p10le   -
yuv422p12le   yuv422p10le   -           yuv420p10le   yuv422p   yuv422p10le   -
yuv444p12le   yuv444p10le   -           yuv420p10le   yuv444p   yuv444p10le   -
gray          yuv420p       -           yuv420p       yuv420p   yuv422p10le   -
gray10le      yuv420p10le   -           yuv420p10le   yuv420p   yuv422p10le   -
gray12le      yuv420p10le   -           yuv420p10le   yuv420p   yuv422p10le   -
gbrp          yuv444p       -           yuv420p       -         yuv444p10le   bgr0
gbrp10le      yuv444p10le   -           yuv420p10le   gbrp      yuv444p10le   -
gbrp12le      yuv444p10le   -           yuv420p10le   gbrp      yuv444p10le   -
"""
HEAD, *ROWS = (line.split() for line in TABLE.strip().splitlines())
CASES = [
    (codec, source, source if written == "-" else written)
    for source, *row in ROWS
    for codec, written in zip(HEAD[1:], row, strict=True)
]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    return probe(make_clip(tmp_path_factory.mktemp("clip") / "clip.mkv", size=SIZE, frames=2)).video


def ramp(pix_fmt: str) -> list[np.ndarray]:
    """Planes of a gray ramp from left to right; what it shows is 0.1 to 0.9."""
    layout = planar_layout(pix_fmt)
    step, planes = 1 << (layout.depth - 8), []
    for index, (height, width) in enumerate(layout.plane_sizes(*SIZE)):
        line = np.linspace(0.1, 0.9, width)
        if layout.kind == "rgb":
            line = line * (2**layout.depth - 1)
        else:
            line = np.full(width, 128 * step) if index else (16 + 219 * line) * step
        planes.append(np.tile(line.round(), (height, 1)).astype(layout.dtype))
    return planes


@pytest.mark.parametrize(("codec", "source", "written"), CASES)
def test_depth_and_chroma_are_kept_where_the_encoder_has_them(tmp_path, video, codec, source, written):
    layout = planar_layout(source)
    color = ColorSpec(matrix=0, primaries=1, transfer=13, full_range=True) if layout.kind == "rgb" else video.color
    plan, notes = plan_encoder(
        UpscaleSettings(encoder_preset=PRESETS.get(codec)),
        replace(video, pix_fmt=source, layout=layout, color=color),
        codec=codec,
        container=CONTAINERS.get(codec, "mkv"),
        size=SIZE,
        sample_aspect_ratio=None,
        threads=1,
    )
    assert plan.pix_fmt == written
    target = planar_layout(written)
    is_coarser = any(have > had for have, had in zip(target.log2_chroma, layout.log2_chroma, strict=True))
    is_less = target.depth < layout.depth or target.kind != layout.kind or is_coarser
    assert any(note.startswith(f"{plan.name} has no {source}: the output is {written}") for note in notes) == is_less
    encoder = open_encoder(plan, tmp_path / "out.mkv", Cancel())
    encoder.write(ramp(target.name))
    encoder.close()
    (frame,) = frames_of(tmp_path / "out.mkv")
    # libav decodes ProRes 4444 in 12 bits
    decoded = "yuv444p12le" if (codec, written) == ("prores", "yuv444p10le") else written
    assert frame.format.name == decoded
    found = PlaneReader(planar_layout(decoded), *SIZE).read(frame)[0]
    wanted = ramp(planar_layout(decoded).name)[0]
    worst = np.abs(found.astype(float) - wanted)[8:-8, 8:-8].max() / 2 ** planar_layout(decoded).depth
    assert worst <= 8 / 256, "lossy coding of a ramp; a wrong range would be 16 off, a wrong depth far more"
