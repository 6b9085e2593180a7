"""Which decoder reads a stream: libav's own choice, but for alpha that only another one sees."""

from av.codec.context import CodecContext
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

# WebM keeps alpha as a second bitstream beside each packet, flagged by a tag; libav's own decoders do not look there.
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


class Decoder:
    """Decodes the packets of one stream, alpha included; an empty packet drains it."""

    def __init__(self, stream: VideoStream, *, threading: str | None = None, threads: int | None = None) -> None:
        """`threading` ("AUTO", "FRAME", "SLICE") and `threads` are left as they are where they are None."""
        self._own = _alpha_decoder(stream)
        context = self._own or stream.codec_context
        if threading is not None and self._own is None:
            context.thread_type = threading
        if threads is not None:
            context.thread_count = threads

    def decode(self, packet: Packet) -> list[VideoFrame]:
        """The frames that a packet completes. Raises FFmpegError for damage."""
        if self._own is not None:
            return self._own.decode(packet if packet.size else None)
        return [frame for frame in packet.decode() if isinstance(frame, VideoFrame)]


def _alpha_decoder(stream: VideoStream) -> VideoCodecContext | None:
    name = _ALPHA_DECODERS.get(stream.codec_context.codec.canonical_name)
    has_alpha = any(key.lower() == "alpha_mode" and value == "1" for key, value in stream.metadata.items())
    if name is None or not has_alpha:
        return None
    context = CodecContext.create(name, "r")
    assert isinstance(context, VideoCodecContext)
    context.extradata = stream.codec_context.extradata
    return context
