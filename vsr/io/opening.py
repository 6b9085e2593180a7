"""Open clips that others made, and read their packets, whatever the file does."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import av
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError, InvalidDataError
from av.packet import Packet
from av.stream import Stream

from vsr.disk import require_readable
from vsr.errors import MediaError
from vsr.frames import NumberedFrames
from vsr.io.animation import as_clip, is_animated_webp
from vsr.io.cut import is_cut_short
from vsr.pipes import Inflow

# Demuxers of moving pictures, and of sound that is given by mistake and deserves a clear line. Left out on purpose:
# playlists (concat, hls, dash, image2, sdp, lavfi), which name other files and hosts, and those that turn any text into
# pictures (tty).
_DEMUXERS = (
    "3dostr,4xm,amv,anm,apng,argo_brp,asf,asf_o,av1,avi,avs,avs2,avs3,bethsoftvid,bfi,bink,bmv,c93,cavsvideo,cdg,cdxl,"
    "cine,dcstr,dhav,dirac,dnxhd,dsicin,dv,dxa,ea,ea_cdata,evc,film_cpk,filmstrip,flic,flv,frm,gdv,gif,gxf,h261,h263,"
    "h264,hevc,hnm,iff,ifv,ingenient,ipmovie,ipu,iss,iv8,ivf,ivr,jpegxl_anim,jv,kux,live_flv,lmlm4,lvf,lxf,m4v,"
    "matroska,webm,mgsts,mjpeg,mjpeg_2000,mlv,mm,moflex,mov,mp4,m4a,3gp,3g2,mj2,mpeg,mpegts,mpegvideo,msnwctcp,mtv,mv,"
    "mvi,mxf,mxg,nc,nsv,nut,nuv,obu,ogg,paf,pdv,pmp,psxstr,pva,r3d,rawvideo,rl2,rm,roq,rpl,ser,sga,siff,smjpeg,smk,"
    "smush,swf,thp,tiertexseq,tmv,ty,usm,vc1,vc1test,vividas,vivo,vmd,vvc,wc3movie,webp,wsvqa,wtv,xmv,yop,yuv4mpegpipe,"
    "aac,ac3,aiff,ape,caf,dsf,dts,dtshd,eac3,flac,mp2,mp3,mpc,mpc8,tak,truehd,tta,w64,wav,wv"
)
_INDEX_BYTES = 64 << 20  # at the end of a file, where its index may lie
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_WITHOUT_INDEX = "its index (moov) is missing or damaged, as when a recording was cut short; copy it again or repair it"
_NOT_READABLE = {
    "missing": "no such file; check the name",
    "folder": "is a folder; give a file, or use `vsr folder`",
    "special": "is no regular file; copy it to one first",
    "empty": "is empty; copy it again from where it came",
    "denied": "may not be read by you; change its permissions",
}


def open_input(
    path: Path, *, pipe: Inflow | None = None, numbered: NumberedFrames | None = None, threads: int | None = None
) -> InputContainer:
    """Open a clip for reading; the caller closes it, best by `with`.

    What comes through `pipe` is read from its first byte on; `numbered` tells of the pictures that `path` stands for.
    `threads` is what each video decoder may use; None leaves libav's default. A file that names other files or hosts is
    refused. Raises MediaError when there is nothing to read.
    """
    if numbered is not None:
        return _open_numbered(path, numbered)
    if pipe is None:
        _check_file(path)
    elif pipe.is_empty():
        raise MediaError(f"{path}: is empty; look at what was to write into the pipe")
    try:
        if pipe is not None:
            readable = pipe.reader()
        else:
            readable = as_clip(path) if is_animated_webp(path) else str(path.absolute())
        container = av.open(
            readable,
            "r",
            container_options={"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"},
            metadata_errors="surrogateescape",
        )
    except (FFmpegError, ValueError, OSError) as e:  # UnknownCodecError is a ValueError only
        why = _why_unreadable(path, e) if pipe is None else _why_no_clip(pipe)
        raise MediaError(f"{path}: {why}") from e
    if pipe is None and not container.streams.video and is_cut_short(path, container.format.name):
        container.close()
        raise MediaError(f"{path}: {_WITHOUT_INDEX}")
    if threads is not None:
        for stream in container.streams.video:
            if stream.codec_context is not None:
                stream.codec_context.thread_count = threads
    return container


def packets_of(container: InputContainer, *streams: Stream) -> Iterator[Packet]:
    """Demux some streams; each ends with an empty packet.

    Ends without a word where PyAV 18 stumbles, after the last packet, over streams that appeared while reading.
    """
    try:
        yield from container.demux(*streams)
    except IndexError:  # its flush looks for streams that it never listed (FLV, TS, PS)
        return


def _open_numbered(pattern: Path, frames: NumberedFrames) -> InputContainer:
    """Pictures as a clip of one stream."""
    folder = str(pattern.absolute().parent).replace("%", "%%")  # where a percent sign is no number's place
    options = {"pattern_type": "sequence", "start_number": str(frames.first), "framerate": str(frames.rate)}
    try:
        return av.open(
            f"{folder}/{pattern.name}",
            "r",
            format="image2",
            container_options=options | {"format_whitelist": "image2", "protocol_whitelist": "file"},
        )
    except (FFmpegError, ValueError, OSError) as e:
        raise MediaError(f"{pattern}: are no pictures that can be read in a row ({e}); convert them to PNG") from e


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


def _why_no_clip(pipe: Inflow) -> str:
    if pipe.read_at(0, 16)[4:8] in _MP4_BOXES:
        return "is an mp4 or mov whose index comes last: no pipe can carry that; name the file, or pipe in matroska"
    return "is no video that can be recognised; pipe in matroska, nut, mpegts or y4m"


def _why_unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return _NOT_READABLE["denied"]
    with suppress(OSError):
        require_readable(path, max(0, path.stat().st_size - _INDEX_BYTES))
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        head = b""
    if head[4:8] in _MP4_BOXES:
        return _WITHOUT_INDEX
    if isinstance(error, InvalidDataError | ArgumentError | EOFError):  # the second: a demuxer that is left out above
        return "is no video, or is damaged beyond reading; give a video file"
    return f"cannot be opened ({getattr(error, 'strerror', None) or error}); check the file"
