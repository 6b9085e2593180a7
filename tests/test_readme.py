"""What the README promises."""

import re
import shlex
from pathlib import Path

import av
import click
import pytest

from vsr.cli import commands

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(tmp_path, monkeypatch):
    example = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(example) == 1
    (tmp_path / "examples").mkdir()
    short = tmp_path / "examples" / "sample.mp4"
    with av.open(str(ROOT / "examples" / "sample.mp4")) as whole, av.open(str(short), "w") as part:
        stream = part.add_stream_from_template(whole.streams.video[0], opaque=True)
        for packet in whole.demux(whole.streams.video[0]):
            if packet.size and packet.pts is not None and packet.pts * packet.time_base < 0.5:
                packet.stream = stream
                part.mux(packet)
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    exec(example[0], scope)
    assert scope["large"].shape == (192, 256, 3)
    with av.open("large.mkv") as result:
        assert (result.streams.video[0].height, result.streams.video[0].width) == (720, 1280)


@pytest.mark.parametrize("line", re.findall(r"^vsr (.*?) *(?:#.*)?$", README, re.MULTILINE))
def test_every_command_line_parses(line):
    name, *words = shlex.split(line)
    command = commands.commands[name]
    if isinstance(command, click.Group):
        name, *words = words
        command = command.commands[name]
    command.make_context(name, words)


def test_every_option_named_exists():
    groups = [command for command in commands.commands.values() if isinstance(command, click.Group)]
    every = [*commands.commands.values(), *(command for group in groups for command in group.commands.values())]
    known = {name for command in every for one in command.params for name in one.opts}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - {"--index-url", "--help"}
    assert named <= known


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
