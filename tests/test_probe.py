"""Probing: what a clip holds, what was guessed, and one line for every file that is none."""

import csv
import os
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import pytest
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame

from tests.media_maker import HD, SD, Audio, Chapter, Subtitle, make_clip
from vsr.errors import MediaError
from vsr.frames import ColorSpec, PixelLayout
from vsr.io.color_guess import guess_color
from vsr.io.opening import open_input, packets_of
from vsr.io.probe import probe
from vsr.io.side_data import carried_matrix, is_quarter_turn, side_data_of

_YUV = PixelLayout(name="yuv420p", kind="yuv", depth=8, log2_chroma=(1, 1))
_RGB = PixelLayout(name="gbrp", kind="rgb", depth=8)
_OPEN = ColorSpec(matrix=2, primaries=2, transfer=2, full_range=False)
_QUARTER = (0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30)


def _guess(
    size: tuple[int, int], *, matrix: int = 2, primaries: int = 2, transfer: int = 2, codec: str = "h264"
) -> ColorSpec:
    tagged = ColorSpec(matrix=matrix, primaries=primaries, transfer=transfer, full_range=False)
    return guess_color(tagged, layout=_YUV, size=size, codec=codec, siting=None)


def _codes(color: ColorSpec) -> tuple[int, int, int]:
    return color.matrix, color.primaries, color.transfer


def test_a_clip_is_described(tmp_path: Path) -> None:
    clip = make_clip(
        tmp_path / "clip.mkv",
        audio=[Audio(language="deu", title="Ton", flags=Disposition.default), Audio(codec="flac", language="eng")],
        subtitles=[Subtitle(language="fra", flags=Disposition.forced)],
        chapters=[Chapter(start=Fraction(0), end=Fraction(1, 4), title="one")],
        fonts=["a.ttf"],
        cover=True,
    )
    info = probe(clip)
    assert [(s.selector, s.codec, s.language, s.title) for s in info.streams] == [
        ("v:0", "h264", None, None),
        ("a:0", "aac", "deu", "Ton"),
        ("a:1", "flac", "eng", None),
        ("s:0", "subrip", "fra", None),
        ("t:0", "font/ttf", None, "a.ttf"),
        ("v:1", "png", None, "cover.png"),
    ]
    assert [s.is_cover for s in info.streams] == [False] * 5 + [True]
    assert info.streams[1].flags == ("default",)
    assert info.streams[3].flags == ("forced",)
    assert info.chapters == 1
    video = info.video
    assert (video.height, video.width, video.codec, video.pix_fmt) == (48, 64, "h264", "yuv420p")
    assert (video.rate, video.first_pts, video.time_base) == (25, 0, Fraction(1, 1000))
    assert video.frame_estimate == 12


def test_times_and_shape_are_found(tmp_path: Path) -> None:
    clip = make_clip(
        tmp_path / "clip.mp4",
        pts=[9000, 12003, 15006],
        time_base=Fraction(1, 90000),
        rate=Fraction(30000, 1001),
        aspect=Fraction(4, 3),
        matrix=_QUARTER,
    )
    video = probe(clip).video
    assert video.first_pts * video.time_base == Fraction(1, 10)
    assert video.time_base == Fraction(1, 90000)
    assert video.sample_aspect_ratio == Fraction(4, 3)
    assert video.display_matrix == _QUARTER
    assert probe(clip).duration == Fraction(9009, 90000)


@pytest.mark.parametrize("color", [SD, HD, ColorSpec(matrix=9, primaries=9, transfer=16, full_range=True)])
def test_tags_are_believed(tmp_path: Path, color: ColorSpec) -> None:
    found = probe(make_clip(tmp_path / "clip.mkv", color=color)).video.color
    assert (*_codes(found), found.full_range) == (*_codes(color), color.full_range)
    assert found.guessed == ()


def test_siting_is_read(tmp_path: Path) -> None:
    for siting in ("left", "center", "topleft"):
        clip = make_clip(tmp_path / f"{siting}.mkv", options={"chroma_sample_location": siting})
        assert probe(clip).video.color.siting == siting
    mpeg1 = make_clip(tmp_path / "mpeg1.mkv", codec="mpeg1video", time_base=Fraction(1, 25), color=None)
    assert probe(mpeg1).video.color.siting == "center"


def test_a_guess_is_named(tmp_path: Path) -> None:
    color = probe(make_clip(tmp_path / "clip.mkv", color=None)).video.color
    assert _codes(color) == (6, 6, 6)
    assert set(color.guessed) == {"matrix", "primaries", "transfer", "full_range"}
    assert not color.full_range


def test_untagged_pictures_are_read_by_their_size() -> None:
    assert _codes(_guess((480, 720))) == (6, 6, 6)
    assert _codes(_guess((576, 720))) == (5, 5, 6)
    assert _codes(_guess((288, 352))) == (5, 5, 6)
    assert _codes(_guess((577, 720))) == (1, 1, 1)
    assert _codes(_guess((1080, 1920))) == (1, 1, 1)
    assert _codes(_guess((544, 1280))) == (1, 1, 1)  # a wide film in HD has few lines


def test_missing_tags_follow_those_that_are_there() -> None:
    assert _codes(_guess((480, 720), primaries=9)) == (9, 9, 14)
    assert _codes(_guess((480, 720), matrix=9)) == (9, 9, 14)
    assert _codes(_guess((480, 720), transfer=16)) == (9, 9, 16)
    assert _codes(_guess((1080, 1920), matrix=5)) == (5, 5, 6)
    assert _codes(_guess((480, 720), matrix=1)) == (1, 1, 1)
    assert _codes(_guess((1080, 1920), primaries=6)) == (6, 6, 6)
    assert _guess((480, 720), primaries=9).guessed == ("matrix", "transfer", "siting")


def test_rgb_is_srgb() -> None:
    color = guess_color(_OPEN, layout=_RGB, size=(480, 720), codec="png", siting=None)
    assert _codes(color) == (0, 1, 13)
    assert "matrix" not in color.guessed


def test_rgb_is_full_range(tmp_path: Path) -> None:
    color = probe(make_clip(tmp_path / "clip.mkv", codec="ffv1", pix_fmt="bgr0", color=None)).video.color
    assert (color.matrix, color.full_range) == (0, True)


def test_yuv_tagged_as_rgb_is_guessed() -> None:
    assert _guess((480, 720), matrix=0).matrix == 6


def test_the_stream_flagged_default_is_taken(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", more_video=1)
    assert probe(clip).video.index == 0
    flagged = tmp_path / "flagged.mkv"
    with av.open(str(clip)) as old, av.open(str(flagged), "w") as new:
        streams = [new.add_stream_from_template(s, opaque=True) for s in old.streams]
        streams[1].disposition = Disposition.default
        for packet in old.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    assert probe(flagged).video.index == 1


def test_a_wild_rate_is_measured(tmp_path: Path) -> None:
    pts = [k * 40 for k in range(20)]
    clip = make_clip(tmp_path / "clip.mkv", pts=pts, time_base=Fraction(1, 1000), rate=Fraction(1000))
    assert probe(clip).video.rate == 25


def test_a_rate_of_next_to_nothing_is_none_that_encoders_cannot_take(tmp_path: Path) -> None:
    """An AVI whose header says a frame in thirty years."""
    clip = make_clip(tmp_path / "clip.avi", codec="mpeg4", time_base=Fraction(1, 25), color=None, frames=3)
    data = bytearray(clip.read_bytes())
    at = data.index(b"strh") + 8 + 20
    data[at : at + 8] = struct.pack("<II", 10**9, 1)
    clip.write_bytes(data)
    assert probe(clip).video.rate == Fraction(1, 1000)


def test_interlaced_pictures_are_seen(tmp_path: Path) -> None:
    assert not probe(make_clip(tmp_path / "flat.mkv")).video.is_interlaced
    clip = make_clip(tmp_path / "combed.mkv", options={"x264-params": "tff=1"}, size=(64, 64))
    assert probe(clip).video.is_interlaced


def test_alpha_is_found(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "clip.mkv", codec="ffv1", pix_fmt="yuva420p"))
    assert info.video.has_alpha


def test_chapters_of_mp4_are_no_stream(tmp_path: Path) -> None:
    info = probe(
        make_clip(tmp_path / "clip.mp4", chapters=[Chapter(start=Fraction(0), end=Fraction(1, 4), title="one")])
    )
    assert [s.kind for s in info.streams] == ["video"]
    assert info.chapters == 1


def _bad_files(folder: Path) -> dict[str, Path]:
    clip = make_clip(folder / "clip.mp4", frames=30, audio=[Audio()])
    data = clip.read_bytes()
    files = {
        "empty": b"",
        "text": b"this is no clip\n" * 50,
        "zeros": bytes(4096),
        "cut": data[: data.index(b"moov") - 10],
        "list": f"ffconcat version 1.0\nfile {clip}\n".encode(),
        "playlist": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n".encode(),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    paths = {name: folder / name for name in files}
    paths["missing"] = folder / "nothing.mp4"
    paths["folder"] = folder
    paths["long"] = folder / ("x" * 300)
    paths["sound"] = _sound_of(clip, folder / "sound.mkv", cover=False)
    paths["cover"] = _sound_of(clip, folder / "cover.mkv", cover=True)
    return paths


def _sound_of(clip: Path, path: Path, *, cover: bool) -> Path:
    with av.open(str(clip)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.audio[0], opaque=True)
        if cover:
            new.add_attachment("cover.png", "image/png", _tiny_png())
        for packet in old.demux(old.streams.audio[0]):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    return path


def _tiny_png() -> bytes:
    context = av.CodecContext.create("png", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width = context.height = 8
    context.pix_fmt, context.time_base = "rgb24", Fraction(1, 25)
    frame = av.VideoFrame(8, 8, "rgb24")
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def test_bad_input_gets_one_line(tmp_path: Path) -> None:
    said: dict[str, str] = {}
    for name, path in _bad_files(tmp_path).items():
        with pytest.raises(MediaError) as error:
            probe(path)
        text = str(error.value)
        assert text.startswith(f"{path}: "), name
        assert "\n" not in text, name
        assert "; " in text, name
        said[name] = text
    assert "no such file" in said["missing"]
    assert "folder" in said["folder"]
    assert "empty" in said["empty"]
    assert "moov" in said["cut"]
    assert "no video" in said["sound"]
    assert "only a cover" in said["cover"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_without_permission_gets_one_line(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4")
    path.chmod(0)
    with pytest.raises(MediaError, match="may not be read by you"):
        probe(path)


def test_odd_names_open(tmp_path: Path) -> None:
    for name in ("a:b.mp4", "100%d.mp4", "übung ✓.mp4", "-i.mp4", "file:x.mp4"):
        clip = make_clip(tmp_path / "clip.mp4").rename(tmp_path / name)
        assert probe(clip).video.width == 64


def test_wrong_bytes_in_titles_do_no_harm(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", audio=[Audio(title="Zoe?")])
    clip.write_bytes(clip.read_bytes().replace(b"Zoe?", b"Zo\xe9!"))
    title = probe(clip).streams[1].title
    assert title is not None
    title.encode()


def test_streams_that_appear_while_reading_do_no_harm(tmp_path: Path) -> None:
    class Late:
        """PyAV 18 after a file whose header lists too few streams."""

        def demux(self, *streams: Stream) -> Iterator[Packet]:
            yield Packet(b"a")
            raise IndexError("list index out of range")

    container = cast(InputContainer, Late())
    assert [bytes(packet) for packet in packets_of(container)] == [b"a"]


def test_nonsense_turns_are_not_carried() -> None:
    one = 1 << 16
    turns = [(0, one, -one, 0), (-one, 0, 0, -one), (0, -one, one, 0), (-one, 0, 0, one), (0, one, one, 0)]
    for a, b, c, d in turns:
        matrix = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
        assert carried_matrix(matrix) == matrix
        assert is_quarter_turn(matrix)
    for a, b, c, d in [
        (one, 0, 0, one),
        (one, one, 0, one),
        (one // 2, 0, 0, one // 2),
        (0, 0, 0, 0),
        (one, 0, one, 0),
    ]:
        assert carried_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30)) is None
    oblique = (56756, 32768, 0, -32768, 56756, 0, 0, 0, 1 << 30)
    assert carried_matrix(oblique) == oblique
    assert not is_quarter_turn(oblique)


def test_threads_reach_the_decoder(tmp_path: Path) -> None:
    with open_input(make_clip(tmp_path / "clip.mp4"), threads=2) as container:
        assert container.streams.video[0].codec_context.thread_count == 2


def _index(folder: Path) -> list[dict[str, str]]:
    with (folder / "video" / "INDEX.tsv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_every_bad_file_of_the_real_media_gets_one_line(media: Path) -> None:
    bad = [row["file"] for row in _index(media) if row["verdict"].startswith("bad")]
    assert len(bad) >= 4
    for name in bad:
        with pytest.raises(MediaError) as error:
            probe(media / "video" / name)
        assert "\n" not in str(error.value)


def test_every_good_file_of_the_real_media_is_as_its_index_says(media: Path) -> None:
    rows = [row for row in _index(media) if not row["verdict"].startswith("bad")]
    assert len(rows) > 40
    for row in rows:
        video = probe(media / "video" / row["file"]).video
        _, size, pix_fmt, *fields = row["video"].split()
        said = dict(field.split("=") for field in fields)
        assert f"{video.width}x{video.height}" == size, row["file"]
        assert video.pix_fmt == pix_fmt, row["file"]
        assert str(video.sample_aspect_ratio) == said["sar"], row["file"]
        turned = "rot=-90" in row["decoded(first 60 frames)"]
        assert (video.display_matrix is not None) == turned, row["file"]
        if said["prim"] != "2":
            assert video.color.primaries == int(said["prim"]), row["file"]
        assert video.color.full_range == (said["rng"] == "2"), row["file"]


def test_side_data_newer_than_pyav_is_passed_over():
    class Frame:
        @property
        def side_data(self):
            raise ValueError("31 is not a valid Type")  # what PyAV 18 does for a frame with Exif

    assert side_data_of(cast(VideoFrame, Frame())) == {}
