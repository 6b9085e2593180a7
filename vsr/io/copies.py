"""The other streams: which packets of the source are kept or converted, and their times in the joined file."""

import hashlib
import logging
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.subtitles.stream import SubtitleStream

from vsr.frames import StreamInfo
from vsr.io.audio import SoundConverter
from vsr.io.container_kind import Container
from vsr.io.damage import Damage, SoundCheck
from vsr.io.decode_times import DecodeTimes
from vsr.io.demux import Read
from vsr.io.expected_streams import ExpectedStream
from vsr.io.schedule import Schedule
from vsr.io.subtitles import TextConverter

log = logging.getLogger(__name__)

_PRIMING = Fraction(1, 5)  # seconds before a sound's start in which packets only warm the decoder up


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """What a converted track must turn out to be."""

    rate: int  # samples a second
    channels: int
    end: Fraction  # seconds
    frame: Fraction  # seconds: of the encoder


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedStream:
    """What was written of one stream beside the picture. Filler packets (mov_text's empty ones) are not counted."""

    expected: ExpectedStream
    digest: str | None  # of all packets' bytes in order; None where the muxer rewrites them by rule
    times: Sequence[int]  # of each packet, as written, in ticks
    time_base: Fraction  # of `times`
    source_tick: Fraction  # seconds: the precision with which the source knew them
    sound: Sound | None = None  # of a converted one


class _Filter(Protocol):
    """What changes a packet's bytes, and keeps its times."""

    def filter(self, packet: Packet) -> list[Packet]: ...


@dataclass(slots=True)
class Track:
    """A stream on its way: its clock, and what was written so far."""

    info: StreamInfo
    original: Stream
    out: Stream
    expected: ExpectedStream
    container: Container
    schedule: Schedule
    source_tick: Fraction
    filter: _Filter | None
    is_rewritten: bool
    sound: SoundConverter | None = None  # gives packets with times of its own; `source_tick` is then its tick
    check: SoundCheck | None = None
    zero: Fraction = Fraction(0)  # seconds: the picture's first frame
    has_decoded: bool = False  # a packet of a sound that is copied
    base: Fraction = Fraction(1)  # seconds a tick in the output, known when its header is written
    scale: tuple[int, int, int] = (1, 0, 1)  # written = (source * a + b) / c, to the nearest
    hash: hashlib.blake2b = field(default_factory=hashlib.blake2b)
    times: "array[int]" = field(default_factory=lambda: array("q"))
    last_dts: int | None = None
    last_pts: int | None = None  # in the source's ticks, as the next
    next_pts: int | None = None
    first_pts: int | None = None  # in the source's ticks, of the first packet written
    lasting: Packet | None = None  # the last subtitle before the kept part: shown until the next one
    written: int = 0
    end: int = 0  # of the last packet, in the output's ticks
    damaged: int = 0  # packets that could not be written, of others than sound

    def start_clock(self) -> None:
        """Take over the output's ticks, which are known when its header is written."""
        self.base = self.out.time_base or self.source_tick
        ratio, offset = self.source_tick / self.base, self.schedule.shift / self.base
        common = math.lcm(ratio.denominator, offset.denominator)
        self.scale = (int(ratio * common), int(offset * common), common)

    def packets_from(self, read: Read) -> Iterator[Packet]:
        """What is written of a packet of the source, with its times in the output; nothing when it is left out."""
        packet = read.packet
        if self.check is not None and packet.pts is not None:
            self.check.look(*self._place_of(packet), is_after_hole=read.is_after_hole)
        if self.sound is not None:
            before = self.sound.damaged
            yield from self._encoded(self.sound.packets_from(packet))
            if self.sound.damaged > before:
                self._failed(packet)
            return
        if self.check is not None:
            self._try(packet)
        for one in self._filtered(packet):
            yield from self._timed(one)

    def rest(self) -> Iterator[Packet]:
        """What is written after the source's last packet."""
        if self.sound is not None:
            yield from self._encoded(self.sound.flush())
        yield from self._moved_up(None)

    @property
    def begins_late(self) -> Fraction:
        """Seconds by which a picture begins after the cut, since it can be decoded from a keyframe on only."""
        start = self.schedule.start
        if self.info.kind != "video" or start is None or self.first_pts is None:
            return Fraction(0)
        return self.first_pts * self.source_tick - start

    def damage(self) -> list[Damage]:
        """What the sound lacks in the part that is kept."""
        zero, start, stop = self.zero, self.schedule.start, self.schedule.stop
        return [
            one
            for one in (self.check.damage if self.check is not None else ())
            if (stop is None or one.begin + zero < stop) and (start is None or (one.end or 0) + zero > start)
        ]

    def result(self) -> CopiedStream:
        """What was written of the stream."""
        return CopiedStream(
            expected=self.expected,
            digest=None if self.is_rewritten else self.hash.hexdigest(),
            times=self.times,
            time_base=self.base,
            source_tick=self.source_tick,
            sound=self._sound(),
        )

    def _sound(self) -> Sound | None:
        """What the track must turn out to be, when it is a converted sound."""
        if self.sound is None or not isinstance(self.out, AudioStream):
            return None
        context = self.out.codec_context
        return Sound(
            rate=context.sample_rate,
            channels=context.layout.nb_channels,
            end=self.end * self.base,
            frame=Fraction(context.frame_size, context.sample_rate),
        )

    def _place_of(self, packet: Packet) -> tuple[Fraction, Fraction]:
        """Seconds of the source at which a packet begins, and how many it lasts."""
        tick = self.original.time_base or self.source_tick
        time = packet.pts if packet.pts is not None else packet.dts
        return (time or 0) * tick, (packet.duration or 0) * tick

    def _failed(self, packet: Packet) -> None:
        if self.check is None:
            self.damaged += 1
        else:
            self.check.failed(*self._place_of(packet))

    def _try(self, packet: Packet) -> None:
        """Decode a packet of sound that is copied, to know whether it is whole; the first may lean on others."""
        try:
            self.has_decoded = bool(packet.decode()) or self.has_decoded
        except (FFmpegError, ValueError) as e:
            log.info("%s: a packet at %s is damaged: %s", self.info.selector, packet.pts, e)
            if self.has_decoded:
                self._failed(packet)

    def _encoded(self, packets: Iterator[Packet]) -> Iterator[Packet]:
        for packet in packets:
            self._place(packet, packet.pts or 0, packet.dts or 0, packet.duration or 0)
            yield packet

    def _filtered(self, packet: Packet) -> list[Packet]:
        """The packet in the form that the container holds; nothing while parts of it are missing, or damaged."""
        if self.filter is None:
            return [packet]
        try:
            return self.filter.filter(packet)
        except FFmpegError as e:
            log.info("%s: a packet at %s is left out: %s", self.info.selector, packet.pts, e)
            if self.check is None:  # that of sound is told already
                self.damaged += 1
            return []

    def _guessed_duration(self, pts: int) -> int:
        """For a packet that tells none, in the source's ticks: mp4 cuts a last one that lasts for nothing (ALAC)."""
        if self.info.kind == "subtitle":
            return 0
        return 1 if self.last_pts is None else max(1, pts - self.last_pts)

    def _ticks(self, time: int) -> int:
        a, b, c = self.scale
        return (2 * (time * a + b) + c) // (2 * c)

    def _timed(self, packet: Packet) -> Iterator[Packet]:
        """The packet with its times in the output; nothing when it is left out."""
        pts = packet.pts if packet.pts is not None else packet.dts
        pts = self.next_pts if pts is None else pts
        if pts is None:  # nothing before it tells where it belongs
            return
        dts = packet.dts if packet.dts is not None else pts
        duration = packet.duration or self._guessed_duration(pts)
        self.next_pts = pts + duration
        self.last_pts = pts
        start = self.schedule.start
        if self.info.kind == "subtitle" and not duration and start is not None and pts * self.source_tick < start:
            self.lasting = packet
            return
        wanted = self._wanted(pts, duration, is_key=packet.is_keyframe, is_hidden=packet.is_discard)
        if wanted is None:
            return
        pts, duration = wanted
        if self.info.kind != "video":
            dts = pts
        if self.first_pts is None:
            self.first_pts = pts
        yield from self._moved_up(pts)
        self._place(packet, pts, dts, duration)
        yield packet

    def _moved_up(self, following: int | None) -> Iterator[Packet]:
        """The subtitle that the cut finds on the screen, shown from there on unless the next one comes as early."""
        packet, self.lasting = self.lasting, None
        if packet is None or self.schedule.start is None:
            return
        first = math.ceil(self.schedule.start / self.source_tick)
        if following is None or following > first:
            self._place(packet, first, first, 0)
            yield packet

    def _wanted(self, pts: int, duration: int, *, is_key: bool, is_hidden: bool) -> tuple[int, int] | None:
        """(pts, duration) of a packet that is kept, in the source's ticks; None when it is left out."""
        tick, start, stop = self.source_tick, self.schedule.start, self.schedule.stop
        kind = self.info.kind
        begins, ends = pts * tick, (pts + max(duration, 1)) * tick
        if is_hidden and kind == "audio" and not self._is_priming(begins):
            return None
        if stop is not None and begins >= stop:
            return None
        if start is not None and ends <= start:
            return None
        if start is not None and kind == "video" and not self._can_begin(pts, is_key=is_key):
            return None
        if kind == "subtitle" and duration:
            first = max(pts, math.ceil(start / tick)) if start is not None else pts
            last = min(pts + duration, math.floor(stop / tick)) if stop is not None else pts + duration
            return first, max(1, last - first)
        return pts, duration

    def _can_begin(self, pts: int, *, is_key: bool) -> bool:
        """Whether a copied picture leans on nothing that was cut away, as those shown before their keyframe do."""
        if self.first_pts is not None:
            return pts >= self.first_pts
        return is_key and pts * self.source_tick >= (self.schedule.start or 0)

    def _is_priming(self, begins: Fraction) -> bool:
        """Whether a hidden packet only warms the decoder up, rather than being cut away by the source's edit list."""
        start = self.original.start_time or 0
        return start * self.source_tick - _PRIMING <= begins < start * self.source_tick

    def _place(self, packet: Packet, pts: int, dts: int, duration: int) -> None:
        """Set a packet's times in the output's ticks; decode times that go back, as in damaged files, stay put."""
        shown, decoded = self._ticks(pts), self._ticks(dts)
        if self.last_dts is not None:
            decoded = max(decoded, self.last_dts + (self.container in ("mp4", "mov")))  # which want them to rise
        self.last_dts = decoded
        packet.pts, packet.dts = max(shown, decoded), decoded
        packet.duration = self._ticks(pts + duration) - shown if duration else 0
        packet.time_base = self.base
        packet.stream = self.out
        if not packet.size:  # FLAC's last: it tells the muxer what the header has to say
            return
        self.written += 1
        self.end = packet.pts + packet.duration
        if not is_filler(self.expected.codec, packet):
            self.hash.update(packet)
            self.times.append(packet.pts)


def open_track(
    expected: ExpectedStream,
    template: Stream,
    added: Stream,
    *,
    container: Container,
    schedule: Schedule,
    check: SoundCheck | None = None,
    zero: Fraction = Fraction(0),
) -> Track:
    """A track from the source's stream `template` to the output's stream `added`; its clock starts with the header.

    `check` finds what a sound lacks; `zero` is the second of the source from which it tells it.
    """
    sound = None
    if expected.is_converted and isinstance(template, AudioStream) and isinstance(added, AudioStream):
        begin = -schedule.shift if schedule.start is None else schedule.start  # no player shows what lies before zero
        sound = SoundConverter(template, added.codec_context, begin=begin, end=schedule.stop)
    extradata = template.codec_context.extradata or b""
    is_annexb = expected.codec in ("h264", "hevc", "vvc") and not extradata.startswith(b"\x01")
    return Track(
        info=expected.source,
        original=template,
        out=added,
        expected=expected,
        container=container,
        schedule=schedule,
        source_tick=sound.tick if sound else template.time_base or Fraction(1, 90_000),
        filter=_filter(expected, template, added),
        is_rewritten=is_annexb,
        sound=sound,
        check=check,
        zero=zero,
    )


class Copies:
    """The other streams' packets on their way, as they are read: what is written of each, timed for the output."""

    def __init__(self, tracks: Sequence[Track]) -> None:
        self._tracks = tracks
        self._by_index = {track.info.index: track for track in tracks}
        self._decode_times = DecodeTimes()

    def add(self, read: Read) -> Iterator[tuple[float, Packet]]:
        """What comes of a packet of the source, each with its decode time in seconds."""
        for timed in self._decode_times.add(read):
            yield from self._written(timed)

    def rest(self) -> Iterator[tuple[float, Packet]]:
        """What comes after the source's last packet."""
        for timed in self._decode_times.rest():
            yield from self._written(timed)
        for track in self._tracks:
            for last in track.rest():
                yield (last.dts or 0) * float(track.base), last

    def _written(self, read: Read) -> Iterator[tuple[float, Packet]]:
        track = self._by_index[read.packet.stream.index]
        for timed in track.packets_from(read):
            yield (timed.dts or 0) * float(track.base), timed


def is_filler(codec: str, packet: Packet) -> bool:
    """Whether a packet only fills a gap: mov_text has empty texts that muxers add and drop as they like."""
    return codec == "mov_text" and packet.size == 2 and bytes(packet) == b"\0\0"


def _filter(expected: ExpectedStream, template: Stream, added: Stream) -> _Filter | None:
    """A converter of texts, or what the muxers would do on their own, done here so that it is known what they get."""
    codec = expected.codec
    if expected.is_converted and isinstance(template, SubtitleStream) and isinstance(added, SubtitleStream):
        return TextConverter(template.codec_context, added.codec_context)
    if expected.is_converted:
        return None
    if codec == "aac" and not template.codec_context.extradata:  # ADTS, from transport streams
        return BitStreamFilterContext("aac_adtstoasc", template)
    if codec == "hdmv_pgs_subtitle":  # Blu-ray splits a picture over packets; damaged, it would end in another stream
        return BitStreamFilterContext("pgs_frame_merge", template)
    return None
