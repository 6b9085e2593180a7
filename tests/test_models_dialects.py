"""The names tensors have in other tools' files: each read, each written, and back bit for bit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from vsr.cli import run
from vsr.errors import ModelError
from vsr.models.checkpoint import load_model, save_model
from vsr.models.compact import SRVGGNetCompact
from vsr.models.dialects import DIALECTS, names_in, official_names
from vsr.models.network import describe
from vsr.models.rrdb import RRDBNet
from vsr.models.spec import HEADER_KEY, ModelSpec

SHAPES = [(1, 4), (2, 2), (4, 1), (8, 1), (2, 1), (1, 1)]  # (scale, folding): of Real-ESRGAN, then of ESRGAN's own


def state_of(scale: int, folding: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(scale)
    return RRDBNet(num_feat=4, num_block=2, num_grow_ch=2, scale=scale, folding=folding).state_dict()


def require_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())


@pytest.mark.parametrize("keys", DIALECTS)
@pytest.mark.parametrize(("scale", "folding"), SHAPES)
def test_names_go_into_every_dialect_and_back(keys, scale, folding):
    state = state_of(scale, folding)
    renamed = names_in(state, keys)
    assert len(renamed) == len(state)
    assert (renamed.keys() == state.keys()) == (keys == "official")
    require_equal(official_names(renamed), state)


@pytest.mark.parametrize(
    ("keys", "scale", "names"),
    [  # as the files of those tools have them: reference tables of BasicSR's converter and of spandrel
        ("basicsr", 4, ["RRDB_trunk.1.RDB3.conv5.bias", "trunk_conv.weight", "upconv1.weight", "HRconv.bias"]),
        ("esrgan", 4, ["model.0.weight", "model.1.sub.1.RDB3.conv5.0.bias", "model.1.sub.2.bias"]),
        ("esrgan", 4, ["model.3.weight", "model.6.weight", "model.8.weight", "model.10.bias"]),
        ("esrgan", 8, ["model.3.weight", "model.6.weight", "model.9.weight", "model.11.weight", "model.13.bias"]),
    ],
)
def test_the_names_are_those_of_the_tools(keys, scale, names):
    assert set(names) <= names_in(state_of(scale, 1), keys).keys()


def test_old_networks_of_small_scale_count_on_from_their_doublings():
    assert {"model.3.weight", "model.5.weight", "model.7.bias"} <= names_in(state_of(2, 1), "esrgan").keys()
    assert {"model.2.weight", "model.4.bias"} <= names_in(state_of(1, 1), "esrgan").keys()


@pytest.mark.parametrize("wrapper", ["params_ema", "params-ema", "params", "state_dict", None])
@pytest.mark.parametrize("keys", DIALECTS)
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_the_oracles_networks_load_from_every_dialect_with_the_official_output(media, tmp_path, wrapper, keys, scale):
    held = torch.load(media / "oracle" / f"rrdb_tiny_x{scale}.pth", weights_only=True)
    state = held.get("params_ema", held.get("params", held))
    renamed = {f"module.{key}": tensor for key, tensor in names_in(state, keys).items()}
    torch.save({wrapper: renamed} if wrapper else renamed, tmp_path / "net.pth")
    net, spec = load_model(tmp_path / "net.pth")
    assert (spec.scale, spec.multiple) == (scale, {1: 4, 2: 2, 4: 1}[scale])
    require_equal(dict(net.state_dict()), state)
    known = np.load(media / "oracle" / f"rrdb_tiny_x{scale}.npz")
    np.testing.assert_allclose(net(torch.from_numpy(known["input"])).numpy(), known["output"], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("scale", "folding"), SHAPES)
def test_every_scale_loads_from_the_oldest_names(tmp_path, scale, folding):
    torch.save(names_in(state_of(scale, folding), "esrgan"), tmp_path / "net.pth")
    net, spec = load_model(tmp_path / "net.pth")
    assert (spec.scale, spec.multiple) == (scale, folding)
    assert net(torch.rand(1, 3, 8, 8)).shape == (1, 3, 8 * scale, 8 * scale)


@pytest.mark.parametrize("folding", [1, 2])
def test_an_unfolded_network_is_exact_within_its_reach(folding):
    net = RRDBNet(num_feat=2, num_block=1, num_grow_ch=1, scale=2, folding=folding).eval()
    side = 2 * net.reach + 4
    picture = torch.rand(1, 3, side, side, dtype=torch.float32)
    changed = picture.clone()
    edge = side // 2 // folding * folding
    changed[..., : edge - net.reach - folding, :] = 0
    with torch.no_grad():
        assert torch.equal(net(picture)[..., edge * 2 :, :], net(changed)[..., edge * 2 :, :])


def test_half_precision_in_old_names_loads_as_fp32(tmp_path):
    state = {key: tensor.half() for key, tensor in names_in(state_of(4, 1), "esrgan").items()}
    torch.save(state, tmp_path / "net.pth")
    net, _ = load_model(tmp_path / "net.pth")
    assert {tensor.dtype for tensor in net.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("extra", ["model.1.sub.0.RDB1.conv1x1.weight", "model.12.weight", "model.1.sub.9.weight"])
def test_a_variant_of_the_old_network_is_refused(tmp_path, extra):
    torch.save({**names_in(state_of(4, 1), "esrgan"), extra: torch.zeros(1)}, tmp_path / "net.pth")
    with pytest.raises(ModelError, match=r"^[^\n]+$"):
        load_model(tmp_path / "net.pth")


def test_only_rrdb_has_old_names():
    with pytest.raises(ModelError, match="are RRDB's only"):
        names_in(SRVGGNetCompact(num_feat=4, num_conv=1).state_dict(), "esrgan")


@pytest.mark.parametrize("spelling", ["weight_orig", "parametrizations.weight.original"])
def test_a_discriminator_is_named_as_one(tmp_path, spelling):
    state = {"conv0.weight": torch.zeros(4, 3, 3, 3), f"conv1.{spelling}": torch.zeros(8, 4, 4, 4)}
    torch.save({"params": state}, tmp_path / "netD.pth")
    with pytest.raises(ModelError, match="holds a discriminator, which judges in training only"):
        load_model(tmp_path / "netD.pth")


# Converting


@pytest.mark.parametrize("keys", DIALECTS)
@pytest.mark.parametrize("half", [False, True])
def test_a_round_trip_is_bit_equal(tmp_path, keys, half):
    """.pth of another tool → safetensors → .pth → safetensors; half precision rounds once, at the first."""
    torch.save(names_in(state_of(2, 2), keys), tmp_path / "theirs.pth")
    ours, again, last = (tmp_path / name for name in ("ours.safetensors", "again.pth", "last.safetensors"))
    small = ["--half"] if half else []
    assert run(["models", "convert", str(tmp_path / "theirs.pth"), "-o", str(ours), *small]) == 0
    assert run(["models", "convert", str(ours), "-o", str(again), "--keys", keys, *small]) == 0
    assert run(["models", "convert", str(again), "-o", str(last), *small]) == 0
    wanted = {key: tensor.half().float() if half else tensor for key, tensor in state_of(2, 2).items()}
    for path in (ours, again, last):
        require_equal(dict(load_model(path)[0].state_dict()), wanted)
    written = torch.load(again, weights_only=True)
    written = written if keys == "esrgan" else written["params"]
    require_equal({k: v.float() for k, v in written.items()}, names_in(wanted, keys))


def test_a_converted_file_explains_itself_and_knows_where_it_is_from(media, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["models", "convert", str(media / "weights" / "realesr-animevideov3.pth")]) == 0
    assert capsys.readouterr().out == "realesr-animevideov3.safetensors\n"
    with safe_open(tmp_path / "realesr-animevideov3.safetensors", framework="pt") as file:
        spec = ModelSpec.from_json(file.metadata()[HEADER_KEY])
    assert (spec.name, spec.licence, spec.arch, spec.scale) == ("realesr-animevideov3", "BSD-3-Clause", "compact", 4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "net.onnx"], "is no form of weights that vsr writes"),
        (["-o", "net.safetensors", "--keys", "esrgan"], "write a .pth"),
        (["-o", "net.pth", "--keys", "esrgan"], "are RRDB's only"),
        (["-o", "there.pth"], "is there already; add --overwrite"),
        (["-o", "absent/net.pth"], "cannot be written"),
    ],
)
def test_what_cannot_be_converted_is_one_line_and_leaves_nothing(words, said, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    net = SRVGGNetCompact(num_feat=4, num_conv=1)
    save_model(net, describe(net, name="net"), tmp_path / "own.safetensors")
    (tmp_path / "there.pth").write_bytes(b"mine")
    assert run(["models", "convert", "own.safetensors", *words]) == 1
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.safetensors", "there.pth"]
    assert (tmp_path / "there.pth").read_bytes() == b"mine"
