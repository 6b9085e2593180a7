"""What changes as a stage goes on: rates, weights of losses, which parameters move. All are functions of the step."""

import math
from dataclasses import dataclass

from vsr.errors import ConfigError
from vsr.training import Length, Optimizer, Stage, steps_of


def rate_share(step: int, length: int, optimizer: Optimizer, *, warmup: int, began: int = 0) -> float:
    """The share of `optimizer.lr` at `step` (from 0) of a stage of `length` steps, for what began to move at `began`.

    Linear warm-up from there, then as `optimizer.decay` says. Cosine: Loshchilov and Hutter 2017, equation 5.
    """
    warm = min(1.0, (step - began + 1) / (warmup + 1))
    done = step / max(1, length)
    match optimizer.decay:
        case "constant":
            left = 1.0
        case "cosine":
            left = optimizer.floor + (1 - optimizer.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        case "steps":
            left = optimizer.gamma ** sum(done >= milestone for milestone in optimizer.milestones)
    return warm * left


def ramp_share(step: int, ramp: int, *, began: int = 0) -> float:
    """How much of its weight a loss that began at `began` has at `step`: 0 before, all of it after `ramp` steps."""
    if step < began:
        return 0.0
    return min(1.0, (step - began + 1) / (ramp + 1))


def averaging_decay(updates: int, most: float) -> float:
    """The decay of averaged weights after so many updates: small at first, to forget the random beginning."""
    return min(most, (1 + updates) / (10 + updates))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """A stage's lengths in steps."""

    stage: int
    ramp: int
    warmup: int
    unfreeze_every: int
    judge_start: int
    judge_warmup: int  # steps in which the judge learns alone
    judge_rate_warmup: int

    @classmethod
    def of(cls, stage: Stage, *, files: int) -> "Lengths":
        """With epochs of `files` samples turned into steps."""
        per_epoch = max(1, round(files / stage.batch))

        def steps(length: Length) -> int:
            return steps_of(length, per_epoch)

        judge = stage.discriminator
        return cls(
            stage=steps(stage.length),
            ramp=steps(stage.losses.ramp),
            warmup=steps(stage.optimizer.warmup),
            unfreeze_every=steps(stage.unfreeze_every),
            judge_start=steps(judge.start) if judge else 0,
            judge_warmup=steps(judge.warmup) if judge else 0,
            judge_rate_warmup=steps(judge.optimizer.warmup) if judge else 0,
        )

    @property
    def heard_from(self) -> int:
        """The step from which the generator hears the judge."""
        return self.judge_start + self.judge_warmup


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that begin to move together."""

    names: tuple[str, ...]
    began: int  # step of the stage


def moving_groups(names: list[str], stage: Stage, lengths: Lengths, step: int) -> list[Group]:
    """Which of the parameters called `names` move at `step`, grouped by when they began.

    Without `stage.unfreeze` all do, from 0. Else group k of prefixes joins after k * `unfreeze_every` steps; what no
    prefix names never moves. Raises ConfigError for a prefix that fits no parameter.
    """
    if not stage.unfreeze:
        return [Group(tuple(names), 0)]
    taken: set[str] = set()
    groups = []
    for index, prefixes in enumerate(stage.unfreeze):
        for prefix in prefixes:
            if not any(name.startswith(prefix) for name in names):
                raise ConfigError(
                    f"unfreeze: no parameter begins with '{prefix}'; the first are {', '.join(names[:3])}"
                )
        mine = tuple(name for name in names if name.startswith(prefixes) and name not in taken)
        taken |= set(mine)
        began = index * lengths.unfreeze_every
        if began <= step:
            groups.append(Group(mine, began))
    return groups
