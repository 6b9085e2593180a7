"""What goes into which container: the plan for every source stream, made and tried before the first frame."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.subtitles.stream import SubtitleStream

from vsr.errors import ConfigError, MediaError
from vsr.frames import MediaInfo, StreamInfo, StreamPlan
from vsr.io.audio import MOST_CHANNELS, add_sound, sound_target
from vsr.io.opening import open_input
from vsr.io.subtitles import TEXT_CODECS, add_text
from vsr.settings import Audio

Container = Literal["mp4", "mov", "mkv", "webm", "nut", "y4m"]
CONTAINERS: tuple[Container, ...] = ("mp4", "mov", "mkv", "webm")  # of files
PIPED: tuple[Container, ...] = ("nut", "y4m", "mkv", "webm")  # what can be written without going back
_LEAVES_OUT = ("nut", "y4m")  # what these cannot hold is left out and said: they are on their way to something else

_MUXERS: dict[Container, str] = {
    "mp4": "mp4",
    "mov": "mov",
    "mkv": "matroska",
    "webm": "webm",
    "nut": "nut",
    "y4m": "yuv4mpegpipe",
}
_KINDS = {"v": "video", "a": "audio", "s": "subtitle", "t": "attachment", "d": "data"}
_COVER_TYPES = {"mjpeg": "image/jpeg", "png": "image/png", "gif": "image/gif", "tiff": "image/tiff"}
_MP4_COVERS = ("mjpeg", "png", "bmp")
_READS_AS = {("mp4", "mp2"): "mp3"}  # one number in mp4 means all layers of MPEG audio
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

# Flags that come back when the finished file is read; measured with PyAV 18.1.
_KEPT_FLAGS: dict[Container, tuple[str, ...]] = {
    "mp4": ("default", "dub", "comment", "forced", "hearing_impaired", "visual_impaired"),
    "mov": ("default",),
    "mkv": ("default", "dub", "original", "comment", "forced", "hearing_impaired", "visual_impaired", "descriptions"),
    "webm": ("default", "forced"),
    "nut": ("default", "dub", "original", "comment"),
    "y4m": (),
}
_SAME_FLAG = {"captions": "hearing_impaired", "descriptions": "visual_impaired"}  # one box in mp4 says both

# QuickTime numbers its languages, and libav knows them by these names only.
_QUICKTIME_LANGUAGES = (
    "eng fra ger ita dut sve spa dan por nor heb jpn ara fin gre ice mlt tur chi urd hin tha kor lit pol hun est lav "
    "rus iri per alb ron ces slk slv yid mac bul ukr bel uzb kaz aze arm geo mol kir tgk tuk mon pus kur kas snd tib "
    "nep san mar ben asm guj ori mal kan tam tel sin bur khm lao vie ind tgl may amh tir orm som swa kin run nya mlg "
    "epo wel baq cat lat que grn aym tat uig dzo jav"
)
_QUICKTIME_NAMES = {
    "fre": "fra", "deu": "ger", "nld": "dut", "swe": "sve", "ell": "gre", "isl": "ice", "zho": "chi", "fas": "per",
    "sqi": "alb", "rum": "ron", "cze": "ces", "slo": "slk", "mkd": "mac", "hye": "arm", "kat": "geo", "bod": "tib",
    "mya": "bur", "msa": "may", "cym": "wel", "eus": "baq", "nob": "nor",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedStream:
    """One stream as it must be found when the finished file is read. Made from the plan alone."""

    source: StreamInfo
    kind: str
    codec: str
    language: str | None
    flags: frozenset[str]
    is_cover: bool = False
    is_converted: bool = False


def muxer(container: Container) -> str:
    """libav's name for it."""
    return _MUXERS[container]


def as_container(name: str) -> Container:
    """Narrow a suffix without its dot. Raises ConfigError for one that is not written here."""
    if name not in (*CONTAINERS, *PIPED):
        raise ConfigError(f".{name}: is no container that is written here; give .mp4, .mov, .mkv or .webm")
    return cast(Container, name)


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


def expected_streams(plan: Sequence[StreamPlan], container: Container, codec: str) -> tuple[ExpectedStream, ...]:
    """What the finished file must hold, in its order: tracks as in the source, then covers and attachments."""
    tracks: list[ExpectedStream] = []
    rest: list[ExpectedStream] = []
    flagged = {
        p.stream.kind for p in plan if p.action in ("upscale", "copy", "convert") and "default" in p.stream.flags
    }
    for entry in plan:
        stream = entry.stream
        if entry.action == "drop":
            continue
        if entry.action == "attach" or stream.is_cover or stream.kind == "attachment":
            is_picture = stream.is_cover
            kind = "video" if is_picture else "attachment"
            name = stream.codec if is_picture or stream.codec != "unknown" else "application/octet-stream"
            rest.append(
                ExpectedStream(
                    source=stream, kind=kind, codec=name, language=None, flags=frozenset(), is_cover=is_picture
                )
            )
            continue
        flags = kept_flags(stream.flags, container, stream.kind)
        if container in ("mp4", "mov") and stream.kind not in flagged:
            flags |= {"default"}  # these muxers flag the first of a kind when none is
            flagged.add(stream.kind)
        tracks.append(
            ExpectedStream(
                source=stream,
                kind=stream.kind,
                codec=codec
                if entry.action == "upscale"
                else entry.codec or _READS_AS.get((container, stream.codec), stream.codec),
                language=kept_language(stream.language, container),
                flags=flags,
                is_converted=entry.action == "convert",
            )
        )
    return (*tracks, *rest)


def kept_flags(flags: Iterable[str], container: Container, kind: str) -> frozenset[str]:
    """The dispositions that the container carries, under the name they are compared by."""
    same = _SAME_FLAG if container == "mp4" else {}
    kept = {same.get(flag, flag) for flag in flags} & set(_KEPT_FLAGS[container])
    return frozenset(kept - ({"descriptions"} if kind != "subtitle" else set()))


def kept_language(language: str | None, container: Container) -> str | None:
    """The language as it is written and reads back, None when the container cannot name it."""
    if language is None or container in ("mkv", "webm", "nut"):
        return language
    if container == "mov":
        name = _QUICKTIME_NAMES.get(language, language)
        return name if name in _QUICKTIME_LANGUAGES.split() else None
    is_code = len(language) == 3 and language.isascii() and language.isalpha() and language.islower()
    return language if is_code else None


def add_stream(file: OutputContainer, template: Stream, codec: str | None) -> Stream:
    """Add a stream like the source's `template`: for its packets, or for what they are converted to."""
    if codec is not None and isinstance(template, AudioStream):
        return add_sound(file, sound_target(template.codec_context, codec))
    if codec is not None and isinstance(template, SubtitleStream):
        return add_text(file, template.codec_context, codec)
    return file.add_stream_from_template(template, opaque=True)


def cover_type(codec: str) -> str:
    """The MIME type under which Matroska keeps a cover."""
    return _COVER_TYPES[codec]


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
    lost = _not_carried(stream, container)
    if fate == _COPY:
        return StreamPlan(stream=stream, action="copy", why=lost)
    template = source.streams[stream.index]
    made = str(sound_target(template.codec_context, fate)) if isinstance(template, AudioStream) else fate
    return StreamPlan(stream=stream, action="convert", why="; ".join(filter(None, (f"to {made}", lost))), codec=fate)


def _not_carried(stream: StreamInfo, container: Container) -> str:
    """What of a copied stream's description the container cannot say."""
    same = _SAME_FLAG if container == "mp4" else {}
    kept = kept_flags(stream.flags, container, stream.kind)
    lost = [f"flag {flag}" for flag in stream.flags if same.get(flag, flag) not in kept]
    if stream.kind != "attachment" and stream.language and kept_language(stream.language, container) is None:
        lost.append(f"language {stream.language}")
    return f"{container} cannot say: {', '.join(lost)}" if lost else ""


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
        holds = {"mp4": _MP4_COVERS, "mkv": tuple(_COVER_TYPES)}.get(container, ())
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
