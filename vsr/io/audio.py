"""Sound that the output cannot hold is decoded and encoded anew, its samples at the source's times."""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet

log = logging.getLogger(__name__)

_ENCODERS = {"aac": "aac", "opus": "libopus", "flac": "flac"}
_BITS_A_CHANNEL = {"aac": 96_000, "opus": 64_000}  # a second
_MOST_BITS_A_SAMPLE = 4  # of AAC: at 8 kHz a channel of 96 kb/s would be more than its frames hold
_OPUS_RATE = 48_000
# The layouts that each format names without a table of its own, which players ignore; the smallest come first.
_LAYOUTS = {
    "aac": ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1"),
    "opus": ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1"),
}
_SAME_LAYOUT = {"5.0(side)": "5.0", "5.1(side)": "5.1"}  # swresample hands the samples over unchanged
_MOST_CHANNELS = 8  # of FLAC
_UNSTEADY = Fraction(1, 100)  # seconds by which a source's times may be off before they count as a gap or an overlap
_SILENCE = 1  # seconds of it made at once


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundTarget:
    """What a track is encoded to."""

    codec: str  # aac, opus or flac
    rate: int  # samples a second
    layout: str
    sample_format: str
    bit_rate: int | None  # None where nothing is lost

    def __str__(self) -> str:
        return self.codec if self.bit_rate is None else f"{self.codec} {self.bit_rate // 1000} kb/s"


def is_lossless(source: AudioCodecContext) -> bool:
    """Whether a track's codec keeps every bit, so that only another such codec does it justice."""
    return source.codec.lossless and not source.codec.lossy


def sound_target(source: AudioCodecContext, codec: str) -> SoundTarget:
    """Choose rate, layout and bit rate: as the source's, as far as the encoder has them."""
    encoder = av.Codec(_ENCODERS[codec], "w")
    layout = _layout(source.layout, codec)
    rates = [_OPUS_RATE] if codec == "opus" else sorted(encoder.audio_rates or [source.sample_rate])
    rate = next((r for r in rates if r >= source.sample_rate), rates[-1])
    sample_format = "flt" if codec == "opus" else "fltp"
    bit_rate = None
    if codec == "flac":
        sample_format = "s16" if source.format.bytes <= 2 else "s32"
    else:
        bit_rate = AudioLayout(layout).nb_channels * min(_BITS_A_CHANNEL[codec], _MOST_BITS_A_SAMPLE * rate)
    return SoundTarget(codec=codec, rate=rate, layout=layout, sample_format=sample_format, bit_rate=bit_rate)


def add_sound(file: OutputContainer, target: SoundTarget) -> AudioStream:
    """Add a stream that `SoundConverter` fills."""
    added = file.add_stream(_ENCODERS[target.codec], rate=target.rate)
    assert isinstance(added, AudioStream)
    context = added.codec_context
    context.layout, context.format = target.layout, target.sample_format
    if target.bit_rate is not None:
        context.bit_rate = target.bit_rate
    return added


class SoundConverter:
    """Decodes a track and encodes it anew: gaps become silence, what overlaps is cut off, and the cut is exact.

    Samples keep the times of the source; its packets that cannot be decoded become silence of their length. `begin` and
    `end` are in the source's seconds.
    """

    def __init__(
        self, source: AudioStream, encoder: AudioCodecContext, *, begin: Fraction, end: Fraction | None
    ) -> None:
        self.tick = Fraction(1, encoder.sample_rate)  # seconds, of the packets' times
        self.damaged = 0  # packets that could not be decoded
        self._source = source
        self._encoder = encoder
        self._begin = begin
        self._end = end
        self._resampler: AudioResampler | None = None
        self._shape: tuple[str, str, int] | None = None  # format, layout, rate of the frames that are resampled now
        self._template: AudioFrame | None = None
        self._next: Fraction | None = None  # seconds: where the next sample belongs
        self._is_steady = False  # whether the next frame may be off by a little
        self._due = begin  # seconds: where a damaged packet would have ended
        self._sent = 0  # samples given to the encoder, counted from time 0

    def packets_from(self, packet: Packet) -> Iterator[Packet]:
        """Encode what a packet of the source holds; packets come out later, at times in `tick`."""
        try:
            frames = packet.decode()
        except (FFmpegError, ValueError) as e:
            log.info("a sound packet at %s cannot be decoded: %s", packet.pts, e)
            self.damaged += 1
            self._is_steady = False
            if packet.pts is not None:
                self._due = max(self._due, (packet.pts + (packet.duration or 0)) * self._source_tick)
            return
        for frame in frames:
            if isinstance(frame, AudioFrame):
                yield from self._placed(frame)

    def flush(self) -> Iterator[Packet]:
        """Encode what decoder, resampler and encoder still hold."""
        try:
            rest = self._source.codec_context.decode(None)
        except (FFmpegError, ValueError):  # nothing whole is left
            rest = []
        for frame in rest:
            yield from self._placed(frame)
        if self._next is None:
            return
        yield from self._silence(min(self._due, self._due if self._end is None else self._end))
        yield from self._encoded(self._drained())
        yield from self._encoder.encode(None)

    @property
    def _source_tick(self) -> Fraction:
        return self._source.time_base or Fraction(1, 1000)

    def _placed(self, frame: AudioFrame) -> Iterator[Packet]:
        """Encode the samples of a frame that are wanted, after silence where some are missing."""
        begins = self._next if frame.pts is None else frame.pts * self._source_tick
        if begins is None:
            return
        if self._next is None:
            self._next = max(begins, self._begin)
            self._sent = round(self._next / self.tick)
        self._template = frame
        late = begins - self._next
        if self._is_steady and abs(late) < _UNSTEADY:
            late = Fraction(0)
        stop = begins if self._end is None else min(begins, self._end)
        yield from self._silence(stop) if late > 0 else ()
        first = max(0, round(-late * frame.sample_rate))
        last = frame.samples
        if self._end is not None:
            last = min(last, first + math.floor((self._end - self._next) * frame.sample_rate))
        if first < last:
            self._is_steady = True
            self._next += Fraction(last - first, frame.sample_rate)
            yield from self._resampled(frame if last - first == frame.samples else _part(frame, first, last))

    def _silence(self, until: Fraction) -> Iterator[Packet]:
        like = self._template
        if like is None or self._next is None:
            return
        count = round((until - self._next) * like.sample_rate)
        self._next += Fraction(max(0, count), like.sample_rate)
        while count > 0:
            frame = AudioFrame(like.format, like.layout, min(count, _SILENCE * like.sample_rate))
            for plane in frame.planes:
                plane.update((b"\x80" if like.format.bytes == 1 else b"\0") * plane.buffer_size)
            frame.sample_rate = like.sample_rate
            count -= frame.samples
            yield from self._resampled(frame)

    def _resampled(self, frame: AudioFrame) -> Iterator[Packet]:
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._shape:  # at the start, or where a broadcast goes from stereo to 5.1
            yield from self._encoded(self._drained())
            encoder = self._encoder
            self._resampler = AudioResampler(encoder.format, encoder.layout, encoder.sample_rate)
            self._shape = shape
        assert self._resampler is not None
        frame.pts, frame.time_base = None, Fraction(1, frame.sample_rate)
        yield from self._encoded(self._resampler.resample(frame))

    def _drained(self) -> list[AudioFrame]:
        return [frame for frame in (self._resampler.resample(None) if self._resampler else []) if frame is not None]

    def _encoded(self, frames: list[AudioFrame]) -> Iterator[Packet]:
        for frame in frames:
            frame.pts, frame.time_base = self._sent, self.tick
            self._sent += frame.samples
            yield from self._encoder.encode(frame)


def _layout(source: AudioLayout, codec: str) -> str:
    """The source's layout where the codec names it, else the smallest that has all its channels, else the largest."""
    if codec == "flac" and source.nb_channels <= _MOST_CHANNELS:
        return source.name
    names = _LAYOUTS.get(codec, _LAYOUTS["opus"])
    wanted = _SAME_LAYOUT.get(source.name, source.name)
    if wanted in names:
        return wanted
    channels = {channel.name for channel in source.channels}
    holding = [n for n in names if channels <= {channel.name for channel in AudioLayout(n).channels}]
    fewer = [n for n in names if AudioLayout(n).nb_channels <= source.nb_channels]
    return holding[0] if holding else fewer[-1]


def _part(frame: AudioFrame, first: int, last: int) -> AudioFrame:
    """Samples [first, last) of a frame."""
    step = 1 if frame.format.is_planar else frame.layout.nb_channels
    samples = frame.to_ndarray()[:, first * step : last * step].copy()
    part = AudioFrame.from_ndarray(samples, format=frame.format.name, layout=frame.layout.name)
    part.sample_rate = frame.sample_rate
    return part
