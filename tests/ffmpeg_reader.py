"""What the `ffmpeg` tool says of a file, and where PyAV says something else: another version of libav."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

_STREAM = re.compile(r"  Stream #0:(\d+)(?:\[0x\w+\])?(?:\(([^)]*)\))?: (\w+): (\w+)(.*)")
_PICTURE = re.compile(r", (\w+)(?:\(([^()]*)\))?, (\d+)x(\d+)(?: \[SAR (\d+):(\d+))?")
_ASPECT = re.compile(r"\], SAR (\d+):(\d+)")  # the container's, told where the codec's is another: AV1 has none to tell
_FLAGS = re.compile(r"(?: \([a-z ]+\))+$")
_FLAG_NAMES = {str(flag.name).replace("_", " ") for flag in Disposition}  # a decoder's name stands in brackets, too
_CHAPTER = re.compile(r"    Chapter #0:\d+: start (\S+), end (\S+)")
_TAG = re.compile(r"^ *(.*?) *: (.*)$")
_UNSAID = 2  # of libav's numbers for colour
_RANGES = {1: "tv", 2: "pc"}
_MATRICES = {0: "gbr", 1: "bt709", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020nc", 10: "bt2020c"}
_PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020", 12: "smpte432"}
_TRANSFERS = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "linear", 13: "iec61966-2-1",
    14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084", 18: "arib-std-b67",
}  # fmt: skip


@dataclass(slots=True)
class ToldStream:
    """One stream in the tool's words."""

    language: str | None
    kind: str
    codec: str
    flags: set[str]
    picture: tuple[str, set[str], int, int, Fraction | None] | None  # format, words on colour, width, height, aspect
    tags: dict[str, str] = field(default_factory=dict)
    rotation: float | None = None  # degrees
    packets: list[tuple[Fraction | None, int]] = field(default_factory=list)  # seconds, bytes


@dataclass(slots=True)
class Told:
    """A file in the tool's words."""

    streams: dict[int, ToldStream] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    chapters: list[tuple[Fraction, Fraction, dict[str, str]]] = field(default_factory=list)


def ffmpeg(*arguments: str, may_fail: bool = False) -> tuple[str, str]:
    """What the tool writes to stdout and stderr, times as they are in the file."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-copyts", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=not may_fail)
    return done.stdout, done.stderr


def read(path: Path) -> Told:
    """Let the tool read a whole file."""
    told = _listed(ffmpeg("-i", str(path), may_fail=True)[1])
    kept = [n for n, s in told.streams.items() if s.kind in ("Video", "Audio", "Subtitle")]
    maps = [word for n in kept for word in ("-map", f"0:{n}")]
    copied = ["-c", "copy", "-copyinkf", "-copypriorss", "1", "-f", "framecrc", "-"]
    bases: dict[int, Fraction] = {}
    for line in ffmpeg("-v", "error", "-i", str(path), *maps, *copied)[0].splitlines():
        if line.startswith("#tb "):
            number, base = line[4:].split(": ")
            bases[int(number)] = Fraction(base)
        elif not line.startswith("#"):
            number, _, pts, _, size = (word.strip() for word in line.split(",")[:5])
            time = None if pts == "NOPTS" else int(pts) * bases[int(number)]
            told.streams[kept[int(number)]].packets.append((time, int(size)))
    return told


def disagreements(path: Path) -> list[str]:
    """Where PyAV reads something else than the tool; one line each."""
    told = read(path)
    found: list[str] = []
    with av.open(str(path), metadata_errors="surrogateescape") as file:
        if list(told.streams) != [s.index for s in file.streams]:
            return [f"{len(told.streams)} streams, PyAV {len(file.streams)}"]
        found += _differ("tags", told.tags, dict(file.metadata))
        chapters = [
            (c["start"] * Fraction(c["time_base"] or 1), c["end"] * Fraction(c["time_base"] or 1), c["metadata"])
            for c in file.chapters()
        ]
        for number, (one, other) in enumerate(zip(told.chapters, chapters, strict=True)):
            if max(abs(one[0] - other[0]), abs(one[1] - other[1])) > Fraction(1, 1_000_000) or one[2] != other[2]:
                found.append(f"chapter {number}: {one}, PyAV {other}")
        for stream in file.streams:
            found += [f"stream {stream.index}: {line}" for line in _compared(told.streams[stream.index], stream)]
        packets: dict[int, list[tuple[Fraction | None, int]]] = {s.index: [] for s in file.streams}
        for packet in file.demux():
            if packet.size:
                time = None if packet.pts is None else packet.pts * Fraction(packet.time_base or 0)
                packets[packet.stream.index].append((time, packet.size))
        for index, one in told.streams.items():
            if "attached pic" in one.flags:  # it has no time of its own
                packets[index] = [(Fraction(0), size) for _, size in packets[index]]
            if one.kind in ("Video", "Audio", "Subtitle") and one.packets != packets[index]:
                wrong = [(a, b) for a, b in zip(one.packets, packets[index], strict=False) if a != b][:3]
                found.append(f"stream {index}: {len(one.packets)} packets, PyAV {len(packets[index])}: {wrong}")
    return found


def _listed(text: str) -> Told:
    """Parse the tool's list of what a file holds."""
    told, tags, last = Told(), None, ""
    stream: ToldStream | None = None
    for line in text.splitlines():
        if line.startswith("Input #0"):
            tags = told.tags
        elif (match := _CHAPTER.match(line)) is not None:
            tags = {}
            told.chapters.append((Fraction(match[1]), Fraction(match[2]), tags))
        elif (match := _STREAM.match(line)) is not None:
            stream = _stream(match)
            told.streams[int(match[1])] = stream
            tags = stream.tags
        elif stream is not None and "display matrix: rotation of" in line.lower():
            stream.rotation = float(line.split()[-2])
        elif line.strip() in ("Metadata:", "Chapters:") or line.startswith("  Duration:"):
            tags = tags if line.strip() == "Metadata:" else None
        elif line.strip() == "Side data:":
            tags = None
        elif tags is not None and (match := _TAG.match(line)) is not None:
            if match[1]:
                tags[match[1]], last = match[2], match[1]
            else:  # a value's further lines
                tags[last] += "\n" + match[2]
    return told


def _stream(match: re.Match[str]) -> ToldStream:
    rest = match[5]
    picture, aspect = _PICTURE.search(rest), _ASPECT.search(rest)
    flags = _FLAGS.search(rest)
    return ToldStream(
        language=match[2],
        kind=match[3],
        codec=match[4],
        flags=set(re.findall(r"\(([a-z ]+)\)", flags[0])) & _FLAG_NAMES if flags else set(),
        picture=None
        if picture is None or match[3] != "Video"
        else (
            picture[1],
            set((picture[2] or "").split(", ")),
            int(picture[3]),
            int(picture[4]),
            None if picture[5] is None else Fraction(*map(int, aspect.groups() if aspect else picture.groups()[4:6])),
        ),
    )


def _compared(told: ToldStream, stream: Stream) -> Iterator[str]:
    tags = dict(stream.metadata)
    language = tags.pop("language", None)
    if told.language != language:
        yield f"language {told.language}, PyAV {language}"
    yield from _differ("tags", told.tags, tags)
    if told.kind.lower() != stream.type:
        yield f"{told.kind}, PyAV {stream.type}"
    flags = {str(flag.name).replace("_", " ") for flag in Disposition if flag & stream.disposition}
    if told.flags != flags:
        yield f"flags {told.flags}, PyAV {flags}"
    if stream.codec_context is None or told.kind not in ("Video", "Audio", "Subtitle"):
        return
    if told.codec != stream.codec_context.codec.canonical_name:
        yield f"{told.codec}, PyAV {stream.codec_context.codec.canonical_name}"
    if isinstance(stream, VideoStream) and told.picture is not None:
        yield from _pictures(told.picture, stream)


def _pictures(told: tuple[str, set[str], int, int, Fraction | None], stream: VideoStream) -> Iterator[str]:
    pix_fmt, words, width, height, aspect = told
    context = stream.codec_context
    if (pix_fmt, width, height) != (context.pix_fmt, context.width, context.height):
        yield f"{pix_fmt} {width}x{height}, PyAV {context.pix_fmt} {context.width}x{context.height}"
    own = stream.sample_aspect_ratio or None
    if aspect != own:
        yield f"aspect {aspect}, PyAV {own}"
    numbers = context.colorspace, context.color_primaries, context.color_trc
    named = zip((_MATRICES, _PRIMARIES, _TRANSFERS), numbers, strict=True)
    names = ["unknown" if n == _UNSAID else table.get(n, str(n)) for table, n in named]
    wanted = {_RANGES[context.color_range]} if context.color_range in _RANGES else set()
    if set(numbers) != {_UNSAID}:
        wanted.add(names[0] if len(set(names)) == 1 else "/".join(names))
    colours = {word for word in words if word in ("tv", "pc") or "/" in word or word in _MATRICES.values()}
    if colours != wanted:
        yield f"colours {colours}, PyAV {wanted}"


def _differ(what: str, told: dict[str, str], read: dict[str, str]) -> Iterator[str]:
    """Tags that are not the same, blanks and unprintable characters aside."""
    one, other = ({k.strip(): _plain(v) for k, v in tags.items()} for tags in (told, read))
    if one != other:
        yield f"{what} {sorted(one.items() - other.items())}, PyAV {sorted(other.items() - one.items())}"


def _plain(text: str) -> str:
    """Printable characters only; a time of creation that mp4 holds in two places is told twice by newer versions."""
    first, semicolon, second = re.sub(r"[^ -~]+|^\?", "", text).strip().partition(";")
    return first if first == second else first + semicolon + second
