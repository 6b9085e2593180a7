"""What display HDR was graded on and how bright it gets: written into the bitstream and into the container.

x265, x264 and SVT-AV1 take both as options. For the container PyAV 18 has no setter, but its streams made from a
template keep what the template's header says: so the head of a Matroska segment gets the elements that are missing, in
memory, and serves as template. Matroska's elements: RFC 9559, section 5.1.4.1.28.
"""

import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction

from vsr.frames import VideoInfo

_SEGMENT, _INFO, _TRACKS, _CLUSTER, _CRC32 = 0x18538067, 0x1549A966, 0x1654AE6B, 0x1F43B675, 0xBF
_COLOUR = (0xAE, 0xE0, 0x55B0)  # TrackEntry, Video, Colour: the way there from Tracks
_MAX_CLL, _MAX_FALL, _MASTERING = 0x55BC, 0x55BD, 0x55D0
# MasteringMetadata's in the order of AVMasteringDisplayMetadata: R, G, B and white as x and y, then min and max
_MASTERING_PARTS = (0x55D1, 0x55D2, 0x55D3, 0x55D4, 0x55D5, 0x55D6, 0x55D7, 0x55D8, 0x55DA, 0x55D9)


def encoder_params(encoder: str, video: VideoInfo) -> tuple[str, str] | None:
    """The option that makes an encoder write the light levels into its bitstream, and its value.

    None where there is nothing to write or no such option; the container says it in any case.
    """
    display, light = video.mastering_display, video.content_light
    words: list[str] = []
    match encoder:
        case "libx265" | "libx264":
            names = ("master-display", "max-cll") if encoder == "libx265" else ("mastering-display", "cll")
            if display:
                words.append(f"{names[0]}={_display(display, Fraction(1, 50000), Fraction(1, 10000))}")
            if light:
                words.append(f"{names[1]}={light[0]},{light[1]}")
            if words and encoder == "libx265":
                words += ["hdr10=1", "repeat-headers=1"]  # with every keyframe, since players begin anywhere
            option = encoder.removeprefix("lib") + "-params"
        case "libsvtav1":
            if display:
                words.append(f"mastering-display={_display(display, None, None)}")
            if light:
                words.append(f"content-light={light[0]},{light[1]}")
            option = "svtav1-params"
        case _:
            return None
    return (option, ":".join(words)) if words else None


def with_light_levels(segment: bytes, video: VideoInfo) -> bytes:
    """The head of a Matroska file, up to its first cluster, that says in its header how bright the picture is.

    `segment` is the beginning of a file that holds its first cluster. Without light levels: `segment` itself.
    """
    more = _levels(video)
    if not more:
        return segment
    made = b""
    for name, whole, head in _elements(segment):
        if name != _SEGMENT:
            made += whole
            continue
        inner = b""
        for part, content, begin in _elements(whole[head:]):
            if part == _TRACKS:
                inner += _element(_TRACKS, _inserted(content[begin:], _COLOUR, more))
            elif part in (_INFO, _CLUSTER):
                inner += content
            if part == _CLUSTER:  # libav looks at a packet before it believes in a stream
                break
        made += _element(_SEGMENT, inner)
    return made


def _display(display: Sequence[int], chromaticity: Fraction | None, luminance: Fraction | None) -> str:
    """G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min), in whole units or, without them, as decimals."""
    values = [Fraction(display[i], display[i + 1]) for i in range(0, 20, 2)]
    red, green, blue, white = ((values[i], values[i + 1]) for i in range(0, 8, 2))
    darkest, brightest = values[8:10]

    def pair(first: Fraction, second: Fraction, unit: Fraction | None) -> str:
        return f"({_in_units(first, unit)},{_in_units(second, unit)})"

    points = (("G", green), ("B", blue), ("R", red), ("WP", white))
    return "".join(f"{n}{pair(*xy, chromaticity)}" for n, xy in points) + f"L{pair(brightest, darkest, luminance)}"


def _in_units(value: Fraction, unit: Fraction | None) -> str:
    return f"{float(value):.7g}" if unit is None else str(round(value / unit))


def _levels(video: VideoInfo) -> bytes:
    """The elements that Colour lacks."""
    display, light, made = video.mastering_display, video.content_light, b""
    if light:
        made += b"".join(
            _element(name, value.to_bytes(4)) for name, value in zip((_MAX_CLL, _MAX_FALL), light, strict=True)
        )
    if display:
        values = [display[i] / display[i + 1] for i in range(0, 20, 2)]
        parts = zip(_MASTERING_PARTS, values, strict=True)
        made += _element(_MASTERING, b"".join(_element(name, struct.pack(">d", value)) for name, value in parts))
    return made


def _inserted(content: bytes, path: Sequence[int], more: bytes) -> bytes:
    """An element's content with `more` at the end of the one that `path` leads to, made where it is missing."""
    if not path:
        return content + more
    made, is_found = b"", False
    for name, whole, head in _elements(content):
        if name == path[0] and not is_found:
            made += _element(name, _inserted(whole[head:], path[1:], more))
            is_found = True
        elif name != _CRC32:  # of what it was before
            made += whole
    return made if is_found else made + _element(path[0], _inserted(b"", path[1:], more))


def _elements(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """(id, the whole element, where its content begins in it); the last one may be cut off, or of unknown size."""
    at = 0
    while at < len(data):
        size_at = at + 9 - data[at].bit_length()
        begin = size_at + 9 - data[size_at].bit_length()
        unknown = (1 << 7 * (begin - size_at)) - 1
        size = int.from_bytes(data[size_at:begin]) & unknown
        end = len(data) if size == unknown else begin + size
        yield int.from_bytes(data[at:size_at]), data[at:end], begin - at
        at = end


def _element(name: int, content: bytes) -> bytes:
    return name.to_bytes(-(-name.bit_length() // 8)) + (len(content) | 1 << 56).to_bytes(8) + content
