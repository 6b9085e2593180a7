"""One training run in one folder: its stages, one after the other, from the beginning or from where it stopped."""

import copy
import functools
import math
import time
from collections.abc import Callable, Generator
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor, nn

from vsr.errors import Cancelled, VsrError
from vsr.events import NoteEvent, TrainEvent, ValidationEvent
from vsr.metrics.lpips import Lpips
from vsr.models.checkpoint import save_model
from vsr.models.network import Network, describe
from vsr.stage import Cancel
from vsr.train.discriminators import build_discriminator, initialise
from vsr.train.draw import sample_generator
from vsr.train.learner import Learner, Setting, Terms
from vsr.train.material import stored
from vsr.train.meter import Meter
from vsr.train.plots import draw_plots
from vsr.train.pool import PairPool
from vsr.train.prepare import Plan, load_perceptual, new_generator, side_of, take_over, type_of
from vsr.train.run_folder import RunFolder, State, load_state
from vsr.train.samples import Recipe, Sample, samples
from vsr.train.schedule import Lengths
from vsr.train.team import Team
from vsr.train.validate import Pair, sample_sheet, validate, validation_pairs
from vsr.training import HIGHER_IS_BETTER, Stage, steps_of

Tell = Callable[[NoteEvent | TrainEvent | ValidationEvent], None]

LOG_EVERY = 20  # steps
TELL_EVERY = 5  # steps
PLOT_SECONDS = 60  # between two drawings of the curves at least, for they take seconds
DRIFT_CODES = 3.0  # of colour, beyond which a run warns


class Trainer:
    """Runs `plan` in `folder`. Broken off and run again, it gives on a CPU what it would have given unbroken."""

    def __init__(
        self, plan: Plan, folder: RunFolder, team: Team, tell: Tell, cancel: Cancel, *, lpips: Lpips | None = None
    ) -> None:
        self._plan, self._folder, self._team, self._cancel = plan, folder, team, cancel
        self._tell: Tell = tell if team.is_first else lambda _: None
        self._lpips = lpips
        training = plan.training
        self._lengths = [Lengths.of(stage, files=len(plan.materials)) for stage in training.stages]
        self._starts = [0, *accumulate(lengths.stage for lengths in self._lengths)]
        self._materials, store = stored(plan.materials)
        for why in store.damaged.values():
            self._tell(NoteEvent(message=f"left out: {why}"))
        self._pairs: list[Pair] = []
        self._best: float | None = None
        self._worse = self._skips = self._rollbacks = 0
        self._meter = Meter()
        self._next_plots = time.monotonic() + PLOT_SECONDS

    def run(self, beginning: State | None = None) -> None:
        """Train to the end of the last stage, from the last state if there is one, else from that of another run.

        Raises Cancelled when told to stop; then all is saved.
        """
        torch.set_num_threads(self._plan.threads)
        net, note = new_generator(self._plan.training)
        self._tell_if(note)
        begun = self._folder.state("last")
        state = load_state(begun) if begun.is_file() else None
        first = 0 if state is None else int(str(state["stage"]))
        if state is None and self._team.is_first:
            self._folder.keep_rows(0)  # of a run that was killed before it had a state
        if state is None and beginning is not None:
            self._tell_if(self._take_over(net, beginning))
        for index in range(first, len(self._plan.training.stages)):
            net = self._run_stage(index, net, state, beginning if state is None else None)
            state = beginning = None
        self._export(net, self._folder.model)

    def _run_stage(self, index: int, net: Network, state: State | None, beginning: State | None) -> Network:
        """Train one stage, from its beginning or from `state`; gives the network with the averaged weights."""
        stage, lengths = self._plan.training.stages[index], self._lengths[index]
        learner = self._learner(index, net)
        step = 0
        self._best, self._worse, self._skips, self._meter = None, 0, 0, Meter()
        if state is not None:
            step = self._go_on(learner, state)
        elif beginning is not None and isinstance(learned := beginning["learner"], dict):
            learner.adopt(learned)
        self._pairs = self._validation_pairs(index)
        with self._pool(index) as pool:
            if state is None:
                self._judge(index, 0, learner)
            while step < lengths.stage:
                if self._cancel.is_set:
                    self._save(index, step, learner)
                    raise Cancelled("stopped; the same command continues")
                step = self._one_step(index, step, learner, pool)
                if self._is_due(step, stage, self._plan.training.validation.every) or step == lengths.stage:
                    self._judge(index, step, learner)
                if self._is_due(step, stage, self._plan.training.save_every) or step == lengths.stage:
                    self._save(index, step, learner)
                if self._has_stalled():
                    self._tell(NoteEvent(message=f"{stage.name}: no better figure for long; the stage ends here"))
                    break
        if self._team.is_first:
            self._folder.save_state(stage.name, self._state(index, step, learner))
        return copy.deepcopy(learner.averaged).requires_grad_(True)

    def _one_step(self, index: int, step: int, learner: Learner, pool: PairPool) -> int:
        """Learn once; gives the number of steps done after it, which is less after a return to an earlier state."""
        training, stage = self._plan.training, self._plan.training.stages[index]
        waited = pool.waited_s
        low, truth = pool.batch_at(step)
        self._meter.wait(pool.waited_s - waited)
        terms = learner.step(step, low, truth)
        if terms is None:
            self._skips += 1
            self._meter.add({"skipped": 1.0}, images=0)
            if self._skips >= training.max_skips:
                return self._roll_back(index, step, learner, (low, truth))
        else:
            self._skips = 0
            self._meter.add(terms, images=len(low) * self._team.size)
        step += 1
        if step % TELL_EVERY == 0 or step == self._lengths[index].stage:
            self._tell_progress(index, step, terms)
        if step % LOG_EVERY == 0 or step == self._lengths[index].stage:
            self._log_steps(index, step, stage, learner)
        return step

    def _roll_back(self, index: int, step: int, learner: Learner, batch: tuple[Tensor, Tensor]) -> int:
        """Back to the last state at half the rate, or the end. Raises VsrError, the batch saved, after too many."""
        last = self._folder.state("last")
        state = load_state(last) if last.is_file() else None
        self._rollbacks += 1
        if state is None or state["stage"] != index or self._rollbacks > self._plan.training.max_rollbacks:
            path = self._folder.states / "bad_batch.pt"
            self._folder.write(path, lambda part: torch.save({"low": batch[0], "truth": batch[1]}, part))
            raise VsrError(
                f"{self._folder.path}: loss or gradient is not finite, {self._skips} steps in a row at step {step}; "
                f"the batch is in {path}; begin again with a lower optimizer.lr or precision fp32"
            )
        factor = learner.rate_factor / 2
        step = self._go_on(learner, state)
        learner.rate_factor, self._skips = factor, 0
        self._tell(
            NoteEvent(message=f"not finite: back to step {self._starts[index] + step}, the rate times {factor:g}")
        )
        return step

    # what a stage is made of

    def _learner(self, index: int, net: Network) -> Learner:
        plan, stage = self._plan, self._plan.training.stages[index]
        perceptual = None
        if stage.losses.perceptual and plan.perceptual is not None:
            perceptual, note = load_perceptual(plan.perceptual, stage.losses)
            perceptual = perceptual.to(plan.device)
            self._tell_if(note)
        setting = Setting(
            device=plan.device,
            dtype=type_of(stage.precision, plan),
            sharpen=plan.degradations[index].sharpen,
            seed=plan.training.seed,
            stage_number=index,
            perceptual=perceptual,
            is_compiled=plan.is_compiled,
        )
        return Learner(net, self._new_judge(index), stage, self._lengths[index], setting, self._team)

    def _new_judge(self, index: int) -> nn.Module | None:
        stage = self._plan.training.stages[index]
        wanted = stage.discriminator
        if wanted is None:
            return None
        crop = stage.crop or self._plan.training.data.crop
        input_px = None if wanted.pooled else crop
        judge = build_discriminator(
            wanted.kind, num_feat=wanted.num_feat, input_px=input_px, dropout=wanted.dropout
        )
        initialise(judge, sample_generator(self._plan.training.seed, 2 + index))
        return judge

    def _pool(self, index: int) -> PairPool:
        plan, stage, data = self._plan, self._plan.training.stages[index], self._plan.training.data
        settings = plan.degradations[index]
        recipe = Recipe(
            materials=self._materials,
            settings=settings,
            scale=plan.training.scale,
            side=side_of(plan.training),
            seed=1000 * plan.training.seed + index,
        )
        capacity = max(stage.batch, data.pool // settings.frames * settings.frames)
        return PairPool(
            functools.partial(_stream, recipe, plan.workers),
            capacity=capacity,
            refresh=min(stage.batch / data.reuse, capacity) / settings.frames,
            crop=stage.crop or data.crop,
            scale=plan.training.scale,
            batch=stage.batch,
            seed=1000 * plan.training.seed + index,
            frames=settings.frames,
            flips=data.flips,
            rotations=data.rotations,
            jitter=data.jitter,
        )

    def _validation_pairs(self, index: int) -> list[Pair]:
        training = self._plan.training
        return validation_pairs(
            self._plan.val,
            self._plan.degradations[index],
            scale=training.scale,
            crop=training.validation.crop,
            count=training.validation.pictures,
            seed=training.seed,
            lows=self._plan.val_lows,
        )

    def _take_over(self, net: Network, beginning: State) -> str:
        """Begin with another run's averaged weights."""
        learned = beginning["learner"]
        assert isinstance(learned, dict)
        return take_over(net, learned["averaged"] or learned["net"], "--from")

    # what is kept and told

    def _is_due(self, step: int, stage: Stage, every: int | str) -> bool:
        steps = steps_of(every, max(1, round(len(self._plan.materials) / stage.batch)))
        return steps > 0 and step % steps == 0

    def _judge(self, index: int, step: int, learner: Learner) -> None:
        """Measure the averaged network, keep it if it is the best, show what it makes of the fixed pictures."""
        if not self._team.is_first:
            return
        plan, stage = self._plan, self._plan.training.stages[index]
        learner.averaged.eval()
        try:
            found = validate(
                learner.averaged,
                self._pairs,
                scale=plan.training.scale,
                loss=learner.loss,
                lpips=self._lpips,
                sharpen_truth=plan.degradations[index].sharpen,
                device=plan.device,
            )
        finally:
            learner.averaged.train()
        at = self._starts[index] + step
        figure = found.figures[plan.training.validation.best]
        sign = 1 if HIGHER_IS_BETTER[plan.training.validation.best] else -1
        is_best = math.isfinite(figure) and (self._best is None or sign * figure > sign * self._best)
        if is_best:
            self._best, self._worse = figure, 0
            self._folder.save_state("best", self._state(index, step, learner))
            self._export(learner.averaged, self._folder.best_model)
        else:
            self._worse += 1
        self._folder.append([{"kind": "val", "step": at, "stage": stage.name, **found.figures, "best": is_best}])
        self._tell(ValidationEvent(stage=stage.name, step=at, figures=found.figures, is_best=is_best))
        if found.figures["colour_drift"] > DRIFT_CODES:
            self._tell(NoteEvent(message=f"step {at}: colours are off by {found.figures['colour_drift']:.1f} codes"))
        sample_sheet(self._folder.samples / f"{at:07}.webp", self._pairs, found.results, scale=plan.training.scale)
        if step == self._lengths[index].stage or time.monotonic() >= self._next_plots:
            draw_plots(self._folder.rows(), self._folder.plots)
            self._next_plots = time.monotonic() + PLOT_SECONDS

    def _tell_if(self, note: str) -> None:
        if note:
            self._tell(NoteEvent(message=note))

    def _has_stalled(self) -> bool:
        patience = self._plan.training.validation.patience
        return patience > 0 and self._worse >= patience

    def _log_steps(self, index: int, step: int, stage: Stage, learner: Learner) -> None:
        if self._team.is_first:
            row = {
                "kind": "train",
                "step": self._starts[index] + step,
                "stage": stage.name,
                "lr": learner.rate(step - 1),
            }
            speed = {"images_per_s": self._meter.images_per_s, "waiting": self._meter.waiting}
            self._folder.append([{**row, **self._meter.means(), **speed}])
        self._meter = Meter()

    def _tell_progress(self, index: int, step: int, terms: Terms | None) -> None:
        self._tell(
            TrainEvent(
                stage=self._plan.training.stages[index].name,
                step=self._starts[index] + step,
                steps=self._starts[-1],
                images_per_s=self._meter.images_per_s,
                waiting=self._meter.waiting,
                loss=float("nan") if terms is None else terms["loss_g"],
            )
        )

    def _state(self, index: int, step: int, learner: Learner) -> State:
        return {
            "stage": index,
            "step": step,
            "learner": learner.state(),
            "best": self._best,
            "worse": self._worse,
            "skips": self._skips,
            "rollbacks": self._rollbacks,
            "meter": self._meter.state(),
            "rows": len(self._folder.rows()),
        }

    def _go_on(self, learner: Learner, state: State) -> int:
        """Take up a state of this stage; gives the steps it has behind it."""
        step, learned, meter = int(str(state["step"])), state["learner"], state["meter"]
        assert isinstance(learned, dict)
        assert isinstance(meter, dict)
        learner.load(learned, step)
        best = state["best"]
        self._best = None if best is None else float(str(best))
        self._worse, self._skips = int(str(state["worse"])), int(str(state["skips"]))
        self._rollbacks = max(self._rollbacks, int(str(state["rollbacks"])))
        self._meter = Meter()
        self._meter.load(meter)
        if self._team.is_first:
            self._folder.keep_rows(int(str(state["rows"])))
        return step

    def _save(self, index: int, step: int, learner: Learner) -> None:
        if self._team.is_first:
            state = self._state(index, step, learner)
            self._folder.save_state("last", state)
            if keep := self._plan.training.keep:
                self._folder.save_state(f"{self._starts[index] + step:07}", state)
                numbered = sorted(p for p in self._folder.states.glob("*.pt") if p.stem.isdecimal())
                for old in numbered[:-keep]:
                    old.unlink()
            self._export(learner.averaged, self._folder.model)
        self._team.wait()

    def _export(self, net: Network, path: Path) -> None:
        if not self._team.is_first:
            return
        training = self._plan.training
        trained_on = training.trained_on or f"{len(self._plan.materials)} files"
        spec = describe(net, name=self._folder.path.name, licence=training.licence, trained_on=trained_on)
        save_model(net, spec, path)


def _stream(recipe: Recipe, workers: int, first: int) -> Generator[Sample, None, None]:
    return samples(recipe, first=first, workers=workers)
