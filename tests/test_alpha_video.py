"""Alpha through the whole flow: what is read of each source, what each output holds, what is said where it cannot."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from tests.color_maker import frames_of, upscale, write
from vsr.errors import MediaError
from vsr.io.pixel_formats import planar_layout
from vsr.io.pixels import PlaneReader
from vsr.io.probe import probe

SIZE = HEIGHT, WIDTH = 32, 48
SEEN, HIDDEN = (200, 90, 40), (20, 250, 130)  # the same colour all over, another one where nothing is seen
ALPHA = np.tile(np.interp(np.arange(WIDTH), [15, 32], [0, 255]).round().astype(np.uint8), (HEIGHT, 1))


def rgba() -> np.ndarray:
    """(height, width, 4): transparent at the left, opaque at the right, soft between."""
    picture = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    picture[..., :3] = np.where(ALPHA[..., None] > 0, SEEN, HIDDEN)
    picture[..., 3] = ALPHA
    return picture


def yuva(depth: int, chroma_step: int) -> list[np.ndarray]:
    """Limited range BT.601 planes of the same."""
    r, g, b = np.moveaxis(rgba()[..., :3] / 255, -1, 0)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    planes = [16 + 219 * y, 128 + 224 * (b - y) / 1.772, 128 + 224 * (r - y) / 1.402, ALPHA.astype(float)]
    planes[1:3] = [plane[::chroma_step, ::chroma_step] for plane in planes[1:3]]
    steps = [2.0 ** (depth - 8)] * 3 + [(2**depth - 1) / 255]
    dtype = np.uint8 if depth == 8 else np.uint16
    return [np.rint(plane * step).astype(dtype) for plane, step in zip(planes, steps, strict=True)]


def packed(order: str) -> list[np.ndarray]:
    return [np.ascontiguousarray(rgba()[..., ["RGBA".index(letter) for letter in order]]).reshape(HEIGHT, -1)]


def source(folder, kind: str):
    """A clip of three frames, its suffix as the kind wants it."""
    if kind == "prores":
        return write(folder / "in.mov", yuva(10, 1), "yuva444p10le", codec="prores_ks", tags=None, size=SIZE)
    if kind == "vp9":
        options = {"auto-alt-ref": "0", "crf": "1", "b": "0"}
        return write(folder / "in.webm", yuva(8, 2), "yuva420p", codec="libvpx-vp9", tags=None, size=SIZE, **options)
    if kind == "ffv1":
        return write(folder / "in.mkv", yuva(8, 2), "yuva420p", codec="ffv1", tags=None, size=SIZE)
    if kind in ("png", "apng"):
        return write(
            folder / f"in.{'mov' if kind == 'png' else kind}", packed("RGBA"), "rgba", codec=kind, tags=None, size=SIZE
        )
    if kind == "qtrle":
        return write(folder / "in.mov", packed("ARGB"), "argb", codec="qtrle", tags=None, size=SIZE)
    pictures = [Image.fromarray(rgba()) for _ in range(3)]
    pictures[1].putpixel((WIDTH - 1, 0), (*SEEN[:2], SEEN[2] + 8, 255))  # alike frames would become one
    pictures[0].save(folder / f"in.{kind}", save_all=True, append_images=pictures[1:], duration=40, lossless=True)
    return folder / f"in.{kind}"


def straight(path) -> tuple[np.ndarray, np.ndarray]:
    """RGB (h, w, 3) and alpha (h, w) of a file's first frame, 0 to 1, by the formulas for BT.601 and BT.709."""
    frame = next(frames_of(path))
    layout = planar_layout(frame.format.name, with_alpha=True)
    planes = [p.astype(float) for p in PlaneReader(layout, frame.height, frame.width).read(frame)]
    peak, step = 2**layout.depth - 1, 2.0 ** (layout.depth - 8)
    if layout.kind == "rgb":
        g, b, r = (plane / peak for plane in planes[:3])
    else:
        kr, kb = (0.2126, 0.0722) if frame.colorspace == 1 else (0.299, 0.114)
        down = 1 << layout.log2_chroma[0]
        y = (planes[0] / step - 16) / 219
        u, v = (((plane / step - 128) / 224).repeat(down, 0).repeat(down, 1) for plane in planes[1:3])
        r, b = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
        g = (y - kr * r - kb * b) / (1 - kr - kb)
    return np.stack([r, g, b], -1), planes[3] / peak if layout.has_alpha else np.ones_like(g)


@pytest.mark.parametrize(
    ("kind", "tolerance"),  # in codes of 8 bits: lossy sources, and chroma of 4:2:0 that knew the hidden colour
    [("prores", 6), ("vp9", 12), ("ffv1", 2), ("png", 0.6), ("qtrle", 0.6), ("apng", 0.6), ("webp", 0.6)],
)
def test_a_source_keeps_its_alpha(tmp_path, nearest, kind, tolerance):
    clip = source(tmp_path, kind)
    assert probe(clip).video.has_alpha
    notes = upscale(clip, tmp_path / "out.mkv", nearest)
    assert not any("alpha" in note for note in notes)
    rgb, alpha = straight(tmp_path / "out.mkv")
    assert len(list(frames_of(tmp_path / "out.mkv"))) == 3
    wanted = ALPHA.repeat(2, 0).repeat(2, 1) / 255
    assert np.abs(alpha - wanted).max() * 255 <= tolerance
    assert np.abs(alpha - wanted)[:, :24].max() == 0, "nothing of a veil over what is transparent"
    solid = np.abs(rgb - np.array(SEEN) / 255)[:, 2 * 34 :]
    assert solid.max() * 255 <= tolerance
    if kind in ("png", "qtrle", "apng", "webp"):  # chroma that is shared with hidden pixels cannot be told apart
        assert np.abs(rgb - np.array(SEEN) / 255).max() * 255 <= tolerance, "the hidden colour is gone"


@pytest.mark.parametrize(
    ("suffix", "changes", "pix_fmt"),
    [
        (".mov", {"codec": "prores"}, "yuva444p12le"),  # as libav decodes 4444
        (".mkv", {"codec": "prores"}, "yuva444p12le"),
        (".mkv", {"codec": "ffv1"}, "bgra"),
        (".mp4", {"codec": "ffv1"}, "bgra"),
        (".webm", {"codec": "vp9", "crf": 4}, "yuva420p"),
        (".mkv", {"codec": "vp9", "crf": 4}, "yuva420p"),
        (".webm", {"codec": "auto", "crf": 4}, "yuva420p"),
        (".mov", {"codec": "auto"}, "yuva444p12le"),
    ],
)
def test_an_output_holds_alpha_where_its_codec_can(tmp_path, nearest, suffix, changes, pix_fmt):
    clip = source(tmp_path, "png")
    output = tmp_path / f"out{suffix}"
    notes = upscale(clip, output, nearest, **changes)
    assert not any("alpha" in note for note in notes)
    frame = next(frames_of(output))
    assert frame.format.name == pix_fmt
    if suffix == ".mov":
        held = output.read_bytes()
        entry = held.index(b"ap4h")  # of 4444; its depth, 32, is how QuickTime knows of alpha
        assert held[entry + 78 : entry + 80] == b"\0\x20"
    rgb, alpha = straight(output)
    assert np.abs(alpha - ALPHA.repeat(2, 0).repeat(2, 1) / 255).max() <= 6 / 255
    assert np.abs(rgb - np.array(SEEN) / 255).max() <= 8 / 255, "the bled colour, through lossy coding"


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mp4", "h264"), (".mkv", "hevc"), (".webm", "av1"), (".mp4", "vp9")],
)
def test_alpha_that_cannot_be_held_is_announced_and_colours_stay_as_stored(tmp_path, nearest, suffix, codec):
    clip = source(tmp_path, "png")
    output = tmp_path / f"out{suffix}"
    notes = upscale(clip, output, nearest, codec=codec, crf=4)
    assert [n for n in notes if "has no alpha" in n] == [
        f"{codec} in {suffix[1:]} has no alpha: transparent pixels show their colours; "
        "--codec prores (mov), ffv1 (mkv) or vp9 (webm) keeps it"
    ]
    rgb, alpha = straight(output)
    assert alpha.min() == 1
    for colour, columns in ((HIDDEN, slice(4, 20)), (SEEN, slice(70, 90))):
        assert np.abs(rgb[:, columns] - np.array(colour) / 255).max() <= 8 / 255


@pytest.mark.parametrize("suffix", ["webp", "gif"])
def test_an_animation_keeps_its_times_and_what_is_transparent(tmp_path, nearest, suffix):
    pictures = [Image.new("RGBA", (20, 16), (40 * k, 200, 10, 255)) for k in range(4)]
    for k, picture in enumerate(pictures):
        picture.paste((0, 0, 0, 0), (0, 0, 8, 16))
        picture.putpixel((19, 15), (40, 200, 10, 200 + k))
    clip = tmp_path / f"in.{suffix}"
    pictures[0].save(
        clip, save_all=True, append_images=pictures[1:], duration=[40, 100, 30, 250], lossless=True, disposal=2
    )
    upscale(clip, tmp_path / "out.mkv", nearest)
    frames = list(frames_of(tmp_path / "out.mkv"))
    assert [float((frame.pts or 0) * Fraction(frame.time_base or 0)) for frame in frames] == [0, 0.04, 0.14, 0.17]
    _, alpha = straight(tmp_path / "out.mkv")
    assert (set(alpha[:, :16].ravel()), set(alpha[:26, 16:].ravel())) == ({0}, {1})


def test_a_still_webp_is_no_clip(tmp_path):
    Image.new("RGBA", (20, 16)).save(tmp_path / "still.webp", lossless=True)
    with pytest.raises(MediaError, match="is no video"):
        probe(tmp_path / "still.webp")


def test_an_animation_that_breaks_off_is_one_line(tmp_path):
    clip = source(tmp_path, "webp")
    (tmp_path / "cut.webp").write_bytes(clip.read_bytes()[:60])
    with pytest.raises(MediaError, match=r"^\S+: its animation cannot be read \([^\n]+\); copy it again$"):
        probe(tmp_path / "cut.webp")


def test_a_run_with_two_passes_and_a_size_keeps_alpha(tmp_path, nearest):
    clip = source(tmp_path, "ffv1")
    upscale(clip, tmp_path / "out.mkv", nearest, scale=Fraction(3), passes=2)
    _, alpha = straight(tmp_path / "out.mkv")
    assert alpha.shape == (3 * HEIGHT, 3 * WIDTH)
    assert (alpha[:, :36].max(), alpha[:, 102:].min()) == (0, 1)
    assert np.abs(np.diff(alpha[40, 36:102])).max() < 0.1
