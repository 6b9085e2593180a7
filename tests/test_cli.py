import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import textwrap
import types
from collections.abc import Callable
from dataclasses import fields
from fractions import Fraction
from pathlib import Path

import click
import pytest

from vsr import __version__, events
from vsr.cli import commands, run, show, texts
from vsr.cli.options import LENGTH, SCALE, SELECTORS, SIZE, TIME
from vsr.errors import ConfigError, MediaError
from vsr.events import DoneEvent, NoteEvent, PlanEvent, ProgressEvent, SegmentEvent
from vsr.preset import preset_names
from vsr.settings import Crop, UpscaleSettings

PLAN = PlanEvent(
    source="clip.mp4",
    output="clip_x4.mp4",
    device="cpu",
    why_device="this torch is built without CUDA",
    model="vsr-fast-x4",
    network_scale=4,
    precision="fp32 (asked for)",
    tile="whole frames",
    source_size=(180, 320),
    output_size=(720, 1280),
    container="mp4",
    encoder="libx264 crf=16 preset=medium",
    pix_fmt="yuv420p",
    color="BT.601 limited range",
    frames=3,
    streams=(("v:0", "h264", "upscale", ""), ("a:0", "aac", "copy", ""), ("s:10", "mov_text", "drop", "by --drop")),
)
DONE = DoneEvent(output="clip_x4.mp4", frames=3, seconds=1.5)


class Calls:
    """Stands in for vsr.video: keeps what it was called with, tells `events`, then returns or raises `result`."""

    def __init__(self) -> None:
        self.events: list[events.Event] = [PLAN, ProgressEvent(frames=3, total=3, waits_for="compute"), DONE]
        self.result: DoneEvent | Exception = DONE
        self.source: Path | None = None
        self.output: Path | None = None
        self.settings = UpscaleSettings()

    def upscale_video(self, source, output, *, settings, on_event, cancel):
        self.source, self.output, self.settings = source, output, settings
        for event in self.events:
            on_event(event)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def video(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()
    module = types.ModuleType("vsr.video")
    module.__dict__["upscale_video"] = calls.upscale_video
    monkeypatch.setitem(sys.modules, "vsr.video", module)
    return calls


@pytest.fixture
def settings(video: Calls) -> Callable[..., UpscaleSettings]:
    """The settings that `vsr upscale clip.mp4` with more words makes."""

    def parse(*words: str) -> UpscaleSettings:
        assert run(["upscale", "clip.mp4", "-q", *words]) == 0
        return video.settings

    return parse


# Help


def all_commands(group: click.Group = commands, *path: str) -> list[tuple[str, ...]]:
    found = [path]
    for name, command in group.commands.items():
        found += all_commands(command, *path, name) if isinstance(command, click.Group) else [(*path, name)]
    return found


@pytest.mark.parametrize("path", all_commands(), ids=" ".join)
def test_every_command_has_help_with_real_command_lines(path, capsys):
    assert run([*path, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage: {' '.join(('vsr', *path))} ")
    assert re.search(rf"\n +vsr {' '.join(path)}", shown)


def test_every_option_has_help():
    for path in all_commands():
        command: click.Command = commands
        for name in path:
            assert isinstance(command, click.Group)
            command = command.commands[name]
        for option in command.params:
            assert not isinstance(option, click.Option) or option.help, option.name


def test_the_version_is_told(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"vsr {__version__}\n"


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["upscale", "--help"], ["presets", "list"]])
def test_what_needs_no_network_imports_neither_torch_nor_av(words):
    code = "import sys; from vsr.cli import run; run(sys.argv[1:]); print({'torch', 'av', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


# What is typed


def test_every_setting_has_an_option_but_the_tables_of_presets():
    names = {option.name for option in commands.commands["upscale"].params}
    own = {"source", "output", "preset", "quiet", "verbose", "as_json"}
    assert names - own == {field.name for field in fields(UpscaleSettings)} - {"models", "still_models", "encoders"}


def test_paths_are_handed_on_as_typed(video):
    assert run(["upscale", "a b.mp4", "-q"]) == 0
    assert (video.source, video.output) == (Path("a b.mp4"), None)
    assert run(["upscale", "clip.mp4", "-q", "-o", "out/"]) == 0
    assert video.output == Path("out")


def test_without_options_the_preset_video_holds(settings):
    from vsr.preset import load_preset

    assert settings() == load_preset("video").upscale


def test_every_option_reaches_the_settings(settings):
    words = """
        --passes 2 --model m.pth --scale 2.4 --device cuda:1 --precision bf16 --tile 256 --overlap 8 --batch 4
        --codec hevc --crf 0 --encoder libx265 --encoder-preset slow --pix-fmt yuv420p10le --encoder-option aq-mode=3
        --encoder-option x265-params=a=1:b=2 --segment 2.5 --start 0 --end 1:00:00.04 --drop s,a:1 --drop v:1
        --overwrite --allow-damaged --audio opus --deinterlace double --crop 640:360:2:8 --apply-rotation
    """
    assert settings(*words.split()) == UpscaleSettings(
        passes=2,
        model="m.pth",
        scale=Fraction(12, 5),
        device="cuda:1",
        precision="bf16",
        tile=256,
        overlap=8,
        batch=4,
        codec="hevc",
        crf=0,
        encoder="libx265",
        encoder_preset="slow",
        pix_fmt="yuv420p10le",
        encoder_options={"aq-mode": "3", "x265-params": "a=1:b=2"},
        segment=Fraction(5, 2),
        start=Fraction(0),
        end=3600 + Fraction(1, 25),
        drop=("s", "a:1", "v:1"),
        overwrite=True,
        allow_damaged=True,
        audio="opus",
        deinterlace="double",
        crop=Crop(height=360, width=640, top=8, left=2),
        apply_rotation=True,
    )


@pytest.fixture
def stills(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()
    module = types.ModuleType("vsr.stills")
    module.__dict__["upscale_image"] = calls.upscale_video
    monkeypatch.setitem(sys.modules, "vsr.stills", module)
    return calls


def test_a_still_goes_its_own_way_with_its_own_preset(stills):
    from vsr.preset import load_preset

    assert run(["upscale", "photo.JPG", "-q"]) == 0
    assert stills.settings == load_preset("real_world").upscale


def test_the_first_bytes_tell_a_still_from_a_clip(stills, video, tmp_path):
    for name, head in [("still.mp4", b"\x89PNG\r\n\x1a\n"), ("clip.jpg", b"\x1a\x45\xdf\xa3")]:
        (tmp_path / name).write_bytes(head + bytes(40))
    assert run(["upscale", str(tmp_path / "still.mp4"), "-q"]) == 0
    assert (stills.source, video.source) == (tmp_path / "still.mp4", None)


@pytest.mark.parametrize("words", [["a.gif", "-o", "a.mp4"], ["a.gif", "-o", "-"], ["frames/%06d.png"]])
def test_what_becomes_a_clip_is_a_clip(stills, video, words):
    assert run(["upscale", *words, "-q"]) == 0
    assert (stills.source, video.source) == (None, Path(words[0]))


def test_options_of_stills_reach_the_settings(stills):
    words = [
        "--format",
        "webp",
        "--quality",
        "80",
        "--to-srgb",
        "--strip",
        "--sheet",
        "--max-pixels",
        "1.5GP",
        "--scale",
        "2",
    ]
    assert run(["upscale", "photo.png", "-q", "--preset", "video", *words]) == 0
    assert (stills.settings.format, stills.settings.quality, stills.settings.max_pixels) == ("webp", 80, 1_500_000_000)
    assert stills.settings.to_srgb
    assert stills.settings.strip
    assert stills.settings.sheet


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["photo.png", "--crf", "10"], "--crf is for clips, and this is a still."),
        (["photo.png", "--encoder-option", "a=b"], "--encoder-option is for clips, and this is a still."),
        (["clip.mp4", "--format", "png"], "--format is for stills, and this is a clip."),
    ],
)
def test_options_that_would_do_nothing_are_refused(words, line, capsys):
    assert run(["upscale", *words]) == 2
    assert line in capsys.readouterr().err


def test_a_damaged_still_is_told_with_status_1(stills, capsys):
    stills.result = DoneEvent(output="p_x4.jpg", frames=1, seconds=1, damage="is cut off")
    assert run(["upscale", "p.jpg", "-q"]) == 1
    assert "p.jpg: is cut off; look at p_x4.jpg, or give --allow-damaged" in capsys.readouterr().err
    assert run(["upscale", "p.jpg", "-q", "--allow-damaged"]) == 0


def test_options_go_before_the_preset(settings, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[upscale]\nscale = 2\ncrf = 20\ncodec = 'ffv1'\n")
    mine = settings("--preset", str(path), "--crf", "10", "--size", "x1080")
    assert (mine.crf, mine.codec, mine.scale, mine.size) == (10, "ffv1", None, (1080, None))


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (SCALE, "16", Fraction(16)),
        (SCALE, "1.000000001", 1 + Fraction(1, 10**9)),
        (SIZE, "1920x1080", (1080, 1920)),
        (SIZE, "1920x", (None, 1920)),
        (SIZE, "x1080", (1080, None)),
        (TIME, "0", Fraction(0)),
        (TIME, "90.1", Fraction(901, 10)),
        (TIME, ".5", Fraction(1, 2)),
        (TIME, "90:00", Fraction(5400)),
        (TIME, "1:02:03.004", 3723 + Fraction(4, 1000)),
        (LENGTH, "0:10", Fraction(10)),
        (SELECTORS, "a,s:0,t,d,v:2", ("a", "s:0", "t", "d", "v:2")),
    ],
)
def test_values_are_read_exactly(kind, text, value):
    assert kind.convert(text, None, None) == value


@pytest.mark.parametrize(
    "words",
    [
        *(["--scale", text] for text in ("0.5", "16.1", "-2", "x4", "nan", "1e9", "")),
        *(["--size", text] for text in ("x", "1920", "0x1080", "1920x0", "-1x2", "1920*1080")),
        *(["--start", text] for text in ("-1", "1:60", "1:60:00", "1::2", "1:2:3:4", "soon", "٣")),
        *(["--segment", text] for text in ("0", "0:00", "-1")),
        *(["--drop", text] for text in ("", "x", "a,", "a:", "v", "a b")),
        *(["--encoder-option", text] for text in ("tune", "=film")),
        ["--device", "gpu"],
        ["--precision", "int8"],
        ["--passes", "3"],
        ["--tile", "0"],
        ["--overlap", "-1"],
        ["--batch", "0"],
        ["--crf", "-1"],
        ["--codec", "mpeg2"],
    ],
    ids=" ".join,
)
def test_a_bad_value_is_misuse_and_quoted(words, capsys):
    assert run(["upscale", "clip.mp4", *words]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("Error: Invalid value for '")
    assert words[0] in last
    assert words[1] in last


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["upscale"], "Error: Missing argument 'SOURCE'."),
        (["upscale", "a", "--scale", "2", "--size", "x9"], "Error: --scale and --size: give one of them."),
        (["upscale", "a", "-q", "-v"], "Error: -q and -v: give one of them."),
        (["upscal"], "Error: No such command 'upscal'."),
    ],
)
def test_misuse_has_status_2_and_one_error_line(words, line, capsys):
    assert run(words) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(line)


# What is shown


def test_the_plan_is_a_block_on_stderr(video, capsys):
    assert run(["upscale", "clip.mp4"]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == textwrap.dedent("""\
        from      clip.mp4  320x180, about 3 frames
        to        clip_x4.mp4  1280x720, mp4
        model     vsr-fast-x4 (x4)
        device    cpu: this torch is built without CUDA
        precision fp32 (asked for)
        tiles     whole frames
        encoder   libx264 crf=16 preset=medium, yuv420p
        colour    BT.601 limited range
        streams   v:0   h264      upscale
                  a:0   aac       copy
                  s:10  mov_text  drop     by --drop
        clip_x4.mp4: 3 frames in 1.5 s, 2.00 frames/s
    """)


def test_notes_are_lines(video, capsys):
    video.events = [NoteEvent(message="the matrix is guessed"), DONE]
    run(["upscale", "clip.mp4"])
    assert capsys.readouterr().err.startswith("note: the matrix is guessed\n")


def test_quiet_says_nothing(video, capsys):
    assert run(["upscale", "clip.mp4", "-q"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("done", "line"),
    [
        (DoneEvent(output="o.mp4", frames=0, seconds=0.0, already_done=True), "o.mp4: already done"),
        (
            DoneEvent(output="o.mp4", frames=9, seconds=3.0, lost_frames=2, retries=1),
            "o.mp4: 9 frames in 3.0 s, 3.00 frames/s, 2 lost, 1 computed again",
        ),
    ],
)
def test_the_last_line_says_what_came_of_it(done, line):
    assert texts.done_text(done) == line


def test_json_is_one_object_a_line_with_every_field(video, capsys):
    assert run(["upscale", "clip.mp4", "--json"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    plan, progress, done = map(json.loads, shown.out.splitlines())
    assert plan["event"] == "plan"
    assert plan["output_size"] == [720, 1280]
    assert progress == {"event": "progress", "frames": 3, "total": 3, "waits_for": "compute"}
    assert done == {
        "event": "done",
        "output": "clip_x4.mp4",
        "frames": 3,
        "seconds": 1.5,
        "already_done": False,
        "lost_frames": 0,
        "damaged_places": 0,
        "resumed_frames": 0,
        "retries": 0,
        "damage": "",
    }


def test_names_in_json_are_frozen():
    """Programs read these. Adding is fine, and is added here; renaming and taking away is not."""
    assert {name: [field.name for field in fields(event)] for event, name in show.NAMES.items()} == {
        "plan": [
            *("source", "output", "device", "why_device", "model", "network_scale", "precision", "tile"),
            *("source_size", "output_size", "container", "encoder", "pix_fmt", "color", "frames", "streams"),
        ],
        "note": ["message"],
        "progress": ["frames", "total", "waits_for"],
        "pixels": ["pixels", "total"],
        "segment": ["index", "frames"],
        "done": [
            *("output", "frames", "seconds", "already_done", "lost_frames", "damaged_places"),
            *("resumed_frames", "retries", "damage"),
        ],
        "folder": ["source", "output", "stills", "clips", "skipped", "failed", "clips_left", "passed_by"],
        "network": ["model", "network_scale", "device", "why_device", "precision", "tile"],
        "file": ["source", "state", "output", "seconds", "reason", "notes"],
        "folder_done": ["output", "done", "skipped", "failed", "clips_left", "seconds"],
        "error": ["message"],
        "train": ["stage", "step", "steps", "images_per_s", "waiting", "loss"],
        "validation": ["stage", "step", "figures", "is_best"],
        "compared": ["index", "frames", "difference"],
        "finding": ["output", "message"],
        "verified": ["source", "output", "frames", "findings", "difference"],
        "download": ["file", "received", "total"],
    }


def test_json_progress_is_thinned_but_the_last_one_always_comes(video, capsys):
    video.events = [ProgressEvent(frames=n, total=1000, waits_for="encode") for n in range(1, 1001)]
    video.events += [SegmentEvent(index=0, frames=1000), DONE]
    run(["upscale", "clip.mp4", "--json"])
    *progress, segment, done = map(json.loads, capsys.readouterr().out.splitlines())
    assert len(progress) < 100
    assert progress[0]["frames"] == 1
    assert progress[-1]["frames"] == 1000
    assert (segment["event"], done["event"]) == ("segment", "done")


def test_verbose_shows_the_log_of_vsr(video, capsys, monkeypatch):
    import logging

    def speak(*_: object, **__: object) -> DoneEvent:
        logging.getLogger("vsr.engine.upscaler").debug("tile halved")
        return DONE

    monkeypatch.setattr(sys.modules["vsr.video"], "upscale_video", speak)
    run(["upscale", "clip.mp4", "-v"])
    assert capsys.readouterr().err == "DEBUG vsr.engine.upscaler: tile halved\n"
    run(["upscale", "clip.mp4"])
    assert capsys.readouterr().err == ""


# How it ends


def test_an_error_is_one_line_and_status_1(video, capsys):
    video.result = MediaError("clip.mp4: cannot be opened: no moov; copy it again")
    video.events = []
    assert run(["upscale", "clip.mp4", "-q"]) == 1
    assert capsys.readouterr() == ("", "vsr: clip.mp4: cannot be opened: no moov; copy it again\n")


def test_an_error_is_an_object_too(video, capsys):
    video.result = ConfigError("scale: no")
    video.events = [ProgressEvent(frames=n, total=3, waits_for="encode") for n in (1, 2)]
    assert run(["upscale", "clip.mp4", "--json"]) == 1
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["event"], line.get("frames")) for line in shown] == [
        ("progress", 1),
        ("progress", 2),
        ("error", None),
    ]
    assert shown[-1] == {"event": "error", "message": "scale: no"}


def test_an_unknown_preset_is_one_line_and_an_object(video, capsys):
    assert run(["upscale", "clip.mp4", "--preset", "animee", "--json"]) == 1
    shown = capsys.readouterr()
    line = "preset 'animee' is unknown; did you mean 'anime'?"
    assert json.loads(shown.out) == {"event": "error", "message": line}
    assert shown.err == f"vsr: {line}\n"


def test_lost_frames_are_a_failure_unless_allowed(video, capsys):
    video.result = DoneEvent(output="clip_x4.mp4", frames=3, seconds=1.0, lost_frames=2, damaged_places=1)
    assert run(["upscale", "clip.mp4", "-q"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("vsr: clip.mp4: damaged at one place, 2 frames are missing in clip_x4.mp4;")
    assert said.count("\n") == 1
    assert run(["upscale", "clip.mp4", "-q", "--allow-damaged"]) == 0


def test_a_bug_keeps_its_traceback(video):
    video.result = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        run(["upscale", "clip.mp4"])


DRIVER = """
import sys, time, types
from vsr.events import DoneEvent, ProgressEvent
from vsr.cli import main

def upscale_video(source, output, *, settings, on_event, cancel):
    on_event(ProgressEvent(frames=1, total=9, waits_for="compute"))
    print("started", file=sys.stderr, flush=True)
    for _ in range(200):
        if str(source) == "obeys":
            cancel.check()
        time.sleep(0.05)
    on_event(done := DoneEvent(output="o.mp4", frames=9, seconds=1.0))
    return done

sys.modules["vsr.video"] = types.ModuleType("vsr.video")
sys.modules["vsr.video"].upscale_video = upscale_video
main()
"""


def started(*words: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, "upscale", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "started\n"
    return process


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_run_in_good_order(number, status):
    process = started("obeys", "--json")
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert process.returncode == status
    assert err == "vsr: stopped; what is done is kept\n"
    names = [json.loads(line)["event"] for line in out.splitlines()]
    assert names == ["progress", "note", "error"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_the_process_at_once(number, status):
    process = started("does-not-obey")
    assert process.stderr is not None
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "note: stopping; once more stops at once\n"
    process.send_signal(number)
    assert process.wait(timeout=5) == status
    process.communicate()


def test_ctrl_c_stops_a_real_run_and_leaves_nothing_half_done(tmp_path):
    sample, output = Path(__file__).parents[1] / "examples" / "sample.mp4", tmp_path / "out.mp4"
    words = ["upscale", str(sample), "-o", str(output), "--segment", "0.4", "--json", "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "vsr", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while json.loads(process.stdout.readline())["event"] != "segment":
        pass
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "vsr: stopped; what is done is kept\n"
    assert not output.exists()
    done = (tmp_path / "out.mp4.vsr" / "journal.jsonl").read_text().splitlines()[1:]
    assert {p.name for p in (tmp_path / "out.mp4.vsr").glob("*.mkv")} == {
        f"{json.loads(line)['segment']:06d}.mkv" for line in done
    }


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_json_that_cannot_be_written_is_one_line(video):
    with Path("/dev/full").open("w") as full:
        driver = DRIVER.replace("range(200)", "range(1)")
        command = [sys.executable, "-c", driver, "upscale", "obeys", "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("vsr: ")]
    assert lines == ["vsr: stdout: cannot be written: No space left on device; send --json elsewhere"]
    assert "Traceback" not in done.stderr


def test_signal_handlers_are_put_back(video):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    run(["upscale", "clip.mp4", "-q"])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_broken_pipe_is_silent():
    code = "from vsr.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "presets", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 1


def on_terminal(code: str, *words: str) -> str:
    """What a terminal of 100 columns is sent on stderr."""
    main, end = pty.openpty()
    termios.tcsetwinsize(end, (25, 100))
    process = subprocess.Popen([sys.executable, "-c", code, *words], stderr=end)
    os.close(end)
    shown = b""
    with contextlib.suppress(OSError):  # how the end is told on Linux
        while part := os.read(main, 1000):
            shown += part
    process.wait()
    os.close(main)
    return shown.decode()


def test_a_terminal_gets_a_bar_that_says_what_it_waits_for():
    shown = on_terminal(DRIVER.replace("range(200)", "range(4)"), "upscale", "clip.mp4")
    assert "1/9 frames" in shown
    assert "waits for compute" in shown
    assert shown.endswith("o.mp4: 9 frames in 1.0 s, 9.00 frames/s\r\n")


def test_no_terminal_gets_no_bar_and_no_escape_codes(video, capsys):
    run(["upscale", "clip.mp4"])
    said = capsys.readouterr().err
    assert "\r" not in said
    assert "\x1b" not in said


# Presets


def test_presets_are_listed_with_what_they_are_for(capsys):
    assert run(["presets", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == preset_names()
    assert all(len(line.split("  ", 1)[1].strip()) > 20 for line in lines)


def test_a_shown_preset_can_be_given_back(capsys, tmp_path):
    from vsr.preset import load_preset

    assert run(["presets", "show", "film"]) == 0
    copy = tmp_path / "film.toml"
    copy.write_text(capsys.readouterr().out)
    assert load_preset(str(copy)) == load_preset("film")


def test_an_unknown_preset_is_not_shown(capsys):
    assert run(["presets", "show", "filn"]) == 1
    assert capsys.readouterr() == ("", "vsr: preset 'filn' is unknown; did you mean 'film'?\n")
