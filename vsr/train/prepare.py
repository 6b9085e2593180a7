"""All that is decided before step 1: what there is to train on, where, in which type, and whether it will fit."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from vsr.degradation import Degradation
from vsr.engine.tune import available_cores, choose_device, fast_types
from vsr.errors import ConfigError, MediaError, ModelError
from vsr.models.build import build, initialise
from vsr.models.checkpoint import load_model
from vsr.models.network import Trainable
from vsr.models.store import AbsentModelError, find
from vsr.preset import load_degradation
from vsr.train.draw import sample_generator
from vsr.train.material import Footage, Pair, Still
from vsr.train.perceptual import Perceptual
from vsr.train.scan import scan
from vsr.train.storage import check_codecs
from vsr.train.store import available_bytes, read_picture
from vsr.train.team import Team
from vsr.train.validate import held_back
from vsr.train.vgg_weights import URL, default_folders, download, find_perceptual_weights
from vsr.training import Losses, Precision, Stage, Training

TYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
DIGEST_LENGTH = 16
ADAM_COPIES = 4  # of a float32 weight in a state: itself, its average, two moments


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the user asked for, as given."""

    data: tuple[Path, ...] = ()
    paired: tuple[tuple[Path, Path], ...] = ()
    val: tuple[Path, ...] = ()
    vgg: Path | None = None
    device: str = "auto"
    is_compiled: bool = False
    is_smoke: bool = False
    is_trial: bool = False  # nothing is fetched or written
    is_offline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run that can begin. `notes` are for the user to read."""

    training: Training
    degradations: tuple[Degradation, ...]  # of each stage
    materials: tuple[Still | Footage | Pair, ...]
    val: tuple[Path, ...]
    val_lows: dict[Path, Path]  # given small pictures of some of these
    decoded_bytes: int
    device: torch.device
    why_device: str
    dtype: torch.dtype  # where a stage leaves it open
    workers: int
    threads: int
    perceptual: Path | None
    is_compiled: bool
    room: "Room"
    problems: tuple[str, ...]  # files that are left out, and why
    notes: tuple[str, ...]

    @property
    def facts(self) -> dict[str, object]:
        """What makes a run besides its settings; a run goes on only where these are the same."""
        return {
            "files": len(self.materials),
            "data": _digest([str(_truth(m).absolute()) for m in self.materials]),
            "validation": _digest([str(path.absolute()) for path in self.val]),
            "device": self.device.type,
            "perceptual": "" if self.perceptual is None else self.perceptual.name,
            "compiled": self.is_compiled,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a run takes, about, in bytes."""

    pairs: int  # held in the pool, in number: as many as asked for, or as memory takes
    state: int  # one of them
    states: int  # all that its folder will hold at once
    pair: int  # of samples, in memory
    free_memory: int
    free_disk: int


def prepare(training: Training, degradation: Degradation, order: Order, *, team: Team, out: Path) -> Plan:
    """Look at everything. Raises ConfigError, one line, for what cannot work."""
    if not order.data and not order.paired:
        raise ConfigError("data: none given; give folders, pictures, clips or lists with --data")
    degradations = tuple(load_degradation(s.degrade) if s.degrade else degradation for s in training.stages)
    for one in degradations:
        check_codecs(one)
    side = side_of(training)
    found = scan(
        order.data,
        paired=order.paired,
        scale=training.scale,
        least_px=side,
        fraction=training.data.fraction,
        seed=training.seed,
        fit=training.data.fit,
    )
    materials, val, lows, notes, damaged = _divided(found.materials, order, training)
    device, why = choose_device(order.device) if team.device is None else (team.device, "this process's")
    workers = _own_cores() - 1 if training.data.workers is None else training.data.workers
    perceptual, lacking, said = _perceptual(training, order)
    room = _room(training, out)
    if room.pairs < training.data.pool:
        said.append(f"data.pool: {room.pairs:,} of {training.data.pool:,} pairs are held, for memory is short")
    return Plan(
        training=lacking or training,
        degradations=degradations,
        materials=materials,
        val=val,
        val_lows=lows,
        decoded_bytes=found.decoded_bytes,
        device=device,
        why_device=why,
        dtype=choose_type(device),
        workers=max(0, workers),
        threads=_threads(max(0, workers)),
        perceptual=perceptual,
        is_compiled=order.is_compiled,
        room=room,
        problems=(*found.problems, *damaged),
        notes=(*notes, *said),
    )


def side_of(training: Training) -> int:
    """Pixels of the truth that are damaged at once, enough for every stage."""
    crop = max(stage.crop or training.data.crop for stage in training.stages)
    return -(-(crop + training.data.margin) // training.scale) * training.scale


def _threads(workers: int) -> int:
    """What OMP_NUM_THREADS allows, where it is set; else the cores that no worker takes."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, int(asked) if asked.isdecimal() else _own_cores() - workers)


def _own_cores() -> int:
    """This process's part of the machine, which it may share with others of its team."""
    return max(1, available_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def choose_type(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it fast, for its range; else float32."""
    return torch.bfloat16 if torch.bfloat16 in fast_types(device) else torch.float32


def type_of(precision: Precision, plan: Plan) -> torch.dtype:
    """What a stage computes in."""
    return plan.dtype if precision == "auto" else TYPES[precision]


def untrained(training: Training) -> Trainable:
    """The network of a run with the weights that nothing has changed yet.

    Raises ConfigError when the settings fit no architecture.
    """
    wanted = training.generator
    net = build(
        wanted.arch,
        scale=training.scale,
        num_feat=wanted.num_feat,
        depth=wanted.depth,
        num_grow=wanted.num_grow,
        act=wanted.act,
        tanh=wanted.tanh,
        kernels=wanted.kernels,
    )
    initialise(net, sample_generator(training.seed, 1))
    return net


def new_generator(training: Training) -> tuple[Trainable, str]:
    """The network that a new run begins with, and a note on where its weights come from.

    Raises as `untrained` does, and ModelError when `init` is unknown, damaged or of another architecture.
    """
    net, init = untrained(training), training.generator.init
    if not init:
        return net, ""
    try:
        path = find(init, offline=True)  # `plan_run` has fetched what can be fetched
    except AbsentModelError:
        return net, f"init = {init}: not at hand; training begins from scratch"
    return net, take_over(net, load_model(path)[0].state_dict(), str(path))


def load_perceptual(path: Path, losses: Losses) -> tuple[Perceptual, str]:
    """The perceptual loss from a file, and a note when its own layers stand in for those asked for."""
    try:
        return Perceptual.load(path, layers=losses.layers or None, distance=losses.perceptual_distance), ""
    except ConfigError as e:
        return Perceptual.load(path, distance=losses.perceptual_distance), f"{e}; the file's usual layers are taken"


def take_over(net: Trainable, state: dict[str, torch.Tensor], source: str) -> str:
    """Copy what fits by name and shape; gives a note on what did not. Raises ModelError when less than half fits."""
    own = net.state_dict()
    fitting = {name: tensor for name, tensor in state.items() if name in own and own[name].shape == tensor.shape}
    missing = [name for name in own if name not in state]
    foreign = [name for name in state if name not in own]
    misshaped = [name for name in state if name in own and name not in fitting]
    said = "; ".join(
        f"{len(names)} {what} ({', '.join(names[:2])}{' …' if len(names) > 2 else ''})"
        for what, names in (("missing", missing), ("unknown", foreign), ("of another shape", misshaped))
        if names
    )
    if len(fitting) < len(own) / 2:
        raise ModelError(f"{source}: is of another architecture or size: {said}; change generator, or leave init out")
    net.load_state_dict({**own, **fitting})
    return f"{source}: {said}" if said else ""


def state_bytes(training: Training) -> int:
    """What a saved state takes, about."""
    net = untrained(training)
    own = 4 * ADAM_COPIES * sum(p.numel() for p in net.parameters())
    judges = [s.discriminator.num_feat for s in training.stages if s.discriminator]
    return own + (4 * 3 * 1100 * max(judges) ** 2 if judges else 0)


def _divided(
    materials: Sequence[Still | Footage | Pair], order: Order, training: Training
) -> tuple[tuple[Still | Footage | Pair, ...], tuple[Path, ...], dict[Path, Path], list[str], list[str]]:
    """What is trained on and what is judged on, notes on that, and why pictures to judge by were left out."""
    if order.val:
        found = scan(order.val, scale=training.scale, least_px=1)
        judged, damaged = _whole(found.materials)
        if not judged:
            raise ConfigError(f"--val: none of its pictures can be decoded; the first: {damaged[0]}")
        return tuple(materials), *_truths(judged), [], [*found.problems, *damaged]
    damaged: list[str] = []
    while True:  # until what is held back can be read
        kept = set(held_back([_truth(m) for m in materials], training.validation.pictures))
        judged, more = _whole([m for m in materials if _truth(m) in kept])
        if not more:
            break
        damaged += more
        materials = [m for m in materials if _truth(m) not in kept or m in judged]
        if not materials:
            raise ConfigError(f"data: no picture can be decoded; the first: {damaged[0]}")
    if len(materials) == 1:
        return tuple(materials), *_truths(judged), ["the only file is trained on and judged by: give --val"], damaged
    note = f"{len(judged)} of {len(materials)} files are held back to judge by; --val gives others"
    return tuple(m for m in materials if _truth(m) not in kept), *_truths(judged), [note], damaged


def _whole(
    materials: Sequence[Still | Footage | Pair],
) -> tuple[list[Still | Footage | Pair], list[str]]:
    """Those whose pictures can be decoded, and why the others cannot."""

    def why(material: Still | Footage | Pair) -> str:
        try:
            for path in _pictures(material):
                read_picture(path)
        except MediaError as e:
            return str(e)
        return ""

    with ThreadPoolExecutor() as pool:
        reasons = list(pool.map(why, materials))
    return [m for m, reason in zip(materials, reasons, strict=True) if not reason], list(filter(None, reasons))


def _pictures(material: Still | Footage | Pair) -> tuple[Path, ...]:
    if isinstance(material, Pair):
        return material.high, material.low
    return (material.path,) if isinstance(material, Still) else ()


def _truth(material: Still | Footage | Pair) -> Path:
    return material.high if isinstance(material, Pair) else material.path


def _truths(materials: Sequence[Still | Footage | Pair]) -> tuple[tuple[Path, ...], dict[Path, Path]]:
    lows = {m.high: m.low for m in materials if isinstance(m, Pair)}
    return tuple(_truth(m) for m in materials), lows


def _perceptual(training: Training, order: Order) -> tuple[Path | None, Training | None, list[str]]:
    """The weights of the perceptual loss, for a smoke run without any the settings without that loss, and notes."""
    if not any(stage.losses.perceptual for stage in training.stages):
        return None, None, []
    path = find_perceptual_weights(order.vgg, default_folders())
    if path is not None:
        return path, None, []
    if order.is_smoke:
        return None, _without_perceptual(training), ["no perceptual weights are found: that loss is left out"]
    folder = default_folders()[0]
    if order.is_trial and not order.is_offline:
        return None, None, [f"perceptual weights are not at hand: {URL} will be fetched into {folder}"]
    return download(folder, offline=order.is_offline), None, []


def _without_perceptual(training: Training) -> Training:
    def without(stage: Stage) -> Stage:
        if not stage.losses.perceptual:
            return stage
        return replace(stage, losses=replace(stage.losses, perceptual=0.0, l1=stage.losses.l1 or 1.0))

    return replace(training, stages=tuple(map(without, training.stages)))


def _room(training: Training, out: Path) -> Room:
    """Raises ConfigError when the states will not fit on the disk, or memory takes no batch of pairs.

    Pairs take half of the free memory at most; decoded pictures and what a step computes want the rest.
    """
    parent = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    one, count = state_bytes(training), 2 + len(training.stages) + training.keep  # last, best, at each stage's end
    there = [path.stat().st_size for path in (out / "states").glob("*.pt")]
    needed, free = max(one, (count + 1) * one - sum(there)), shutil.disk_usage(parent).free  # a new one beside the old
    if needed > free:
        raise ConfigError(f"{out}: its states need {needed >> 20} MB and {free >> 20} MB are free; make room or move")
    truth, low = (side_of(training) // factor for factor in (1, training.scale))
    pair, memory = 3 * (truth**2 + low**2), available_bytes()
    batch = max(stage.batch for stage in training.stages)
    fitting = memory // 2 // pair
    if fitting < batch:
        needed = batch * pair >> 20
        raise ConfigError(f"batch = {batch}: its pairs take {needed} MB of {memory >> 20} MB free; give less")
    pairs = min(training.data.pool, fitting)
    return Room(pairs=pairs, pair=pair, state=one, states=count * one, free_memory=memory, free_disk=free)


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:DIGEST_LENGTH]
