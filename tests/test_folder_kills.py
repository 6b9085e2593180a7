"""A folder's run that is killed at random moments and started again leaves the files of an undisturbed run."""

import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import time
from fractions import Fraction
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from PIL import Image

from tests.kills import contents
from tests.media_maker import Audio, make_clip
from tests.still_maker import png, slope
from vsr.folder.found import MANIFEST
from vsr.settings import UpscaleSettings

pytestmark = pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a signal of Unix")
_SECONDS = 120  # that a run may take


def make_photos(folder: Path, count: int) -> Path:
    """Pictures of many kinds, one of them bad, and in a folder of their own ones whose names would collide as WebP."""
    (folder / "sub").mkdir(parents=True)
    noise = np.random.default_rng(0)
    for k in range(count):
        samples = noise.integers(0, 256, (20 + 7 * (k % 9), 90, 3)).astype(np.uint8)
        suffix = (".png", ".jpg", ".tif", ".webp", ".bmp")[k % 5]
        Image.fromarray(samples).save(folder / ("sub" if k % 2 else "") / f"{k:03}{suffix}")
    png(folder / "deep.png", slope(3, bits=16))
    frames = [Image.fromarray(slope(3) // n) for n in (1, 2, 3)]
    frames[0].save(folder / "moves.gif", save_all=True, append_images=frames[1:], duration=100)
    frames[0].save(folder / "pages.tif", save_all=True, append_images=frames[1:])
    frames[0].save(folder / "twin.png")
    frames[1].save(folder / "twin.bmp")
    (folder / "bad.png").write_bytes(b"broken")
    return folder


class Killer:
    """Runs over one folder, each in a process of its own that has torch imported, so that it begins at once."""

    def __init__(self, source: Path, model: Path, **options) -> None:
        self.source, self.output = source, source.with_name("out")
        self._settings = UpscaleSettings(model=str(model), device="cpu", precision="fp32", scale=Fraction(2), **options)
        self._context = _context()
        began = time.monotonic()
        self.run()
        self._lasts = time.monotonic() - began
        self.whole = self.found()

    def run(self) -> None:
        """To the end."""
        process = self._start()
        process.join(_SECONDS)
        assert process.exitcode == 0

    def kill(self, kills: int, draw: random.Random) -> None:
        """Kill run after run, and compare whenever one reaches its end; begin anew then."""
        shutil.rmtree(self.output)
        while kills:
            process = self._start()
            process.join(draw.uniform(0, self._lasts))
            if process.is_alive():
                process.kill()
                process.join()
            if process.exitcode == -signal.SIGKILL:
                kills -= 1
                continue
            assert process.exitcode == 0
            assert self.found() == self.whole
            shutil.rmtree(self.output)
        self.run()
        assert self.found() == self.whole

    def found(self) -> dict[str, object]:
        """All files of the result, by bytes, but clips by pictures and sound, and what the manifest says of them."""
        files: dict[str, object] = {}
        for path in sorted(self.output.rglob("*")):
            name = str(path.relative_to(self.output))
            if path.is_file() and path.name != MANIFEST:
                files[name] = contents(path) if path.suffix == ".mkv" else path.read_bytes()
        database = sqlite3.connect(self.output / MANIFEST)
        rows = database.execute("SELECT source, state, output, error FROM files ORDER BY source").fetchall()
        database.close()
        return {**files, "rows": rows}

    def _start(self) -> ForkServerProcess:
        state = self.source.with_name("state")
        process = self._context.Process(target=_run, args=(self.source, self.output, self._settings, state))
        process.start()
        return process


def _context() -> ForkServerContext:
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["vsr.folder.run", "vsr.folder.pictures", "vsr.folder.clips"])
    return found


def _run(source: Path, output: Path, settings: UpscaleSettings, state: Path) -> None:
    from vsr.folder.run import upscale_folder

    platformdirs.user_state_path = lambda *_: state
    clips = UpscaleSettings(model=settings.model, scale=settings.scale, device="cpu", segment=Fraction(1))
    upscale_folder(source, output, settings=settings, clips=clips)


def test_killed_runs_end_as_an_undisturbed_one(tmp_path, nearest):
    """Three kills; a fourth of what it takes is the undisturbed run."""
    killer = Killer(make_photos(tmp_path / "photos", 15), nearest)
    assert len(killer.whole) == 15 + 5 + 1
    killer.kill(3, random.Random(1))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"format": "webp"}, {"overwrite": True}], ids=str)
def test_runs_killed_ten_times_end_as_an_undisturbed_one(tmp_path, nearest, options):
    killer = Killer(make_photos(tmp_path / "photos", 60), nearest, **options)
    killer.kill(10, random.Random(2))


@pytest.mark.slow
def test_runs_with_clips_killed_ten_times_end_as_an_undisturbed_one(tmp_path, nearest):
    photos = make_photos(tmp_path / "photos", 5)
    for name in ("a.mkv", "sub/b.mkv"):
        make_clip(photos / name, pts=[100 * n for n in range(60)], time_base=Fraction(1, 1000), audio=[Audio()])
    killer = Killer(photos, nearest)
    killer.kill(10, random.Random(3))
