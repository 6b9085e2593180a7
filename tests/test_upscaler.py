"""The network on frames: tiles, failures, types."""

import numpy as np
import pytest
import torch

from vsr.engine.upscaler import Upscaler
from vsr.errors import Cancelled, ModelError
from vsr.models.checkpoint import describe
from vsr.models.compact import SRVGGNetCompact
from vsr.models.rrdb import RRDBNet
from vsr.stage import Cancel


def seeded(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def compact(scale=2):
    torch.manual_seed(1)
    net = SRVGGNetCompact(num_feat=8, num_conv=3, scale=scale)
    return net, describe(net, name="tiny")


def rrdb(scale):
    torch.manual_seed(1)
    net = RRDBNet(num_feat=8, num_block=1, num_grow_ch=4, scale=scale)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(2)  # as initialised it is so mild that far pixels do not show
        net.conv_last.weight.mul_(0.1)
        net.conv_last.bias.fill_(0.5)  # pyright: ignore[reportOptionalMemberAccess]
    return net, describe(net, name="tiny-rrdb")


@pytest.mark.parametrize(("make", "scale"), [(compact, 2), (compact, 4), (rrdb, 1), (rrdb, 2), (rrdb, 4)])
def test_tiling_is_exact_within_reach(make, scale):
    net, spec = make(scale)
    rgb = seeded((1, 3, 90, 122))
    whole = Upscaler(net, spec)(rgb)
    tiled = Upscaler(net, spec, tile=2 * spec.reach + 24, overlap=spec.reach)(rgb)
    assert whole.shape == tiled.shape == (1, 3, 90 * scale, 122 * scale)
    assert (whole - tiled).abs().max() <= 1e-5


def test_tiling_is_inexact_at_reach_minus_one():
    net, spec = compact()
    with torch.no_grad():
        for layer in net.body:
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight.zero_()
                layer.weight[:, :, 0, 0] = 1 / layer.in_channels  # shifts by a pixel: only the farthest counts
    rgb = seeded((1, 3, 60, 60)) * 0.4
    whole = Upscaler(net, spec)(rgb)
    for overlap, is_exact in ((spec.reach, True), (spec.reach - 1, False)):
        tiled = Upscaler(net, spec, tile=40, overlap=overlap)(rgb)
        assert ((whole - tiled).abs().max() <= 1e-5) == is_exact


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (7, 5), (33, 50)])
def test_any_size_goes_through_a_network_that_wants_multiples(size):
    net, spec = rrdb(1)
    assert spec.multiple == 4
    rgb = seeded((2, 3, *size))
    out = Upscaler(net, spec)(rgb)
    assert out.shape == rgb.shape


class Failing(torch.nn.Module):
    """Runs out of memory on pictures of more than `most` pixels."""

    def __init__(self, net, most):
        super().__init__()
        self.net, self.most = net, most
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if x.shape[0] * x.shape[2] * x.shape[3] > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.net(x)


def test_out_of_memory_halves_the_tile_and_gives_the_same_frame():
    net, spec = compact()
    rgb = seeded((1, 3, 96, 96))
    expected = Upscaler(net, spec)(rgb)
    upscaler = Upscaler(Failing(net, 50 * 50), spec)
    result = upscaler(rgb)
    assert upscaler.tile == 48
    assert upscaler.retries == 1
    assert (result - expected).abs().max() <= 1e-5


def test_out_of_memory_on_a_batch_first_goes_frame_by_frame():
    net, spec = compact()
    rgb = seeded((3, 3, 40, 40))
    upscaler = Upscaler(Failing(net, 40 * 40), spec)
    assert (upscaler(rgb) - Upscaler(net, spec)(rgb)).abs().max() <= 1e-5
    assert upscaler.tile is None
    assert upscaler.retries == 1


def test_out_of_memory_at_every_call_ends_with_one_line():
    net, spec = compact()
    upscaler = Upscaler(Failing(net, 0), spec)
    with pytest.raises(ModelError, match=r"tiny: out of memory on cpu even with tiles of \d+ pixels; close"):
        upscaler(seeded((1, 3, 96, 96)))


def test_out_of_memory_is_mended_when_a_frame_is_redone_in_float32():
    net, spec = compact()
    rgb = seeded((1, 3, 96, 96))
    upscaler = Upscaler(Failing(net, 50 * 50), spec, dtype=torch.bfloat16)
    assert (upscaler.rerun_exact(rgb) - Upscaler(net, spec)(rgb)).abs().max() <= 1e-5
    assert upscaler.tile == 48


def test_a_run_that_is_stopped_ends_at_the_next_tile():
    net, spec = compact()
    cancel = Cancel()
    counting = Failing(net, 96 * 96)
    upscaler = Upscaler(counting, spec, tile=24)
    counting.register_forward_hook(lambda *_: cancel.set() if counting.calls == 2 else None)
    with pytest.raises(Cancelled):
        upscaler.run(seeded((1, 3, 96, 96)), cancel=cancel)
    assert counting.calls == 2


def test_other_errors_are_not_taken_for_out_of_memory():
    class Broken(torch.nn.Module):
        def forward(self, x):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal"):
        Upscaler(Broken(), compact()[1])(seeded((1, 3, 16, 16)))


class WrongIn(torch.nn.Module):
    """Gives `value` in bfloat16 and is right in float32."""

    def __init__(self, net, value, dtype=torch.bfloat16):
        super().__init__()
        self.net, self.value, self.dtype = net, value, dtype

    def forward(self, x):
        out = self.net(x)
        if next(self.net.parameters()).dtype == self.dtype:
            out[..., 3:9, 5:9] = self.value
        return out


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_result_that_is_not_finite_is_computed_again_in_float32(value):
    net, spec = compact()
    rgb = seeded((2, 3, 30, 30))
    expected = Upscaler(net, spec)(rgb)
    upscaler = Upscaler(WrongIn(net, value), spec, dtype=torch.bfloat16)
    assert (upscaler(rgb) - expected).abs().max() <= 1e-5
    assert upscaler.retries == 1


def test_a_black_tile_where_the_source_is_not_is_computed_again():
    class BlackIn(WrongIn):
        def forward(self, x):
            out = self.net(x)
            return out * 0 if next(self.net.parameters()).dtype == self.dtype else out

    net, spec = compact()
    rgb = 0.2 + 0.5 * seeded((1, 3, 30, 30))
    upscaler = Upscaler(BlackIn(net, 0), spec, dtype=torch.bfloat16)
    assert (upscaler(rgb) - Upscaler(net, spec)(rgb)).abs().max() <= 1e-5
    assert upscaler.retries == 1


def test_a_black_source_may_stay_black():
    net, spec = compact()
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    upscaler = Upscaler(net, spec)
    assert upscaler(torch.zeros(1, 3, 20, 20)).max() == 0
    assert upscaler.retries == 0


def test_nan_in_float32_too_ends_with_one_line():
    net, spec = compact()
    upscaler = Upscaler(WrongIn(net, float("nan"), torch.float32), spec)
    with pytest.raises(ModelError, match="tiny: gives NaN or infinite values even in float32; use another model"):
        upscaler(seeded((1, 3, 20, 20)))


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_arrays_keep_their_dtype_and_agree_with_tensors(dtype, top):
    net, spec = compact()
    rgb = (seeded((20, 24, 3)).numpy() * top).astype(dtype)
    out = Upscaler(net, spec)(rgb)
    assert out.shape == (40, 48, 3)
    assert out.dtype == dtype
    tensor = Upscaler(net, spec)(torch.from_numpy(rgb.astype(np.float32) / top).permute(2, 0, 1)[None])
    expected = tensor[0].permute(1, 2, 0).numpy() * top
    assert np.abs(out.astype(np.float64) - expected).max() <= (0.51 if top > 1 else 1e-6)


def test_a_tensor_from_a_call_is_the_callers_to_change():
    large = Upscaler(*compact())(seeded((1, 3, 8, 8)))
    large.mul_(0.5)
    assert large.max() <= 0.5


def test_other_arrays_are_refused():
    upscaler = Upscaler(*compact())
    with pytest.raises(ValueError, match="a picture is"):
        upscaler(np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="expected"):
        upscaler(torch.zeros(3, 4, 4))
    with pytest.raises(ValueError, match="floating point"):
        upscaler(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
