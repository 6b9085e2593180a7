"""What a finished file must hold, told from the source and the plan alone: for a file whose making is over."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from vsr.errors import MediaError
from vsr.frames import ColorSpec, MediaInfo, SegmentFile, StreamPlan
from vsr.io.assembly import Assembled, Assembly
from vsr.io.container_kind import as_container, muxer
from vsr.io.copies import CopiedStream
from vsr.io.copy_pass import copied_packets
from vsr.io.opening import open_input
from vsr.io.picture import Picture
from vsr.io.schedule import make_schedule
from vsr.io.streams import codec_name, is_picture
from vsr.stage import Cancel


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenPicture:
    """A Picture of which all is known, and no encoder."""

    codec: str
    height: int
    width: int
    color: ColorSpec
    sample_aspect_ratio: Fraction | None
    untold: frozenset[str] = frozenset()
    has_alpha: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPicture:
    """The moving picture that a file holds, as its header says."""

    place: int  # among the file's streams
    codec: str
    pix_fmt: str
    height: int
    width: int


def find_picture(path: Path, position: int) -> FoundPicture:
    """The moving picture at `position` among a file's, else its first. Raises MediaError where there is none."""
    with open_input(path) as file:
        moving = [stream for stream in file.streams.video if not is_picture(stream)]
        if not moving:
            raise MediaError(f"{path}: holds no video; give a file that vsr wrote")
        stream = moving[min(position, len(moving) - 1)]
        context = stream.codec_context
        return FoundPicture(
            place=stream.index,
            codec=codec_name(stream),
            pix_fmt=context.pix_fmt or "",
            height=context.height,
            width=context.width,
        )


def expected_file(
    info: MediaInfo,
    plan: Sequence[StreamPlan],
    output: Path,
    *,
    pts: Sequence[int],
    container: str,
    picture: Picture,
    place: int,
    cancel: Cancel,
    first_pts: int | None = None,
    end_time: Fraction | None = None,
) -> Assembled:
    """What `join` would have said of `output`, had it just written it. All arguments as there.

    `pts` are those of the frames in display order; `place` is the picture's among the output's streams. All packets of
    the source's other streams are read, and converted where the plan says so; the bytes of converted ones are not
    compared, since another build of an encoder makes others.
    """
    target = as_container(container)
    try:
        with open_input(info.path, numbered=info.numbered) as source, open_input(output) as made:
            schedule, notes = make_schedule(
                info, [SegmentFile(path=output, pts=tuple(pts))], target, first_pts=first_pts, end=end_time
            )
            assembly = Assembly(
                info=info,
                plan=plan,
                container=target,
                picture=picture,
                schedule=schedule,
                source=source,
                notes=notes,
            )
            return _assembled(assembly, made, place, cancel)
    except (FFmpegError, OSError, ValueError) as e:
        why = getattr(e, "strerror", None) or e
        raise MediaError(f"{info.path}: cannot be held against {output}: {why}; check both files") from e


def _assembled(assembly: Assembly, made: InputContainer, place: int, cancel: Cancel) -> Assembled:
    """Write the header into nothing, which tells in which ticks times are counted, and send all packets after it."""

    def add_picture(file: OutputContainer) -> VideoStream:
        template = made.streams[place]
        assert isinstance(template, VideoStream)
        return file.add_stream_from_template(template, opaque=True)

    options = {name: value for name, value in assembly.options().items() if name != "movflags"}
    file = av.open(
        _Nowhere(),
        "w",
        format=muxer(assembly.container),
        container_options=options,
        metadata_errors="surrogateescape",
    )
    with file:
        tracks, _ = assembly.prepare(file, add_picture)
        for _ in copied_packets(assembly.source, tracks, assembly.notes, path=assembly.info.path):
            cancel.check()
        result = assembly.result(tracks, assembly.schedule)
    return replace(result, copies=tuple(map(_without_own_bytes, result.copies)))


def _without_own_bytes(copy: CopiedStream) -> CopiedStream:
    return replace(copy, digest=None) if copy.expected.is_converted else copy


class _Nowhere(io.RawIOBase):
    """A file that takes all and keeps nothing but its size."""

    name = "nowhere"

    def __init__(self) -> None:
        super().__init__()
        self._place = 0
        self._size = 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def write(self, data: object) -> int:
        assert isinstance(data, bytes | bytearray | memoryview)
        self._place += len(data)
        self._size = max(self._size, self._place)
        return len(data)
