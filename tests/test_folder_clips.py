"""Clips in a folder: left alone, or sent through the flow of clips."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.media_maker import Audio, make_clip, read_frames
from tests.still_maker import png, slope
from vsr.cli import run
from vsr.events import FileEvent, PixelsEvent
from vsr.folder.manifest import Manifest
from vsr.folder.run import upscale_folder
from vsr.settings import UpscaleSettings
from vsr.video import upscale_video


@pytest.fixture
def settings(nearest) -> UpscaleSettings:
    return UpscaleSettings(model=str(nearest), device="cpu", precision="fp32")


@pytest.fixture
def mixed(tmp_path) -> Path:
    """Two pictures and two clips."""
    folder = tmp_path / "mixed"
    (folder / "sub").mkdir(parents=True)
    png(folder / "a.png", slope(3))
    png(folder / "sub" / "b.png", slope(3))
    make_clip(folder / "a.mp4", audio=[Audio()])
    make_clip(folder / "sub" / "b.mkv")
    return folder


def outcomes(source: Path, settings: UpscaleSettings, clips: UpscaleSettings | None, **options) -> dict[str, FileEvent]:
    events = []
    upscale_folder(source, settings=settings, clips=clips, on_event=events.append, **options)
    return {event.source: event for event in events if isinstance(event, FileEvent)}


def states(found: dict[str, FileEvent]) -> dict[str, str]:
    return {name: event.state for name, event in found.items()}


def test_clips_go_through_the_flow_of_clips(mixed, settings):
    found = outcomes(mixed, settings, settings)
    assert set(states(found).values()) == {"done"}
    assert len(found) == 4
    results = mixed.with_name("mixed_x2")
    for name in ("a.mp4", "sub/b.mkv"):
        assert read_frames(results / name) == read_frames(mixed / name)
        with av.open(str(results / name)) as file:
            assert file.streams.video[0].height == 2 * 48
    assert not list(results.rglob("*.vsr"))
    assert set(states(outcomes(mixed, settings, settings)).values()) == {"skipped"}


def test_a_container_that_is_not_written_becomes_another_and_twins_keep_both_suffixes(tmp_path, settings):
    folder = tmp_path / "clips"
    folder.mkdir()
    make_clip(folder / "a.avi")
    make_clip(folder / "a.mkv")
    make_clip(folder / "b.avi")
    make_clip(folder / "C.MP4")
    outcomes(folder, settings, settings)
    made = {path.name for path in (tmp_path / "clips_x2").iterdir() if not path.name.startswith(".")}
    assert made == {"a.avi.mkv", "a.mkv", "b.mkv", "C.MP4"}


def test_a_bad_clip_does_not_stop_the_others(mixed, settings):
    (mixed / "0.mp4").write_bytes(b"no clip")
    found = outcomes(mixed, settings, settings)
    assert found["0.mp4"].state == "failed"
    assert found["0.mp4"].reason
    assert sum(event.state == "done" for event in found.values()) == 4
    found = outcomes(mixed, settings, settings)
    assert "failed before" in found["0.mp4"].reason
    assert sum(event.state == "skipped" for event in found.values()) == 4


def test_a_clip_that_others_put_there_is_left_or_replaced_as_told(mixed, settings):
    results = mixed.with_name("mixed_x2")
    results.mkdir()
    (results / "a.mp4").write_bytes(b"mine")
    found = outcomes(mixed, settings, settings)
    assert found["a.mp4"].state == "failed"
    assert "is there already and not from here" in found["a.mp4"].reason
    assert outcomes(mixed, settings, settings, skip_existing=True)["a.mp4"].state == "skipped"
    assert (results / "a.mp4").read_bytes() == b"mine"
    both = replace(settings, overwrite=True)
    assert outcomes(mixed, both, both)["a.mp4"].state == "done"
    assert len(read_frames(results / "a.mp4")) == 12


def test_other_settings_make_clips_again(mixed, settings):
    outcomes(mixed, settings, settings)
    found = outcomes(mixed, settings, replace(settings, crf=30))
    assert states(found) == {"a.png": "skipped", "sub/b.png": "skipped", "a.mp4": "done", "sub/b.mkv": "done"}


def test_a_clip_finished_just_before_a_kill_is_not_made_again(mixed, settings, monkeypatch):
    """The result has its name, and the manifest only knows that it was begun."""
    results = mixed.with_name("mixed_x2")
    outcomes(mixed, settings, settings)
    with Manifest(results) as manifest:
        row = manifest.row("a.mp4")
        assert row is not None
        manifest.record(replace(row, state="begun", output_size=None, output_mtime_ns=None))
    before = (results / "a.mp4").stat()
    found = outcomes(mixed, settings, settings)
    assert found["a.mp4"].state == "done"
    assert (results / "a.mp4").stat().st_mtime_ns == before.st_mtime_ns
    (results / "a.mp4").write_bytes(b"by another hand")
    with Manifest(results) as manifest:
        manifest.record(replace(row, state="begun", output_size=None, output_mtime_ns=None))
    assert "is there already" in outcomes(mixed, settings, settings)["a.mp4"].reason
    assert (results / "a.mp4").read_bytes() == b"by another hand"


def test_frames_count_as_pixels(mixed, settings):
    events = []
    upscale_folder(mixed, settings=settings, clips=settings, on_event=events.append)
    last = [event for event in events if isinstance(event, PixelsEvent)][-1]
    assert last.pixels == last.total == 2 * slope(3)[..., 0].size + 2 * 12 * 64 * 48


def test_a_damaged_clip_is_delivered_and_counted_as_failed(mixed, settings):
    path = make_clip(mixed / "cut.mkv", frames=60)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    alone = upscale_video(path, path.with_name("alone.mkv"), settings=replace(settings, scale=Fraction(2)))
    path.with_name("alone.mkv").unlink()
    assert alone.damaged_places
    found = outcomes(mixed, settings, settings)["cut.mkv"]
    assert found.state == "failed"
    assert "damaged at" in found.reason
    allowed = replace(settings, allow_damaged=True)
    assert outcomes(mixed, settings, allowed)["cut.mkv"].state == "skipped"


def test_typed_options_reach_the_clips_and_the_stills(mixed, nearest, capsys):
    words = ["--model", str(nearest), "--device", "cpu", "--precision", "fp32"]
    assert run(["folder", str(mixed), "--videos", "--codec", "ffv1", "--format", "webp", *words]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "4 done, 0 skipped, 0 failed"
    results = mixed.with_name("mixed_x2")
    assert (results / "a.webp").exists()
    with av.open(str(results / "sub" / "b.mkv")) as file:
        assert file.streams.video[0].codec_context.name == "ffv1"
