"""The plan: made before the first frame, refused in one line, and equal to what the file then holds."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.stream import Disposition

from tests.media_maker import Audio, Chapter, Subtitle, make_clip, rejoin
from vsr.errors import ConfigError, MediaError
from vsr.frames import StreamPlan
from vsr.io.container import default_suffix, plan_streams
from vsr.io.container_kind import CONTAINERS
from vsr.io.expected_streams import expected_streams, kept_flags, kept_language
from vsr.io.probe import probe
from vsr.io.tags import lost_tags
from vsr.plan import plan_clip
from vsr.settings import UpscaleSettings
from vsr.verify import check_output


def _plan(clip: Path, container: str, *drop: str, codec: str = "") -> tuple[StreamPlan, ...]:
    return plan_streams(probe(clip), container, codec or ("av1" if container == "webm" else "hevc"), drop)


def _told(plan: Sequence[StreamPlan]) -> list[tuple[str, str]]:
    return [(entry.stream.selector, entry.action) for entry in plan]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Matroska clip with a stream of every kind."""
    return make_clip(
        tmp_path_factory.mktemp("full") / "full.mkv",
        audio=[Audio(language="deu", flags=Disposition.default), Audio(codec="flac", flags=Disposition.original)],
        subtitles=[Subtitle(language="fra"), Subtitle(codec="ass")],
        chapters=[Chapter(start=Fraction(0), end=Fraction(1, 4), title="one")],
        fonts=["a.ttf"],
        cover=True,
    )


def test_matroska_takes_every_kind(full: Path) -> None:
    assert _told(_plan(full, "mkv")) == [
        ("v:0", "upscale"),
        ("a:0", "copy"),
        ("a:1", "copy"),
        ("s:0", "copy"),
        ("s:1", "copy"),
        ("t:0", "copy"),
        ("v:1", "attach"),
    ]


def test_what_does_not_fit_is_named_with_two_ways_out(full: Path) -> None:
    with pytest.raises(MediaError) as error:
        _plan(full, "webm")
    text = str(error.value)
    assert text.startswith(f"{full}: t:0 (font/ttf), v:1 (png) cannot go into webm; ")
    assert "--drop t:0,v:1" in text
    assert "-o NAME.mkv" in text
    assert "\n" not in text


def test_the_advice_works(full: Path) -> None:
    plan = _plan(full, "mp4", "s:0", "s:1", "t:0")
    assert [entry.action for entry in plan] == ["upscale", "copy", "copy", "drop", "drop", "drop", "copy"]
    assert [entry.why for entry in plan if entry.action == "drop"] == ["asked by --drop"] * 3


def test_a_letter_drops_all_of_its_kind(full: Path) -> None:
    dropped = [e.stream.selector for e in _plan(full, "mkv", "a", "s:1", "v") if e.action == "drop"]
    assert dropped == ["a:0", "a:1", "s:1", "v:1"]


@pytest.mark.parametrize("selector", ["x", "a:", "a:x", "a:9", "d", "d:0", "", "audio", "v:0", "v:7", "a:-1"])
def test_a_selector_that_matches_nothing_is_refused(full: Path, selector: str) -> None:
    with pytest.raises(ConfigError) as error:
        _plan(full, "mkv", selector)
    assert str(error.value).startswith(f"--drop {selector}: ")


def test_the_only_video_cannot_be_dropped(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="video to upscale"):
        _plan(make_clip(tmp_path / "clip.mp4"), "mp4", "v")


def test_an_unknown_container_is_refused(full: Path) -> None:
    with pytest.raises(ConfigError, match="no container"):
        _plan(full, "avi")


def test_a_codec_that_the_container_does_not_know_is_refused(full: Path) -> None:
    for container, codec in (("webm", "h264"), ("mov", "av1"), ("mp4", "prores"), ("mov", "ffv1")):
        with pytest.raises(MediaError, match=f"{codec} pictures do not fit into {container}"):
            _plan(full, container, codec=codec)


def test_flags_and_languages_that_get_lost_are_said(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", audio=[Audio(flags=Disposition.original, language="gla")])
    assert [entry.why for entry in _plan(clip, "mp4")] == ["to hevc", "mp4 cannot say: flag original"]
    assert _plan(clip, "mov")[1].why == "mov cannot say: flag original, language gla"
    assert _plan(clip, "mkv")[1].why == ""


def test_timed_data_is_announced_and_not_refused(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mov", metadata={"timecode": "01:00:00:00"})
    plan = _plan(clip, "mp4")
    assert ("d:0", "drop") in _told(plan)
    assert [e.why for e in plan if e.stream.kind == "data"] == ["timed data is not carried"]


def test_a_container_that_holds_all_is_kept(tmp_path: Path) -> None:
    for suffix in ("mp4", "mov", "mkv"):
        assert default_suffix(probe(make_clip(tmp_path / f"c.{suffix}", audio=[Audio()]))) == f".{suffix}"
    webm = make_clip(tmp_path / "c.webm", codec="libvpx-vp9", audio=[Audio(codec="libopus")])
    assert default_suffix(probe(webm)) == ".webm"
    assert default_suffix(probe(webm), "h264") == ".mkv"  # webm has no h264
    for suffix in ("avi", "ts", "flv"):
        clip = make_clip(tmp_path / f"c.{suffix}", options={"bf": "0"}, time_base=Fraction(1, 25))
        assert default_suffix(probe(clip)) == ".mkv"


def test_a_suffix_in_capitals_is_the_same(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "c.mov").rename(tmp_path / "C.MOV")
    assert default_suffix(probe(clip)) == ".mov"


def test_a_clip_moves_to_the_first_container_that_holds_it(tmp_path: Path) -> None:
    texts = make_clip(tmp_path / "texts.mp4", subtitles=[Subtitle(codec="mov_text")])
    assert default_suffix(probe(texts)) == ".mp4"
    prores = probe(texts)
    assert default_suffix(prores, "prores") == ".mov"  # not mp4 by its picture, not mkv by its texts
    assert default_suffix(prores, "prores", ["s"]) == ".mkv"
    assert default_suffix(prores, "ffv1", ["s"]) == ".mp4"


def test_a_suffix_does_not_lie_about_the_container(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "c.mkv").rename(tmp_path / "c.mp4")
    assert default_suffix(probe(clip)) == ".mkv"


def test_languages_read_back_as_foretold() -> None:
    assert kept_language("deu", "mkv") == kept_language("deu", "mp4") == "deu"
    assert kept_language("deu", "mov") == "ger"
    assert kept_language("gla", "mov") is None
    assert kept_language("en-US", "mp4") is None
    assert kept_language(None, "mp4") is None


def test_flags_read_back_as_foretold() -> None:
    assert kept_flags(["default", "captions"], "mp4", "subtitle") == {"default", "hearing_impaired"}
    assert kept_flags(["default", "original"], "mov", "audio") == {"default"}
    assert kept_flags(["descriptions"], "mkv", "audio") == set()


_SOUNDS = ("aac", "ac3", "eac3", "libmp3lame", "mp2", "flac", "alac", "libopus", "pcm_s16le", "pcm_s24le")


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("sound", _SOUNDS)
def test_the_plan_equals_the_file_for_every_sound(tmp_path: Path, sound: str, container: str) -> None:
    clip = make_clip(tmp_path / "clip.mkv", audio=[Audio(codec=sound, language="eng")], metadata={})
    _holds_or_refuses(clip, tmp_path / f"out.{container}")


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("text", ["subrip", "ass", "webvtt", "mov_text"])
def test_the_plan_equals_the_file_for_every_text(tmp_path: Path, text: str, container: str) -> None:
    suffix = "mp4" if text == "mov_text" else "mkv"
    clip = make_clip(tmp_path / f"clip.{suffix}", subtitles=[Subtitle(codec=text, flags=Disposition.forced)])
    _holds_or_refuses(clip, tmp_path / f"out.{container}")


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("flag", list(Disposition))
def test_the_plan_equals_the_file_for_every_flag(tmp_path: Path, flag: Disposition, container: str) -> None:
    if flag & (Disposition.attached_pic | Disposition.timed_thumbnails):
        return  # makes a stream a picture
    sounds = [Audio(codec="libopus"), Audio(codec="libopus", flags=flag)]
    if container == "mov":
        sounds = [Audio(), Audio(flags=flag)]
    clip = make_clip(tmp_path / "clip.mkv", audio=sounds)
    _holds_or_refuses(clip, tmp_path / f"out.{container}")


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_plan_equals_the_file_for_covers_fonts_and_chapters(tmp_path: Path, full: Path, container: str) -> None:
    _holds_or_refuses(full, tmp_path / f"out.{container}")
    mp4 = make_clip(
        tmp_path / "clip.mp4", cover=True, chapters=[Chapter(start=Fraction(0), end=Fraction(1, 4), title="one")]
    )
    _holds_or_refuses(mp4, tmp_path / f"out2.{container}")


@pytest.mark.parametrize("language", ["eng", "deu", "zho", "gla", "und", "qaa"])
def test_the_plan_equals_the_file_for_languages(tmp_path: Path, language: str) -> None:
    clip = make_clip(tmp_path / "clip.mkv", audio=[Audio(language=language)])
    for container in ("mp4", "mov", "mkv"):
        _holds_or_refuses(clip, tmp_path / f"out.{container}")


def test_the_plan_equals_the_file_for_the_real_media(media: Path, tmp_path: Path) -> None:
    held = 0
    for clip in sorted((media / "video").iterdir()):
        try:
            info = probe(clip)
        except MediaError:
            continue
        if info.container == "avi":  # its times are made by VideoSource, not by the demuxer
            continue
        for container in CONTAINERS:
            held += _holds_or_refuses(clip, tmp_path / f"{clip.name}.{container}")
    assert held > 120


def _holds_or_refuses(clip: Path, output: Path) -> bool:
    """Either the plan refuses, or the join's file holds exactly what the plan foretold; whether it holds."""
    codec = "av1" if output.suffix == ".webm" else "h264"
    try:
        plan = plan_streams(probe(clip), output.suffix[1:], codec)
    except MediaError as e:
        refusal = str(e)
    else:
        joined = rejoin(clip, output, codec=codec)
        assert joined.streams == expected_streams(plan, joined.container, codec)
        assert check_output(output, joined) == []
        return True
    assert "--drop" in refusal
    assert "\n" not in refusal
    return False


def test_tags_of_the_file_that_get_lost_are_said_and_the_others_are_kept(tmp_path: Path, nearest: Path) -> None:
    tags = {"title": "A clip", "artist": "nobody", "com.android.version": "14", "software": "a camera's"}
    clip = make_clip(tmp_path / "clip.mkv", frames=2, metadata=tags)
    assert lost_tags(probe(clip), "mkv") == lost_tags(probe(clip), "webm") == ()
    for container in ("mp4", "mov"):
        assert set(lost_tags(probe(clip), container)) == {"COM.ANDROID.VERSION", "SOFTWARE"}
    for container in CONTAINERS:
        rejoin(clip, tmp_path / f"out.{container}", segments=1, codec="av1" if container == "webm" else "h264")
        with av.open(str(tmp_path / f"out.{container}")) as file:
            found = {key.lower() for key in file.metadata}
        assert set(tags) - found == {key.lower() for key in lost_tags(probe(clip), container)}
    apple = make_clip(
        tmp_path / "clip.mov",
        frames=2,
        metadata={"com.apple.quicktime.make": "Apple", "com.apple.quicktime.software": "16.4.1"},
        container_options={"movflags": "+use_metadata_tags"},
    )
    assert lost_tags(probe(apple), "mp4") == lost_tags(probe(apple), "mov") == ()
    job = plan_clip(clip, tmp_path / "new.mp4", UpscaleSettings(model=str(nearest)))
    assert "mp4 does not hold the file's tags COM.ANDROID.VERSION, SOFTWARE: they are left out" in job.notes
