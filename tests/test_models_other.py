"""Networks of other architectures: those that spandrel reads run, those that it does not are one line."""

import sys
import warnings

import pytest
import torch
from torch import Tensor, nn

from vsr.cli import run
from vsr.engine.upscaler import Upscaler
from vsr.errors import ModelError
from vsr.loading import load
from vsr.models.about import about
from vsr.models.checkpoint import load_model
from vsr.models.other import MAX_INDEX

pytest.importorskip("spandrel", reason="the extra `models` is not installed")


def saved(path, state: dict[str, Tensor]):
    torch.save({"params": state}, path)
    return path


def rcan() -> dict[str, Tensor]:
    from spandrel.architectures.RCAN import RCAN

    torch.manual_seed(0)
    net = RCAN(scale=2, n_resgroups=2, n_resblocks=1, n_feats=16, reduction=4, norm=False)
    return net.state_dict()


def conv(state: dict[str, Tensor], name: str, out: int, into: int, side: int = 3) -> None:
    state.update({f"{name}.{key}": tensor for key, tensor in nn.Conv2d(into, out, side).state_dict().items()})


def edsr() -> dict[str, Tensor]:
    """Names of sanghyun-son/EDSR-PyTorch src/model/edsr.py, x2, two blocks of 16 features."""
    state: dict[str, Tensor] = {}
    for name in ("sub_mean", "add_mean"):
        conv(state, name, 3, 3, 1)
    conv(state, "head.0", 16, 3)
    for block in range(2):
        conv(state, f"body.{block}.body.0", 16, 16)
        conv(state, f"body.{block}.body.2", 16, 16)
    conv(state, "body.2", 16, 16)
    conv(state, "tail.0.0", 64, 16)
    conv(state, "tail.1", 3, 16)
    return state


def dpsr() -> dict[str, Tensor]:
    """Names of cszn/KAIR models/network_dpsr.py (MSRResNet_prior): RGB and a map of the noise in, x2, two blocks."""
    state: dict[str, Tensor] = {}
    conv(state, "model.0", 16, 4)
    for block in range(2):
        conv(state, f"model.1.sub.{block}.res.0", 16, 16)
        conv(state, f"model.1.sub.{block}.res.2", 16, 16)
    conv(state, "model.1.sub.2", 16, 16)
    conv(state, "model.2.0", 64, 16)
    conv(state, "model.3", 16, 16)
    conv(state, "model.5", 3, 16)
    return state


def test_rcan_loads_and_gives_what_spandrel_gives(tmp_path):
    from spandrel import ImageModelDescriptor, ModelLoader

    net, spec = load_model(saved(tmp_path / "rcan.pth", rcan()))
    assert (spec.arch, spec.kind, spec.scale, spec.licence) == ("other", "RCAN 16nf 2nrg 1nrb", 2, "unknown")
    theirs = ModelLoader("cpu").load_from_state_dict(rcan())
    assert isinstance(theirs, ImageModelDescriptor)
    pictures = torch.rand(2, 3, 9, 13)
    with torch.inference_mode():
        found = net(pictures)
        assert found.shape == (2, 3, 18, 26)
        for one, high in zip(pictures.split(1), found.split(1), strict=True):
            assert torch.equal(high, theirs(one))


def test_another_architecture_upscales_in_tiles_and_in_the_types_it_has(tmp_path):
    path = saved(tmp_path / "rcan.pth", rcan())
    upscaler = load(path, device="cpu", tile=100)
    assert upscaler.dtype in (torch.float32, torch.bfloat16)  # spandrel: RCAN overflows in float16
    assert upscaler.overlap == 32
    net, spec = load_model(path)
    picture = torch.rand(1, 3, 20, 150)
    whole = Upscaler(net, spec)(picture)
    assert load(path, device="cpu", precision="fp32", tile=100)(picture).shape == whole.shape == (1, 3, 40, 300)


@pytest.mark.parametrize(("name", "state"), [("edsr", edsr()), ("dpsr", dpsr())])
def test_what_spandrel_refuses_is_one_line(name, state, tmp_path, capsys):
    path = saved(tmp_path / f"{name}.pth", state)
    assert run(["models", "info", str(path)]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"{path}: holds another network than Compact, RRDB, RRDBShuffle, SRResNet or SRCNN; spandrel" in err


def test_its_architecture_scale_size_rules_and_licence_are_shown(tmp_path, capsys):
    assert run(["models", "info", str(saved(tmp_path / "rcan.pth", rcan()))]) == 0
    shown = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert shown["network"].startswith("RCAN 16nf 2nrg 1nrb, x2, ")
    assert shown["takes"] == "pictures of any size"
    assert shown["licence"].startswith("unknown")


def test_size_rules_are_shown_and_kept_by_padding(tmp_path):
    from spandrel.architectures.DAT import DAT
    from spandrel.architectures.SAFMN import SAFMN

    with warnings.catch_warnings(action="ignore"):  # spandrel's own
        dat = DAT(img_size=64, split_size=[2, 4], depth=[2], embed_dim=32, num_heads=[2], upscale=2, img_range=1.0)
    safmn = SAFMN(dim=16, n_blocks=1, upscaling_factor=2)
    for net, rule, multiple in ((dat, "pictures of any size, at least 16 pixels", 1), (safmn, "multiples of 8", 8)):
        path = saved(tmp_path / f"{type(net).__name__}.pth", net.state_dict())
        assert rule in dict(about(str(path)))["takes"]
        upscaler = load(path, device="cpu", precision="fp32")
        assert (upscaler.spec.kind or "").startswith(type(net).__name__)
        assert upscaler.spec.multiple == multiple
        assert upscaler(torch.rand(1, 3, 9, 7)).shape == (1, 3, 18, 14)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_masks_that_a_network_makes_in_fp32_do_not_stop_its_faster_types(tmp_path, dtype):
    """SwinIR makes those of every size but its own while it runs."""
    from spandrel.architectures.SwinIR import SwinIR

    torch.manual_seed(0)
    sizes = {"img_size": 16, "window_size": 8, "embed_dim": 12, "depths": [2], "num_heads": [2], "upscale": 2}
    with warnings.catch_warnings(action="ignore"):  # spandrel's own
        swin = SwinIR(**sizes, upsampler="pixelshuffle").state_dict()
    net, spec = load_model(saved(tmp_path / "swin.pth", swin))
    assert "whole picture" in spec.notes[0]
    picture = torch.rand(1, 3, 24, 40)
    with torch.inference_mode():
        exact = net(picture)
        torch.testing.assert_close(net.to(dtype)(picture), exact, rtol=0, atol=0.02)  # of results near 0.4


def test_networks_of_gray_pictures_are_refused(tmp_path):
    from spandrel.architectures.DnCNN import DnCNN

    state = DnCNN(in_nc=1, out_nc=1, nc=8, nb=6).state_dict()
    with pytest.raises(ModelError, match="takes 1 channels and gives 1; give a network from RGB to RGB"):
        load_model(saved(tmp_path / "gray.pth", state))


def test_names_that_count_beyond_reason_are_not_handed_on(tmp_path, monkeypatch):
    state = {**edsr(), f"body.{MAX_INDEX + 1}.weight": torch.zeros(1)}
    monkeypatch.setattr("spandrel.ModelLoader.load_from_state_dict", lambda *_: pytest.fail("handed on"))
    with pytest.raises(ModelError, match="counts more layers than any network has"):
        load_model(saved(tmp_path / "deep.pth", state))


def test_without_spandrel_one_line_says_how_to_have_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(ModelError, match=r"holds another network than .*; install vsr\[models\]"):
        load_model(saved(tmp_path / "rcan.pth", rcan()))


def test_another_architecture_is_run_but_not_converted(tmp_path, capsys):
    assert run(["models", "convert", str(saved(tmp_path / "rcan.pth", rcan())), "-o", str(tmp_path / "o.pth")]) == 1
    assert "is converted by its own tools" in capsys.readouterr().err
    assert not (tmp_path / "o.pth").exists()
