"""What becomes of each kind of stream in each container, from files that were written.

`python -m tests.containers_table` prints the table in docs/containers.md; a test holds one against the other.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.packet import Packet
from av.stream import Disposition

from tests.media_maker import Audio, Chapter, Look, Subtitle, make_clip, make_segments, rejoin
from vsr.errors import MediaError
from vsr.frames import SegmentFile
from vsr.io.container import plan_streams
from vsr.io.container_kind import CONTAINERS, Container
from vsr.io.expected_streams import expected_streams
from vsr.io.join import join
from vsr.io.probe import probe
from vsr.stage import Cancel
from vsr.verify import check_output

_SOUNDS = {
    "AAC": "aac",
    "AC-3": "ac3",
    "E-AC-3": "eac3",
    "MP3": "libmp3lame",
    "MP2": "mp2",
    "Opus": "libopus",
    "FLAC": "flac",
    "ALAC": "alac",
    "PCM": "pcm_s16le",
}
_FLAGS = ("default", "forced", "original", "comment", "dub", "hearing_impaired", "visual_impaired")
_TEXTS = {"SubRip": "subrip", "ASS": "ass", "WebVTT": "webvtt"}
_BITMAPS = {"PGS (Blu-ray)": "hdmv_pgs_subtitle", "VobSub (DVD)": "dvd_subtitle"}


def _bitmap_clip(path: Path, codec: str) -> Path:
    """A clip with a stream of bitmap subtitles, of bytes that no one decodes."""
    picture = make_clip(path.with_suffix(".picture.mkv"))
    with av.open(str(picture)) as old, av.open(str(path), "w", format="matroska") as new:
        video = new.add_stream_from_template(old.streams.video[0], opaque=True)
        texts = new.add_mux_stream(codec)
        new.start_encoding()
        packet = Packet(b"\x16\0\x0b" + bytes([0, 64, 0, 48, 16, 0, 1, 0x80, 0, 0, 0]) + b"\x80\0\0")
        packet.stream, packet.pts, packet.dts, packet.duration = texts, 100, 100, 200
        packet.time_base = Fraction(1, 1000)
        new.mux(packet)
        for packet in old.demux():
            if packet.size:
                packet.stream = video
                new.mux(packet)
    return path


def _sources(folder: Path) -> Iterator[tuple[str, Callable[[], Path]]]:
    """Kinds of streams, each with what makes a clip whose second stream is of it."""
    for name, codec in _SOUNDS.items():
        yield name, lambda codec=codec: make_clip(folder / f"{codec}.mkv", audio=[Audio(codec=codec, language="fra")])
    yield "WMA", lambda: make_clip(folder / "clip.asf", audio=[Audio(codec="wmav2")])
    blu = {"mpegts_m2ts_mode": "1"}
    yield (
        "PCM (Blu-ray)",
        lambda: make_clip(folder / "clip.ts", audio=[Audio(codec="pcm_bluray")], container_options=blu),
    )
    for name, codec in _TEXTS.items():
        texts = [Subtitle(codec=codec, language="fra")]
        yield name, lambda codec=codec, texts=texts: make_clip(folder / f"{codec}.mkv", subtitles=texts)
    yield "mov_text", lambda: make_clip(folder / "text.mp4", subtitles=[Subtitle(codec="mov_text")])
    for name, codec in _BITMAPS.items():
        yield name, lambda codec=codec: _bitmap_clip(folder / f"{codec}.mkv", codec)
    yield "cover picture (PNG)", lambda: make_clip(folder / "cover.mp4", cover=True)
    yield "attached font", lambda: make_clip(folder / "font.mkv", fonts=["a.ttf"])
    yield "second video (H.264)", lambda: make_clip(folder / "two.mkv", more_video=1)
    yield "timed data", lambda: make_clip(folder / "clip.mov", metadata={"timecode": "01:00:00:00"})


def outcomes(folder: Path) -> dict[str, dict[Container, str]]:
    """By kind and container: what happened, once the file that was written passed its check, or that it is refused."""
    times = [round(Fraction(k, 25) * 1000) for k in range(12)]
    pieces = {
        codec: make_segments(folder / codec, [times], codec=encoder)
        for codec, encoder in (("h264", "libx264"), ("av1", "libsvtav1"))
    }
    found: dict[str, dict[Container, str]] = {}
    for kind, make in _sources(folder):
        clip = make()
        found[kind] = {
            container: _outcome(clip, folder / f"out.{container}", container, pieces) for container in CONTAINERS
        }
    return found


def _outcome(clip: Path, output: Path, container: Container, pieces: dict[str, list[SegmentFile]]) -> str:
    info = probe(clip)
    codec = "av1" if container == "webm" else "h264"
    try:
        plan = plan_streams(info, container, codec)
    except MediaError:
        return "refused"
    scale = Fraction(1, 1000) / info.video.time_base
    moved = [
        SegmentFile(path=p.path, pts=tuple(round(t * scale) + info.video.first_pts for t in p.pts))
        for p in pieces[codec]
    ]
    joined = join(info, plan, moved, output, container=container, picture=Look(codec=codec), cancel=Cancel())
    assert joined.streams == expected_streams(plan, container, codec), (clip, container)
    findings = check_output(output, joined)
    assert findings == [], (clip, container, findings)
    entry = next(p for p in plan if p.action != "upscale")
    if entry.action == "convert":
        return f"to {probe(output).streams[1].codec}"
    return {"copy": "copied", "attach": "as attachment", "drop": "left out"}[entry.action]


def sayings(folder: Path) -> dict[str, dict[Container, str]]:
    """By what a file says beside its streams, and container: whether it is still said."""
    flags = [flag for flag in Disposition if flag.name in _FLAGS]
    clip = make_clip(
        folder / "said.mkv",
        title="picture",
        matrix=(0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30),
        audio=[Audio(language="eng", title="sound", flags=flag) for flag in flags],
        subtitles=[Subtitle(language="gla")],
        chapters=[Chapter(start=Fraction(0), end=Fraction(1, 4), title="one")],
        metadata={"title": "A clip", "artist": "nobody", "software": "a camera's"},
    )
    found: dict[str, dict[Container, str]] = {}
    for container in CONTAINERS:
        output = folder / f"said.{container}"
        joined = rejoin(clip, output, segments=1, codec="av1" if container == "webm" else "h264")
        assert check_output(output, joined) == []
        for what, is_kept in _still_said(output, [str(flag.name) for flag in flags]).items():
            found.setdefault(what, {})[container] = (
                is_kept if isinstance(is_kept, str) else "kept" if is_kept else "lost"
            )
    return found


def _still_said(output: Path, flags: list[str]) -> dict[str, bool | str]:
    info = probe(output)
    with av.open(str(output)) as file:
        tags = {key.lower() for key in file.metadata}
        chapters = [chapter["metadata"].get("title") for chapter in file.chapters()]
        names = [s.metadata.get("title") or s.metadata.get("handler_name") for s in list(file.streams)[:2]]
        is_handler = "title" not in file.streams[1].metadata
    assert names == ["picture", "sound"]
    sounds = [stream for stream in info.streams if stream.kind == "audio"]
    said: dict[str, bool | str] = {
        "chapters": chapters == ["one"],
        "language (English)": sounds[0].language == "eng",
        "language (Gaelic)": info.streams[-1].language == "gla",
        "title of a track": "as handler name" if is_handler else True,
    }
    said |= {f"flag {name}": name in stream.flags for name, stream in zip(flags, sounds, strict=True)}
    said |= {"title, artist of the file": {"title", "artist"} <= tags, "any other tag of the file": "software" in tags}
    return said | {"turn": info.video.display_matrix is not None}


def table(found: dict[str, dict[Container, str]]) -> str:
    """The outcomes as Markdown."""
    rows = [["", *CONTAINERS], ["---"] * (1 + len(CONTAINERS))]
    rows += [[kind, *(by[container] for container in CONTAINERS)] for kind, by in found.items()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        sys.stdout.write(table(outcomes(Path(made))) + "\n" + table(sayings(Path(made))))
