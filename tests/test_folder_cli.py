"""`vsr folder` as it is typed, and what it shows."""

import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.still_maker import png, slope
from vsr.cli import commands, run
from vsr.cli.show import display
from vsr.events import FileEvent, FolderDoneEvent, PixelsEvent
from vsr.folder.found import MANIFEST


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        png(folder / name, slope(3))
    return folder


@pytest.fixture
def words(nearest) -> list[str]:
    return ["--model", str(nearest), "--device", "cpu", "--precision", "fp32"]


def test_the_last_line_counts(photos, words, capsys):
    assert run(["folder", str(photos), *words]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].split() == ["from", str(photos)]
    assert lines[-1] == "2 done, 0 skipped, 0 failed"


def test_the_failed_are_listed_with_reasons_and_the_status_is_1(photos, words, capsys):
    (photos / "bad.jpg").write_bytes(b"broken")
    (photos / "line\nbreak.png").write_bytes(b"broken")
    assert run(["folder", str(photos), *words]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-3:] == [
        "failed: bad.jpg: no picture that Pillow or libav can read; give another file",
        r"failed: line\nbreak.png: no picture that Pillow or libav can read; give another file",
        "2 done, 0 skipped, 2 failed",
    ]
    assert run(["folder", str(photos), "-q", *words]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["failed", "failed"]


def test_a_folder_with_clips_ends_with_the_option(photos, words, capsys):
    (photos / "a.mp4").write_bytes(b"")
    assert run(["folder", str(photos), *words]) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "2 done, 0 skipped, 0 failed; 1 clip left alone: --videos takes them, too"


def test_json_tells_all(photos, words, capsys):
    (photos / "bad.jpg").write_bytes(b"broken")
    (photos / "notes.txt").write_bytes(b"words")
    assert run(["folder", str(photos), "--json", *words]) == 1
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    assert events[0]["event"] == "folder"
    assert (events[0]["stills"], events[0]["passed_by"]) == (3, {"no pictures": 1})
    files = {event["source"]: event["state"] for event in events if event["event"] == "file"}
    assert files == {"a.png": "done", "b.png": "done", "bad.jpg": "failed"}
    last = events[-1]
    assert (last["event"], last["done"], last["skipped"], last["failed"]) == ("folder_done", 2, 0, 1)


def test_every_option_of_upscale_for_stills_is_there():
    upscale, folder = (commands.commands[name] for name in ("upscale", "folder"))
    assert {option.name for option in upscale.params} <= {option.name for option in folder.params}


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["--crf", "20"], "--crf is for clips, which only --videos takes."),
        (["-x", "tune=film"], "--encoder-option is for clips, which only --videos takes."),
        (["--videos", "--fps", "24"], "--fps is for numbered pictures, which vsr upscale makes into a clip."),
        (["--skip-existing", "--overwrite"], "--skip-existing and --overwrite: give one of them."),
        (["-q", "-v"], "-q and -v: give one of them."),
    ],
)
def test_what_makes_no_sense_is_misuse(photos, capsys, typed, line):
    assert run(["folder", str(photos), *typed]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"Error: {line}"


def test_what_each_file_does_not_carry_is_shown_when_asked(photos, words, capsys):
    png(photos / "c.png", slope(3, bits=16))
    assert run(["folder", str(photos), "-v", "--format", "webp", *words]) == 0
    assert "  note: WebP has 8 bits, and this has 16: it becomes PNG" in capsys.readouterr().err.splitlines()


def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(photos, words):
    for k in range(40):
        png(photos / f"{k:02}.png", slope(3, size=(300, 300)))
    command = [sys.executable, "-m", "vsr", "folder", str(photos), "--json", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "file":
                process.send_signal(signal.SIGINT)
                break
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == f"vsr: {json.loads(out.splitlines()[-1])['message']}\n"
    assert re.fullmatch(r"vsr: stopped after \d+ done, 0 skipped, 0 failed; the same command goes on\n", err)
    made = {path.name for path in photos.with_name("photos_x2").iterdir() if path.name != MANIFEST}
    assert 1 <= len(made) < 42
    assert all(name.endswith(".png") for name in made)
    assert run(["folder", str(photos), "-q", *words]) == 0
    assert len(list(photos.with_name("photos_x2").glob("*.png"))) == 42


def test_one_bar_counts_pixels_and_failures(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    with display(quiet=False, as_json=False) as show:
        show(PixelsEvent(pixels=1000, total=2000))
        show(FileEvent(source="bad.png", state="failed", reason="is broken"))
        show(PixelsEvent(pixels=3000, total=4000))  # more was found
        show(FolderDoneEvent(output="out", done=2, skipped=0, failed=1, clips_left=0, seconds=1))
    lines = re.split("[\r\n]+", shown.getvalue())
    assert lines[-4].startswith(" 75% |")
    assert "3.00k/4.00kpixels" in lines[-4]
    assert lines[-4].rstrip().endswith("left, 1 failed")
    assert lines[-3:-1] == ["failed: bad.png: is broken", "2 done, 0 skipped, 1 failed"]
