"""What is written reads the same by another build of libav: streams, times, tags, chapters, colours, shapes."""

from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.stream import Disposition

from tests.ffmpeg_reader import disagreements, read
from tests.media_maker import HD, Audio, Chapter, Subtitle, make_clip
from vsr.settings import EncoderTuning, UpscaleSettings
from vsr.video import upscale_video

_QUARTER = (0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30)
_DROPPED = {"mkv": (), "mp4": ("t",), "mov": ("t", "v:1"), "webm": ("t", "v:1")}


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Path:
    """A clip of which everything is said that can be said."""
    return make_clip(
        tmp_path_factory.mktemp("full") / "full.mkv",
        frames=40,
        pts=[k * 3600 + (k * k % 7) * 300 for k in range(40)],
        time_base=Fraction(1, 90000),
        color=HD,
        aspect=Fraction(4, 3),
        matrix=_QUARTER,
        language="fra",
        title="The picture",
        audio=[
            Audio(language="eng", title="Sound", flags=Disposition.default, start=Fraction(1, 10)),
            Audio(codec="flac", language="deu", flags=Disposition.hearing_impaired),
        ],
        subtitles=[Subtitle(language="jpn", title="Text", flags=Disposition.forced), Subtitle(codec="ass")],
        chapters=[
            Chapter(start=Fraction(0), end=Fraction(1, 2), title="one"),
            Chapter(start=Fraction(1, 2), end=Fraction(1), title="zwei; drei = 3"),
        ],
        fonts=["a.ttf"],
        cover=True,
        metadata={"title": "A clip", "artist": "nobody", "comment": "two\nlines"},
    )


@pytest.mark.parametrize("container", list(_DROPPED))
def test_the_ffmpeg_tool_reads_what_pyav_reads(full, tmp_path, nearest, container):
    quick = {"libx264": EncoderTuning(preset="ultrafast"), "libsvtav1": EncoderTuning(preset="12")}
    output = tmp_path / f"out.{container}"
    settings = UpscaleSettings(
        model=str(nearest), scale=Fraction(1), device="cpu", encoders=quick, drop=_DROPPED[container]
    )
    upscale_video(full, output, settings=settings)
    assert disagreements(output) == []
    told = read(output)
    picture = told.streams[0]
    assert picture.picture is not None
    assert {"tv", "bt709"} <= picture.picture[1]
    assert picture.rotation == pytest.approx(-90)
    times = [time for time, _ in picture.packets if time is not None]
    with av.open(str(full)) as file:
        wanted = [(f.pts or 0) * Fraction(f.time_base or 0) for f in file.decode(video=0)]
    assert max(abs(a - b) for a, b in zip(sorted(times), wanted, strict=True)) <= Fraction(1, 1000)
    assert [(s.kind, s.language) for s in list(told.streams.values())[1:5]] == [
        ("Audio", "eng"),
        ("Audio", "ger" if container == "mov" else "deu"),
        ("Subtitle", "jpn"),
        ("Subtitle", "und" if container == "mp4" else None),
    ]
    title = "handler_name" if container in ("mp4", "mov") else "title"
    assert [told.streams[n].tags[title] for n in (0, 1, 3)] == ["The picture", "Sound", "Text"]
    assert [(begin, end, tags["title"]) for begin, end, tags in told.chapters] == [
        (0, Fraction(1, 2), "one"),
        (Fraction(1, 2), 1, "zwei; drei = 3"),
    ]
    tags = {key.lower(): value for key, value in told.tags.items()}
    assert (tags["title"], tags["artist"], tags["comment"]) == ("A clip", "nobody", "two\nlines")
