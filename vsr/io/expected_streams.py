"""What the streams of a finished file must be when it is read, from the plan alone; measured with PyAV 18.1."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vsr.frames import StreamInfo, StreamPlan
from vsr.io.container_kind import Container

COVER_TYPES = {"mjpeg": "image/jpeg", "png": "image/png", "gif": "image/gif", "tiff": "image/tiff"}
_READS_AS = {("mp4", "mp2"): "mp3"}  # one number in mp4 means all layers of MPEG audio

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


def not_carried(stream: StreamInfo, container: Container) -> str:
    """What of a copied stream's description the container cannot say."""
    same = _SAME_FLAG if container == "mp4" else {}
    kept = kept_flags(stream.flags, container, stream.kind)
    lost = [f"flag {flag}" for flag in stream.flags if same.get(flag, flag) not in kept]
    if stream.kind != "attachment" and stream.language and kept_language(stream.language, container) is None:
        lost.append(f"language {stream.language}")
    return f"{container} cannot say: {', '.join(lost)}" if lost else ""


def cover_type(codec: str) -> str:
    """The MIME type under which Matroska keeps a cover."""
    return COVER_TYPES[codec]
