"""The finished file held against what it must hold, by reading it back, before it gets its name."""

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vsr.errors import MediaError
from vsr.frames import StreamInfo
from vsr.io.container import ExpectedStream, kept_flags
from vsr.io.join import CopiedStream, Joined, is_filler
from vsr.io.probe import chroma_siting, describe_streams, open_input, side_data_of
from vsr.stage import Cancel

_MILLISECOND = Fraction(1, 1000)  # Matroska's tick
_SAME_MATRIX = {5: 6}  # one matrix under two numbers; VP9 knows only the first
_UNTOLD = -(2**63)  # in place of a time: libav does not read those before zero in Matroska
_MOST_NAMED = 3  # wrong times that one line names


@dataclass(slots=True)
class _Read:
    """What demuxing found in one stream."""

    base: Fraction
    times: "array[int]" = field(default_factory=lambda: array("q"))
    hash: hashlib.blake2b = field(default_factory=hashlib.blake2b)
    hidden: int = 0  # packets that the container tells players not to show


def check_output(output: Path, expected: Joined, *, cancel: Cancel | None = None) -> list[str]:
    """Compare a finished file with what was joined; an empty list means that nothing is wrong.

    Each finding is one line. Only the first frame is decoded; every packet is read.
    """
    try:
        with open_input(output) as file:
            streams = [s for s in describe_streams(file) if s.kind != "data"]
            findings = list(_check_streams(expected, streams))
            if findings:  # what follows needs them to correspond
                return findings
            pairs = list(zip(expected.streams, streams, strict=True))
            read = _read_all(file, pairs, cancel)
            findings += _check_picture(expected, pairs, read, file)
            findings += _check_copies(expected, read)
            findings += _check_chapters(expected, file)
        with open_input(output) as file:
            findings += _check_first_frame(expected, _video(expected, pairs, file))
    except MediaError as e:
        return [f"cannot be read back: {e}"]
    except (FFmpegError, OSError) as e:
        return [f"cannot be read back to its end: {e.strerror or e}"]
    return findings


def _check_streams(expected: Joined, streams: Sequence[StreamInfo]) -> Iterator[str]:
    wanted = [_name(s.kind, s.codec, is_cover=s.is_cover) for s in expected.streams]
    found = [_name(s.kind, s.codec, is_cover=s.is_cover) for s in streams]
    if wanted != found:
        yield f"holds the streams {', '.join(found) or 'none'} instead of {', '.join(wanted)}"
        return
    for want, have in zip(expected.streams, streams, strict=True):
        if want.is_cover or want.kind == "attachment":
            continue
        if have.language != want.language:
            yield f"{want.source.selector}: has the language {have.language} instead of {want.language}"
        flags = kept_flags(have.flags, expected.container, have.kind)
        if flags != want.flags:
            yield f"{want.source.selector}: is flagged {_flags(flags)} instead of {_flags(want.flags)}"


def _name(kind: str, codec: str, *, is_cover: bool) -> str:
    return f"{'cover' if is_cover else kind} {codec}"


def _flags(flags: frozenset[str]) -> str:
    return "+".join(sorted(flags)) or "nothing"


def _read_all(
    file: InputContainer, pairs: Sequence[tuple[ExpectedStream, StreamInfo]], cancel: Cancel | None
) -> dict[int, _Read]:
    """Demux the tracks once; by the source's stream index."""
    tracks = {have.index: want for want, have in pairs if not (want.is_cover or want.kind == "attachment")}
    read = {
        want.source.index: _Read(base=file.streams[index].time_base or _MILLISECOND) for index, want in tracks.items()
    }
    for packet in file.demux([file.streams[index] for index in tracks]):
        if cancel is not None:
            cancel.check()
        if packet.size:
            want = tracks[packet.stream.index]
            _note(packet, want, read[want.source.index])
    return read


def _note(packet: Packet, want: ExpectedStream, read: _Read) -> None:
    if is_filler(want.codec, packet):
        return
    if packet.is_discard and want.kind == "video":
        read.hidden += 1
    read.times.append(_UNTOLD if packet.pts is None else packet.pts)
    read.hash.update(packet)


def _check_picture(
    expected: Joined, pairs: Sequence[tuple[ExpectedStream, StreamInfo]], read: dict[int, _Read], file: InputContainer
) -> Iterator[str]:
    """Every frame's time, the size, shape and colour of the picture, and where it ends."""
    want, have = _upscaled(expected, pairs)
    found = read[want.source.index]
    if found.hidden:
        yield f"{found.hidden} frames are hidden by the container"
    if len(found.times) != len(expected.pts):
        yield f"holds {len(found.times)} frames instead of {len(expected.pts)}"
        return
    yield from _compare_times(
        "frame", sorted(found.times), found.base, expected.pts, expected.time_base, _frame_tolerance(expected, found)
    )
    stream = file.streams[have.index]
    end = _end(stream, found)
    tolerance = max(2 * _MILLISECOND, found.base)
    if end is not None and abs(end - expected.end) > tolerance:
        yield f"the picture ends at {float(end):.4f} s instead of {float(expected.end):.4f} s"


def _frame_tolerance(expected: Joined, found: _Read) -> Fraction:
    """Nothing where the container counts in the source's ticks or finer, else half a tick of it."""
    if expected.container in ("mp4", "mov") and (expected.time_base / found.base).denominator == 1:
        return Fraction(0)
    return max(found.base / 2, _MILLISECOND / 2)


def _end(stream: Stream, found: _Read) -> Fraction | None:
    """When the last frame ends, as far as the container says it of this stream."""
    said = stream.metadata.get("DURATION", "").split(":")
    if len(said) == 3:  # Matroska; there libav may take the whole file's for the stream's
        return int(said[0]) * 3600 + int(said[1]) * 60 + Fraction(said[2])
    if stream.duration is None or stream.time_base is None:
        return None
    return (min(found.times, default=0) + stream.duration) * stream.time_base


def _check_copies(expected: Joined, read: dict[int, _Read]) -> Iterator[str]:
    for copy in expected.copies:
        source = copy.expected.source
        found = read[source.index]
        if len(found.times) != len(copy.times):
            yield f"{source.selector}: holds {len(found.times)} packets instead of {len(copy.times)}"
            continue
        if copy.digest is not None and found.hash.hexdigest() != copy.digest:
            yield f"{source.selector}: its packets differ from the source's"
        yield from _compare_times(
            f"{source.selector} packet",
            found.times,
            found.base,
            copy.times,
            copy.time_base,
            _copy_tolerance(copy, found),
        )


def _copy_tolerance(copy: CopiedStream, found: _Read) -> Fraction:
    return max(copy.source_tick, copy.time_base, found.base)


def _compare_times(
    what: str, found: Sequence[int], base: Fraction, wanted: Sequence[int], wanted_base: Fraction, tolerance: Fraction
) -> Iterator[str]:
    """One line that names the first few wrong times, of two equally long sequences in ticks."""
    common = Fraction(1, base.denominator * wanted_base.denominator)
    a, b, most = int(base / common), int(wanted_base / common), tolerance / common
    wrong = [
        n
        for n, (x, y) in enumerate(zip(found, wanted, strict=True))
        if abs(x * a - y * b) > most and not (x == _UNTOLD and y < 0)
    ]
    if wrong:
        named = ", ".join(
            f"{n} at {float(found[n] * base):.5f} s instead of {float(wanted[n] * wanted_base):.5f} s"
            for n in wrong[:_MOST_NAMED]
        )
        more = f", and {len(wrong) - _MOST_NAMED} more" if len(wrong) > _MOST_NAMED else ""
        yield f"{what} {named}{more}"


def _check_chapters(expected: Joined, file: InputContainer) -> Iterator[str]:
    found = file.chapters()
    if len(found) != len(expected.chapters):
        yield f"holds {len(found)} chapters instead of {len(expected.chapters)}"
        return
    for number, (chapter, (start, title)) in enumerate(zip(found, expected.chapters, strict=True), 1):
        begins = chapter["start"] * (chapter["time_base"] or 1)
        if abs(begins - start) > _MILLISECOND:
            yield f"chapter {number} begins at {float(begins):.3f} s instead of {float(start):.3f} s"
        if chapter["metadata"].get("title", "") != title:
            yield f"chapter {number} is named {chapter['metadata'].get('title', '')!r} instead of {title!r}"


def _check_first_frame(expected: Joined, stream: VideoStream) -> Iterator[str]:
    frame = _first_frame(stream)
    if frame is None:
        yield "its first frame cannot be decoded"
        return
    picture, color = expected.picture, expected.picture.color
    if (frame.height, frame.width) != (picture.height, picture.width):
        yield f"is {frame.width}x{frame.height} instead of {picture.width}x{picture.height}"
    for what, found, wanted in (
        ("matrix", _same(frame.colorspace), _same(color.matrix)),
        ("primaries", frame.color_primaries, color.primaries),
        ("transfer", frame.color_trc, color.transfer),
    ):
        if found != wanted:
            yield f"is tagged {what} {found} instead of {wanted}"
    is_full = frame.color_range == 2 or frame.format.name.startswith("yuvj")
    if not frame.format.is_rgb and is_full != color.full_range:
        yield f"is tagged {'full' if is_full else 'limited'} range instead of the other"
    siting = chroma_siting(stream) if frame.format.name.startswith(("yuv420", "yuvj420")) else None
    if siting not in (None, color.siting):
        yield f"is tagged chroma {siting} instead of {color.siting}"
    yield from _check_shape(expected, stream, frame)


def _check_shape(expected: Joined, stream: VideoStream, frame: VideoFrame) -> Iterator[str]:
    wanted = expected.sample_aspect_ratio
    found = stream.sample_aspect_ratio or Fraction(1)
    if wanted is not None and found != wanted:
        yield f"has the sample aspect ratio {found} instead of {wanted}"
    raw = side_data_of(frame).get("DISPLAYMATRIX")
    turn = _turn(memoryview(raw).cast("i").tolist() if raw else None)
    if turn != _turn(expected.display_matrix):
        yield f"is turned by {turn} instead of {_turn(expected.display_matrix)}"


def _turn(matrix: Sequence[int] | None) -> tuple[int, ...]:
    """The part of a display matrix that turns and mirrors, as small whole numbers."""
    return (1, 0, 0, 1) if matrix is None else tuple(round(matrix[i] / 65536) for i in (0, 1, 3, 4))


def _same(matrix: int) -> int:
    return _SAME_MATRIX.get(matrix, matrix)


def _upscaled(
    expected: Joined, pairs: Sequence[tuple[ExpectedStream, StreamInfo]]
) -> tuple[ExpectedStream, StreamInfo]:
    copied = {copy.expected.source.index for copy in expected.copies}
    return next(
        (want, have)
        for want, have in pairs
        if want.kind == "video" and not want.is_cover and want.source.index not in copied
    )


def _video(expected: Joined, pairs: Sequence[tuple[ExpectedStream, StreamInfo]], file: InputContainer) -> VideoStream:
    stream = file.streams[_upscaled(expected, pairs)[1].index]
    assert isinstance(stream, VideoStream)
    return stream


def _first_frame(stream: VideoStream) -> VideoFrame | None:
    container = stream.container
    assert isinstance(container, InputContainer)
    return next(container.decode(stream), None)
