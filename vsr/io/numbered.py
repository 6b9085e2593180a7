"""Numbered pictures, such as frames/%06d.png: found, held against one another, and written one by one."""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from PIL import Image

from vsr.disk import sync_file, why_not_written
from vsr.errors import ConfigError, MediaError
from vsr.frames import FrameBatch, NumberedFrames, Plane, RenderedBatch
from vsr.io.encoders import EncoderPlan
from vsr.io.images import DAMAGE
from vsr.stage import Cancel, ordered_map

_PLACE = re.compile(r"%(?:0(\d))?d")  # where the number stands in a name
_KINDS = {".png": "png", ".tif": "tiff", ".tiff": "tiff", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
_JPEG_QUALITY, _WEBP_QUALITY = 95, 90


def is_numbered(path: Path) -> bool:
    """Whether a path stands for many files, %d or %06d in its name being a number."""
    return len(_PLACE.findall(path.name)) == 1 and not path.exists()


def numbered_path(pattern: Path, number: int) -> Path:
    """The file of one number."""
    return pattern.with_name(_PLACE.sub(lambda place: f"{number:0{place[1] or 1}d}", pattern.name))


def picture_kind(pattern: Path) -> str:
    """png, tiff, jpeg or webp, by the suffix. Raises ConfigError for another one."""
    kind = _KINDS.get(pattern.suffix.lower())
    if kind is None:
        raise ConfigError(f"{pattern}: '{pattern.suffix}' is no picture vsr numbers; use .png, .tif, .jpg or .webp")
    return kind


def numbers_of(pattern: Path) -> list[int]:
    """The numbers of the files that are there, rising. Raises MediaError when the folder cannot be read."""
    place = _PLACE.search(pattern.name)
    assert place is not None
    before, after = pattern.name[: place.start()], pattern.name[place.end() :]
    form = re.compile(re.escape(before) + rf"(\d{{{place[1] or 1},}})" + re.escape(after))
    try:
        found = [form.fullmatch(path.name) for path in pattern.parent.iterdir()]
    except OSError as e:
        raise MediaError(f"{pattern.parent}: cannot be read ({e.strerror}); check the name") from e
    return sorted(number for one in found if one and numbered_path(pattern, number := int(one[1])).name == one[0])


def overlap(one: Path, other: Path) -> bool:
    """Whether two patterns stand for files of which some are the same."""
    if one.parent.resolve() != other.parent.resolve():
        return False
    names = {numbered_path(one, number).name for number in numbers_of(one)}
    return bool(names & {numbered_path(other, number).name for number in numbers_of(one)})


def find_frames(pattern: Path, rate: Fraction) -> NumberedFrames:
    """The pictures of a pattern, shown at `rate` a second.

    Raises MediaError, one line, when there are none, one is missing between two others, or their sizes differ: all
    headers are read.
    """
    numbers = numbers_of(pattern)
    if not numbers:
        raise MediaError(f"{pattern}: no such pictures; check the name")
    for before, after in pairwise(numbers):
        if after != before + 1:
            missing, last = numbered_path(pattern, before + 1), numbered_path(pattern, numbers[-1]).name
            raise MediaError(f"{missing}: is missing, and the numbers go on to {last}; put it there or rename the rest")
    paths = [numbered_path(pattern, number) for number in numbers]
    size = _size_of(paths[0])
    for path in paths[1:]:
        if _size_of(path) != size:
            what = "x".join(map(str, _size_of(path)))
            raise MediaError(f"{path}: is {what} pixels, the first one {size[0]}x{size[1]}; give pictures of one size")
    stats = [path.stat() for path in paths]
    return NumberedFrames(
        first=numbers[0],
        count=len(numbers),
        rate=rate,
        bytes=sum(stat.st_size for stat in stats),
        mtime_ns=max(stat.st_mtime_ns for stat in stats),
    )


class NumberedSink:
    """Writes frames as pictures, numbered from `first` on; a file bears its name only when it is whole.

    With `goes_on` pictures that are there are left as they are, and their frames not computed.
    """

    def __init__(
        self, pattern: Path, plan: EncoderPlan, *, first: int, goes_on: bool, workers: int, cancel: Cancel
    ) -> None:
        self.count = 0  # frames so far, those that were there included
        self._pattern = pattern
        self._plan = plan
        self._first = first
        self._goes_on = goes_on
        self._workers = workers
        self._cancel = cancel
        self._numbers: deque[int] = deque()  # of the frames on their way

    def missing(self, batches: Iterable[FrameBatch]) -> Iterator[FrameBatch]:
        """The frames of which there is no picture yet."""
        for batch in batches:
            numbers = [self._first + self.count + i for i in range(len(batch))]
            self.count += len(batch)
            wanted = [i for i, number in enumerate(numbers) if not self._is_there(number)]
            self._numbers.extend(numbers[i] for i in wanted)
            if len(wanted) == len(batch):
                yield batch
            elif wanted:
                planes = tuple(plane[wanted] for plane in batch.planes)
                yield replace(batch, planes=planes, pts=tuple(batch.pts[i] for i in wanted))

    def write(self, rendered: Iterable[RenderedBatch]) -> Iterator[int]:
        """Write pictures, several at once; yields 1 for each. Raises MediaError when the disk gives up."""
        frames = ([plane[i] for plane in item.planes] for item in rendered for i in range(len(item.batch)))
        numbered = ((self._numbers.popleft(), planes) for planes in frames)
        for _ in ordered_map(self._write, numbered, workers=self._workers, cancel=self._cancel):
            yield 1

    def _is_there(self, number: int) -> bool:
        return self._goes_on and numbered_path(self._pattern, number).exists()

    def _write(self, one: tuple[int, Sequence[Plane]]) -> None:
        number, planes = one
        path = numbered_path(self._pattern, number)
        part = path.with_name(f".{path.name}.part")
        try:
            if self._plan.name in ("jpeg", "webp"):
                self._write_by_pillow(part, _interleaved(planes))
            else:
                part.write_bytes(self._encoded(_interleaved(planes)))
            sync_file(part)
            part.replace(path)
        except (FFmpegError, OSError, ValueError) as e:
            part.unlink(missing_ok=True)
            raise MediaError(f"{path}: {why_not_written(e, f'cannot be written: {e}; choose another -o')}") from e

    def _write_by_pillow(self, path: Path, samples: Plane) -> None:
        picture = Image.fromarray(samples)
        if self._plan.name == "jpeg":
            picture.save(path, "JPEG", quality=_JPEG_QUALITY, subsampling="4:4:4")
        else:
            picture.save(path, "WEBP", quality=_WEBP_QUALITY)

    def _encoded(self, samples: Plane) -> bytes:
        """PNG or TIFF of 8 or 16 bits, which Pillow has not for RGB."""
        plan = self._plan
        frame = VideoFrame.from_ndarray(samples, format=plan.pix_fmt)
        frame.color_primaries, frame.color_trc = plan.color.primaries, plan.color.transfer
        frame.pts = 0
        context = av.CodecContext.create(plan.name, "w")
        assert isinstance(context, VideoCodecContext)
        context.width, context.height, context.pix_fmt = plan.width, plan.height, plan.pix_fmt
        context.time_base, context.thread_count = Fraction(1, 25), 1
        context.sample_aspect_ratio = plan.sample_aspect_ratio or Fraction(1)  # else PNG gets one of 0
        context.options = dict(plan.options)
        return b"".join(bytes(packet) for packet in (*context.encode(frame), *context.encode(None)))


def _interleaved(planes: Sequence[Plane]) -> Plane:
    """Planes in libav's order G, B, R, A, or gray alone, as (h, w, channels) or (h, w)."""
    if len(planes) == 1:
        return cast(Plane, np.ascontiguousarray(planes[0]))
    return cast(Plane, np.stack((planes[2], planes[0], planes[1], *planes[3:]), axis=-1))


def _size_of(path: Path) -> tuple[int, int]:
    """(width, height), from the header alone."""
    try:
        with Image.open(path) as picture:
            return picture.size
    except DAMAGE as e:
        raise MediaError(f"{path}: cannot be read as a picture: {e}; put a whole one there") from e
