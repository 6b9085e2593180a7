"""From what the user asked for to a run: settings, checks, folder, then the trainer."""

import json
import platform
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from vsr.degradation import Degradation
from vsr.errors import ConfigError
from vsr.events import Event, NoteEvent
from vsr.metrics.lpips import Lpips
from vsr.metrics.weights import find_weights
from vsr.models.catalog import PUBLISHED
from vsr.models.checkpoint import load_model
from vsr.models.store import AbsentModelError, find, look_up
from vsr.places import models_folder
from vsr.preset import load_training
from vsr.stage import Cancel
from vsr.train.config_file import as_toml, first_difference
from vsr.train.plots import plots_possible
from vsr.train.prepare import DIGEST_LENGTH, Order, Plan, load_perceptual, new_generator, prepare, take_over, untrained
from vsr.train.run_folder import RunFolder, State, load_state
from vsr.train.schedule import Lengths, moving_groups
from vsr.train.stage_parts import new_judge
from vsr.train.store import shared_bytes
from vsr.train.team import Team
from vsr.train.trainer import Tell, Trainer
from vsr.training import Length, Training, shrunk_for_smoke

_FACTS = {  # as people call them
    "files": "another number of files",
    "data": "other files, or in another place",
    "validation": "other files to judge by",
    "device": "another device",
    "perceptual": "other perceptual weights",
    "compiled": "another --compile",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run that can begin or go on."""

    plan: Plan
    folder: RunFolder
    settings: tuple[Training, Degradation]
    beginning: State | None = None  # of another run, or weights alone


def read_settings(
    preset: str, overrides: Sequence[str], *, stages: Sequence[str] = (), is_smoke: bool = False
) -> tuple[Training, Degradation]:
    """The settings of a run: a preset, what is set besides, which of its stages, shrunk for a trial or not.

    What is set besides is not shrunk. Raises ConfigError.
    """
    training, degradation = load_training(preset, overrides)
    if is_smoke:
        training = shrunk_for_smoke(training)
        if overrides:
            training = _set_again(training, degradation, overrides)
    if stages:
        unknown = [name for name in stages if name not in [stage.name for stage in training.stages]]
        if unknown:
            known = ", ".join(stage.name for stage in training.stages)
            raise ConfigError(f"stage '{unknown[0]}' is unknown; {preset} has {known}")
        training = replace(training, stages=tuple(stage for stage in training.stages if stage.name in stages))
    return training, degradation


def _set_again(training: Training, degradation: Degradation, overrides: Sequence[str]) -> Training:
    """The settings with `overrides` once more written into them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "smoke.toml"
        path.write_text(as_toml(training, degradation), encoding="utf-8")
        return load_training(str(path), overrides)[0]


def plan_run(
    settings: tuple[Training, Degradation],
    order: Order,
    *,
    out: Path,
    start: str = "",
    team: Team | None = None,
    tell: Callable[[Event], None] | None = None,
    cancel: Cancel | None = None,
) -> Run:
    """Decide everything before step 1. `start` is another run's folder, a state of it as RUN/best, or a weights file.

    A folder in which a run has begun goes on: its settings and files must be the same. Raises ConfigError, naming the
    first difference, when they are not.
    """
    folder = RunFolder(out)
    plan = prepare(*settings, order, team=team or Team(), out=out)
    if not folder.has_begun and not start:
        told = tell if team is None or team.is_first else None
        notes = _fetch_beginning(plan.training.generator.init, order, tell=told, cancel=cancel)
        plan = replace(plan, notes=(*plan.notes, *notes))
    resolved = (plan.training, settings[1])
    if not folder.has_begun and folder.model.is_file():
        raise ConfigError(f"{out}: holds weights, but no states/last.pt to go on from; choose another --out")
    beginning = _beginning(start) if start and not folder.has_begun else None
    _check_networks(plan, beginning, start, has_begun=folder.has_begun)
    if folder.has_begun:
        begun, damage = load_training(str(folder.config))
        difference = first_difference((_comparable(begun), damage), (_comparable(plan.training), settings[1]))
        if difference:
            raise ConfigError(
                f"{out}: was begun with other settings: {difference}; give --from {out} and another --out"
            )
        plan = _as_begun(folder, plan)
    return Run(plan=plan, folder=folder, settings=resolved, beginning=beginning)


def train(
    run: Run,
    *,
    tell: Tell,
    cancel: Cancel,
    team: Team | None = None,
    metric_weights: Sequence[Path] = (),
    exports: Sequence[str] = (),
) -> Path:
    """Carry a run out; gives the weights file. Raises Cancelled when told to stop, VsrError when it cannot go on."""
    team = team or Team()
    lpips = _lpips(metric_weights, run.plan.device)
    room = replace(run.plan.room, pairs=team.as_first(run.plan.room.pairs))
    run = replace(run, plan=replace(run.plan, room=room))
    with run.folder.held() if team.is_first else nullcontext():
        trainer = Trainer(run.plan, run.folder, team, tell, cancel, lpips=lpips)
        if not run.folder.has_begun and team.is_first:
            own = {"threads": run.plan.threads, "pairs": room.pairs}
            versions = {"torch": torch.__version__, "python": platform.python_version()}
            run.folder.write_text(run.folder.facts, json.dumps({**run.plan.facts, **own, **versions}, indent=1))
            run.folder.write_text(run.folder.config, as_toml(*run.settings))
        if run.plan.problems and team.is_first:
            run.folder.write_text(run.folder.path / "problems.txt", "\n".join(run.plan.problems) + "\n")
        team.wait()
        if not plots_possible() and team.is_first:
            tell(NoteEvent(message="no curves are drawn: matplotlib is missing; install vsr[train]"))
        trainer.run(run.beginning)
        if "pth" in exports and team.is_first:
            export_pth(run.folder)
    return run.folder.model


def export_pth(folder: RunFolder) -> Path:
    """Write model.pth with `params` and `params_ema`, as Real-ESRGAN's own tools read them."""
    learner = load_state(folder.state("last"))["learner"]
    assert isinstance(learner, dict)
    path = folder.path / "model.pth"
    both = {"params": learner["net"], "params_ema": learner["averaged"] or learner["net"]}
    folder.write(path, lambda part: torch.save(both, part))
    return path


def _fetch_beginning(
    init: str, order: Order, *, tell: Callable[[Event], None] | None, cancel: Cancel | None
) -> list[str]:
    """Have the published weights at hand that training begins with; gives what to say where they are not."""
    if init not in PUBLISHED:
        return []
    if order.is_trial and not order.is_offline:
        entry = look_up(init)
        is_absent = entry is not None and entry.state == "available"
        return [f"init = {init}: is not here; a run fetches it from {PUBLISHED[init].url}"] if is_absent else []
    try:
        find(init, offline=order.is_offline, tell=tell, cancel=cancel)
    except AbsentModelError as e:
        return [f"init: {e}; without it training begins from scratch"]
    return []


def _check_networks(plan: Plan, beginning: State | None, start: str, *, has_begun: bool) -> None:
    """Make every network once, before anything is written. Raises ConfigError or ModelError, one line."""
    training = plan.training
    net = untrained(training) if has_begun or start else new_generator(training)[0]
    if beginning is not None:
        learned = beginning["learner"]
        assert isinstance(learned, dict)
        take_over(net, learned["averaged"] or learned["net"], start)
    names = [name for name, _ in net.named_parameters()]
    for index, stage in enumerate(training.stages):
        moving_groups(names, stage, Lengths.of(stage, files=len(plan.materials)), 0)
        new_judge(training, index)
    if plan.perceptual is not None:
        load_perceptual(plan.perceptual, next(s.losses for s in training.stages if s.losses.perceptual))


def _as_begun(folder: RunFolder, plan: Plan) -> Plan:
    """The plan with the threads and pairs of the begun run. Raises ConfigError when that was made of something else."""
    if not folder.facts.is_file():
        return plan
    try:
        before = json.loads(folder.facts.read_text(encoding="utf-8"))
        threads = max(1, int(before.get("threads", plan.threads)))
        pairs = max(1, int(before.get("pairs", plan.room.pairs)))
    except (OSError, ValueError, TypeError, AttributeError) as e:
        raise ConfigError(f"{folder.facts}: cannot be read; remove it to go on, with nothing compared") from e
    for name, value in plan.facts.items():
        if before.get(name) != value:
            raise ConfigError(
                f"{folder.path}: was begun with {_FACTS[name]}{_both(before.get(name), value)}; "
                f"use what it was begun with, or --from {folder.path} and another --out"
            )
    needed, free = pairs * plan.room.pair, plan.room.free_memory
    if pairs > plan.room.pairs and needed > free:
        raise ConfigError(
            f"{folder.path}: was begun with {pairs:,} pairs in memory, which take {needed >> 20} MB of {free >> 20} MB "
            f"free; make memory free, or --from {folder.path} and another --out"
        )
    notes = list(plan.notes)
    if before.get("torch") != torch.__version__:
        notes.append(f"begun with torch {before.get('torch')}: from here on not bit for bit what that would have given")
    return replace(plan, threads=threads, room=replace(plan.room, pairs=pairs), notes=tuple(notes))


def _both(before: object, now: object) -> str:
    """The values, where they tell people something."""
    return (
        ""
        if isinstance(now, str) and len(now) == DIGEST_LENGTH
        else f": {before or 'none'} there, {now or 'none'} here"
    )


def _comparable(training: Training) -> Training:
    """Without what a run may change when it goes on: none of it changes a weight."""
    return replace(training, save_every=0, keep=0, licence="", trained_on="", data=replace(training.data, workers=None))


def _beginning(start: str) -> State:
    """The state of another run to begin from. Raises ConfigError when there is none."""
    path = Path(start)
    for state in (RunFolder(path).state("last"), RunFolder(path.parent).state(path.name)):
        if state.is_file():
            return load_state(state)
    if path.is_file():
        net = load_model(path)[0].state_dict()
        return {"learner": {"net": net, "averaged": None, "optimizer": None, "judge": None, "judge_optimizer": None}}
    raise ConfigError(f"{start}: neither a run's folder nor a weights file; give RUN, RUN/best or a .safetensors")


def _lpips(given: Sequence[Path], device: torch.device) -> Lpips | None:
    """LPIPS where its weights are at hand."""
    found = find_weights(given, models_folder())
    if found.squeeze is None or found.lpips is None:
        return None
    return Lpips.load(found.squeeze, found.lpips).to(device)


def described(run: Run) -> dict[str, str]:
    """What was found and what it takes, for people, by what it is about."""
    plan, training = run.plan, run.plan.training
    net = untrained(training)
    stages = [f"{stage.name} {_length(stage.length)}" for stage in training.stages]
    kind, decoded = str(plan.dtype).removeprefix("torch."), plan.decoded_bytes
    is_kept = decoded <= min(plan.room.free_memory, shared_bytes()) // 2
    memory = [
        f"{_megabytes(plan.room.pairs * plan.room.pair)} of pairs",
        f"{_megabytes(decoded)} of pictures" if is_kept else "pictures read when needed",
        f"{_megabytes(plan.room.state)} of weights and moments",
    ]
    rows = {
        "folder": f"{run.folder.path}, {'goes on' if run.folder.has_begun else 'new'}",
        "network": f"{training.generator.arch} x{training.scale}, {sum(p.numel() for p in net.parameters()):,} weights",
        "stages": ", then ".join(stages),
        "data": f"{_count(len(plan.materials), 'file')}, judged by {len(plan.val)}, {len(plan.problems)} left out",
        "device": f"{plan.device}: {plan.why_device}" if plan.why_device else str(plan.device),
        "computing": f"{kind}, {_count(plan.threads, 'thread')}, {_count(plan.workers, 'worker')}",
        "memory": f"{', '.join(memory)}, and what a batch takes; {_megabytes(plan.room.free_memory)} free",
        "disk": f"{_megabytes(plan.room.states)} of states; {_megabytes(plan.room.free_disk)} free",
    }
    if plan.perceptual is not None:
        rows["perceptual"] = str(plan.perceptual)
    return rows


def _length(length: Length) -> str:
    return f"{length:,} steps" if isinstance(length, int) else length


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _megabytes(count: int) -> str:
    return f"{max(1, round(count / (1 << 20))):,} MB" if count else "0 MB"
