"""The flow of one still: every kind in and out, and what becomes of its pixels."""

import io
import os
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from tests.still_maker import SIZE, packed_chunk, png, press_profile, profile, read_back, slope, twice
from vsr.errors import ConfigError, MediaError
from vsr.events import NoteEvent, PixelsEvent
from vsr.io import tiff_segments, tiff_write
from vsr.io.profiles import profile_space
from vsr.io.still import Metadata
from vsr.io.still_read import open_still
from vsr.picture import Levels, RenderedPage
from vsr.settings import UpscaleSettings
from vsr.still_plan import plan_still
from vsr.stills import upscale_image


@pytest.fixture
def settings(nearest) -> UpscaleSettings:
    return UpscaleSettings(model=str(nearest), scale=Fraction(2), device="cpu", precision="fp32")


def enlarge(source: Path, settings: UpscaleSettings, output: Path | None = None, **changes) -> tuple[Path, list[str]]:
    """(output, notes)."""
    notes: list[str] = []

    def hear(event):
        if isinstance(event, NoteEvent):
            notes.append(event.message)

    done = upscale_image(source, output, settings=replace(settings, **changes), on_event=hear)
    return Path(done.output), notes


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_png_keeps_every_code(settings, tmp_path, bits, channels):
    samples = slope(channels, bits=bits)
    if channels in (2, 4):
        samples[..., -1] |= 1  # what cannot be seen takes another colour
    source = png(tmp_path / "a.png", samples)
    output, notes = enlarge(source, settings)
    assert output == tmp_path / "a_x2.png"
    assert notes == []
    found = read_back(output)
    assert found.dtype == samples.dtype
    flat = samples[..., -1] if channels in (2, 4) else np.zeros(1)
    step = 0 if channels in (1, 3) else np.ptp(flat)
    assert np.array_equal(
        found[..., : channels - (channels in (2, 4))], twice(samples)[..., : channels - (channels in (2, 4))]
    )
    assert np.abs(found.astype(int) - twice(samples)).max() <= step


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_tiff_keeps_its_type_and_all_pages(settings, tmp_path, kind, channels):
    pages = [slope(channels, bits=16), slope(channels, bits=16, size=(9, 40))]
    if kind == np.float32:
        pages = [page.astype(np.float32) / 65535 for page in pages]
    elif kind == np.int16:
        pages = [(page.astype(int) - 32768).astype(np.int16) for page in pages]
    else:
        pages = [(page >> (16 - np.iinfo(kind).bits)).astype(kind) for page in pages]
    source = tmp_path / "a.tif"
    with tifffile.TiffWriter(source) as file:
        for page in pages:
            file.write(page[..., 0] if channels == 1 else page, photometric="minisblack" if channels == 1 else "rgb")
    output, _ = enlarge(source, settings)
    with tifffile.TiffFile(output) as file:
        assert len(file.pages) == 2
        for page, samples in zip(file.pages, pages, strict=True):
            found = page.asarray()
            assert found.dtype == kind
            wanted = twice(samples if channels == 3 else samples[..., 0])
            tolerance = 1e-6 if kind == np.float32 else 0
            assert np.abs(found.astype(float) - wanted).max() <= tolerance


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_strips_and_bands_need_not_be_of_one_height(tmp_path, monkeypatch, channels, kind):
    monkeypatch.setattr(tiff_write, "_STRIP_BYTES", 7 * 52 * channels * np.dtype(kind).itemsize)
    samples = slope(channels, bits=16, size=(40, 52)).astype(kind)
    bands = iter([samples[:3], samples[3:4], samples[4:31], samples[31:]])
    levels = Levels(dtype=np.dtype(kind), black=0, white=65535)
    page = RenderedPage(height=40, width=52, channels=channels, levels=levels, bands=bands)
    tiff_write.write_tiff(tmp_path / "a.tif", [page], Metadata())
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), samples if channels > 1 else samples[..., 0])


def test_16_bit_lzw_is_read_without_further_libraries(settings, tmp_path):
    """Photoshop's usual way, which neither Pillow (8 bits) nor bare tifffile (no LZW) reads."""
    samples = slope(3, bits=16, size=(40, 52))
    frame = av.VideoFrame(52, 40, "rgb48le")
    np.ndarray((40, 52, 3), "<u2", memoryview(frame.planes[0]), strides=(frame.planes[0].line_size, 6, 2))[:] = samples
    encoder = av.CodecContext.create("tiff", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 52, 40, "rgb48le", Fraction(1)
    encoder.options = {"compression_algo": "lzw"}
    source = tmp_path / "a.tif"
    source.write_bytes(b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)]))
    output, _ = enlarge(source, settings)
    assert np.array_equal(tifffile.imread(output), twice(samples))


@pytest.mark.parametrize("layout", ["strips", "planes", "tiles", "planes of tiles"])
def test_strips_planes_and_tiles_are_put_together(tmp_path, monkeypatch, layout):
    """By our own way, as if tifffile knew no deflate."""
    samples = slope(3, bits=16, size=(40, 52))
    source = tmp_path / "a.tif"
    is_planar = layout.startswith("planes")
    tifffile.imwrite(
        source,
        np.moveaxis(samples, 2, 0) if is_planar else samples,
        photometric="rgb",
        planarconfig="separate" if is_planar else "contig",
        tile=(16, 32) if layout.endswith("tiles") else None,
        rowsperstrip=None if layout.endswith("tiles") else 7,
        compression="zlib",
        predictor=True,
    )
    monkeypatch.setattr(tiff_segments, "_BY_TIFFFILE", ())
    monkeypatch.setattr(tiff_segments, "_BY_LIBTIFF", (8,))
    with tifffile.TiffFile(source) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        assert np.array_equal(tiff_segments.assembled(file, page), samples)


def test_floats_are_unpredicted(tmp_path):
    samples = np.random.default_rng(0).random((5, 7, 3), np.float32)
    raw = samples.astype(">f4").reshape(5, 21).view(np.uint8).reshape(5, 21, 4).transpose(0, 2, 1).reshape(5, 28, 3)
    steps = np.diff(raw.astype(np.int16), axis=1, prepend=0).astype(np.uint8)
    found = tiff_segments._unpredicted(steps.tobytes(), (5, 7, 3), np.dtype("<f4"), 3)
    assert np.array_equal(found, samples)


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("P", 3), ("L", 1)])
def test_palettes_become_rgb_and_gray_stays_gray(settings, tmp_path, mode, channels):
    Image.fromarray(slope(3)).convert(mode).save(tmp_path / "a.png")
    output, _ = enlarge(tmp_path / "a.png", settings)
    assert read_back(output).shape == (2 * SIZE[0], 2 * SIZE[1], channels)


def test_a_transparent_colour_of_a_palette_becomes_alpha(settings, tmp_path):
    picture = Image.fromarray(slope(3)).quantize(8)
    picture.save(tmp_path / "a.png", transparency=0)
    output, _ = enlarge(tmp_path / "a.png", settings)
    alpha = read_back(output)[..., 3]
    assert np.array_equal(alpha == 0, twice(np.asarray(picture) == 0))


@pytest.mark.parametrize("suffix", [".bmp", ".ppm", ".tga", ".webp", ".png", ".tif"])
def test_lossless_kinds_stay_their_kind(settings, tmp_path, suffix):
    source = tmp_path / f"a{suffix}"
    Image.fromarray(slope(3)).save(source, lossless=True) if suffix == ".webp" else Image.fromarray(slope(3)).save(
        source
    )
    output, _ = enlarge(source, settings)
    assert output.suffix == suffix
    with Image.open(output) as found:
        assert np.array_equal(np.asarray(found.convert("RGB")), twice(slope(3)))


@pytest.mark.parametrize(("suffix", "most"), [(".jpg", 8), (".avif", 12), (".heic", 12)])
def test_lossy_kinds_stay_near(settings, tmp_path, suffix, most):
    pillow_heif = pytest.importorskip("pillow_heif") if suffix == ".heic" else None
    source = tmp_path / f"a{suffix}"
    picture = Image.fromarray(slope(3, size=(64, 64)))
    if pillow_heif:
        pillow_heif.from_pillow(picture).save(source, quality=95, chroma=444)
    else:
        picture.save(source, quality=95, subsampling="4:4:4")
    output, _ = enlarge(source, settings)
    assert output.suffix == suffix
    info = open_still(output, max_pixels=10**6)
    assert (info.height, info.width, info.channels) == (128, 128, 3)
    if suffix != ".heic":
        with Image.open(output) as found:
            error = np.abs(np.asarray(found).astype(int) - twice(slope(3, size=(64, 64))))
        assert error.mean() < most / 4
        assert error.max() <= 4 * most


def test_a_16_bit_float_pfm_stays_float(settings, tmp_path):
    rows = np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)
    (tmp_path / "a.pfm").write_bytes(b"Pf\n6 4\n-1.0\n" + rows[::-1].astype("<f4").tobytes())
    output, _ = enlarge(tmp_path / "a.pfm", settings)
    with av.open(str(output)) as file:
        found = next(file.decode(video=0)).to_ndarray()
    assert np.abs(found - twice(rows)).max() < 1e-6


def test_jpeg_keeps_its_subsampling(settings, tmp_path):
    for k, sampling in enumerate(("4:4:4", "4:2:2", "4:2:0")):
        Image.fromarray(slope(3)).save(tmp_path / f"{k}.jpg", subsampling=sampling)
        output, _ = enlarge(tmp_path / f"{k}.jpg", settings)
        assert open_still(output, max_pixels=10**6).subsampling == sampling


def test_cmyk_goes_through_its_profile(settings, tmp_path):
    picture = Image.fromarray(slope(4), "CMYK")
    for name, icc in (("plain", None), ("press", press_profile())):
        picture.save(tmp_path / f"{name}.tif", icc_profile=icc)
    plain, notes = enlarge(tmp_path / "plain.tif", settings)
    assert notes == ["CMYK becomes sRGB, without a profile, by the plain formula"]
    press, notes = enlarge(tmp_path / "press.tif", settings)
    assert notes == ["CMYK becomes sRGB, by its profile"]
    space = ImageCms.ImageCmsProfile(io.BytesIO(press_profile()))
    wanted = ImageCms.profileToProfile(
        picture,
        space,
        ImageCms.createProfile("sRGB"),
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        "RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert np.array_equal(read_back(press), twice(np.asarray(wanted)))
    assert np.array_equal(read_back(plain), twice(np.asarray(picture.convert("RGB"))))
    assert np.abs(read_back(press).astype(int) - read_back(plain)).mean() > 10, "the profile means something"
    assert profile_space(open_still(press, max_pixels=10**6).metadata.icc or b"") == "RGB"


def test_a_jpeg_of_inks_goes_the_same_way(settings, tmp_path):
    picture = Image.fromarray(slope(4), "CMYK")
    picture.save(tmp_path / "a.jpg", quality=100, subsampling=0, icc_profile=press_profile())
    picture.save(tmp_path / "b.tif", icc_profile=press_profile())
    lossy, notes = enlarge(tmp_path / "a.jpg", settings)
    exact, _ = enlarge(tmp_path / "b.tif", settings)
    assert notes == ["CMYK becomes sRGB, by its profile"]
    with Image.open(lossy) as found:
        assert found.mode == "RGB"
        assert np.abs(np.asarray(found).astype(int) - read_back(exact)).mean() < 4


def test_heic_of_10_bits_keeps_them(settings, tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    ramp = np.repeat(np.linspace(0, 65535, 512).astype(np.uint16)[None, :, None], 64, 0).repeat(3, 2)
    file = pillow_heif.from_bytes(mode="RGB;16", size=(512, 64), data=ramp.tobytes())
    file.save(tmp_path / "a.heic", quality=100, chroma=444)
    output, notes = enlarge(tmp_path / "a.heic", settings)
    assert (output.suffix, notes) == (".heic", [])
    found = np.asarray(pillow_heif.open_heif(output, convert_hdr_to_8bit=False))
    assert found.dtype == np.uint16
    assert len(np.unique(found[..., 1])) > 400, "8 bits would leave 256 levels"
    assert np.abs(found.astype(int) - twice(ramp)).mean() < 65535 / 255


def test_camera_raw_is_told_instead_of_its_preview(settings, tmp_path):
    Image.fromarray(slope(3)).save(tmp_path / "a.tif")
    (tmp_path / "a.tif").rename(tmp_path / "a.NEF")
    with pytest.raises(MediaError, match=r"a\.NEF: is camera raw, which is not developed here; export it"):
        enlarge(tmp_path / "a.NEF", settings)


def test_one_name_says_another_kind(settings, tmp_path):
    """A PNG by the name of .jpg, as downloads are."""
    png(tmp_path / "a.png", slope(3)).rename(tmp_path / "a.jpg")
    output, _ = enlarge(tmp_path / "a.jpg", settings)
    assert output.name == "a_x2.png"
    assert np.array_equal(read_back(output), twice(slope(3)))


def test_a_capital_suffix_stays(settings, tmp_path):
    Image.fromarray(slope(3)).save(tmp_path / "A.JPG", "JPEG")
    assert enlarge(tmp_path / "A.JPG", settings)[0].name == "A_x2.JPG"


# What a format cannot hold


@pytest.mark.parametrize(
    ("size", "kind", "becomes", "note"),
    [
        ((40000, 10), "jpeg", ".png", "JPEG ends at 65,500 pixels a side, and the result has 80,000: it becomes PNG"),
        ((9000, 10), "webp", ".png", "WebP ends at 16,383 pixels a side, and the result has 18,000: it becomes PNG"),
    ],
)
def test_limits_are_known_from_the_header(settings, tmp_path, size, kind, becomes, note):
    Image.new("RGB", size[::-1]).save(tmp_path / "a.png")
    plan = plan_still(tmp_path / "a.png", None, replace(settings, format=kind))
    assert plan.output.suffix == becomes
    assert plan.notes == (note,)
    with pytest.raises(MediaError, match=r"a\.png: \w+ ends at .* give the output the suffix \.png"):
        plan_still(tmp_path / "a.png", tmp_path / f"b.{kind}", settings)


@pytest.mark.parametrize(("kind", "suffix"), [("webp", ".png"), ("avif", ".png"), ("tiff", ".tif"), ("jpeg", ".jpg")])
def test_16_bits_do_not_become_8_unasked(settings, tmp_path, kind, suffix):
    source = png(tmp_path / "a.png", slope(3, bits=16))
    output, notes = enlarge(source, settings, format=kind)
    assert output.suffix == suffix
    assert bool(notes) == (kind != "tiff")
    assert (read_back(output).dtype == np.uint16) == (kind != "jpeg")


def test_alpha_turns_a_format_away_and_an_order_lays_it_on_white(settings, tmp_path):
    samples = slope(4)
    samples[..., 3] = 128
    source = png(tmp_path / "a.png", samples)
    output, notes = enlarge(source, settings, format="jpeg")
    assert output.suffix == ".png"
    assert notes == ["JPEG has no transparency: it becomes PNG"]
    output, notes = enlarge(source, settings, tmp_path / "b.ppm")
    assert notes == ["PNM has no transparency: the picture lies on white"]
    wanted = twice(np.rint(samples[..., :3] * (128 / 255) + 255 * (127 / 255)))
    assert np.abs(read_back(output) - wanted).max() <= 1


def test_a_suffix_that_is_no_format_is_refused(settings, tmp_path):
    source = png(tmp_path / "a.png", slope(3))
    with pytest.raises(ConfigError, match=r"b\.psd: '\.psd' is no picture format vsr writes"):
        enlarge(source, settings, tmp_path / "b.psd")


def test_a_bomb_is_refused_by_its_header(tmp_path):
    """50,000 x 50,000 gray pixels in 300 KB; decoding it would take 2.5 GB."""
    engine = zlib.compressobj(9)
    row = bytes(50001)
    packed = b"".join(engine.compress(row) for _ in range(2000)) + engine.flush()
    head = struct.pack(">IIBBBBB", 50000, 50000, 8, 0, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + packed_chunk(b"IHDR", head) + packed_chunk(b"IDAT", packed) + packed_chunk(b"IEND", b"")
    )
    with pytest.raises(
        MediaError, match=r"bomb\.png: 50000x50000 pixels are more than 500 million; raise --max-pixels"
    ):
        open_still(path, max_pixels=500_000_000)
    assert open_still(path, max_pixels=2_500_000_000).width == 50000


# Files


def test_nothing_is_left_of_a_run_that_fails(settings, tmp_path):
    source = png(tmp_path / "a.png", slope(3))
    source.write_bytes(source.read_bytes()[:-60])
    with pytest.raises(MediaError, match=r"a\.png: its pixels cannot be read"):
        enlarge(source, settings)
    assert list(tmp_path.iterdir()) == [source]


def test_an_output_is_replaced_only_when_told(settings, tmp_path):
    source = png(tmp_path / "a.png", slope(3))
    (tmp_path / "a_x2.png").write_bytes(b"mine")
    with pytest.raises(MediaError, match="is there already; add --overwrite"):
        enlarge(source, settings)
    assert (tmp_path / "a_x2.png").read_bytes() == b"mine"
    enlarge(source, settings, overwrite=True)
    done = upscale_image(source, settings=settings)
    assert done.already_done
    with pytest.raises(MediaError, match="is there already"):
        enlarge(source, settings, strip=True)


def test_file_times_are_kept(settings, tmp_path):
    source = png(tmp_path / "a.png", slope(3))
    os.utime(source, ns=(10**18, 10**18 + 123456789))
    output, _ = enlarge(source, settings)
    assert output.stat().st_mtime_ns == 10**18 + 123456789


@pytest.mark.parametrize("compression", [None, "zlib", "lzma"])
def test_a_tiff_whose_data_is_damaged_is_one_line(settings, tmp_path, compression):
    """Each decoder has an error of its own."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, slope(3, bits=16), photometric="rgb", compression=compression, tile=(16, 16))
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        at = page.dataoffsets[0] if compression else page.tags["TileLength"].valueoffset
    data[at + 4 * bool(compression) : at + 8] = bytes(8 - 4 * bool(compression))
    path.write_bytes(data)
    with pytest.raises(MediaError) as caught:
        upscale_image(path, settings=settings)
    assert str(caught.value).startswith(f"{path}: is damaged: ")
    assert list(tmp_path.iterdir()) == [path]


def test_a_jpeg_that_is_cut_off_comes_as_far_as_it_goes(settings, tmp_path):
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(whole, "JPEG", quality=95)
    (tmp_path / "a.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    done = upscale_image(tmp_path / "a.jpg", settings=settings)
    assert done.damage == "is cut off: what is missing is gray"
    with Image.open(done.output) as found:
        top = np.asarray(found)[:32].astype(int)
        assert np.abs(top - twice(np.asarray(Image.open(io.BytesIO(whole.getvalue()))))[:32]).mean() < 8


def test_progress_ends_with_all_pixels(settings, tmp_path):
    told: list[PixelsEvent] = []
    upscale_image(
        png(tmp_path / "a.png", slope(3)),
        settings=settings,
        on_event=lambda event: told.append(event) if isinstance(event, PixelsEvent) else None,
    )
    assert told[-1] == PixelsEvent(pixels=SIZE[0] * SIZE[1], total=SIZE[0] * SIZE[1])


def test_a_sheet_shows_details_before_and_after(settings, tmp_path):
    source = png(tmp_path / "a.png", slope(3))
    _, notes = enlarge(source, settings, sheet=True)
    assert notes == [f"before and after: {tmp_path / 'a_x2_sheet.png'}"]
    with Image.open(tmp_path / "a_x2_sheet.png") as sheet:
        shown = np.asarray(sheet)
    assert np.array_equal(shown[8:48, 8:64], twice(slope(3)))


def test_a_sheet_is_not_written_over_another_file(settings, tmp_path):
    source = png(tmp_path / "a.png", slope(3))
    (tmp_path / "a_x2_sheet.png").write_bytes(b"mine")
    with pytest.raises(MediaError, match=r"a_x2_sheet\.png: is there already; add --overwrite, or leave --sheet out"):
        enlarge(source, settings, sheet=True)
    assert not (tmp_path / "a_x2.png").exists()
    enlarge(source, settings, sheet=True, overwrite=True)
    assert (tmp_path / "a_x2_sheet.png").read_bytes() != b"mine"


# Colour


@pytest.mark.parametrize("bits", [8, 16])
def test_to_srgb_goes_by_the_profile(settings, tmp_path, bits):
    """A profile of sRGB's curve with red and blue swapped: what it calls red is blue."""
    icc = bytearray(profile())
    count = int.from_bytes(icc[128:132], "big")
    places = {bytes(icc[132 + 12 * k : 136 + 12 * k]): 132 + 12 * k for k in range(count)}
    red, blue = (bytes(icc[places[name] + 4 : places[name] + 12]) for name in (b"rXYZ", b"bXYZ"))
    icc[places[b"rXYZ"] + 4 : places[b"rXYZ"] + 12] = blue
    icc[places[b"bXYZ"] + 4 : places[b"bXYZ"] + 12] = red
    samples = slope(3, bits=bits)
    source = png(tmp_path / "a.png", samples, (b"iCCP", b"swapped\0\0" + zlib.compress(bytes(icc))))
    kept, _ = enlarge(source, settings, tmp_path / "kept.png")
    assert np.array_equal(read_back(kept), twice(samples))
    with Image.open(kept) as found:
        assert found.info["icc_profile"] == bytes(icc)
    output, _ = enlarge(source, settings, to_srgb=True)
    error = np.abs(read_back(output).astype(int) - twice(samples[..., ::-1]))
    assert error.max() <= (1 if bits == 8 else 128)  # half an 8-bit step: profiles hold rounded primaries
    with Image.open(output) as found:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(found.info["icc_profile"])))
    assert name.strip() == "sRGB built-in"


# Transparency, with a network that draws edges


@pytest.fixture
def drawing() -> UpscaleSettings:
    return UpscaleSettings(model="vsr-fast-x4", scale=Fraction(4), device="cpu", precision="fp32")


@pytest.mark.parametrize("bits", [8, 16])
def test_on_white_and_on_black_edges_are_blends_of_the_true_colours(drawing, tmp_path, bits):
    """A disc of soft colours, cut out with a soft edge; what is hidden holds the opposite colours."""
    side, top = 48, 2**bits - 1
    at = np.arange(side) - side / 2 + 0.5
    distance = np.hypot(at[:, None], at[None])
    alpha = np.rint(np.clip(14.3 - distance + 0.5, 0, 1) * top)
    ramp = np.linspace(0.2, 0.8, side)
    true = np.stack(
        [np.tile(ramp, (side, 1)), np.tile(ramp[:, None], (1, side)), 0.9 - 0.5 * np.tile(ramp, (side, 1))], 2
    )
    stored = np.where(alpha[..., None] > 0, true, 1 - true)
    dtype = np.uint8 if bits == 8 else np.uint16
    samples = np.dstack([np.rint(stored * top), alpha]).astype(dtype)
    cut, _ = enlarge(png(tmp_path / "cut.png", samples), drawing)
    whole, _ = enlarge(png(tmp_path / "whole.png", np.rint(true * top).astype(dtype)), drawing)
    found, opaque = read_back(cut).astype(float) / top, read_back(whole).astype(float) / top
    colour, high = found[..., :3], found[..., 3:]
    is_edge = (high > 0) & (high < 1)
    assert 0 < is_edge.mean() < 0.1
    is_full = np.broadcast_to(high == 1, colour.shape)
    for background in (0.0, 1.0):
        shown = colour * high + background * (1 - high)
        blend = opaque * high + background * (1 - high)
        assert np.array_equal(shown[is_full], colour[is_full])
        assert np.abs(shown - blend).max() <= 4 / 255


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".avif"])
def test_what_is_opaque_does_not_change_for_what_is_hidden(drawing, tmp_path, suffix):
    """Where alpha is full and no hole is near, the result equals that of the picture without alpha."""
    samples = slope(4, size=(40, 64))
    samples[..., 3] = 255
    samples[:, 40:, 3] = 0
    whole = samples.copy()
    whole[..., 3] = 255
    outputs = []
    for name, content in (("cut", samples), ("whole", whole)):
        source = png(tmp_path / f"{name}.png", content)
        outputs.append(read_back(enlarge(source, drawing, tmp_path / f"{name}_large{suffix}")[0]).astype(int))
    cut, opaque = (output[:, : 4 * (40 - 10)] for output in outputs)  # the network's reach
    assert (cut[..., 3] == 255).all()
    assert np.abs(cut[..., :3] - opaque[..., :3]).max() <= (24 if suffix == ".avif" else 0)


@pytest.mark.slow
def test_memory_is_source_and_result_and_500_mb(tmp_path):
    """200 megapixels, twice as large, to an 8-bit TIFF: about ten minutes on two cores."""
    code = f"""
import resource, sys, zlib
import numpy as np, tifffile
from fractions import Fraction
from pathlib import Path
from vsr.stills import upscale_image
from vsr.settings import UpscaleSettings
source = Path({str(tmp_path)!r}) / "a.tif"
row = np.tile(np.arange(20000, dtype=np.uint8)[:, None], (1, 3))
strip = zlib.compress(row.tobytes())
tifffile.imwrite(source, (strip for _ in range(10000)), shape=(10000, 20000, 3), dtype=np.uint8, photometric="rgb",
                 rowsperstrip=1, compression="zlib")
done = upscale_image(source, settings=UpscaleSettings(scale=Fraction(2), device="cpu"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, done.output)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    peak, output = done.stdout.split()
    with tifffile.TiffFile(output) as file:
        assert file.pages[0].shape == (20000, 40000, 3)
    source, result = 10000 * 20000 * 3 >> 20, 20000 * 40000 * 3 >> 20
    assert int(peak) <= source + result + 500
