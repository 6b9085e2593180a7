"""Decoded frames as planes, and planes as frames."""

import gc
import re
from fractions import Fraction
from functools import cache
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.filter import Graph
from av.video.format import VideoFormat, names  # pyright: ignore[reportAttributeAccessIssue]  # not in the stubs
from av.video.plane import VideoPlane
from av.video.reformatter import VideoReformatter

from vsr.errors import MediaError
from vsr.frames import PixelLayout, Plane
from vsr.io.pixel_formats import has_alpha, planar_layout
from vsr.io.pixels import PlaneReader, write_planes


@cache
def readable() -> list[str]:
    found = []
    for name in sorted(names):
        try:
            planar_layout(name)
        except MediaError:
            continue
        found.append(name)
    return found


# What swscale 8.1 refuses, gets wrong (see the module), or spreads to 8 bits without reaching white.
BEYOND_SWSCALE = re.compile(
    r"gbrap1\d..|.*msb..|.*f(16|32)..|(rgb|bgr)(4_byte|444..|555..|565..|8)|(v30x|xv30|x2rgb10|x2bgr10|y21\d)be|pal8"
)


def lines(plane: VideoPlane, dtype: npt.DTypeLike = np.uint8) -> npt.NDArray[Any]:
    """All of a plane's memory, padding too, one row a line. Writable."""
    buffer = memoryview(plane)  # pyright: ignore[reportArgumentType]  # PyAV's stubs leave out the buffer protocol
    return np.frombuffer(buffer, dtype).reshape(-1, plane.line_size // np.dtype(dtype).itemsize or 256)


def noise(name: str, height: int, width: int) -> av.VideoFrame:
    """A frame of random bytes, with the unused high bits of samples zero where the format has them there."""
    frame = av.VideoFrame(width, height, name)
    form = frame.format
    rng = np.random.default_rng(0)
    bits = form.components[0].bits
    for plane in frame.planes:
        memory = lines(plane)
        memory[:] = rng.integers(0, 256, memory.shape)
        if 8 < bits < 16 and re.match(r"yuv|gbr|gray|nv20", name) and "msb" not in name:
            memory[:, 0 if form.is_big_endian else 1 :: 2] &= (1 << (bits - 8)) - 1
    return frame


def read(frame: av.VideoFrame) -> tuple[Plane, ...]:
    return PlaneReader(planar_layout(frame.format.name), frame.height, frame.width).read(frame)


def filled(name: str, pixel: bytes, width: int = 3, height: int = 2) -> av.VideoFrame:
    """A packed frame that repeats one pixel."""
    frame = av.VideoFrame(width, height, name)
    lines(frame.planes[0])[:, : width * len(pixel)] = list(pixel) * width
    return frame


@pytest.mark.parametrize("name", sorted(names))
def test_every_format_has_a_planar_layout_or_one_clear_line(name):
    if name not in readable():
        with pytest.raises(MediaError, match=rf"^{name}: [^\n]+; [^\n]+$"):
            planar_layout(name)
        return
    layout = planar_layout(name)
    planar = VideoFormat(layout.name, 16, 16)
    assert not planar.is_big_endian
    assert not any(component.is_alpha for component in planar.components)
    assert {component.bits for component in planar.components} == {layout.depth}
    shapes = {component.plane: (component.height, component.width) for component in planar.components}
    assert [shapes[plane] for plane in sorted(shapes)] == layout.plane_sizes(16, 16)
    assert planar_layout(layout.name) == layout


def test_the_formats_of_common_decoders_are_readable():
    expected = {
        "yuvj420p": "yuv420p", "yuva444p12le": "yuv444p12le", "nv12": "yuv420p", "p010le": "yuv420p10le",
        "p016le": "yuv420p16le", "yuyv422": "yuv422p", "y210le": "yuv422p10le", "pal8": "gbrp", "rgb24": "gbrp",
        "bgra": "gbrp", "gbrap10le": "gbrp10le", "rgba64be": "gbrp16le", "x2rgb10le": "gbrp10le", "rgb555le": "gbrp",
        "ya8": "gray", "monow": "gray", "gray10be": "gray10le", "yuv422p10be": "yuv422p10le", "gbrpf32le": "gbrp16le",
        "yuv410p": "yuv410p", "yuvj411p": "yuv411p", "yuv440p12le": "yuv440p12le",
    }  # fmt: skip
    assert {name: planar_layout(name).name for name in expected} == expected


@pytest.mark.parametrize("name", ["cuda", "vaapi", "xyz12le", "bayer_rggb8", "gray32le", "no_such_format"])
def test_what_cannot_be_read_is_refused(name):
    with pytest.raises(MediaError, match=rf"^{name}: .*; .*$"):
        planar_layout(name)


def test_alpha_is_told():
    assert all(map(has_alpha, ["rgba", "yuva420p", "gbrap12le", "ya8", "ayuv64le"]))
    assert not any(map(has_alpha, ["rgb24", "yuv420p", "0rgb", "vuyx", "pal8", "nv12"]))
    with pytest.raises(MediaError):
        has_alpha("no_such_format")


@pytest.mark.parametrize("name", [name for name in readable() if not BEYOND_SWSCALE.fullmatch(name)])
def test_no_sample_is_changed(name):
    frame = noise(name, 35, 67)
    layout = planar_layout(name)
    judged = VideoReformatter().reformat(frame, format=layout.name, src_color_range=2, dst_color_range=2, threads=1)
    for plane, judge, size in zip(read(frame), judged.planes, layout.plane_sizes(35, 67), strict=True):
        assert plane.shape == size
        assert plane.dtype == layout.dtype
        assert np.array_equal(plane, lines(judge, layout.dtype)[:, : size[1]])


@pytest.mark.parametrize("name", [name for name in readable() if name.startswith("gbrap1") or "msb" in name])
def test_planes_that_swscale_gets_wrong_are_read_right(name):
    frame = noise(name, 35, 67)
    form = frame.format
    order = ">u2" if form.is_big_endian else "<u2"
    shift = 16 - form.components[0].bits if "msb" in name else 0
    for plane, memory in zip(read(frame), frame.planes, strict=False):
        assert np.array_equal(plane, lines(memory, order)[:, : memory.width] >> shift)


@pytest.mark.parametrize(
    ("name", "pixel", "expected"),  # planes of gbrp are G, B, R
    [
        ("rgb565le", b"\x1f\xf8", (0, 255, 255)),
        ("rgb565be", b"\x07\xe0", (255, 0, 0)),
        ("bgr565le", b"\x1f\x00", (0, 0, 255)),
        ("rgb555le", b"\x00\x40", (0, 0, round(16 * 255 / 31))),
        ("bgr555be", b"\x00\x10", (0, 0, round(16 * 255 / 31))),
        ("rgb444le", b"\x21\x0f", (0x22, 0x11, 0xFF)),
        ("bgr444be", b"\x0f\x21", (0x22, 0xFF, 0x11)),
        ("rgb8", b"\x45", (round(255 / 7), 85, round(255 * 2 / 7))),
        ("bgr8", b"\x45", (0, 85, round(255 * 5 / 7))),
        ("rgb4_byte", b"\x0c", (170, 0, 255)),
        ("bgr4_byte", b"\x0c", (170, 255, 0)),
        ("x2rgb10be", b"\x3f\xf0\x04\x02", (1, 2, 1023)),
        ("x2bgr10be", b"\x3f\xf0\x04\x02", (1, 1023, 2)),
        ("xv30be", b"\x00\x10\x08\x03", (2, 3, 1)),
        ("v30xbe", b"\x00\x40\x20\x0c", (2, 3, 1)),
        ("y210be", b"\x00\x40\x00\x80", (1, 2, 2)),
        ("rgbf32le", np.array([0.5, 1.5, -1], "<f4").tobytes(), (65535, 0, 32768)),
        ("rgbaf16be", np.array([1, 0.25, np.nan, 1], ">f2").tobytes(), (16384, 0, 65535)),
        ("yaf32le", np.array([0.5, 0.1], "<f4").tobytes(), (32768,)),
    ],
)
def test_small_fields_and_floats_are_spread_over_the_depth(name, pixel, expected):
    planes = read(filled(name, pixel, width=4))
    assert tuple(set(plane.ravel().tolist()) for plane in planes) == tuple({code} for code in expected)


@pytest.mark.parametrize("name", ["gbrpf32le", "gbrapf16be", "grayf32be"])
def test_float_planes_are_rounded_to_16_bits(name):
    frame = av.VideoFrame(3, 2, name)
    dtype = np.dtype((">" if name.endswith("be") else "<") + ("f4" if "32" in name else "f2"))
    for value, plane in zip((0.25, 0.5, 2.0), frame.planes, strict=False):
        lines(plane, dtype)[:] = value
    assert [plane.flat[0] for plane in read(frame)] == [16384, 32768, 65535][: len(frame.format.components)]


def test_a_palette_is_looked_up():
    frame = av.VideoFrame(67, 35, "pal8")
    rng = np.random.default_rng(0)
    argb = rng.integers(0, 2**32, 256, dtype=np.uint32)
    lines(frame.planes[1], np.uint32)[:] = argb
    pixels = lines(frame.planes[0])
    pixels[:] = rng.integers(0, 256, pixels.shape)
    colours = argb[pixels[:, :67]]
    for plane, shift in zip(read(frame), (8, 0, 16), strict=True):
        assert np.array_equal(plane, (colours >> shift) & 0xFF)


@pytest.mark.parametrize(
    ("name", "widths"),  # bytes used of each line
    [
        ("yuv420p", (854, 427, 427)),
        ("yuv422p10le", (1708, 854, 854)),
        ("nv12", (854, 854)),
        ("rgb24", (2562,)),
        ("monob", (107,)),
        ("pal8", (854,)),
    ],
)
def test_padding_does_not_leak(name, widths):
    frame = noise(name, 6, 854)
    before = [plane.copy() for plane in read(frame)]
    for plane, width in zip(frame.planes, widths, strict=False):  # a palette is no line
        assert plane.line_size > width
        lines(plane)[:, width:] ^= 0xFF
    after = read(frame)
    assert [plane.shape for plane in after] == planar_layout(name).plane_sizes(6, 854)
    assert all(map(np.array_equal, before, after))


@pytest.mark.parametrize("name", ["yuv420p", "gbrap16le", "nv12", "rgb24", "gray10be"])
def test_reading_does_not_alter_a_frame_nor_lend_it_for_writing(name):
    frame = noise(name, 10, 14)
    before = [lines(plane).tobytes() for plane in frame.planes]
    planes = read(frame)
    assert [lines(plane).tobytes() for plane in frame.planes] == before
    for plane in planes:
        with pytest.raises(ValueError, match="read-only"):
            plane[0, 0] = 0


@pytest.mark.parametrize("name", ["yuv420p", "yuv420p10le", "nv12", "bgra"])
def test_planes_are_views_that_keep_their_frame_alive(name):
    frame = noise(name, 10, 14)
    planes = read(frame)
    assert np.shares_memory(planes[0], lines(frame.planes[0]))
    kept = [plane.copy() for plane in planes]
    del frame
    gc.collect()
    _others = [noise(name, 10, 14) for _ in range(8)]
    assert all(map(np.array_equal, planes, kept))


@pytest.mark.parametrize("name", ["yuv420p", "bgr24", "yuv420p10le", "gray"])
def test_a_picture_stored_bottom_up_is_read_top_down(name):
    frame = noise(name, 12, 14)
    graph = Graph()
    source = graph.add_buffer(width=14, height=12, format=name, time_base=Fraction(1, 25))
    flip, sink = graph.add("vflip"), graph.add("buffersink")
    source.link_to(flip)
    flip.link_to(sink)
    graph.configure()
    graph.vpush(frame)
    flipped = graph.vpull()
    assert flipped.planes[0].line_size < 0
    assert all(np.array_equal(low, high[::-1]) for low, high in zip(read(flipped), read(frame), strict=True))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (35, 67), (6, 854)])
@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "yuv410p", "gbrp12le", "gray16le", "gray"])
def test_written_planes_are_read_back(name, height, width):
    layout = planar_layout(name)
    rng = np.random.default_rng(0)
    sizes = layout.plane_sizes(height, width)
    planes: list[npt.NDArray[Any]] = [rng.integers(0, 2**layout.depth, size, dtype=layout.dtype) for size in sizes]
    frame = av.VideoFrame(width, height, name)
    write_planes(frame, planes)
    assert all(map(np.array_equal, read(frame), planes))


def test_planes_that_do_not_fit_are_refused():
    plane = np.zeros((4, 6), np.uint8)
    with pytest.raises(ValueError, match="planes of"):
        write_planes(av.VideoFrame(6, 4, "yuv420p"), [plane, plane, plane])
    with pytest.raises(ValueError, match="planes of"):
        write_planes(av.VideoFrame(6, 4, "ya8"), [plane])
    with pytest.raises(TypeError, match="Cannot cast"):
        write_planes(av.VideoFrame(6, 4, "gray"), [plane.astype(np.uint16)])


def flat(layout: PixelLayout, height: int, width: int, codes: tuple[int, ...]) -> av.VideoFrame:
    frame = av.VideoFrame(width, height, layout.name)
    sizes = layout.plane_sizes(height, width)
    planes: list[npt.NDArray[Any]] = [
        np.full(size, code, layout.dtype) for size, code in zip(sizes, codes, strict=True)
    ]
    write_planes(frame, planes)
    return frame


@pytest.mark.parametrize("codes", [(0, 0, 1), (1, 1, 1), (0.3, 0.6, 0.9)])
@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "gbrp", "gbrp12le", "yuv444p16le"])
def test_a_frame_of_another_size_keeps_its_colours(name, codes):
    layout = planar_layout(name)
    codes = tuple(int(code * (2**layout.depth - 1)) for code in codes)
    reader = PlaneReader(layout, 35, 67)
    for height, width in ((35, 67), (70, 134), (20, 31)):
        planes = reader.read(flat(layout, height, width, codes))
        assert [plane.shape for plane in planes] == layout.plane_sizes(35, 67)
        for plane, code in zip(planes, codes, strict=True):
            assert abs(plane.astype(int) - code).max() <= (layout.depth == 16)  # swscale works in 15 bits and a bit
    assert reader.foreign == 2


def test_a_frame_of_another_subsampling_is_resampled():
    reader = PlaneReader(planar_layout("yuv420p"), 36, 64)
    planes = reader.read(flat(planar_layout("yuv444p"), 36, 64, (10, 200, 99)))
    assert [(plane.shape, set(plane.ravel().tolist())) for plane in planes] == [
        ((36, 64), {10}), ((18, 32), {200}), ((18, 32), {99}),
    ]  # fmt: skip
    assert reader.foreign == 1


def test_the_same_samples_in_another_packing_are_not_foreign():
    reader = PlaneReader(planar_layout("yuv420p"), 36, 64)
    for name in ("yuv420p", "yuvj420p", "nv12", "yuva420p"):
        reader.read(noise(name, 36, 64))
    assert reader.foreign == 0


@pytest.mark.parametrize("name", ["gray", "rgb24", "yuv420p10le"])
def test_a_frame_of_another_kind_is_one_line(name):
    reader = PlaneReader(planar_layout("yuv420p"), 36, 64)
    with pytest.raises(MediaError, match=r"^\w+: a frame of another kind than the clip's yuv420p; cut .*$"):
        reader.read(noise(name, 36, 64))
