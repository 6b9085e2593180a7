"""Reading pictures as plain RGB."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vsr.errors import MediaError
from vsr.io.images import read_rgb


def test_a_picture_is_read_upright(tmp_path: Path):
    wide = Image.fromarray(np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    wide.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_rgb(tmp_path / "turned.png"), np.rot90(np.asarray(wide), -1))


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "RGBA", "LA"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str):
    Image.new(mode, (3, 2)).save(tmp_path / "small.tif")
    read = read_rgb(tmp_path / "small.tif")
    assert (read.shape, read.dtype) == ((2, 3, 3), np.uint8)


def test_transparent_parts_lie_on_black(tmp_path: Path):
    Image.fromarray(np.array([[[200, 100, 50, 255], [200, 100, 50, 0]]], np.uint8)).save(tmp_path / "clear.png")
    assert read_rgb(tmp_path / "clear.png").tolist() == [[[200, 100, 50], [0, 0, 0]]]


def test_what_is_no_picture_is_one_clear_line(tmp_path: Path):
    (tmp_path / "text.png").write_text("no picture")
    whole = tmp_path / "whole.png"
    Image.effect_noise((64, 64), 9).save(whole)
    (tmp_path / "half.png").write_bytes(whole.read_bytes()[:1000])
    for name in ("text.png", "half.png", "absent.png"):
        with pytest.raises(MediaError, match=f"{name}: cannot be read as a picture: .*; give another file"):
            read_rgb(tmp_path / name)


def test_a_picture_beyond_reason_is_refused_from_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Image.new("L", (8, 8)).save(tmp_path / "large.png")
    monkeypatch.setattr("vsr.io.images.MAX_PIXELS", 63)
    with pytest.raises(MediaError, match="8x8 is too large"):
        read_rgb(tmp_path / "large.png")
