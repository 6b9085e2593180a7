"""What goes into which container: the plan for every source stream, made and tried before the first frame."""

import io
from collections.abc import Mapping, Sequence

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.subtitles.stream import SubtitleStream

from vsr.errors import ConfigError, MediaError
from vsr.frames import MediaInfo, StreamInfo, StreamPlan
from vsr.io.audio import MOST_CHANNELS, add_sound, sound_target
from vsr.io.container_kind import CONTAINERS, Container, as_container, muxer
from vsr.io.expected_streams import COVER_TYPES, not_carried
from vsr.io.opening import open_input
from vsr.io.subtitles import TEXT_CODECS, add_text
from vsr.settings import Audio

_LEAVES_OUT = ("nut", "y4m")  # what these cannot hold is left out and said: they are on their way to something else

_KINDS = {"v": "video", "a": "audio", "s": "subtitle", "t": "attachment", "d": "data"}
_MP4_COVERS = ("mjpeg", "png", "bmp")
_CAPTION_CODECS = ("eia_608", "dvb_teletext")

# What is converted to where a stream cannot be copied: the first of the sounds, if it is not said which.
_SOUNDS: dict[Container, tuple[str, ...]] = {
    "mp4": ("aac", "opus", "flac"),
    "mov": ("aac",),
    "mkv": ("aac", "opus", "flac"),
    "webm": ("opus",),
    "nut": ("aac", "flac"),
    "y4m": (),
}
_TEXTS: dict[Container, str] = {
    "mp4": "mov_text",
    "mov": "mov_text",
    "mkv": "subrip",
    "webm": "webvtt",
    "nut": "ass",
    "y4m": "",
}
_ORDERED = ("aac", "opus", "flac")  # what --audio may turn all sound into
_COPY = "copy"  # a stream's fate, when it is not the codec that it is converted to


def default_suffix(info: MediaInfo, codec: str | None = None, drop: Sequence[str] = (), audio: Audio = "auto") -> str:
    """The suffix, with its dot, for an output that the user gave no name: the source's if it holds everything.

    mp4, mov, mkv and webm stay; else the first of mkv, mp4 and mov that holds all as it is, and mkv when none does: the
    plan then converts, or names the stream. `codec` is the picture's; None takes what is usual for the container.
    """
    own = _own_container(info)
    others: tuple[Container, ...] = ("mkv", "mp4", "mov")
    order: list[Container] = [own] if own else []
    order.extend(c for c in others if c != own)
    with open_input(info.path, pipe=info.pipe, numbered=info.numbered) as source:
        kept = [s for s, why in _wanted(info, drop, audio) if not why]
        for container in order:
            picture = codec or ("av1" if container == "webm" else "hevc")
            if not _takes_picture(info, container, picture):
                continue
            fates = _fates(info, source, kept, container, picture, audio)
            if all(fates[s.index] == _COPY or (fates[s.index] and fates[s.index] == audio) for s in kept):
                return f".{container}"
    return ".mkv"


def plan_streams(
    info: MediaInfo, container: str, codec: str, drop: Sequence[str] = (), audio: Audio = "auto"
) -> tuple[StreamPlan, ...]:
    """Say for every source stream what happens to it, having tried the container's header with all of them.

    `codec` is the picture's. `drop` names streams to leave out: a, s, t, v, d or a:1. Sound and texts are copied where
    the container holds them, else converted, as far as `audio` lets them. Raises MediaError for a stream that the
    container cannot hold, ConfigError for a selector that matches nothing.
    """
    target = as_container(container)
    wanted = _wanted(info, drop, audio)
    kept = [stream for stream, why in wanted if not why]
    if not _takes_picture(info, target, codec):
        holder = next((c for c in CONTAINERS if _takes_picture(info, c, codec)), None)
        advice = f"give -o NAME.{holder} or another --codec" if holder else "give another --codec"
        raise MediaError(f"{info.path}: {codec} pictures do not fit into {container}; {advice}")
    with open_input(info.path, pipe=info.pipe, numbered=info.numbered) as source:
        fates = _fates(info, source, kept, target, codec, audio)
        refused = [s for s in kept if fates[s.index] is None]
        if refused and target not in _LEAVES_OUT:
            raise MediaError(_refusal(info, source, refused, target, codec, audio))
        wanted = [(s, f"{target} cannot hold it" if s in refused else why) for s, why in wanted]
        return tuple(
            StreamPlan(stream=stream, action="drop", why=why)
            if why
            else _plan(info, source, stream, fates[stream.index] or "", target, codec)
            for stream, why in wanted
        )


def add_stream(file: OutputContainer, template: Stream, codec: str | None) -> Stream:
    """Add a stream like the source's `template`: for its packets, or for what they are converted to."""
    if codec is not None and isinstance(template, AudioStream):
        return add_sound(file, sound_target(template.codec_context, codec))
    if codec is not None and isinstance(template, SubtitleStream):
        return add_text(file, template.codec_context, codec)
    return file.add_stream_from_template(template, opaque=True)


def _own_container(info: MediaInfo) -> Container | None:
    suffix = info.path.suffix.lower()
    if "mp4" in info.container:
        return "mov" if suffix in (".mov", ".qt") else "mp4"
    if "matroska" in info.container:
        return "webm" if suffix == ".webm" else "mkv"
    return None


def _wanted(info: MediaInfo, drop: Sequence[str], audio: Audio) -> list[tuple[StreamInfo, str]]:
    """Each stream with the reason why it is left out, "" when it is kept."""
    dropped = {index: "asked by --drop" for selector in drop for index in _matches(info, selector)}
    if audio == "none":
        dropped |= {s.index: "asked by --audio none" for s in info.streams if s.kind == "audio"}
    return [(s, dropped.get(s.index) or _lost_anyway(info, s)) for s in info.streams]


def _matches(info: MediaInfo, selector: str) -> list[int]:
    letter, colon, number = selector.strip().partition(":")
    kind = _KINDS.get(letter)
    if kind is None or (colon and not number.isdecimal()):
        raise ConfigError(f"--drop {selector}: is no selector; give a, s, t, v or d, or one stream as a:1")
    found = [s.index for s in info.streams if s.kind == kind and (not colon or s.position == int(number))]
    others = [index for index in found if index != info.video.index]
    if found and not others:
        raise ConfigError(f"--drop {selector}: is the video to upscale; leave it out")
    if not others:
        there = ", ".join(s.selector for s in info.streams if s.index != info.video.index) or "no other streams"
        raise ConfigError(f"--drop {selector}: matches nothing; {info.path.name} has {there}")
    return others


def _lost_anyway(info: MediaInfo, stream: StreamInfo) -> str:
    """Why a stream that cannot be carried is left out without being asked; said, never refused."""
    if stream.index == info.video.index or stream.kind == "attachment":
        return ""
    if stream.kind == "data":
        return "timed data is not carried"
    if stream.codec in _CAPTION_CODECS:
        return "closed captions are not carried"
    if stream.codec == "unknown":
        return "its codec is unknown here"
    return ""


def _plan(
    info: MediaInfo, source: InputContainer, stream: StreamInfo, fate: str, container: Container, codec: str
) -> StreamPlan:
    if stream.index == info.video.index:
        return StreamPlan(stream=stream, action="upscale", why=f"to {codec}")
    if stream.is_cover:
        if container == "mkv":
            return StreamPlan(stream=stream, action="attach", why="a cover is an attachment there")
        return StreamPlan(stream=stream, action="copy")
    lost = not_carried(stream, container)
    if fate == _COPY:
        return StreamPlan(stream=stream, action="copy", why=lost)
    template = source.streams[stream.index]
    made = str(sound_target(template.codec_context, fate)) if isinstance(template, AudioStream) else fate
    return StreamPlan(stream=stream, action="convert", why="; ".join(filter(None, (f"to {made}", lost))), codec=fate)


def _fates(
    info: MediaInfo,
    source: InputContainer,
    streams: Sequence[StreamInfo],
    container: Container,
    codec: str,
    audio: Audio,
) -> dict[int, str | None]:
    """By index: "copy", the codec that a stream is converted to, or None where neither is possible.

    Found by writing throw-away headers into memory.
    """
    fates: dict[int, str | None] = {info.video.index: _COPY}
    for stream in streams:
        if stream.index == info.video.index:
            continue
        is_to_change = stream.kind == "audio" and audio in _ORDERED and audio != stream.codec
        tried = [] if is_to_change or _is_lost(stream, container) else [_COPY]
        tried += filter(None, [_conversion(source, stream, container, audio)])
        fates[stream.index] = next(
            (fate for fate in tried if _accepts(info, source, {stream: fate}, container, codec)), None
        )
    others = {s: fate for s in streams if (fate := fates[s.index]) is not None and s.index != info.video.index}
    if others and not _accepts(info, source, others, container, codec):
        fates[list(others)[-1].index] = None  # each fits alone, not all together
    return fates


def _conversion(source: InputContainer, stream: StreamInfo, container: Container, audio: Audio) -> str | None:
    """The codec that a stream is converted to, None where that cannot be or is not wanted."""
    if stream.codec in TEXT_CODECS:
        return _TEXTS.get(container)
    template = source.streams[stream.index]
    if not isinstance(template, AudioStream) or audio == "copy":
        return None
    context = template.codec_context
    if not context.sample_rate or not 1 <= context.layout.nb_channels <= MOST_CHANNELS:  # 0 where none of it was found
        return None
    is_lossless = context.codec.lossless and not context.codec.lossy
    sounds = _SOUNDS[container]
    usual = "flac" if container in ("mkv", "nut") and is_lossless else next(iter(sounds), None)
    wanted = audio if audio in _ORDERED else usual
    return wanted if wanted in sounds else None


def _is_lost(stream: StreamInfo, container: Container) -> bool:
    """What no trial shows: webm takes an attachment, and mov a cover, without a word, and neither is in the file."""
    if container == "y4m":
        return True
    if stream.kind == "attachment":
        return container != "mkv"
    if stream.is_cover:
        holds = {"mp4": _MP4_COVERS, "mkv": tuple(COVER_TYPES)}.get(container, ())
        return stream.codec not in holds
    return False


def _takes_picture(info: MediaInfo, container: Container, codec: str) -> bool:
    try:
        with av.open(io.BytesIO(), "w", format=muxer(container)) as trial:
            trial.add_mux_stream(codec, width=info.video.width, height=info.video.height)
            if container in ("mp4", "mov"):  # Matroska's header wants the encoder's parameter sets, not there yet
                trial.start_encoding()
    except (FFmpegError, ValueError, OSError):
        return False
    return True


def _accepts(
    info: MediaInfo, source: InputContainer, fates: Mapping[StreamInfo, str], container: Container, codec: str
) -> bool:
    """Whether a header with a picture and these streams, copied or converted, can be written."""
    stand_in = codec if container in ("mp4", "mov") else "av1"
    try:
        with av.open(io.BytesIO(), "w", format=muxer(container)) as trial:
            trial.add_mux_stream(stand_in, width=info.video.width, height=info.video.height)
            for stream, fate in fates.items():
                if stream.kind == "attachment" or (stream.is_cover and container == "mkv"):
                    continue
                added = add_stream(trial, source.streams[stream.index], None if fate == _COPY else fate)
                if stream.is_cover:
                    added.disposition = Disposition.attached_pic
            trial.start_encoding()
    except (FFmpegError, ValueError, OSError):
        return False
    return True


def _refusal(
    info: MediaInfo,
    source: InputContainer,
    refused: Sequence[StreamInfo],
    container: Container,
    codec: str,
    audio: Audio,
) -> str:
    as_ordered = f" as {audio}" if audio in _ORDERED else ""
    what = ", ".join(f"{s.selector} ({s.codec}{as_ordered if s.kind == 'audio' else ''})" for s in refused)
    advice = f"leave out with --drop {','.join(s.selector for s in refused)}"
    kept = [s for s, why in _wanted(info, (), audio) if not why]
    for other in ("mkv", "mp4", "mov", "webm"):
        if other == container or not _takes_picture(info, other, codec):
            continue
        if None not in _fates(info, source, kept, other, codec, audio).values():
            return f"{info.path}: {what} cannot go into {container}; {advice}, or give -o NAME.{other}"
    return f"{info.path}: {what} cannot go into {container}; {advice}"
