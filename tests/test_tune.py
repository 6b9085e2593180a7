"""What is chosen for a device: type, tiles, cores."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from vsr.engine import tune
from vsr.engine.tune import (
    FIDELITY_8_BIT,
    FIDELITY_DEEP,
    choose_batch,
    choose_device,
    choose_precision,
    choose_tile,
    default_overlap,
    divide_cores,
    fast_types,
    measure_fidelity,
    probe_picture,
)
from vsr.engine.upscaler import Upscaler
from vsr.errors import ConfigError
from vsr.models.catalog import EMBEDDED
from vsr.models.checkpoint import describe, load_model
from vsr.models.compact import SRVGGNetCompact
from vsr.models.rrdb import RRDBNet
from vsr.models.store import find

CPU = torch.device("cpu")
OFFICIAL = ["realesr-animevideov3.pth", "realesr-general-x4v3.pth", "realesr-general-wdn-x4v3.pth"]


def real_frames(media: Path) -> list[torch.Tensor]:
    """A crop of a frame of each of four clips, (1, 3, 96, 128) in [0, 1]."""
    frames = []
    for name in ("bikes.mp4", "carphone_distorted.mp4", "bigbuckbunny.mp4", "awesome_movie.mov"):
        with av.open(str(media / "video" / name)) as file:
            for number, frame in enumerate(file.decode(video=0)):
                if number == 8:
                    rgb = frame.to_ndarray(format="rgb24")[:96, :128].astype(np.float32) / 255
                    frames.append(torch.from_numpy(rgb).permute(2, 0, 1)[None])
                    break
    return frames


def devices() -> list[torch.device]:
    return [CPU, *([torch.device("cuda")] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("name", [*EMBEDDED, *OFFICIAL])
def test_the_chosen_type_holds_its_bound_on_real_frames(media, name):
    net, _ = load_model(find(name) if name in EMBEDDED else media / "weights" / name)
    for device in devices():
        for fidelity in (FIDELITY_8_BIT, FIDELITY_DEEP):
            dtype, _ = choose_precision("auto", net, device, fidelity=fidelity)
            for frame in real_frames(media):
                psnr, mean = measure_fidelity(net, device, dtype, frame)
                assert psnr >= fidelity.psnr, f"{name} in {dtype} on {device}"
                assert mean <= fidelity.mean


def test_a_type_that_misses_the_bound_is_not_chosen(monkeypatch):
    torch.manual_seed(0)
    net = SRVGGNetCompact(num_feat=16, num_conv=6, scale=2)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(2.5)  # wild enough that eight bits of mantissa are too few
    monkeypatch.setattr(tune, "fast_types", lambda device: (torch.bfloat16,))
    assert measure_fidelity(net, CPU, torch.bfloat16, probe_picture())[0] < FIDELITY_8_BIT.psnr
    assert choose_precision("auto", net, CPU, fidelity=FIDELITY_8_BIT)[0] == torch.float32
    assert choose_precision("bf16", net, CPU, fidelity=FIDELITY_8_BIT)[0] == torch.bfloat16, "an order is an order"


def test_the_probe_picture_is_in_range_and_always_the_same():
    picture = probe_picture()
    assert picture.shape == (1, 3, 64, 64)
    assert 0 <= float(picture.min()) < 0.05
    assert 0.95 < float(picture.max()) <= 1
    assert torch.equal(picture, probe_picture())


def test_devices_that_are_not_there_are_one_line():
    for wanted, words in (("tpu9", "unknown"), ("cuda:99", "cuda|CUDA"), ("xpu", "not supported")):
        with pytest.raises(ConfigError, match=words):
            choose_device(wanted)
    device, why = choose_device("auto")
    assert why
    assert device.type in ("cpu", "cuda", "mps")


@pytest.mark.skipif(not fast_types(CPU), reason="this CPU has no bfloat16 instructions")
def test_a_cpu_with_bfloat16_instructions_uses_them():
    net, _ = load_model(find("vsr-fast-x4"))
    assert choose_precision("auto", net, CPU, fidelity=FIDELITY_8_BIT)[0] == torch.bfloat16


def test_large_networks_get_tiles_and_small_ones_whole_frames():
    compact = describe(SRVGGNetCompact(num_feat=64, num_conv=16), name="c")
    rrdb = describe(RRDBNet(num_feat=64, num_block=2, num_grow_ch=32, scale=4), name="r")
    assert choose_tile(compact, CPU, torch.bfloat16, batch=1, height=480, width=640) is None
    tile = choose_tile(rrdb, CPU, torch.float32, batch=1, height=1080, width=1920)
    assert tile is not None
    assert 2 * default_overlap(rrdb) < tile < 1080


def test_overlap_is_the_reach_where_it_can_be_afforded():
    assert default_overlap(describe(SRVGGNetCompact(num_feat=8, num_conv=16), name="c")) == 18
    rrdb = describe(RRDBNet(num_feat=8, num_block=23, num_grow_ch=4, scale=4), name="r")
    assert default_overlap(rrdb) == 32 < rrdb.reach


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_the_default_overlap_of_rrdb_stays_within_one_code(media, scale):
    """On the official tiny networks, two blocks deep; without overlap the same check fails, so it can."""
    net, spec = load_model(media / "oracle" / f"rrdb_tiny_x{scale}.pth")
    for frame in real_frames(media)[:2]:
        whole = Upscaler(net, spec)(frame)
        for overlap, holds in ((default_overlap(spec), True), (0, False)):
            tiled = Upscaler(net, spec, tile=80, overlap=overlap)(frame)
            assert ((whole - tiled).abs().max() <= 1 / 255) == holds


def test_cores_are_divided_into_workers_as_far_as_memory_goes():
    assert divide_cores(CPU, 100 << 20, cores=2).workers == 2
    tight = divide_cores(CPU, tune.machine_memory() // 8, cores=8)
    assert tight.workers == 2
    assert tight.threads_per_worker == 4
    assert divide_cores(CPU, 1 << 60, cores=8).workers == 1
    assert divide_cores(torch.device("cuda"), 1, cores=8).workers == 1


def test_small_frames_share_a_step_on_a_gpu_only():
    assert choose_batch(CPU, 100, 100) == 1
    assert choose_batch(torch.device("cuda"), 480, 640) == 6
    assert choose_batch(torch.device("cuda"), 2160, 3840) == 1


def test_fidelity_of_a_type_with_itself_is_all_but_perfect():
    net = SRVGGNetCompact(num_feat=8, num_conv=2)
    psnr, mean = measure_fidelity(net, CPU, torch.float32, probe_picture())
    assert psnr > 120, "only the order of sums differs between memory formats"
    assert mean < 1e-3


def test_an_unknown_precision_is_one_line():
    net, _ = load_model(find("vsr-fast-x4"))
    with pytest.raises(ConfigError, match="precision = fp8: unknown; give auto, fp32, bf16, fp16"):
        choose_precision("fp8", net, CPU, fidelity=FIDELITY_8_BIT)  # pyright: ignore[reportArgumentType]
