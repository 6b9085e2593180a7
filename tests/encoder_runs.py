"""Encoders run as the sink runs them: the plan for a case, its segments, and what they become in a container."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np

from tests.media_maker import HD, SD, numbered_planes
from vsr.frames import ColorSpec, MediaInfo, PixelLayout, Plane, SegmentFile
from vsr.io.assembly import Assembled
from vsr.io.container import plan_streams
from vsr.io.encoders import EncoderPlan, choose_codec, plan_encoder
from vsr.io.join import join
from vsr.io.pixel_formats import planar_layout
from vsr.io.sink import open_encoder
from vsr.settings import UpscaleSettings
from vsr.stage import Cancel

BASE = Fraction(1, 90_000)
GROUPS = [[1000 + 3600 * k + 911 * (k % 3) for k in range(a, b)] for a, b in ((0, 6), (6, 11), (11, 14))]  # uneven
ASPECT = Fraction(16, 11)
WIDE = ColorSpec(matrix=9, primaries=9, transfer=16, full_range=False, siting="topleft")  # HDR10's

FULL = replace(HD, full_range=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An encoder, what it is given, and what must come out."""

    encoder: str
    containers: Sequence[str] = ()
    given: str = "yuv420p"
    made: str | None = None  # layout; None is as given
    color: ColorSpec = HD
    size: tuple[int, int] = (48, 64)
    reorders: bool = False
    options: tuple[tuple[str, str], ...] = ()
    written: ColorSpec | None = None  # None is `color`

    def __str__(self) -> str:
        color = {HD: "hd", SD: "sd", WIDE: "hdr"}.get(self.color, "full")
        return f"{self.encoder}-{self.given}-{color}"


def planned(info: MediaInfo, case: Case, **settings) -> tuple[EncoderPlan, MediaInfo]:
    """The plan for frames of a case, and the source as if it were one of them."""
    layout = planar_layout(case.given)
    video = replace(
        info.video,
        pix_fmt=case.given,
        layout=layout,
        color=case.color,
        time_base=BASE,
        first_pts=GROUPS[0][0],
        height=case.size[0],
        width=case.size[1],
    )
    chosen = UpscaleSettings(encoder=case.encoder, encoder_options=dict(case.options), **settings)
    codec = choose_codec(chosen, video, container=None, width=case.size[1])
    plan, _ = plan_encoder(
        chosen, video, codec=codec, container="mkv", size=case.size, sample_aspect_ratio=ASPECT, threads=1
    )
    return plan, replace(info, video=video, duration=None)


def card(number: int, layout: PixelLayout, size: tuple[int, int]) -> list[Plane]:
    """Planes of a picture that shows its number; in RGB, the same in all three."""
    luma = numbered_planes(number, "gray" if layout.depth == 8 else f"gray{layout.depth}le", size)
    samples = np.frombuffer(memoryview(luma.planes[0]), layout.dtype).reshape(size[0], -1)[:, : size[1]]
    if layout.kind == "rgb":
        return cast(list[Plane], [samples] * 3)
    others = layout.plane_sizes(*size)[1:]
    gray = [np.full(shape, 1 << (layout.depth - 1), layout.dtype) for shape in others]
    return cast(list[Plane], [samples, *gray])


def encoded(plan: EncoderPlan, folder: Path) -> list[SegmentFile]:
    made, number = [], 0
    for index, group in enumerate(GROUPS):
        path = folder / f"{index:06d}.mkv"
        encoder = open_encoder(plan, path, Cancel())
        for _ in group:
            encoder.write(card(number, plan.layout, (plan.height, plan.width)))
            number += 1
        encoder.close()
        made.append(SegmentFile(path=path, pts=tuple(group)))
    return made


def joined_into(
    container: str, plan: EncoderPlan, info: MediaInfo, segments: list[SegmentFile], output: Path
) -> Assembled:
    streams = plan_streams(info, container, plan.codec)
    return join(info, streams, segments, output, container=container, picture=plan, cancel=Cancel())
