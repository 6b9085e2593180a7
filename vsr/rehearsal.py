"""The encoder tried before the first frame: opened, and unless tests have done it, through segment, join and check."""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vsr.errors import MediaError
from vsr.frames import MediaInfo, PixelLayout, Plane, SegmentFile, StreamPlan
from vsr.io.container_kind import CONTAINERS
from vsr.io.encoders import EncoderPlan
from vsr.io.join import join
from vsr.io.sink import open_encoder, try_to_open
from vsr.stage import Cancel
from vsr.verify import Finding, findings_in

_FRAMES = 3  # the fewest of which one can be decoded before its turn
_LONGEST = 120  # seconds for all of them


def rehearse(
    info: MediaInfo, streams: Sequence[StreamPlan], encoder: EncoderPlan, container: str, *, is_proven: bool
) -> tuple[EncoderPlan, list[str]]:
    """Make sure that this encoder's picture can be put into this container; returns the plan and what to tell.

    A proven one is only opened. Any other encodes a few frames, which are joined and checked as the real ones will be;
    colour tags that do not come back are left to be told, and `untold` in the plan returned. Raises MediaError with
    the reason, and a container that fits if there is one.
    """
    try_to_open(encoder)
    if is_proven:
        return encoder, []
    video = [entry for entry in streams if entry.action == "upscale"]
    with tempfile.TemporaryDirectory(prefix="vsr-") as folder:
        try:
            segment = _encode(info, encoder, Path(folder) / "rehearsal.mkv")
        except MediaError as e:
            raise MediaError(str(e).removeprefix(f"{folder}: ")) from e
        found = _try_container(info, video, encoder, segment, container)
        wrong = [finding.text for finding in found if finding.tag is None]
        if wrong:
            advice = "choose another --encoder or --codec"
            for other in CONTAINERS:
                tried = () if other == container else _try_container(info, video, encoder, segment, other)
                if other != container and all(finding.tag for finding in tried):
                    advice = f"give -o NAME.{other}, or choose another --encoder"
                    break
            raise MediaError(f"{encoder.name} into {container}: tried on {_FRAMES} frames, it {wrong[0]}; {advice}")
    untold = frozenset(finding.tag for finding in found if finding.tag)
    if not untold:
        return encoder, []
    note = f"{encoder.name} in {container} cannot say {_listed(sorted(untold))}: players will guess"
    return replace(encoder, untold=untold), [note]


def _encode(info: MediaInfo, encoder: EncoderPlan, path: Path) -> SegmentFile:
    """A few frames as a segment, at the source's first times."""
    made = open_encoder(encoder, path, Cancel(), limit=_LONGEST)
    try:
        for _ in range(_FRAMES):
            made.write(_test_card(encoder.layout, encoder.height, encoder.width))
        made.close()
    except BaseException:
        made.discard()
        raise
    step = max(1, round(1 / (info.video.rate * info.video.time_base)))
    return SegmentFile(path=path, pts=tuple(info.video.first_pts + k * step for k in range(_FRAMES)))


def _test_card(layout: PixelLayout, height: int, width: int) -> list[Plane]:
    """Planes that rise from a quarter to three quarters of the scale, from left to right."""
    quarter = 1 << (layout.depth - 2)
    planes = [layout.empty(*size) for size in layout.plane_sizes(height, width)]
    for plane in planes:
        width = plane.shape[1]
        plane[:] = quarter + np.arange(width) * 2 * quarter // width
    return planes


def _try_container(
    info: MediaInfo, video: Sequence[StreamPlan], encoder: EncoderPlan, segment: SegmentFile, container: str
) -> Sequence[Finding]:
    """What is wrong with the segment once it is in the container."""
    path = segment.path.with_name(f"joined.{container}")
    step = segment.pts[1] - segment.pts[0]
    try:
        joined = join(
            replace(info, duration=None),
            video,
            [segment],
            path,
            container=container,
            picture=encoder,
            cancel=Cancel(),
            end_time=(segment.pts[-1] + step) * info.video.time_base,
        )
        return findings_in(path, joined)
    except MediaError as e:
        return [Finding(text=f"cannot be written: {e}")]


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
