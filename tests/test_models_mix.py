"""Networks mixed: as the official tool does it, and only what fits together."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import vsr
from vsr.cli import run
from vsr.cli.options import MIX, UNIT
from vsr.errors import ConfigError, ModelError
from vsr.models.checkpoint import load_model, save_model
from vsr.models.compact import SRVGGNetCompact
from vsr.models.mix import Part, mixed
from vsr.models.network import describe
from vsr.models.shares import choose_shares
from vsr.models.srcnn import SRCNN
from vsr.models.srresnet import SRResNet
from vsr.preset import load_preset, override
from vsr.settings import UpscaleSettings

GENERAL, TWIN = "realesr-general-x4v3", "realesr-general-wdn-x4v3"


def part(share: float, *, name: str = "net", net=None) -> Part:
    net = net or SRVGGNetCompact(num_feat=4, num_conv=1, scale=2)
    return Part(net=net, spec=describe(net, name=name, licence="MIT"), share=share)


def saved(folder: Path, name: str, net=None) -> Path:
    one = part(1, name=name, net=net)
    save_model(one.net, one.spec, folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"


@pytest.mark.parametrize("strength", [0.0, 0.25, 0.5, 1.0])
def test_denoise_is_the_official_tools_formula_bit_for_bit(strength, media, monkeypatch):
    """dni of Real-ESRGAN's utils.py over the weights (strength, 1 - strength)."""
    monkeypatch.setenv("VSR_MODELS", str(media / "weights"))
    strong, weak = (load_model(media / "weights" / f"{name}.pth")[0] for name in (GENERAL, TWIN))
    official = {
        key: strength * value + (1 - strength) * weak.state_dict()[key] for key, value in strong.state_dict().items()
    }
    shares = choose_shares(UpscaleSettings(denoise=strength), Fraction(4))
    upscaler = vsr.load(shares, device="cpu", precision="fp32", offline=True)
    net = SRVGGNetCompact(num_conv=32)
    net.load_state_dict(official)
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(upscaler(picture), net(picture.contiguous(memory_format=torch.channels_last)).clamp(0, 1))
    assert len(shares) == (1 if strength in (0, 1) else 2)


def test_more_denoise_leaves_less_noise(media, monkeypatch):
    """The direction is settled by what is left of noise of 10/255 on a flat grey: 4.3, 1.5 and 1.3."""
    monkeypatch.setenv("VSR_MODELS", str(media / "weights"))
    noise = torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 10 / 255
    grey = torch.full((1, 3, 24, 24), 0.5)
    left = []
    for strength in (0.0, 0.5, 1.0):
        shares = choose_shares(UpscaleSettings(denoise=strength), Fraction(4))
        upscaler = vsr.load(shares, device="cpu", precision="fp32", offline=True)
        shown = F.avg_pool2d(upscaler(grey + noise) - upscaler(grey), 4)  # in pixels of the source
        left.append(float(shown[..., 4:-4, 4:-4].std()) * 255)
    assert left == sorted(left, reverse=True)
    assert left[0] > 3 * left[-1]


def test_a_mixture_is_the_sum_by_shares_and_names_its_parts():
    torch.manual_seed(0)
    one, other = part(0.7, name="one"), part(0.3, name="other")
    net, spec = mixed([one, other])
    for key, tensor in net.state_dict().items():
        assert torch.equal(tensor, one.net.state_dict()[key] * 0.7 + other.net.state_dict()[key] * 0.3)
    assert (spec.name, spec.licence) == ("one:0.7,other:0.3", "MIT")
    assert not torch.equal(net.state_dict()["body.0.weight"], one.net.state_dict()["body.0.weight"])


def test_counts_of_batch_normalisation_are_not_mixed():
    one, other = SRResNet(num_feat=4, num_block=1), SRResNet(num_feat=4, num_block=1)
    one.train()(torch.rand(1, 3, 8, 8))
    net, _ = mixed([part(0.5, net=one), part(0.5, net=other)])
    assert net.state_dict()["bn_body.num_batches_tracked"] == 1


def test_the_hash_of_a_mixture_tells_files_and_shares_apart(tmp_path):
    torch.manual_seed(0)
    one, other = saved(tmp_path, "one"), saved(tmp_path, "other")
    found = {vsr.load({str(one): share, str(other): 1 - share}, device="cpu").spec.sha256 for share in (0.3, 0.5, 0.7)}
    found |= {vsr.load({str(other): 0.3, str(one): 0.7}, device="cpu").spec.sha256}
    assert len(found) == 4


@pytest.mark.parametrize(
    "other",
    [
        SRVGGNetCompact(num_feat=8, num_conv=1, scale=2),
        SRVGGNetCompact(num_feat=4, num_conv=2, scale=2),
        SRVGGNetCompact(num_feat=4, num_conv=1, scale=4),
        SRVGGNetCompact(num_feat=4, num_conv=1, scale=2, act="relu"),
        SRResNet(num_feat=4, num_block=1, scale=2),
    ],
    ids=["feat", "depth", "scale", "act", "arch"],
)
def test_what_is_not_of_one_shape_cannot_be_mixed(other):
    with pytest.raises(ModelError, match="one and other: are not of one shape"):
        mixed([part(0.5, name="one"), part(0.5, name="other", net=other)])


def test_shapes_that_no_description_tells_apart_cannot_be_mixed():
    parts = [part(0.5, net=SRCNN(num_feat=4, num_inner=inner)) for inner in (2, 3)]
    assert parts[0].spec == parts[1].spec
    with pytest.raises(ModelError, match="are not of one shape"):
        mixed(parts)


# What is asked for


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("A:0.7,B:0.3", {"A": 0.7, "B": 0.3}),
        ("C:\\a.pth:.5,D:\\b, c.pth:0.5", {"C:\\a.pth": 0.5, "D:\\b, c.pth": 0.5}),
        ("a:0.2,b:0.3,c:0.5", {"a": 0.2, "b": 0.3, "c": 0.5}),
    ],
)
def test_a_mixture_is_written_as_names_and_shares(text, shares):
    assert MIX(text) == shares


@pytest.mark.parametrize("text", ["A", "A:1", "A:0.7,B", "A,B:0.3", "A:0.7;B:0.3", "", "A:x,B:y"])
def test_what_is_no_mixture_is_misuse(text):
    assert run(["upscale", "clip.mp4", "--mix", text]) == 2


def test_a_strength_is_from_0_to_1():
    assert UNIT("0.25") == 0.25
    assert run(["upscale", "clip.mp4", "--denoise", "1.1"]) == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"denoise": 1.5}, "outside 0 to 1"),
        ({"mix": {"a": 1.0}}, "two models or more"),
        ({"mix": {"a": 1.5, "b": -0.5}}, "between 0 and 1"),
        ({"mix": {"a": 0.7, "b": 0.7}}, r"the shares make 1\.4"),
        ({"mix": {"a": 0.5, "b": 0.5}, "model": "a"}, "mix and model: both given"),
        ({"mix": {"a": 0.5, "b": 0.5}, "denoise": 0.5}, "mix and denoise: both given"),
    ],
)
def test_what_makes_no_mixture_is_one_line(settings, said):
    with pytest.raises(ConfigError, match=said):
        UpscaleSettings(**settings)


def test_denoise_runs_the_network_that_has_a_twin_whatever_the_preset():
    assert choose_shares(UpscaleSettings(denoise=0.25), Fraction(2)) == {GENERAL: 0.25, TWIN: 0.75}
    assert choose_shares(UpscaleSettings(denoise=0.25, model=GENERAL), Fraction(4)) == {GENERAL: 0.25, TWIN: 0.75}
    with pytest.raises(ConfigError, match="vsr-fast-x4 has no twin"):
        choose_shares(UpscaleSettings(denoise=0.25, model="vsr-fast-x4"), Fraction(4))


def test_a_preset_may_mix_and_what_is_typed_goes_before(tmp_path):
    (tmp_path / "mine.toml").write_text("[upscale]\nmix = { a = 0.5, b = 0.5 }\n")
    preset = load_preset(str(tmp_path / "mine.toml")).upscale
    assert choose_shares(preset, Fraction(4)) == {"a": 0.5, "b": 0.5}
    assert choose_shares(override(preset, {"model": "c"}), Fraction(4)) == {"c": 1.0}
    assert override(preset, {"denoise": 0.5}).mix == {}
    (tmp_path / "mine.toml").write_text('[upscale]\nmodel = "c"\ndenoise = 0.5\n')
    preset = load_preset(str(tmp_path / "mine.toml")).upscale
    assert choose_shares(override(preset, {"mix": {"a": 0.5, "b": 0.5}}), Fraction(4)) == {"a": 0.5, "b": 0.5}


def test_a_clip_is_mixed_and_its_mixture_is_what_makes_it_done(tmp_path, capsys):
    from tests.media_maker import make_clip

    torch.manual_seed(0)
    clip, one, other = make_clip(tmp_path / "clip.mp4"), saved(tmp_path, "one"), saved(tmp_path, "other")

    def events(share: str, *more: str) -> list[dict]:
        mix = f"{one}:{share},{other}:{1 - float(share):g}"
        run(["upscale", str(clip), "--mix", mix, "--scale", "2", "--device", "cpu", "--json", *more])
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    first = events("0.7")
    assert next(event for event in first if event["event"] == "plan")["model"] == "one:0.7,other:0.3"
    assert first[-1]["already_done"] is False
    assert events("0.7")[-1]["already_done"] is True
    assert "is there already" in events("0.6")[-1]["message"]
