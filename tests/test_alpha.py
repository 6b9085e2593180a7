"""Transparency: what is hidden stays hidden, and edges are blends of the colours that are seen."""

import pytest
import torch

from vsr.engine.alpha import bleed, upscale_alpha, upscale_with_alpha
from vsr.engine.upscaler import Upscaler
from vsr.loading import load

SIDE = 44
BACKGROUNDS = (0.0, 1.0)


@pytest.fixture(scope="module")
def network() -> Upscaler:
    return load("vsr-fast-x4", device="cpu", precision="fp32")


def disc(side: int = SIDE, radius: float = 14.3) -> torch.Tensor:
    """(1, 1, side, side) alpha with a soft edge one pixel wide, in steps of 1/255."""
    at = torch.arange(side) - side / 2 + 0.5
    distance = (at[:, None] ** 2 + at[None] ** 2).sqrt()
    return ((radius - distance + 0.5).clamp(0, 1) * 255).round()[None, None] / 255


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def in_8_bits(picture: torch.Tensor) -> torch.Tensor:
    return (picture * 255).round() / 255


def over(rgb: torch.Tensor, alpha: torch.Tensor, background: float) -> torch.Tensor:
    return alpha * rgb + (1 - alpha) * background


@pytest.mark.parametrize("colour", [(0.9, 0.2, 0.1), (0.05, 0.1, 0.5), (1.0, 1.0, 1.0)])
def test_an_edge_is_a_blend_of_the_true_colour(network, colour):
    """The hidden colour is its opposite, as where a picture was cut out of a green wall."""
    true = torch.tensor(colour)[None, :, None, None].expand(1, 3, SIDE, SIDE)
    alpha = disc()
    stored = torch.where(alpha > 0, true, 1 - true)
    rgb, high = (in_8_bits(part) for part in upscale_with_alpha(stored, alpha, network))
    assert high.shape == (1, 1, 4 * SIDE, 4 * SIDE)
    assert 0 < ((high > 0) & (high < 1)).float().mean() < 0.1, "an edge, and no veil"
    plain = in_8_bits(network(stored))
    for background in BACKGROUNDS:
        wanted = over(true[..., :1, :1], high, background)
        assert (over(rgb, high, background) - wanted).abs().max() <= 4 / 255
        assert (over(plain, high, background) - wanted).abs().max() > 4 / 255, "without bleeding it would show"


def test_where_alpha_is_full_the_picture_is_the_opaque_one(network):
    ramp = torch.linspace(0.2, 0.8, SIDE)
    true = torch.stack([ramp.expand(SIDE, SIDE), ramp[:, None].expand(SIDE, SIDE), 0.9 - 0.5 * ramp.expand(SIDE, SIDE)])
    alpha = disc()
    stored = torch.where(alpha > 0, true[None], noise(1, 3, SIDE, SIDE))
    rgb, high = (in_8_bits(part) for part in upscale_with_alpha(stored, alpha, network))
    opaque = in_8_bits(network(true[None]))
    is_full = (high == 1).expand_as(rgb)
    assert is_full.float().mean() > 0.2
    for background in BACKGROUNDS:
        shown = over(rgb, high, background)
        assert torch.equal(shown[is_full], rgb[is_full])
        assert (shown - over(opaque, high, background)).abs().max() <= 4 / 255


def test_hidden_colours_change_nothing(network):
    alpha = disc()
    seen = noise(1, 3, SIDE, SIDE)
    first, second = (
        upscale_with_alpha(torch.where(alpha > 0, seen, noise(1, 3, SIDE, SIDE, seed=seed)), alpha, network)
        for seed in (1, 2)
    )
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_alpha_is_exact_away_from_its_edge(network):
    alpha = disc()
    high = upscale_alpha(alpha, 4, network)
    for value in (0, 1):
        is_flat = torch.nn.functional.avg_pool2d((alpha == value).float(), 3, 1, 1, count_include_pad=False) == 1
        found = high[is_flat.repeat_interleave(4, 2).repeat_interleave(4, 3)]
        assert len(found) > 1000
        assert (found == value).all()


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_flat_alpha_asks_no_network(value):
    def refuse(_: torch.Tensor) -> torch.Tensor:
        raise AssertionError("asked")

    alpha = torch.full((2, 1, 5, 7), value)
    assert torch.equal(upscale_alpha(alpha, 3, refuse), torch.full((2, 1, 15, 21), value))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (17, 5), (31, 64)])
def test_what_is_seen_is_left_as_it_is(size):
    rgb = noise(2, 3, *size)
    alpha = (noise(2, 1, *size, seed=1) - 0.4).clamp(0, 1)
    seen = (alpha > 0).expand_as(rgb)
    bled = bleed(rgb, alpha)
    assert torch.equal(bled[seen], rgb[seen])
    lowest, highest = rgb.where(seen, 1.0).amin((2, 3)), rgb.where(seen, 0.0).amax((2, 3))
    if bool((alpha.amax((2, 3)) > 0).all()):
        assert (bled.amin((2, 3)) >= lowest - 1e-5).all()
        assert (bled.amax((2, 3)) <= highest + 1e-5).all()


@pytest.mark.parametrize("border", [31, 32, 33])  # 32 is one of every level of the pyramid
def test_a_hole_takes_the_nearer_colour(border):
    red, blue = torch.tensor([1.0, 0, 0]), torch.tensor([0, 0, 1.0])
    rgb = noise(1, 3, 20, 80)
    alpha = torch.zeros(1, 1, 20, 80)
    rgb[..., :border], rgb[..., 60:] = red[:, None, None], blue[:, None, None]
    alpha[..., :border] = alpha[..., 60:] = 1
    bled = bleed(rgb, alpha)[0]
    assert (bled[0, :, border : border + 4] > 0.9).all()
    assert (bled[2, :, 56:60] > 0.9).all()
    assert torch.allclose(bled[0] + bled[2], torch.ones(20, 80)), "a mix of both in between"
    assert (bled[1] < 1e-5).all(), "nothing of what was hidden"


def test_a_picture_without_anything_to_see_is_black():
    assert torch.equal(bleed(noise(1, 3, 6, 9), torch.zeros(1, 1, 6, 9)), torch.zeros(1, 3, 6, 9))
