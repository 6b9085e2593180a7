"""A source that goes on after a place: seeking is used, and never trusted."""

import logging
from collections.abc import Callable, Iterator

from vsr.frames import Place
from vsr.io.filters import WARM_UP, Timed
from vsr.io.pixels import crc_of

log = logging.getLogger(__name__)


class UntrustedError(Exception):
    """Seeking did not lead where it should."""


def following(
    place: Place, sought: Iterator[Timed] | None, from_start: Callable[[], Iterator[Timed]], remarks: Callable[[], int]
) -> Iterator[Timed]:
    """The frames after a place, out of `sought`, those after seeking, if that led to the very frame the place names.

    Else out of `from_start`, and also once `remarks` counts anything that only decoding from the beginning finds again.
    `sought` is None where seeking is of no use.
    """
    last = place.pts[-1]
    if sought is not None:
        try:
            for timed in _found_again(place, sought):
                if remarks():
                    raise UntrustedError("the source is damaged")
                last = timed.pts
                yield timed
            if not remarks():
                return
        except UntrustedError as e:
            log.info("after seeking: %s; decoding from the beginning", e)
    for timed in from_start():
        if timed.pts > last:
            yield timed


def _found_again(place: Place, frames: Iterator[Timed]) -> Iterator[Timed]:
    """What follows the place's last frame. Raises UntrustedError where that is not there.

    The frames before it, as far as there are any, must have the place's times, and it must have the same samples;
    filters must have seen enough of them.
    """
    seen: list[int] = []
    crc: int | None = None
    for timed in frames:
        seen.append(timed.pts)
        if timed.pts >= place.pts[-1]:
            crc = crc_of(timed.decoded)
            break
    times = tuple(pts for pts in seen if pts >= place.pts[0])
    if len(seen) <= WARM_UP or not times or times != place.pts[-len(times) :]:
        raise UntrustedError("the frame is not there")
    if crc != place.crc:
        raise UntrustedError("another frame is there")
    yield from frames
