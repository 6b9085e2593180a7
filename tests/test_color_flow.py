"""Colour through the whole flow: flat bars, edges of chroma, tags, and sources that are not planar YUV."""

from itertools import product

import numpy as np
import pytest
from PIL import Image

from tests.color_maker import BAR, BARS, KR_KB, codes_of, first_planes, upscale, write


@pytest.mark.parametrize(
    ("matrix", "full", "tagged", "chroma", "depth"),
    [
        case
        for case in product((6, 1, 9), (False, True), (True, False), ("420", "422", "444"), (8, 10))
        if case[2] or not case[1] or case[0] == 9  # nothing tells full range without a tag
    ],
)
def test_flat_bars_come_back_within_one_code(tmp_path, nearest, matrix, full, tagged, chroma, depth):
    codes = codes_of(BARS, matrix, full, depth).astype(np.uint8 if depth == 8 else np.uint16)
    shape = {"420": (2, 2), "422": (1, 2), "444": (1, 1)}[chroma]
    height = 578 if matrix == 1 and not tagged else 2 * BAR  # from 577 lines on, untagged is BT.709
    luma = np.repeat(codes[0], BAR)[None].repeat(height, 0)
    chromas = [np.repeat(c, BAR // shape[1])[None].repeat(height // shape[0], 0) for c in codes[1:]]
    pix_fmt = f"yuv{chroma}p" + ("10le" if depth == 10 else "")
    primaries, transfer = {6: (6, 6), 1: (1, 1), 9: (9, 14)}[matrix]
    complete = (matrix, primaries, transfer, 2 if full else 1)
    partly = (2, *complete[1:]) if matrix == 9 else None  # nothing but primaries tells BT.2020
    source = write(tmp_path / "in.mkv", [luma, *chromas], pix_fmt, tags=complete if tagged else partly)
    notes = upscale(source, tmp_path / "out.mkv", nearest)
    planes, frame = first_planes(tmp_path / "out.mkv")
    assert frame.format.name == pix_fmt
    for index, plane in enumerate(planes):
        assert plane.shape == tuple(2 * n for n in [luma, *chromas][index].shape)
        width = plane.shape[1] // 8
        middles = plane[plane.shape[0] // 2, width // 2 :: width].astype(int)
        assert np.abs(middles - codes[index]).max() <= 1
    found = (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range)
    assert found == complete
    assert any("does not tell" in note for note in notes) == (not tagged)


@pytest.mark.parametrize("siting", ["left", "topleft", "center"])
def test_an_edge_of_chroma_stays_where_it_was(tmp_path, nearest, siting):
    luma = np.full((32, 64), 126, np.uint8)
    ramp = np.interp(np.arange(32), [13, 17], [60, 190]).astype(np.uint8)
    chroma = [ramp[None].repeat(16, 0), 250 - ramp[None].repeat(16, 0)]
    write(tmp_path / "in.mkv", [luma, *chroma], "yuv420p", tags=(1, 1, 1, 1), chroma_sample_location=siting)
    upscale(tmp_path / "in.mkv", tmp_path / "out.mkv", nearest)
    planes, _ = first_planes(tmp_path / "out.mkv")
    origin = 0.5 if siting == "center" else 0.0  # of chroma sample 0, in pixels of luma

    def edge(row: np.ndarray) -> float:
        """Where it crosses the middle of the step, in pixels of luma."""
        values = row.astype(float)
        i = int(np.argmax(values > 125)) - 1
        return 2 * (i + (125 - values[i]) / (values[i + 1] - values[i])) + origin

    expected = 2 * edge(chroma[0][4]) + 0.5  # the middles of pixels p become those of 2p and 2p + 1
    found = edge(planes[1][10])
    assert abs(found - expected) < 0.25, "half a pixel of shift would show"


def test_tags_reach_the_output_of_every_encoder(tmp_path, nearest):
    codes = codes_of(BARS, 9, False, 10).astype(np.uint16)
    luma = np.repeat(codes[0], BAR)[None].repeat(64, 0)
    chroma = [np.repeat(c, BAR // 2)[None].repeat(32, 0) for c in codes[1:]]
    source = write(tmp_path / "in.mkv", [luma, *chroma], "yuv420p10le", tags=(9, 9, 18, 1))
    for codec, suffix in product(("h264", "hevc", "av1"), (".mp4", ".mkv")):
        output = tmp_path / f"{codec}{suffix}"
        upscale(source, output, nearest, codec=codec)
        planes, frame = first_planes(output)
        found = (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range)
        assert found == (9, 9, 18, 1), codec
        assert frame.format.name == "yuv420p10le"
        assert abs(float(np.median(planes[0][:, 8:24])) - float(codes[0][0])) < 8


@pytest.mark.parametrize("pix_fmt", ["gray", "gray10le", "gbrp10le", "gbrp16le"])
def test_gray_and_rgb_keep_every_sample_in_ffv1(tmp_path, nearest, pix_fmt):
    depth = 16 if "16" in pix_fmt else 10 if "10" in pix_fmt else 8
    generator = np.random.default_rng(0)
    count = 1 if "gray" in pix_fmt else 3
    dtype = np.uint8 if depth == 8 else np.uint16
    low, high = (16, 235) if pix_fmt == "gray" else (64, 940)  # gray is limited range unless tagged
    planes = [generator.integers(low, high, (24, 40)).astype(dtype) for _ in range(count)]
    tags = (0, 1, 13, 2) if count == 3 else None
    source = write(tmp_path / "in.mkv", planes, pix_fmt, tags=tags)
    upscale(source, tmp_path / "out.mkv", nearest)
    result, frame = first_planes(tmp_path / "out.mkv")
    assert frame.format.name == pix_fmt
    for before, after in zip(planes, result, strict=True):
        large = before.repeat(2, 0).repeat(2, 1).astype(int)
        assert np.abs(after.astype(int) - large).max() <= 1


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix"),
    [
        ("rawvideo", "rgb24", ".nut"),
        ("rawvideo", "bgr24", ".avi"),
        ("rawvideo", "yuyv422", ".nut"),
        ("rawvideo", "nv12", ".nut"),
        ("qtrle", "rgb24", ".mov"),
        ("png", "rgb24", ".mov"),
    ],
)
def test_packed_sources_keep_their_colours(tmp_path, nearest, codec, pix_fmt, suffix):
    """A flat colour in, the same colour out, judged as RGB by exact maths."""
    wanted = np.array([0.2, 0.7, 0.4])
    codes = codes_of(wanted[None], 6, False, 8)[:, 0].astype(np.uint8)
    size = (32, 48)
    if pix_fmt in ("rgb24", "bgr24"):
        order = wanted if pix_fmt == "rgb24" else wanted[::-1]
        planes = [np.tile(np.rint(order * 255).astype(np.uint8), (size[0], size[1]))]
    elif pix_fmt == "yuyv422":
        planes = [np.tile(codes[[0, 1, 0, 2]], (size[0], size[1] // 2))]
    else:
        planes = [np.full(size, codes[0], np.uint8), np.tile(codes[1:], (size[0] // 2, size[1] // 2))]
    source = write(tmp_path / f"in{suffix}", planes, pix_fmt, tags=None, codec=codec, size=size)
    upscale(source, tmp_path / "out.mkv", nearest, codec="h264", crf=1)
    result, frame = first_planes(tmp_path / "out.mkv")
    y, cb, cr = (float(np.median(p)) for p in result)
    kr, kb = KR_KB[int(frame.colorspace)]
    luma, blue, red = (y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
    r, b = luma + 2 * (1 - kr) * red, luma + 2 * (1 - kb) * blue
    g = (luma - kr * r - kb * b) / (1 - kr - kb)
    assert np.abs(np.array([r, g, b]) - wanted).max() < 2 / 255


def test_a_palette_keeps_its_colours(tmp_path, nearest):
    pictures = [Image.new("P", (40, 24), k) for k in (0, 1)]
    for picture in pictures:
        picture.putpalette([30, 90, 200, 220, 40, 60])
    pictures[0].save(tmp_path / "in.gif", save_all=True, append_images=pictures[1:], duration=200)
    upscale(tmp_path / "in.gif", tmp_path / "out.mkv", nearest)
    result, frame = first_planes(tmp_path / "out.mkv")
    assert frame.format.name == "bgra", "any GIF may be transparent; ffv1 has no other RGB of 8 bits with alpha"
    assert result[0][5, 20:23].tolist() == [200, 90, 30]
