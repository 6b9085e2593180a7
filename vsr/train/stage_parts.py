"""What a stage of a run is made of, as its settings and files say."""

import functools
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from zipfile import BadZipFile

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsr.errors import ConfigError, ModelError
from vsr.models.network import Trainable
from vsr.train.ahead import BatchesAhead
from vsr.train.discriminators import Discriminator, build_discriminator, initialise, with_modern_keys
from vsr.train.draw import sample_generator
from vsr.train.learner import Learner, Setting
from vsr.train.material import Material
from vsr.train.material import Pair as PairMaterial
from vsr.train.pool import PairPool
from vsr.train.prepare import Plan, load_perceptual, side_of, type_of
from vsr.train.samples import Recipe, Sample, samples
from vsr.train.schedule import Lengths
from vsr.train.team import Team
from vsr.train.validate import Pair, validation_pairs
from vsr.training import Training


def new_learner(plan: Plan, index: int, net: Trainable, lengths: Lengths, team: Team) -> tuple[Learner, str]:
    """The learner of a stage, and a note on its perceptual loss. Raises ConfigError when a crop fits no network."""
    stage = plan.training.stages[index]
    step_px = net.multiple * net.scale
    if (stage.crop or plan.training.data.crop) % step_px:
        raise ConfigError(f"crop = {stage.crop or plan.training.data.crop}: this network takes multiples of {step_px}")
    perceptual, note = None, ""
    if stage.losses.perceptual and plan.perceptual is not None:
        perceptual, note = load_perceptual(plan.perceptual, stage.losses)
        perceptual = perceptual.to(plan.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if plan.is_compiled:
            perceptual.compile()
    setting = Setting(
        device=plan.device,
        dtype=type_of(stage.precision, plan),
        sharpen=plan.degradations[index].sharpen,
        seed=plan.training.seed,
        stage_number=index,
        perceptual=perceptual,
        is_compiled=plan.is_compiled,
        is_checkpointed=plan.training.generator.checkpointing,
    )
    return Learner(net, new_judge(plan.training, index), stage, lengths, setting, team), note


def new_judge(training: Training, index: int) -> Discriminator | None:
    """The judge that a stage begins with. Raises ConfigError or ModelError when it cannot be had."""
    stage = training.stages[index]
    wanted = stage.discriminator
    if wanted is None:
        return None
    input_px = None if wanted.pooled else stage.crop or training.data.crop
    judge = build_discriminator(wanted.kind, num_feat=wanted.num_feat, input_px=input_px, dropout=wanted.dropout)
    initialise(judge, sample_generator(training.seed, 2 + index))
    if wanted.init:
        _fill(judge, Path(wanted.init))
    return judge


def new_pool(
    plan: Plan,
    index: int,
    materials: tuple[Material | PairMaterial, ...],
    team: Team,
    check: Callable[[], None] = lambda: None,
) -> BatchesAhead:
    """The pairs of a stage, of which this process holds its share. `check` is called for each sample: it may raise."""
    training, stage, data = plan.training, plan.training.stages[index], plan.training.data
    settings, seed = plan.degradations[index], 1000 * training.seed + index
    recipe = TeamRecipe(
        materials=materials,
        settings=settings,
        scale=training.scale,
        side=side_of(training),
        seed=seed,
        rank=team.rank,
        size=team.size,
    )
    batch = team.share_of(stage.batch, f"stages.{stage.name}.batch")
    capacity = max(batch, plan.room.pairs // team.size // settings.frames * settings.frames)
    pool = PairPool(
        functools.partial(_stream, recipe, plan.workers, check),
        capacity=capacity,
        refresh=min(batch / data.reuse, capacity) / settings.frames,
        crop=stage.crop or data.crop,
        scale=training.scale,
        batch=batch,
        seed=seed,
        frames=settings.frames,
        flips=data.flips,
        rotations=data.rotations,
        jitter=data.jitter,
        rank=team.rank,
        size=team.size,
    )
    return BatchesAhead(pool)


def judged_by(plan: Plan, index: int) -> list[Pair]:
    """The pictures that a stage is judged by."""
    training = plan.training
    return validation_pairs(
        plan.val,
        plan.degradations[index],
        scale=training.scale,
        crop=training.validation.crop,
        count=training.validation.pictures,
        seed=training.seed,
        lows=plan.val_lows,
    )


def for_any_size(net: Trainable) -> Callable[[Tensor], Tensor]:
    """`net` for pictures whose sides are no multiples of what it takes, as well: with edges repeated, then cut."""

    def run(low: Tensor) -> Tensor:
        height, width = low.shape[2:]
        padded = F.pad(low, (0, -width % net.multiple, 0, -height % net.multiple), mode="replicate")
        return net(padded)[:, :, : height * net.scale, : width * net.scale]

    return run


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamRecipe(Recipe):
    """Of a run's samples, those that one of `size` processes makes: number `rank`, `rank` + `size` and so on."""

    rank: int
    size: int

    def __call__(self, number: int) -> Sample:
        """The so-many-th of this process; it bears its number among those of all."""
        return Recipe.__call__(self, number * self.size + self.rank)


def _stream(recipe: TeamRecipe, workers: int, check: Callable[[], None], first: int) -> Generator[Sample, None, None]:
    with closing(samples(recipe, first=first, workers=workers)) as stream:
        for sample in stream:
            check()
            yield sample


def _fill(judge: nn.Module, path: Path) -> None:
    """Put the weights of a file in: a published *_netD.pth, or a state of a run."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError, BadZipFile) as e:
        raise ModelError(f"{path}: cannot be read as a discriminator's weights; give a .pth or a run's state") from e
    for wrapper in ("learner", "judge", "params"):
        found = found.get(wrapper, found) if isinstance(found, dict) else found
    try:
        judge.load_state_dict(with_modern_keys(found))
    except (RuntimeError, TypeError, AttributeError) as e:  # of another shape, or no weights at all
        raise ModelError(f"{path}: weights of another discriminator; change its kind and num_feat") from e
