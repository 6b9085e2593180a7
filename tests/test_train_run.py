"""Whole runs at tiny size: that they learn, stop, go on exactly, and leave a folder that can be used."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vsr
from vsr.degradation import Codec, Compression, Degradation
from vsr.errors import Cancelled, ConfigError, ModelError, VsrError
from vsr.events import TrainEvent
from vsr.models.checkpoint import load_model
from vsr.preset import load_degradation
from vsr.stage import Cancel
from vsr.train.learner import Learner
from vsr.train.prepare import Order, prepare
from vsr.train.run_folder import RunFolder, load_state
from vsr.train.samples import Recipe
from vsr.train.schedule import averaging_decay
from vsr.train.team import Team
from vsr.train.trainer import Trainer
from vsr.training import Data, Discriminator, Generator, Losses, Optimizer, Stage, Training, Validation

NET = Stage(length=10, batch=4, optimizer=Optimizer(lr=1e-3, decay="cosine", warmup=2, clip=1.0))
JUDGE = Discriminator(kind="vgg", pooled=True, num_feat=4, dropout=0.3, smoothing=0.1, instance_noise=0.05, warmup=2)
GAN = Stage(
    name="gan",
    length=10,
    batch=4,
    losses=Losses(l1=1.0, adversarial=0.1, tv=0.01, ldl=0.5, ramp=3),
    discriminator=JUDGE,
)
THAWING = replace(NET, name="thaw", unfreeze=(("body.4",), ("body.2",), ("body.0",)), unfreeze_every=4)
TINY = Training(
    generator=Generator(arch="compact", num_feat=8, depth=1),
    data=Data(crop=32, margin=8, pool=8, reuse=2.0, workers=0, jitter=0.1),
    validation=Validation(every=5, crop=64, pictures=1),
    stages=(NET, GAN),
    save_every=5,
)
CODECS = Degradation(
    frames=2,
    second=replace(
        Degradation().second,
        compression=Compression(media={"video": 1}, codecs={"h264": Codec(share=1, quality=(20, 35))}),
    ),
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for index in range(5):
        small = rng.integers(0, 256, (12, 14, 3), dtype=np.uint8)
        Image.fromarray(small).resize((112, 96), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


def trainer(
    pictures: Path,
    out: Path,
    training: Training,
    *,
    damage: Degradation | None = None,
    tell=lambda _: None,
    cancel=None,
):
    order = Order(data=(pictures,), device="cpu")
    plan = prepare(training, damage or load_degradation("bicubic"), order, team=Team(), out=out)
    folder = RunFolder(out)
    plan = replace(plan, dtype=torch.float32, threads=1)
    return Trainer(plan, folder, Team(), tell, cancel or Cancel()), folder


def run(pictures: Path, out: Path, training: Training, **given) -> RunFolder:
    made, folder = trainer(pictures, out, training, **given)
    with folder.held():
        made.run()
    return folder


def read(path: Path) -> Any:
    """A state of whatever there is in it."""
    return load_state(path)


class Broken(Exception):  # noqa: N818
    pass


def stop_at(step: int, cancel: Cancel | None):
    """Ask to stop, or break down, when a step is told."""

    def tell(event):
        if isinstance(event, TrainEvent) and event.step == step:
            if cancel is None:
                raise Broken
            cancel.set()

    return tell


def same(first, second, where="") -> None:
    """Assert that two states are equal, bit for bit."""
    assert type(first) is type(second), where
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            same(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), where
        for index, (a, b) in enumerate(zip(first, second, strict=True)):
            same(a, b, f"{where}[{index}]")
    else:
        assert first == second, where


def rows(folder: RunFolder) -> list[dict]:
    """The log without what depends on the clock."""
    return [{k: v for k, v in row.items() if k not in ("images_per_s", "waiting")} for row in folder.rows()]


@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
@pytest.mark.parametrize(
    ("stages", "step", "damage"),
    [((NET, GAN), 5, None), ((NET, GAN), 15, None), ((NET, GAN), 10, CODECS), ((THAWING,), 5, None)],
    ids=["net", "gan", "border with codecs", "thawing"],
)
def test_a_run_that_was_broken_equals_an_unbroken_one(pictures, tmp_path, stages, step, damage, is_killed):
    training = replace(TINY, stages=stages)
    whole = run(pictures, tmp_path / "whole", training, damage=damage)
    cancel = None if is_killed else Cancel()
    with pytest.raises(Broken if is_killed else Cancelled):
        run(pictures, tmp_path / "broken", training, damage=damage, tell=stop_at(step, cancel), cancel=cancel)
    broken = run(pictures, tmp_path / "broken", training, damage=damage)
    for name in ("last", "best"):
        same(read(whole.state(name)), read(broken.state(name)), name)
    assert rows(whole) == rows(broken)
    same(load_model(whole.model)[0].state_dict(), load_model(broken.model)[0].state_dict())


def test_training_brings_the_loss_down_and_its_file_upscales(pictures, tmp_path):
    stage = replace(NET, length=150, optimizer=Optimizer(lr=3e-3), ema=0.9)
    folder = run(
        pictures, tmp_path / "run", replace(TINY, stages=(stage,), validation=Validation(every=50, crop=64, pictures=1))
    )
    judged = [row for row in rows(folder) if row["kind"] == "val"]
    assert [row["step"] for row in judged] == [0, 50, 100, 150]
    assert judged[-1]["val_loss"] < 0.97 * judged[0]["val_loss"]
    upscaler = vsr.load(folder.model)
    assert upscaler(np.zeros((16, 20, 3), np.uint8)).shape == (64, 80, 3)
    assert upscaler.spec.trained_on == "4 files"


def test_a_run_leaves_all_that_belongs_to_it(pictures, tmp_path):
    folder = run(pictures, tmp_path / "run", replace(TINY, keep=2))
    assert sorted(p.stem for p in folder.states.iterdir()) == ["0000015", "0000020", "best", "gan", "last", "net"]
    assert [p.stem for p in sorted(folder.samples.iterdir())] == [f"{n:07}" for n in (0, 5, 10, 15, 20)]
    assert {p.name for p in folder.plots.iterdir()} >= {"losses_generator.png", "metrics.png", "learning_rate.png"}
    terms = [row for row in folder.rows() if row["kind"] == "train" and row["stage"] == "gan"][-1]
    assert {
        "loss_g",
        "loss_l1",
        "loss_adversarial",
        "loss_tv",
        "loss_ldl",
        "loss_d",
        "d_real",
        "d_fake",
        "grad_norm",
        "lr",
    } <= terms.keys()
    assert not list(tmp_path.rglob(".*"))


def test_a_generator_hears_the_judge_only_after_its_warm_up(pictures, tmp_path):
    judge = replace(JUDGE, start=3, warmup=4, every=2)
    seen = []
    original = Learner.step

    def step(self, number, low, truth):
        terms: Any = original(self, number, low, truth)
        seen.append({name for name in terms if "adversarial" in name or name == "loss_d"})
        return terms

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "step", step)
        run(pictures, tmp_path / "run", replace(TINY, stages=(replace(GAN, discriminator=judge),)))
    assert [number for number, names in enumerate(seen) if "loss_d" in names] == [3, 5, 7, 9]
    assert [number for number, names in enumerate(seen) if "loss_adversarial" in names] == [7, 8, 9]


def test_only_unfrozen_groups_move_and_only_they_have_moments(pictures, tmp_path):
    before = {}
    stage = replace(THAWING, length=6)

    def tell(event):
        if isinstance(event, TrainEvent) and event.step == 5:
            raise Broken

    made, folder = trainer(pictures, tmp_path / "run", replace(TINY, stages=(stage,)), tell=tell)
    original = Learner.__init__

    def keep(self, net, *rest):
        original(self, net, *rest)
        before.update({name: p.detach().clone() for name, p in self.net.named_parameters()})

    with pytest.MonkeyPatch.context() as patch, folder.held():
        patch.setattr(Learner, "__init__", keep)
        with pytest.raises(Broken):
            made.run()
    folder = run(pictures, tmp_path / "run", replace(TINY, stages=(stage,)))
    state = read(folder.state("last"))["learner"]
    moved = {name for name, tensor in state["net"].items() if not torch.equal(tensor, before[name])}
    assert {name.rsplit(".", 1)[0] for name in moved} == {"body.4", "body.2"}  # body.0 begins to move at 8
    assert len(state["optimizer"]["param_groups"]) == 2


def test_steps_that_are_not_finite_are_skipped_and_then_undone(pictures, tmp_path):
    original = Learner.step

    def step(self, number, low, truth):
        return None if number in (6, 7, 8) and self.rate_factor == 1 else original(self, number, low, truth)

    notes = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "step", step)
        folder = run(pictures, tmp_path / "run", replace(TINY, stages=(NET,), max_skips=3), tell=notes.append)
    assert any("back to step 5, the rate times 0.5" in str(note) for note in notes)
    assert read(folder.state("last"))["learner"]["rate_factor"] == 0.5


def test_a_loss_that_stays_not_finite_ends_the_run_and_keeps_the_batch(pictures, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "step", lambda *_: None)
        with pytest.raises(VsrError, match="not finite, 3 steps in a row"):
            run(pictures, tmp_path / "run", replace(TINY, stages=(NET,), max_skips=3))
    batch = torch.load(tmp_path / "run" / "states" / "bad_batch.pt")
    assert batch["truth"].shape == (4, 3, 32, 32)


def test_a_not_finite_gradient_changes_nothing(pictures, tmp_path):
    made, _ = trainer(pictures, tmp_path / "run", replace(TINY, stages=(NET,)))
    learner = made._learner(0, load_like(TINY))
    before = {name: tensor.clone() for name, tensor in learner.net.state_dict().items()}
    learner._losses["l1"] = lambda result, truth: (result - truth).abs().mean() * float("nan")
    low, truth = torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    assert learner.step(0, low, truth) is None
    same(before, dict(learner.net.state_dict()))


def load_like(training: Training):
    from vsr.train.prepare import new_generator

    return new_generator(training)[0]


def test_out_of_memory_computes_the_batch_in_smaller_parts(pictures, tmp_path):
    made, _ = trainer(pictures, tmp_path / "run", replace(TINY, stages=(NET,)))
    whole, parted = (made._learner(0, load_like(TINY)) for _ in range(2))
    forward, sizes = parted._forward, []

    def tight(low):
        sizes.append(len(low))
        if len(low) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(low)

    parted._forward = tight
    low = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    truth = low.repeat_interleave(4, 2).repeat_interleave(4, 3)
    terms: Any = [learner.step(3, low, truth) for learner in (whole, parted)]
    assert sizes == [4, 2, 2]
    assert terms[0]["loss_l1"] == pytest.approx(terms[1]["loss_l1"], rel=1e-5)
    for a, b in zip(whole.net.parameters(), parted.net.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)  # Adam's first steps are of the rate's size, 1e-3


def test_weights_of_another_architecture_are_refused_with_what_differs(pictures, tmp_path):
    other = run(pictures, tmp_path / "small", replace(TINY, stages=(NET,))).model
    wide = replace(TINY, generator=Generator(arch="compact", num_feat=16, depth=6, init=str(other)))
    with pytest.raises(ModelError, match=r"another architecture or size: .* missing .* of another shape"):
        run(pictures, tmp_path / "wide", wide)


def test_an_init_that_is_not_at_hand_is_said_and_training_begins_from_scratch(pictures, tmp_path):
    notes = []
    generator = replace(TINY.generator, init="RealESRGAN_x4plus")
    run(
        pictures,
        tmp_path / "run",
        replace(TINY, generator=generator, stages=(replace(NET, length=2),)),
        tell=notes.append,
    )
    assert any("RealESRGAN_x4plus: not at hand; training begins from scratch" in str(note) for note in notes)


def test_a_prefix_that_fits_no_parameter_is_named(pictures, tmp_path):
    stage = replace(NET, unfreeze=(("conv_last",),), unfreeze_every=2)
    with pytest.raises(ConfigError, match="no parameter begins with 'conv_last'"):
        run(pictures, tmp_path / "run", replace(TINY, stages=(stage,)))


def test_two_processes_do_not_train_in_one_folder(pictures, tmp_path):
    folder = RunFolder(tmp_path / "run")
    with (
        folder.held(),
        pytest.raises(ConfigError, match="another process trains in it"),
        RunFolder(tmp_path / "run").held(),
    ):
        pass


def test_a_stalled_stage_ends_early_when_asked(pictures, tmp_path):
    validation = Validation(every=1, crop=64, pictures=1, patience=2, best="colour_drift")
    stage = replace(NET, length=40, optimizer=Optimizer(lr=1e-9))
    folder = run(pictures, tmp_path / "run", replace(TINY, stages=(stage,), validation=validation))
    assert max(row["step"] for row in rows(folder)) < 40
    assert json.loads(folder.log.read_text().splitlines()[0])["best"] is True


def learner_of(pictures, out, stage=NET, generator=TINY.generator, **changes) -> Any:
    """A learner of one stage, as a run makes it, and the run's trainer."""
    training = replace(TINY, generator=generator, stages=(replace(stage, precision="fp32"),), **changes)
    made, _ = trainer(pictures, out, training)
    return made._learner(0, load_like(training)), made


def batch(seed=0):
    low = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return low, low.repeat_interleave(4, 2).repeat_interleave(4, 3)


RESIDUAL = Generator(arch="srresnet", num_feat=8, depth=8)


@pytest.mark.parametrize(
    "generator",
    [
        RESIDUAL,
        Generator(arch="rrdb", num_feat=8, depth=2, num_grow=4),
        Generator(arch="rrdb_shuffle", num_feat=8, depth=2, num_grow=4),
    ],
    ids=lambda generator: generator.arch,
)
def test_checkpointing_changes_memory_and_nothing_else(pictures, tmp_path, generator):
    kept, states = [], []
    for is_on in (False, True):
        learner, _ = learner_of(pictures, tmp_path / "run", generator=replace(generator, checkpointing=is_on))
        bytes_held = 0

        def hold(tensor):
            nonlocal bytes_held
            bytes_held += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
            learner._forward(torch.ones(2, 3, 8, 8))  # kept until here; what is computed again is not
        kept.append(bytes_held)
        for step in range(2):
            learner.step(step, *batch(step))
        assert not any("forward" in vars(layer) for layer in learner.net.modules())
        states.append(learner.state())
    assert kept[1] < 0.75 * kept[0]
    first, second = states
    for name, tensor in first["net"].items():  # statistics of norms as well
        torch.testing.assert_close(second["net"][name], tensor, rtol=0, atol=1e-7)
    for index, moments in first["optimizer"]["state"].items():
        torch.testing.assert_close(
            second["optimizer"]["state"][index]["exp_avg"], moments["exp_avg"], rtol=1e-5, atol=1e-8
        )


@pytest.mark.parametrize("arch", ["compact", "srcnn"])
def test_checkpointing_is_refused_where_there_are_no_blocks(arch):
    with pytest.raises(ConfigError, match=rf"generator\.checkpointing: {arch} is not made of blocks"):
        Generator(arch=arch, checkpointing=True)


def test_a_skipped_step_leaves_the_statistics_of_norms(pictures, tmp_path):
    learner, _ = learner_of(pictures, tmp_path / "run", stage=GAN, generator=RESIDUAL)
    before = learner.state()
    original = learner.net.conv_first.forward
    learner.net.conv_first.forward = lambda x: original(x) * float("inf")  # as an activation that overflows
    assert learner.step(0, *batch()) is None
    same(before["net"], learner.state()["net"])
    same(before["judge"], learner.state()["judge"])


def test_the_judge_keeps_no_trace_of_the_generators_half(pictures, tmp_path):
    stage = replace(GAN, discriminator=replace(JUDGE, warmup=0, every=4))
    learner, _ = learner_of(pictures, tmp_path / "run", stage=stage)
    before = learner.state()["judge"]
    assert "loss_adversarial" in learner.step(1, *batch())
    same(before, learner.state()["judge"])


def test_averaged_weights_follow_the_moving_ones_slowly(pictures, tmp_path):
    learner, _ = learner_of(pictures, tmp_path / "run", stage=replace(NET, ema=0.2))
    expected = copy.deepcopy(learner.averaged.state_dict())
    for step, decay in enumerate((2 / 11, 0.2, 0.2)):  # (1 + n) / (10 + n) after n updates, and never more than asked
        learner.step(step, *batch())
        expected = {
            name: decay * kept + (1 - decay) * learner.net.state_dict()[name] for name, kept in expected.items()
        }
        for name, tensor in learner.averaged.state_dict().items():
            torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-7)  # float32 rounding of weights below 1
    assert not torch.equal(learner.net.body[0].weight, learner.averaged.body[0].weight)


def test_ldl_leaves_averaged_statistics_alone(pictures, tmp_path):
    stage = replace(GAN, discriminator=None, losses=Losses(l1=1.0, ldl=1.0), ema=0.5)
    learner, _ = learner_of(pictures, tmp_path / "run", stage=stage, generator=RESIDUAL)
    learner.step(0, *batch())
    ours, averaged = learner.net.bn_body.num_batches_tracked, learner.averaged.bn_body.num_batches_tracked
    assert (int(ours), int(averaged)) == (1, 1)
    begun = torch.zeros_like(learner.net.bn_body.running_mean)
    share = 1 - averaging_decay(1, 0.5)
    torch.testing.assert_close(
        learner.averaged.bn_body.running_mean, begun.lerp(learner.net.bn_body.running_mean, share)
    )


def test_a_scale_that_is_too_large_is_no_skipped_step(pictures, tmp_path):
    made, _ = trainer(pictures, tmp_path / "run", replace(TINY, stages=(replace(NET, precision="fp16"),)))
    learner: Any = made._learner(0, load_like(TINY))
    learner._scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126)  # a gradient of a few overflows float32 itself
    before, overflows = learner.state()["net"], 0
    while "overflow" in (terms := learner.step(0, *batch())):
        same(before, learner.state()["net"])
        overflows += 1
    assert overflows > 3
    assert np.isfinite(terms["grad_norm"])


def test_a_gradient_that_no_scale_mends_is_a_skipped_step(pictures, tmp_path):
    made, _ = trainer(pictures, tmp_path / "run", replace(TINY, stages=(replace(NET, precision="fp16"),)))
    learner: Any = made._learner(0, load_like(TINY))
    learner._scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    learner.net.body[0].weight.register_hook(lambda gradient: gradient * float("inf"))
    found = [learner.step(0, *batch()) for _ in range(4)]
    assert ["overflow" in terms if terms else None for terms in found] == [True, True, None, None]


def test_parts_of_a_batch_draw_noise_of_their_own(pictures, tmp_path):
    judge = replace(JUDGE, warmup=0, instance_noise=0.5)
    learner, _ = learner_of(pictures, tmp_path / "run", stage=replace(GAN, accumulate=2, discriminator=judge))
    seen, original = [], learner.judge.forward
    learner.judge.forward = lambda x: (seen.append(x.detach()), original(x))[1]
    low, truth = (x[:1].expand(4, -1, -1, -1) for x in batch())
    learner.step(0, low, truth)
    assert len(seen[0]) == 2
    assert not torch.equal(seen[0], seen[1])  # the generator's half, one picture four times


def test_another_runs_moments_come_without_its_settings(pictures, tmp_path):
    judge = replace(JUDGE, warmup=0)
    old, _ = learner_of(pictures, tmp_path / "old", stage=replace(GAN, discriminator=judge))
    old.step(0, *batch())
    slow = Optimizer(lr=1e-5, betas=(0.5, 0.9), weight_decay=0.1)
    stage = replace(GAN, optimizer=slow, discriminator=replace(judge, optimizer=slow))
    new, _ = learner_of(pictures, tmp_path / "new", stage=stage)
    new.adopt(old.state())
    for name in ("optimizer", "judge_optimizer"):
        mine, theirs = new.state()[name], old.state()[name]
        same(mine["state"], theirs["state"])
        group = mine["param_groups"][0]
        assert (group["betas"], group["weight_decay"], group["lr"]) == ((0.5, 0.9), 0.1, 1e-5)
    same(new.state()["judge"], old.state()["judge"])


def test_a_judge_begins_with_the_weights_of_its_file(pictures, tmp_path):
    folder = run(pictures, tmp_path / "run", replace(TINY, stages=(replace(GAN, length=1),)))
    begun = replace(GAN, discriminator=replace(JUDGE, init=str(folder.state("last"))))
    learner, _ = learner_of(pictures, tmp_path / "next", stage=begun)
    same(learner.state()["judge"], read(folder.state("last"))["learner"]["judge"])
    wide = replace(GAN, discriminator=replace(JUDGE, num_feat=8, init=str(folder.state("last"))))
    with pytest.raises(ModelError, match=r"last\.pt: weights of another discriminator"):
        learner_of(pictures, tmp_path / "wide", stage=wide)


def test_odd_sides_are_judged_by_networks_that_take_even_ones(pictures, tmp_path):
    small = Generator(arch="rrdb", num_feat=4, depth=1, num_grow=4)
    odd = Validation(every=5, crop=66, pictures=1)  # 33 small pixels
    folder = run(pictures, tmp_path / "run", replace(TINY, scale=2, generator=small, stages=(NET,), validation=odd))
    assert folder.model.is_file()
    with pytest.raises(ConfigError, match="crop = 34: this network takes multiples of 4"):
        run(pictures, tmp_path / "odd", replace(TINY, scale=2, generator=small, stages=(replace(NET, crop=34),)))


def test_a_figure_that_cannot_be_had_is_refused_before_the_run(pictures, tmp_path):
    with pytest.raises(ConfigError, match=r"validation\.best = lpips: its weights are missing"):
        trainer(pictures, tmp_path / "run", replace(TINY, validation=replace(TINY.validation, best="lpips")))


def test_a_stage_can_go_back_to_its_beginning(pictures, tmp_path):
    original = Learner.step

    def step(self, number, low, truth):
        return None if self._setting.stage_number == 1 and self.rate_factor == 1 else original(self, number, low, truth)

    notes = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "step", step)
        run(pictures, tmp_path / "run", replace(TINY, max_skips=3), tell=notes.append)
    assert any("back to step 10, the rate times 0.5" in str(note) for note in notes)


def test_a_stage_that_stalled_is_over_when_the_run_goes_on(pictures, tmp_path):
    validation = Validation(every=1, crop=64, pictures=1, patience=2, best="colour_drift")
    stages = (replace(NET, length=40, optimizer=Optimizer(lr=1e-9)), replace(NET, name="next", length=3))
    training = replace(TINY, stages=stages, validation=validation, save_every=0)
    whole = run(pictures, tmp_path / "whole", training)
    made, folder = trainer(pictures, tmp_path / "broken", training)
    original = made._run_stage

    def broken(index, *rest):
        if index == 1:
            raise Broken
        return original(index, *rest)

    with pytest.MonkeyPatch.context() as patch, folder.held():
        patch.setattr(made, "_run_stage", broken)
        with pytest.raises(Broken):
            made.run()
    again = run(pictures, tmp_path / "broken", training)
    same(read(whole.state("last")), read(again.state("last")))


def test_colours_are_noted_when_they_go_and_not_again(pictures, tmp_path):
    drifts = iter([50.0, 50.0, 50.0, 0.0, 50.0])
    original, notes = Trainer._measured, []

    def measured(self, index, learner):
        found = original(self, index, learner)
        return replace(found, figures={**found.figures, "colour_drift": next(drifts)})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_measured", measured)
        run(pictures, tmp_path / "run", replace(TINY, stages=(replace(NET, length=20),)), tell=notes.append)
    assert [note.message[:8] for note in notes if "colours" in str(note)] == ["step 5: ", "step 20:"]


def test_a_run_can_be_stopped_while_its_pool_fills(pictures, tmp_path, monkeypatch):
    cancel, made = Cancel(), []
    original = Recipe.__call__

    def slow(self, number):
        made.append(number)
        if len(made) == 3:
            cancel.set()
        return original(self, number)

    monkeypatch.setattr(Recipe, "__call__", slow)
    with pytest.raises(Cancelled):
        run(pictures, tmp_path / "run", TINY, cancel=cancel)
    assert len(made) == 3
    assert load_state(tmp_path / "run" / "states" / "last.pt")["step"] == 0
