"""The picture of a clip, decoded: every frame once, in order, at its time, and what damage left out."""

import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction

from av.container import InputContainer
from av.error import FFmpegError
from av.format import Flags
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vsr.disk import require_readable
from vsr.frames import MediaInfo
from vsr.io.clock import Clock, increasing
from vsr.io.cut import is_cut_short
from vsr.io.damage import Damage, PictureCheck
from vsr.io.decoder import Decoder
from vsr.io.demux import Demuxer, Jump, Read
from vsr.io.filters import Timed
from vsr.io.opening import open_input
from vsr.io.single_pass import SinglePass
from vsr.io.streams import tagged_end

log = logging.getLogger(__name__)

_UNREAD = 1 << 16  # bytes at the end of a file that indexes and tags may fill, and the share of a small file
_UNREAD_SHARE = Fraction(1, 20)
_MOST_HELD = 1000  # packets from one keyframe to the next
_TAIL = Fraction(1, 4)  # seconds by which a file that is cut short may end before it says, and lack nothing


class PictureDecoder:
    """Decodes one clip's picture, once or anew; `damage`, `notes` and `reason` tell of the last time."""

    def __init__(self, info: MediaInfo, *, threads: int, shared: SinglePass | None = None) -> None:
        """`shared` is read instead of the file: nothing is sought then, and nothing decoded twice."""
        self._info = info
        self._threads = threads
        self._shared = shared
        self._is_shorter = info.pipe is None and is_cut_short(info.path, info.container)
        self._check = self._new_check()
        self._missing: Damage | None = None  # at the end
        self._jumps: tuple[Jump, ...] = ()
        self._is_sought = False
        self._guessed = 0  # times of frames after seeking, which nothing before bears out
        self.reason: str | None = None  # what libav said first of what it could not read

    def frames(self, *, seek_to: int | None = None) -> Generator[Timed, None, None]:
        """Frames from the first one on, or, where the format can be sought, from a keyframe before `seek_to` ticks.

        Decodes with frame threads; on the first damage begins again with slice threads and skips what is out: an error
        while frame threads are drained would take the frames inside them along (measured: 3 of 29). Raises MediaError
        where the system cannot read the file: that is no damage, and may be mended.
        """
        last: int | None = None
        if self._shared is not None:
            yield from increasing(self._decoded("SLICE", seek_to))
            return
        try:
            for timed in increasing(self._decoded("AUTO", seek_to)):
                last = timed.pts
                yield timed
            return
        except _DamagedError as e:
            self._require_readable()
            log.info("%s: %s; decoding again on one thread", self._info.path, e)
        for timed in increasing(self._decoded("SLICE", seek_to)):
            if last is None or timed.pts > last:
                yield timed

    def remarks(self) -> int:
        """How much was found so far that only decoding from the beginning finds again, or that seeking cannot know."""
        check = self._check
        odd = self._guessed if self._is_sought else check.unshown
        return len(check.holes) + len(check.damaged) + odd + (self._missing is not None)

    def damage(self) -> Iterator[Damage]:
        """What was found so far, in order of time."""
        for begin, end, count in self._check.holes:
            yield Damage(begin=self._seconds(begin), end=self._seconds(end), units=count)
        for begin, end, count in self._check.damaged:
            if any(abs(self._seconds(begin) - self._at(jump)) <= 1 for jump in self._jumps):
                continue  # where recordings are spliced, frames lean on some that are not there
            yield Damage(begin=self._seconds(begin), end=self._seconds(end), units=count, is_missing=False)
        if self._missing is not None:
            yield self._missing

    def notes(self) -> Iterator[str]:
        """What is odd about the times, and no damage."""
        if self._check.unshown and not self._is_sought:
            yield f"{self._check.unshown} frames at the beginning lean on others that the file does not hold: left out"
        for jump in self._jumps:
            yield f"the source's clock jumps at {float(self._at(jump)):.3f} s by {float(jump.by):+.3f} s: times run on"

    def _seconds(self, ticks: int) -> Fraction:
        return (ticks - self._info.video.first_pts) * self._info.video.time_base

    def _at(self, jump: Jump) -> Fraction:
        return jump.at - self._info.video.first_pts * self._info.video.time_base

    def _new_check(self) -> PictureCheck:
        video = self._info.video
        step, second = 1 / video.rate / video.time_base, 1 / video.time_base
        is_listed = "mp4" in self._info.container  # every frame that is missing is known there
        return PictureCheck(step=step, second=second, is_shorter=self._is_shorter and not is_listed)

    def _decoded(self, threading: str, seek_to: int | None) -> Iterator[Timed]:
        """Frames as decoded, with their best known times. Raises _DamagedError when `threading` is AUTO."""
        is_tolerant = threading == "SLICE"
        self._check, self._missing, self.reason = self._new_check(), None, None
        self._is_sought, self._guessed = seek_to is not None, 0
        with self._opened() as container:
            stream = container.streams[self._info.video.index]
            assert isinstance(stream, VideoStream)
            decoder = Decoder(stream, threading=threading, threads=self._threads)
            clock, check, shared = Clock(self._info), self._check, self._shared
            demuxer = Demuxer(container, [stream]) if shared is None else shared.demuxer
            packets = demuxer.packets() if shared is None else shared.pictures(stream)
            reads = self._reads(stream, packets, is_tolerant=is_tolerant)
            if seek_to is not None:
                if container.format.flags & Flags.ts_discont.value:  # where clocks jump, one cannot go by times
                    reads = _from_key_before(reads, seek_to)
                elif not _is_sought(container, stream, seek_to):
                    return
            # libav takes the mark off a keyframe that it cannot read; mp4's index still says what it was
            listed = next(iter(stream.index_entries), None) if "mp4" in self._info.container else None
            is_key_first = listed is not None and listed.is_keyframe and seek_to is None
            torn: set[int] = set()  # times of packets that libav calls corrupt
            seen = 0
            for packet, is_after_hole in reads:
                seen += bool(packet.size)
                if packet.size and not packet.is_discard:
                    time = clock.add(packet)
                    is_key = packet.is_keyframe or (seen == 1 and is_key_first)
                    check.promise(time, is_key=is_key, is_after_hole=is_after_hole)
                    if packet.is_corrupt and time is not None:
                        torn.add(time)
                for frame in self._frames_of(decoder, packet, clock, is_tolerant=is_tolerant):
                    self._guessed += self._is_sought and frame.pts is None
                    pts = clock.time_of(frame)
                    if pts < self._info.video.first_pts and seek_to is None:  # needs frames that the file does not hold
                        continue
                    is_damaged = frame.is_corrupt or pts in torn
                    if is_damaged and not is_tolerant and check.has_begun:
                        raise _DamagedError("a corrupt frame")
                    check.shown(pts, is_damaged=is_damaged and check.has_begun)  # the first may lean on what was before
                    yield Timed(frame=frame, pts=pts, decoded=frame)
            check.finish()
            self._jumps = tuple(demuxer.jumps)
            self._require_readable(demuxer.reached)
            self._missing = self._missing_at_end(stream, clock, seen, demuxer.end)
            if self.remarks() or self.reason:
                self._require_readable()

    @contextmanager
    def _opened(self) -> Iterator[InputContainer]:
        if self._shared is not None:
            yield self._shared.container
            return
        with open_input(self._info.path, numbered=self._info.numbered) as container:
            yield container

    def _require_readable(self, begin: int = 0) -> None:
        """Raise MediaError where the source seems to end, or to be damaged, and it is the disk that fails."""
        info = self._info
        if info.numbered is None and info.pipe is None:
            require_readable(info.path, begin)

    def _reads(self, stream: VideoStream, packets: Iterator[Read], *, is_tolerant: bool) -> Iterator[Read]:
        """All packets of the picture and one empty one that drains the decoder, whatever the demuxer does."""
        is_drained = False
        try:
            for read in packets:
                is_drained = not read.packet.size
                yield read
        except FFmpegError as e:
            if not is_tolerant:
                raise _DamagedError(str(e)) from e
            self._failed(f"the file cannot be read on: {e.strerror}")
        if not is_drained:
            last = Packet()
            last.stream = stream
            yield Read(last, is_after_hole=False)

    def _frames_of(self, decoder: Decoder, packet: Packet, clock: Clock, *, is_tolerant: bool) -> list[VideoFrame]:
        try:
            return decoder.decode(packet)
        except FFmpegError as e:
            if not is_tolerant:
                raise _DamagedError(str(e)) from e
            clock.remove(packet)
            self._failed(f"a packet cannot be decoded: {e.strerror}")
            return []

    def _missing_at_end(self, stream: VideoStream, clock: Clock, seen: int, read_to: int) -> Damage | None:
        """What the file promised after the last frame: containers hide a cut-off tail without any error.

        `seen` counts the packets; `read_to` is the byte after the last one, 0 where it is not known.
        """
        info, video = self._info, self._info.video
        if clock.last is None:
            return None
        is_cut, count = self._is_shorter, 0
        if info.container == "avi":  # the index lists what is in the file, not the frames left out on purpose
            count = sum(entry.timestamp > (clock.latest or 0) for entry in stream.index_entries)
        if is_cut and not count and not self._is_sought:
            count = max(0, stream.frames - seen)
        is_told = info.container == "avi" or info.pipe is not None
        size = info.path.stat().st_size if read_to and not is_told else 0
        is_unread = size - read_to > min(_UNREAD, size * _UNREAD_SHARE)
        if (is_cut or is_unread) and not count:
            end = tagged_end(stream)
            if end is None and info.duration is not None:
                end = info.duration + video.first_pts * video.time_base
            short = Fraction(0) if end is None else end - clock.last * video.time_base - 1 / video.rate
            count = round(short * video.rate) if short > _TAIL else 0
            is_cut = is_cut and end is None  # else what is missing lies before
        if not count and not is_cut:
            return None
        return Damage(begin=self._seconds(clock.last), end=None, units=count or None)

    def _failed(self, what: str) -> None:
        self.reason = self.reason or what
        log.info("%s: %s", self._info.path, what)


class _DamagedError(Exception):
    """The bits are damaged: decode again with slice threads."""


def _from_key_before(reads: Iterator[Read], wanted: int) -> Iterator[Read]:
    """The packets from the last keyframe on that is not after `wanted`, which is known once a later one comes."""
    held: list[Read] = []
    for read in reads:
        packet = read.packet
        time = packet.pts if packet.pts is not None else packet.dts
        if packet.size and packet.is_keyframe and time is not None:
            if time > wanted and held:
                yield from held
                yield read
                yield from reads
                return
            held.clear()
        held.append(read)
        if len(held) > _MOST_HELD:
            break
    yield from held
    yield from reads


def _is_sought(container: InputContainer, stream: VideoStream, pts: int) -> bool:
    """Go to a keyframe before `pts`; False where the format cannot, as raw H.264, and decoding must begin anew."""
    try:
        container.seek(pts, stream=stream, backward=True)
    except (FFmpegError, OSError) as e:
        log.info("%s: cannot be sought: %s", container.name, e)
        return False
    return True
