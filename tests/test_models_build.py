"""Networks to be trained: sizes by name, and weights from which each architecture learns."""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from vsr.errors import ConfigError
from vsr.models.build import CHOICES, build, initialise
from vsr.models.checkpoint import load_model, save_model
from vsr.models.network import Trainable, describe
from vsr.models.srcnn import SRCNN
from vsr.models.srresnet import Doubling

each_architecture = pytest.mark.parametrize("arch", CHOICES)


def small(arch: str, scale: int = 4) -> Trainable:
    takes = CHOICES[arch].takes
    depth, num_grow = 2 if "depth" in takes else None, 4 if "num_grow" in takes else None
    return build(arch, scale=scale, num_feat=16, depth=depth, num_grow=num_grow)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("arch", "parameters"),
    [  # of the published files, or counted from the paper's layers
        ("compact", 621_424),
        ("rrdb", 16_697_987),
        ("srcnn", 9**2 * 64 + 64 + 64 * 32 + 32 + 5**2 * 32 + 1),
        (
            "srresnet",
            (243 * 64 + 64) + 33 * (9 * 64 + 2) * 64 + 17 + 2 * (9 * 64 * 256 + 256 + 1) + (81 * 64 * 3 + 3),
        ),
    ],
)
def test_what_is_left_out_is_as_published(arch: str, parameters: int):
    with torch.device("meta"):
        net = build(arch)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters


@each_architecture
def test_what_is_built_can_be_saved_and_loaded(arch: str, tmp_path: Path):
    for scale in (2, 4):
        net = small(arch, scale)
        save_model(net, describe(net, name="net"), tmp_path / "net.safetensors")
        _, spec = load_model(tmp_path / "net.safetensors")
        assert (spec.arch, spec.scale, spec.num_feat) == (arch, scale, 16)


def test_every_choice_reaches_the_network():
    spec = describe(build("compact", scale=3, num_feat=8, depth=5, act="leakyrelu"), name="net")
    assert (spec.scale, spec.num_feat, spec.depth, spec.act) == (3, 8, 5, "leakyrelu")
    for arch in ("rrdb", "rrdb_shuffle"):
        spec = describe(build(arch, scale=8, num_feat=8, depth=2, num_grow=3), name="net")
        assert (spec.scale, spec.num_feat, spec.depth, spec.num_grow) == (8, 8, 2, 3)
    assert describe(build("srresnet", num_feat=8, depth=1), name="net").tanh is True
    assert describe(build("srresnet", num_feat=8, depth=1, tanh=False), name="net").tanh is False
    net = build("srcnn", kernels=(9, 5, 5), num_feat=8)
    assert isinstance(net, SRCNN)
    assert (net.kernels, net.num_feat, net.num_inner) == ((9, 5, 5), 8, 4)


@pytest.mark.parametrize(
    ("arch", "options", "message"),
    [
        ("edsr", {}, "arch = edsr: unknown; give compact, rrdb, rrdb_shuffle, srresnet, srcnn"),
        ("rrdb", {"scale": 3}, "scale = 3: not of rrdb; give 1, 2, 4, 8"),
        ("srresnet", {"scale": 1}, "scale = 1: not of srresnet; give 2, 4, 8"),
        ("srcnn", {"depth": 3}, "depth = 3: srcnn has none; leave it out"),
        ("compact", {"num_grow": 32}, "num_grow = 32: compact has none; leave it out"),
        ("rrdb", {"act": "relu"}, "act = relu: rrdb has none; leave it out"),
        ("rrdb_shuffle", {"tanh": False}, "tanh = False: rrdb_shuffle has none; leave it out"),
        ("compact", {"act": "gelu"}, "act = gelu: unknown; give prelu, relu, leakyrelu"),
        ("compact", {"num_feat": 0}, "num_feat = 0: must be from 1 to 512"),
        ("rrdb", {"depth": 0}, "depth = 0: must be from 1 to 256"),
        ("srcnn", {"kernels": (9, 2, 5)}, "kernels = (9, 2, 5): must be odd, from 1 to 63"),
    ],
)
def test_what_an_architecture_does_not_have_is_one_line(arch: str, options, message: str):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        build(arch, **options)


@each_architecture
def test_a_run_begins_as_a_function_of_its_seed(arch: str):
    first, second, other = small(arch), small(arch), small(arch)
    before = torch.get_rng_state()
    for net, seed in ((first, 1), (second, 1), (other, 2)):
        initialise(net, seeded(seed))
    assert torch.equal(torch.get_rng_state(), before)
    for key, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[key]), key
    weights = [key for key, tensor in first.state_dict().items() if tensor.ndim == 4]
    assert not any(torch.equal(first.state_dict()[key], other.state_dict()[key]) for key in weights)


@each_architecture
def test_a_network_that_has_learnt_begins_anew(arch: str):
    """What was there before, statistics of norms included, does not show."""
    fresh, used = small(arch), small(arch)
    with torch.no_grad():
        used.train()(torch.rand(1, 3, 8, 8))
        for parameter in used.parameters():
            parameter.add_(1)
    for net in (fresh, used):
        initialise(net, seeded(1))
    assert all(torch.equal(tensor, used.state_dict()[key]) for key, tensor in fresh.state_dict().items())


@each_architecture
def test_a_network_learns_from_its_first_weights(arch: str):
    net = small(arch, scale=2)
    initialise(net, seeded(0))
    high = F.interpolate(torch.rand(1, 3, 6, 6, generator=seeded(1)), scale_factor=4, mode="bilinear")
    low = F.avg_pool2d(high, 2)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = F.mse_loss(net(low), high)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("kernels", [(9, 1, 5), (9, 5, 5)])
def test_a_channel_of_srcnn_carries_the_enlargement_from_the_first_step(kernels: tuple[int, int, int]):
    net = build("srcnn", kernels=kernels)
    assert isinstance(net, SRCNN)
    initialise(net, seeded(0))
    low = torch.rand(1, 3, 6, 7, generator=seeded(1))
    bicubic = F.interpolate(low, scale_factor=4, mode="bicubic", antialias=True)
    with torch.no_grad():
        assert (net(low) - bicubic).abs().max() > 0.01
        net.conv3.weight[:, 1:] = 0  # all but that channel
        assert (net(low) - bicubic).abs().max() < 1e-6


@pytest.mark.parametrize("arch", ["srresnet", "rrdb_shuffle"])
def test_pixel_shuffles_begin_without_a_checkerboard(arch: str):
    net = small(arch)
    initialise(net, seeded(0))
    doublings = [layer for layer in net.modules() if isinstance(layer, Doubling)]
    assert len(doublings) == 2
    for doubling in doublings:
        with torch.no_grad():
            high = doubling(torch.rand(1, 16, 5, 6))
        nearest = high[..., ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3)
        assert torch.equal(high, nearest)
        assert high.std() > 0.1


@pytest.mark.parametrize("arch", ["srresnet", "rrdb_shuffle"])
def test_a_tanh_begins_in_its_middle_at_the_published_depth(arch: str):
    """At its ends it has no slope, and nothing would be learnt."""
    net = build(arch, scale=2, num_feat=16)
    initialise(net, seeded(0))
    with torch.no_grad():
        high = net.train()(torch.rand(2, 3, 8, 8, generator=seeded(1)))
    assert 0.1 < high.min() < high.max() < 0.9
