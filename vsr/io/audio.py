"""Sound that the output cannot hold is decoded and encoded anew, its samples at the source's times."""

import logging
import math
from collections.abc import Iterator
from contextlib import suppress
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
    "opus": ("mono", "stereo", "3.0", "quad", "5.1", "7.1"),  # libav gives 5.0 and 6.1 back in another order
}
_SAME_LAYOUT = {"5.0(side)": "5.0", "5.1(side)": "5.1"}  # swresample hands the samples over unchanged
MOST_CHANNELS = 8
_UNNAMED = ("mono", "stereo", "2.1", "4.0", "5.0", "5.1", "6.1", "7.1")  # how libav takes channels without names
_UNSTEADY = Fraction(1, 100)  # seconds by which a source's times may be off before they count as a gap or an overlap


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


def sound_target(source: AudioCodecContext, codec: str) -> SoundTarget:
    """Choose rate, layout and bit rate: as the source's, of at most MOST_CHANNELS, as far as the encoder has them."""
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

    def __init__(self, source: AudioStream, encoder: AudioCodecContext, begin: Fraction, end: Fraction | None) -> None:
        self.tick = Fraction(1, encoder.sample_rate)  # seconds, of the packets' times
        self.damaged = 0  # packets that could not be decoded
        self._source = source
        self._source_tick = source.time_base or Fraction(1, 1000)
        self._encoder = encoder
        self._begin = begin
        self._end = end
        self._shape: tuple[str, str, int] | None = None  # format, layout, rate of the frames that come now
        self._packer = self._resampler = AudioResampler()
        self._last: AudioFrame | None = None
        self._next = begin  # seconds: where the next sample belongs
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
        rest: list[AudioFrame] = []
        with suppress(FFmpegError, ValueError):  # nothing whole is left
            rest = self._source.codec_context.decode(None)
        for frame in rest:
            yield from self._placed(frame)
        if self._last is None:  # nothing could be decoded
            return
        yield from self._silence(self._last, self._due)
        yield from self._encoded(self._resampler.resample(None))
        yield from self._encoder.encode(None)

    def _placed(self, frame: AudioFrame) -> Iterator[Packet]:
        """Encode the samples of a frame that are wanted, after silence where some are missing."""
        begins = self._next if frame.pts is None else frame.pts * self._source_tick
        if self._last is None:
            self._next = max(begins, self._begin)
            self._sent = round(self._next / self.tick)
        frame.pts, frame.time_base = None, Fraction(1, frame.sample_rate)
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._shape:  # at the start, or where a broadcast goes from stereo to 5.1
            yield from self._encoded(self._resampler.resample(None))
            encoder, self._shape = self._encoder, shape
            self._packer = AudioResampler(frame.format.packed)
            self._resampler = AudioResampler(encoder.format, encoder.layout, encoder.sample_rate)
        for packed in self._packer.resample(frame):  # PyAV 18 counts 8 planes wrongly
            late = begins - self._next
            if self._is_steady and abs(late) < _UNSTEADY:
                late = Fraction(0)
            self._last = packed
            yield from self._silence(packed, self._next + late)
            yield from self._kept(packed, max(0, round(-late * packed.sample_rate)))

    def _kept(self, frame: AudioFrame, first: int) -> Iterator[Packet]:
        """Encode a frame from its sample `first` on, as far as it lies before the end."""
        last = frame.samples
        if self._end is not None:
            last = min(last, first + math.floor((self._end - self._next) * frame.sample_rate))
        if first < last:
            self._is_steady = True
            self._next += Fraction(last - first, frame.sample_rate)
            yield from self._encoded(self._resampler.resample(_part(frame, first, last)))

    def _silence(self, like: AudioFrame, until: Fraction) -> Iterator[Packet]:
        """Encode silence up to a time, a second at once."""
        until = until if self._end is None else min(until, self._end)
        count = round((until - self._next) * like.sample_rate)
        while count > 0:
            frame = AudioFrame(like.format, like.layout, min(count, like.sample_rate))
            frame.planes[0].update((b"\x80" if like.format.bytes == 1 else b"\0") * frame.planes[0].buffer_size)
            frame.sample_rate, frame.time_base = like.sample_rate, like.time_base
            count -= frame.samples
            self._next += Fraction(frame.samples, like.sample_rate)
            yield from self._encoded(self._resampler.resample(frame))

    def _encoded(self, frames: list[AudioFrame]) -> Iterator[Packet]:
        for frame in frames:
            frame.pts, frame.time_base = self._sent, self.tick
            self._sent += frame.samples
            yield from self._encoder.encode(frame)


def _layout(source: AudioLayout, codec: str) -> str:
    """The smallest layout that the codec names and that has all the source's channels, else the largest."""
    if source.channels[0].name == "NONE":  # in PCM of many containers
        source = AudioLayout(_UNNAMED[source.nb_channels - 1])
    if codec == "flac":
        return source.name
    layouts = [AudioLayout(name) for name in _LAYOUTS[codec]]
    wanted = {channel.name for channel in AudioLayout(_SAME_LAYOUT.get(source.name, source.name)).channels}
    holding = [layout for layout in layouts if wanted <= {channel.name for channel in layout.channels}]
    fewer = [layout for layout in layouts if layout.nb_channels <= source.nb_channels]
    return holding[0].name if holding else fewer[-1].name


def _part(frame: AudioFrame, first: int, last: int) -> AudioFrame:
    """Samples [first, last) of a packed frame."""
    if last - first == frame.samples:
        return frame
    channels = frame.layout.nb_channels
    samples = frame.to_ndarray()[:, first * channels : last * channels].copy()
    part = AudioFrame.from_ndarray(samples, format=frame.format.name, layout=frame.layout.name)
    part.sample_rate, part.time_base = frame.sample_rate, frame.time_base
    return part
