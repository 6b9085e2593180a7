"""Weights files: what loads, what it loads as, and what is refused."""

import json
import os
import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vsr.errors import ModelError
from vsr.models.catalog import EMBEDDED
from vsr.models.checkpoint import load_model, save_model
from vsr.models.compact import SRVGGNetCompact
from vsr.models.network import Network, describe
from vsr.models.rrdb import RRDBNet
from vsr.models.rrdb_shuffle import RRDBShuffleNet
from vsr.models.spec import HEADER_KEY, ModelSpec
from vsr.models.srcnn import SRCNN
from vsr.models.srresnet import SRResNet
from vsr.models.store import find


def small() -> SRVGGNetCompact:
    return SRVGGNetCompact(num_feat=4, num_conv=1, scale=2)


def drawn_networks() -> list[Network]:
    draw = random.Random(0)
    networks: list[Network] = [
        SRVGGNetCompact(num_feat=draw.randint(1, 9), num_conv=draw.randint(0, 5), scale=draw.randint(1, 8))
        for _ in range(12)
    ]
    for scale in (1, 2, 4, 8):
        networks += [
            RRDBNet(
                num_feat=draw.randint(1, 9), num_block=draw.randint(1, 3), num_grow_ch=draw.randint(1, 9), scale=scale
            )
            for _ in range(3)
        ]
    for scale in (2, 4, 8):
        feat, block, grow = draw.randint(1, 9), draw.randint(1, 3), draw.randint(1, 9)
        networks.append(RRDBShuffleNet(num_feat=feat, num_block=block, num_grow_ch=grow, scale=scale))
        networks.append(SRResNet(num_feat=feat, num_block=block, scale=scale))
    for kernels in ((9, 1, 5), (9, 5, 5), (3, 1, 1)):
        networks.append(SRCNN(num_feat=draw.randint(1, 9), num_inner=draw.randint(1, 9), kernels=kernels))
    return [with_drawn_statistics(net).eval() for net in networks]


def with_drawn_statistics(net: Network) -> Network:
    """As after training: no norm has its first means, variances and counts."""
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            assert layer.num_batches_tracked is not None
            layer.running_mean.uniform_(-0.1, 0.1)
            layer.running_var.uniform_(0.5, 2)
            layer.num_batches_tracked.fill_(70_001)  # more than fp16 can count
    return net


@pytest.mark.parametrize("name", ["realesr-animevideov3", "realesr-general-x4v3", "realesr-general-wdn-x4v3"])
def test_official_compact_files_give_the_official_output(media: Path, name: str):
    net, spec = load_model(media / "weights" / f"{name}.pth")
    known = np.load(media / "oracle" / f"{name}.npz")
    out = net(torch.from_numpy(known["input"])).numpy()
    np.testing.assert_allclose(out, known["output"], rtol=0, atol=1e-4)  # sums in another order
    assert (spec.arch, spec.num_feat, spec.depth, spec.act) == ("compact", 64, 16 if "anime" in name else 32, "prelu")


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_rrdb_gives_the_official_output(media: Path, scale: int):
    net, spec = load_model(media / "oracle" / f"rrdb_tiny_x{scale}.pth")
    known = np.load(media / "oracle" / f"rrdb_tiny_x{scale}.npz")
    out = net(torch.from_numpy(known["input"])).numpy()
    np.testing.assert_allclose(out, known["output"], rtol=0, atol=1e-4)
    assert (spec.scale, spec.num_feat, spec.depth, spec.num_grow) == (scale, 16, 2, 8)


@pytest.mark.parametrize("net", drawn_networks(), ids=lambda net: f"{type(net).__name__}-x{net.scale}")
def test_the_shapes_alone_give_the_hyper_parameters_back(tmp_path: Path, net: Network):
    torch.save({"params": net.state_dict()}, tmp_path / "net.bin")
    loaded, spec = load_model(tmp_path / "net.bin")
    assert bool(spec.notes) == isinstance(net, SRResNet | SRCNN)  # whose shapes leave one thing open
    assert describe(loaded, name="net") == describe(net, name="net")
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(loaded(x), net.eval()(x))


@pytest.mark.parametrize("wrapper", ["params_ema", "params", "params-ema", None])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("legacy", [False, True])
def test_wrappers_and_prefixes_of_training_scripts_are_undone(tmp_path: Path, wrapper, prefix: str, legacy: bool):
    net = small()
    state = {prefix + key: value for key, value in net.state_dict().items()}
    path = tmp_path / "net.ckpt"
    torch.save({wrapper: state} if wrapper else state, path, _use_new_zipfile_serialization=not legacy)
    loaded, _ = load_model(path)
    assert torch.equal(loaded.state_dict()["body.0.weight"], net.state_dict()["body.0.weight"])


def test_averaged_weights_go_before_raw_ones(tmp_path: Path):
    raw, averaged = small(), small()
    torch.save({"params": raw.state_dict(), "params_ema": averaged.state_dict()}, tmp_path / "net.pth")
    loaded, _ = load_model(tmp_path / "net.pth")
    assert torch.equal(loaded.state_dict()["body.0.weight"], averaged.state_dict()["body.0.weight"])


def test_a_saved_file_explains_itself_whatever_its_name(tmp_path: Path):
    net = SRVGGNetCompact(num_feat=4, num_conv=2, scale=3, act="leakyrelu")
    spec = describe(net, name="drawn", licence="MIT", trained_on="three pictures")
    save_model(net, spec, tmp_path / "other.pth")
    loaded, found = load_model(tmp_path / "other.pth")
    assert found.sha256 is not None
    assert ModelSpec.from_json(found.to_json()) == spec
    x = torch.rand(1, 3, 5, 7)
    assert torch.equal(loaded(x), net.eval()(x))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.pth"]


def test_half_precision_files_load_as_fp32(tmp_path: Path):
    net = small()
    save_model(net, describe(net, name="half"), tmp_path / "half.safetensors", dtype=torch.float16)
    loaded, _ = load_model(tmp_path / "half.safetensors")
    weights = loaded.state_dict()["body.0.weight"]
    assert weights.dtype == torch.float32
    assert torch.equal(weights, net.state_dict()["body.0.weight"].half().float())


@pytest.mark.parametrize(
    "net",
    [SRResNet(num_feat=4, num_block=1, tanh=False), SRResNet(num_feat=4, num_block=1), SRCNN(num_feat=4, scale=3)],
    ids=["srresnet", "srresnet-tanh", "srcnn-x3"],
)
def test_what_shapes_leave_open_stands_in_the_header(tmp_path: Path, net: Network):
    save_model(net, describe(net, name="net"), tmp_path / "net.safetensors")
    loaded, spec = load_model(tmp_path / "net.safetensors")
    assert spec.notes == ()
    assert describe(loaded, name="net") == describe(net, name="net")
    x = torch.rand(1, 3, 6, 7)
    assert torch.equal(loaded(x), net.eval()(x))


def test_a_bare_srcnn_is_taken_for_x4_and_a_bare_srresnet_for_one_with_tanh(tmp_path: Path):
    torch.save(SRCNN(num_feat=4, scale=2).state_dict(), tmp_path / "srcnn.pth")
    torch.save(SRResNet(num_feat=4, num_block=1, tanh=False).state_dict(), tmp_path / "srresnet.pth")
    _, srcnn = load_model(tmp_path / "srcnn.pth")
    _, srresnet = load_model(tmp_path / "srresnet.pth")
    assert srcnn.scale == 4
    assert "scale taken to be 4" in srcnn.notes[0]
    assert srresnet.tanh is True
    assert "Tanh taken to be there" in srresnet.notes[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_statistics_of_batch_normalisation_survive_any_type_of_file(tmp_path: Path, dtype):
    net = with_drawn_statistics(SRResNet(num_feat=4, num_block=1))
    save_model(net, describe(net, name="net"), tmp_path / "net.safetensors", dtype=dtype)
    loaded, _ = load_model(tmp_path / "net.safetensors")
    found = dict(loaded.named_buffers())
    assert found["bn_body.num_batches_tracked"].dtype == torch.int64
    assert found.keys() == dict(net.named_buffers()).keys()
    assert all(torch.equal(found[key], buffer) for key, buffer in net.named_buffers())
    weight = "conv_body.weight"
    assert torch.equal(loaded.state_dict()[weight], net.state_dict()[weight].to(dtype).float())


@pytest.mark.parametrize("act", ["relu", "leakyrelu"])
def test_an_activation_that_the_file_does_not_tell_is_assumed_and_said(tmp_path: Path, act):
    torch.save(SRVGGNetCompact(num_feat=4, num_conv=1, act=act).state_dict(), tmp_path / "net.pth")
    _, spec = load_model(tmp_path / "net.pth")
    assert spec.act == "relu"
    assert "ReLU" in spec.notes[0]


class Malice:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("how", ["zip", "legacy", "bare"])
def test_a_pickle_that_would_run_code_is_refused_and_nothing_runs(tmp_path: Path, how: str):
    path, trap = tmp_path / "net.pth", tmp_path / "sprung"
    content = {"params": {**small().state_dict(), "extra": Malice(trap)}}
    if how == "bare":
        path.write_bytes(pickle.dumps({"params": Malice(trap)}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert not trap.exists()
    require_one_line(caught.value, path)


def require_one_line(error: Exception, path: Path) -> None:
    message = str(error)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert ";" in message


def broken_files(folder: Path) -> list[Path]:
    good = small().state_dict()
    torch.save(good, folder / "whole.pth")
    save_model(small(), describe(small(), name="whole"), folder / "whole.safetensors")
    states = {
        "missing": {key: value for key, value in good.items() if key != "body.2.bias"},
        "extra": {**good, "body.3.bias": torch.zeros(4)},
        "shape": {**good, "body.2.weight": torch.zeros(4, 5, 3, 3)},
        "rank": {**good, "body.0.weight": torch.tensor(1.0)},
        "nan": {**good, "body.2.bias": torch.full((4,), torch.nan)},
        "integers": {**good, "body.2.bias": torch.zeros(4, dtype=torch.int64)},
        "channels": {**good, "body.0.weight": torch.zeros(4, 1, 3, 3)},
        "deep": {**good, "body.99999999999.weight": torch.zeros(3, 4, 3, 3)},
        "sparse": {**good, "body.2.bias": torch.zeros(4).to_sparse()},
        "numbers": {"body.0.weight": 1.0},
        "list": [torch.zeros(3)],
        "nothing": {},
        "other": {"conv0.weight": torch.zeros(8, 3, 3, 3)},
        "up": {**SRResNet(num_feat=4, num_block=1, scale=8).state_dict(), "up.3.conv.weight": torch.zeros(16, 4, 3, 3)},
        "count": {
            **SRResNet(num_feat=4, num_block=1).state_dict(),
            "body.0.bn1.num_batches_tracked": torch.tensor(0.5),
        },
        "even": SRCNN(num_feat=4, kernels=(4, 1, 5)).state_dict(),
        "wide": SRCNN(num_feat=4, kernels=(65, 1, 5)).state_dict(),
        "flat": {**SRCNN(num_feat=4).state_dict(), "conv2.weight": torch.zeros(32)},
        "colour": {**SRCNN(num_feat=4).state_dict(), "conv1.weight": torch.zeros(4, 3, 9, 9)},
        "rrdb": {"conv_first.weight": torch.zeros(8, 3, 3, 3), "body.0.rdb1.conv1.weight": torch.zeros(4, 8, 3, 3)},
    }
    for name, state in states.items():
        torch.save(state, folder / f"{name}.pth")
    whole, tensors = (folder / "whole.pth").read_bytes(), (folder / "whole.safetensors").read_bytes()
    (folder / "empty.pth").write_bytes(b"")
    (folder / "short.pth").write_bytes(whole[: len(whole) // 2])
    (folder / "short.safetensors").write_bytes(tensors[:-10])
    (folder / "header.safetensors").write_bytes(tensors[:30])
    for name, mark, offset in (
        ("version", b"PK\1\2", 6),
        ("disks", b"PK\6\7", 16),
    ):  # a zip of a time to come, or in parts
        at = whole.rindex(mark) + offset
        (folder / f"{name}.pth").write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
    save_file({"a": torch.zeros(1)}, folder / "nested.safetensors", metadata={HEADER_KEY: "[" * 100_000})
    (folder / "text.pth").write_text("# not weights\n")
    (folder / "noise.pth").write_bytes(random.Random(0).randbytes(500))
    (folder / "folder.pth").mkdir()
    return [path for path in sorted(folder.iterdir()) if path.stem != "whole"] + [folder / "absent.pth"]


def test_every_file_that_is_no_network_is_one_clear_line(tmp_path: Path):
    for path in broken_files(tmp_path):
        with pytest.raises(ModelError) as caught:
            load_model(path)
        require_one_line(caught.value, path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("oracle/unet_discriminator_tiny.pth", "holds a discriminator"),
        ("weights/vgg19_normalised_conv1_1.pth", "another network than Compact, RRDB,"),
    ],
)
def test_other_networks_are_refused_by_name_of_what_is_read(media: Path, name: str, said: str):
    with pytest.raises(ModelError, match=said):
        load_model(media / name)


def test_an_archive_that_unpacks_beyond_reason_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "net.pth"
    torch.save(small().state_dict(), path)
    monkeypatch.setattr("vsr.models.checkpoint.MAX_FILE_BYTES", 1 << 20)
    load_model(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("more", bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(ModelError, match="unpacks to 1 MB"):
        load_model(path)


def test_a_header_that_contradicts_the_weights_is_refused(tmp_path: Path):
    net = small()
    text = json.loads(describe(net, name="net").to_json()) | {"reach": 1}
    save_file(net.state_dict(), tmp_path / "net.safetensors", metadata={HEADER_KEY: json.dumps(text)})
    with pytest.raises(ModelError, match="another network than its weights"):
        load_model(tmp_path / "net.safetensors")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": 1}'])
def test_a_broken_header_is_refused(text: str):
    with pytest.raises(ModelError, match=HEADER_KEY):
        ModelSpec.from_json(text)


def test_an_unwritable_place_is_refused(tmp_path: Path):
    net = small()
    with pytest.raises(ModelError, match="cannot be written"):
        save_model(net, describe(net, name="net"), tmp_path / "absent" / "net.safetensors")


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_weights_load_under_their_name_and_tell_their_licence(name: str):
    net, spec = load_model(find(name))
    assert spec.name == name
    assert spec.licence != "unknown"
    assert net(torch.zeros(1, 3, 4, 4)).shape == (1, 3, 4 * spec.scale, 4 * spec.scale)


def test_an_existing_file_is_found_by_its_path(tmp_path: Path):
    path = tmp_path / "mine.pth"
    path.touch()
    assert find(str(path)) == path


@pytest.mark.parametrize("name", ["vsr-fats-x4", "vsr_fast_x4"])
def test_an_unknown_name_is_answered_with_the_nearest(name: str):
    with pytest.raises(ModelError, match=r"did you mean vsr-fast-x4.* path of a weights file"):
        find(name)


@pytest.mark.parametrize("name", ["", "zzz"])
def test_a_name_like_none_is_answered_with_all(name: str):
    with pytest.raises(ModelError, match="`vsr models list` tells the names"):
        find(name)
