"""Open clips that others made, and say what is in them: streams, size, colour, rate, and what cannot be carried."""

import io
import itertools
import math
import re
import statistics
import struct
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Literal, cast

import av
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError, InvalidDataError
from av.packet import Packet
from av.sidedata.sidedata import SideData
from av.stream import AttachmentStream, Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vsr.errors import MediaError
from vsr.frames import ColorSpec, MediaInfo, PixelLayout, Siting, StreamInfo, VideoInfo
from vsr.io.color_guess import first_said, guess_color
from vsr.io.pixels import has_alpha, planar_layout

MAX_SIDE = 32768  # pixels; a frame of this size is 3 GiB as RGB, more is an attack or a mistake
_WIDEST_PIXEL = Fraction(100)
_PACKETS_TO_FIRST_FRAME = 600  # a decoder that stays silent for longer has nothing to give
_PACKETS_FOR_RATE = 40
_FASTEST = Fraction(1000)  # frames a second; segments count frames in Matroska's milliseconds

# Demuxers of moving pictures. Left out on purpose: playlists (concat, hls, dash, image2, sdp, lavfi), which name other
# files and hosts, and those that turn any text into pictures (tty).
_DEMUXERS = (
    "3dostr,4xm,amv,anm,apng,argo_brp,asf,asf_o,av1,avi,avs,avs2,avs3,bethsoftvid,bfi,bink,bmv,c93,cavsvideo,cdg,cdxl,"
    "cine,dcstr,dhav,dirac,dnxhd,dsicin,dv,dxa,ea,ea_cdata,evc,film_cpk,filmstrip,flic,flv,frm,gdv,gif,gxf,h261,h263,"
    "h264,hevc,hnm,iff,ifv,ingenient,ipmovie,ipu,iss,iv8,ivf,ivr,jpegxl_anim,jv,kux,live_flv,lmlm4,lvf,lxf,m4v,"
    "matroska,webm,mgsts,mjpeg,mjpeg_2000,mlv,mm,moflex,mov,mp4,m4a,3gp,3g2,mj2,mpeg,mpegts,mpegvideo,msnwctcp,mtv,mv,"
    "mvi,mxf,mxg,nc,nsv,nut,nuv,obu,ogg,paf,pdv,pmp,psxstr,pva,r3d,rawvideo,rl2,rm,roq,rpl,ser,sga,siff,smjpeg,smk,"
    "smush,swf,thp,tiertexseq,tmv,ty,usm,vc1,vc1test,vividas,vivo,vmd,vvc,wc3movie,webp,wsvqa,wtv,xmv,yop,yuv4mpegpipe"
)
_NOT_READABLE = {
    "missing": "no such file; check the name",
    "folder": "is a folder; give a file, or use `vsr folder`",
    "special": "is no regular file; copy it to one first",
    "empty": "is empty; copy it again from where it came",
    "denied": "may not be read by you; change its permissions",
}

_SITING_CODES: dict[tuple[int, int], Siting] = {(1, 2): "left", (2, 2): "center", (1, 1): "topleft"}

_ONE = 1 << 16  # of the fixed-point numbers that turn, in a display matrix
_TAGGED_DURATION = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_MASTERING = struct.Struct("<22i")  # AVMasteringDisplayMetadata: ten rationals, two flags
_LOST_SIDE_DATA = {
    "A53_CC": "closed captions inside the pictures are not carried",
    "DOVI_RPU_BUFFER": "Dolby Vision metadata is not carried; the base layer's colours are",
    "DOVI_METADATA": "Dolby Vision metadata is not carried; the base layer's colours are",
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata is not carried; HDR10 is",
}


def open_input(path: Path, *, threads: int | None = None) -> InputContainer:
    """Open a clip for reading; the caller closes it, best by `with`.

    `threads` is what each video decoder may use; None leaves libav's default. A file that names other files or hosts
    is refused. Raises MediaError when there is nothing to read.
    """
    _check_file(path)
    try:
        container = av.open(
            str(path.absolute()),
            "r",
            container_options={"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"},
            metadata_errors="surrogateescape",
        )
    except (FFmpegError, ValueError, OSError) as e:  # UnknownCodecError is a ValueError only
        raise MediaError(f"{path}: {_why_unreadable(path, e)}") from e
    if threads is not None:
        for stream in container.streams.video:
            if stream.codec_context is not None:
                stream.codec_context.thread_count = threads
    return container


def probe(path: Path) -> MediaInfo:
    """Find the streams of a clip, and decode the first frame of the one to upscale.

    Raises MediaError when the file cannot be read or holds no video.
    """
    with open_input(path, threads=1) as container:
        streams = describe_streams(container)
        stream = choose_video(path, container)
        frame, first_pts = _first_frame(path, container, stream)
        side_data = side_data_of(frame)
        video = _video_info(container, stream, frame, first_pts, side_data)
        return MediaInfo(
            path=path,
            container=container.format.name,
            streams=streams,
            video=video,
            duration=_duration(container, stream, first_pts),
            notes=tuple(_notes(video, side_data)),
            chapters=len(container.chapters()),
        )


def packets_of(container: InputContainer, *streams: Stream) -> Iterator[Packet]:
    """Demux some streams; each ends with an empty packet.

    Ends without a word where PyAV 18 stumbles, after the last packet, over streams that appeared while reading.
    """
    try:
        yield from container.demux(*streams)
    except IndexError:  # its flush looks for streams that it never listed (FLV, TS, PS)
        return


def tagged_end(stream: Stream) -> Fraction | None:
    """Seconds at which the track ends by Matroska's DURATION tag, if it is there.

    libav's own `duration` of such a stream may be the whole file's.
    """
    tag = _TAGGED_DURATION.fullmatch((_tag(stream, "duration") or "").rstrip("\0"))
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + Fraction(tag[3]) if tag else None


def describe_streams(container: InputContainer) -> tuple[StreamInfo, ...]:
    """List the streams of an open clip, without the track that mp4 and mov keep chapter titles in."""
    counts: dict[str, int] = {}
    found: list[StreamInfo] = []
    for stream in container.streams:
        if is_chapter_track(container, stream):
            continue
        kind = _kind(stream)
        found.append(
            StreamInfo(
                index=stream.index,
                kind=kind,
                position=counts.get(kind, 0),
                codec=codec_name(stream),
                is_cover=is_picture(stream),
                language=_tag(stream, "language", but="und"),
                title=_tag(stream, "title") or _tag(stream, "filename"),
                flags=flags_of(stream),
            )
        )
        counts[kind] = counts.get(kind, 0) + 1
    return tuple(found)


def choose_video(path: Path, container: InputContainer) -> VideoStream:
    """The stream to upscale: the one flagged default, else the first, pictures left out."""
    moving = [s for s in container.streams.video if not is_picture(s)]
    if not moving and container.streams.video:
        raise MediaError(f"{path}: holds no video, only a cover picture; give a file with moving pictures")
    if not moving:
        raise MediaError(f"{path}: holds no video; give a file with moving pictures")
    flagged = [s for s in moving if s.disposition & Disposition.default]
    return (flagged or moving)[0]


def flags_of(stream: Stream) -> tuple[str, ...]:
    """A stream's dispositions by name; that it is a picture is told by `is_picture`."""
    return tuple(flag.name or "" for flag in Disposition if stream.disposition & flag & ~Disposition.attached_pic)


def is_picture(stream: Stream) -> bool:
    """Whether a stream is a still attached to the file: cover art or thumbnails."""
    pictures = Disposition.attached_pic | Disposition.timed_thumbnails
    return stream.type == "video" and bool(stream.disposition & pictures)


def is_chapter_track(container: InputContainer, stream: Stream) -> bool:
    """Whether a stream is the text track in which mp4 and mov keep chapter titles; they are read as chapters."""
    return "mp4" in container.format.name and stream.type == "data" and stream.name == "bin_data"


def codec_name(stream: Stream) -> str:
    """The codec's own name, not the decoder's: av1, not libdav1d. Attachments have their MIME type."""
    if isinstance(stream, AttachmentStream):
        return stream.mimetype or "unknown"
    if stream.codec_context is not None:
        return stream.codec_context.codec.canonical_name
    return (stream.name if stream.type == "data" else None) or "unknown"


def side_data_of(frame: VideoFrame) -> dict[str, bytes]:
    """What a frame carries beside its samples, by libav's names; nothing where PyAV does not know a type."""
    try:
        entries = cast(Iterator[SideData], iter(frame.side_data))  # values, whatever its stub says
        return {entry.type.name: bytes(entry) for entry in entries}
    except ValueError:  # one of a type newer than PyAV, such as Exif, and PyAV 18 hands out none
        return {}


def display_matrix_of(frame: VideoFrame) -> tuple[int, ...] | None:
    """How a frame is to be turned or mirrored, None when it is to be shown as it is."""
    raw = side_data_of(frame).get("DISPLAYMATRIX")
    return carried_matrix(struct.unpack("<9i", raw)) if raw else None


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            why = "folder"
        elif not path.exists():
            why = "missing"
        elif not path.is_file():
            why = "special"
        elif path.stat().st_size == 0:
            why = "empty"
        else:
            return
    except PermissionError:
        why = "denied"
    except OSError as e:  # a name that is too long, a link that leads to itself
        raise MediaError(f"{path}: cannot be looked up ({e.strerror}); check the name") from e
    raise MediaError(f"{path}: {_NOT_READABLE[why]}")


def _why_unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return _NOT_READABLE["denied"]
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        head = b""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "its index (moov) is missing or damaged, as when a recording was cut short; copy it again or repair it"
    if isinstance(error, InvalidDataError | ArgumentError | EOFError):  # the second: a demuxer that is left out above
        return "is no video, or is damaged beyond reading; give a video file"
    return f"cannot be opened ({getattr(error, 'strerror', None) or error}); check the file"


def _kind(stream: Stream) -> Literal["video", "audio", "subtitle", "attachment", "data"]:
    return "data" if stream.type == "unknown" else stream.type


def _tag(stream: Stream, name: str, *, but: str = "") -> str | None:
    """A metadata value that can be printed, None when it is absent or says nothing."""
    value = next((v for k, v in stream.metadata.items() if k.lower() == name), "")
    value = value.encode("utf-8", "replace").decode().strip()
    return None if value in ("", but) else value


def _first_frame(path: Path, container: InputContainer, stream: VideoStream) -> tuple[VideoFrame, int]:
    """The first frame in presentation order, and its time in ticks."""
    context = stream.codec_context
    if context is None:
        raise MediaError(
            f"{path}: v:{_position(container, stream)} has a codec that is not known here; convert it first"
        )
    _check_size(path, context.height, context.width)
    is_avi = container.format.name == "avi"
    error: Exception | None = None
    times: list[int] = []
    packets = packets_of(container, stream)
    for _ in range(_PACKETS_TO_FIRST_FRAME):
        try:
            packet = next(packets, None)
            frames = packet.decode() if packet is not None else []
        except (FFmpegError, ValueError) as e:
            error = e
            continue
        if packet is None:
            break
        # AVI knows no presentation times: those PyAV gives are wrong where frames are reordered
        time = packet.dts if is_avi else packet.pts
        if packet.size and not packet.is_discard and time is not None:
            times.append(time)
        for frame in frames:
            if isinstance(frame, VideoFrame):
                _check_size(path, frame.height, frame.width)
                return frame, min(times, default=0) if frame.pts is None or is_avi else frame.pts
    raise MediaError(f"{path}: no frame of its {codec_name(stream)} video can be decoded; copy it again") from error


def _check_size(path: Path, height: int, width: int) -> None:
    if max(height, width) > MAX_SIDE:
        raise MediaError(f"{path}: {width}x{height} pixels are too many; at most {MAX_SIDE} a side can be read")


def _position(container: InputContainer, stream: Stream) -> int:
    return [s.index for s in container.streams.video].index(stream.index)


def _video_info(
    container: InputContainer, stream: VideoStream, frame: VideoFrame, first_pts: int, side_data: Mapping[str, bytes]
) -> VideoInfo:
    layout = planar_layout(frame.format.name)
    rate = _rate(container, stream)
    mastering, light = side_data.get("MASTERING_DISPLAY_METADATA"), side_data.get("CONTENT_LIGHT_LEVEL")
    return VideoInfo(
        index=stream.index,
        height=frame.height,
        width=frame.width,
        codec=codec_name(stream),
        pix_fmt=frame.format.name,
        layout=layout,
        color=_color(stream, frame, layout),
        rate=rate,
        time_base=stream.time_base or 1 / rate,
        first_pts=first_pts,
        sample_aspect_ratio=_aspect(stream),
        display_matrix=display_matrix_of(frame),
        has_alpha=has_alpha(frame.format.name),
        is_interlaced=bool(frame.interlaced_frame) or stream.codec_context.field_order in (2, 3, 4, 5),
        frame_estimate=_frame_estimate(stream, rate, _duration(container, stream, first_pts)),
        mastering_display=_MASTERING.unpack(mastering) if mastering else None,
        content_light=struct.unpack("<2I", light[:8]) if light else None,
    )


def _color(stream: VideoStream, frame: VideoFrame, layout: PixelLayout) -> ColorSpec:
    context = stream.codec_context
    color_range = frame.color_range or context.color_range
    is_jpeg = frame.format.name.startswith("yuvj")
    is_said = color_range in (1, 2) or is_jpeg or layout.kind == "rgb"
    full_range = color_range == 2 or is_jpeg or (layout.kind == "rgb" and color_range != 1)
    tagged = ColorSpec(
        matrix=first_said(frame.colorspace, context.colorspace),
        primaries=first_said(frame.color_primaries, context.color_primaries),
        transfer=first_said(frame.color_trc, context.color_trc),
        full_range=full_range,
        guessed=() if is_said else ("full_range",),
    )
    return guess_color(
        tagged,
        layout=layout,
        size=(frame.height, frame.width),
        codec=codec_name(stream),
        siting=chroma_siting(stream),
    )


def chroma_siting(stream: VideoStream) -> Siting | None:
    """Where chroma samples lie, None when the stream does not say.

    PyAV 18 has no such attribute, but its Matroska muxer writes it: copy the header into memory and look there.
    """
    memory = io.BytesIO()
    try:
        with av.open(memory, "w", format="matroska") as trial:
            trial.add_stream_from_template(stream, opaque=True)
            trial.start_encoding()
    except (FFmpegError, ValueError, OSError):  # a codec that Matroska does not hold
        return None
    head = memory.getvalue()
    across, down = head.find(b"\x55\xb7\x81"), head.find(b"\x55\xb8\x81")  # ChromaSitingHorz, ChromaSitingVert
    if across < 0 or down < 0:
        return None
    return _SITING_CODES.get((head[across + 3], head[down + 3]))


def _aspect(stream: VideoStream) -> Fraction | None:
    """The shape of a pixel; nonsense, as damage makes it, is taken as not said."""
    ratio = stream.sample_aspect_ratio
    return ratio if ratio and 1 / _WIDEST_PIXEL <= ratio <= _WIDEST_PIXEL else None


def is_quarter_turn(matrix: tuple[int, ...]) -> bool:
    """Whether a display matrix turns by a multiple of 90 degrees, mirrored or not; then it only moves pixels."""
    a, b, c, d = (matrix[i] for i in (0, 1, 3, 4))
    return {abs(a), abs(b)} == {abs(c), abs(d)} == {0, _ONE} and abs(a) == abs(d)


def carried_matrix(matrix: tuple[int, ...]) -> tuple[int, ...] | None:
    """A display matrix as it can be carried: a turn by any angle, or by quarters and mirrored.

    None for one that says nothing, and for scaling and shearing, which players ignore and Matroska does not hold.
    """
    a, b, c, d = (matrix[i] for i in (0, 1, 3, 4))
    if (a, b, c, d) == (_ONE, 0, 0, _ONE):
        return None
    is_turn = abs(a - d) <= 2 and abs(b + c) <= 2 and abs(math.hypot(a, b) / _ONE - 1) < 1e-3
    return matrix if is_turn or is_quarter_turn(matrix) else None


def _rate(container: InputContainer, stream: VideoStream) -> Fraction:
    """A rate one can believe: libav's guess when the average bears it out, else measured on the first packets."""
    said = [r for r in (stream.guessed_rate, stream.average_rate) if r]
    if len(said) == 2 and abs(said[0] - said[1]) <= said[1] / 10:
        return min(said[0], _FASTEST)
    measured = _measured_rate(container, stream)
    return min(measured or min(said, default=Fraction(25)), _FASTEST)


def _measured_rate(container: InputContainer, stream: VideoStream) -> Fraction | None:
    times: list[int] = []
    try:
        container.seek(0, backward=True, any_frame=False)
        for packet in packets_of(container, stream):
            if packet.size and packet.pts is not None:
                times.append(packet.pts)
            if len(times) >= _PACKETS_FOR_RATE:
                break
    except (FFmpegError, OSError):  # cannot be sought, or ends in damage: measure what came
        pass
    times = sorted(times)[:-4]  # late ones may lack a neighbour that is still to come
    steps = [after - before for before, after in itertools.pairwise(times) if after > before]
    if len(steps) < 4 or not stream.time_base:
        return None
    return 1 / (Fraction(statistics.median(steps)) * stream.time_base)


def _duration(container: InputContainer, stream: VideoStream, first_pts: int) -> Fraction | None:
    """Seconds from the first frame to the end of the last, from the stream where it tells, else of the whole file."""
    end = tagged_end(stream)
    if end is not None and stream.time_base:
        return max(Fraction(0), end - first_pts * stream.time_base) or None
    if stream.duration and stream.time_base:
        return stream.duration * stream.time_base
    if container.duration:
        return Fraction(container.duration, 1_000_000)
    return None


def _frame_estimate(stream: VideoStream, rate: Fraction, duration: Fraction | None) -> int | None:
    counted = stream.frames or _tagged_count(stream.metadata.items())
    if counted:
        return counted
    return None if duration is None else max(1, round(duration * rate))


def _tagged_count(tags: Iterable[tuple[str, str]]) -> int:
    """mkvmerge's statistics: NUMBER_OF_FRAMES, or NUMBER_OF_FRAMES-eng."""
    return next((int(v) for k, v in tags if k.startswith("NUMBER_OF_FRAMES") and v.isdigit()), 0)


def _notes(video: VideoInfo, side_data: Mapping[str, bytes]) -> Iterable[str]:
    yield from dict.fromkeys(note for name, note in _LOST_SIDE_DATA.items() if name in side_data)
    if video.has_alpha:
        yield "the alpha plane is not carried"
