"""What is found in a folder, and what is passed by."""

import os
from pathlib import Path

import pytest

from tests.still_maker import png, slope
from vsr.errors import Cancelled, MediaError
from vsr.folder.found import MANIFEST
from vsr.folder.scan import Patterns, Scan
from vsr.stage import Cancel


def scanned(root: Path, *, include=(), exclude=(), output: Path | None = None) -> Scan:
    patterns = Patterns(include=include, exclude=exclude)
    return Scan(root, output=output or root.with_name("out"), patterns=patterns, cancel=Cancel())


def names(root: Path, **options) -> list[str]:
    return [found.name for found in scanned(root, **options)]


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with pictures at three depths, and all that lies about in such folders."""
    root = tmp_path / "photos"
    for name in ("b.png", "a.jpg", "2019/z.webp", "2019/summer/é ü.tif", "2020/x.gif"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        png(root / name, slope(3))
    for name in (".hidden.png", "Thumbs.db", "2019/desktop.ini", "notes.txt", "2019/raw.xmp", "video.thm", "empty.dat"):
        (root / name).write_bytes(b"")
    for name in (".git/a.png", "@eaDir/a.png", "__MACOSX/a.png"):
        (root / name).parent.mkdir()
        (root / name).write_bytes((root / "b.png").read_bytes())
    return root


def test_files_come_before_folders_and_both_by_name(root):
    assert names(root) == ["a.jpg", "b.png", "2019/z.webp", "2019/summer/é ü.tif", "2020/x.gif"]


def test_what_is_passed_by_is_counted(root):
    scan = scanned(root)
    list(scan)
    assert scan.passed == {"hidden": 6, "no pictures": 2, "sidecars": 2}


def test_pictures_are_known_by_content_or_by_name(root):
    (root / "b.png").rename(root / "b.dat")
    (root / "broken.jpg").write_bytes(b"no picture at all")
    assert {"b.dat", "broken.jpg"} <= set(names(root))


def test_clips_are_known_by_content_or_by_name(tmp_path):
    for name, head in {
        "a.mp4": b"",
        "b.dat": b"\0\0\0\x18ftypisom",
        "c": b"\x1a\x45\xdf\xa3",
        "d.ts": b"const a = 1;" * 30,  # TypeScript
        "e.ts": (b"G" + bytes(187)) * 2,
        "f.m4a": b"\0\0\0\x18ftypisom",
    }.items():
        (tmp_path / name).write_bytes(head)
    assert [(found.name, found.sort) for found in scanned(tmp_path)] == [
        ("a.mp4", "clip"),
        ("b.dat", "clip"),
        ("c", "clip"),
        ("e.ts", "clip"),
    ]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"include": ["*.PNG", "*.webp"]}, ["b.png", "2019/z.webp"]),
        ({"include": ["2019"]}, ["2019/z.webp", "2019/summer/é ü.tif"]),
        ({"exclude": ["2019"]}, ["a.jpg", "b.png", "2020/x.gif"]),
        ({"exclude": ["2019/*.webp", "*.jpg"]}, ["b.png", "2019/summer/é ü.tif", "2020/x.gif"]),
        ({"include": ["20*/*"], "exclude": ["summer"]}, ["2019/z.webp", "2020/x.gif"]),
    ],
)
def test_patterns_choose(root, options, wanted):
    assert names(root, **options) == wanted


def test_links_are_followed_once_and_loops_end(root):
    (root / "2019" / "up").symlink_to(root)
    (root / "2019" / "again").symlink_to(root / "2020")
    elsewhere = root.with_name("elsewhere")
    elsewhere.mkdir()
    png(elsewhere / "far.png", slope(3))
    (root / "away").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(elsewhere)
    (root / "one.png").symlink_to(root / "b.png")
    scan = scanned(root)
    found = [one.name for one in scan]
    assert "one.png" in found
    assert found[-1] == "away/far.png"
    assert len(found) == 7
    assert scan.passed["folders seen before"] == 3


def test_a_link_to_nowhere_is_found_so_that_it_is_told(root):
    (root / "gone.png").symlink_to(root / "nowhere.png")
    (root / "gone.txt").symlink_to(root / "nowhere.txt")
    assert "gone.png" in names(root)
    assert "gone.txt" not in names(root)


def test_results_are_no_sources(root):
    (root / "large").mkdir()
    png(root / "large" / "a.png", slope(3))
    (root / "older").mkdir()
    png(root / "older" / "a.png", slope(3))
    (root / "older" / MANIFEST).write_bytes(b"")
    scan = scanned(root, output=root / "large")
    assert not [one.name for one in scan if "older" in one.name or "large" in one.name]
    assert scan.passed["folders of results"] == 2


def test_twins_are_those_that_differ_in_the_suffix_alone(tmp_path):
    for name in ("a.png", "A.tif", "b.png", "c/a.png", "a.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert {found.name: found.is_twin for found in scanned(tmp_path)} == {
        "A.tif": True,
        "a.mp4": False,
        "a.png": True,
        "b.png": False,
        "c/a.png": False,
    }


def test_a_folder_that_cannot_be_entered_is_told_and_the_others_go_on(root, monkeypatch):
    scandir = os.scandir

    def locked(path):
        if path == root / "2019":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    scan = scanned(root)
    assert [one.name for one in scan] == ["a.jpg", "b.png", "2020/x.gif"]
    assert scan.problems == [("2019", "cannot be looked into: Permission denied; check its rights")]


def test_the_folder_itself_must_open(tmp_path):
    with pytest.raises(MediaError, match="none: cannot be looked into"):
        list(scanned(tmp_path / "none"))


def test_a_walk_stops_when_told(root):
    scan = scanned(root)
    walk = iter(scan)
    next(walk)
    scan._cancel.set()
    with pytest.raises(Cancelled):
        list(walk)
