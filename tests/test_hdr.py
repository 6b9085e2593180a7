"""HDR through the whole flow: tags, mastering display and light levels, and what is said where something is lost."""

import struct
from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest

from tests.color_maker import BAR, BARS, codes_of, frames_of, upscale
from tests.media_maker import changed_packets, make_clip
from vsr.errors import ConfigError
from vsr.frames import ColorSpec
from vsr.io.light_levels import with_light_levels
from vsr.io.probe import probe
from vsr.io.side_data import content_light_of, mastering_display_of, side_data_of
from vsr.settings import UpscaleSettings
from vsr.video import upscale_video

LIGHT = (1000, 400)
FAST = {"hevc": "ultrafast", "h264": "ultrafast", "av1": "11", "vp9": "8"}
# AVMasteringDisplayMetadata of a P3 display, 0.005 to 1000 cd/m2: R, G, B, white, min, max, and that all of it is there
POINTS = (34000, 16000, 13250, 34500, 7500, 3000, 15635, 16450)
DISPLAY = (*(number for point in POINTS for number in (point, 50_000)), 50, 10_000, 10_000_000, 10_000, 1, 1)
X265 = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames of bars in PQ, 10 bits, BT.2020, with light levels."""
    codes = codes_of(BARS, 9, False, 10).astype(np.uint16)
    planes = [np.repeat(codes[0], BAR)[None].repeat(64, 0)]
    planes += [np.repeat(c, BAR // 2)[None].repeat(32, 0) for c in codes[1:]]
    path = tmp_path_factory.mktemp("graded") / "in.mkv"
    with av.open(str(path), "w") as file:
        options = {"x265-params": f"log-level=none:info=0:lossless=1:hdr10=1:repeat-headers=1:{X265}"}
        stream = file.add_stream("libx265", rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *planes[0].shape, "yuv420p10le"
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 9, 9, 16, 1
        for k in range(3):
            frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], "yuv420p10le")
            for plane, values in zip(frame.planes, planes, strict=True):
                rows = np.frombuffer(memoryview(plane), np.uint16).reshape(plane.height, -1)
                rows[:, : values.shape[1]] = values
            frame.pts, frame.time_base = k, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def values(display: tuple[int, ...]) -> list[float]:
    return [display[i] / display[i + 1] for i in range(0, 20, 2)]


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        *product(("hevc", "h264"), (".mp4", ".mov", ".mkv")),
        *product(("av1",), (".mp4", ".mkv", ".webm")),
        ("vp9", ".webm"),
        ("prores", ".mov"),
        ("ffv1", ".mkv"),
    ],
)
def test_light_levels_reach_the_decoded_frames_of_every_output(graded, tmp_path, nearest, codec, suffix):
    output = tmp_path / f"out{suffix}"
    notes = upscale(graded, output, nearest, codec=codec, encoder_preset=FAST.get(codec))
    assert not any("carried" in note for note in notes)
    for frame in frames_of(output):
        side_data = side_data_of(frame)
        assert content_light_of(side_data) == LIGHT
        display = mastering_display_of(side_data)
        assert display is not None
        assert values(display) == pytest.approx(values(DISPLAY), rel=1e-4, abs=1e-4)  # AV1's steps
        assert (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) == (9, 9, 16, 1)
        assert frame.format.components[0].bits == (8 if codec == "vp9" else 10)


@pytest.mark.parametrize("codec", ["hevc", "av1"])
def test_light_levels_are_in_the_bitstream_itself(graded, tmp_path, nearest, codec):
    upscale(graded, tmp_path / "out.mp4", nearest, codec=codec, encoder_preset=FAST[codec])
    bare = tmp_path / ("bare.hevc" if codec == "hevc" else "bare.obu")
    with av.open(str(tmp_path / "out.mp4")) as file, av.open(str(bare), "w") as raw:
        stream = raw.add_stream_from_template(file.streams.video[0], opaque=True)
        for packet in file.demux(file.streams.video[0]):
            if packet.size:
                packet.stream = stream
                raw.mux(packet)
    side_data = side_data_of(next(frames_of(bare)))
    assert content_light_of(side_data) == LIGHT
    display = mastering_display_of(side_data)
    assert display is not None
    assert values(display) == pytest.approx(values(DISPLAY), rel=1e-4, abs=1e-4)


def test_orders_of_the_users_join_those_of_the_light_levels(graded, tmp_path, nearest):
    upscale(graded, tmp_path / "out.mkv", nearest, codec="hevc", encoder_options={"x265-params": "bframes=0"})
    with av.open(str(tmp_path / "out.mkv")) as file:
        times = [packet.pts or 0 for packet in file.demux(video=0) if packet.size]
    assert times == sorted(times)
    assert content_light_of(side_data_of(next(frames_of(tmp_path / "out.mkv")))) == LIGHT


def test_a_source_without_light_levels_gets_none(tmp_path, nearest):
    color = ColorSpec(matrix=9, primaries=9, transfer=18, full_range=False)
    clip = make_clip(tmp_path / "in.mp4", codec="libx265", pix_fmt="yuv420p10le", color=color, size=(64, 64), frames=3)
    upscale(clip, tmp_path / "out.mp4", nearest, codec="auto")
    frame = next(frames_of(tmp_path / "out.mp4"))
    assert (frame.color_trc, frame.format.name) == (18, "yuv420p10le")
    assert not {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"} & set(side_data_of(frame))


def test_light_levels_of_a_real_clip_arrive(media, tmp_path, nearest):
    clip = media / "video" / "mp4_sample_with_colr_mdcv_and_clli.mp4"
    video = probe(clip).video
    assert video.mastering_display is not None
    settings = UpscaleSettings(
        model=str(nearest), scale=Fraction(1), device="cpu", end=Fraction(1, 20), precision="fp32"
    )
    upscale_video(clip, tmp_path / "out.mp4", settings=settings)
    side_data = side_data_of(next(frames_of(tmp_path / "out.mp4")))
    display = mastering_display_of(side_data)
    assert display is not None
    assert values(display) == pytest.approx(values(video.mastering_display), abs=1e-4)
    assert content_light_of(side_data) == video.content_light


def test_a_header_that_says_nothing_of_colour_gets_all_of_it(graded, tmp_path):
    plain = make_clip(tmp_path / "plain.mkv", color=None, size=(64, 64), frames=2)
    patched = tmp_path / "patched.mkv"
    patched.write_bytes(with_light_levels(plain.read_bytes(), probe(graded).video))
    side_data = side_data_of(next(frames_of(patched)))
    assert content_light_of(side_data) == LIGHT
    display = mastering_display_of(side_data)
    assert display is not None
    assert values(display) == pytest.approx(values(DISPLAY))


@pytest.mark.parametrize("missing", [20, 21])
def test_half_of_the_mastering_data_is_none(missing):
    numbers = [0 if i == missing else number for i, number in enumerate(DISPLAY)]
    assert mastering_display_of({"MASTERING_DISPLAY_METADATA": struct.pack("<22i", *numbers)}) is None


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("mp4_dolbyVision-hdr.MOV", "Dolby Vision metadata is not carried; the base layer's colours are"),
        ("mp4_fragmented_captions.mp4", "closed captions inside the pictures are not carried"),
    ],
)
def test_what_real_clips_lose_is_announced(media, name, note):
    assert probe(media / "video" / name).notes == (note,)


def bits(*fields: tuple[int, int]) -> bytes:
    """(value, bits) packed from the highest bit on, filled up with zeros."""
    text = "".join(f"{value:0{width}b}" for value, width in fields)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8)


# ST 2094-40 in ITU-T T.35: USA, Samsung, application 4, version 1; one window, nothing but maxima
HDR10_PLUS = bytes.fromhex("b5003c00010401") + bits(
    (1, 2), (400, 27), (0, 1), (1000, 17), (1000, 17), (1000, 17), (500, 17), (0, 4), (0, 10), (0, 1), (0, 1), (0, 1)
)
CAPTION = bytes.fromhex("b500314741393403c1fffc9420ff")  # ATSC A/53: one pair of bytes, "resume caption loading"


def with_message(clip: Path, output: Path, message: bytes, first: int) -> Path:
    """A copy whose packets from number `first` on begin with an SEI of a registered user's data."""
    header = b"\x4e\x01" if "hevc" in clip.name else b"\x06"
    escaped = message.replace(b"\0\0\1", b"\0\0\3\1").replace(b"\0\0\0", b"\0\0\3\0")
    unit = header + bytes([4, len(message)]) + escaped + b"\x80"
    count = iter(range(1000))

    def change(packet: av.Packet) -> av.Packet:
        if next(count) < first:
            return packet
        changed = av.Packet(len(unit).to_bytes(4) + unit + bytes(packet))
        changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
        changed.duration, changed.is_keyframe = packet.duration, packet.is_keyframe
        return changed

    with changed_packets(clip, output, change) as changed:
        return changed


@pytest.mark.parametrize("first", [0, 5])
def test_hdr10_plus_and_captions_are_announced_wherever_they_begin(tmp_path, nearest, first):
    for codec, message, note in (
        ("hevc", HDR10_PLUS, "HDR10+ metadata is not carried; HDR10 is"),
        ("h264", CAPTION, "closed captions inside the pictures are not carried"),
    ):
        encoder = {"hevc": "libx265", "h264": "libx264"}[codec]
        clip = make_clip(tmp_path / f"{codec}.mp4", codec=encoder, size=(64, 64), options={"bf": "0"})
        assert probe(clip).notes == ()
        changed = with_message(clip, tmp_path / f"{codec}-changed.mp4", message, first)
        assert probe(changed).notes == (note,)
        assert note in upscale(changed, tmp_path / f"{codec}{first}.mkv", nearest)


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_another_matrix_for_hdr_is_refused(tmp_path, nearest, transfer, name):
    color = ColorSpec(matrix=9, primaries=9, transfer=transfer, full_range=False)
    clip = make_clip(tmp_path / "in.mkv", codec="ffv1", pix_fmt="yuv420p10le", color=color, frames=2)
    with pytest.raises(ConfigError, match=rf"^matrix = bt709: the source is {name}, .*; leave --matrix out$"):
        upscale(clip, tmp_path / "out.mkv", nearest, matrix="bt709")
