"""Every architecture's file, through the upscaler: tiles, types, and what its own arithmetic promises."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vsr.engine.tune import default_overlap, measure_fidelity, probe_picture
from vsr.engine.upscaler import Upscaler
from vsr.loading import load
from vsr.models.checkpoint import load_model, save_model
from vsr.models.network import Network, describe
from vsr.models.rrdb_shuffle import RRDBShuffleNet
from vsr.models.srcnn import SRCNN
from vsr.models.srresnet import SRResNet

NETWORKS: dict[str, Callable[[], Network]] = {
    "srresnet": lambda: SRResNet(num_feat=8, num_block=2, scale=4),
    "srresnet-no-tanh": lambda: SRResNet(num_feat=8, num_block=2, scale=2, tanh=False),
    "srcnn-x4": lambda: SRCNN(num_feat=8),
    "srcnn-x3": lambda: SRCNN(num_feat=8, kernels=(9, 5, 5), scale=3),
    "rrdb_shuffle": lambda: RRDBShuffleNet(num_feat=8, num_block=1, num_grow_ch=4, scale=4),
}
each_network = pytest.mark.parametrize("name", NETWORKS)


def saved(name: str, folder: Path) -> Path:
    """A weights file of a network that has seen pictures, so that its norms are not as they began."""
    torch.manual_seed(1)
    net = NETWORKS[name]()
    with torch.no_grad():
        net.train()(torch.rand(2, 3, 16, 16))
    save_model(net, describe(net, name=name), folder / "net.safetensors")
    return folder / "net.safetensors"


def pictures(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))


@each_network
def test_tiled_equals_whole_at_reach(name: str, tmp_path: Path):
    net, spec = load_model(saved(name, tmp_path))
    width = 2 * spec.reach + 40
    rgb = pictures(19, width)
    whole = Upscaler(net, spec)(rgb)
    tiled = Upscaler(net, spec, tile=2 * spec.reach + 24, overlap=spec.reach)(rgb)
    assert whole.shape == (1, 3, 19 * spec.scale, width * spec.scale)
    assert (whole - tiled).abs().max() <= 1e-5  # sums in another order, and thirds of pixels counted from elsewhere


@each_network
def test_a_weights_file_upscales_under_its_path(name: str, tmp_path: Path):
    upscaler = load(saved(name, tmp_path), device="cpu", precision="fp32", tile=64)
    net, spec = load_model(tmp_path / "net.safetensors")
    assert upscaler.overlap == default_overlap(spec)
    rgb = pictures(20, 31)
    assert torch.allclose(upscaler(rgb), net(rgb).clamp(0, 1), atol=1e-6)  # channels last sums otherwise


@each_network
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_the_bits_give_the_same_picture(name: str, dtype: torch.dtype, tmp_path: Path):
    net, spec = load_model(saved(name, tmp_path))
    psnr, _ = measure_fidelity(net, torch.device("cpu"), dtype, probe_picture())
    assert psnr > 35  # eight bits of mantissa, some ten layers deep
    assert Upscaler(net, spec, dtype=dtype)(pictures(9, 12)).isfinite().all()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_srcnn_leaves_the_chroma_of_the_enlargement_alone(scale: int):
    net = SRCNN(num_feat=4, scale=scale)
    rgb = pictures(8, 9)
    bicubic = torch.nn.functional.interpolate(rgb, scale_factor=scale, mode="bicubic", antialias=True)
    with torch.no_grad():
        step = net(rgb) - bicubic
    assert step.abs().max() > 0.01
    assert (step - step.mean(1, keepdim=True)).abs().max() < 1e-5  # the same in R, G and B


def test_srcnn_sees_a_flat_picture_alike_up_to_its_border():
    """Zeros beyond the border would show in the outer pixels, which no loss over inner pixels trains."""
    with torch.no_grad():
        out = SRCNN(num_feat=4)(torch.full((1, 3, 12, 12), 0.7))
    assert (out - out[..., 24:25, 24:25]).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["srresnet", "rrdb_shuffle"])
def test_a_tanh_keeps_even_wild_weights_in_range(name: str):
    net = NETWORKS[name]().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(5)
        out = net(pictures(8, 8))
    assert 0 <= float(out.min()) < 0.01
    assert 0.99 < float(out.max()) <= 1
