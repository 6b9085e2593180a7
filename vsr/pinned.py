"""What a run is bound to: all that changes its output's bytes, for the first line of its journal."""

from collections.abc import Mapping
from fractions import Fraction
from importlib.metadata import version
from typing import cast

from vsr.disk import digest_of_ends
from vsr.engine.render import Renderer
from vsr.engine.tune import Cores, hardware
from vsr.engine.upscaler import Upscaler
from vsr.errors import ConfigError
from vsr.frames import MediaInfo
from vsr.io.encoders import EncoderPlan
from vsr.io.filters import FilteredVideo
from vsr.io.system_ffmpeg import system_version
from vsr.loading import PRECISION_NAMES
from vsr.settings import Audio, Crop, Deinterlace, Matrix, UpscaleSettings


def what_and_how(info: MediaInfo, upscaler: Upscaler) -> dict[str, object]:
    """The first of what a run is bound to: the source, the network and the device."""
    size, mtime_ns = _state_of(info)
    source: dict[str, object] = {"path": str(info.path.absolute()), "size": size, "mtime_ns": mtime_ns}
    if info.numbered is None:
        source["ends"] = digest_of_ends(info.path)
    else:
        source["rate"] = str(info.numbered.rate)
    return {
        "source": source,
        "model": upscaler.spec.name,
        "model_sha256": upscaler.spec.sha256,
        "device": f"{upscaler.device.type}, {hardware(upscaler.device)}",
        "precision": PRECISION_NAMES[upscaler.dtype],
    }


def pinned_by(
    first: Mapping[str, object],
    video: FilteredVideo,
    settings: UpscaleSettings,
    *,
    renderer: Renderer,
    encoder: EncoderPlan,
    batch: int,
    cores: Cores,
) -> dict[str, object]:
    """All that changes the output's bytes, under the names by which another choice is refused.

    `first` is what `what_and_how` says.
    """
    upscaler = renderer.upscaler
    return {
        "versions": {name: version(name) for name in ("vsr", "torch", "av")},
        **first,
        "tile": upscaler.tile,
        "overlap": upscaler.overlap,
        "batch": batch,
        "passes": renderer.passes,
        "threads": cores.threads_per_worker,
        "size": list(renderer.size),
        "segment": str(settings.segment),
        "start": str(settings.start),
        "end": None if settings.end is None else str(settings.end),
        "encoder": encoder.name,
        "ffmpeg": system_version() if encoder.is_system else None,
        "encoder_options": dict(encoder.options),
        "encoder_threads": encoder.threads,
        "pix_fmt": encoder.pix_fmt,
        "matrix": settings.matrix,
        "deinterlace": settings.deinterlace,
        "crop": None if video.crop is None else str(video.crop),
        "turn": None if video.turn is None else list(video.turn),
        "drop": list(settings.drop),
        "audio": settings.audio,
        "untold": sorted(encoder.untold),
    }


def ordered_in(pinned: Mapping[str, object]) -> UpscaleSettings | None:
    """What a run was told that decides what its output holds besides pixels; None where that cannot be read."""
    try:
        source, crop, end, drop = pinned["source"], pinned["crop"], pinned["end"], pinned["drop"]
        rate = source.get("rate") if isinstance(source, dict) else None
        width, height, left, top = (0, 0, 0, 0) if crop is None else map(int, str(crop).split(":"))
        return UpscaleSettings(
            start=Fraction(str(pinned["start"])),
            end=None if end is None else Fraction(str(end)),
            matrix=cast(Matrix, pinned["matrix"]),
            deinterlace=cast(Deinterlace, pinned["deinterlace"]),
            audio=cast(Audio, pinned["audio"]),
            crop=None if crop is None else Crop(height=height, width=width, top=top, left=left),
            apply_rotation=pinned["turn"] is not None,
            drop=tuple(map(str, drop)) if isinstance(drop, list) else (),
            fps=None if rate is None else Fraction(str(rate)),
        )
    except (ConfigError, KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def untold_in(pinned: Mapping[str, object]) -> frozenset[str]:
    """Tags of colour that a run's encoder could not write."""
    found = pinned.get("untold")
    return frozenset(map(str, found)) if isinstance(found, list) else frozenset()


def _state_of(info: MediaInfo) -> tuple[int, int]:
    """Size in bytes and time of change of the source."""
    if info.numbered is not None:
        return info.numbered.bytes, info.numbered.mtime_ns
    stat = info.path.stat()
    return stat.st_size, stat.st_mtime_ns
