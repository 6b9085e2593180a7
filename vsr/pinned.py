"""What a run is bound to: all that changes its output's bytes, for the first line of its journal."""

from importlib.metadata import version

from vsr.disk import digest_of_ends
from vsr.engine.render import Renderer
from vsr.engine.tune import Cores, hardware
from vsr.frames import MediaInfo
from vsr.io.encoders import EncoderPlan
from vsr.io.filters import FilteredVideo
from vsr.io.system_ffmpeg import system_version
from vsr.loading import PRECISION_NAMES
from vsr.settings import UpscaleSettings


def pinned_by(
    info: MediaInfo,
    video: FilteredVideo,
    settings: UpscaleSettings,
    *,
    renderer: Renderer,
    encoder: EncoderPlan,
    batch: int,
    cores: Cores,
) -> dict[str, object]:
    """All that changes the output's bytes, under the names by which another choice is refused."""
    upscaler = renderer.upscaler
    size, mtime_ns = _state_of(info)
    source: dict[str, object] = {"path": str(info.path.absolute()), "size": size, "mtime_ns": mtime_ns}
    if info.numbered is None:
        source["ends"] = digest_of_ends(info.path)
    else:
        source["rate"] = str(info.numbered.rate)
    return {
        "versions": {name: version(name) for name in ("vsr", "torch", "av")},
        "source": source,
        "model": upscaler.spec.name,
        "model_sha256": upscaler.spec.sha256,
        "device": f"{upscaler.device.type}, {hardware(upscaler.device)}",
        "precision": PRECISION_NAMES[upscaler.dtype],
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
    }


def _state_of(info: MediaInfo) -> tuple[int, int]:
    """Size in bytes and time of change of the source."""
    if info.numbered is not None:
        return info.numbered.bytes, info.numbered.mtime_ns
    stat = info.path.stat()
    return stat.st_size, stat.st_mtime_ns
