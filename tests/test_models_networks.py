"""What every network promises: types, sizes, reach, and strips that change nothing."""

from collections.abc import Callable
from functools import partial

import pytest
import torch

from vsr.models.compact import SRVGGNetCompact, init_as_skip
from vsr.models.network import Network
from vsr.models.rrdb import RRDBNet
from vsr.models.rrdb_shuffle import RRDBShuffleNet
from vsr.models.srcnn import SRCNN
from vsr.models.srresnet import SRResNet

NETWORKS: dict[str, Callable[[], Network]] = {
    **{f"compact-x{scale}": partial(SRVGGNetCompact, num_feat=4, num_conv=2, scale=scale) for scale in (1, 2, 4)},
    **{
        f"rrdb-x{scale}": partial(RRDBNet, num_feat=4, num_block=1, num_grow_ch=2, scale=scale)
        for scale in (1, 2, 4, 8)
    },
    **{
        f"rrdb_shuffle-x{scale}": partial(RRDBShuffleNet, num_feat=4, num_block=1, num_grow_ch=2, scale=scale)
        for scale in (2, 4, 8)
    },
    **{
        f"srresnet-x{scale}": partial(SRResNet, num_feat=4, num_block=2, scale=scale, tanh=tanh)
        for scale, tanh in ((2, True), (4, False), (8, True))
    },
    **{
        f"srcnn-{first}{inner}{last}-x{scale}": partial(
            SRCNN, num_feat=4, num_inner=3, kernels=(first, inner, last), scale=scale
        )
        for first, inner, last in ((9, 1, 5), (9, 5, 5))
        for scale in (1, 2, 3, 4)
    },
}
each_network = pytest.mark.parametrize("name", NETWORKS)


def with_positive_weights(net: Network) -> Network:
    """Gradients through positive weights cannot cancel, so they show every tap; tame ones saturate no Tanh."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            fan_in = parameter[0].numel() if parameter.ndim == 4 else 1
            parameter.uniform_(0.3, 0.7).div_(fan_in).mul_(not name.endswith("bias"))
    return net.double().eval()  # the farthest taps underflow in fp32; in training, a norm looks at the whole picture


@each_network
def test_reach_is_exact(name: str):
    net = with_positive_weights(NETWORKS[name]())
    height, width = net.multiple, net.multiple * (2 * (net.reach // net.multiple + 2) + 1)
    farthest = 0
    for column in range(net.multiple):  # pixels of one unshuffled cell see differently far
        source = width // 2 // net.multiple * net.multiple + column
        x = torch.rand(1, 3, height, width, dtype=torch.float64, requires_grad=True)
        net(x)[..., source * net.scale : (source + 1) * net.scale].sum().backward()
        assert x.grad is not None
        seen = x.grad[0, 0].abs().amax(0).nonzero().flatten()
        farthest = max(farthest, *(abs(int(seen_column) - source) for seen_column in (seen[0], seen[-1])))
    assert farthest == net.reach


@each_network
def test_a_pixel_beyond_reach_changes_nothing(name: str):
    net = NETWORKS[name]().eval()
    size = net.multiple * (2 * (net.reach // net.multiple + 2) + 1)
    source = net.reach + 1
    x = torch.rand(1, 3, net.multiple, size)
    changed = x.clone()
    changed[..., 0] += 1
    with torch.no_grad():
        assert torch.equal(net(x)[..., source * net.scale :], net(changed)[..., source * net.scale :])


@each_network
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_whatever_the_weights_are_fp32_goes_in_and_comes_out(name: str, dtype, memory_format):
    net = NETWORKS[name]().eval()
    x = torch.rand(2, 3, 8, 12)
    with torch.no_grad():
        exact = net.float()(x)
        out = net.to(dtype).to(memory_format=memory_format)(x)
    assert out.dtype == torch.float32
    assert out.shape == (2, 3, 8 * net.scale, 12 * net.scale)
    assert (out - exact).abs().max() < 0.05  # 8 bits of mantissa, values around 1


@each_network
def test_networks_run_under_autocast(name: str):
    net = NETWORKS[name]().eval()
    x = torch.rand(1, 3, 8, 8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        out = net(x)
    assert out.dtype == torch.float32
    assert (out - net(x)).abs().max() < 0.05


def test_the_skip_path_keeps_fp32():
    net = SRVGGNetCompact(num_feat=4, num_conv=1)
    for parameter in net.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.rand(1, 3, 4, 4)
    with torch.no_grad():
        assert torch.equal(net.bfloat16()(x)[..., ::4, ::4], x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("height", "batch", "act"), [(40, 1, "prelu"), (41, 2, "relu"), (25, 1, "leakyrelu")])
def test_strips_give_the_same_picture(monkeypatch: pytest.MonkeyPatch, dtype, height: int, batch: int, act):
    net = SRVGGNetCompact(num_feat=16, num_conv=5, act=act).to(dtype).to(memory_format=torch.channels_last)
    x = torch.rand(batch, 3, height, 24)
    with torch.inference_mode():
        whole = net(x)
        monkeypatch.setattr("vsr.models.compact._STRIP_BYTES", 1)
        strips = net(x)
        monkeypatch.setattr(SRVGGNetCompact, "_forward_in_strips", lambda *_: None)
        assert net(x) is None  # strips were in fact taken
    assert (whole - strips).abs().max() < (1e-5 if dtype == torch.float32 else 1e-2)  # sums may be blocked otherwise


def test_gradients_do_not_run_through_strips(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vsr.models.compact._STRIP_BYTES", 1)
    net = SRVGGNetCompact(num_feat=4, num_conv=1)
    net(torch.rand(1, 3, 40, 8)).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_an_untrained_network_starts_near_its_skip_path():
    net = SRVGGNetCompact(num_feat=32, num_conv=8)
    init_as_skip(net, torch.Generator().manual_seed(0))
    x = torch.rand(1, 3, 16, 16)
    nearest = x.repeat_interleave(4, 2).repeat_interleave(4, 3)
    with torch.no_grad():
        assert 0 < (net(x) - nearest).abs().mean() < 0.05
