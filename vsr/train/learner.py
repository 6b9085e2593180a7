"""One stage at work: a generator, its average, perhaps a judge, and the step that changes them."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from vsr.engine.upscaler import is_out_of_memory
from vsr.errors import ConfigError, VsrError
from vsr.models.network import Trainable
from vsr.train.adversarial import Adversarial
from vsr.train.checkpointing import Statistics, checkpointed, statistics_kept
from vsr.train.losses import PixelKind, full_precision, ldl, pixel_loss, total_variation
from vsr.train.optimizers import adam, adopt_moments
from vsr.train.perceptual import Perceptual
from vsr.train.schedule import Lengths, averaging_decay, moving_groups, ramp_share, rate_share
from vsr.train.sharpen import sharpen
from vsr.train.team import Team
from vsr.training import Optimizer, Stage

T = TypeVar("T")
Terms = dict[str, float]  # what a step came to, by the names that the log has
PIXEL: tuple[PixelKind, ...] = ("l1", "mse", "charbonnier")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a stage's steps depend on besides its settings."""

    device: torch.device
    dtype: torch.dtype  # of matrix products; weights and sums stay float32
    sharpen: bool  # whether the truth to be given back is the sharpened one
    seed: int
    stage_number: int
    perceptual: Perceptual | None
    is_compiled: bool = False
    is_checkpointed: bool = False


class Learner:
    """Trains `net` by `stage`. Everything that changes is in `state`; a step is a function of that, step and batch.

    In a team each process has the same weights and learns from its share of the batch. A relativistic judge compares
    with the mean of what is computed at once, as it does in parts of a batch.
    """

    def __init__(
        self, net: Trainable, judge: nn.Module | None, stage: Stage, lengths: Lengths, setting: Setting, team: Team
    ) -> None:
        self.net = net.to(setting.device, memory_format=torch.channels_last).train()  # pyright: ignore[reportCallIssue]
        self.averaged = copy.deepcopy(self.net).requires_grad_(False).eval() if stage.ema else self.net
        self.judge = None
        if judge is not None:
            self.judge = judge.to(setting.device, memory_format=torch.channels_last).train()  # pyright: ignore[reportCallIssue]
        self._stage, self._lengths, self._setting, self._team = stage, lengths, setting, team
        self._forward = _forward_of(self.net, setting)
        self._updates = 0
        self._batch = team.share_of(stage.batch, f"stages.{stage.name}.batch")
        self._parts = _divisor(self._batch, -(-self._batch * stage.accumulate // stage.batch))
        self.rate_factor = 1.0  # halved after each return to an earlier state
        self._began: list[int] = []  # of each group of the optimizer
        self._optimizer = adam(stage.optimizer)
        self._judge_optimizer = None
        if self.judge is not None and stage.discriminator is not None:
            self._judge_optimizer = adam(stage.discriminator.optimizer)
            self._judge_optimizer.add_param_group({"params": list(self.judge.parameters())})
        self._let_move(0)
        is_half = setting.dtype == torch.float16
        self._scaler = torch.amp.GradScaler(setting.device.type, enabled=is_half)
        self._judge_scaler = torch.amp.GradScaler(setting.device.type, enabled=is_half)
        self._losses = {kind: pixel_loss(kind, on_luma=stage.losses.on_luma) for kind in PIXEL}

    def step(self, step: int, low: Tensor, truth: Tensor) -> Terms | None:
        """Learn from one batch, (B, 3, h, w) and (B, 3, H, W) uint8, at `step` of the stage.

        None when a loss or gradient was not finite: then generator or judge, whose it was, has not changed. Out of
        memory, the batch is computed in smaller parts; raises VsrError when one picture is too much.
        """
        torch.manual_seed(self._seed(step, 0))  # of dropout
        self._let_move(step)
        low, truth = (x.to(self._setting.device, non_blocking=True).float() / 255 for x in (low, truth))
        target = sharpen(truth) if self._setting.sharpen else truth
        before = Statistics(self.net)
        sums, results = self._within_memory(lambda: self._teach_generator(step, low, target))
        norm = self._finish(self._optimizer, self._scaler, self._stage.optimizer, sums)
        if norm is None or math.isinf(norm):
            before.restore()
        else:
            self._average()
        if norm is None:
            return None
        terms = {f"loss_{name}": float(value) for name, value in sums.items()}
        terms |= {"overflow": 1.0} if math.isinf(norm) else {"grad_norm": norm}
        return self._with_judge(step, terms, target if self._stage.sharpen_real else truth, results)

    def loss(self, result: Tensor, truth: Tensor) -> Tensor:
        """The pixel losses of the stage, weighted: what a validation can compare."""
        weights = {kind: getattr(self._stage.losses, kind) for kind in PIXEL}
        if not any(weights.values()):
            weights = {"l1": 1.0}
        return sum((w * self._losses[kind](result, truth) for kind, w in weights.items() if w), torch.tensor(0.0))

    def rate(self, step: int) -> float:
        """The generator's learning rate, that of the group which began first where there are several."""
        share = rate_share(step, self._lengths.stage, self._stage.optimizer, warmup=self._lengths.warmup)
        return self.rate_factor * self._stage.optimizer.lr * share

    def share_statistics(self) -> None:
        """Give all processes the mean of what norms averaged in each; nothing else differs between them.

        An average of averages is what averaging all along would have given, so when it happens does not matter.
        """
        nets = [self.net, *([self.averaged] if self._stage.ema else []), *([self.judge] if self.judge else [])]
        self._team.average([b for net in nets for b in net.buffers() if b.is_floating_point()])

    def state(self) -> dict[str, object]:
        """All that the next step depends on."""
        return {
            "net": _on_cpu(self.net.state_dict()),
            "averaged": _on_cpu(self.averaged.state_dict()) if self._stage.ema else None,
            "optimizer": self._optimizer.state_dict(),
            "judge": None if self.judge is None else _on_cpu(self.judge.state_dict()),
            "judge_optimizer": None if self._judge_optimizer is None else self._judge_optimizer.state_dict(),
            "scalers": [self._scaler.state_dict(), self._judge_scaler.state_dict()],
            "updates": self._updates,
            "parts": self._parts,
            "rate_factor": self.rate_factor,
        }

    def load(self, state: Mapping[str, object], step: int) -> None:
        """Go back to a `state` that was taken after `step` steps of the stage."""
        self.net.load_state_dict(_tensors(state["net"]))
        if self._stage.ema:
            self.averaged.load_state_dict(_tensors(state["averaged"]))
        self._optimizer, self._began = adam(self._stage.optimizer), []
        self._let_move(max(0, step - 1))  # the groups that the last step had
        self._optimizer.load_state_dict(_tensors(state["optimizer"]))
        if self.judge is not None and self._judge_optimizer is not None:
            self.judge.load_state_dict(_tensors(state["judge"]))
            self._judge_optimizer.load_state_dict(_tensors(state["judge_optimizer"]))
        scalers = state["scalers"]
        assert isinstance(scalers, list)
        self._scaler.load_state_dict(scalers[0])
        self._judge_scaler.load_state_dict(scalers[1])
        self._updates = int(str(state["updates"]))
        self._parts = _divisor(self._batch, int(str(state["parts"])))
        self.rate_factor = float(str(state["rate_factor"]))

    def adopt(self, state: Mapping[str, object]) -> None:
        """Take over what else another run knew, where shapes agree: its moments, and a judge with its own."""
        adopt_moments(self._optimizer, state["optimizer"])
        judge = state["judge"]
        if self.judge is None or self._judge_optimizer is None or not isinstance(judge, dict):
            return
        own = self.judge.state_dict()
        if own.keys() == judge.keys() and all(own[name].shape == tensor.shape for name, tensor in judge.items()):
            self.judge.load_state_dict(judge)
            adopt_moments(self._judge_optimizer, state["judge_optimizer"])

    # the generator's half

    def _teach_generator(self, step: int, low: Tensor, target: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Leave gradients behind; gives the losses by name and what the generator made."""
        self._optimizer.zero_grad(set_to_none=True)
        noise = torch.Generator().manual_seed(self._seed(step, 1))
        sums: dict[str, Tensor] = {}
        results = []
        with _frozen(self.judge):
            for small, wanted in zip(low.chunk(self._parts), target.chunk(self._parts), strict=True):
                with self._autocast():
                    result = self._forward(small)
                terms = dict(self._terms(step, small, result, wanted, noise))
                total = sum((weight * term for weight, term in terms.values()), torch.zeros((), device=low.device))
                self._scaler.scale(total / self._parts).backward()
                results.append(result.detach())
                for name, (_, term) in {**terms, "g": (1.0, total)}.items():
                    sums[name] = sums.get(name, 0) + term.detach() / self._parts
        return sums, torch.cat(results)

    def _terms(
        self, step: int, low: Tensor, result: Tensor, target: Tensor, noise: torch.Generator
    ) -> Iterator[tuple[str, tuple[float, Tensor]]]:
        """The weight at this step and the value of each loss that has one."""
        losses, ramp = self._stage.losses, self._lengths.ramp
        for kind in PIXEL:
            if weight := getattr(losses, kind):
                yield kind, (weight, self._losses[kind](result, target))
        if losses.perceptual and self._setting.perceptual is not None:
            with self._autocast() if self._setting.dtype == torch.bfloat16 else full_precision(result):
                distance = self._setting.perceptual(result, target)
            yield "perceptual", (losses.perceptual * ramp_share(step, ramp), distance)
        if losses.tv:
            yield "tv", (losses.tv, total_variation(result))
        if losses.ldl:
            averaged = result.detach()
            if self._stage.ema:
                with torch.no_grad(), self._autocast():
                    averaged = self.averaged(low)
            yield "ldl", (losses.ldl * ramp_share(step, ramp), ldl(result, target, averaged))
        if self._judge_is_heard(step):
            share = ramp_share(step, ramp, began=self._lengths.heard_from)
            yield "adversarial", (losses.adversarial * share, self._flattery(step, result, target, noise))

    def _flattery(self, step: int, result: Tensor, target: Tensor, noise: torch.Generator) -> Tensor:
        """How far the judge is from taking results for real."""
        game, judge = self._game(step), self._judge
        with self._autocast():
            fake = judge(game.noisy(result, noise))
            real = None
            if game.kind == "relativistic":
                with torch.no_grad():
                    real = judge(game.noisy(target, noise))
        return game.generator_loss(fake, real)

    def _average(self) -> None:
        if not self._stage.ema:
            return
        self._updates += 1
        with torch.no_grad():
            new, kept = self.net.state_dict(), self.averaged.state_dict()
            decay = averaging_decay(self._updates, self._stage.ema)
            for name, tensor in kept.items():
                if tensor.is_floating_point():
                    tensor.lerp_(new[name], 1 - decay)
                else:
                    tensor.copy_(new[name])

    # the judge's half

    def _with_judge(self, step: int, terms: Terms, real: Tensor, fake: Tensor) -> Terms | None:
        """The terms of a step with those of the judge, where it learns."""
        stage, optimizer = self._stage.discriminator, self._judge_optimizer
        if stage is None or optimizer is None or not self._judges_at(step):
            return terms
        before = Statistics(self._judge)
        losses, scores = self._within_memory(lambda: self._teach_judge(step, optimizer, real, fake))
        norm = self._finish(optimizer, self._judge_scaler, stage.optimizer, losses)
        if norm is None or math.isinf(norm):
            before.restore()
        if norm is None:
            return None
        return terms | {name: float(value) for name, value in (losses | scores).items()}

    def _teach_judge(
        self, step: int, optimizer: torch.optim.Optimizer, real: Tensor, fake: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Leave gradients behind; gives the loss and how real either side seems."""
        judge, game = self._judge, self._game(step)
        optimizer.zero_grad(set_to_none=True)
        noise = torch.Generator().manual_seed(self._seed(step, 2))
        loss, d_real, d_fake = (torch.zeros((), device=real.device) for _ in range(3))
        for true, made in zip(real.chunk(self._parts), fake.chunk(self._parts), strict=True):
            with self._autocast():
                on_real, on_fake = judge(game.noisy(true, noise)), judge(game.noisy(made, noise))
            against_real, against_fake = game.discriminator_losses(on_real, on_fake)
            part = (against_real + against_fake) / self._parts
            self._judge_scaler.scale(part).backward()
            loss += part.detach()
            d_real += on_real.detach().float().sigmoid().mean() / self._parts
            d_fake += on_fake.detach().float().sigmoid().mean() / self._parts
        return {"loss_d": loss}, {"d_real": d_real, "d_fake": d_fake}

    @property
    def _judge(self) -> nn.Module:
        assert self.judge is not None
        return self.judge

    def _game(self, step: int) -> Adversarial:
        judge = self._stage.discriminator
        assert judge is not None
        left = 1 - min(1.0, step / max(1, self._lengths.stage))
        return Adversarial(kind=judge.loss, smoothing=judge.smoothing, instance_noise=judge.instance_noise * left)

    def _judges_at(self, step: int) -> bool:
        judge, since = self._stage.discriminator, step - self._lengths.judge_start
        return self.judge is not None and judge is not None and since >= 0 and since % judge.every == 0

    def _judge_is_heard(self, step: int) -> bool:
        return self.judge is not None and self._stage.losses.adversarial > 0 and step >= self._lengths.heard_from

    # what both share

    def _finish(
        self,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        settings: Optimizer,
        losses: dict[str, Tensor],
    ) -> float | None:
        """Average the gradients over the team, clip them, step; gives their norm.

        None when a loss or gradient is not finite, and infinity when fp16's scale alone was to blame, which is now
        smaller; nothing was changed then. All processes come to the same.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._team.average_gradients(parameters)  # before the scaler looks at them, so that all scales stay equal
        scaler.unscale_(optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, settings.clip or float("inf")))
        are_finite = self._team.all(bool(torch.stack(list(losses.values())).isfinite().all()))
        if are_finite and math.isfinite(norm):
            scaler.step(optimizer)
            scaler.update()
            return norm
        scale = scaler.get_scale()
        scaler.update()
        return math.inf if are_finite and scale > 1 and scaler.get_scale() < scale else None

    def _let_move(self, step: int) -> None:
        """Have the optimizer hold the groups that move at `step`, at their rates; the others need no gradients."""
        named = dict(self.net.named_parameters())
        groups = moving_groups(list(named), self._stage, self._lengths, step)
        for group in groups[len(self._began) :]:
            self._optimizer.add_param_group({"params": [named[name] for name in group.names]})
            self._began.append(group.began)
        moving = {name for group in groups for name in group.names}
        for name, parameter in named.items():
            parameter.requires_grad_(name in moving)
        lengths, settings = self._lengths, self._stage.optimizer
        for row, began in zip(self._optimizer.param_groups, self._began, strict=True):
            share = rate_share(step, lengths.stage, settings, warmup=lengths.warmup, began=began)
            row["lr"] = self.rate_factor * settings.lr * share
        if self._judge_optimizer is not None and self._stage.discriminator is not None:
            settings, began = self._stage.discriminator.optimizer, lengths.judge_start
            if step >= began:
                share = rate_share(step, lengths.stage, settings, warmup=lengths.judge_rate_warmup, began=began)
                self._judge_optimizer.param_groups[0]["lr"] = self.rate_factor * settings.lr * share

    def _autocast(self) -> torch.autocast:
        dtype = self._setting.dtype
        return torch.autocast(self._setting.device.type, dtype, enabled=dtype != torch.float32)

    def _within_memory(self, work: Callable[[], T]) -> T:
        """Do `work`; out of memory in any process, again in twice as many parts in all of them."""
        while True:
            done = _unless_out_of_memory(work)
            if not self._team.any(done is None) and done is not None:
                return done
            if self._parts == self._batch:
                raise VsrError(
                    f"{self._setting.device}: out of memory with one picture of a batch; "
                    "give a smaller data.crop or generator"
                )
            self._parts = _divisor(self._batch, 2 * self._parts)
            if self._setting.device.type == "cuda":
                torch.cuda.empty_cache()

    def _seed(self, step: int, use: int) -> int:
        """Of randomness that belongs to one step of one stage in one process."""
        path = [self._setting.seed, self._setting.stage_number, step, use, self._team.rank]
        return int(np.random.SeedSequence(path, spawn_key=(2,)).generate_state(1)[0])


def _forward_of(net: Trainable, setting: Setting) -> Callable[[Tensor], Tensor]:
    """How the network is run in training. Raises ConfigError for what does not go together."""
    if setting.is_checkpointed and setting.is_compiled:
        raise ConfigError("generator.checkpointing: does not go with --compile; leave one of them out")
    if setting.is_checkpointed:
        return checkpointed(net)
    return torch.compile(net) if setting.is_compiled else net


def _unless_out_of_memory(work: Callable[[], T]) -> T | None:
    """None when there was not enough; nothing holds what `work` had made by then."""
    try:
        return work()
    except (torch.OutOfMemoryError, RuntimeError) as e:
        if not is_out_of_memory(e):
            raise
        return None


def _divisor(batch: int, least: int) -> int:
    """The smallest divisor of a batch that is at least so much; all of it when there is none."""
    return next((n for n in range(max(1, least), batch) if batch % n == 0), batch)


@contextmanager
def _frozen(judge: nn.Module | None) -> Iterator[None]:
    """Gradients pass through the judge to its input, and leave no trace in it: neither gradients nor statistics."""
    if judge is None:
        yield
        return
    judge.requires_grad_(False)
    try:
        with statistics_kept(judge):
            yield
    finally:
        judge.requires_grad_(True)


def _on_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}


def _tensors(state: object) -> dict:
    assert isinstance(state, dict)
    return state
