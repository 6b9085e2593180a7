"""What a picture says of itself, read back by Pillow and held against the source."""

import struct
import zlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, IptcImagePlugin

from tests.still_maker import IPTC, SIZE, exif, png, profile, read_back, slope, twice, xmp
from vsr.io import still_write, tiff_write
from vsr.io.exif import orientation, renewed
from vsr.io.jpeg_parts import jpeg_parts
from vsr.io.still import Metadata
from vsr.io.still_read import open_still
from vsr.io.xmp import renewed as renewed_xmp
from vsr.settings import UpscaleSettings
from vsr.still_plan import plan_still
from vsr.stills import upscale_image

KINDS = [".jpg", ".png", ".webp", ".avif", ".tif"]


@pytest.fixture
def settings(nearest) -> UpscaleSettings:
    return UpscaleSettings(model=str(nearest), scale=Fraction(2), device="cpu", precision="fp32")


@pytest.fixture
def photo(tmp_path) -> Path:
    """A JPEG that lies on its side, with all that a camera and an archive put in."""
    path = tmp_path / "photo.jpg"
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC + b"\0" * (len(IPTC) % 2)
    content = b"Photoshop 3.0\0" + resource
    Image.fromarray(slope(3)).save(
        path,
        quality=100,
        subsampling="4:4:4",
        icc_profile=profile(),
        exif=b"Exif\0\0" + exif(6),
        xmp=xmp(6),
        dpi=(300, 300),
        comment=b"a comment",
        extra=b"\xff\xed" + struct.pack(">H", len(content) + 2) + content,
    )
    return path


def enlarge(source: Path, settings: UpscaleSettings, output: Path | None = None, **changes) -> Path:
    return Path(upscale_image(source, output, settings=replace(settings, **changes)).output)


@pytest.mark.parametrize("suffix", KINDS)
def test_everything_that_a_kind_can_hold_is_kept(settings, photo, tmp_path, suffix):
    output = enlarge(photo, settings, tmp_path / f"out{suffix}")
    with Image.open(output) as found:
        found.load()
        assert found.size == (2 * SIZE[0], 2 * SIZE[1])  # upright
        assert found.info["icc_profile"] == profile()
        said = found.getexif()
        assert said.get(ExifTags.Base.Orientation, 1) == 1
        assert said[ExifTags.Base.Make] == "Maker"
        inner = said.get_ifd(ExifTags.IFD.Exif)
        assert (inner[0xA002], inner[0xA003]) == (2 * SIZE[0], 2 * SIZE[1])
        assert inner[0x9003] == "2001:02:03 04:05:06"
        assert inner[0x927C] == b"notes" * 9
        assert said.get_ifd(ExifTags.IFD.GPSInfo)[2] == (47.0, 22.0, 1.5)
        assert not said.get_ifd(ExifTags.IFD.IFD1)
        text = found.info["xmp"]
        text = text if isinstance(text, bytes) else text.encode()
        assert b'tiff:Orientation="1"' in text
        assert b'dc:source="here"' in text
        if suffix in (".jpg", ".tif"):
            assert (IptcImagePlugin.getiptcinfo(found) or {})[(2, 120)] == b"words"
        if suffix in (".jpg", ".png", ".tif"):
            assert found.info["dpi"] == pytest.approx((300, 300), abs=0.01)


def test_iptc_goes_through_png_as_other_programs_write_it(settings, photo, tmp_path):
    middle = enlarge(photo, settings, tmp_path / "a.png")
    assert open_still(middle, max_pixels=10**6).metadata.iptc == IPTC
    assert open_still(enlarge(middle, settings, tmp_path / "b.jpg"), max_pixels=10**6).metadata.iptc == IPTC


@pytest.mark.parametrize("suffix", KINDS)
def test_strip_keeps_the_profile_and_nothing_else(settings, photo, tmp_path, suffix):
    output = enlarge(photo, settings, tmp_path / f"out{suffix}", strip=True)
    said = open_still(output, max_pixels=10**6).metadata
    assert said.icc == profile()
    assert (said.exif, said.xmp, said.iptc, said.comment) == (None, None, None, None)
    held = output.read_bytes()
    assert b"Maker" not in held
    assert b"words" not in held


def test_what_a_kind_cannot_hold_is_named(settings, photo, tmp_path):
    plan = plan_still(photo, tmp_path / "out.webp", settings)
    assert plan.notes == ("not carried: IPTC, comment",)
    plan = plan_still(photo, tmp_path / "out.bmp", settings)
    assert plan.notes == ("not carried: EXIF, XMP, IPTC, colour profile, comment",)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_pixels_are_upright_whatever_the_tag_said(settings, tmp_path, turn, suffix):
    stored, source = slope(3), tmp_path / f"a{suffix}"
    if suffix == ".png":
        png(source, stored, (b"eXIf", exif(turn)))
    else:
        tifffile.imwrite(source, stored, photometric="rgb", extratags=[(274, 3, 1, turn, True)])
    by_exif = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(stored),
    }
    output = enlarge(source, settings)
    assert np.array_equal(read_back(output), twice(by_exif[turn]))
    with Image.open(output) as found:
        assert found.getexif().get(ExifTags.Base.Orientation, 1) == 1


def test_exif_is_mended_in_place():
    before = exif(6)
    after = renewed(before, height=80, width=60)
    assert after is not None
    assert orientation(after) == 1
    assert len(after) < len(before), "the small picture stood last and is cut off"
    assert after.index(b"notes") == before.index(b"notes"), "offsets in makers' notes still point right"


def test_sizes_beyond_a_short_are_written_as_long():
    after = renewed(exif(), height=70000, width=90000)
    said = Image.Exif()
    said.load(after or b"")
    inner = said.get_ifd(0x8769)
    assert (inner[0xA003], inner[0xA002]) == (70000, 90000)


@pytest.mark.parametrize(("cicp", "kinds"), [((9, 16), [b"cICP"]), ((2, 16), []), ((9, 300), [])])
def test_a_png_says_only_colours_that_there_are(cicp, kinds):
    """A damaged AVIF, where they have 16 bits, may say others."""
    assert [kind for kind, _ in still_write._chunks(Metadata(cicp=cicp))] == kinds


def test_damaged_exif_is_no_reason_to_fail():
    whole = exif(6)
    for length in range(0, len(whole), 7):
        renewed(whole[:length], height=8, width=8)
        orientation(whole[:length])
    assert renewed(b"nothing", height=8, width=8) is None


def test_xmp_forgets_parts_that_are_left_behind():
    said = (
        b'<rdf:Description hdrgm:Version="1.0" GCamera:MotionPhoto="1" tiff:ImageWidth="9" dc:title="kept">'
        b"<Container:Directory><rdf:Seq>x</rdf:Seq></Container:Directory></rdf:Description>"
    )
    assert renewed_xmp(said, height=5, width=70) == (
        b'<rdf:Description tiff:ImageWidth="70" dc:title="kept"></rdf:Description>'
    )


def test_parts_of_a_jpeg_are_named(photo):
    data = photo.read_bytes()
    gain = xmp().replace(b'dc:source="here"', b'hdrgm:Version="1.0"')
    content = b"http://ns.adobe.com/xap/1.0/\0" + gain
    segment = b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
    with_map = data[:2] + segment + data[2:] + data
    assert jpeg_parts(with_map, pictures=2).left_behind == ("gain map",)
    assert jpeg_parts(data + data, pictures=3).left_behind == ("2 more pictures",)
    assert jpeg_parts(data + b"\0\0\0\x18ftypmp42" + bytes(99)).left_behind == ("motion-photo clip",)
    assert jpeg_parts(data).left_behind == ()


def test_a_second_picture_of_an_mpo_is_named(settings, tmp_path):
    first, second = (Image.fromarray(slope(3)) for _ in range(2))
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    plan = plan_still(tmp_path / "a.jpg", None, settings)
    assert plan.notes == ("not carried: second picture",)
    assert plan.output.name == "a_x2.jpg"


def test_geotiff_keys_are_named(settings, tmp_path):
    tag = (33550, 12, 3, (1.0, 1.0, 0.0), True)
    tifffile.imwrite(tmp_path / "a.tif", slope(1)[..., 0], extratags=[tag])
    assert plan_still(tmp_path / "a.tif", None, settings).notes == ("not carried: GeoTIFF keys",)


def test_texts_of_a_png_stay_behind_its_pixels_too(settings, tmp_path):
    path = png(tmp_path / "a.png", slope(1))
    data = path.read_bytes()
    text = b"tEXtTitle\0late"
    late = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    path.write_bytes(data[:-12] + late + data[-12:])
    with Image.open(enlarge(path, settings)) as found:
        assert found.info == {"Title": "late"}
        assert np.array_equal(np.asarray(found), twice(slope(1)[..., 0]))


def test_a_profile_for_other_pixels_is_not_put_in(settings, tmp_path):
    """A gray profile on the RGB that WebP makes of gray would have viewers refuse it."""
    gray = bytearray(profile())
    gray[16:20] = b"GRAY"
    source = png(tmp_path / "a.png", slope(1), (b"iCCP", b"gray\0\0" + zlib.compress(bytes(gray))))
    plan = plan_still(source, tmp_path / "a.webp", settings)
    assert plan.notes == ("not carried: colour profile, which is for other pixels",)
    assert plan_still(source, None, settings).encoding.metadata.icc == bytes(gray)


def test_a_tiff_beyond_4_gb_says_the_same(settings, photo, tmp_path, monkeypatch):
    def said(path: Path) -> list[dict]:
        with Image.open(path) as found:
            exif = found.getexif()
            return [dict(exif.get_ifd(place)) for place in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)] + [
                dict(found.info)
            ]

    small = enlarge(photo, settings, tmp_path / "small.tif")
    monkeypatch.setattr(tiff_write, "_CLASSIC_BYTES", 0)
    big = enlarge(photo, settings, tmp_path / "big.tif")
    with tifffile.TiffFile(big) as file:
        assert file.is_bigtiff
    assert all(said(small)[:2])
    assert said(big) == said(small)
