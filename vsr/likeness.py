"""A few pictures of a finished file held against what its source looked like, before the file gets its name."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vsr.io.assembly import Assembled
from vsr.io.samples import samples_at
from vsr.look import Jury, Looks, shrunk
from vsr.stage import Cancel
from vsr.verify import place_of_picture


def check_pictures(
    output: Path,
    expected: Assembled,
    looks: Sequence[tuple[int, Looks]],
    *,
    tell: Callable[[int, float], None],
    cancel: Cancel | None = None,
) -> list[str]:
    """Hold a few pictures of a finished file against what the source looked like there; one line each finding.

    `looks`: numbers of frames that are keyframes of the output, rising, and looks of the source from there on. `tell`
    is called for each place among them with how far both are apart, in codes of 255.
    """
    tick, picture = expected.time_base, place_of_picture(expected)
    times = [expected.pts[number] * tick for number, _ in looks]
    most = max((len(some) for _, some in looks), default=0)
    jury: Jury | None = None
    findings: list[str] = []
    samples = samples_at(output, times, picture=picture, count=most)
    for place, ((number, wanted), found) in enumerate(zip(looks, samples, strict=True)):
        if cancel is not None:
            cancel.check()
        if len(found) < len(wanted):
            findings.append(f"frame {number + len(found)} cannot be decoded")
            continue
        layout = found[0].layout
        jury = jury or Jury(layout, expected.picture.color)
        stacks = [np.stack(planes) for planes in zip(*(one.planes for one in found[: len(wanted)]), strict=True)]
        difference, misplaced = jury.judge(wanted, shrunk(stacks, layout, wanted.shape[2:]))
        tell(place, difference)
        for offset, what in misplaced:
            frame = number + offset
            findings.append(f"frame {frame} at {float(expected.pts[frame] * tick):.3f} s {what}")
    reading = None if jury is None else jury.wrong_reading()
    return [*findings, *([] if reading is None else [wrong_colors(reading)])]


def wrong_colors(reading: str) -> str:
    """What to say of an output whose colours another reading makes right."""
    return f"has the colours of {reading}, which it is not tagged with"
