"""The perceptual loss: which features of which file it takes, what damage costs, and where files come from."""

import hashlib
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsr.engine.matlab import enlarge
from vsr.errors import ConfigError, ModelError
from vsr.io.degrade_codec import through_jpeg
from vsr.io.images import read_rgb
from vsr.metrics.lpips import IMAGENET_MEAN, IMAGENET_STD
from vsr.train import vgg_weights
from vsr.train.kernels import blur, gaussian
from vsr.train.perceptual import Perceptual

OFFICIAL = {2: 0.1, 7: 0.1, 16: 1.0, 25: 1.0, 34: 1.0}  # index in torchvision's features: conv1_2 .. conv5_4
PREFIXES = {"conv1_1": 2, "conv2_1": 9, "conv3_1": 16}  # of the normalised file: index of the last convolution


def seeded(build, *arguments) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(*arguments)


def saved(features: nn.Sequential, path: Path) -> Path:
    state = {f"features.{name}": tensor for name, tensor in features.state_dict().items()}
    torch.save(state | {"classifier.0.weight": torch.zeros(2, 2)}, path)
    return path


@pytest.fixture(scope="module")
def vgg19(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, nn.Sequential]]:
    """torchvision's own features with random weights, and their file."""
    from torchvision.models.vgg import cfgs, make_layers

    features = seeded(make_layers, cfgs["E"])
    path = saved(features, tmp_path_factory.mktemp("vgg") / "vgg19-dcbb9e9d.pth")
    yield path, features
    path.unlink()  # 80 MB, of which pytest would keep three


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Sequential]:
    from torchvision.models import squeezenet1_1

    features = seeded(lambda: squeezenet1_1(weights=None).features)
    return saved(features, tmp_path_factory.mktemp("squeeze") / "squeezenet1_1.pth"), features


def normalised(folder: Path, deepest: str) -> tuple[Path, Mapping[str, Tensor]]:
    """Random weights in the layout of the normalised VGG19, as far as a layer."""
    generator = torch.Generator().manual_seed(0)
    shapes = {0: (3, 3, 1), 2: (64, 3, 3), 5: (64, 64, 3), 9: (128, 64, 3), 12: (128, 128, 3), 16: (256, 128, 3)}
    state: dict[str, Tensor] = {}
    for index, (out, channels, size) in shapes.items():
        if index <= PREFIXES[deepest]:
            shape = (out, channels, size, size)
            state[f"{index}.weight"] = torch.randn(shape, generator=generator) / (channels * size**2) ** 0.5
            state[f"{index}.bias"] = 0.1 * torch.randn(out, generator=generator)
    path = folder / f"vgg19_normalised_{deepest}.pth"
    torch.save(state, path)
    return path, state


@pytest.fixture(scope="module")
def gatys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, Tensor]]:
    return normalised(tmp_path_factory.mktemp("gatys"), "conv3_1")


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    a, b = torch.rand(2, 2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    return a, b


def imagenet(x: Tensor) -> Tensor:
    return (x - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)


@torch.no_grad()
def features_after(features: nn.Sequential, indices: list[int], x: Tensor) -> list[Tensor]:
    found = []
    for index, module in enumerate(features):
        x = module(x)
        if index in indices:
            found.append(x.clone())  # the next module may write in place
    return found


def test_torchvisions_vgg19_is_compared_at_the_official_five_before_activation(vgg19, pair):
    path, features = vgg19
    a, b = (features_after(features, list(OFFICIAL), imagenet(x)) for x in pair)
    distances = [F.l1_loss(x, y) for x, y in zip(a, b, strict=True)]
    assert all(x.min() < 0 for x in a)
    expected = sum(weight * distance for weight, distance in zip(OFFICIAL.values(), distances, strict=True))
    torch.testing.assert_close(Perceptual.load(path)(*pair), expected)
    torch.testing.assert_close(Perceptual.load(path, layers={"conv4_4": 2, "conv1_1": 0})(*pair), 2 * distances[3])


def test_mse_is_over_the_same_features(vgg19, pair):
    path, features = vgg19
    a, b = (features_after(features, [16], imagenet(x))[0] for x in pair)
    found = Perceptual.load(path, layers={"conv3_4": 0.5}, distance="mse")(*pair)
    torch.testing.assert_close(found, F.mse_loss(a, b) / 2)


def test_nothing_behind_the_last_layer_is_kept(vgg19):
    path, features = vgg19
    found = Perceptual.load(path, layers={"conv2_2": 1.0, "conv1_2": 1.0})
    expected = sum(p.numel() for p in features[:8].parameters())
    assert sum(p.numel() for p in found.parameters()) == expected


def by_hand(state: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
    """conv1_1, conv2_1 and conv3_1 of the normalised network."""

    def convolved(x: Tensor, index: int) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), state[f"{index}.weight"], state[f"{index}.bias"])

    first = convolved(F.conv2d(x, state["0.weight"], state["0.bias"]), 2)
    second = convolved(F.max_pool2d(convolved(first.relu(), 5).relu(), 2), 9)
    return [first, second, convolved(F.max_pool2d(convolved(second.relu(), 12).relu(), 2), 16)]


def test_the_normalised_vgg19_reads_plain_rgb_and_mirrors_borders(gatys, pair):
    path, state = gatys
    distances = [F.l1_loss(x, y) for x, y in zip(*(by_hand(state, x) for x in pair), strict=True)]
    torch.testing.assert_close(Perceptual.load(path)(*pair), 0.1 * distances[0] + 0.1 * distances[1] + distances[2])


@pytest.mark.parametrize("deepest", ["conv1_1", "conv2_1"])
def test_a_shorter_file_gives_what_it_has_and_names_its_deepest_layer(tmp_path: Path, pair, deepest: str):
    path, _ = normalised(tmp_path, deepest)
    last = Perceptual.load(path, layers={deepest: 1.0})(*pair)
    assert last > 0
    if deepest == "conv1_1":
        torch.testing.assert_close(Perceptual.load(path)(*pair), 0.1 * last)
    with pytest.raises(ConfigError, match=rf"^layers: .*\.pth has no conv3_1; {deepest} is its deepest$"):
        Perceptual.load(path, layers={"conv1_1": 1.0, "conv3_1": 1.0})


def test_squeezenet_is_cut_as_lpips_cuts_it_but_for_the_first_activation(squeezenet, pair):
    path, features = squeezenet
    a, b = (features_after(features, [0, 4, 7, 9, 10, 11, 12], imagenet(x)) for x in pair)
    assert a[0].min() < 0
    distances = {f"slice{i}": F.l1_loss(x, y) for i, (x, y) in enumerate(zip(a, b, strict=True), 1)}
    for name, distance in distances.items():
        torch.testing.assert_close(Perceptual.load(path, layers={name: 1.0})(*pair), distance)
    every = Perceptual.load(path, layers=dict.fromkeys(distances, 1.0))
    torch.testing.assert_close(every(*pair), torch.stack(list(distances.values())).sum())


@pytest.fixture(params=["vgg19", "gatys", "squeezenet"])
def loss(request: pytest.FixtureRequest) -> Perceptual:
    return Perceptual.load(request.getfixturevalue(request.param)[0])


def test_equal_pictures_cost_nothing_and_pull_nowhere(loss: Perceptual, pair):
    result = pair[0].requires_grad_()
    value = loss(result, pair[0].detach().clone())
    assert value.item() == 0
    assert torch.autograd.grad(value, result)[0].abs().max() == 0


def test_gradients_reach_the_result_alone_and_weights_stay(loss: Perceptual, pair):
    before = {name: tensor.clone() for name, tensor in loss.state_dict().items()}
    result, truth = (x.requires_grad_() for x in pair)
    loss(result, truth).backward()
    assert result.grad is not None
    assert result.grad.isfinite().all()
    assert result.grad.abs().amax(1).count_nonzero() > 0.5 * result[:, 0].numel()
    assert truth.grad is None
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in loss.state_dict().items())


def test_bf16_autocast_changes_the_loss_and_where_it_leads_by_little(loss: Perceptual, pair):
    result, truth = pair
    expected = loss(result.requires_grad_(), truth)
    direction = torch.autograd.grad(expected, result)[0]
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(result, truth)
    assert found.dtype == torch.float32
    # 8 bits of each feature remain, and differences are as large as the features themselves
    assert found.item() == pytest.approx(expected.item(), rel=0.02)
    assert F.cosine_similarity(torch.autograd.grad(found, result)[0].flatten(), direction.flatten(), dim=0) > 0.9


def test_bf16_pictures_have_bf16_gradients(loss: Perceptual, pair):
    result, truth = (x.bfloat16() for x in pair)
    found = loss(result.requires_grad_(), truth)
    assert found.dtype == torch.float32
    assert torch.autograd.grad(found, result)[0].dtype == torch.bfloat16


def test_seventeen_pixels_suffice(loss: Perceptual):
    x, y = torch.rand(2, 1, 3, 17, 17)
    assert loss(x, y).isfinite()


def test_pictures_of_two_sizes_are_not_broadcast(loss: Perceptual):
    with pytest.raises(ValueError, match="cannot be compared"):
        loss(torch.rand(1, 3, 32, 32), torch.rand(2, 3, 32, 32))


def test_loading_draws_no_random_numbers(squeezenet):
    before = torch.get_rng_state()
    Perceptual.load(squeezenet[0])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"conv3_5": 1.0}, r"layers: the normalised VGG19 has no conv3_5; choose from conv1_1, .*, conv3_1"),
        ({"conv5_4": 1.0}, r"layers: .*conv3_1\.pth has no conv5_4; conv3_1 is its deepest"),
        ({"conv1_1": -1.0}, r"layers: conv1_1 = -1\.0 must be 0 or above"),
        ({"conv1_1": float("nan")}, r"layers: conv1_1 = nan must be 0 or above"),
        ({"conv1_1": 0.0}, r"layers: none has a weight above 0; choose from conv1_1, .*, conv3_1"),
        ({}, r"layers: none has a weight above 0; choose from conv1_1, .*, conv3_1"),
    ],
)
def test_layers_that_cannot_be_had_are_told_in_one_line(gatys, layers: dict[str, float], message: str):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        Perceptual.load(gatys[0], layers=layers)


@pytest.mark.parametrize("kind", ["vgg16", "vgg19_bn", "another shape", "nothing"])
def test_another_network_is_not_taken_for_vgg19(tmp_path: Path, kind: str):
    shallow = {  # the first tensors of each, as far as they tell it apart
        "vgg16": {"features.17.weight": torch.zeros(512, 256, 3, 3)},
        "vgg19_bn": {"features.1.weight": torch.zeros(64)},
        "another shape": {"features.2.weight": torch.zeros(32, 64, 3, 3)},
        "nothing": {},
    }[kind]
    first = {"features.0.weight": torch.zeros(64, 3, 3, 3), "features.0.bias": torch.zeros(64)}
    torch.save(first | shallow if shallow else {"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match=r"^.*other\.pth: holds another network than VGG19 or SqueezeNet 1\.1; give "):
        Perceptual.load(tmp_path / "other.pth", layers={"conv1_1": 1.0})


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off", None])
def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path, content: bytes | None):
    path = tmp_path / "vgg19.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"^.*vgg19\.pth: .*; give torchvision's vgg19 or squeezenet1_1, or the norm"):
        Perceptual.load(path)


def test_a_list_of_tensors_is_no_network(tmp_path: Path):
    torch.save([torch.zeros(1)], tmp_path / "vgg19.pth")
    with pytest.raises(ModelError, match="not a file of named tensors"):
        Perceptual.load(tmp_path / "vgg19.pth")


def bicubic_and_truth(media: Path, name: str) -> Iterator[tuple[Tensor, Tensor]]:
    """In [0, 1], x4, from the set's own small pictures."""
    folder = media / "images" / name / "x4"
    for high, low in zip(sorted((folder / "HR").iterdir()), sorted((folder / "LR").iterdir()), strict=True):
        truth, source = (torch.from_numpy(read_rgb(path).copy()).permute(2, 0, 1)[None] for path in (high, low))
        result = enlarge(source, 4)
        yield result / 255, truth[:, :, : result.shape[2], : result.shape[3]] / 255


@pytest.fixture(scope="module")
def published(media: Path) -> Path:
    return media / "weights" / "vgg19_normalised_conv3_1.pth"


@pytest.mark.slow
@torch.no_grad()
def test_published_weights_give_the_known_distance_of_bicubic(media: Path, published: Path):
    """Measured with another implementation, after activation; the two may treat HR's surplus rows differently."""
    loss = Perceptual.load(published, layers={"conv3_1": 1.0})
    (conv3_1,) = loss.parts
    pairs = [pair for name in ("Set5", "Set14") for pair in bicubic_and_truth(media, name)]
    found = [F.l1_loss(conv3_1(result).relu(), conv3_1(truth).relu()).item() for result, truth in pairs]
    assert sum(found) / len(found) == pytest.approx(0.785, abs=0.005)


def middles(media: Path) -> tuple[Tensor, Tensor]:
    """96 pixels each way of the five: bicubic and truth."""
    pairs = list(bicubic_and_truth(media, "Set5"))
    result, truth = ([x[:, :, 64:160, 64:160] for x in side] for side in zip(*pairs, strict=True))
    return torch.cat(result), torch.cat(truth)


@torch.no_grad()
def test_published_activations_have_a_mean_of_one(media: Path, published: Path):
    """They are normalised to it, so this tells the preprocessing: above 4 with ImageNet's, 1.3 and on for BGR."""
    features = Perceptual.load(published)._features(middles(media)[1])
    assert [x.relu().mean().item() for x in features] == pytest.approx([1, 1, 1], abs=0.1)


def blurred(x: Tensor, sigma: float) -> Tensor:
    return blur(x, gaussian(2 * round(3 * sigma) + 1, sigma_x=sigma, sigma_y=sigma, rotation=0))


def noisy(x: Tensor, sigma: float) -> Tensor:
    return x + sigma / 255 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


def as_jpeg(x: Tensor, quality: float) -> Tensor:
    packed = [through_jpeg(one.permute(1, 2, 0).numpy(), int(quality)) for one in (255 * x).round().byte()]
    return torch.stack([torch.from_numpy(one.copy()).permute(2, 0, 1) for one in packed]) / 255


@pytest.mark.parametrize("file", ["vgg19_normalised_conv3_1.pth", "squeezenet1_1.pth"])
@pytest.mark.parametrize(
    ("damage", "amounts"), [(blurred, (0.5, 1, 2, 4)), (noisy, (2, 5, 10, 20, 40)), (as_jpeg, (95, 80, 40, 20, 10))]
)
@torch.no_grad()
def test_more_damage_costs_more(media: Path, file: str, damage, amounts: tuple[float, ...]):
    loss, truth = Perceptual.load(media / "weights" / file), middles(media)[1][:, :, :64, :64]
    costs = [loss(damage(truth, amount), truth).item() for amount in amounts]
    assert costs == sorted(costs)
    assert costs[-1] > 3 * costs[0] > 0


@torch.no_grad()
def test_each_slice_of_squeezenet_has_about_the_same_part_by_default(media: Path):
    loss = Perceptual.load(media / "weights" / "squeezenet1_1.pth")
    result, truth = middles(media)
    features = zip(loss._features(result), loss._features(truth), strict=True)
    parts = [weight * F.l1_loss(a, b).item() for weight, (a, b) in zip(loss.weights, features, strict=True)]
    assert max(parts) < 2 * min(parts)


def touched(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_given_file_goes_before_any_folder_and_may_have_any_name(tmp_path: Path):
    touched(tmp_path / "vgg19-dcbb9e9d.pth")
    given = touched(tmp_path / "mine.pth")
    assert vgg_weights.find_perceptual_weights(given, [tmp_path]) == given


@pytest.mark.parametrize("name", ["gone.pth", ""])
def test_a_given_path_that_is_no_file_is_refused_though_a_folder_has_one(tmp_path: Path, name: str):
    touched(tmp_path / "vgg19-dcbb9e9d.pth")
    with pytest.raises(ConfigError, match=r"^.*: no such file; check the path of the perceptual weights$"):
        vgg_weights.find_perceptual_weights(tmp_path / name, [tmp_path])


def test_folders_are_searched_in_their_order_and_the_official_network_is_first_in_each(tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert vgg_weights.find_perceptual_weights(None, [first, second]) is None
    official = touched(second / "vgg19-dcbb9e9d.pth")
    assert vgg_weights.find_perceptual_weights(None, [first, second]) == official
    own = touched(first / "vgg19_normalised_conv3_1.pth")
    assert vgg_weights.find_perceptual_weights(None, [first, second]) == own
    touched(second / "vgg19_normalised_conv3_1.pth")
    assert vgg_weights.find_perceptual_weights(None, [second, first]) == official


def test_the_models_folder_goes_before_torchvisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VSR_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    assert vgg_weights.default_folders() == (tmp_path / "models", tmp_path / "hub" / "checkpoints")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):  # noqa: A002  # the name of the base
        pass


CONTENT = os.urandom(4096)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that URL is served from, with the file whose hash SHA256_START is."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "vgg19-dcbb9e9d.pth").write_bytes(CONTENT)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("VSR_OFFLINE")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setattr(vgg_weights, "URL", f"http://127.0.0.1:{http.server_port}/vgg19-dcbb9e9d.pth")
        monkeypatch.setattr(vgg_weights, "SHA256_START", hashlib.sha256(CONTENT).hexdigest()[:8])
        yield folder
        http.shutdown()
        thread.join()


def test_a_download_lies_whole_where_it_is_then_found(server: Path, tmp_path: Path, capfd):
    folder = tmp_path / "new" / "models"
    path = vgg_weights.download(folder)
    assert path.read_bytes() == CONTENT
    assert list(folder.iterdir()) == [path]
    assert vgg_weights.find_perceptual_weights(None, [folder]) == path
    assert capfd.readouterr() == ("", "")


def refused(folder: Path, reason: str) -> None:
    told = rf"cannot be fetched: {reason}; put it, its sha256 starting with [0-9a-f]{{8}}, into .*models"
    with pytest.raises(ConfigError, match=rf"^http://.*/vgg19-dcbb9e9d\.pth: {told}$"):
        vgg_weights.download(folder)
    assert not folder.is_dir() or list(folder.iterdir()) == []


def test_a_download_of_another_hash_is_told_in_one_line_and_thrown_away(server: Path, tmp_path: Path):
    (server / "vgg19-dcbb9e9d.pth").write_bytes(CONTENT[:-1])  # as if cut off
    refused(tmp_path / "models", "invalid hash value .*")


def test_a_missing_page_is_told_in_one_line(server: Path, tmp_path: Path):
    (server / "vgg19-dcbb9e9d.pth").unlink()
    refused(tmp_path / "models", "HTTP Error 404: File not found")


def test_no_network_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("VSR_OFFLINE")
    with socket.socket() as bound:  # never listens
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setattr(vgg_weights, "URL", f"http://127.0.0.1:{bound.getsockname()[1]}/vgg19-dcbb9e9d.pth")
        refused(tmp_path / "models", ".*refused.*")


def test_a_folder_that_cannot_be_made_is_told_in_one_line(server: Path, tmp_path: Path):
    touched(tmp_path / "file")
    refused(tmp_path / "file" / "models", ".*Not a directory.*")


def test_the_hash_is_the_one_in_torchvisions_name():
    from torchvision.models import VGG19_Weights

    assert VGG19_Weights.IMAGENET1K_V1.url == vgg_weights.URL
    assert vgg_weights.NAMES[0] == f"vgg19-{vgg_weights.SHA256_START}.pth"
