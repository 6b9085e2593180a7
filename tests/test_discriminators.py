"""Discriminators: the official output, sizes, and a beginning that depends on the seed alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vsr.errors import ConfigError, ModelError
from vsr.train.discriminators import (
    KINDS,
    Discriminator,
    SRGANDiscriminator,
    UNetDiscriminator,
    VGGDiscriminator,
    build_discriminator,
    initialise,
    unet_from_state,
    with_modern_keys,
)

each_kind = pytest.mark.parametrize("kind", KINDS)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(*sides: int, n: int = 2) -> torch.Tensor:
    return torch.rand(n, 3, *sides, generator=seeded(5))


def test_the_unet_gives_the_official_output(media: Path):
    state = torch.load(media / "oracle" / "unet_discriminator_tiny.pth", weights_only=True)["params"]
    known = np.load(media / "oracle" / "unet_discriminator_tiny.npz")
    net = unet_from_state(state).eval()
    with torch.no_grad():
        out = net(torch.from_numpy(known["input"])).numpy()
    assert (net.num_feat, out.shape) == (8, (1, 1, 32, 32))
    # Its random u and v make sigma tiny and the output 1e8; sums come in another order.
    np.testing.assert_allclose(out, known["output"], rtol=1e-4, atol=1e-5 * np.abs(known["output"]).max())


def test_the_unet_has_as_many_weights_as_the_published_one():
    with torch.device("meta"):
        net = UNetDiscriminator()
    assert sum(parameter.numel() for parameter in net.parameters()) == 4_376_897


@pytest.mark.parametrize(("num_feat", "in_channels"), [(4, 3), (6, 1), (8, 3)])
@pytest.mark.parametrize("is_old", [True, False])
def test_a_state_dict_alone_gives_the_unet_back(num_feat: int, in_channels: int, is_old: bool):
    net = UNetDiscriminator(num_feat=num_feat, in_channels=in_channels).eval()
    state = with_old_keys(net.state_dict()) if is_old else net.state_dict()
    found = unet_from_state(state).eval()
    x = torch.rand(1, in_channels, 16, 24)
    assert torch.equal(found(x), net(x))


def with_old_keys(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    spelling = {"original": "weight_orig", "0._u": "weight_u", "0._v": "weight_v"}
    renamed = {}
    for key, tensor in state.items():
        layer, is_normed, name = key.partition(".parametrizations.weight.")
        renamed[f"{layer}.{spelling[name]}" if is_normed else key] = tensor
    return renamed


def test_keys_without_spectral_norm_keep_their_names():
    state = UNetDiscriminator(num_feat=2).state_dict()
    assert with_modern_keys(state).keys() == state.keys()
    assert with_modern_keys(with_old_keys(state)).keys() == state.keys()


def other_states() -> dict[str, dict[str, torch.Tensor]]:
    whole = UNetDiscriminator(num_feat=2).state_dict()
    return {
        "nothing": {},
        "another network": SRGANDiscriminator(num_feat=2).state_dict(),
        "a layer short": {key: tensor for key, tensor in whole.items() if key != "conv9.bias"},
        "a layer of another shape": {**whole, "conv9.bias": torch.zeros(2)},
        "not a convolution": {**whole, "conv0.weight": torch.zeros(2)},
    }


@pytest.mark.parametrize("name", other_states())
def test_other_states_are_no_unet_in_one_line(name: str):
    with pytest.raises(ModelError, match=r"^not the weights of a U-Net discriminator; give a \*_netD\.pth$"):
        unet_from_state(other_states()[name])


@each_kind
def test_a_state_dict_goes_round_with_all_statistics(kind: str):
    first, second = (build_discriminator(kind, num_feat=2) for _ in range(2))
    first(pictures(32, 32))  # in training: moves the norms on
    second.load_state_dict(first.state_dict())
    x = pictures(40, 32)
    assert torch.equal(first.eval()(x), second.eval()(x))


@each_kind
def test_a_discriminator_begins_as_a_function_of_its_seed(kind: str):
    first, second, other = (build_discriminator(kind, num_feat=2) for _ in range(3))
    first(pictures(32, 32))  # what it saw before does not show
    before = torch.get_rng_state()
    for net, seed in ((first, 1), (second, 1), (other, 2)):
        initialise(net, seeded(seed))
    assert torch.equal(torch.get_rng_state(), before)
    states = [net.state_dict() for net in (first, second, other)]
    assert all(torch.equal(tensor, states[1][key]) for key, tensor in states[0].items())
    drawn = [key for key, tensor in states[0].items() if tensor.ndim >= 2]
    assert not any(torch.equal(states[0][key], states[2][key]) for key in drawn)


def test_spectral_norm_begins_near_the_largest_singular_value():
    net = UNetDiscriminator(num_feat=4)
    initialise(net, seeded(0))
    for layer in (net.conv1, net.conv4, net.conv8):
        weight = layer.eval().weight
        assert isinstance(weight, torch.Tensor)
        assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, abs=0.1)  # 15 iterations


def test_evaluation_leaves_spectral_norm_alone():
    net = UNetDiscriminator(num_feat=2)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    net.eval()(pictures(16, 16))
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    net.train()(pictures(16, 16))
    assert not all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())


def test_the_unet_without_skips_is_another_function_of_the_same_weights():
    joined, apart = UNetDiscriminator(num_feat=2).eval(), UNetDiscriminator(num_feat=2, skip=False).eval()
    apart.load_state_dict(joined.state_dict())
    x = pictures(16, 16)
    assert not torch.allclose(joined(x), apart(x))


MAKERS: dict[str, tuple[Callable[[], Discriminator], tuple[int, int], tuple[int, ...]]] = {
    "unet": (lambda: UNetDiscriminator(num_feat=2), (24, 16), (2, 1, 24, 16)),
    "vgg-128": (lambda: VGGDiscriminator(input_px=128, num_feat=2), (128, 128), (2, 1)),
    "vgg-256": (lambda: VGGDiscriminator(input_px=256, num_feat=2), (256, 256), (2, 1)),
    "vgg-any": (lambda: VGGDiscriminator(num_feat=2, dropout=0.5), (32, 72), (2, 1)),
    "srgan-96": (lambda: SRGANDiscriminator(input_px=96, num_feat=2), (96, 96), (2, 1)),
    "srgan-any": (lambda: SRGANDiscriminator(num_feat=2), (16, 50), (2, 1)),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_picture_of_the_right_size_is_judged_and_teaches(name: str):
    make, size, shape = MAKERS[name]
    net = make()
    x = pictures(*size).requires_grad_()
    logits = net(x)
    assert logits.shape == shape
    logits.square().mean().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize("name", MAKERS)
def test_logits_are_fp32_under_autocast(name: str):
    make, size, _ = MAKERS[name]
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert make()(pictures(*size)).dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("unet", (16, 20), "20x16: the U-Net takes sides that are multiples of 8"),
        ("vgg-128", (128, 256), "256x128: this discriminator takes 128x128"),
        ("vgg-256", (128, 128), "128x128: this discriminator takes 256x256"),
        ("vgg-any", (31, 64), "64x31: this discriminator takes sides from 32"),
        ("srgan-96", (64, 64), "64x64: this discriminator takes 96x96"),
        ("srgan-any", (64, 15), "15x64: this discriminator takes sides from 16"),
    ],
)
def test_a_wrong_size_is_said(name: str, size: tuple[int, int], message: str):
    with pytest.raises(ValueError, match=f"^{message}$"):
        MAKERS[name][0]()(pictures(*size))


@pytest.mark.parametrize(("input_px", "convolutions"), [(None, 10), (128, 10), (256, 12)])
def test_the_vgg_style_has_as_many_convolutions_as_its_size_needs(input_px: int | None, convolutions: int):
    net = VGGDiscriminator(input_px=input_px, num_feat=2)
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in net.modules()) == convolutions


def test_the_pooled_vgg_judges_128_px_as_the_one_for_that_size():
    pooled, fixed = VGGDiscriminator(num_feat=2).eval(), VGGDiscriminator(input_px=128, num_feat=2).eval()
    pooled.load_state_dict(fixed.state_dict())
    x = pictures(128, 128)
    assert torch.allclose(pooled(x), fixed(x), atol=1e-6)  # a mean over one pixel


def test_srgan_is_as_published():
    net = SRGANDiscriminator(input_px=96)
    convolutions = [layer for layer in net.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert [layer.stride[0] for layer in convolutions] == [1, 2] * 4
    assert [layer.out_features for layer in net.modules() if isinstance(layer, torch.nn.Linear)] == [1024, 1]


def test_dropout_acts_in_training_only():
    net = build_discriminator("vgg", num_feat=2, dropout=0.5)
    x = pictures(32, 32)
    net.eval()
    assert torch.equal(net(x), net(x))
    for layer in net.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.train()  # alone: a norm in training is another function
    torch.manual_seed(0)
    assert not torch.equal(net(x), net(x))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("patch", {}, "discriminator = patch: unknown; give unet, vgg, srgan"),
        ("vgg", {"input_px": 192}, "discriminator: input_px = 192: the VGG discriminator takes 128 or 256, or pools"),
        ("srgan", {"input_px": 100}, "discriminator: input_px = 100: the SRGAN discriminator takes multiples of 16"),
        ("unet", {"input_px": 100}, "discriminator: input_px = 100: the U-Net takes multiples of 8"),
        ("unet", {"dropout": 0.5}, "discriminator: dropout = 0.5: only vgg has it; leave it out"),
        ("vgg", {"dropout": 1.0}, "discriminator: dropout = 1.0: must be at least 0 and below 1"),
        ("vgg", {"num_feat": 0}, "discriminator: num_feat = 0: must be at least 1"),
    ],
)
def test_what_a_kind_does_not_have_is_one_line(kind: str, options, message: str):
    with pytest.raises(ConfigError, match=f"^{message}"):
        build_discriminator(kind, **options)


@each_kind
def test_every_choice_reaches_the_discriminator(kind: str):
    net = build_discriminator(kind, num_feat=3, input_px=128)
    first = next(layer for layer in net.modules() if isinstance(layer, torch.nn.Conv2d))
    assert first.out_channels == 3
    net(pictures(128, 128))
    if kind != "unet":
        with pytest.raises(ValueError, match="takes 128x128"):
            net(pictures(64, 64))
