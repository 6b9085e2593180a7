"""Subtitles that are texts, written anew in the form that the output's container holds."""

from fractions import Fraction

from av.container import OutputContainer
from av.packet import Packet
from av.subtitles.codeccontext import SubtitleCodecContext
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

TEXT_CODECS = ("subrip", "ass", "webvtt", "mov_text", "text")
_ENCODERS = {"subrip": "srt", "webvtt": "webvtt", "mov_text": "mov_text", "ass": "ass"}
_FIELDS = 8  # of a line of ASS before its text


def add_text(file: OutputContainer, source: SubtitleCodecContext, codec: str) -> SubtitleStream:
    """Add a stream that `TextConverter` fills."""
    if not source.is_open:
        source.open()  # its styles are there from then on
    added = file.add_stream(_ENCODERS[codec])
    assert isinstance(added, SubtitleStream)
    added.time_base = added.codec_context.time_base = Fraction(1, 1000)
    added.codec_context.subtitle_header = source.subtitle_header
    return added


class TextConverter:
    """Writes each cue of a track in another form; its times stay the packet's, in the source's ticks."""

    def __init__(self, source: SubtitleCodecContext, encoder: SubtitleCodecContext) -> None:
        self._source = source
        self._encoder = encoder

    def filter(self, packet: Packet) -> list[Packet]:
        """The packet in the other form; none where it holds no text. Raises FFmpegError for one that is damaged."""
        cues = self._source.decode2(packet)
        lines = [rect.ass for rect in cues or () if isinstance(rect, AssSubtitle)]
        if not lines:
            return []
        more = (line.split(b",", _FIELDS)[-1] for line in lines[1:])
        written = self._encoder.encode_subtitle(SubtitleSet.create(b"\\N".join([lines[0], *more]), 0, 1, 0))
        if not written.size:
            return []
        written.pts, written.dts, written.duration = packet.pts, packet.dts, packet.duration
        written.is_keyframe = True
        return [written]
