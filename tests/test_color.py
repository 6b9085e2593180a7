"""Code values to RGB and back, held against float64 maths written from the standard."""

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch

from vsr.engine import color
from vsr.engine.color import from_rgb, to_rgb
from vsr.errors import MediaError
from vsr.frames import ColorSpec, PixelLayout, Siting

Array = npt.NDArray[np.float64]

SUBSAMPLINGS = {"420": (1, 1), "422": (0, 1), "444": (0, 0), "411": (0, 2), "440": (1, 0), "410": (2, 2)}
SITINGS: tuple[Siting, ...] = ("left", "center", "topleft")
KR_KB = {
    1: (0.2126, 0.0722),
    4: (0.3, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}


def yuv(subsampling: str, depth: int = 8) -> PixelLayout:
    suffix = "" if depth == 8 else f"{depth}le"
    return PixelLayout(
        name=f"yuv{subsampling}p{suffix}", kind="yuv", depth=depth, log2_chroma=SUBSAMPLINGS[subsampling]
    )


def gray(depth: int) -> PixelLayout:
    return PixelLayout(name=f"gray{depth}le", kind="gray", depth=depth)


def gbr(depth: int) -> PixelLayout:
    return PixelLayout(name=f"gbrp{depth}le", kind="rgb", depth=depth)


def spec(matrix: int = 1, *, full: bool = False, siting: Siting = "left") -> ColorSpec:
    return ColorSpec(matrix=matrix, primaries=1, transfer=1, full_range=full, siting=siting)


def tensors(planes: Sequence[npt.NDArray[np.number]], layout: PixelLayout) -> list[torch.Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(plane, dtype=layout.dtype)) for plane in planes]


def encode(rgb: Array, layout: PixelLayout, spec: ColorSpec) -> list[Array]:
    """H.273 for (..., 3) colours, without subsampling or rounding."""
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    kr, kb = KR_KB[spec.matrix]
    y = kr * r + (1 - kr - kb) * g + kb * b
    cb, cr = (b - y) / (2 * (1 - kb)), (r - y) / (2 * (1 - kr))
    n = layout.depth
    if spec.full_range:
        return [(2**n - 1) * y, (2**n - 1) * cb + 2 ** (n - 1), (2**n - 1) * cr + 2 ** (n - 1)]
    return [2 ** (n - 8) * (219 * y + 16), 2 ** (n - 8) * (224 * cb + 128), 2 ** (n - 8) * (224 * cr + 128)]


def decode(codes: Sequence[Array], layout: PixelLayout, spec: ColorSpec) -> Array:
    """The inverse of `encode`, solved by hand as in the standard."""
    n = layout.depth
    kr, kb = KR_KB[spec.matrix]
    if spec.full_range:
        y, cb, cr = codes[0] / (2**n - 1), *((c - 2 ** (n - 1)) / (2**n - 1) for c in codes[1:])
    else:
        step = 2 ** (n - 8)
        y, cb, cr = (codes[0] / step - 16) / 219, *((c / step - 128) / 224 for c in codes[1:])
    r, b = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    return np.stack([r, (y - kr * r - kb * b) / (1 - kr - kb), b], axis=-1)


def sites(layout: PixelLayout, siting: Siting, height: int, width: int) -> tuple[Array, Array]:
    """Where the chroma samples' rows and columns lie, in luma pixels."""
    down, across = (1 << shift for shift in layout.log2_chroma)
    _, (rows, columns), _ = layout.plane_sizes(height, width)
    y = np.arange(rows, dtype=np.float64) * down + (0 if siting == "topleft" else (down - 1) / 2)
    x = np.arange(columns, dtype=np.float64) * across + ((across - 1) / 2 if siting == "center" else 0)
    return y, x


def nearest_x2(rgb: torch.Tensor) -> torch.Tensor:
    return rgb.repeat_interleave(2, 2).repeat_interleave(2, 3)


@pytest.mark.parametrize("depth", [8, 10, 12, 16])
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize(("matrix", "full"), list(itertools.product(KR_KB, [False, True])))
def test_colours_follow_the_standard_and_come_back(matrix, full, subsampling, depth):
    layout, tags = yuv(subsampling, depth), spec(matrix, full=full)
    bars = np.array(list(itertools.product([0.0, 0.75, 1.0], repeat=3)))
    colours = np.concatenate([bars, np.random.default_rng(0).uniform(0.05, 0.95, (37, 3))])
    codes = [np.minimum(np.rint(code), 2**depth - 1) for code in encode(colours, layout, tags)]
    planes = [
        np.broadcast_to(code[:, None, None], (64, *size))
        for code, size in zip(codes, layout.plane_sizes(6, 8), strict=True)
    ]

    rgb = to_rgb(tensors(planes, layout), layout, tags)
    exact = np.clip(decode(codes, layout, tags), 0, 1)[:, :, None, None]
    assert np.abs(rgb.numpy() - exact).max() < 1e-5

    back = from_rgb(nearest_x2(rgb), layout, tags)
    for code, plane in zip(codes, back, strict=True):
        off = np.abs(plane.numpy().astype(np.int64) - code[:, None, None])
        assert off[len(bars) :].max() == 0
        assert off.max() <= 1  # a saturated colour's rounded codes may lie out of gamut


@pytest.mark.parametrize(("height", "width"), [(12, 16), (7, 9), (1, 1), (2, 3)])
@pytest.mark.parametrize("siting", SITINGS)
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_chroma_is_read_linearly_from_where_it_lies(subsampling, siting, height, width):
    layout, tags = yuv(subsampling, 10), spec(siting=siting)
    rng = np.random.default_rng(1)
    planes = [rng.integers(450, 570, size) for size in layout.plane_sizes(height, width)]  # in gamut: nothing clamps
    y, x = sites(layout, siting, height, width)
    whole = [planes[0].astype(float)]
    for plane in planes[1:]:
        wide = np.stack([np.interp(np.arange(width), x, row) for row in plane])
        whole.append(np.stack([np.interp(np.arange(height), y, column) for column in wide.T], axis=1))
    rgb = to_rgb(tensors([plane[None] for plane in planes], layout), layout, tags)
    assert np.abs(rgb[0].permute(1, 2, 0).numpy() - decode(whole, layout, tags)).max() < 1e-5


@pytest.mark.parametrize(("height", "width"), [(12, 16), (7, 9), (1, 1), (2, 3)])
@pytest.mark.parametrize("siting", SITINGS)
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_chroma_is_the_mean_of_the_area_about_its_site(subsampling, siting, height, width):
    layout, tags = yuv(subsampling, 12), spec(full=True, siting=siting)
    down, across = (1 << shift for shift in layout.log2_chroma)
    rgb = np.random.default_rng(2).random((height, width, 3))
    y, x = sites(layout, siting, height, width)
    halves = np.pad(rgb, ((8, 8), (8, 8), (0, 0)), mode="edge").repeat(2, 0).repeat(2, 1)  # half pixels, 16 before 0
    rows = [np.arange(int(2 * at + 1 - down), int(2 * at + 1 + down)) + 16 for at in y]
    columns = [np.arange(int(2 * at + 1 - across), int(2 * at + 1 + across)) + 16 for at in x]
    means = np.array([[halves[np.ix_(row, column)].mean((0, 1)) for column in columns] for row in rows])
    expected = encode(rgb, layout, tags)[:1] + encode(means, layout, tags)[1:]

    source = torch.from_numpy(rgb).permute(2, 0, 1)[None].float()
    for plane, exact in zip(from_rgb(source, layout, tags), expected, strict=True):
        assert plane.shape[1:] == exact.shape
        assert np.abs(plane[0].numpy() - exact).max() <= 0.5 + 1e-3  # rounded to nearest


def edge_position(profile: Array, site: Array) -> float:
    """Where a step of the same area would stand, in luma pixels. Symmetric filters in phase leave it unmoved."""
    spacing = site[1] - site[0]
    return float(site[0] + spacing * (np.sum(profile[-1] - profile) / (profile[-1] - profile[0]) - 0.5))


def edge_shift(layout: PixelLayout, siting: Siting, axis: int, used: Siting) -> float:
    """How far nearest x2 moves a chroma edge, in pixels of the result, when sited so and converted as if `used`."""
    size = 96
    site = sites(layout, siting, size, size)[axis]
    ramp = np.rint(32768 + 4000 * np.clip((site - 41.3) / 20, -1, 1))
    _, chroma_size, _ = layout.plane_sizes(size, size)
    edge = np.broadcast_to(ramp if axis == 1 else ramp[:, None], chroma_size)
    planes = [np.full((size, size), 30000), edge, np.full(chroma_size, 32768)]
    rgb = to_rgb(tensors([plane[None] for plane in planes], layout), layout, spec(siting=used))
    back = from_rgb(nearest_x2(rgb), layout, spec(siting=used))[1][0].numpy()
    found = edge_position(back.mean(axis=1 - axis), sites(layout, siting, 2 * size, 2 * size)[axis])
    return found - (2 * edge_position(ramp, site) + 0.5)  # x + 0.5 doubles, since pixels are areas


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("siting", SITINGS)
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_a_chroma_edge_stays_where_it_was(subsampling, siting, axis):
    assert abs(edge_shift(yuv(subsampling, 16), siting, axis, siting)) < 0.01


@pytest.mark.parametrize(
    ("siting", "used", "axis"),
    [("left", "center", 1), ("center", "left", 1), ("topleft", "left", 0), ("left", "topleft", 0)],
)
def test_a_wrong_siting_moves_a_chroma_edge(siting, used, axis):
    assert abs(edge_shift(yuv("420", 16), siting, axis, used)) > 0.4


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("depth", [8, 10, 12, 14, 16])
def test_every_gray_and_gbr_code_comes_back(depth, full):
    tags = spec(0, full=full)
    step = 2 ** (depth - 8)
    codes = np.arange(0, 2**depth) if full else np.arange(16 * step, 235 * step + 1)
    for layout in (gray(depth), gbr(depth)):
        planes = tensors([codes[None, None, :]] * (1 if layout.kind == "gray" else 3), layout)
        rgb = to_rgb(planes, layout, tags)
        assert (rgb.amin().item(), rgb.amax().item()) == pytest.approx((0, 1), abs=1e-6)
        for plane, back in zip(planes, from_rgb(rgb, layout, tags), strict=True):
            assert back.dtype == plane.dtype
            assert np.array_equal(back.numpy(), plane.numpy())


def test_gbr_planes_are_green_blue_red():
    planes = tensors([np.full((1, 2, 2), code) for code in (51, 102, 204)], gbr(8))
    for layout in (gbr(8), yuv("444")):  # matrix 0 makes Y, Cb, Cr hold G, B, R
        assert to_rgb(planes, layout, spec(0, full=True))[0, :, 0, 0].tolist() == pytest.approx([0.8, 0.2, 0.4])


def test_gray_is_luma():
    rgb = torch.tensor([1.0, 0.5, 0.25]).view(1, 3, 1, 1)
    assert from_rgb(rgb, gray(8), spec(6, full=True))[0].item() == round(255 * (0.299 + 0.587 * 0.5 + 0.114 * 0.25))
    assert from_rgb(rgb, gray(8), spec(0, full=True))[0].item() == round(255 * (0.2126 + 0.7152 * 0.5 + 0.0722 * 0.25))


@pytest.mark.parametrize(("full", "expected"), [(True, [140, 179, 77]), (False, [136, 172, 84])])
def test_ycgco_follows_the_standard(full, expected):
    rgb = torch.tensor([0.15, 0.75, 0.55]).view(1, 3, 1, 1)  # Y 0.55, Cg 0.2, Co -0.2
    assert [plane.item() for plane in from_rgb(rgb, yuv("444"), spec(8, full=full))] == expected


def test_ycgco_comes_back():
    layout, tags = yuv("444", 10), spec(8, full=True)
    rgb = torch.rand((1, 3, 8, 8), generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    planes = from_rgb(rgb, layout, tags)
    assert all(map(torch.equal, from_rgb(to_rgb(planes, layout, tags), layout, tags), planes))


@pytest.mark.parametrize("matrix", [2, 10, 14])
def test_a_matrix_that_is_not_affine_is_one_line(matrix):
    planes = from_rgb(torch.zeros(1, 3, 4, 4), yuv("420"), spec(1))
    with pytest.raises(MediaError, match=rf"^yuv420p: .*matrix {matrix} .*; convert to one of 0, 1, .*$"):
        to_rgb(planes, yuv("420"), spec(matrix))


def test_rgb_tags_on_subsampled_planes_are_refused():
    with pytest.raises(MediaError, match=r"^yuv420p: tagged as RGB"):
        from_rgb(torch.zeros(1, 3, 4, 4), yuv("420"), spec(0))


def test_super_whites_are_read_as_white():
    planes = tensors([np.array([[[16, 235, 254, 1]]]), np.full((1, 1, 2), 128), np.full((1, 1, 2), 128)], yuv("420"))
    assert to_rgb(planes, yuv("420"), spec())[0, 1, 0].tolist() == pytest.approx([0, 1, 1, 0], abs=1e-6)


@pytest.mark.parametrize(("full", "expected"), [(False, [0, 5, 246, 255]), (True, [0, 0, 255, 255])])
def test_codes_end_where_the_samples_bits_do(full, expected):
    rgb = torch.tensor([-0.5, -0.05, 1.05, 1.5]).expand(1, 3, 1, 4)
    assert from_rgb(rgb, gray(8), spec(full=full))[0][0, 0].tolist() == expected


def test_full_range_blue_does_not_overflow():
    blue = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)  # Cb 0.5 is code 255.5
    assert from_rgb(blue, yuv("444"), spec(full=True))[1].item() == 255


@pytest.mark.parametrize("siting", SITINGS)
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_strips_and_memory_order_change_nothing(monkeypatch, subsampling, siting):
    layout, tags = yuv(subsampling, 10), spec(siting=siting)
    rgb = torch.rand((2, 3, 33, 21), generator=torch.Generator().manual_seed(0))
    kept = rgb.clone()
    whole = from_rgb(rgb, layout, tags)
    monkeypatch.setattr(color, "_STRIP_PX", 1)
    for source in (rgb, rgb.to(memory_format=torch.channels_last), rgb.transpose(2, 3).contiguous().transpose(2, 3)):
        assert all(map(torch.equal, from_rgb(source, layout, tags), whole))
    assert torch.equal(rgb, kept)
    in_strips = to_rgb(whole, layout, tags)
    monkeypatch.undo()
    assert torch.equal(to_rgb(whole, layout, tags), in_strips)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_cuda_gives_what_the_cpu_gives(subsampling, depth):
    layout, tags = yuv(subsampling, depth), spec(siting="topleft")
    source = torch.rand((2, 3, 33, 21), generator=torch.Generator().manual_seed(0))
    planes = from_rgb(source, layout, tags)
    on_card = from_rgb(source.cuda(), layout, tags)
    for host, card in zip(planes, on_card, strict=True):
        assert (host.int() - card.cpu().int()).abs().max() <= 1  # fused multiply-adds may round a tie the other way
    rgb = to_rgb([plane.cuda() for plane in planes], layout, tags).cpu()
    assert torch.allclose(rgb, to_rgb(planes, layout, tags), atol=1e-6)
