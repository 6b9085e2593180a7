"""Names of models: what is here, what is fetched, what is verified, and what is refused."""

import hashlib
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vsr
from tests.file_server import serving
from vsr.cli import run
from vsr.errors import ConfigError, ModelError
from vsr.events import NoteEvent
from vsr.models import catalog, store
from vsr.models.about import about
from vsr.models.catalog import EMBEDDED, PUBLISHED, Published
from vsr.models.checkpoint import load_model, save_model
from vsr.models.compact import SRVGGNetCompact
from vsr.models.measure import fingerprint, flops_per_pixel, weight_count
from vsr.models.network import describe
from vsr.models.page import page
from vsr.models.rrdb import RRDBNet
from vsr.models.store import find, look_up

DOCS = Path(__file__).parents[1] / "docs" / "models"
OFFICIAL = ["realesr-animevideov3", "realesr-general-x4v3", "realesr-general-wdn-x4v3"]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Where models are kept."""
    monkeypatch.setenv("VSR_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def published(tmp_path, monkeypatch) -> Published:
    """A small network in the place of one of the list, with the hashes of its own file."""
    torch.manual_seed(0)
    net = SRVGGNetCompact(num_feat=4, num_conv=1)
    torch.save({"params": net.state_dict()}, tmp_path / "origin.pth")
    content = (tmp_path / "origin.pth").read_bytes()
    row = replace(
        PUBLISHED["realesr-animevideov3"],
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        tensors_sha256=fingerprint(net),
    )
    monkeypatch.setitem(PUBLISHED, row.name, row)
    return row


@pytest.fixture
def server(published, tmp_path, monkeypatch):
    """Serves that network as the official address."""
    with serving((tmp_path / "origin.pth").read_bytes(), monkeypatch) as state:
        monkeypatch.setattr(catalog, "_RELEASES", f"{state.url}/official")
        yield state


def put(src: Path, folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(src.read_bytes())
    return folder / name


# The list


def test_seven_official_networks_are_listed_each_with_a_whole_hash():
    assert len(PUBLISHED) == 7
    assert len({row.sha256 for row in PUBLISHED.values()}) == 7
    for name, row in PUBLISHED.items():
        assert row.name == name
        assert row.file == f"{name}.pth"
        assert len(row.sha256) == 64
        assert row.url.startswith("https://github.com/xinntao/Real-ESRGAN/releases/download/v")
        assert row.licence == "BSD-3-Clause"


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_list_counts_as_the_network_does(name):
    row = PUBLISHED[name]
    feat, depth = map(int, row.arch.split(" ")[1].strip(",").split("x"))
    with torch.device("meta"):
        if row.arch.startswith("Compact"):
            net = SRVGGNetCompact(num_feat=feat, num_conv=depth, scale=row.scale)
        else:
            net = RRDBNet(num_feat=feat, num_block=depth, scale=row.scale)
    assert weight_count(net) == row.weights
    assert flops_per_pixel(net) == pytest.approx(row.flops, abs=0.005)


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_list_says_of_our_own_what_their_files_say(name):
    row, (net, spec) = EMBEDDED[name], load_model(find(name))
    assert isinstance(net, SRVGGNetCompact)
    assert (row.name, row.scale, row.licence) == (spec.name, spec.scale, spec.licence)
    assert row.arch == f"Compact {spec.num_feat}x{spec.depth}"
    assert weight_count(net) == row.weights
    assert flops_per_pixel(net) == pytest.approx(row.flops, abs=0.005)


def test_the_page_is_the_list():
    assert (DOCS / "README.md").read_text(encoding="utf-8") == page()


def test_the_list_shows_what_is_here(folder, published, tmp_path, capsys):
    put(tmp_path / "origin.pth", folder, published.file)
    (folder / "realesr-general-x4v3.pth").write_bytes(b"another")
    assert run(["models", "list"]) == 0
    shown = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert "embedded" in shown["vsr-fast-x4"]
    assert "present" in shown["realesr-animevideov3"]
    assert "foreign" in shown["realesr-general-x4v3"]
    assert shown["RealESRGAN_x4plus"].split() == [
        *("RealESRGAN_x4plus", "available", "x4", "67.0", "MB", "slow", "BSD-3-Clause"),
        *["photographs,", "the", "best", "and", "slowest"],
    ]


# A file that is there


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_copies_at_hand_are_known_by_their_tensors(name, media, monkeypatch):
    monkeypatch.setenv("VSR_MODELS", str(media / "weights"))
    entry = look_up(name)
    assert entry is not None
    assert entry.state == "saved again"
    said = dict(about(name))
    assert said["sha256"] == entry.sha256
    assert said["published"].startswith(f"{PUBLISHED[name].sha256}: not the published file, but its very tensors")
    known = np.load(media / "oracle" / f"{name}.npz")
    with torch.inference_mode():
        out = vsr.load(name, device="cpu", precision="fp32")(torch.from_numpy(known["input"]))
    np.testing.assert_allclose(out.numpy(), known["output"].clip(0, 1), rtol=0, atol=1e-4)
    assert dict(about(str(media / "weights" / f"{name}.pth")))["name"] == name


def test_a_file_put_there_by_hand_is_verified_and_used(folder, published, tmp_path):
    path = put(tmp_path / "origin.pth", folder, published.file)
    assert find(published.name) == path
    assert dict(about(published.name))["which is"] == "the published file, verified"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_same_tensors_saved_again_are_used(folder, published, tmp_path, dtype):
    net, spec = load_model(tmp_path / "origin.pth")
    folder.mkdir()
    save_model(net, spec, folder / published.file, dtype=dtype)
    assert find(published.name) == folder / published.file


@pytest.mark.parametrize("change", ["one weight", "no network"])
def test_another_file_under_the_name_is_refused_and_stays(change, folder, published, tmp_path):
    net, spec = load_model(tmp_path / "origin.pth")
    folder.mkdir()
    path = folder / published.file
    if change == "one weight":
        net.state_dict()["body.0.weight"][0, 0, 0, 0] += 1e-3
        save_model(net, spec, path)
    else:
        path.write_bytes(b"no network")
    with pytest.raises(ModelError, match=rf"another file, with SHA-256 \w{{64}}, not {published.sha256}; move it away"):
        find(published.name)
    assert path.exists()
    assert str(load_model(path)[1].name) if change == "one weight" else True  # by its path it can be used


def test_a_fingerprint_sees_names_shapes_values_and_their_order():
    torch.manual_seed(0)
    one = SRVGGNetCompact(num_feat=4, num_conv=1)
    same = SRVGGNetCompact(num_feat=4, num_conv=1)
    same.load_state_dict(one.state_dict())
    assert fingerprint(one) == fingerprint(same)
    bias = same.state_dict()["body.2.bias"]
    bias[[0, 1]] = bias[[1, 0]]
    assert fingerprint(one) != fingerprint(same)
    same.load_state_dict(one.state_dict())
    same.state_dict()["body.0.weight"][0, 0, 0, 0] = 1e6  # does not fit into half precision
    assert fingerprint(same) is None


# Fetching


def test_a_name_is_fetched_at_first_use_after_one_line_that_says_so(folder, server, published):
    told = []
    path = find(published.name, tell=told.append)
    assert path == folder / published.file
    assert [event.message for event in told if isinstance(event, NoteEvent)] == [
        f"{published.name}: is not here yet; fetching 12 kB from {published.url} into {folder}"
    ]
    asked = len(server.asked)
    assert find(published.name) == path
    assert len(server.asked) == asked


def test_pull_fetches_once_and_tells_where(folder, server, published, capsys):
    assert run(["models", "pull", published.name]) == 0
    assert capsys.readouterr().out.split() == [published.name, str(folder / published.file)]
    assert run(["models", "pull", published.name, "-q"]) == 0
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "typed", ["realesrgan_x4plus", "REALESRGAN_X4PLUS", "RealESRGAN-x4plus", "RealESRGAN_x4plus.pth"]
)
def test_the_nearest_name_is_said_however_it_is_typed(typed, folder):
    with pytest.raises(ModelError, match=f"model '{typed}': no such name or file; did you mean RealESRGAN_x4plus, or"):
        find(typed)


def test_pull_of_an_unknown_name_fetches_nothing(folder, server, capsys):
    assert run(["models", "pull", "realesr-animevideov3", "realesr-animevideov2"]) == 1
    assert "did you mean realesr-animevideov3" in capsys.readouterr().err
    assert server.asked == []


@pytest.mark.parametrize("how", ["option", "environment"])
def test_offline_never_asks_the_network(how, folder, server, published, monkeypatch):
    if how == "environment":
        monkeypatch.setenv("VSR_OFFLINE", "1")
    with pytest.raises(ModelError) as caught:
        find(published.name, offline=how == "option")
    require_by_hand(str(caught.value), published, folder)
    assert server.asked == []


def test_without_network_one_line_tells_address_hash_and_folder(folder, server, published):
    server.status = 404
    with pytest.raises(ModelError, match=r"cannot be fetched: .*404") as caught:
        find(published.name)
    require_by_hand(str(caught.value), published, folder)
    assert list(folder.glob("*")) == [] or [path.name for path in folder.iterdir()] == [f".{published.file}.lock"]


def require_by_hand(message: str, published: Published, folder: Path) -> None:
    assert "\n" not in message
    for word in (published.url, published.sha256, str(folder), "by hand"):
        assert word in message


@pytest.mark.parametrize("command", [["pull", "realesr-animevideov3"], ["add", "URL", "--sha256", "HASH"]])
@pytest.mark.parametrize("fault", ["full", "in the way"])
def test_a_disk_that_refuses_is_told_with_what_to_do(command, fault, folder, server, published, capsys):
    if fault == "full":
        folder.mkdir()
        for name in (published.file, "own.pth"):
            (folder / f".{name}.part").symlink_to("/dev/full")
        said = "the disk is full; make room and run the same command"
    else:
        folder.touch()
        said = "cannot be written: File exists; set VSR_MODELS to another folder"
    words = {"URL": f"{server.url}/own.pth", "HASH": published.sha256}
    assert run(["models", *(words.get(word, word) for word in command), "-q"]) == 1
    assert capsys.readouterr().err == f"vsr: {folder}: {said}\n"


def test_mirrors_are_asked_first_and_the_official_address_last(folder, server, published, monkeypatch):
    monkeypatch.setenv("VSR_MIRRORS", f"{server.url}/one/ {server.url}/two")
    server.status = 404
    with pytest.raises(ModelError):
        find(published.name)
    assert [path for path, _ in server.asked] == [
        f"/one/{published.file}",
        f"/two/{published.file}",
        f"/official/{published.tag}/{published.file}",
    ]
    server.status, server.asked = 200, []
    find(published.name)
    assert [path for path, _ in server.asked] == [f"/one/{published.file}"]


def test_a_mirror_that_is_no_address_is_refused(folder, server, published, monkeypatch):
    monkeypatch.setenv("VSR_MIRRORS", "/mnt/models")
    with pytest.raises(ConfigError, match="VSR_MIRRORS: /mnt/models: no http or https address"):
        find(published.name)


def test_a_clip_is_upscaled_by_a_name_that_was_not_there(folder, server, published, tmp_path, capsys):
    from tests.media_maker import make_clip

    clip = make_clip(tmp_path / "clip.mp4")
    assert run(["upscale", str(clip), "--model", published.name, "--device", "cpu", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "fetching" in events[0]["message"]
    assert {"download", "done"} <= {event["event"] for event in events}
    assert next(event for event in events if event["event"] == "plan")["model"] == published.name
    clip.with_name("clip_x4.mp4").unlink()
    (folder / published.file).unlink()
    assert run(["upscale", str(clip), "--model", published.name, "--offline"]) == 1
    assert "the network is not to be asked" in capsys.readouterr().err


def test_a_folder_is_upscaled_by_a_name_that_was_not_there_and_is_fetched_once(server, published, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / "photos" / name)
    words = ["folder", str(tmp_path / "photos"), "--model", published.name, "--device", "cpu"]
    assert run([*words, "--offline"]) == 1
    assert "the network is not to be asked" in capsys.readouterr().err
    assert not (tmp_path / "photos_x2").exists()
    assert run(words) == 0
    err = capsys.readouterr().err
    assert (err.count("fetching"), "2 done" in err, len(server.asked)) == (1, True, 1)


# Adding


@pytest.fixture
def own(tmp_path) -> Path:
    net = SRVGGNetCompact(num_feat=4, num_conv=1, scale=2)
    save_model(net, describe(net, name="own", licence="MIT"), tmp_path / "own.safetensors")
    return tmp_path / "own.safetensors"


def test_a_file_of_ones_own_is_known_by_its_name_once_added(folder, own, capsys):
    assert run(["models", "add", str(own)]) == 0
    own.unlink()
    assert find("own") == folder / "own.safetensors"
    assert vsr.load("own", device="cpu").scale == 2
    capsys.readouterr()
    assert run(["models", "list"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("own "))
    assert row.split() == ["own", "added", "x2", "4", "kB", "fast", "MIT"]
    assert run(["models", "info", "own"]) == 0
    assert "added by hand, verified" in capsys.readouterr().out


def test_what_was_added_is_verified_at_each_use(folder, own, capsys):
    assert run(["models", "add", str(own), "--name", "mine"]) == 0
    note = (folder / "mine.sha256").read_text()
    assert note == f"{hashlib.sha256(own.read_bytes()).hexdigest()}  mine.safetensors\n"
    with (folder / "mine.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x01")
    with pytest.raises(ModelError, match=r"mine\.safetensors: bears the name of mine and is another file"):
        find("mine")


def test_a_list_goes_on_past_what_cannot_be_read(folder, own, monkeypatch, capsys):
    assert run(["models", "add", str(own)]) == 0
    (folder / "broken.sha256").write_text("no hash")
    (folder / "realesr-animevideov3.pth").write_bytes(b"locked")
    hash_of = store.file_hash

    def refused(path):
        if path.read_bytes() == b"locked":
            raise ModelError(f"{path}: cannot be read: Permission denied; check the path")
        return hash_of(path)

    monkeypatch.setattr(store, "file_hash", refused)
    capsys.readouterr()
    assert run(["models", "list"]) == 0
    states = dict(line.split(None, 2)[:2] for line in capsys.readouterr().out.splitlines() if line)
    assert (states["broken"], states["realesr-animevideov3"], states["own"]) == ("foreign", "foreign", "added")
    assert run(["models", "info", "broken"]) == 1
    assert "broken.sha256: is no line of a hash and a file's name" in capsys.readouterr().err


def test_an_address_is_added_with_its_hash_only(folder, own, server, capsys):
    server.offered = own.read_bytes()
    sha256 = hashlib.sha256(server.offered).hexdigest()
    assert run(["models", "add", f"{server.url}/some/own.safetensors?token=1"]) == 1
    assert "give --sha256" in capsys.readouterr().err
    assert run(["models", "add", f"{server.url}/own.safetensors", "--sha256", sha256[:-1] + "x"]) == 1
    assert run(["models", "add", f"{server.url}/own.safetensors", "--sha256", f"{int(sha256, 16) ^ 1:064x}"]) == 1
    assert not (folder / "own.safetensors").exists()
    assert run(["models", "add", f"{server.url}/some/own.safetensors?token=1", "--sha256", sha256.upper()]) == 0
    assert find("own") == folder / "own.safetensors"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--name", "realesr-animevideov3"], "is a model of vsr's own list"),
        (["--name", "../mine"], "use letters, digits"),
        (["--sha256", "0" * 64], "has SHA-256 .*, not 0000"),
        (["--sha256", "abc"], "is no SHA-256"),
    ],
)
def test_what_cannot_be_added_is_one_line(words, said, folder, own, capsys):
    assert run(["models", "add", str(own), *words]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.search(said, err)
    assert not folder.exists()


def test_what_is_no_network_is_not_added(folder, server, tmp_path, capsys):
    (tmp_path / "text.pth").write_text("no network")
    assert run(["models", "add", str(tmp_path / "text.pth")]) == 1
    server.offered = b"no network"
    sha256 = hashlib.sha256(server.offered).hexdigest()
    assert run(["models", "add", f"{server.url}/text.pth", "--sha256", sha256]) == 1
    assert "not a weights file" in capsys.readouterr().err
    assert not list(folder.glob("text*"))


def test_a_name_that_is_added_does_not_take_anothers_place(folder, own, tmp_path, capsys):
    assert run(["models", "add", str(own)]) == 0
    net = SRVGGNetCompact(num_feat=4, num_conv=1, scale=2)
    save_model(net, describe(net, name="own"), tmp_path / "own.safetensors")
    assert run(["models", "add", str(tmp_path / "own.safetensors")]) == 1
    assert "is there already, with another hash" in capsys.readouterr().err


def test_the_store_is_the_folder_the_environment_names(folder, monkeypatch, tmp_path):
    assert store.models_folder() == folder
    monkeypatch.delenv("VSR_MODELS")
    assert store.models_folder() == tmp_path.with_name(f"{tmp_path.name}-cache") / "models"
