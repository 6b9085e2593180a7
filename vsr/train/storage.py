"""What a picture is stored in on its way to the network: a JPEG, a clip, or only a clip's coarser chroma."""

from itertools import product

import numpy as np
import torch
from torch import Tensor

from vsr.degradation import CodecName, Compression, Degradation
from vsr.errors import ConfigError
from vsr.io.degrade_codec import (
    CODECS,
    CodecFailed,
    Encoding,
    missing_codecs,
    through_chroma,
    through_jpeg,
    through_video,
)
from vsr.train.draw import Draw

_TRANSCODE_GAIN = 3  # steps of quality by which the second codec is better
_FALLBACK_QUALITY = 60  # of the JPEG that stands in for a clip whose codec failed


def check_codecs(settings: Degradation) -> None:
    """Make sure, before any work, that all that may be drawn can be encoded here. Raises ConfigError, one line."""
    if missing := missing_codecs(settings.codecs):
        raise ConfigError(f"codecs {', '.join(missing)}: not in this build of PyAV; take them out of the preset")
    for order in (settings.first.compression, settings.second.compression):
        for name, codec in order.codecs.items():
            for quality, preset, profile in product(codec.quality, codec.presets or ("",), codec.profiles or ("",)):
                try:
                    Encoding(encoder=name, quality=quality, preset=preset, profile=profile)
                except ValueError as e:
                    raise ConfigError(f"codecs.{name}: {e}") from e


def store(frames: Tensor, settings: Compression, draw: Draw) -> tuple[Tensor, int]:
    """Put (T, 3, H, W) frames, float in [0, 1], into a drawn medium and take them out again.

    They come back as 8-bit codes over 255, or untouched when nothing was drawn; besides, the number of clips whose
    codec failed and that a JPEG stands in for. On a device the frames cross to the host and back.
    """
    medium = draw.choice(settings.media)
    if medium == "none":
        return frames, 0
    clip = np.ascontiguousarray(to_bytes(frames).permute(0, 2, 3, 1).cpu().numpy())
    failures = 0
    if medium == "jpeg":
        clip = _through_jpeg(clip, draw.integer(*settings.jpeg_quality), draw)
    elif medium == "chroma":
        pixels = draw.choice(settings.chroma)
        draw.note(f"chroma {pixels.removeprefix('yuv')}")
        clip = through_chroma(clip, pixels)
    else:
        clip, failures = _through_codecs(clip, settings, draw)
    return torch.from_numpy(clip).to(frames.device).permute(0, 3, 1, 2).float() / 255, failures


def to_bytes(frames: Tensor) -> Tensor:
    """Floats of 1 for white as 8-bit codes, rounded to nearest."""
    return frames.mul(255).round().clamp(0, 255).to(torch.uint8)


def _through_jpeg(clip: np.ndarray, quality: int, draw: Draw) -> np.ndarray:
    draw.note(f"JPEG {quality}")
    return np.stack([through_jpeg(frame, quality) for frame in clip])


def _through_codecs(clip: np.ndarray, settings: Compression, draw: Draw) -> tuple[np.ndarray, int]:
    encodings = [_encoding(settings, draw, gain=0)]
    if draw.chance(settings.transcode_chance):
        encodings.append(_encoding(settings, draw, gain=_TRANSCODE_GAIN, but=encodings[0].encoder))
    try:
        for one in encodings:
            clip = through_video(clip, one)
    except CodecFailed as e:
        draw.note(f"failed ({e})")
        return _through_jpeg(clip, _FALLBACK_QUALITY, draw), 1
    return clip, 0


def _encoding(settings: Compression, draw: Draw, *, gain: int, but: str = "") -> Encoding:
    """A drawn codec, another than `but` where there is one, `gain` steps better than drawn."""
    shares: dict[CodecName, float] = {name: codec.share for name, codec in settings.codecs.items()}
    if any(share for name, share in shares.items() if name != but):
        shares = {name: share for name, share in shares.items() if name != but}
    name = draw.choice(shares)
    codec = settings.codecs[name]
    best, worst = codec.quality
    quality = max(best, draw.integer(best, worst) - gain)
    preset = draw.choice(codec.presets) if codec.presets else ""
    profile = draw.choice(codec.profiles) if codec.profiles else ""
    pixels = draw.choice(settings.chroma)
    if pixels not in CODECS[name].pixels:
        pixels = "yuv420p"
    if pixels != "yuv420p":
        profile = ""  # those that can be drawn hold 4:2:0 only
    draw.note(" ".join(filter(None, [name, str(quality), preset, profile, pixels.removeprefix("yuv")])))
    return Encoding(encoder=name, quality=quality, preset=preset, profile=profile, pixels=pixels)
