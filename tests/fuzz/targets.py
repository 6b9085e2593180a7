"""What each kind of hostile file is given to, as a user would."""

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.fuzz.corpus import MODEL, SOURCE, settings
from tests.fuzz.mutations import changed
from tests.media_maker import read_packets
from vsr.errors import ConfigError
from vsr.folder.found import MANIFEST
from vsr.folder.run import upscale_folder
from vsr.models.checkpoint import load_model
from vsr.preset import load_degradation, load_preset, load_training
from vsr.stills import upscale_image
from vsr.video import upscale_video

_VALUES = (
    *(None, -1, 2**63 - 1, 1e308, "", "done", "failed", "replacing"),
    *("../../../outside", "/outside", b"\xff", "a.png"),
)
Target = Callable[[Path, Path, random.Random], None]


def media(corpus: Path, work: Path, draw: random.Random) -> None:
    """The whole flow of a clip."""
    source = _hostile(corpus / "media", work, draw)
    upscale_video(source, work / "out.mkv", settings=settings(corpus / MODEL))


def images(corpus: Path, work: Path, draw: random.Random) -> None:
    """The whole flow of a still."""
    source = _hostile(corpus / "images", work, draw)
    upscale_image(source, work / "out.png", settings=settings(corpus / MODEL))


def checkpoints(corpus: Path, work: Path, draw: random.Random) -> None:
    """A weights file, read."""
    load_model(_hostile(corpus / "checkpoints", work, draw))


def presets(corpus: Path, work: Path, draw: random.Random) -> None:
    """A preset, read for all that presets are read for."""
    source = str(_hostile(corpus / "presets", work, draw, is_text=True))
    load_preset(source)
    for load in (load_degradation, load_training):
        try:
            load(source)
        except ConfigError as e:
            if "\n" in str(e):
                raise ValueError(f"more than one line: {e}") from e


def journals(corpus: Path, work: Path, draw: random.Random) -> None:
    """A run that goes on by a journal: what it makes is what it would have made without."""
    folder = corpus / "journals"
    shutil.copytree(folder / "out.mkv.vsr", work / "out.mkv.vsr")
    journal = work / "out.mkv.vsr" / "journal.jsonl"
    journal.write_bytes(changed(journal.read_bytes(), draw, is_text=True))
    upscale_video(folder / SOURCE, work / "out.mkv", settings=settings(corpus / MODEL))
    if read_packets(work / "out.mkv") != read_packets(folder / "whole.mkv"):
        raise ValueError("the output is not that of an undisturbed run")


def manifests(corpus: Path, work: Path, draw: random.Random) -> None:
    """A run over a folder that goes on by a manifest, whose bytes are changed, or what it says."""
    folder = corpus / "manifests"
    shutil.copytree(folder / "results", work / "results")
    manifest = work / "results" / MANIFEST
    if draw.random() < 0.5:
        manifest.write_bytes(changed(manifest.read_bytes(), draw))
    else:
        _change_rows(manifest, draw)
    upscale_folder(folder / "photos", work / "results", settings=settings(corpus / MODEL))


TARGETS: dict[str, Target] = {
    target.__name__: target for target in (media, images, checkpoints, presets, journals, manifests)
}


def _change_rows(manifest: Path, draw: random.Random) -> None:
    with closing(sqlite3.connect(manifest)) as database:
        columns = [str(name) for _, name, *_ in database.execute("PRAGMA table_info(files)")]
        for _ in range(draw.choice((1, 2, 5))):
            column, value = draw.choice(columns), draw.choice(_VALUES)
            database.execute(f"UPDATE OR IGNORE files SET {column} = ?", (value,))
        database.commit()


def _hostile(corpus: Path, work: Path, draw: random.Random, *, is_text: bool = False) -> Path:
    files = sorted(corpus.iterdir())
    chosen, other = draw.choice(files), draw.choice(files)
    path = work / f"hostile{chosen.suffix}"
    path.write_bytes(changed(chosen.read_bytes(), draw, other=other.read_bytes(), is_text=is_text))
    return path
