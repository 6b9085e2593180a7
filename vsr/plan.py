"""Everything about a clip's run that is decided before its first frame."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from vsr.done import is_done
from vsr.download import Tell
from vsr.earlier import earlier_choice, is_left_over
from vsr.engine.render import Renderer
from vsr.engine.tune import (
    FIDELITY_8_BIT,
    FIDELITY_DEEP,
    Cores,
    activation_bytes,
    choose_batch,
    choose_tile,
    divide_cores,
    usable_cores,
)
from vsr.engine.upscaler import Upscaler
from vsr.errors import ConfigError, MediaError
from vsr.events import PlanEvent
from vsr.filtering import filtered, frame_estimate
from vsr.frames import ColorSpec, MediaInfo, StreamPlan, VideoInfo
from vsr.io.container import plan_streams
from vsr.io.container_kind import as_container
from vsr.io.encoders import EncoderPlan, choose_codec, is_proven, plan_encoder
from vsr.io.filters import FilteredVideo
from vsr.io.numbered import is_numbered, numbered_path
from vsr.io.picture_plan import picture_streams, plan_pictures
from vsr.io.pixel_formats import planar_layout
from vsr.io.probe import probe
from vsr.io.sink import segment_muxer, try_to_open
from vsr.io.tags import lost_tags
from vsr.io.y4m import Y4M_CODEC, plan_y4m
from vsr.loading import PRECISION_NAMES, prepare
from vsr.models.shares import choose_shares
from vsr.naming import container_of, default_container, numbered_source, output_path, partial_path
from vsr.picture_journal import PictureJournal
from vsr.pinned import pinned_by, what_and_how
from vsr.pipes import Inflow, is_pipe
from vsr.rehearsal import rehearse
from vsr.settings import DEFAULT_SCALE, UpscaleSettings
from vsr.stage import Cancel

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
    is_straight: bool  # encoded in one pass: the source or the output is a pipe
    first_picture: int | None  # its number, where the output is numbered pictures


def plan_clip(
    source: Path,
    output: Path | None,
    settings: UpscaleSettings,
    *,
    pipe: Inflow | None = None,
    tell: Tell | None = None,
    cancel: Cancel | None = None,
) -> Job:
    """Probe the source and decide everything. Raises VsrError when the run could not end well.

    `pipe` is the source, when it can be read once only. A model that is not here yet is fetched, which `tell` hears of
    and `cancel` stops.
    """
    info = probe(source, pipe=pipe, numbered=numbered_source(source, output, settings))
    video, filter_notes = filtered(info, settings)
    info = replace(info, video=video)
    scale = DEFAULT_SCALE if settings.scale is None else settings.scale
    upscaler, (why_device, why_precision) = prepare(
        choose_shares(settings, scale),
        device=settings.device,
        precision=settings.precision,
        fidelity=FIDELITY_8_BIT if video.layout.depth == 8 else FIDELITY_DEEP,
        vram_limit=settings.vram_limit,
        offline=settings.offline,
        tell=tell,
        cancel=cancel,
    )
    size, ratio = _output_size(settings, video, scale)
    container = container_of(output, settings) or default_container(info, settings, size[1])
    target = output_path(source, output, settings, f".{container}")
    is_straight = pipe is not None or is_pipe(target)
    are_pictures = is_numbered(target)
    if are_pictures:
        streams = picture_streams(info, container)
        codec = container
    else:
        codec = Y4M_CODEC if container == "y4m" else choose_codec(settings, video, container=container, width=size[1])
        streams = plan_streams(info, container, codec, settings.drop, settings.audio)
    first = {} if is_straight else what_and_how(info, upscaler)
    earlier = None if settings.restart or is_straight else earlier_choice(target, first)
    batch = settings.batch or (earlier.batch if earlier else choose_batch(upscaler.device, video.height, video.width))
    upscaler.tile = settings.tile or (earlier.tile if earlier else _tile(upscaler, settings, batch, video))
    upscaler.overlap = upscaler.overlap if settings.overlap is None else settings.overlap
    _require_tile(upscaler)
    cores = divide_cores(upscaler.device, _bytes_a_frame(upscaler, video, size), usable_cores(nice=settings.nice))
    if earlier is not None:
        workers = max(1, cores.workers * cores.threads_per_worker // earlier.threads)
        cores = replace(cores, workers=workers, threads_per_worker=earlier.threads, encoder=earlier.encoder_threads)
    if are_pictures:
        encoder, encoder_notes = plan_pictures(
            video, container, size=size, sample_aspect_ratio=ratio, matrix=settings.matrix
        )
    elif container == "y4m":
        encoder, encoder_notes = plan_y4m(video, size=size, sample_aspect_ratio=ratio, matrix=settings.matrix)
    else:
        encoder, encoder_notes = plan_encoder(
            settings,
            video,
            codec=codec,
            container=container,
            size=size,
            sample_aspect_ratio=ratio,
            threads=cores.encoder,
        )
    _require_libav(encoder, is_straight=is_straight)
    takes_light = not is_straight and not are_pictures and segment_muxer(encoder) == "matroska"
    video, video_notes = _as_written(video, encoder, takes_light=takes_light)
    info = replace(info, video=video)
    rehearsed: list[str] = []
    if is_straight:  # what comes once cannot be tried with
        try_to_open(encoder)
    elif not are_pictures:
        encoder, rehearsed = rehearse(info, streams, encoder, container, is_proven=is_proven(encoder, settings))
    renderer = Renderer(
        upscaler=upscaler,
        source=video.layout,
        source_color=video.color,
        target=encoder.layout,
        target_color=encoder.color,
        size=size,
        padded=None if (encoder.height, encoder.width) == size else (encoder.height, encoder.width),
        passes=settings.passes,
        display_matrix=video.turn,
    )
    pinned: dict[str, object] = {}
    if not is_straight:
        pinned = pinned_by(first, video, settings, renderer=renderer, encoder=encoder, batch=batch, cores=cores)
    finished = not settings.overwrite and not is_straight and is_done(target, pinned)
    if are_pictures and not settings.overwrite:
        numbers = PictureJournal(target).finished(pinned)
        finished = bool(numbers) and all(numbered_path(target, number).exists() for number in numbers)
    is_ours = finished or (is_left_over(target) and not settings.restart)
    is_whole = is_straight or are_pictures
    _require_name(target, settings, is_ours=is_ours, has_segments=not is_whole)
    notes = [*info.notes, *upscaler.spec.notes, *_guesses(video.color, encoder.color), *filter_notes, *encoder_notes]
    notes += [*rehearsed, *video_notes]
    notes += _other_notes(upscaler, settings, video, size)
    if not are_pictures and (lost := lost_tags(info, as_container(container))):
        notes.append(f"{container} does not hold the file's tags {', '.join(sorted(lost))}: they are left out")
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
            container=container,
            renderer=renderer,
            encoder=encoder,
            streams=streams,
            why=(why_device, why_precision),
        ),
        notes=tuple(notes),
        pinned=pinned,
        is_finished=finished,
        is_straight=is_straight,
        first_picture=_first_picture(info, settings) if are_pictures else None,
    )


def _first_picture(info: MediaInfo, settings: UpscaleSettings) -> int:
    """The number of the first one that is written: its source's own, else 1."""
    if info.numbered is None:
        return 1
    return info.numbered.first + math.ceil(settings.start * info.video.rate)


def _require_name(output: Path, settings: UpscaleSettings, *, is_ours: bool, has_segments: bool) -> None:
    """Raise VsrError where another file has the name that the result shall get, or none can be given."""
    if settings.finish_partial and not has_segments:
        raise ConfigError("finish_partial: pipes and numbered pictures have no segments to join; leave it out")
    target = partial_path(output) if settings.finish_partial else output
    if target.exists() and not is_pipe(target) and not settings.overwrite and not (is_ours and target == output):
        raise MediaError(f"{target}: is there already; add --overwrite, or choose another output with -o")


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


def _tile(upscaler: Upscaler, settings: UpscaleSettings, batch: int, video: VideoInfo) -> int | None:
    grown = upscaler.scale ** (settings.passes - 1)  # the last pass sees the largest picture
    height, width = video.height * grown, video.width * grown
    return choose_tile(
        upscaler.spec,
        upscaler.device,
        upscaler.dtype,
        batch=batch,
        height=height,
        width=width,
        vram_limit=settings.vram_limit,
    )


def _require_tile(upscaler: Upscaler) -> None:
    if upscaler.tile is not None and upscaler.tile <= 2 * upscaler.overlap + upscaler.spec.multiple:
        raise ConfigError(
            f"tile = {upscaler.tile}: must be more than twice overlap = {upscaler.overlap}; give a larger --tile"
        )


def _require_libav(encoder: EncoderPlan, *, is_straight: bool) -> None:
    if is_straight and encoder.name.startswith("ffmpeg:"):
        name = encoder.name.removeprefix("ffmpeg:")
        raise ConfigError(f"encoder = {encoder.name}: not in one pass; pipe -o - into ffmpeg -i - -c copy -c:v {name}")


def _bytes_a_frame(upscaler: Upscaler, video: VideoInfo, size: tuple[int, int]) -> int:
    pixels = video.height * video.width if upscaler.tile is None else upscaler.tile**2
    largest = max(video.height * video.width * upscaler.scale**2, size[0] * size[1])
    return activation_bytes(upscaler.spec, upscaler.dtype) * pixels + _BYTES_A_PIXEL * largest


def _as_written(video: FilteredVideo, encoder: EncoderPlan, *, takes_light: bool) -> tuple[FilteredVideo, list[str]]:
    """The video without what the output has no place for, and what to say of that."""
    if encoder.layout.has_alpha:
        video = replace(video, layout=planar_layout(video.pix_fmt, with_alpha=True))
    if takes_light or encoder.writes_light_levels or not (video.mastering_display or video.content_light):
        return video, []
    note = (
        f"mastering display and light levels are not carried: {encoder.name} has no place for them; hevc and av1 have"
    )
    return replace(video, mastering_display=None, content_light=None), [note]


def _guesses(color: ColorSpec, target: ColorSpec) -> list[str]:
    said = ", ".join(name.replace("_", " ") for name in color.guessed if name != "siting")  # hardly any file tells that
    if not said:
        return []
    so = "so" if describe_color(target) == describe_color(color) else describe_color(target)
    return [f"the source does not tell its {said}: taken as {describe_color(color)}, and the output says {so}"]


def _other_notes(upscaler: Upscaler, settings: UpscaleSettings, video: VideoInfo, size: tuple[int, int]) -> list[str]:
    notes = []
    if settings.vram_limit is not None and upscaler.device.type == "cpu":
        notes.append("vram_limit is for cards: this run computes on the CPU")
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
    container: str,
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
        output_size=renderer.padded or renderer.size,
        container=container,
        encoder=f"{encoder.name} {options}".strip(),
        pix_fmt=encoder.pix_fmt,
        color=describe_color(encoder.color),
        frames=frame_estimate(video, settings),
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
