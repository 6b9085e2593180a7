import inspect
import math
import re
from dataclasses import asdict, fields, replace

import pytest

from vsr.degradation import Degradation
from vsr.errors import ConfigError
from vsr.models.build import CHOICES, build
from vsr.preset import load_degradation, load_preset, load_training, preset_names
from vsr.train.config_file import as_toml, first_difference
from vsr.train.discriminators import UNET_MULTIPLE
from vsr.training import Discriminator, Generator, Losses, Optimizer, Stage, Training, shrunk_for_smoke, steps_of

TRAINING = [name for name in preset_names() if load_preset(name).train is not None]


def training(name, *overrides):
    return load_training(name, overrides)[0]


def stages(name):
    return {stage.name: stage for stage in training(name).stages}


def refusal(name, *overrides):
    with pytest.raises(ConfigError) as caught:
        load_training(str(name), overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def written(folder, text, name="mine.toml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


# Presets


def test_every_preset_but_two_trains():
    assert sorted([*TRAINING, "bicubic", "fast"]) == preset_names()


@pytest.mark.parametrize("name", TRAINING)
def test_every_preset_trains_a_network_that_can_be_built(name):
    generator = training(name).generator
    choices = CHOICES[generator.arch]
    assert training(name).scale in choices.scales
    given = {f.name for f in fields(generator) if getattr(generator, f.name) is not None}
    assert given - {"arch", "init", "num_feat", "checkpointing"} <= set(choices.takes)


def test_a_generator_is_described_in_the_words_of_build():
    words = {field.name for field in fields(Generator)} - {"init", "checkpointing"}
    assert words == set(inspect.signature(build).parameters) - {"scale"}


@pytest.mark.parametrize("name", TRAINING)
def test_every_preset_damages_as_far_as_crops_go(name):
    settings, degradation = load_training(name)
    assert degradation == load_degradation(name)
    assert (settings.data.crop + settings.data.margin) % settings.scale == 0
    assert settings.data.pool >= max(stage.batch for stage in settings.stages)


def test_real_world_is_what_was_published():
    settings, degradation = load_training("real_world")
    assert degradation == Degradation()
    assert settings.generator == Generator(arch="rrdb", num_feat=64, depth=23, num_grow=32)
    assert (settings.scale, settings.data.crop, settings.data.margin) == (4, 256, 144)
    assert (settings.data.flips, settings.data.rotations) == (True, False)
    net, gan = settings.stages
    assert (net.name, net.length, net.batch, net.ema) == ("net", 1_000_000, 48, 0.999)
    assert net.losses == Losses(l1=1.0)
    assert net.optimizer == Optimizer(lr=2e-4, betas=(0.9, 0.99))
    assert (gan.name, gan.length, gan.batch, gan.ema) == ("gan", 400_000, 48, 0.999)
    assert gan.losses == Losses(l1=1.0, perceptual=1.0, adversarial=0.1)  # layers: the file's, which are the published
    assert gan.optimizer == Optimizer(lr=1e-4, betas=(0.9, 0.99))
    assert gan.discriminator == Discriminator(kind="unet", num_feat=64, loss="vanilla", optimizer=Optimizer(lr=1e-4))
    assert degradation.sharpen
    assert not gan.sharpen_real


def test_anime_is_real_world_with_six_blocks():
    own, official = training("anime"), training("real_world")
    assert own == replace(official, generator=replace(official.generator, depth=6))


def test_video_hears_its_judge_half_as_loud_and_is_not_sharpened():
    settings, degradation = load_training("video")
    assert settings.generator == Generator(arch="compact", num_feat=64, depth=16)
    assert stages("video")["gan"].losses.adversarial == 0.05
    assert not degradation.sharpen


def test_esrgan_is_what_was_published():
    net, gan = stages("esrgan")["net"], stages("esrgan")["gan"]
    assert load_training("esrgan")[1] == load_degradation("bicubic")
    assert training("esrgan").data.crop == 128
    assert (net.length, net.batch, net.losses, net.optimizer.lr) == (1_000_000, 16, Losses(l1=1.0), 2e-4)
    assert gan.losses == Losses(l1=0.01, perceptual=1.0, layers={"conv5_4": 1.0}, adversarial=0.005)
    assert [share * steps_of(gan.length, 1) for share in gan.optimizer.milestones] == [
        50_000,
        100_000,
        200_000,
        300_000,
    ]
    judge = gan.discriminator
    assert judge is not None
    assert (judge.kind, judge.loss, judge.pooled, judge.optimizer) == ("vgg", "relativistic", False, gan.optimizer)


def test_srgan_is_what_was_asked_for():
    net, gan = stages("srgan")["net"], stages("srgan")["gan"]
    assert training("srgan").generator.arch == "srresnet"
    assert net.losses == Losses(mse=1.0)
    weights = {name: weight for name, weight in gan.losses.weights().items() if weight}
    assert weights == {"mse": 1.0, "perceptual": 6e-3, "adversarial": 1e-3, "tv": 1e-6}
    assert gan.discriminator is not None
    assert gan.discriminator.kind == "srgan"


def test_srcnn_is_what_learned_in_a_minute():
    (net,) = training("srcnn").stages
    assert training("srcnn").generator.kernels == (9, 1, 5)
    assert net.losses == Losses(mse=1.0, on_luma=True)
    assert net.optimizer == Optimizer(lr=1e-3, clip=0.1, decay="cosine")
    assert (training("srcnn").data.crop, net.batch) == (128, 4)


def test_finetune_unfreezes_every_parameter_once_from_the_tail_inwards():
    settings = training("finetune")
    (stage,) = settings.stages
    depth = settings.generator.depth
    assert depth is not None
    net = build("rrdb", num_feat=8, num_grow=4, depth=depth)
    began = {}
    for name, _ in net.named_parameters():
        fitting = [k for k, group in enumerate(stage.unfreeze) if name.startswith(group)]
        assert len(fitting) == 1, name
        block = re.match(r"body\.(\d+)\.", name)
        began[int(block[1]) if block else name] = fitting[0]
    blocks = [began[number] for number in range(depth)]
    assert blocks == sorted(blocks, reverse=True)
    assert began["conv_last.weight"] == began["conv_up1.weight"] == 0 < began["conv_body.weight"] < min(blocks)
    assert began["conv_first.weight"] == max(blocks)
    assert len(stage.unfreeze) * steps_of(stage.unfreeze_every, 1) < steps_of(stage.length, 1) / 2
    assert settings.generator.init
    assert settings.data.jitter > 0


# TOML


def test_a_stage_has_the_losses_that_are_written_and_no_others(tmp_path):
    path = written(
        tmp_path, "degrade = 'bicubic'\n[train]\n[[train.stages]]\nlosses = { mse = 2 }\n[[train.stages]]\nname = 'b'"
    )
    assert [stage.losses for stage in training(str(path)).stages] == [Losses(mse=2.0), Losses(l1=1.0)]


def test_a_table_of_a_judge_keeps_what_it_does_not_write(tmp_path):
    text = "degrade = 'bicubic'\n[train]\n[[train.stages]]\n[train.stages.discriminator.optimizer]\nclip = 1"
    assert training(str(written(tmp_path, text))).stages == (
        Stage(discriminator=Discriminator(optimizer=Optimizer(lr=1e-4, clip=1.0))),
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("sed = 1", "train: key 'sed' is unknown; did you mean 'seed'?"),
        ("seed = 1.5", "train.seed = 1.5: should be a valid integer"),
        ("scale = 0", "train: scale = 0: give 1 or more"),
        ("save_every = -1", "train: save_every = -1: must not be negative"),
        ("data = 3", "train.data = 3: should be a table"),
        ("[train.data]\ncrop = 130", "train: crop = 130: must be a multiple of the scale, 4"),
        ("[train.data]\nfit = 'cut'", "train.data.fit = 'cut': should be 'crop' or 'resize'"),
        ("[train.data]\nfraction = 0", "train.data: fraction = 0: lies between 0 and 1"),
        ("[train.generator]\nkernels = [9, 5]", "train.generator.kernels.2: is missing; add it"),
        (
            "[train.validation]\nbest = 'psnr'",
            "train.validation: best = 'psnr': give one of psnr_y, ssim_y, val_loss, lpips, colour_drift",
        ),
        ("stages = []", "train: stages: needs at least one"),
        ("[train.stages]\nlength = 3", "train.stages: should be a list of tables; write each as [[train.stages]]"),
        ("stages = [3]", "train.stages.1 = 3: should be a table"),
        ("[[train.stages]]\nlosses = { l2 = 1 }", "train.stages.1.losses: key 'l2' is unknown; did you mean 'l1'?"),
        (
            "[[train.stages]]\nname = 'gan'\nlosses = { l2 = 1 }",
            "train.stages.gan.losses: key 'l2' is unknown; did you mean 'l1'?",
        ),
        (
            "[[train.stages]]\nname = 'gan'\nlosses = { tv = -1 }",
            "train.stages.gan.losses: tv = -1: a weight is 0 or more",
        ),
        (
            "[[train.stages]]\nname = 'gan'\nlosses = { ramp = 5 }",
            "train.stages.gan: losses: none has a weight; give one, such as l1 = 1",
        ),
        (
            "[[train.stages]]\nname = 'gan'\nlosses = { adversarial = 0.1 }",
            "train.stages.gan: losses.adversarial = 0.1: add a table discriminator",
        ),
        (
            "[[train.stages]]\nname = 'gan'\ndiscriminator = { kind = 'patch' }",
            "train.stages.gan.discriminator.kind = 'patch': should be 'unet', 'vgg' or 'srgan'",
        ),
        (
            "[[train.stages]]\nname = 'gan'\ndiscriminator = { loss = 'hinge', smoothing = 0.1 }",
            "train.stages.gan.discriminator: smoothing = 0.1: has no place in hinge; leave it out",
        ),
        (
            "[[train.stages]]\nname = 'gan'\ndiscriminator = { optimizer = { lr = 0 } }",
            "train.stages.gan.discriminator.optimizer: lr = 0: must be more than 0",
        ),
        ("[[train.stages]]\noptimizer = { lr = inf }", "train.stages.1.optimizer: lr = inf: must be more than 0"),
        (
            "[[train.stages]]\nlength = 'ten epochs'",
            "train.stages.1: length = 'ten epochs': give steps, such as 5000, or epochs, such as \"20 epochs\"",
        ),
        ("[[train.stages]]\nlength = 0.5", "train.stages.1.length = 0.5: should be a valid integer or a valid string"),
        ("[[train.stages]]\nbatch = 5\naccumulate = 2", "train.stages.1: accumulate = 2: must divide the batch of 5"),
        ("[[train.stages]]\nname = 'a b'", "train.stages.a b: name = 'a b': give small letters"),
        ("[[train.stages]]\n[[train.stages]]", "train: stages: the names net, net are not different"),
        (
            "[[train.stages]]\nname = 'gan'\ndegrade = 'vidoe'",
            "train.stages.gan.degrade = 'vidoe': preset 'vidoe' is unknown; did you mean 'video'?",
        ),
    ],
)
def test_training_that_makes_no_sense_is_one_line(tmp_path, text, line):
    path = written(tmp_path, f"degrade = 'bicubic'\n[train]\n{text}\n")
    assert refusal(path) == f"{path}: {line}"


def test_a_preset_that_does_not_train_says_so():
    line = "preset 'bicubic' says nothing about training; add a table [train], or give another"
    assert refusal("bicubic") == line


def test_training_needs_damage(tmp_path):
    path = written(tmp_path, "[train]\nscale = 2")
    assert refusal(path) == f"preset '{path}' says nothing about damage; add a table [degrade], or give another"


# The damage of another preset


def test_a_preset_takes_its_damage_from_another(tmp_path):
    first = written(tmp_path, "degrade = 'film'", "first.toml")
    second = written(tmp_path, f"degrade = '{first}'", "second.toml")
    assert load_degradation(str(second)) == load_degradation("film")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("degrade = 'flim'", "degrade = 'flim': preset 'flim' is unknown; did you mean 'film'?"),
        ("degrade = './none.toml'", "degrade = './none.toml': none.toml: no such preset file"),
        ("degrade = 3", "degrade = 3: should be a table"),
    ],
)
def test_damage_that_cannot_be_had_is_one_line(tmp_path, text, line):
    path = written(tmp_path, text)
    assert refusal(path) == f"{path}: {line}"


def test_damage_that_leads_back_to_itself_is_one_line(tmp_path):
    path, other = tmp_path / "a.toml", tmp_path / "b.toml"
    written(tmp_path, f"degrade = '{other}'", "a.toml")
    written(tmp_path, f"degrade = '{path}'", "b.toml")
    assert refusal(path) == (
        f"{path}: degrade = '{other}': {other}: degrade = '{path}': leads back to itself; "
        "write a table [degrade] in one of them"
    )


def test_damage_that_another_preset_has_wrong_is_said_of_that(tmp_path):
    other = written(tmp_path, "[degrade]\nframes = 100", "other.toml")
    path = written(tmp_path, f"degrade = '{other}'")
    line = f"{path}: degrade = '{other}': {other}: degrade: frames = 100: a sample has 1 to 64 frames"
    assert refusal(path) == line


# --set


@pytest.mark.parametrize(
    ("override", "look"),
    [
        ("data.crop=128", lambda run, _: run.data.crop == 128),
        (" scale = 2 ", lambda run, _: run.scale == 2),
        ("generator.num_feat=32", lambda run, _: run.generator == Generator(num_feat=32, depth=23, num_grow=32)),
        ("generator.init=runs/my net.pth", lambda run, _: run.generator.init == "runs/my net.pth"),
        (
            "stages.gan.losses.l1=0.5",
            lambda run, _: run.stages[1].losses == Losses(l1=0.5, perceptual=1, adversarial=0.1),
        ),
        ('stages.net.length="10 epochs"', lambda run, _: run.stages[0].length == "10 epochs"),
        ("stages.net.length=10 epochs", lambda run, _: run.stages[0].length == "10 epochs"),
        ("stages.gan.losses.layers={conv5_4=1}", lambda run, _: run.stages[1].losses.layers == {"conv5_4": 1.0}),
        ("stages.gan.discriminator.optimizer.clip=1", lambda run, _: run.stages[1].discriminator.optimizer.clip == 1),
        (
            "stages.net.discriminator.num_feat=8",
            lambda run, _: run.stages[0].discriminator == Discriminator(num_feat=8),
        ),
        ("stages.net.degrade=bicubic", lambda run, _: run.stages[0].degrade == "bicubic"),
        ("degrade.first.noise.sigma=[1,20]", lambda _, damage: damage.first.noise.sigma == (1, 20)),
        ("degrade=real_world", lambda _, damage: damage == Degradation()),
        ("degrade=film", lambda _, damage: damage == load_degradation("film")),
    ],
)
def test_set_changes_what_it_names(override, look):
    assert look(*load_training("real_world", [override]))


def test_sets_come_after_one_another():
    settings, damage = load_training("compact", ["scale=3", "data.crop=96", "degrade.frames=2", "scale=2"])
    assert (settings.scale, settings.data.crop) == (2, 96)
    assert damage == replace(load_degradation("real_world"), frames=2)


def test_set_knows_the_stage_of_a_preset_that_writes_none(tmp_path):
    path = written(tmp_path, "degrade = 'bicubic'\n[train]")
    assert training(str(path), "stages.net.losses.tv=1").stages == (Stage(losses=Losses(tv=1)),)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("data.crop", " data.crop: has no '='; write it as key=value"),
        ("stages.gam.length=5", " stages.gam.length=5: 'gam' is unknown; did you mean 'gan'?"),
        ("stages.gan=5", " stages.gan=5: stages.gan: is no key of a table"),
        ("data.crop.px=5", " data.crop.px=5: data.crop.px: is no key of a table"),
        ("degrade=flim", " degrade=flim: degrade = 'flim': preset 'flim' is unknown; did you mean 'film'?"),
        ("data.corp=5", ": train.data: key 'corp' is unknown; did you mean 'crop'?"),
        ("data.crop=big", ": train.data.crop = 'big': should be a valid integer"),
        ("stages.gan.losses.l2=5", ": train.stages.gan.losses: key 'l2' is unknown; did you mean 'l1'?"),
        ("degrade.fist.noise.sigma=5", ": degrade: key 'fist' is unknown; did you mean 'first'?"),
        ("scale=3", ": train: crop = 256: must be a multiple of the scale, 3"),
        (
            "stages.gan.degrade=flim",
            ": train.stages.gan.degrade = 'flim': preset 'flim' is unknown; did you mean 'film'?",
        ),
    ],
)
def test_a_set_that_makes_no_sense_is_one_line(override, line):
    assert refusal("real_world", override) == f"--set{line}"


def test_what_a_file_has_wrong_is_not_blamed_on_set(tmp_path):
    path = written(tmp_path, "[train]\nsed = 1")
    assert refusal(path, "seed=1") == f"{path}: train: key 'sed' is unknown; did you mean 'seed'?"


# Written settings


@pytest.mark.parametrize("name", TRAINING)
def test_written_settings_are_read_back_the_same(tmp_path, name):
    settings = load_training(name)
    path = written(tmp_path, as_toml(*settings))
    assert load_training(str(path)) == settings
    assert as_toml(*load_training(str(path))) == as_toml(*settings)


def test_odd_texts_and_numbers_are_written_so_that_they_can_be_read(tmp_path):
    odd = 'a "quoted" \\ path\nwith\x7f é'
    settings = Training(
        trained_on=odd,
        stages=(Stage(losses=Losses(perceptual=1 / 3, layers={"a layer": 1e-7})),),
        generator=Generator(init="C:\\weights"),
    )
    path = written(tmp_path, as_toml(settings, Degradation()))
    assert load_training(str(path)) == (settings, Degradation())


def test_equal_runs_do_not_differ():
    assert first_difference(load_training("video"), load_training("video")) is None


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("stages.gan.losses.l1=0.5", "train.stages.gan.losses.l1: 1.0 there, 0.5 here"),
        ("data.workers=2", "train.data.workers: nothing there, 2 here"),
        ("stages.net.length=10 epochs", 'train.stages.net.length: 100000 there, "10 epochs" here'),
        ("stages.net.discriminator.num_feat=8", "train.stages.net.discriminator: nothing there, a table here"),
        ("stages.gan.name=judged", "train.stages: net and gan there, net and judged here"),
        ("stages.gan.losses.layers={a=1}", "train.stages.gan.losses.layers: {} there, { a = 1.0 } here"),
        ("degrade.first.noise.sigma=[1,20]", "degrade.first.noise.sigma: [1.0, 15.0] there, [1.0, 20.0] here"),
        (
            "degrade.second.compression.codecs.vp9.share=1",
            "degrade.second.compression.codecs.vp9.share: 0.15 there, 1.0 here",
        ),
    ],
)
def test_the_first_difference_is_named_with_both_values(override, line):
    assert first_difference(load_training("video"), load_training("video", [override])) == line


# Lengths and smoke


@pytest.mark.parametrize(
    ("length", "steps"), [(7, 7), (0, 0), ("1 epoch", 50), ("2.5 epochs", 125), ("0.001 epochs", 1)]
)
def test_lengths_are_steps_or_epochs(length, steps):
    assert steps_of(length, 50) == steps


@pytest.mark.parametrize("name", TRAINING)
def test_smoke_keeps_stages_losses_and_features(name):
    settings = training(name)
    small = shrunk_for_smoke(settings)
    assert small.data.jitter == settings.data.jitter
    for before, after in zip(settings.stages, small.stages, strict=True):
        assert after.name == before.name
        assert after.losses.weights() == before.losses.weights()
        assert bool(after.losses.ramp) == bool(before.losses.ramp)
        assert bool(after.optimizer.warmup) == bool(before.optimizer.warmup)
        assert after.unfreeze == before.unfreeze
        assert len(after.unfreeze) * steps_of(after.unfreeze_every, 1) <= steps_of(
            after.length, 1
        )  # each group gets its turn
        assert (after.discriminator is None) == (before.discriminator is None)
        if after.discriminator and before.discriminator:
            assert after.discriminator.loss == before.discriminator.loss
            assert bool(after.discriminator.warmup) == bool(before.discriminator.warmup)
            assert after.discriminator.pooled == (before.discriminator.kind != "unet")


@pytest.mark.parametrize("name", TRAINING)
def test_smoke_is_small(name):
    small = shrunk_for_smoke(training(name))
    words = {name: value for name, value in asdict(small.generator).items() if name not in ("init", "checkpointing")}
    net = build(**words, scale=small.scale)
    assert sum(p.numel() for p in net.parameters()) < 1_100_000  # some 0.2 s a step on one core
    assert all(stage.length == 12 and stage.batch == 4 for stage in small.stages)
    assert small.data.crop + small.data.margin == 128


@pytest.mark.parametrize("scale", [1, 2, 3, 5, 8, 16])
def test_smoke_crops_to_what_scale_and_judge_take(scale):
    odd = shrunk_for_smoke(training("compact", f"scale={scale}", f"data.crop={scale * 32}"))
    assert odd.data.crop % scale == odd.data.margin % scale == odd.data.crop % UNET_MULTIPLE == 0
    assert 40 <= odd.data.crop <= 64


def test_smoke_is_itself_valid_as_a_file(tmp_path):
    settings, damage = load_training("finetune")
    small = shrunk_for_smoke(settings)
    assert load_training(str(written(tmp_path, as_toml(small, damage)))) == (small, damage)


def test_no_weight_is_endless():
    with pytest.raises(ConfigError, match="l1 = nan: a weight is 0 or more"):
        Losses(l1=math.nan)
