"""What a run finds to train on, what it says of the rest, and that pictures are the same however they are kept."""

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from tests.media_maker import make_clip
from vsr.degradation import Motion
from vsr.engine.matlab import shrink
from vsr.errors import ConfigError, MediaError
from vsr.footage import read_frames
from vsr.io.decode import PictureDecoder
from vsr.io.images import picture_size, read_rgb
from vsr.preset import load_degradation
from vsr.train import store
from vsr.train.draw import Draw
from vsr.train.material import Footage, Pair, Still, stored
from vsr.train.samples import Recipe
from vsr.train.scan import scan
from vsr.train.store import PictureStore, RecentPictures, available_bytes, read_picture

ORIENTATION = 0x0112


def picture(path: Path, size: tuple[int, int] = (48, 64), *, seed: int = 0, **options) -> Path:
    """Write noise of (height, width); the suffix chooses the format."""
    pixels = torch.randint(0, 256, (*size, 3), generator=torch.Generator().manual_seed(seed)).byte()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.numpy()).save(path, **options)
    return path


def noise_clip(path: Path, pix_fmt: str, size: tuple[int, int]) -> Path:
    """Two frames of noise in every plane, luma and chroma."""
    noise = np.random.default_rng(0)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", 25, width=size[1], height=size[0], pix_fmt=pix_fmt)
        for _ in range(2):
            frame = av.VideoFrame(size[1], size[0], pix_fmt)
            for plane in frame.planes:
                samples = noise.integers(0, 256, plane.buffer_size, np.uint8)
                if "10" in pix_fmt:
                    samples[1::2] &= 3
                plane.update(samples.tobytes())
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def pair(high: Path, low: Path, size: tuple[int, int] = (48, 64), scale: int = 4) -> None:
    truth = torch.from_numpy(read_rgb(picture(high, size)).copy()).permute(2, 0, 1)[None]
    height, width = size[0] // scale * scale, size[1] // scale * scale
    low.parent.mkdir(parents=True, exist_ok=True)
    small = shrink(truth[:, :, :height, :width], scale)[0]
    Image.fromarray(small.permute(1, 2, 0).numpy()).save(low)


def at(seed: int = 0) -> Draw:
    return Draw(torch.Generator().manual_seed(seed))


def found(*paths: Path, **changes) -> list[str]:
    """Names of what is found: a pair's are joined."""
    scanned = scan(paths, **{"scale": 4, "least_px": 32, **changes})
    return [f"{m.high.name}+{m.low.name}" if isinstance(m, Pair) else m.path.name for m in scanned.materials]


def test_folders_are_searched_to_the_bottom(tmp_path: Path):
    picture(tmp_path / "b" / "cats" / "2.png")
    picture(tmp_path / "b" / "dogs" / "1.JPG")
    picture(tmp_path / "a.webp")
    make_clip(tmp_path / "b" / "clip.mkv", frames=3)
    picture(tmp_path / ".hidden.png")
    picture(tmp_path / ".thumbs" / "x.png")
    (tmp_path / "b" / "notes.md").write_text("no picture")
    (tmp_path / "b" / "circle").symlink_to(tmp_path)
    scanned = scan([tmp_path, tmp_path / "a.webp"], scale=4, least_px=32)
    assert [m.path.name for m in scanned.materials if not isinstance(m, Pair)] == [
        "a.webp",
        "2.png",
        "clip.mkv",
        "1.JPG",
    ]
    assert scanned.counts == {"stills": 3, "pairs": 0, "clips": 1}
    assert scanned.decoded_bytes == 3 * 3 * 48 * 64
    assert scanned.problems == ()


def test_problems_are_listed_by_name(tmp_path: Path):
    picture(tmp_path / "good.png")
    picture(tmp_path / "small.png", (31, 64))
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "clip.mp4").write_text("no clip")
    make_clip(tmp_path / "tiny.mkv", size=(16, 64), frames=2)
    scanned = scan([tmp_path], scale=4, least_px=32)
    assert len(scanned.materials) == 1
    clip, small, text, tiny = scanned.problems
    assert small == f"{tmp_path}/small.png: 64x31 is smaller than 32 pixels; leave it out"
    assert tiny == f"{tmp_path}/tiny.mkv: 64x16 is smaller than 32 pixels; leave it out"
    assert text.startswith(f"{tmp_path}/text.png: cannot be read as a picture")
    assert clip.startswith(f"{tmp_path}/clip.mp4: ")
    assert not any("\n" in line for line in scanned.problems)


def test_a_list_has_comments_pairs_and_roots_beside_it(tmp_path: Path):
    picture(tmp_path / "data" / "one.png")
    picture(tmp_path / "data" / "a, b #1.png")
    pair(tmp_path / "data" / "h.png", tmp_path / "data" / "l.png")
    listed = tmp_path / "lists" / "train.txt"
    listed.parent.mkdir()
    lines = ["# all", "", "../data/one.png  # the first", "../data/a, b #1.png", "../data/h.png, ../data/l.png"]
    listed.write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    assert found(listed) == ["a, b #1.png", "h.png+l.png", "one.png"]


@pytest.mark.parametrize(
    "halves",
    [("train/high_resolution", "train/low_resolution"), ("HR", "LR"), ("x4/HR", "x4/LR"), ("sub/HR", "sub/LR")],
)
def test_paired_layouts_are_recognised_and_validation_is_left_alone(tmp_path: Path, halves: tuple[str, str]):
    pair(tmp_path / halves[0] / "0001.png", tmp_path / halves[1] / "0001.png")
    if halves[0].startswith("train"):
        pair(tmp_path / "val/high_resolution/9.png", tmp_path / "val/low_resolution/9.png")
    assert found(tmp_path) == ["0001.png+0001.png"]


@pytest.mark.parametrize(
    ("high", "low"),
    [("0801.png", "0801x4.png"), ("Set_1_HR.png", "Set_1_LR.png"), ("a.png", "a_x4.jpg"), ("c/HR_2.png", "c/LR_2.png")],
)
def test_halves_go_together_by_name(tmp_path: Path, high: str, low: str):
    pair(tmp_path / "truths" / high, tmp_path / "small" / low)
    pair(tmp_path / "truths" / "other.png", tmp_path / "small" / "other.png")
    folders = [(tmp_path / "truths", tmp_path / "small")]
    assert sorted(found(paired=folders)) == sorted([f"{Path(high).name}+{Path(low).name}", "other.png+other.png"])


def test_pairs_of_other_sizes_are_named_with_both(tmp_path: Path):
    pair(tmp_path / "HR" / "good.png", tmp_path / "LR" / "good.png", (51, 65))  # the remainder belongs to no pixel
    picture(tmp_path / "HR" / "odd.png", (48, 64))
    picture(tmp_path / "LR" / "odd.png", (24, 32))
    scanned = scan([tmp_path], scale=4, least_px=32)
    assert scanned.counts["pairs"] == 1
    expected = f"{tmp_path}/HR/odd.png: 64x48 is not 4 x the 32x24 of {tmp_path}/LR/odd.png; leave the pair out"
    assert scanned.problems == (expected,)


def test_a_fraction_is_drawn_by_the_seed(tmp_path: Path):
    for number in range(10):
        picture(tmp_path / f"{number}.png")
    few = found(tmp_path, fraction=0.4, seed=1)
    assert len(few) == 4
    assert few == sorted(few) == found(tmp_path, fraction=0.4, seed=1)
    assert few != found(tmp_path, fraction=0.4, seed=2)
    assert len(found(tmp_path, fraction=0.001)) == 1
    with pytest.raises(ConfigError, match="fraction = 0: must be more than 0"):
        found(tmp_path, fraction=0)


def test_what_cannot_be_meant_is_one_line(tmp_path: Path):
    def line(*paths: Path, **changes) -> str:
        with pytest.raises(ConfigError) as e:
            found(*paths, **changes)
        assert "\n" not in str(e.value)
        return str(e.value).replace(f"{tmp_path}/", "")

    empty = tmp_path / "empty"
    empty.mkdir()
    assert line(empty) == "empty: no picture or clip there; give folders, pictures, clips or lists"
    assert line(tmp_path / "gone") == "gone: no such folder or file; check the path of the data"
    small = picture(tmp_path / "small" / "a.png", (8, 8))
    assert line(small.parent).startswith(
        "small: nothing there can be used; the first of 1: small/a.png: 8x8 is smaller"
    )
    listed = tmp_path / "list.txt"
    listed.write_text("small/a.png\n" + "\n".join(f"gone{n}.png" for n in range(5)))
    said = (
        "list.txt: names what is not there: 5 files, such as gone0.png, gone1.png, gone2.png; mend or remove the lines"
    )
    assert line(listed) == said
    picture(tmp_path / "LR" / "x.png")
    assert line(paired=[(tmp_path / "HR", tmp_path / "LR")]).startswith("HR: no such folder")
    picture(tmp_path / "HR" / "y.png")
    assert line(paired=[(tmp_path / "HR", tmp_path / "LR")]) == (
        "HR: has no truth for LR/x.png; add what is missing or remove what is alone"
    )
    picture(tmp_path / "HR" / "x.png")
    assert line(paired=[(tmp_path / "HR", tmp_path / "LR")]).startswith("LR: has no small picture for HR/y.png;")
    picture(tmp_path / "HR" / "x_HR.png")
    assert line(paired=[(tmp_path / "HR", tmp_path / "LR")]).startswith("HR: x.png and x_HR.png go by one name")


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_the_header_tells_the_size_of_the_upright_picture(tmp_path: Path, orientation: int, suffix: str):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = picture(tmp_path / f"a{suffix}", exif=exif)
    assert picture_size(path) == read_rgb(path).shape[:2]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of broken animations
def test_headers_of_odd_pictures_agree_with_their_pixels(media: Path):
    differing = []
    for path in sorted((media / "images_odd").iterdir()):
        try:
            pixels = read_rgb(path)
        except MediaError:
            continue
        if picture_size(path) != pixels.shape[:2]:
            differing.append(path.name)
    assert differing == []


def test_halves_of_a_pair_are_cut_at_one_place(tmp_path: Path):
    pair(tmp_path / "h.png", tmp_path / "l.png", (63, 82))
    material = Pair(tmp_path / "h.png", tmp_path / "l.png")
    whole = read_picture(tmp_path / "l.png")
    for seed in range(8):
        truth, low = material.cut_pair(32, scale=4, draw=at(seed))
        assert (truth.shape, low.shape) == ((1, 3, 32, 32), (1, 3, 8, 8))
        # shrinking the cut truth gives the cut small picture, but for what lay beyond its edge
        assert torch.equal(shrink(truth, 4)[:, :, 2:-2, 2:-2], low[:, :, 2:-2, 2:-2])
        assert (whole.unfold(1, 8, 1).unfold(2, 8, 1) == low.view(3, 1, 1, 8, 8)).all((-1, -2)).all(0).any()


def test_pairs_are_not_damaged_and_have_as_many_frames_as_other_samples(tmp_path: Path):
    pair(tmp_path / "h.png", tmp_path / "l.png")
    material = Pair(tmp_path / "h.png", tmp_path / "l.png")
    recipe = Recipe(materials=(material,), settings=load_degradation("video"), scale=4, side=32, seed=1)
    sample = recipe(0)
    assert sample.drawn == ("pair",)
    assert (sample.truth.shape, sample.low.shape) == ((6, 3, 32, 32), (6, 3, 8, 8))
    assert torch.equal(shrink(sample.truth, 4)[:, :, 2:-2, 2:-2], sample.low[:, :, 2:-2, 2:-2])


def test_resizing_shows_more_of_the_picture(tmp_path: Path):
    path = tmp_path / "edge.png"
    pixels = torch.zeros(128, 160, 3, dtype=torch.uint8)
    pixels[:, 80:] = 255
    Image.fromarray(pixels.numpy()).save(path)
    notes = []
    for seed in range(10):
        draw = at(seed)
        cut = Still(path, "resize").cut(32, frames=2, scale=4, motion=Motion(), draw=draw)
        assert cut.shape == (2, 3, 32, 32)
        notes += [note for note in draw.notes if note.startswith("shrunk to")]
    assert len(set(notes)) > 5
    assert min(notes) < "shrunk to 0.50"
    one = Still(picture(tmp_path / "one.png", (32, 40)), "resize").cut(
        32, frames=1, scale=4, motion=Motion(), draw=at()
    )
    assert one.shape == (1, 3, 32, 32)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv411p", "yuv422p10le", "bgr0", "gray"])
def test_a_window_of_a_clip_is_that_of_its_whole_frames(tmp_path: Path, pix_fmt: str):
    path = noise_clip(tmp_path / "clip.mkv", pix_fmt, (61, 83))
    whole = read_frames(path, 2)
    footage = Footage(path)
    for top, left, side in ((0, 0, 32), (13, 22, 40), (29, 51, 32), (0, 22, 61), (20, 24, 32)):
        clip, _ = footage._frames_at(0.0, 2, (top, left, side))
        assert torch.equal(clip, whole[:, :, top : top + side, left : left + side])


def test_a_clip_can_be_shrunk_too(tmp_path: Path):
    material = Footage(make_clip(tmp_path / "clip.mkv", codec="ffv1", frames=4), "resize")
    notes = []
    for seed in range(8):
        draw = at(seed)
        assert material.cut(32, frames=2, scale=4, motion=Motion(), draw=draw).shape == (2, 3, 32, 32)
        notes.append(draw.notes[0])
    assert len(set(notes)) > 3
    assert all(note.startswith("shrunk to ") for note in notes)


def test_a_clip_that_ends_early_repeats_its_last_frame(tmp_path: Path):
    path = make_clip(tmp_path / "clip.mkv", codec="ffv1", frames=3)
    cut = Footage(path).cut(48, frames=5, scale=4, motion=Motion(), draw=at())
    assert cut.shape == (5, 3, 48, 48)
    assert torch.equal(cut[2], cut[4])
    assert not torch.equal(cut[1], cut[2])


def test_a_clip_shorter_than_it_says_is_read_where_there_are_frames(tmp_path: Path):
    path = make_clip(tmp_path / "clip.mp4", frames=50, rate=Fraction(25))
    material = Footage(path)
    object.__setattr__(material.info.video, "frame_estimate", 5000)
    for seed in range(3):
        assert material.cut(32, frames=4, scale=4, motion=Motion(), draw=at(seed)).shape == (4, 3, 32, 32)


def test_a_clip_is_not_decoded_from_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = make_clip(tmp_path / "clip.mp4", frames=800, options={"g": "25", "preset": "ultrafast"})
    decoded = []
    plain = PictureDecoder._decoded

    def counted(self, threading, seek_to):
        for timed in plain(self, threading, seek_to):
            decoded.append(timed)
            yield timed

    monkeypatch.setattr(PictureDecoder, "_decoded", counted)
    Footage(path)._frames_at(30.0, 4, (0, 0, 32))
    assert len(decoded) < 5 * 25 + 4  # three seconds of margin, one of frames between key frames


def test_pixels_are_the_same_from_memory_and_from_disk(tmp_path: Path):
    stills = [picture(tmp_path / f"{n}.jpg", (48, 64), seed=n) for n in range(4)]
    pair(tmp_path / "h.png", tmp_path / "l.png")
    materials = (*map(Still, stills), Pair(tmp_path / "h.png", tmp_path / "l.png"))
    resident, memory = stored(materials, budget_bytes=1 << 20)
    read, disk = stored(materials, budget_bytes=1000)
    assert memory.bytes == 3 * (5 * 48 * 64 + 12 * 16)
    assert disk.bytes == 0
    for path in [*stills, tmp_path / "l.png"]:
        assert torch.equal(memory(path), disk(path))
        assert torch.equal(memory(path), read_picture(path))

    def made(materials, number: int):
        settings = load_degradation("real_world")
        return Recipe(materials=materials, settings=settings, scale=4, side=32, seed=3)(number)

    for number in range(6):
        assert torch.equal(made(resident, number).low, made(read, number).low)
        assert torch.equal(made(resident, number).truth, made(read, number).truth)


def _first_byte(store: PictureStore, path: Path, answers) -> None:
    answers.put(int(store(path)[0, 0, 0]))


def test_a_spawned_process_shares_the_memory(tmp_path: Path):
    path = picture(tmp_path / "a.png")
    kept = PictureStore([path], budget_bytes=1 << 20)
    context = torch.multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    process = context.Process(target=_first_byte, args=(kept, path, answers))
    kept(path)[0, 0, 0] = 77  # as no one may: to see that it is the same memory
    process.start()
    assert answers.get() == 77
    process.join()


def test_a_damaged_picture_is_named_and_its_materials_left_out(tmp_path: Path):
    good, bad = picture(tmp_path / "good.png"), picture(tmp_path / "bad.png", seed=1)
    bad.write_bytes(bad.read_bytes()[:-3000])
    kept, memory = stored([Still(good), Still(bad), Pair(good, bad)], budget_bytes=1 << 20)
    assert [m.path for m in kept if isinstance(m, Still)] == [good]
    assert len(kept) == 1
    assert memory.damaged.keys() == {bad}
    assert memory.damaged[bad].startswith(f"{bad}: cannot be read as a picture: ")
    with pytest.raises(ConfigError, match=r"data: none of 1 pictures can be decoded; the first: .*bad\.png: cannot"):
        stored([Still(bad)], budget_bytes=1 << 20)


def test_recent_pictures_stay_within_their_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    paths = [picture(tmp_path / f"{n}.png", seed=n) for n in range(3)]
    read = []
    monkeypatch.setattr(store, "read_picture", lambda path: read.append(path) or read_picture(path))
    recent = RecentPictures(2 * 3 * 48 * 64)
    for index in (0, 1, 0, 2, 0, 1):
        recent(paths[index])
    assert [paths.index(path) for path in read] == [0, 1, 2, 1]


def test_too_little_shared_memory_is_no_reason_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = picture(tmp_path / "a.png")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10_000))
    assert PictureStore([path]).bytes == (0 if Path("/dev/shm").is_dir() else 3 * 48 * 64)


def test_a_containers_limit_bounds_the_memory(monkeypatch: pytest.MonkeyPatch):
    texts = {"/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:   5000 kB\n"}
    monkeypatch.setattr(store, "_text", lambda path: texts.get(path, ""))
    assert available_bytes() == 5000 << 10
    texts |= {"/sys/fs/cgroup/memory.max": "3000\n", "/sys/fs/cgroup/memory.current": "1000\n"}
    assert available_bytes() == 2000
    texts |= {"/sys/fs/cgroup/memory.max": "max\n"}
    assert available_bytes() == 5000 << 10
