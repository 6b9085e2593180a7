import runpy
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "examples"
CLIP = FOLDER / "sample.mp4"


@pytest.fixture(scope="module")
def script() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(FOLDER / "make_sample.py")))


def test_the_sample_is_small():
    assert CLIP.stat().st_size < 300_000


def test_script_and_clip_agree_on_size_rate_length_and_streams(script):
    with av.open(str(CLIP)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert len(container.streams) == 2
        assert (video.width, video.height) == (script.WIDTH, script.HEIGHT) == (320, 180)
        assert video.average_rate == script.RATE
        assert (audio.codec_context.name, audio.rate, audio.layout.name) == ("aac", script.SAMPLE_RATE, "stereo")
        assert container.duration == script.SECONDS * av.time_base
        assert sum(1 for _ in container.decode(video)) == script.RATE * script.SECONDS == 100


def test_the_sample_is_tagged_as_what_it_is():
    with av.open(str(CLIP)) as container:
        context = container.streams.video[0].codec_context
        tags = (context.color_primaries, context.color_trc, context.colorspace, context.color_range)
        assert (context.name, context.pix_fmt, tags) == ("h264", "yuv420p", (1, 1, 1, 1))


def test_the_script_draws_the_frames_of_the_clip(script):
    """Within what x264 loses at CRF 20: the frames before and after are 11 dB worse."""
    scene = script.Scene()
    with av.open(str(CLIP)) as container:
        decoded = [frame.to_ndarray()[: script.HEIGHT].astype(float) for frame in container.decode(video=0)]
    drawn = script.to_yuv420(script.draw_frame(scene, 60))[0]
    decibels = [10 * np.log10(255**2 / np.mean((decoded[n] - drawn) ** 2)) for n in (59, 60, 61)]
    assert decibels[1] > 35
    assert max(decibels[0], decibels[2]) < decibels[1] - 5


def test_the_lamp_flashes_and_the_sound_clicks_at_each_full_second(script):
    with av.open(str(CLIP)) as container:
        lamp = [int(frame.to_ndarray()[105, 254]) for frame in container.decode(video=0)]  # its middle
    lit = [n for n, value in enumerate(lamp) if value > 200]
    assert lit == [second * script.RATE + n for second in range(script.SECONDS) for n in range(script.FLASH)]

    with av.open(str(CLIP)) as container:
        frames = list(container.decode(audio=0))
    assert frames[0].pts == 0
    sound = np.concatenate([frame.to_ndarray() for frame in frames], axis=1).mean(axis=0)
    window = script.SAMPLE_RATE // 50  # 20 ms: the 2 kHz of the click is bin 40
    loudness = np.abs(np.fft.rfft(sound[: len(sound) // window * window].reshape(-1, window)))[:, 40]
    assert sorted(np.argsort(loudness)[-script.SECONDS :]) == [50 * second for second in range(script.SECONDS)]
