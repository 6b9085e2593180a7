"""`vsr folder`: a tree of stills in, the same tree larger out, whatever lies in it."""

import os
import sqlite3
import struct
import subprocess
import sys
import zlib
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vsr.still_output
from tests.still_maker import packed_chunk, png, read_back, slope, twice
from vsr.errors import ConfigError, MediaError, ModelError
from vsr.events import FileEvent, FolderDoneEvent, FolderEvent
from vsr.folder.found import MANIFEST
from vsr.folder.manifest import Manifest
from vsr.folder.run import upscale_folder
from vsr.settings import UpscaleSettings
from vsr.stills import upscale_image


@pytest.fixture
def settings(nearest) -> UpscaleSettings:
    return UpscaleSettings(model=str(nearest), device="cpu", precision="fp32")


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    for k, name in enumerate(("a.png", "b.png", "sub/c.png", "sub/deep/d.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        png(folder / name, slope(3) // (k + 1))
    return folder


class Run:
    """What came of one run."""

    def __init__(self, source: Path, settings: UpscaleSettings, output: Path | None = None, **options) -> None:
        self.events = []
        changes = {name: options.pop(name) for name in list(options) if hasattr(settings, name)}
        self.done: FolderDoneEvent = upscale_folder(
            source, output, settings=replace(settings, **changes), on_event=self.events.append, **options
        )

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.done.done, self.done.skipped, self.done.failed

    @property
    def files(self) -> dict[str, FileEvent]:
        return {event.source: event for event in self.events if isinstance(event, FileEvent)}

    @property
    def looked(self) -> FolderEvent:
        return next(event for event in self.events if isinstance(event, FolderEvent))


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder but the manifest."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


# What comes out


def test_the_tree_is_mirrored_beside_the_source_and_twice_as_large(photos, settings):
    run = Run(photos, settings)
    assert run.counts == (4, 0, 0)
    results = photos.with_name("photos_x2")
    assert run.done.output == str(results)
    assert set(tree(results)) == set(tree(photos))
    for name in tree(photos):
        assert np.array_equal(read_back(results / name), twice(read_back(photos / name)))


def test_each_file_is_what_upscale_makes_of_it(photos, settings, tmp_path):
    Image.fromarray(slope(3)).save(photos / "e.jpg", quality=90, dpi=(300, 300))
    Image.fromarray(slope(4)).save(photos / "f.webp", lossless=True)
    png(photos / "g.png", slope(1, bits=16))
    Image.fromarray(slope(3)).save(photos / "h.tif", save_all=True, append_images=[Image.fromarray(slope(3) // 2)])
    Run(photos, settings)
    for name, data in tree(photos.with_name("photos_x2")).items():
        alone = tmp_path / "alone" / name
        alone.parent.mkdir(parents=True, exist_ok=True)
        upscale_image(photos / name, alone, settings=replace(settings, scale=Fraction(2)))
        assert data == alone.read_bytes(), name
        assert (photos.with_name("photos_x2") / name).stat().st_mtime_ns == (photos / name).stat().st_mtime_ns


def test_one_bad_file_does_not_stop_the_others(photos, settings):
    (photos / "aa.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    png(photos / "ab.png", slope(3))
    data = (photos / "ab.png").read_bytes()
    (photos / "ab.png").write_bytes(data[:-60])  # its header is whole
    run = Run(photos, settings)
    assert run.counts == (4, 0, 2)
    assert run.files["aa.png"].reason == "no picture that Pillow or libav can read; give another file"
    assert run.files["ab.png"].reason.startswith("its pixels cannot be read")
    assert set(tree(photos.with_name("photos_x2"))) == {"a.png", "b.png", "sub/c.png", "sub/deep/d.png"}


def test_an_error_that_nobody_foresaw_does_not_stop_the_others(photos, settings, monkeypatch, caplog):
    write = vsr.still_output.write_still

    def stumble(path, pages, encoding):
        if next(sizes) == 1:
            raise ZeroDivisionError("by an odd library")
        write(path, pages, encoding)

    sizes = iter(range(9))
    monkeypatch.setattr(vsr.still_output, "write_still", stumble)
    run = Run(photos, settings)
    assert run.counts == (3, 0, 1)
    (failed,) = [event for event in run.files.values() if event.state == "failed"]
    assert failed.reason == "unexpected ZeroDivisionError: by an odd library; please report this"
    assert not list(photos.with_name("photos_x2").rglob("*.part"))


def test_a_full_disk_stops_the_run_and_the_same_command_goes_on(photos, settings, monkeypatch):
    def full(path, pages, encoding):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(vsr.still_output, "write_still", full)
        with pytest.raises(MediaError, match="the disk is full; make room and run the same command"):
            Run(photos, settings)
    assert Run(photos, settings).counts == (4, 0, 0)


def test_a_bomb_is_refused_by_its_header(photos, settings):
    head = struct.pack(">IIBBBBB", 50000, 50000, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    (photos / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed_chunk(*part) for part in parts))
    run = Run(photos, settings)
    assert run.counts == (4, 0, 1)
    assert "50000x50000 pixels are more than 500 million" in run.files["bomb.png"].reason
    assert Run(photos, settings, max_pixels=100).counts == (0, 4, 1), "what is made is made"


def test_a_jpeg_that_is_cut_off_is_delivered_and_counted_as_failed(photos, settings):
    Image.fromarray(slope(3, size=(64, 64))).save(photos / "cut.jpg", quality=95)
    data = (photos / "cut.jpg").read_bytes()
    (photos / "cut.jpg").write_bytes(data[: len(data) * 2 // 3])
    for _ in range(2):
        run = Run(photos, settings)
        assert run.done.failed == 1
        assert run.files["cut.jpg"].reason == "is cut off: what is missing is gray"
        assert (photos.with_name("photos_x2") / "cut.jpg").exists()
    assert Run(photos, settings, allow_damaged=True).counts == (0, 5, 0)


# Names


def test_names_that_collide_after_a_change_of_format_keep_both_suffixes(tmp_path, settings):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.png", "c.webp"):
        Image.fromarray(slope(3)).save(folder / name, lossless=True)
    Image.fromarray(slope(3)).save(folder / "a.tif")
    Image.fromarray(slope(3)).save(folder / "c.png")
    run = Run(folder, settings, format="webp")
    assert run.counts == (5, 0, 0)
    wanted = {"a.png.webp", "a.tif.webp", "b.webp", "c.webp", "c.png.webp"}
    assert set(tree(tmp_path / "photos_x2")) == wanted
    assert Run(folder, settings, format="webp").counts == (0, 5, 0)


def test_no_two_files_ever_share_a_name(tmp_path, settings):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "a.bmp", "a.png.png", "a.png.webp", "a.bmp_2.webp", "x.dat"):
        Image.fromarray(slope(3)).save(folder / name, {".dat": "PNG"}.get(Path(name).suffix), lossless=True)
    run = Run(folder, settings, format="webp")
    assert run.counts == (6, 0, 0)
    outputs = {name: Path(event.output or "").name for name, event in run.files.items()}
    assert len(set(outputs.values())) == 6
    assert outputs["a.png.webp"] == "a.png.webp"
    assert Run(folder, settings, format="webp").counts == (0, 6, 0)


def test_a_source_that_took_anothers_place_takes_its_name(tmp_path, settings):
    """As when a scan is saved again in another format: its old result is ours, and is made again."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(slope(3)).save(folder / "a.bmp")
    Run(folder, settings, format="webp")
    (folder / "a.bmp").unlink()
    Image.fromarray(slope(3) // 2).save(folder / "a.png")
    assert Run(folder, settings, format="webp").counts == (1, 0, 0)
    assert set(tree(tmp_path / "photos_x2")) == {"a.webp"}
    assert Run(folder, settings, format="webp").counts == (0, 1, 0)


def test_a_file_that_comes_later_does_not_take_anothers_result(tmp_path, settings):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(slope(3)).save(folder / "a.jp2")  # becomes PNG
    assert Path(Run(folder, settings).files["a.jp2"].output or "").name == "a.png"
    png(folder / "a.png", slope(3) // 2)
    run = Run(folder, settings)
    assert run.counts == (1, 1, 0)
    assert Path(run.files["a.png"].output or "").name == "a_2.png"
    assert Run(folder, settings).counts == (0, 2, 0)


ODD_NAMES = [
    "Ünïcödé 写真.png",
    "two  spaces .png",
    "\"double\" 'single'.png",
    "-o.png",
    "--help",
    "$(rm -rf) `x`; & | *?.png",
    "line\nbreak.png",
    "%06d.png",
    "100%.png",
    "~.png",
    "CON.png",
    "n" * 251 + ".png",
]


def test_odd_names_go_through(tmp_path, settings):
    folder = tmp_path / "-odd 'folder'"
    (folder / "-x y").mkdir(parents=True)
    for name in ODD_NAMES:
        png(folder / "-x y" / name, slope(3))
    raw = os.fsdecode(b"latin-\xe9\xff.png")  # no UTF-8
    png(folder / raw, slope(3))
    run = Run(folder, settings)
    outputs = tree(tmp_path / "-odd 'folder'_x2")
    assert set(outputs) == {raw, *(f"-x y/{name}" for name in ODD_NAMES if name != "--help"), "-x y/--help.png"}
    assert run.counts == (len(ODD_NAMES) + 1, 0, 0)
    assert Run(folder, settings).counts == (0, len(ODD_NAMES) + 1, 0)


def test_a_name_too_long_for_its_new_suffix_fails_alone(tmp_path, settings):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(slope(3)).save(folder / ("n" * 251 + ".png"))
    Image.fromarray(slope(3)).save(folder / "a.png")
    run = Run(folder, settings, format="webp")
    assert run.counts == (1, 0, 1)


def test_the_output_may_lie_inside_the_source(photos, settings):
    run = Run(photos, settings, photos / "large")
    assert run.counts == (4, 0, 0)
    run = Run(photos, settings, photos / "large")
    assert run.counts == (0, 4, 0)
    assert run.looked.passed_by == {"folders of results": 1}


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("photos", "is the source itself"),
        (".", "holds the source"),
        ("none/out", "no such folder; make it first"),
        ("file", "is no folder"),
    ],
)
def test_an_output_that_cannot_be_is_refused_at_once(photos, settings, output, message):
    photos.with_name("file").write_bytes(b"")
    with pytest.raises(MediaError, match=message):
        Run(photos, settings, photos.parent / output)


def test_a_source_that_is_no_folder_is_refused(photos, settings):
    with pytest.raises(MediaError, match="is no folder; vsr upscale takes a single file"):
        Run(photos / "a.png", settings)
    with pytest.raises(MediaError, match="no such folder"):
        Run(photos / "none", settings)


def test_a_model_that_is_not_there_is_told_before_anything_is_made(photos, settings):
    with pytest.raises(ModelError, match="no such name or file"):
        Run(photos, settings, model="none")
    assert not photos.with_name("photos_x2").exists()


# What was made before


def test_a_second_run_makes_nothing_and_loads_no_torch(photos, settings):
    Run(photos, settings)
    before = tree(photos.with_name("photos_x2"))
    code = (
        "import sys; from vsr.cli import run; status = run(sys.argv[1:]);"
        "print(status, {'torch', 'torchvision'} & set(sys.modules))"
    )
    words = ["folder", str(photos), "--model", str(settings.model), "--device", "cpu", "--precision", "fp32"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout == "0 set()\n"
    assert done.stderr.endswith("\n0 done, 4 skipped, 0 failed\n")
    assert tree(photos.with_name("photos_x2")) == before


def test_what_has_gone_or_changed_is_made_again(photos, settings):
    Run(photos, settings)
    results = photos.with_name("photos_x2")
    (results / "a.png").unlink()
    png(photos / "b.png", slope(3, size=(30, 30)))
    os.utime(photos / "sub" / "c.png", ns=(10**18, 10**18))
    run = Run(photos, settings)
    assert {name for name, event in run.files.items() if event.state == "done"} == {"a.png", "b.png", "sub/c.png"}
    assert np.array_equal(read_back(results / "b.png"), twice(slope(3, size=(30, 30))))


def test_other_settings_make_all_again(photos, settings, nearest):
    Run(photos, settings)
    results = photos.with_name("out")
    assert Run(photos, settings, results).counts == (4, 0, 0)
    assert Run(photos, settings, results, scale=Fraction(3)).counts == (4, 0, 0)
    assert read_back(results / "a.png").shape[0] == 3 * slope(3).shape[0]
    assert Run(photos, settings, results, scale=Fraction(3), max_pixels=10**6).counts == (0, 4, 0), "changes nothing"


def test_the_model_counts_by_its_weights(photos, settings, nearest, tmp_path):
    Run(photos, settings)
    copy = tmp_path / "other-name.safetensors"
    copy.write_bytes(nearest.read_bytes())
    assert Run(photos, settings, model=str(copy)).counts == (0, 4, 0)


def test_a_mixture_counts_by_its_weights_and_shares(photos, settings, nearest, tmp_path):
    (tmp_path / "other.safetensors").write_bytes(nearest.read_bytes())

    def mixed(share: float) -> Run:
        mix = {str(nearest): share, str(tmp_path / "other.safetensors"): 1 - share}
        return Run(photos, settings, model=None, mix=mix)

    assert mixed(0.25).counts == (4, 0, 0)
    assert np.array_equal(read_back(photos.with_name("photos_x2") / "a.png"), twice(slope(3)))
    assert mixed(0.25).counts == (0, 4, 0)
    assert mixed(0.5).counts == (4, 0, 0)


def test_what_others_put_there_is_an_error_for_that_file(photos, settings):
    results = photos.with_name("photos_x2")
    (results / "sub").mkdir(parents=True)
    (results / "sub" / "c.png").write_bytes(b"mine")
    run = Run(photos, settings)
    assert run.counts == (3, 0, 1)
    assert "is there already and not from here; add --overwrite, or --skip-existing" in run.files["sub/c.png"].reason
    run = Run(photos, settings, skip_existing=True)
    assert run.counts == (0, 4, 0)
    assert run.files["sub/c.png"].reason == "is there already"
    assert (results / "sub" / "c.png").read_bytes() == b"mine"
    assert Run(photos, settings, overwrite=True).counts == (1, 3, 0)
    assert np.array_equal(read_back(results / "sub" / "c.png"), twice(read_back(photos / "sub" / "c.png")))


def test_a_result_that_others_changed_is_theirs(photos, settings):
    Run(photos, settings, photos.with_name("out"))
    (photos.with_name("out") / "a.png").write_bytes(b"mine")
    assert Run(photos, settings, photos.with_name("out")).counts == (0, 4, 0), "it is there"
    run = Run(photos, settings, photos.with_name("out"), scale=Fraction(3))
    assert run.counts == (3, 0, 1)
    assert (photos.with_name("out") / "a.png").read_bytes() == b"mine"


def test_what_failed_is_tried_again_only_when_told_or_changed(photos, settings):
    (photos / "bad.png").write_bytes(b"broken")
    assert Run(photos, settings).counts == (4, 0, 1)
    run = Run(photos, settings)
    assert run.counts == (0, 4, 1)
    assert run.looked.failed == 1
    assert "failed before; --retry-failed tries again" in run.files["bad.png"].reason
    assert Run(photos, settings, retry_failed=True).counts == (0, 4, 1)
    png(photos / "bad.png", slope(3))
    assert Run(photos, settings).counts == (1, 4, 0)


def test_a_file_that_turns_bad_leaves_its_last_result_ours(photos, settings):
    Run(photos, settings)
    good = (photos / "a.png").read_bytes()
    (photos / "a.png").write_bytes(b"broken")
    assert Run(photos, settings).counts == (0, 3, 1)
    (photos / "a.png").write_bytes(good)
    assert Run(photos, settings).counts == (1, 3, 0)


def test_a_row_is_there_before_its_result_bears_its_name(photos, settings, monkeypatch):
    """As after a kill between the two: in either order of what the disk keeps, the next run ends well."""
    seen = []
    monkeypatch.setattr(
        vsr.still_output,
        "sync_folder",
        lambda folder: seen.append(
            sqlite3.connect(photos.with_name("photos_x2") / MANIFEST)
            .execute("SELECT count(*) FROM files")
            .fetchone()[0]
        ),
    )
    Run(photos, settings)
    assert all(rows > results for results, rows in enumerate(sorted(seen)))
    assert len(seen) == 4


def test_a_result_half_replaced_is_made_again(photos, settings):
    Run(photos, settings)
    with sqlite3.connect(photos.with_name("photos_x2") / MANIFEST) as database:
        database.execute("UPDATE files SET state = 'replacing', output_size = 1 WHERE source = 'a.png'")
    database.close()
    assert Run(photos, settings).counts == (1, 3, 0)


def test_the_manifest_tells_what_is_asked_of_it(photos, settings):
    Image.fromarray(slope(3)).save(photos / "e.psd.bmp", "BMP")
    png(photos / "f.png", slope(3, bits=16))
    Run(photos, settings, format="webp")
    with Manifest(photos.with_name("photos_x2")) as manifest:
        row = manifest.row("f.png")
    assert row is not None
    assert (row.state, row.output, row.error) == ("done", "f.png", None)
    assert row.size == (photos / "f.png").stat().st_size
    assert row.mtime_ns == (photos / "f.png").stat().st_mtime_ns
    assert row.seconds > 0
    assert row.notes == "WebP has 8 bits, and this has 16: it becomes PNG"


def test_two_runs_do_not_write_at_once(photos, settings):
    results = photos.with_name("photos_x2")
    results.mkdir()
    with Manifest(results), pytest.raises(MediaError, match="another run writes there"):
        Run(photos, settings)


def test_a_manifest_that_is_none_is_told(photos, settings):
    results = photos.with_name("photos_x2")
    results.mkdir()
    (results / MANIFEST).write_bytes(b"not a database at all" * 100)
    with pytest.raises(MediaError, match="cannot be read or written: file is not a database; remove it"):
        Run(photos, settings)


@pytest.mark.parametrize(
    ("column", "value"),
    [("output", 7), ("output", "../../outside.png"), ("output", "/outside.png"), ("size", "x"), ("state", "odd")],
)
def test_a_row_that_makes_no_sense_counts_for_nothing(photos, settings, column, value):
    Run(photos, settings)
    with closing(sqlite3.connect(photos.with_name("photos_x2") / MANIFEST)) as database:
        database.execute(f"UPDATE files SET {column} = ? WHERE source = 'b.png'", (value,))
        database.commit()
    with Manifest(photos.with_name("photos_x2")) as manifest:
        assert manifest.row("a.png") is not None
        assert manifest.row("b.png") is None
        assert manifest.makers("b.png") == []


def test_a_manifest_with_names_that_are_no_text_is_told(photos, settings):
    results = photos.with_name("photos_x2")
    results.mkdir()
    with closing(sqlite3.connect(results / MANIFEST)) as database:
        database.execute("CREATE TABLE abcdefgh (a)")
        database.commit()
    data = (results / MANIFEST).read_bytes()
    (results / MANIFEST).write_bytes(data.replace(b"TABLE abcdefgh", b"TABLE \xa0bcdefg\x82("))
    with pytest.raises(MediaError, match=r"cannot be read or written: .*; remove it"):
        Run(photos, settings)


def test_skipping_and_replacing_are_not_both_to_be_had(photos, settings):
    with pytest.raises(ConfigError, match="give one of them"):
        Run(photos, settings, overwrite=True, skip_existing=True)


def test_clips_are_named_where_they_are_left(photos, settings):
    (photos / "a.mp4").write_bytes(b"")
    run = Run(photos, settings)
    assert run.counts == (4, 0, 0)
    assert run.done.clips_left == 1
