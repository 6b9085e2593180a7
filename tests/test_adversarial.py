"""The game of generator and discriminator, against values worked out by hand and where its gradients go."""

import math

import pytest
import torch
from torch import nn

from vsr.errors import ConfigError
from vsr.train.adversarial import Adversarial, AdversarialKind

KINDS: list[AdversarialKind] = ["vanilla", "relativistic", "lsgan", "hinge"]
REAL, FAKE = torch.tensor([2.0, 0.5]), torch.tensor([-1.0, 3.0])


def softplus(x: float) -> float:
    """Cross-entropy of the logit -x with target 1, or of x with target 0."""
    return math.log1p(math.exp(x))


def mean(*values: float) -> float:
    return sum(values) / len(values)


# means of the sides: 1.25 and 1
BY_HAND = {
    "vanilla": (
        mean(softplus(1), softplus(-3)),
        mean(softplus(-2), softplus(-0.5)),
        mean(softplus(-1), softplus(3)),
    ),
    "relativistic": (
        mean(mean(softplus(1), softplus(-0.5)), mean(softplus(2.25), softplus(-1.75))),
        mean(softplus(-1), softplus(0.5)) / 2,
        mean(softplus(-2.25), softplus(1.75)) / 2,
    ),
    "lsgan": (mean(4, 4), mean(1, 0.25), mean(1, 9)),
    "hinge": (-1.0, mean(0, 0.5), mean(0, 4)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_game_has_its_values(kind: AdversarialKind):
    game = Adversarial(kind=kind)
    generator, real, fake = BY_HAND[kind]
    assert game.generator_loss(FAKE, REAL).item() == pytest.approx(generator, rel=1e-6)
    found = [loss.item() for loss in game.discriminator_losses(REAL, FAKE)]
    assert found == pytest.approx([real, fake], rel=1e-6)


def test_vanilla_is_cross_entropy_with_ones_and_zeros():
    real, fake = torch.randn(2, 4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    entropy = nn.BCEWithLogitsLoss()
    game = Adversarial(kind="vanilla")
    torch.testing.assert_close(game.generator_loss(fake, None), entropy(fake, torch.ones_like(fake)))
    found = game.discriminator_losses(real, fake)
    torch.testing.assert_close(found, (entropy(real, torch.ones_like(real)), entropy(fake, torch.zeros_like(fake))))


@pytest.mark.parametrize("kind", ["vanilla", "relativistic"])
def test_smoothing_is_the_discriminators_alone_and_on_the_truth_alone(kind: AdversarialKind):
    plain, smooth = Adversarial(kind=kind), Adversarial(kind=kind, smoothing=0.1)
    assert torch.equal(smooth.generator_loss(FAKE, REAL), plain.generator_loss(FAKE, REAL))
    real, fake = smooth.discriminator_losses(REAL, FAKE)
    assert torch.equal(fake, plain.discriminator_losses(REAL, FAKE)[1])
    logits = REAL if kind == "vanilla" else REAL - FAKE.mean()
    towards_zero = mean(*(softplus(x) for x in logits.tolist()))
    towards_one = mean(*(softplus(-x) for x in logits.tolist()))
    half = 1 if kind == "vanilla" else 2
    assert real.item() == pytest.approx((0.9 * towards_one + 0.1 * towards_zero) / half, rel=1e-5)


@pytest.mark.parametrize("kind", ["lsgan", "hinge"])
def test_smoothing_that_would_do_nothing_is_refused(kind: AdversarialKind):
    with pytest.raises(ConfigError, match=rf"^smoothing = 0\.1 has no place in {kind}; set it to 0$"):
        Adversarial(kind=kind, smoothing=0.1)


@pytest.mark.parametrize(
    ("smoothing", "noise"), [(-0.1, 0), (0.5, 0), (math.nan, 0), (0, -1), (0, math.inf), (0, math.nan)]
)
def test_settings_out_of_range_are_refused(smoothing: float, noise: float):
    with pytest.raises(ConfigError, match="must be"):
        Adversarial(kind="vanilla", smoothing=smoothing, instance_noise=noise)


@pytest.mark.parametrize("kind", KINDS)
def test_only_relativistic_sees_that_the_other_side_moved(kind: AdversarialKind):
    game = Adversarial(kind=kind)
    before, after = game.generator_loss(FAKE, REAL), game.generator_loss(FAKE, REAL + 1)
    assert torch.equal(before, after) == (kind != "relativistic")
    (real, fake), (real_after, fake_after) = (game.discriminator_losses(REAL, x) for x in (FAKE, FAKE + 1))
    assert torch.equal(real, real_after) == (kind != "relativistic")
    assert not torch.equal(fake, fake_after) or kind == "hinge"


def test_relativistic_does_not_see_both_sides_moving_together():
    game = Adversarial(kind="relativistic")
    torch.testing.assert_close(game.generator_loss(FAKE + 3, REAL + 3), game.generator_loss(FAKE, REAL))
    torch.testing.assert_close(game.discriminator_losses(REAL + 3, FAKE + 3), game.discriminator_losses(REAL, FAKE))


def test_the_mean_is_over_every_score_of_a_map_and_not_only_over_the_batch():
    real, fake = torch.randn(2, 2, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    game = Adversarial(kind="relativistic")
    torch.testing.assert_close(
        game.discriminator_losses(real, fake), game.discriminator_losses(real.flatten(), fake.flatten())
    )


@pytest.fixture
def networks() -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Conv2d(3, 3, 1), nn.Conv2d(3, 1, 3)


def moved(network: nn.Module) -> bool:
    return any(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_the_generators_loss_moves_the_generator_alone(kind: AdversarialKind, networks: tuple[nn.Module, nn.Module]):
    generator, discriminator = networks
    low, truth = torch.rand(2, 2, 3, 8, 8)
    discriminator.requires_grad_(False)
    game = Adversarial(kind=kind, instance_noise=0.05)
    seen = game.noisy(generator(low), torch.Generator().manual_seed(0))
    game.generator_loss(discriminator(seen), discriminator(truth)).backward()
    assert moved(generator)
    assert not moved(discriminator)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [0, 1])
def test_either_of_the_discriminators_losses_moves_it_alone(kind: AdversarialKind, side: int, networks):
    generator, discriminator = networks
    low, truth = torch.rand(2, 2, 3, 8, 8)
    fake = generator(low)
    scores = discriminator(truth), discriminator(fake.detach())
    Adversarial(kind=kind).discriminator_losses(*scores)[side].backward()
    assert moved(discriminator)
    assert not moved(generator)


def test_both_halves_of_the_relativistic_loss_pull_the_generator():
    fake, real = FAKE.clone().requires_grad_(), REAL.clone().requires_grad_()
    Adversarial(kind="relativistic").generator_loss(fake, real).backward()
    assert real.grad is None
    # d/df_i of 1/2 [mean softplus(r - mean f) + mean softplus(mean r - f)]
    from_truth = -torch.sigmoid(REAL - FAKE.mean()).mean() / 2
    from_fakes = -torch.sigmoid(REAL.mean() - FAKE) / 2
    torch.testing.assert_close(fake.grad, (from_truth + from_fakes) / 2)


def test_each_loss_of_the_discriminator_has_its_own_gradient():
    fake, real = FAKE.clone().requires_grad_(), REAL.clone().requires_grad_()
    on_truth, on_fakes = Adversarial(kind="relativistic").discriminator_losses(real, fake)
    assert torch.autograd.grad(on_truth, fake, retain_graph=True, allow_unused=True) == (None,)
    assert torch.autograd.grad(on_fakes, real, retain_graph=True, allow_unused=True) == (None,)
    assert torch.autograd.grad(on_truth, real)[0].all()
    assert torch.autograd.grad(on_fakes, fake)[0].all()


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_scores_are_judged_in_full_precision(kind: AdversarialKind):
    real, fake = torch.randn(2, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    game = Adversarial(kind=kind)
    with torch.autocast("cpu", torch.bfloat16):
        found = game.generator_loss(fake, real), *game.discriminator_losses(real, fake)
    expected = game.generator_loss(fake.float(), real.float()), *game.discriminator_losses(real.float(), fake.float())
    assert all(a.dtype == torch.float32 and torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_sure_discriminator_leaves_the_losses_finite(kind: AdversarialKind):
    real, fake = (torch.full((2, 1), score, requires_grad=True) for score in (500.0, -500.0))
    game = Adversarial(kind=kind)
    losses = torch.stack([game.generator_loss(fake, real), *game.discriminator_losses(real, fake)])
    assert losses.isfinite().all()
    assert torch.autograd.grad(losses.sum(), fake)[0].isfinite().all()


def test_a_relativistic_generator_without_the_truth_is_a_mistake():
    with pytest.raises(ValueError, match="needs the scores of the truth"):
        Adversarial(kind="relativistic").generator_loss(FAKE, None)


def test_instance_noise_has_its_deviation_and_comes_from_the_generator_given():
    pictures = torch.full((2, 3, 64, 64), 0.5)
    game = Adversarial(kind="hinge", instance_noise=0.1)
    before = torch.get_rng_state()
    noise = game.noisy(pictures, torch.Generator().manual_seed(1)) - pictures
    assert noise.std().item() == pytest.approx(0.1, rel=0.02)  # of 24576 draws: 0.5 % at one sigma
    assert torch.equal(game.noisy(pictures, torch.Generator().manual_seed(1)) - pictures, noise)
    assert torch.equal(torch.get_rng_state(), before)
    assert game.noisy(pictures.bfloat16(), torch.Generator()).dtype == torch.bfloat16


def test_without_instance_noise_nothing_is_drawn():
    generator, pictures = torch.Generator().manual_seed(1), torch.rand(1, 3, 8, 8)
    before = generator.get_state()
    assert Adversarial(kind="hinge").noisy(pictures, generator) is pictures
    assert torch.equal(generator.get_state(), before)
