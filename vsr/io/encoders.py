"""Which encoder makes the picture, in which format, with which options: decided before the first frame."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import av
from av.codec import Codec
from av.error import FFmpegError

from vsr.errors import ConfigError
from vsr.frames import ColorSpec, PixelLayout, VideoInfo
from vsr.io.light_levels import encoder_params
from vsr.io.output_format import (
    HDR_TRANSFERS,
    KEEPS_ALPHA,
    loses_samples,
    nearest_format,
    offered_formats,
    target_color,
)
from vsr.io.pixel_formats import planar_layout
from vsr.settings import UpscaleSettings

_WIDEST_H264 = 4096  # pixels; beyond, few players decode it in hardware
_SLICED = 64  # pixels; a smaller picture cannot be cut into 16 slices
_WRITES_SITING = ("libx264", "libx265", "libsvtav1", "ffv1")  # the others refuse the option or forget it
_FASTEST = {"libsvtav1": Fraction(240)}  # frames a second that an encoder takes; the join gives each its own time
_WHOLE_CLIP = ("b", "b:v", "bitrate", "pass", "passlogfile", "stats", "maxrate", "minrate", "bufsize")
_WHOLE_CLIP_PARTS = ("vbv", "bitrate", "pass=", "stats", "rc=1", "rc=2")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """What we know of one encoder. `quality` and `effort` are its names for --crf and --encoder-preset."""

    codec: str
    quality: str | None = None
    crf: int | None = None
    effort: str | None = None
    preset: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


_ROWS = {
    "libx264": _Row(codec="h264", quality="crf", crf=16, effort="preset", preset="medium"),
    "libx265": _Row(codec="hevc", quality="crf", crf=18, effort="preset", preset="medium"),
    "libsvtav1": _Row(codec="av1", quality="crf", crf=24, effort="preset", preset="6"),
    "libvpx-vp9": _Row(
        codec="vp9", quality="crf", crf=24, effort="cpu-used", preset="2", options={"deadline": "good", "row-mt": "1"}
    ),
    "prores_ks": _Row(codec="prores", options={"vendor": "apl0"}),
    "ffv1": _Row(codec="ffv1", options={"level": "3", "slicecrc": "1"}),
}
_OF_CODEC = {row.codec: name for name, row in _ROWS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderPlan:
    """An encoder with all its settings. Every segment is made by one of these, so all segments fit together."""

    name: str  # of libav's encoder, or "ffmpeg:NAME"
    codec: str  # h264, hevc, av1, ...
    pix_fmt: str  # what the encoder takes
    layout: PixelLayout  # what the engine hands on; packed formats are re-laid-out from it
    color: ColorSpec
    height: int
    width: int
    rate: Fraction
    sample_aspect_ratio: Fraction | None
    options: Mapping[str, str]
    threads: int
    writes_light_levels: bool = False  # into the bitstream, as far as the source has any

    @property
    def has_alpha(self) -> bool:
        return self.layout.has_alpha


def choose_codec(settings: UpscaleSettings, video: VideoInfo, *, container: str | None, width: int) -> str:
    """The codec by name, as asked or by rule: AV1 in webm; h264 for 8 bit SDR up to 4096 wide; else hevc.

    With alpha, VP9 in webm and ProRes in mov, which keep it.

    `container` is the output's, when the user named one. Raises ConfigError for an unknown encoder.
    """
    if settings.encoder is not None:
        name = settings.encoder.removeprefix("ffmpeg:")
        if name in _ROWS:
            return _ROWS[name].codec
        return _canonical(name, is_system=settings.encoder.startswith("ffmpeg:"))
    if settings.codec != "auto":
        return settings.codec
    if container == "webm":
        return "vp9" if video.has_alpha else "av1"
    if container == "mov" and video.has_alpha and settings.crf is None and settings.encoder_preset is None:
        return "prores"
    is_plain = video.layout.depth == 8 and video.color.transfer not in HDR_TRANSFERS
    return "h264" if is_plain and width <= _WIDEST_H264 else "hevc"


def _canonical(name: str, *, is_system: bool) -> str:
    """The codec an encoder makes: libav's own name for it, else read off names such as hevc_nvenc or libx264."""
    try:
        codec = Codec(name, "w")
        if codec.type != "video":
            raise ConfigError(f"encoder = {name}: makes no video; give an encoder of pictures, or --codec")
        return codec.canonical_name
    except (FFmpegError, ValueError) as e:
        for part, codec in (("264", "h264"), ("265", "hevc"), ("hevc", "hevc"), ("av1", "av1"), ("vp9", "vp9")):
            if is_system and part in name:
                return codec
        what = "of this build of PyAV" if not is_system else "known here"
        raise ConfigError(f"encoder = {name}: no encoder {what}; give --codec, or ffmpeg:{name}") from e


def plan_encoder(
    settings: UpscaleSettings,
    video: VideoInfo,
    *,
    codec: str,
    container: str,
    size: tuple[int, int],
    sample_aspect_ratio: Fraction | None,
    threads: int,
) -> tuple[EncoderPlan, list[str]]:
    """Choose format and options for an output of `size` (height, width); returns the plan and what to tell the user.

    Sizes become even where the encoder subsamples chroma and refuses odd ones. Raises ConfigError for options it
    cannot take.
    """
    name = settings.encoder or _OF_CODEC[codec]
    bare = name.removeprefix("ffmpeg:")
    settings = settings.for_encoder(bare)
    row = _ROWS.get(bare, _Row(codec=codec))
    wanted = planar_layout(video.pix_fmt, with_alpha=True)
    is_asked = not name.startswith("ffmpeg:") or bare in _ROWS
    offered = offered_formats(bare, wanted, container=container) if is_asked else [video.layout.name]
    if settings.pix_fmt is not None and settings.pix_fmt not in offered and not name.startswith("ffmpeg:"):
        raise ConfigError(f"pix_fmt = {settings.pix_fmt}: {name} takes only {', '.join(offered)}; give one of them")
    pix_fmt = settings.pix_fmt or nearest_format(wanted, offered)
    layout = planar_layout(pix_fmt, with_alpha=wanted.has_alpha)
    color, notes = target_color(video.color, wanted, layout, encoder=bare, matrix=settings.matrix)
    if settings.pix_fmt is None and loses_samples(wanted, layout):
        notes.insert(0, f"{name} has no {wanted.name}: the output is {pix_fmt}")
    if wanted.has_alpha and not layout.has_alpha:
        notes.append(
            f"{codec} in {container} has no alpha: transparent pixels show their colours; {KEEPS_ALPHA} keeps it"
        )
    height, width = _even(codec, layout, size)
    if (height, width) != size:
        notes.append(f"the encoder takes even sizes only: {width}x{height} instead of {size[1]}x{size[0]}")
    light = encoder_params(bare, video)
    plan = EncoderPlan(
        name=name,
        codec=codec,
        pix_fmt=pix_fmt,
        layout=layout,
        color=color,
        height=height,
        width=width,
        rate=min(video.rate, _FASTEST.get(bare, video.rate)).limit_denominator(1001),
        sample_aspect_ratio=sample_aspect_ratio,
        options=_options(settings, name, row, layout, (height, width), color.siting, threads, light=light),
        threads=threads,
        writes_light_levels=light is not None,
    )
    return plan, notes


def _even(codec: str, layout: PixelLayout, size: tuple[int, int]) -> tuple[int, int]:
    height, width = size
    if codec not in ("h264", "hevc") or layout.kind != "yuv":
        return size
    down, across = layout.log2_chroma
    return max(2, height - height % 2) if down else height, max(2, width - width % 2) if across else width


def _options(
    settings: UpscaleSettings,
    name: str,
    row: _Row,
    layout: PixelLayout,
    size: tuple[int, int],
    siting: str,
    threads: int,
    *,
    light: tuple[str, str] | None,
) -> dict[str, str]:
    options = dict(row.options)
    bare = name.removeprefix("ffmpeg:")
    supported = _supported(bare) if not name.startswith("ffmpeg:") else None
    quality = row.quality or (_first(("crf", "cq", "global_quality"), supported) if settings.crf is not None else None)
    if settings.crf is not None and quality is None:
        raise ConfigError(f"crf = {settings.crf}: {name} has no such setting; use --encoder-option")
    crf = settings.crf if settings.crf is not None else row.crf
    if quality is not None and crf is not None:
        options[quality] = str(crf)
    effort = row.effort or (_first(("preset",), supported) if settings.encoder_preset is not None else None)
    if settings.encoder_preset is not None and effort is None:
        raise ConfigError(f"encoder_preset = {settings.encoder_preset}: {name} has no presets; leave it out")
    preset = settings.encoder_preset or row.preset
    if effort is not None and preset is not None:
        options[effort] = preset
    if bare == "ffv1" and min(size) >= _SLICED:
        options["slices"] = "16"
    if bare in _WRITES_SITING and layout.log2_chroma != (0, 0):
        options["chroma_sample_location"] = siting
    if layout.has_alpha and bare in ("libvpx", "libvpx-vp9"):
        options["auto-alt-ref"] = "0"  # which they refuse beside alpha
    if bare == "prores_ks":
        options["profile"] = "4" if layout.log2_chroma == (0, 0) else "3"
    if bare == "libx265":
        options["x265-params"] = f"log-level=none:info=0:open-gop=0:pools={threads}:frame-threads={min(threads, 4)}"
    if light is not None:
        options[light[0]] = _joined(options.get(light[0]), light[1])
    for key, value in settings.encoder_options.items():
        _refuse_whole_clip(key, value)
        if supported is not None and key not in supported:
            raise ConfigError(
                f"encoder_option = {key}: {name} has no such option; look it up in ffmpeg -h encoder={bare}"
            )
        options[key] = _joined(options.get(key), value) if key.endswith("-params") else value
    return options


def _refuse_whole_clip(key: str, value: str) -> None:
    text = f"{key}={value}"
    if key in _WHOLE_CLIP or (key.endswith("-params") and any(part in value for part in _WHOLE_CLIP_PARTS)):
        raise ConfigError(f"encoder_option = {text}: needs the whole clip, but segments are encoded apart; use --crf")


def _supported(encoder: str) -> set[str]:
    try:
        found = av.CodecContext.create(encoder, "w").supported_options
    except (FFmpegError, ValueError) as e:
        raise ConfigError(f"encoder = {encoder}: no encoder of this build of PyAV; see --codec") from e
    return {option.name for option in (*found.generic, *found.private)}


def _first(names: tuple[str, ...], supported: set[str] | None) -> str | None:
    return next((name for name in names if supported is None or name in supported), None)


def _joined(own: str | None, more: str) -> str:
    return f"{own}:{more}" if own else more


def quiet_encoders() -> None:
    """Have SVT-AV1 keep its banner to itself; it reads this when the first encoder opens."""
    os.environ.setdefault("SVT_LOG", "1")
