"""The networks inside the package are the files that were measured, and make of two pictures what they made then."""

import hashlib

import pytest
import torch
from torch import Tensor

from vsr.engine.matlab import enlarge, shrink
from vsr.loading import load
from vsr.metrics.fidelity import psnr_y
from vsr.models.catalog import EMBEDDED
from vsr.models.store import find

# fp32 convolutions sum in another order on another CPU, and round to another code now and then
TOLERANCE_DB = 0.02
DISCS = ((30, 30, 22, (0.9, 0.3, 0.2)), (60, 55, 26, (0.2, 0.5, 0.8)), (75, 25, 14, (1, 1, 0.4)))  # y, x, radius, RGB
LARGEST = 24_000_000  # bytes of all files together
OWN: dict[str, tuple[str, float, float]] = {  # sha256, PSNR-Y of the drawing and of the texture
    "vsr-fast-x4": (
        "adf637966b11d8344cc19c69c9f872dfcf73a6c68e5b9a104d96f1e530787329",
        27.82,
        36.93,
    ),
    "vsr-video-x4": (
        "1e2bd08faddcefd3b0386e9a76c88ca63c2b8e16207c89a6d3c3545d240b746a",
        26.76,
        35.57,
    ),
    "vsr-video-x2": (
        "e7675abc65f4799ba88b2af7e0db177c42e9f9d9d9672eefb8c408bea820cd0c",
        33.12,
        36.16,
    ),
    "vsr-anime-x4": (
        "a5fb18333ea90880a0eaff47177cec75b3b7e28d54476725ad1edcf9500638bc",
        27.16,
        31.85,
    ),
    "vsr-photo-x4": (
        "d54c05b5f410517480028ddd88966ce42cdeed2ea0c2c82ce60014ed232ec956",
        26.02,
        34.09,
    ),
}


def drawing() -> Tensor:
    """Three discs with dark outlines on flat ground, antialiased: (1, 3, 96, 96) uint8."""
    y, x = torch.meshgrid(torch.arange(384) / 4, torch.arange(384) / 4, indexing="ij")
    picture = torch.full((3, 384, 384), 0.85)
    for top, left, radius, colour in DISCS:
        distance = ((y - top).square() + (x - left).square()).sqrt()
        picture[:, distance < radius] = torch.tensor(colour)[:, None]
        picture[:, (distance - radius).abs() < 1.2] = 0.1
    return torch.nn.functional.avg_pool2d(picture, 4)[None].mul(255).round().to(torch.uint8)


def texture() -> Tensor:
    """Waves of every length at random, weaker the finer, as in photographs: (1, 3, 96, 96) uint8."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    picture = torch.zeros(3, 96, 96)
    for _ in range(80):
        angle, period, phase = torch.rand(3, generator=generator)
        angle, period = 6.2832 * angle, 4 + 60 * period**2
        wave = torch.sin(6.2832 * ((angle.cos() * x + angle.sin() * y) / period + phase))
        picture += wave * period / 60 * torch.rand(3, 1, 1, generator=generator)
    return (picture - picture.min()).div(picture.max() - picture.min())[None].mul(255).round().to(torch.uint8)


def figures(name: str) -> tuple[float, float]:
    """PSNR-Y of both pictures, made small by MATLAB's bicubic, to the hundredth."""
    upscaler = load(name, device="cpu", precision="fp32")
    found = []
    for truth in (drawing(), texture()):
        result = upscaler(shrink(truth, upscaler.scale) / 255).mul(255).round().to(torch.uint8)
        found.append(round(float(psnr_y(result, truth, shave=upscaler.scale)), 2))
    return found[0], found[1]


def test_every_network_of_the_package_is_in_the_table():
    assert OWN.keys() == EMBEDDED.keys()
    assert sum(find(name).stat().st_size for name in EMBEDDED) < LARGEST


@pytest.mark.parametrize("name", OWN)
def test_a_network_is_the_file_that_was_measured(name: str):
    assert hashlib.sha256(find(name).read_bytes()).hexdigest() == OWN[name][0]


@pytest.mark.parametrize("name", OWN)
def test_a_network_makes_of_two_pictures_what_it_made_when_it_was_measured(name: str):
    assert figures(name) == pytest.approx(OWN[name][1:], abs=TOLERANCE_DB)


@pytest.mark.parametrize("name", OWN)
def test_a_network_draws_lines_better_than_bicubic(name: str):
    truth, scale = drawing(), EMBEDDED[name].scale
    assert OWN[name][1] > float(psnr_y(enlarge(shrink(truth, scale), scale), truth, shave=scale)) + 0.5
