"""Two processes train what one would with the whole batch, and decide alike."""

import multiprocessing
import os
import socket
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from vsr.errors import Cancelled, ConfigError, VsrError
from vsr.models.srresnet import SRResNet
from vsr.preset import load_degradation
from vsr.stage import Cancel
from vsr.train.learner import Learner, Setting
from vsr.train.prepare import Order, prepare
from vsr.train.run_folder import RunFolder, load_state
from vsr.train.schedule import Lengths
from vsr.train.team import Team
from vsr.train.trainer import Trainer
from vsr.training import Data, Discriminator, Generator, Losses, Optimizer, Stage, Training, Validation

if TYPE_CHECKING:
    from accelerate import Accelerator

NET = Stage(length=6, batch=4, optimizer=Optimizer(lr=2e-4, clip=1.0), precision="fp32")  # the published rate
GAN = replace(
    NET,
    name="gan",
    length=4,
    losses=Losses(l1=1.0, adversarial=0.1),
    discriminator=Discriminator(kind="vgg", pooled=True, num_feat=4, loss="relativistic", instance_noise=0.05),
)
TINY = Training(
    generator=Generator(arch="srresnet", num_feat=8, depth=1, tanh=False),
    data=Data(crop=32, margin=8, pool=4, reuse=1.0, workers=0, jitter=0.1),  # no pool: every pair is used once
    validation=Validation(every=3, crop=64, pictures=1),
    stages=(NET,),
    save_every=3,
)
PLAIN = replace(TINY, generator=Generator(arch="compact", num_feat=8, depth=1))  # no batch normalisation
STALLING = replace(
    PLAIN,
    stages=(replace(NET, length=9, optimizer=Optimizer(lr=1e-12)),),
    validation=Validation(every=1, crop=64, pictures=1, patience=2, best="ssim_y"),
)


def carry_out(folder: Path, name: str, training: Training, team: Team, cancel: Cancel | None = None) -> None:
    """Train on the pictures in `folder`, into a folder called `name` in it."""
    out = folder / name
    plan = prepare(
        training, load_degradation("bicubic"), Order(data=(folder / "in",), device="cpu"), team=team, out=out
    )
    run = RunFolder(out)
    if team.is_first:
        with run.held():
            pass
    team.wait()
    Trainer(replace(plan, threads=1), run, team, lambda _: None, cancel or Cancel()).run()


def stopped(folder: Path, team: Team) -> None:
    """A stop that only the second process hears of."""
    cancel, steps = Cancel(), []
    original = Learner.step

    def step(self, number, low, truth):
        if number == 2 and not team.is_first:
            cancel.set()
        steps.append(number)
        return original(self, number, low, truth)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "step", step)
        with pytest.raises(Cancelled):
            carry_out(folder, "stopped", PLAIN, team, cancel)
    assert steps == [0, 1, 2]


def skipping(folder: Path, team: Team) -> None:
    """A loss that is not finite, and memory that is short, in the second process only."""
    made, original = [], Learner._teach_generator

    def teach(self, step, low, target):
        made.append((step, self._parts))
        if not team.is_first and step == 1 and self._parts == 1:
            raise torch.OutOfMemoryError("out of memory")
        sums, results = original(self, step, low, target)
        if not team.is_first and step == 3:
            sums["g"] = sums["g"] * float("nan")
        return sums, results

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "_teach_generator", teach)
        carry_out(folder, "skipping", PLAIN, team)
    assert made == [(0, 1), (1, 1), (1, 2), (2, 2), (3, 2), (4, 2), (5, 2)]


def member(rank: int, port: int, folder: Path) -> None:
    """What one of two processes does; a file tells what went wrong in it."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    try:
        with Team.join(on_cpu=True) as team:
            assert (team.rank, team.size, team.device) == (rank, 2, torch.device("cpu"))
            carry_out(folder, "plain", PLAIN, team)
            carry_out(folder, "norms", replace(TINY, stages=(NET, GAN)), team)
            carry_out(folder, "stalled", STALLING, team)
            stopped(folder, team)
            skipping(folder, team)
            carry_out(folder, "stopped", PLAIN, team)  # goes on
            with pytest.raises(ConfigError, match=r"stages\.net\.batch = 5: is shared by 2 processes"):
                carry_out(folder, "odd", replace(PLAIN, stages=(replace(NET, batch=5),)), team)
            if not team.is_first:
                (folder / "mine").mkdir()
            with pytest.raises(ConfigError, match="not all processes see the same"):
                unshared(folder / "unshared" if team.is_first else folder / "mine" / "unshared", team)
        assert not torch.distributed.is_initialized()
    except BaseException:
        (folder / f"failed_{rank}").write_text(traceback.format_exc())
        raise


def unshared(out: Path, team: Team) -> None:
    if team.is_first:
        with RunFolder(out).held():
            RunFolder(out).save_state("last", {})
    pictures = out.parent / "in" if team.is_first else out.parent.parent / "in"
    plan = prepare(PLAIN, load_degradation("bicubic"), Order(data=(pictures,), device="cpu"), team=team, out=out)
    Trainer(plan, RunFolder(out), team, lambda _: None, Cancel()).run()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes, and for comparison one, have trained."""
    folder = tmp_path_factory.mktemp("team")
    (folder / "in").mkdir()
    rng = np.random.default_rng(0)
    for index in range(5):
        small = rng.integers(0, 256, (12, 14, 3), dtype=np.uint8)
        Image.fromarray(small).resize((112, 96), Image.Resampling.BICUBIC).save(folder / "in" / f"{index}.png")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    members = [spawn.Process(target=member, args=(rank, port, folder)) for rank in range(2)]
    for process in members:
        process.start()
    carry_out(folder, "one", PLAIN, Team())
    for process in members:
        process.join(300)  # a busy machine takes long to import torch twice
        process.kill()
    failures = [path.read_text() for path in sorted(folder.glob("failed_*"))]
    assert not failures, "\n".join(failures)
    assert [process.exitcode for process in members] == [0, 0]
    return folder


def learned(folder: Path, name: str) -> Any:
    return cast(Any, load_state(RunFolder(folder / name).state("last"))["learner"])


def test_two_processes_equal_one_with_the_doubled_batch(folder):
    one, two = learned(folder, "one"), learned(folder, "plain")
    for weights in ("net", "averaged"):
        for name, tensor in one[weights].items():
            torch.testing.assert_close(two[weights][name], tensor, rtol=0, atol=1e-5)
    moved = max(float((one["net"][name] - one["averaged"][name]).abs().max()) for name in one["net"])
    assert moved > 1e-4  # a last step is 2e-4: what was cut otherwise would show


def test_a_gan_stage_of_two_processes_runs_through(folder):
    run = RunFolder(folder / "norms")
    assert {row["step"] for row in run.rows() if row["kind"] == "val"} == {0, 3, 6, 9, 10}
    assert all(torch.isfinite(x).all() for x in learned(folder, "norms")["judge"].values())
    assert run.model.is_file()


def test_a_stage_that_stalls_ends_in_both_processes(folder):
    steps = [row["step"] for row in RunFolder(folder / "stalled").rows() if row["kind"] == "val"]
    assert steps == list(range(len(steps)))
    assert len(steps) < 9


def test_a_stop_in_one_process_stops_both_and_they_go_on(folder):
    for name, tensor in learned(folder, "one")["net"].items():
        torch.testing.assert_close(learned(folder, "stopped")["net"][name], tensor, rtol=0, atol=1e-5)


def test_what_one_process_cannot_do_none_does(folder):
    state = learned(folder, "skipping")
    assert state["parts"] == 2
    assert state["updates"] == 5  # of six steps


def test_statistics_are_those_of_both_shares():
    class Halved(Team):
        def average(self, tensors):
            for tensor in tensors:
                tensor.mul_(0.5)

    net = SRResNet(num_feat=4, num_block=1)
    setting = Setting(
        device=torch.device("cpu"), dtype=torch.float32, sharpen=False, seed=0, stage_number=0, perceptual=None
    )
    learner = Learner(net, None, NET, Lengths.of(NET, files=4), setting, Halved())
    learner.share_statistics()
    for each in (learner.net, learner.averaged):
        assert float(each.state_dict()["bn_body.running_var"][0]) == 0.5


def test_alone_nothing_is_asked_of_others():
    team = Team()
    assert (team.size, team.rank, team.device, team.is_first) == (1, 0, None, True)
    assert team.any(True)
    assert not team.all(False)
    assert team.as_first(3) == 3
    with team:
        team.wait()


def test_losing_the_others_is_one_line():
    class Gone:
        device, process_index = torch.device("cpu"), 1

        def reduce(self, x, reduction):
            raise RuntimeError("Connection closed by peer\nmore")

    with pytest.raises(VsrError, match=r"^process 1: lost the others: Connection closed by peer; see what they say$"):
        Team(cast("Accelerator", Gone())).wait()
