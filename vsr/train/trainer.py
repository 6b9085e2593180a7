"""One training run in one folder: its stages, one after the other, from the beginning or from where it stopped."""

import copy
import math
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from vsr.errors import Cancelled, ConfigError, VsrError
from vsr.events import NoteEvent, TrainEvent, ValidationEvent
from vsr.metrics.lpips import Lpips
from vsr.models.checkpoint import save_model
from vsr.models.network import Trainable, describe
from vsr.stage import Cancel
from vsr.train.ahead import BatchesAhead
from vsr.train.learner import Learner, Terms
from vsr.train.material import stored
from vsr.train.meter import Meter
from vsr.train.plots import draw_plots
from vsr.train.prepare import Plan, new_generator, take_over, untrained
from vsr.train.run_folder import RunFolder, State, load_state
from vsr.train.schedule import Lengths
from vsr.train.stage_parts import for_any_size, judged_by, new_learner, new_pool
from vsr.train.team import Team
from vsr.train.validate import Pair, Validated, sample_sheet, validate
from vsr.training import HIGHER_IS_BETTER, Stage, steps_of

Tell = Callable[[NoteEvent | TrainEvent | ValidationEvent], None]

LOG_EVERY = 20  # steps
TELL_EVERY = 5  # steps
PLOT_SECONDS = 60  # between two drawings of the curves at least, for they take seconds
DRIFT_CODES = 3.0  # of colour, beyond which a run warns


class Trainer:
    """Runs `plan` in `folder`. Broken off and run again, it gives on a CPU what it would have given unbroken.

    In a team every process runs one, and all see the same folder. The first judges, and what it logs is of its share.
    """

    def __init__(
        self, plan: Plan, folder: RunFolder, team: Team, tell: Tell, cancel: Cancel, *, lpips: Lpips | None = None
    ) -> None:
        self._plan, self._folder, self._team, self._cancel = plan, folder, team, cancel
        self._tell: Tell = tell if team.is_first else lambda _: None
        self._lpips = lpips
        training = plan.training
        if training.validation.best == "lpips" and lpips is None:
            raise ConfigError("validation.best = lpips: its weights are missing; give --metric-weights")
        for stage in training.stages:
            team.share_of(stage.batch, f"stages.{stage.name}.batch")
        self._lengths = [Lengths.of(stage, files=len(plan.materials)) for stage in training.stages]
        self._starts = [0, *accumulate(lengths.stage for lengths in self._lengths)]
        self._materials, store = stored(plan.materials)
        for why in store.damaged.values():
            self._tell(NoteEvent(message=f"left out: {why}"))
        self._pairs: list[Pair] = []
        self._best: float | None = None
        self._worse = self._skips = self._rollbacks = 0
        self._is_off_colour = False
        self._meter = Meter()
        self._next_plots = time.monotonic() + PLOT_SECONDS

    def run(self, beginning: State | None = None) -> None:
        """Train to the end of the last stage, from the last state if there is one, else from that of another run.

        Raises Cancelled when told to stop; then all is saved.
        """
        torch.set_num_threads(self._plan.threads)
        begun = self._folder.state("last")
        if self._team.any(begun.is_file()) and not self._team.all(begun.is_file()):
            raise ConfigError(f"{self._folder.path}: not all processes see the same; give a folder that they share")
        state = load_state(begun) if begun.is_file() else None
        is_new = state is None and beginning is None
        net, note = new_generator(self._plan.training) if is_new else (untrained(self._plan.training), "")
        self._tell_if(note)
        first = 0 if state is None else int(str(state["stage"]))
        if state is None and self._team.is_first:
            self._folder.keep_rows(0)  # of a run that was killed before it had a state
        if state is None and beginning is not None:
            self._tell_if(self._take_over(net, beginning))
        for index in range(first, len(self._plan.training.stages)):
            net = self._run_stage(index, net, state, beginning if state is None else None)
            state = beginning = None
        self._export(net, self._folder.model)

    def _run_stage(self, index: int, net: Trainable, state: State | None, beginning: State | None) -> Trainable:
        """Train one stage, from its beginning or from `state`; gives the network with the averaged weights."""
        stage, lengths = self._plan.training.stages[index], self._lengths[index]
        learner = self._learner(index, net)
        step = 0
        self._best, self._worse, self._skips, self._meter = None, 0, 0, Meter()
        if state is not None:
            step = self._go_on(learner, state)
        elif beginning is not None and isinstance(learned := beginning["learner"], dict):
            learner.adopt(learned)
        self._pairs = judged_by(self._plan, index) if self._team.is_first else []
        # one of several processes must not leave alone: they ask one another between steps
        check = self._cancel.check if self._team.size == 1 else _nothing
        with new_pool(self._plan, index, self._materials, self._team, check) as pool:
            if state is None:
                self._judge(index, 0, learner)
                self._save(index, 0, learner)
            while step < lengths.stage and not self._has_stalled():
                try:
                    if self._team.any(self._cancel.is_set):
                        raise Cancelled
                    step = self._one_step(index, step, learner, pool)
                except Cancelled as e:  # here, or while waiting for samples
                    self._save(index, step, learner)
                    raise Cancelled("stopped; the same command continues") from e
                if self._is_due(step, stage, self._plan.training.validation.every) or step == lengths.stage:
                    self._judge(index, step, learner)
                is_last = step == lengths.stage or self._has_stalled()
                if self._is_due(step, stage, self._plan.training.save_every) or is_last:
                    self._save(index, step, learner)
        if step < lengths.stage:
            self._tell(NoteEvent(message=f"{stage.name}: no better figure for long; the stage ends here"))
        if self._team.is_first:
            self._folder.save_state(stage.name, self._state(index, step, learner))
        return copy.deepcopy(learner.averaged).requires_grad_(True)

    def _one_step(self, index: int, step: int, learner: Learner, pool: BatchesAhead) -> int:
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
            name = "bad_batch.pt" if self._team.is_first else f"bad_batch_{self._team.rank}.pt"
            path = self._folder.states / name
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

    def _learner(self, index: int, net: Trainable) -> Learner:
        learner, note = new_learner(self._plan, index, net, self._lengths[index], self._team)
        self._tell_if(note)
        return learner

    def _take_over(self, net: Trainable, beginning: State) -> str:
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
        learner.share_statistics()
        if self._team.is_first:
            found = self._measured(index, learner)
            is_best = self._is_best(found)
            self._best = found.figures[self._plan.training.validation.best] if is_best else self._best
            self._worse = 0 if is_best else self._worse + 1
            if is_best:
                self._folder.save_state("best", self._state(index, step, learner))
                self._export(learner.averaged, self._folder.best_model)
            self._show(index, step, found, is_best=is_best)
        self._worse = self._team.as_first(self._worse)  # the others wait here

    def _measured(self, index: int, learner: Learner) -> Validated:
        net, was_training = learner.averaged, learner.averaged.training
        net.eval()
        try:
            return validate(
                for_any_size(net),
                self._pairs,
                scale=self._plan.training.scale,
                loss=learner.loss,
                lpips=self._lpips,
                sharpen_truth=self._plan.degradations[index].sharpen,
                device=self._plan.device,
            )
        finally:
            net.train(was_training)

    def _is_best(self, found: Validated) -> bool:
        name = self._plan.training.validation.best
        sign = 1 if HIGHER_IS_BETTER[name] else -1
        figure = found.figures[name]
        return math.isfinite(figure) and (self._best is None or sign * figure > sign * self._best)

    def _show(self, index: int, step: int, found: Validated, *, is_best: bool) -> None:
        """Tell, log and draw what a validation found."""
        at, name = self._starts[index] + step, self._plan.training.stages[index].name
        self._folder.append([{"kind": "val", "step": at, "stage": name, **found.figures, "best": is_best}])
        self._tell(ValidationEvent(stage=name, step=at, figures=found.figures, is_best=is_best))
        was_off, drift = self._is_off_colour, found.figures["colour_drift"]
        self._is_off_colour = step > 0 and drift > DRIFT_CODES  # before the first step nothing has been learned
        if self._is_off_colour and not was_off:
            self._tell(NoteEvent(message=f"step {at}: colours are off by {drift:.1f} codes"))
        sheet = self._folder.samples / f"{at:07}.webp"
        sample_sheet(sheet, self._pairs, found.results, scale=self._plan.training.scale)
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
        learner.share_statistics()
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

    def _export(self, net: Trainable, path: Path) -> None:
        if not self._team.is_first:
            return
        training = self._plan.training
        trained_on = training.trained_on or f"{len(self._plan.materials)} files"
        spec = describe(net, name=self._folder.path.name, licence=training.licence, trained_on=trained_on)
        save_model(net, spec, path)


def _nothing() -> None: ...
