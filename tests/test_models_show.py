"""Sheets of what models make of one picture."""

import numpy as np
import pytest
from PIL import Image

from vsr.cli import run
from vsr.evaluate.show import show
from vsr.io.sheet import GAP


@pytest.fixture
def picture(tmp_path):
    """Grey but for one patch of noise at (96, 56) to (136, 96)."""
    pixels = np.full((120, 200, 3), 128, np.uint8)
    pixels[56:96, 96:136] = np.random.default_rng(0).integers(0, 256, (40, 40, 3))
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def cells(sheet: np.ndarray, count: int, side: int) -> list[np.ndarray]:
    columns = min(count, 3)
    places = [(GAP, GAP + index % columns * (side + GAP)) for index in range(columns)]
    return [sheet[top : top + side, left : left + side] for top, left in places]


def test_a_sheet_shows_bicubic_and_each_model_pixel_by_pixel(picture, nearest, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    words = ["vsr-fast-x4", str(nearest), str(picture), "-o", str(out)]
    assert run(["models", "show", *words, "--scale", "2", "--crop", "40", "--device", "cpu"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    bicubic, fast, doubled = cells(np.asarray(Image.open(out)), 3, 80)
    source = np.asarray(Image.open(picture))[56:96, 96:136].repeat(2, 0).repeat(2, 1)
    found = np.abs(doubled.astype(int) - source).max(axis=(0, 1, 2))
    assert found <= 1  # the crop is where the detail is, and shown as it was made
    assert not np.array_equal(bicubic, doubled)
    assert not np.array_equal(fast, doubled)


def test_a_crop_is_shown_as_it_is_within_the_picture(picture, nearest):
    """The network sees beyond the crop: its result there is a part of the whole's."""
    whole = show(["vsr-fast-x4"], picture, crop=200, at=(0, 0), device="cpu")
    part = show(["vsr-fast-x4"], picture, crop=32, at=(100, 60), device="cpu")
    left = GAP + 800 + GAP
    high = whole[GAP : GAP + 480, left : left + 800]
    shown = cells(part, 2, 128)[1]
    assert np.abs(shown.astype(int) - high[240 : 240 + 128, 400 : 400 + 128]).max() <= 1


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["-o", "sheet.txt"], 1, "is no sheet's"),
        (["-o", "there.png"], 1, "is there already"),
        (["-o", "sheet.png", "--at", "900,0"], 1, "outside the picture, which is 200x120"),
        (["-o", "sheet.png", "--at", "9"], 2, "is not a corner"),
        (["-o", "absent/sheet.png"], 1, "cannot be written"),
    ],
)
def test_what_cannot_be_shown_is_told_in_one_line(words, status, said, picture, nearest, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.png").write_bytes(b"mine")
    assert run(["models", "show", str(nearest), "photo.png", *words, "--crop", "16", "--device", "cpu"]) == status
    assert said in capsys.readouterr().err
    assert (tmp_path / "there.png").read_bytes() == b"mine"
    assert not (tmp_path / "sheet.png").exists()


def test_a_name_that_is_unknown_is_told(picture, tmp_path, capsys):
    assert run(["models", "show", "vsr-fats-x4", str(picture), "-o", str(tmp_path / "sheet.png")]) == 1
    assert "did you mean vsr-fast-x4" in capsys.readouterr().err
