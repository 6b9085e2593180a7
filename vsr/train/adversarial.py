"""What generator and discriminator learn from the discriminator's scores.

Scores are logits of any shape and float type: one a picture, or a map of them. All terms are means over every score,
in float32 whatever autocast is around them.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vsr.errors import ConfigError
from vsr.train.losses import full_precision

AdversarialKind = Literal["vanilla", "relativistic", "lsgan", "hinge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adversarial:
    """The game the two play.

    vanilla: binary cross-entropy (Goodfellow et al. 2014, non-saturating). relativistic: each score against the mean
    of the other side, halves of both terms (Jolicoeur-Martineau 2018, as ESRGAN trains). lsgan: squared distance to 1
    and 0 (Mao et al. 2017, without their factor 1/2, as AnimeSR trains). hinge: Lim and Ye 2017.
    """

    kind: AdversarialKind
    smoothing: float = 0.0  # the discriminator's target for the truth is 1 less this; the generator's stays 1
    instance_noise: float = 0.0  # standard deviation on what the discriminator sees, pictures being in [0, 1]

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 0.5:
            raise ConfigError(f"smoothing = {self.smoothing} must be from 0 to below 0.5")
        if self.smoothing and self.kind in ("lsgan", "hinge"):
            raise ConfigError(f"smoothing = {self.smoothing} has no place in {self.kind}; set it to 0")
        if not 0 <= self.instance_noise < math.inf:
            raise ConfigError(f"instance_noise = {self.instance_noise} must be 0 or above")

    def noisy(self, pictures: Tensor, generator: torch.Generator) -> Tensor:
        """The pictures as the discriminator is to see them, in both steps; gradients pass.

        Nothing is drawn when there is no noise. A CPU generator draws the same for every device. Source: Sønderby et
        al. 2017, section 3 (instance noise).
        """
        if not self.instance_noise:
            return pictures
        noise = torch.randn(pictures.shape, generator=generator, device=generator.device)
        return pictures + self.instance_noise * noise.to(pictures)

    def generator_loss(self, fake_scores: Tensor, real_scores: Tensor | None) -> Tensor:
        """What the generator minimises, a scalar; only `fake_scores` take gradients.

        The scores are the discriminator's with its parameters frozen. `real_scores` serve relativistic alone, which
        raises ValueError without; the means there are of the scores given, a part of a batch where it has parts.
        """
        with full_precision(fake_scores):
            fake = fake_scores.float()
            match self.kind:
                case "vanilla":
                    return _cross_entropy(fake, 1)
                case "lsgan":
                    return (fake - 1).square().mean()
                case "hinge":
                    return -fake.mean()
                case "relativistic":
                    if real_scores is None:
                        raise ValueError("a relativistic generator needs the scores of the truth")
                    real = real_scores.detach().float()
                    # the mean of the fakes keeps its gradient: the first term has no other
                    return (_cross_entropy(real - fake.mean(), 0) + _cross_entropy(fake - real.mean(), 1)) / 2

    def discriminator_losses(self, real_scores: Tensor, fake_scores: Tensor) -> tuple[Tensor, Tensor]:
        """What the discriminator minimises on the truth and on fakes, two scalars to add up or step backward by each.

        The first has a gradient through `real_scores` alone, the second through `fake_scores` alone. Score detached
        fakes, or the second reaches the generator.
        """
        with full_precision(real_scores):
            real, fake = real_scores.float(), fake_scores.float()
            match self.kind:
                case "vanilla":
                    return _cross_entropy(real, 1 - self.smoothing), _cross_entropy(fake, 0)
                case "lsgan":
                    return (real - 1).square().mean(), fake.square().mean()
                case "hinge":
                    return F.relu(1 - real).mean(), F.relu(1 + fake).mean()
                case "relativistic":
                    against_fakes = real - fake.detach().mean()
                    against_truth = fake - real.detach().mean()
                    return _cross_entropy(against_fakes, 1 - self.smoothing) / 2, _cross_entropy(against_truth, 0) / 2


def _cross_entropy(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
