"""What a training run may be told: frozen values that presets, the CLI and Python all make.

Recipes: Wang et al. 2021 (Real-ESRGAN) with its published option files, Wang et al. 2018 (ESRGAN), Ledig et al. 2017
(SRGAN), Dong et al. 2016 (SRCNN). A length is a number of steps or, as text, of epochs: 5000, "20 epochs". An epoch is
as many samples as there are files.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from vsr.errors import ConfigError

Length = int | str
Pixel = Literal["l1", "mse", "charbonnier"]
AdversarialKind = Literal["vanilla", "relativistic", "lsgan", "hinge"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]

HIGHER_IS_BETTER = {"psnr_y": True, "ssim_y": True, "val_loss": False, "lpips": False, "colour_drift": False}

WRITTEN_WHOLE = "written whole"  # in a field's metadata: a table in TOML takes nothing from the field's default

_EPOCHS = re.compile(r"(\d+(?:\.\d+)?) epochs?")


def steps_of(length: Length, steps_per_epoch: int) -> int:
    """A length in steps, at least one where it is more than nothing."""
    if isinstance(length, int):
        return length
    found = _EPOCHS.fullmatch(length)
    assert found is not None  # checked when the settings were made
    return max(1, round(float(found[1]) * steps_per_epoch))


def _check_length(name: str, value: Length) -> None:
    if isinstance(value, int) and not isinstance(value, bool):
        _require(value >= 0, f"{name} = {value}: must not be negative")
    elif not isinstance(value, str) or _EPOCHS.fullmatch(value) is None:
        raise ConfigError(f'{name} = {value!r}: give steps, such as 5000, or epochs, such as "20 epochs"')


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ConfigError(otherwise)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """The network that is trained, in the words of `vsr.models.build.build`. None: as published."""

    arch: str = "rrdb"  # rrdb, compact, srresnet, srcnn, rrdb_shuffle
    num_feat: int | None = None
    depth: int | None = None  # blocks, or inner convolutions
    num_grow: int | None = None  # channels that a convolution adds in the dense blocks of rrdb and rrdb_shuffle
    act: str | None = None  # compact only
    tanh: bool | None = None  # srresnet only
    kernels: tuple[int, int, int] | None = None  # srcnn only: sides in pixels
    init: str = ""  # a model's name or weights file to begin with; empty is from scratch
    checkpointing: bool = False  # blocks are computed twice a step, for less memory; not for compact and srcnn

    def __post_init__(self) -> None:
        if self.checkpointing and self.arch in ("compact", "srcnn"):
            raise ConfigError(f"generator.checkpointing: {self.arch} is not made of blocks; leave it out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What samples are cut from and how often each is used."""

    crop: int = 256  # pixels of the truth that a step sees, each way
    margin: int = 144  # pixels more that are damaged, so that a crop's border was damaged in its surroundings
    pool: int = 1000  # pairs held, of which each step cuts its crops; a clip brings as many as it has frames
    reuse: float = 4.0  # how many crops each pair gives before a new one takes its place, on the average
    flips: bool = True
    rotations: bool = True
    jitter: float = 0.0  # brightness, contrast and saturation change by up to this share, the same in both pictures
    fraction: float = 1.0  # of the files
    fit: Literal["crop", "resize"] = "crop"  # resize: pictures are shrunk towards the crop first, so that it sees more
    workers: int | None = None  # processes that make samples; None is one a core but one

    def __post_init__(self) -> None:
        _require(self.crop >= 16, f"crop = {self.crop}: give 16 pixels or more")
        _require(self.margin >= 0, f"margin = {self.margin}: must not be negative")
        _require(self.pool >= 1, f"pool = {self.pool}: holds one sample or more")
        _require(self.reuse > 0, f"reuse = {self.reuse:g}: must be more than 0")
        _require(0 <= self.jitter < 1, f"jitter = {self.jitter:g}: lies between 0 and 1")
        _require(0 < self.fraction <= 1, f"fraction = {self.fraction:g}: lies between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Weights of the generator's losses; 0 leaves one out."""

    l1: float = 0.0
    mse: float = 0.0
    charbonnier: float = 0.0
    on_luma: bool = False  # these three see luma alone, for a network that leaves colours as they are
    perceptual: float = 0.0
    layers: Mapping[str, float] = field(default_factory=dict)  # of the perceptual network; empty is the file's usual
    perceptual_distance: Literal["l1", "mse"] = "l1"
    adversarial: float = 0.0
    tv: float = 0.0
    ldl: float = 0.0
    ramp: Length = 0  # perceptual, adversarial and ldl grow to their weight over this length

    def __post_init__(self) -> None:
        _check_length("ramp", self.ramp)
        weights = self.weights() | {f"layers.{name}": weight for name, weight in self.layers.items()}
        for name, weight in weights.items():
            _require(0 <= weight < math.inf, f"{name} = {weight:g}: a weight is 0 or more")

    def weights(self) -> dict[str, float]:
        """Those that a stage adds up, by their names here."""
        names = ("l1", "mse", "charbonnier", "perceptual", "adversarial", "tv", "ldl")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """AdamW, which without decay is Adam."""

    lr: float = 2e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    clip: float | None = None  # the gradient's norm at most
    warmup: Length = 0  # from nothing to `lr`, for each group of parameters from where it begins to move
    decay: Literal["constant", "cosine", "steps"] = "constant"
    milestones: tuple[float, ...] = ()  # of "steps": where, as shares of the stage, the rate is multiplied by gamma
    gamma: float = 0.5
    floor: float = 0.02  # of "cosine": what is left at the end

    def __post_init__(self) -> None:
        _check_length("warmup", self.warmup)
        _require(0 < self.lr < math.inf, f"lr = {self.lr:g}: must be more than 0")
        _require(self.clip is None or self.clip > 0, "clip: must be more than 0; leave it out to have none")
        _require(all(0 < m < 1 for m in self.milestones), "milestones: are shares of the stage, between 0 and 1")
        _require(all(0 <= b < 1 for b in self.betas), f"betas = {list(self.betas)}: lie between 0 and 1")
        _require(0 <= self.weight_decay < math.inf, f"weight_decay = {self.weight_decay:g}: must not be negative")
        for name in ("gamma", "floor"):
            _require(0 <= getattr(self, name) <= 1, f"{name} = {getattr(self, name):g}: lies between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Discriminator:
    """The judge of an adversarial stage."""

    kind: Literal["unet", "vgg", "srgan"] = "unet"
    num_feat: int = 64
    pooled: bool = False  # vgg and srgan: takes any crop; else only the stage's, and vgg only 128 or 256
    dropout: float = 0.0  # vgg only
    init: str = ""  # a weights file; empty is from scratch
    loss: AdversarialKind = "vanilla"
    smoothing: float = 0.0  # real pictures are aimed at 1 less this; the generator always at 1
    instance_noise: float = 0.0  # deviation, on what the judge sees; falls to 0 over the stage
    optimizer: Optimizer = Optimizer(lr=1e-4)
    every: int = 1  # steps; trained in one of so many
    start: Length = 0  # the judge is trained from here on, the generator hears it from `start` + `warmup` on
    warmup: Length = 0

    def __post_init__(self) -> None:
        _check_length("start", self.start)
        _check_length("warmup", self.warmup)
        _require(self.every >= 1, f"every = {self.every}: give 1 or more steps")
        _require(self.num_feat >= 1, f"num_feat = {self.num_feat}: give 1 or more")
        _require(0 <= self.smoothing < 0.5, f"smoothing = {self.smoothing:g}: lies between 0 and 0.5")
        if self.smoothing and self.loss in ("lsgan", "hinge"):
            raise ConfigError(f"smoothing = {self.smoothing:g}: has no place in {self.loss}; leave it out")
        noise = self.instance_noise
        _require(0 <= noise < math.inf, f"instance_noise = {noise:g}: must not be negative")
        _require(0 <= self.dropout < 1, f"dropout = {self.dropout:g}: lies between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stretch of training with one set of losses."""

    name: str = "net"
    length: Length = 1000
    batch: int = 16
    accumulate: int = 1  # a batch is computed in so many parts
    crop: int | None = None  # None is the data's
    losses: Losses = field(default=Losses(l1=1.0), metadata={WRITTEN_WHOLE: True})
    optimizer: Optimizer = Optimizer()
    discriminator: Discriminator | None = None
    ema: float = 0.999  # decay of the averaged weights, reached by and by
    precision: Precision = "auto"
    degrade: str = ""  # a preset whose damage this stage undoes; empty is the run's own
    sharpen_real: bool = False  # whether the judge's real pictures are the sharpened ones, too
    unfreeze: tuple[tuple[str, ...], ...] = ()  # groups of parameters by the beginning of their names; empty: all move
    unfreeze_every: Length = 0  # after so long, the next group moves, too; what is in none never does

    def __post_init__(self) -> None:
        _check_length("length", self.length)
        _check_length("unfreeze_every", self.unfreeze_every)
        _require(bool(re.fullmatch(r"[a-z][a-z0-9_]*", self.name)), f"name = {self.name!r}: give small letters")
        _require(self.batch >= 1, f"batch = {self.batch}: give 1 or more")
        _require(
            self.accumulate >= 1 and self.batch % self.accumulate == 0,
            f"accumulate = {self.accumulate}: must divide the batch of {self.batch}",
        )
        _require(0 <= self.ema < 1, f"ema = {self.ema:g}: lies between 0 and 1; 0 has none")
        _require(any(self.losses.weights().values()), "losses: none has a weight; give one, such as l1 = 1")
        if self.losses.adversarial and self.discriminator is None:
            raise ConfigError(f"losses.adversarial = {self.losses.adversarial:g}: add a table discriminator")


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """How a run is judged while it goes."""

    every: Length = 500
    crop: int = 256  # the middle of each picture at most, pixels of the truth
    pictures: int = 16  # at most; held back from the data where no --val is given
    best: str = "psnr_y"  # the figure whose best checkpoint is kept
    patience: int = 0  # validations without a better figure after which the run stops; 0 never stops

    def __post_init__(self) -> None:
        _check_length("every", self.every)
        _require(self.pictures >= 1, f"pictures = {self.pictures}: give 1 or more")
        _require(self.patience >= 0, f"patience = {self.patience}: must not be negative")
        if self.best not in HIGHER_IS_BETTER:
            raise ConfigError(f"best = {self.best!r}: give one of {', '.join(HIGHER_IS_BETTER)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Everything of a run but where its files lie."""

    scale: int = 4
    seed: int = 0
    generator: Generator = Generator()
    data: Data = Data()
    validation: Validation = Validation()
    stages: tuple[Stage, ...] = (Stage(),)
    save_every: Length = 500
    keep: int = 0  # numbered states kept besides the last and the best
    licence: str = "unknown"  # of the weights; stands in their file
    trained_on: str = ""  # says what the pictures are; empty: their folders and how many
    max_skips: int = 20  # steps in a row whose loss or gradient is not finite, before going back to the last state
    max_rollbacks: int = 3  # with half the rate each time, before the run stops

    def __post_init__(self) -> None:
        _check_length("save_every", self.save_every)
        for name, least in {"scale": 1, "seed": 0, "keep": 0, "max_skips": 1, "max_rollbacks": 0}.items():
            _require(getattr(self, name) >= least, f"{name} = {getattr(self, name)}: give {least} or more")
        names = [stage.name for stage in self.stages]
        _require(bool(names), "stages: needs at least one")
        _require(len(set(names)) == len(names), f"stages: the names {', '.join(names)} are not different")
        for crop in {stage.crop or self.data.crop for stage in self.stages}:
            _require(crop % self.scale == 0, f"crop = {crop}: must be a multiple of the scale, {self.scale}")


def shrunk_for_smoke(training: Training) -> Training:
    """The same stages and features in about 20 s each on two cores; what comes out is of no use.

    Networks, crops and lengths are small. What unfreezes by the names of blocks keeps all of them, but narrow.
    """
    unit = math.lcm(training.scale, 8)  # the U-Net judge takes multiples of 8
    px = max(1, 64 // unit) * unit
    return replace(
        training,
        generator=_shrunk_generator(training.generator, keeps_depth=any(stage.unfreeze for stage in training.stages)),
        data=replace(training.data, crop=px, margin=px, pool=32),
        validation=replace(training.validation, every=6, crop=128, pictures=4),
        stages=tuple(_shrunk_stage(stage) for stage in training.stages),
        save_every=6,
    )


def _shrunk_generator(generator: Generator, *, keeps_depth: bool) -> Generator:
    small = replace(generator, init="", num_feat=16)
    if generator.arch != "srcnn" and not keeps_depth:  # srcnn has no depth
        small = replace(small, depth=2)
    return replace(small, num_grow=8) if generator.arch.startswith("rrdb") else small


def _shrunk_stage(stage: Stage) -> Stage:
    def short(length: Length, steps: int) -> Length:
        return steps if length else 0

    judge = stage.discriminator
    if judge is not None:
        judge = replace(
            judge,
            num_feat=8,
            pooled=judge.kind != "unet",  # the crop is none that these have a size for
            init="",
            optimizer=replace(judge.optimizer, warmup=short(judge.optimizer.warmup, 2)),
            start=short(judge.start, 2),
            warmup=short(judge.warmup, 2),
        )
    return replace(
        stage,
        length=12,
        batch=4,
        accumulate=min(stage.accumulate, 2),
        crop=None,
        losses=replace(stage.losses, ramp=short(stage.losses.ramp, 4)),
        optimizer=replace(stage.optimizer, warmup=short(stage.optimizer.warmup, 4)),
        discriminator=judge,
        unfreeze_every=short(stage.unfreeze_every, 2),
    )
