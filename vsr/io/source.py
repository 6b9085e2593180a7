"""The frames of a clip that are wanted, as planes in batches that never cross a segment."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from vsr.frames import FrameBatch, MediaInfo, Place, Plane, Tally, VideoInfo
from vsr.io.crop import cut_out
from vsr.io.damage import Damage, merged
from vsr.io.decode import PictureDecoder
from vsr.io.filters import WARM_UP, FilteredVideo, Timed, deinterlaced
from vsr.io.following import following
from vsr.io.pixels import PlaneReader, crc_of
from vsr.io.single_pass import SinglePass
from vsr.settings import Crop

_SEEK_MARGIN = Fraction(3)  # seconds before the wanted time at which decoding starts, for streams that land late
_WORTH_SEEKING = Fraction(10)  # seconds; a start nearer than this is decoded up to


@dataclass(slots=True)
class Findings:
    """What decoding found out, complete once the source is exhausted."""

    frames: int = 0
    damage: list[Damage] = field(default_factory=list)
    reason: str | None = None  # what libav said first of what it could not read
    notes: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Frames that the file should hold and that did not come out, as far as it can be told: at least one a hole."""
        return sum(damage.units or 1 for damage in self.damage if damage.is_missing and not damage.stream)


class VideoSource:
    """Iterate once for FrameBatch values. Errors that leave nothing to decode are MediaError.

    A FilteredVideo is decoded, and what is done to it is done.
    `start` and `end` are seconds after the clip's first frame, `end` itself left out. Segment k holds the frames
    with k·L ≤ pts - first_pts < (k+1)·L. What can be decoded of a damaged clip is delivered; `findings` tells the rest.
    `shared` is read instead of the file where other streams come from the same pass over it: nothing is sought then,
    and nothing decoded twice. With `after` the frames are those after that place, up to the segment `until`, itself
    left out: the same frames in the same batches as without.
    """

    def __init__(
        self,
        info: MediaInfo,
        *,
        batch: int,
        segment: Fraction,
        start: Fraction = Fraction(0),
        end: Fraction | None = None,
        threads: int = 0,
        shared: SinglePass | None = None,
        after: Place | None = None,
        until: int | None = None,
    ) -> None:
        video = info.video if isinstance(info.video, FilteredVideo) else FilteredVideo.of(info.video, "off")
        self._video = video
        self._info = replace(info, video=video.decoded)
        self._batch = batch
        self._segment = segment
        self._start = start
        self._end = end
        self._threads = threads
        self._shared = shared
        self._decoder = PictureDecoder(self._info, threads=threads, shared=shared)
        self._reader = PlaneReader(video.layout, video.decoded.height, video.decoded.width)
        self._crop = video.crop or Crop(height=video.decoded.height, width=video.decoded.width, top=0, left=0)
        self._after = after
        self._until = until
        before = after.tally if after else Tally()
        self._handed_on = before.frames
        self._resized = before.resized
        self._decoded_frames = before.decoded  # from start to end
        self._interlaced = before.interlaced  # of these
        self._counted_to = before.counted_to  # in ticks of the stream
        self.findings = Findings()

    def __iter__(self) -> Iterator[FrameBatch]:
        video = self._video
        pending: list[Timed] = []
        segment = 0
        for timed in self._all() if self._after is None else self._following(self._after):
            index = max(0, math.floor((timed.pts - video.first_pts) * video.time_base / self._segment))
            if self._until is not None and index >= self._until:
                break
            if pending and (index != segment or len(pending) == self._batch):
                yield self._to_batch(pending, segment)
                pending = []
            segment = index
            pending.append(timed)
        if pending:
            yield self._to_batch(pending, segment)
        if self._shared is not None and self._end is not None:
            first = video.decoded.first_pts * video.decoded.time_base
            self._shared.read_on(video.index, first + self._end)
        if self._until is not None:  # whoever goes on to the end tells what was found
            return
        self.findings.notes += [*self._decoder.notes(), *self._noticed()]
        self.findings.reason = self._decoder.reason
        self.findings.damage = merged(filter(self._is_wanted, self._decoder.damage()))

    def _to_batch(self, timed: list[Timed], segment: int) -> FrameBatch:
        layout, crop = self._reader.layout, self._crop
        sizes = layout.plane_sizes(crop.height, crop.width)
        planes: tuple[Plane, ...] = tuple(layout.empty(len(timed), h, w) for h, w in sizes)
        for i, one in enumerate(timed):
            for stack, plane in zip(planes, cut_out(self._reader.read(one.frame), layout, crop), strict=True):
                np.copyto(stack[i], plane)  # the decoder keeps its own planes for reference
        self.findings.frames += len(timed)
        self._handed_on += len(timed)
        return FrameBatch(
            planes=planes,
            pts=tuple(one.pts for one in timed),
            time_base=self._video.time_base,
            segment=segment,
            last_crc=crc_of(timed[-1].decoded),
            tally=Tally(
                frames=self._handed_on,
                decoded=self._decoded_frames,
                interlaced=self._interlaced,
                counted_to=self._counted_to,
                resized=self._resized + self._reader.foreign,
                remarks=self._decoder.remarks(),
            ),
        )

    def _noticed(self) -> Iterator[str]:
        """What is known of the frames once all are out."""
        resized = self._resized + self._reader.foreign
        if resized:
            size = f"{self._reader.width}x{self._reader.height}"
            yield f"{resized} frames have another size: resized to {size} like the first"
        frames, counted = self._handed_on, f"{self._decoded_frames} frames of the source became"
        if self._video.deinterlace == "double":
            yield f"{counted} {frames}, one a field"
        elif self._video.deinterlace == "ivtc":
            yield f"{counted} {frames} of film"
        elif self._video.deinterlace == "auto":
            yield from self._noticed_flags()

    def _noticed_flags(self) -> Iterator[str]:
        """Where the frames' flags do not say the same from first to last."""
        if self._interlaced and self._interlaced < self._decoded_frames:
            yield f"{self._interlaced} of {self._decoded_frames} frames are interlaced: only these were deinterlaced"
        elif self._video.decoded.is_interlaced and not self._interlaced:
            yield "no frame says that it is interlaced: none was deinterlaced; --deinterlace on does it all the same"

    def _all(self) -> Iterator[Timed]:
        """Frames from `start` up to `end`, filtered."""
        return self._wanted(self._from_start())

    def _following(self, place: Place) -> Iterator[Timed]:
        """All frames after a place."""
        video, decoded = self._video, self._info.video
        seconds = (place.pts[-1] - video.first_pts) * video.time_base
        sought: Iterator[Timed] | None = None
        # what goes by fives, and AVI's times, depend on all that was before; so does what is damaged
        is_free = video.deinterlace != "ivtc" and self._info.container != "avi" and not place.tally.remarks
        if is_free and seconds - self._start >= _WORTH_SEEKING:
            seek_to = decoded.first_pts + int((seconds - _SEEK_MARGIN) / decoded.time_base)
            sought = self._wanted(self._decoder.frames(seek_to=seek_to))
        return following(place, sought, self._all, self._decoder.remarks)

    def _wanted(self, frames: Iterator[Timed]) -> Iterator[Timed]:
        """Of decoded frames those from `start` up to `end`, filtered."""
        if self._video.deinterlace != "off":
            decoded = self._video.decoded
            step = round(1 / decoded.rate / decoded.time_base)
            frames = deinterlaced(self._counted(frames), self._video.deinterlace, step=step, threads=self._threads)
        for timed in frames:
            seconds = self._seconds(timed, self._video)
            if self._end is not None and seconds >= self._end:
                return
            if seconds >= self._start:
                yield timed

    def _counted(self, frames: Iterator[Timed]) -> Iterator[Timed]:
        """The same frames; counts those between `start` and `end`, and the interlaced ones among them."""
        for timed in frames:
            seconds = self._seconds(timed, self._video.decoded)
            is_new = self._counted_to is None or timed.pts > self._counted_to
            if is_new and seconds >= self._start and (self._end is None or seconds < self._end):
                self._counted_to = timed.pts
                self._decoded_frames += 1
                self._interlaced += bool(timed.decoded.interlaced_frame)
            yield timed

    def _is_wanted(self, damage: Damage) -> bool:
        """Whether damage touches the part that is wanted: without a start, what is lost before the first frame, too."""
        ends_before = damage.end is not None and damage.end <= self._start and self._start > 0
        return not ends_before and (self._end is None or damage.begin < self._end)

    @staticmethod
    def _seconds(timed: Timed, video: VideoInfo) -> Fraction:
        """From the first frame's time to this one's, which counts in the ticks of `video`."""
        return (timed.pts - video.first_pts) * video.time_base

    def _from_start(self) -> Iterator[Timed]:
        """Decoded frames in order, beginning before `start`: by seeking where that is safe, else from the beginning.

        Filters see some frames before the first one wanted. What goes by fives must begin at the first frame.
        """
        video = self._info.video
        how = self._video.deinterlace
        if self._start >= _WORTH_SEEKING and self._shared is None and how != "ivtc":
            wanted = video.first_pts + int((self._start - _SEEK_MARGIN) / video.time_base)
            frames = self._decoder.frames(seek_to=wanted)
            head = list(itertools.islice(frames, 1 if how == "off" else 1 + WARM_UP))
            if head and head[-1].pts <= video.first_pts + self._start / video.time_base:
                yield from head
                yield from frames
                return
            frames.close()
        yield from self._decoder.frames()
