"""Which encoder makes the picture, in which format, with which options: decided before the first frame."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from vsr.errors import ConfigError
from vsr.frames import ColorSpec, PixelLayout, VideoInfo
from vsr.io.known_encoders import (
    KNOWN_ENCODERS,
    USUAL_ENCODERS,
    KnownEncoder,
    common_options,
    libav_encoder,
)
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
from vsr.io.system_ffmpeg import system_encoder
from vsr.settings import UpscaleSettings

_WIDEST_H264 = 4096  # pixels; beyond, few players decode it in hardware
_SLICED = 64  # pixels; a smaller picture cannot be cut into 16 slices
_FASTEST = 240  # frames a second an encoder is told at most: segments are timed in milliseconds
_MPEG4_CLOCK = 65535  # ticks a second at most
_SYSTEM = "ffmpeg:"  # before the name of an encoder of the system's ffmpeg
_CODECS = {"dnxhr": "dnxhd"}  # --codec -> libav's name, where it has another
_EVEN_ONLY = ("h264", "hevc")  # cannot say an odd size of subsampled chroma, by their standards
_OF_DEVICES = ("nv12", "p010le")  # what all devices take uploaded, for 8 bits and for more
_LISTS = {"x265-params": ":", "x264-params": ":", "svtav1-params": ":", "flags": ""}  # ours, then the user's
_WHOLE_CLIP = (
    *("b", "b:v", "bitrate", "tbr", "maxrate", "minrate", "mbr", "bufsize", "buf-sz", "2pass"),
    *("pass", "passlogfile", "stats", "rc_init_occupancy"),
)


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
    untold: frozenset[str] = frozenset()  # tags of `color` that do not come back from the output

    @property
    def has_alpha(self) -> bool:
        return self.layout.has_alpha

    @property
    def is_system(self) -> bool:
        """Whether the system's ffmpeg encodes."""
        return self.name.startswith(_SYSTEM)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoder:
    """The chosen encoder: what is said of it, and what we know."""

    name: str  # as in EncoderPlan
    bare: str  # without "ffmpeg:"
    codec: str
    pix_fmts: tuple[str, ...]
    rates: tuple[Fraction, ...]
    options: frozenset[str]
    known: KnownEncoder


def choose_codec(settings: UpscaleSettings, video: VideoInfo, *, container: str | None, width: int) -> str:
    """The codec by name, as asked or by rule: AV1 in webm; h264 for 8 bit SDR up to 4096 wide; else hevc.

    With alpha, VP9 in webm and ProRes in mov, which keep it.

    `container` is the output's, when the user named one. Raises ConfigError for an unknown encoder.
    """
    if settings.encoder is not None:
        return _look_up(settings.encoder).codec
    if settings.codec != "auto":
        return _CODECS.get(settings.codec, settings.codec)
    if container == "webm":
        return "vp9" if video.has_alpha else "av1"
    if container == "mov" and video.has_alpha and settings.crf is None and settings.encoder_preset is None:
        return "prores"
    is_plain = video.layout.depth == 8 and video.color.transfer not in HDR_TRANSFERS
    return "h264" if is_plain and width <= _WIDEST_H264 else "hevc"


def _look_up(name: str) -> _Encoder:
    """Ask PyAV's build, or the system's ffmpeg, for an encoder. Raises ConfigError when it has none of that name."""
    if name.startswith(_SYSTEM):
        bare = name.removeprefix(_SYSTEM)
        said = system_encoder(bare)
        pix_fmts = said.pix_fmts if said.device is None else _OF_DEVICES
        codec, options, rates = said.codec, said.options, ()
    else:
        found = libav_encoder(name)
        name = bare = found.name
        codec, pix_fmts, options, rates = found.codec, found.pix_fmts, found.options, found.rates
    known = KNOWN_ENCODERS.get(bare, KnownEncoder(codec=codec))
    return _Encoder(name=name, bare=bare, codec=codec, pix_fmts=pix_fmts, rates=rates, options=options, known=known)


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

    One more column or row makes a size even where the codec knows no odd ones. Raises ConfigError for options that
    the encoder cannot take.
    """
    encoder = _look_up(settings.encoder or USUAL_ENCODERS[codec])
    settings = settings.for_encoder(encoder.bare)
    wanted = planar_layout(video.pix_fmt, with_alpha=True)
    # whether another program's encoder takes alpha cannot be tried
    could_be = wanted.opaque if encoder.name.startswith(_SYSTEM) else wanted
    offered = offered_formats(encoder.bare, encoder.pix_fmts, could_be, container=container)
    if settings.pix_fmt is not None and settings.pix_fmt not in offered:
        known = ", ".join(offered)
        raise ConfigError(f"pix_fmt = {settings.pix_fmt}: {encoder.name} takes only {known}; give one of them")
    pix_fmt = settings.pix_fmt or nearest_format(wanted, offered)
    layout = planar_layout(pix_fmt, with_alpha=wanted.has_alpha)
    color, notes = target_color(video.color, wanted, layout, codec=codec, matrix=settings.matrix)
    if settings.pix_fmt is None and loses_samples(wanted, layout):
        notes.insert(0, f"{encoder.name} has no {wanted.name}: the output is {pix_fmt}")
    if wanted.has_alpha and not layout.has_alpha:
        notes.append(
            f"{codec} in {container} has no alpha: transparent pixels show their colours; {KEEPS_ALPHA} keeps it"
        )
    height, width = _even(codec, layout, size)
    if (height, width) != size:
        grown = f"{width}x{height} instead of {size[1]}x{size[0]}"
        notes.append(f"{codec} takes even sizes only: the last column or row is there twice, {grown}")
    light = encoder_params(encoder.bare, video)
    plan = EncoderPlan(
        name=encoder.name,
        codec=codec,
        pix_fmt=pix_fmt,
        layout=layout,
        color=color,
        height=height,
        width=width,
        rate=_rate(video.rate, encoder),
        sample_aspect_ratio=sample_aspect_ratio,
        options=_options(settings, encoder, layout, (height, width), color.siting, threads, light=light),
        threads=threads,
        writes_light_levels=light is not None,
    )
    return plan, notes


def is_proven(plan: EncoderPlan, settings: UpscaleSettings) -> bool:
    """Whether tests have tried this encoder, driven in this way, in every container: it needs no rehearsal."""
    known = KNOWN_ENCODERS.get(plan.name)
    return known is not None and known.is_proven and not settings.encoder_options and settings.pix_fmt is None


def _rate(rate: Fraction, encoder: _Encoder) -> Fraction:
    """A rate that the encoder takes: nominal, for its own decisions only, since real times are given at the join."""
    rate = min(rate, Fraction(_FASTEST)).limit_denominator(1001)
    if encoder.rates:
        return min(encoder.rates, key=lambda known: abs(known - rate))
    return Fraction(round(rate)) if encoder.codec == "mpeg4" and rate.numerator > _MPEG4_CLOCK else rate


def _even(codec: str, layout: PixelLayout, size: tuple[int, int]) -> tuple[int, int]:
    height, width = size
    if codec not in _EVEN_ONLY or layout.kind != "yuv":
        return size
    down, across = layout.log2_chroma
    return height + height % 2 if down else height, width + width % 2 if across else width


def _options(
    settings: UpscaleSettings,
    encoder: _Encoder,
    layout: PixelLayout,
    size: tuple[int, int],
    siting: str,
    threads: int,
    *,
    light: tuple[str, str] | None,
) -> dict[str, str]:
    """Everything the encoder is told. What the user orders goes before what we would say."""
    known, name = encoder.known, encoder.name
    options = dict(known.options)
    quality = known.quality or _first(("crf", "cq", "global_quality"), encoder.options)
    crf = known.crf if settings.crf is None else settings.crf
    if settings.crf is not None and not quality:
        raise ConfigError(f"crf = {settings.crf}: {name} has no such setting; use --encoder-option")
    if crf is not None:
        options |= replace(known, quality=quality).for_quality(crf)
    efforts = (known.effort,) if known.effort is not None else _first(("preset",), encoder.options)
    if settings.encoder_preset is not None and not efforts:
        raise ConfigError(f"encoder_preset = {settings.encoder_preset}: {name} has no presets; leave it out")
    preset = settings.encoder_preset or known.preset
    if preset is not None:
        options |= dict.fromkeys(efforts, preset)
    if known.writes_siting and layout.log2_chroma != (0, 0):
        options["chroma_sample_location"] = siting
    options |= _by_format(encoder.bare, layout, size, threads)
    if light is not None:
        options[light[0]] = _joined(options, *light)
    for key, value in settings.encoder_options.items():
        _refuse_whole_clip(key, value)
        if key not in encoder.options and key not in common_options():
            message = f"{name} has no such option; look it up in ffmpeg -h encoder={encoder.bare}"
            raise ConfigError(f"encoder_option = {key}: {message}")
        options[key] = _joined(options, key, value)
    return options


def _by_format(encoder: str, layout: PixelLayout, size: tuple[int, int], threads: int) -> dict[str, str]:
    """Options that follow from the picture's format."""
    if encoder == "ffv1" and min(size) >= _SLICED:
        return {"slices": "16"}
    if encoder == "prores_ks":
        return {"profile": "4" if layout.log2_chroma == (0, 0) else "3"}
    if encoder == "dnxhd":  # DNxHR: any size, and the best quality of its format
        is_444 = layout.log2_chroma == (0, 0)
        return {"profile": "dnxhr_444" if is_444 else "dnxhr_hqx" if layout.depth > 8 else "dnxhr_hq"}
    if encoder in ("libvpx", "libvpx-vp9") and layout.has_alpha:
        return {"auto-alt-ref": "0"}  # which they refuse beside alpha
    if encoder == "libx265":
        return {"x265-params": f"log-level=none:info=0:open-gop=0:pools={threads}:frame-threads={min(threads, 4)}"}
    return {}


def _refuse_whole_clip(key: str, value: str) -> None:
    """Raises ConfigError for what would have to be measured or rationed over all segments."""
    is_list = key.endswith(("-params", "opts"))
    inner = [part.partition("=")[0].strip() for part in value.split(":")] if is_list else []
    if key in _WHOLE_CLIP or any(name in _WHOLE_CLIP or name.startswith("vbv") for name in inner):
        message = "needs the whole clip, but segments are encoded apart; use --crf"
        raise ConfigError(f"encoder_option = {key}={value}: {message}")


def _first(names: Sequence[str], options: frozenset[str]) -> tuple[str, ...]:
    return next(((name,) for name in names if name in options), ())


def _joined(options: Mapping[str, str], key: str, value: str) -> str:
    """The value added to what is there, where it is a list; else the value."""
    return f"{options[key]}{_LISTS[key]}{value}" if key in options and key in _LISTS else value


def quiet_encoders() -> None:
    """Have SVT-AV1 keep its banner to itself; it reads this when the first encoder opens."""
    os.environ.setdefault("SVT_LOG", "1")
