"""Everything about a clip's run that is decided before its first frame."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path

from vsr.done import is_done
from vsr.engine.render import Renderer
from vsr.engine.tune import (
    FIDELITY_8_BIT,
    FIDELITY_DEEP,
    Cores,
    activation_bytes,
    choose_batch,
    choose_tile,
    divide_cores,
)
from vsr.engine.upscaler import Upscaler
from vsr.errors import ConfigError, MediaError
from vsr.events import PlanEvent
from vsr.frames import ColorSpec, MediaInfo, Plane, StreamPlan, VideoInfo
from vsr.io.container import CONTAINERS, default_suffix, plan_streams
from vsr.io.crop import aligned, find_bars
from vsr.io.encoders import EncoderPlan, choose_codec, plan_encoder
from vsr.io.filters import FilteredVideo, can_deinterlace
from vsr.io.probe import probe
from vsr.io.side_data import is_quarter_turn
from vsr.io.sink import rehearse
from vsr.io.source import VideoSource
from vsr.loading import PRECISION_NAMES, prepare
from vsr.settings import Crop, Deinterlace, UpscaleSettings, choose_model

DEFAULT_SCALE = Fraction(4)
_DEINTERLACED: dict[Deinterlace, str] = {
    "auto": "deinterlaced, one frame for each of its own; --deinterlace double gives one for each field",
    "on": "deinterlaced, one frame for each of its own",
    "double": "deinterlaced, one frame for each field: twice as many frames",
    "ivtc": "taken as telecined film: four frames for each five, as the pictures' repetition tells",
    "off": "upscaled as it is",
}
_SAMPLES = 12  # frames that are searched for black bars
_SEARCHED = 60  # seconds through which they are spread where the clip's length is not told
_BYTES_A_PIXEL = 4 * 3 * 3  # of output on the way to the encoder: float32 RGB, and what resize and colour make of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One clip's run, decided. Everything that changes pixels is in `pinned`."""

    info: MediaInfo
    settings: UpscaleSettings
    output: Path
    container: str
    streams: tuple[StreamPlan, ...]
    encoder: EncoderPlan
    renderer: Renderer
    batch: int  # frames
    cores: Cores
    event: PlanEvent
    notes: tuple[str, ...]
    pinned: dict[str, object]
    is_finished: bool  # the output is there, made by these very settings


def plan_clip(source: Path, output: Path | None, settings: UpscaleSettings) -> Job:
    """Probe the source and decide everything. Raises VsrError when the run could not end well."""
    info = probe(source)
    video, filter_notes = _filtered(info, settings)
    info = replace(info, video=video)
    name, scale = _model_and_scale(settings)
    upscaler, (why_device, why_precision) = prepare(
        name,
        device=settings.device,
        precision=settings.precision,
        fidelity=FIDELITY_8_BIT if video.layout.depth == 8 else FIDELITY_DEEP,
    )
    size, ratio = _output_size(settings, video, scale)
    container = _container_of(output) or _default_container(info, settings, size[1])
    codec = choose_codec(settings, video, container=container, width=size[1])
    target = _output_path(source, output, settings, f".{container}")
    streams = plan_streams(info, container, codec, settings.drop, settings.audio)
    batch = settings.batch or choose_batch(upscaler.device, video.height, video.width)
    upscaler.tile = settings.tile or _tile(upscaler, settings, batch, video)
    upscaler.overlap = upscaler.overlap if settings.overlap is None else settings.overlap
    _require_tile(upscaler)
    cores = divide_cores(upscaler.device, _bytes_a_frame(upscaler, video, size))
    encoder, encoder_notes = plan_encoder(
        settings, video, codec=codec, size=size, sample_aspect_ratio=ratio, threads=cores.encoder
    )
    rehearse(encoder)
    renderer = Renderer(
        upscaler=upscaler,
        source=video.layout,
        source_color=video.color,
        target=encoder.layout,
        target_color=encoder.color,
        size=(encoder.height, encoder.width),
        passes=settings.passes,
        display_matrix=video.turn,
    )
    pinned = _pinned(info, video, settings, renderer=renderer, encoder=encoder, batch=batch, cores=cores)
    finished = not settings.overwrite and target.exists() and is_done(target, pinned)
    if target.exists() and not settings.overwrite and not finished:
        raise MediaError(f"{target}: is there already; add --overwrite, or choose another output with -o")
    notes = [*info.notes, *upscaler.spec.notes, *_guesses(video.color), *filter_notes, *encoder_notes]
    notes += _other_notes(upscaler, settings, video, size)
    return Job(
        info=info,
        settings=settings,
        output=target,
        container=container,
        streams=streams,
        encoder=encoder,
        renderer=renderer,
        batch=batch,
        cores=cores,
        event=_plan_event(
            info,
            video,
            settings,
            output=target,
            renderer=renderer,
            encoder=encoder,
            streams=streams,
            why=(why_device, why_precision),
        ),
        notes=tuple(notes),
        pinned=pinned,
        is_finished=finished,
    )


def _filtered(info: MediaInfo, settings: UpscaleSettings) -> tuple[FilteredVideo, list[str]]:
    """The video as it is handed on, and what to tell the user. Raises ConfigError for what cannot be done to it."""
    how, notes = _deinterlacing(info.video, settings.deinterlace)
    crop = _crop(info, settings, notes)
    turn = info.video.display_matrix if settings.apply_rotation else None
    if settings.apply_rotation and turn is None:
        notes.append("the source is not turned: --apply-rotation changes nothing")
    elif turn is not None and not is_quarter_turn(turn):
        turn = None
        notes.append("the source is turned by no multiple of 90 degrees: that stays said, and pixels are not turned")
    return FilteredVideo.of(info.video, how, crop=crop, turn=turn), notes


def _deinterlacing(video: VideoInfo, how: Deinterlace) -> tuple[Deinterlace, list[str]]:
    """What is done to the fields, and what is said of it."""
    ordered = how
    found = f"the source {'says' if video.is_interlaced else 'does not say'} that it is interlaced"
    kind = f"{video.width}x{video.height} {video.pix_fmt}"
    if how == "off" or can_deinterlace(video.pix_fmt, how, height=video.height, width=video.width):
        said = _DEINTERLACED[how]
    elif how == "auto":
        how, said = "off", f"libav cannot deinterlace {kind}: it is upscaled as it is"
    else:
        raise ConfigError(
            f"deinterlace = {how}: libav cannot do that to {kind}; convert the clip to yuv420p, or give off"
        )
    is_said = video.is_interlaced or ordered not in ("auto", "off")
    return how, [f"{found}: {said}"] if is_said else []


def _crop(info: MediaInfo, settings: UpscaleSettings, notes: list[str]) -> Crop | None:
    """The part of the picture that is kept, None for the whole; adds to `notes`. Raises ConfigError."""
    video = info.video
    if settings.crop is None:
        return None
    if settings.crop == "auto":
        found = find_bars(_samples(info, settings), video.layout, video.color)
        if found is None:
            notes.append("no black bars are found: nothing is cropped")
        return found
    crop = aligned(settings.crop, video.layout, height=video.height, width=video.width)
    if crop != settings.crop:
        notes.append(f"crop {settings.crop} becomes {crop}: borders lie between the samples of {video.layout.name}")
    return crop


def _samples(info: MediaInfo, settings: UpscaleSettings) -> Iterator[tuple[Plane, ...]]:
    """Planes of some frames, spread over the part of the clip that is wanted."""
    rate = info.video.rate
    frames = _estimate(info.video, settings) or round(_SEARCHED * rate)
    count = min(_SAMPLES, frames)
    for number in range(count):
        start = settings.start + (2 * number + 1) * frames // (2 * count) / rate
        for batch in VideoSource(info, batch=1, segment=Fraction(1 << 30), start=start, end=settings.end, threads=1):
            yield tuple(plane[0] for plane in batch.planes)
            break


def _model_and_scale(settings: UpscaleSettings) -> tuple[str, Fraction]:
    scale = DEFAULT_SCALE if settings.scale is None else settings.scale
    if settings.model is not None:
        return settings.model, scale
    return choose_model(settings.models, scale, passes=settings.passes), scale


def _output_size(
    settings: UpscaleSettings, video: VideoInfo, scale: Fraction
) -> tuple[tuple[int, int], Fraction | None]:
    """(height, width) of the result, and its sample aspect ratio: kept by a scale, 1 by a size."""
    if settings.size is None:
        ratio = video.sample_aspect_ratio
        return (max(1, round(video.height * scale)), max(1, round(video.width * scale))), ratio
    height, width = settings.size
    shape = Fraction(video.width, video.height) * (video.sample_aspect_ratio or 1)  # as displayed
    fits = [Fraction(width)] if width else []
    fits += [height * shape] if height else []
    wide = min(fits)
    return (max(2, round(wide / shape / 2) * 2), max(2, round(wide / 2) * 2)), Fraction(1)


def _looked_up(path: Path) -> Path:
    """The same path. Raises MediaError where the system would not even say whether it is there."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as e:  # too long, a folder that may not be entered; a null in the name
        why = getattr(e, "strerror", None) or e
        raise MediaError(f"{path}: cannot be looked up ({why}); choose another output with -o") from e
    return path


def _container_of(output: Path | None) -> str | None:
    """The container that the output's suffix orders, or None where the name is ours to make."""
    if output is None or _looked_up(output).is_dir():
        return None
    suffix = output.suffix.lower().lstrip(".")
    if suffix not in CONTAINERS:
        raise ConfigError(f"{output}: '{output.suffix}' is no container vsr writes; use .mp4, .mov, .mkv or .webm")
    return suffix


def _default_container(info: MediaInfo, settings: UpscaleSettings, width: int) -> str:
    """The source's own container where it holds everything, the ordered codec included."""
    is_ordered = settings.encoder is not None or settings.codec != "auto"
    codec = choose_codec(settings, info.video, container=None, width=width) if is_ordered else None
    return default_suffix(info, codec, settings.drop, settings.audio)[1:]


def _output_path(source: Path, output: Path | None, settings: UpscaleSettings, suffix: str) -> Path:
    """Where the result goes. Raises MediaError when that cannot be."""
    if output is None or output.is_dir():
        folder = source.parent if output is None else output
        target = folder / f"{source.stem}_{_mark(settings)}{suffix}"
    else:
        target = output
    if not _looked_up(target).parent.is_dir():
        raise MediaError(f"{target.parent}: no such folder; make it first")
    if target.exists() and target.samefile(source):
        raise MediaError(f"{target}: is the source itself; choose another output with -o")
    if target.is_dir():
        raise MediaError(f"{target}: is a folder; choose another output with -o")
    return target


def _mark(settings: UpscaleSettings) -> str:
    if settings.size is None:
        return f"x{float(settings.scale or DEFAULT_SCALE):g}"
    return "x".join("" if side is None else str(side) for side in reversed(settings.size))


def _tile(upscaler: Upscaler, settings: UpscaleSettings, batch: int, video: VideoInfo) -> int | None:
    grown = upscaler.scale ** (settings.passes - 1)  # the last pass sees the largest picture
    height, width = video.height * grown, video.width * grown
    return choose_tile(upscaler.spec, upscaler.device, upscaler.dtype, batch=batch, height=height, width=width)


def _require_tile(upscaler: Upscaler) -> None:
    if upscaler.tile is not None and upscaler.tile <= 2 * upscaler.overlap + upscaler.spec.multiple:
        raise ConfigError(
            f"tile = {upscaler.tile}: must be more than twice overlap = {upscaler.overlap}; give a larger --tile"
        )


def _bytes_a_frame(upscaler: Upscaler, video: VideoInfo, size: tuple[int, int]) -> int:
    pixels = video.height * video.width if upscaler.tile is None else upscaler.tile**2
    largest = max(video.height * video.width * upscaler.scale**2, size[0] * size[1])
    return activation_bytes(upscaler.spec, upscaler.dtype) * pixels + _BYTES_A_PIXEL * largest


def _guesses(color: ColorSpec) -> list[str]:
    said = ", ".join(name.replace("_", " ") for name in color.guessed if name != "siting")  # hardly any file tells that
    if not said:
        return []
    return [f"the source does not tell its {said}: taken as {describe_color(color)}, and the output says so"]


def _other_notes(upscaler: Upscaler, settings: UpscaleSettings, video: VideoInfo, size: tuple[int, int]) -> list[str]:
    notes = []
    own = upscaler.scale**settings.passes
    if size[0] > video.height * own or size[1] > video.width * own:
        passes = "" if settings.passes == 2 else "; --passes 2 runs the network twice"
        notes.append(f"the network gives {own}x, a resize enlarges the rest{passes}")
    return notes


_MATRIX = {0: "RGB", 1: "BT.709", 4: "FCC", 5: "BT.601", 6: "BT.601", 7: "SMPTE 240M", 8: "YCgCo", 9: "BT.2020"}
_TRANSFER = {16: " PQ", 18: " HLG"}


def describe_color(color: ColorSpec) -> str:
    """A few words: matrix, transfer where it is HDR, range."""
    name = _MATRIX.get(color.matrix, f"matrix {color.matrix}") + _TRANSFER.get(color.transfer, "")
    return f"{name} {'full' if color.full_range else 'limited'} range"


def _plan_event(
    info: MediaInfo,
    video: FilteredVideo,
    settings: UpscaleSettings,
    *,
    output: Path,
    renderer: Renderer,
    encoder: EncoderPlan,
    streams: tuple[StreamPlan, ...],
    why: tuple[str, str],
) -> PlanEvent:
    (why_device, why_precision), upscaler = why, renderer.upscaler
    tile = "whole frames" if upscaler.tile is None else f"{upscaler.tile} px, overlap {upscaler.overlap}"
    options = " ".join(f"{key}={value}" for key, value in encoder.options.items())
    return PlanEvent(
        source=str(info.path),
        output=str(output),
        device=str(upscaler.device),
        why_device=why_device,
        model=upscaler.spec.name,
        network_scale=upscaler.scale,
        precision=f"{PRECISION_NAMES[upscaler.dtype]} ({why_precision})",
        tile=tile,
        source_size=(video.decoded.height, video.decoded.width),
        output_size=renderer.size,
        container=output.suffix[1:],
        encoder=f"{encoder.name} {options}".strip(),
        pix_fmt=encoder.pix_fmt,
        color=describe_color(encoder.color),
        frames=_estimate(video, settings),
        streams=tuple(
            (p.stream.selector, p.stream.codec, p.action, _why(p, video) if p.action == "upscale" else p.why)
            for p in streams
        ),
    )


def _why(plan: StreamPlan, video: FilteredVideo) -> str:
    """What is done to the picture besides, in a few words."""
    done = []
    if video.deinterlace not in ("off", "auto"):
        done.append(f"deinterlaced ({video.deinterlace})")
    elif video.deinterlace == "auto" and video.decoded.is_interlaced:
        done.append("deinterlaced")
    if video.crop is not None:
        done.append(f"cropped to {video.crop}")
    if video.turn is not None:
        done.append("turned")
    return ", ".join([*done, *filter(None, [plan.why])])


def _estimate(video: VideoInfo, settings: UpscaleSettings) -> int | None:
    """Frames between start and end, as far as the header tells."""
    if video.frame_estimate is None:
        return None if settings.end is None else math.ceil((settings.end - settings.start) * video.rate)
    first = math.ceil(settings.start * video.rate)
    last = video.frame_estimate
    if settings.end is not None:
        last = min(last, math.ceil(settings.end * video.rate))
    return max(0, last - first)


def _pinned(
    info: MediaInfo,
    video: FilteredVideo,
    settings: UpscaleSettings,
    *,
    renderer: Renderer,
    encoder: EncoderPlan,
    batch: int,
    cores: Cores,
) -> dict[str, object]:
    """All that changes the output's bytes, for the journal's first line."""
    upscaler, stat = renderer.upscaler, info.path.stat()
    return {
        "versions": {name: version(name) for name in ("vsr", "torch", "av")},
        "source": str(info.path.absolute()),
        "source_size": stat.st_size,
        "source_mtime_ns": stat.st_mtime_ns,
        "model": upscaler.spec.name,
        "model_sha256": upscaler.spec.sha256,
        "device": str(upscaler.device),
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
        "encoder_options": dict(encoder.options),
        "encoder_threads": encoder.threads,
        "pix_fmt": encoder.pix_fmt,
        "deinterlace": settings.deinterlace,
        "crop": None if video.crop is None else str(video.crop),
        "turn": None if video.turn is None else list(video.turn),
        "drop": list(settings.drop),
        "audio": settings.audio,
    }
