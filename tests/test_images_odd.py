"""Every odd picture there is, enlarged, and read back by others: pixels and depth by tifffile, libav or Pillow."""

import io
import json
from contextlib import redirect_stdout
from fractions import Fraction
from pathlib import Path

import pytest

from tests.odd_pictures import BAD, CUT_OFF, FILES, check_pixels, check_said
from vsr.cli import run
from vsr.errors import MediaError
from vsr.events import NoteEvent
from vsr.settings import UpscaleSettings
from vsr.stills import upscale_image

pytestmark = pytest.mark.filterwarnings("ignore:Invalid APNG")


@pytest.fixture(scope="module")
def outcomes(media, nearest, tmp_path_factory) -> dict[str, dict]:
    """What one command told of each file."""
    words = ["--model", str(nearest), "--device", "cpu", "--precision", "fp32"]
    output = tmp_path_factory.mktemp("odd") / "large"
    told = io.StringIO()
    with redirect_stdout(told):
        status = run(["folder", str(media / "images_odd"), "-o", str(output), "--json", *words])
    events = [json.loads(line) for line in told.getvalue().splitlines()]
    assert status == 1
    last = events[-1]
    assert last["event"] == "folder_done"
    assert (last["done"], last["failed"]) == (len(FILES) - len(BAD) - len(CUT_OFF), len(BAD) + len(CUT_OFF))
    return {event["source"]: event for event in events if event["event"] == "file"}


@pytest.mark.parametrize("name", FILES)
def test_an_odd_picture_becomes_what_it_should_or_gets_its_line(media, outcomes, name):
    source, told = media / "images_odd" / name, outcomes[name]
    if name in BAD:
        assert told["state"] == "failed"
        assert told["output"] is None
        assert BAD[name] in told["reason"]
        assert "\n" not in told["reason"]
        return
    assert (told["state"] == "failed") == bool(told["reason"]) == (name in CUT_OFF)
    output = Path(told["output"])
    check_pixels(source, output)
    check_said(source, output, told["notes"])


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_alone_it_becomes_the_same(media, nearest, tmp_path, name):
    source = media / "images_odd" / name
    settings = UpscaleSettings(model=str(nearest), scale=Fraction(2), device="cpu", precision="fp32")
    if name in BAD:
        with pytest.raises(MediaError) as caught:
            upscale_image(source, tmp_path, settings=settings)
        line = str(caught.value)
        assert line.startswith(f"{source}: ")
        assert "\n" not in line
        assert BAD[name] in line
        assert not list(tmp_path.iterdir())
        return
    notes: list[str] = []

    def hear(event):
        if isinstance(event, NoteEvent):
            notes.append(event.message)

    done = upscale_image(source, tmp_path, settings=settings, on_event=hear)
    assert bool(done.damage) == (name in CUT_OFF)
    check_pixels(source, Path(done.output))
    check_said(source, Path(done.output), notes)
