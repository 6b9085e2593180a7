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
from vsr.models.catalog import EMBEDDED, find
from vsr.models.checkpoint import Network, describe, load_model, save_model
from vsr.models.compact import SRVGGNetCompact
from vsr.models.rrdb import RRDBNet
from vsr.models.spec import HEADER_KEY, ModelSpec


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
    return networks


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
    assert spec.notes == ()
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
        "rrdb": {"conv_first.weight": torch.zeros(8, 3, 3, 3), "body.0.rdb1.conv1.weight": torch.zeros(4, 8, 3, 3)},
    }
    for name, state in states.items():
        torch.save(state, folder / f"{name}.pth")
    whole, tensors = (folder / "whole.pth").read_bytes(), (folder / "whole.safetensors").read_bytes()
    (folder / "empty.pth").write_bytes(b"")
    (folder / "short.pth").write_bytes(whole[: len(whole) // 2])
    (folder / "short.safetensors").write_bytes(tensors[:-10])
    (folder / "header.safetensors").write_bytes(tensors[:30])
    (folder / "text.pth").write_text("# not weights\n")
    (folder / "noise.pth").write_bytes(random.Random(0).randbytes(500))
    (folder / "folder.pth").mkdir()
    return [path for path in sorted(folder.iterdir()) if path.stem != "whole"] + [folder / "absent.pth"]


def test_every_file_that_is_no_network_is_one_clear_line(tmp_path: Path):
    for path in broken_files(tmp_path):
        with pytest.raises(ModelError) as caught:
            load_model(path)
        require_one_line(caught.value, path)


@pytest.mark.parametrize("name", ["oracle/unet_discriminator_tiny.pth", "weights/vgg19_normalised_conv1_1.pth"])
def test_other_networks_are_refused_by_name_of_what_is_read(media: Path, name: str):
    with pytest.raises(ModelError, match="another network than Compact or RRDB"):
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
    with pytest.raises(ModelError, match="known names: "):
        find(name)
