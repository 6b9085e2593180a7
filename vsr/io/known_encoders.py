"""The encoders that we know how to drive, and what any encoder of PyAV's build says it takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache

import av
from av.codec import Codec
from av.error import FFmpegError

from vsr.errors import ConfigError

_LAMBDA = 118  # FF_QP2LAMBDA: in these units libavcodec is told a fixed quantiser
_QSCALE = "qscale"  # no option: stands for a fixed quantiser in `KnownEncoder.quality`


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownEncoder:
    """How we drive one encoder. `quality` and `effort` are its names for --crf and --encoder-preset."""

    codec: str
    quality: tuple[str, ...] = ()
    crf: int | None = None
    effort: str | None = None
    preset: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    writes_siting: bool = False  # the others refuse the option or forget it
    is_proven: bool = False  # tests tried it in all containers: a run needs not

    def for_quality(self, crf: int) -> dict[str, str]:
        """The options that ask for a quality in the encoder's own units."""
        if _QSCALE in self.quality:
            return {"flags": "+qscale", "global_quality": str(crf * _LAMBDA)}
        return dict.fromkeys(self.quality, str(crf))


_VPX = KnownEncoder(codec="vp9", quality=("crf",), crf=24, effort="cpu-used", preset="2")
_MPEG = KnownEncoder(codec="mpeg2video", quality=(_QSCALE,), crf=2, options={"bf": "2"}, is_proven=True)
# Of cards no one here has seen: by the documentation of ffmpeg and the makers' guides; option names are tested.
_NVENC = KnownEncoder(
    codec="h264", quality=("cq",), crf=19, effort="preset", preset="p6", options={"rc": "vbr", "b": "0"}
)
_QSV = KnownEncoder(codec="h264", quality=("global_quality",), crf=19, effort="preset", preset="slow")
_VAAPI = KnownEncoder(codec="h264", quality=("global_quality",), crf=20, options={"rc_mode": "CQP"})
_AMF = KnownEncoder(
    codec="h264", quality=("qp_i", "qp_p"), crf=20, effort="quality", preset="quality", options={"rc": "cqp"}
)
_APPLE = KnownEncoder(codec="h264", quality=(_QSCALE,), crf=65)  # of 100, where more is better

KNOWN_ENCODERS = {
    "libx264": KnownEncoder(
        codec="h264", quality=("crf",), crf=16, effort="preset", preset="medium", writes_siting=True, is_proven=True
    ),
    "libx265": KnownEncoder(
        codec="hevc", quality=("crf",), crf=18, effort="preset", preset="medium", writes_siting=True, is_proven=True
    ),
    "libsvtav1": KnownEncoder(
        codec="av1", quality=("crf",), crf=24, effort="preset", preset="6", writes_siting=True, is_proven=True
    ),
    "libvpx-vp9": replace(_VPX, options={"deadline": "good", "row-mt": "1"}, is_proven=True),
    "prores_ks": KnownEncoder(codec="prores", options={"vendor": "apl0"}, is_proven=True),
    "ffv1": KnownEncoder(codec="ffv1", options={"level": "3", "slicecrc": "1"}, writes_siting=True, is_proven=True),
    "dnxhd": KnownEncoder(codec="dnxhd", is_proven=True),
    "mpeg2video": _MPEG,
    "mpeg4": replace(_MPEG, codec="mpeg4"),
    "mjpeg": replace(_MPEG, codec="mjpeg", options={}),
    "libaom-av1": replace(_VPX, codec="av1", preset="4", options={"b": "0", "row-mt": "1"}, writes_siting=True),
    "h264_nvenc": _NVENC,
    "hevc_nvenc": replace(_NVENC, codec="hevc", crf=21),
    "av1_nvenc": replace(_NVENC, codec="av1", crf=28),
    "h264_qsv": _QSV,
    "hevc_qsv": replace(_QSV, codec="hevc", crf=21),
    "av1_qsv": replace(_QSV, codec="av1", crf=24),
    "vp9_qsv": replace(_QSV, codec="vp9", crf=60),
    "h264_vaapi": _VAAPI,
    "hevc_vaapi": replace(_VAAPI, codec="hevc", crf=22),
    "av1_vaapi": replace(_VAAPI, codec="av1", crf=90),  # of 255
    "vp9_vaapi": replace(_VAAPI, codec="vp9", crf=60),
    "h264_amf": _AMF,
    "hevc_amf": replace(_AMF, codec="hevc", crf=22),
    "av1_amf": replace(_AMF, codec="av1", crf=90),
    "h264_videotoolbox": _APPLE,
    "hevc_videotoolbox": replace(_APPLE, codec="hevc"),
}
USUAL_ENCODERS = {
    known.codec: name for name, known in reversed(KNOWN_ENCODERS.items()) if known.is_proven
}  # codec -> encoder


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderInfo:
    """One video encoder of PyAV's build."""

    name: str
    codec: str  # libav's name of what it makes
    pix_fmts: tuple[str, ...]  # () where it does not say
    rates: tuple[Fraction, ...]  # () where it takes any
    options: frozenset[str]  # its own


@cache
def libav_encoder(name: str) -> EncoderInfo:
    """Look up an encoder, or the usual one of a codec. Raises ConfigError when there is none of that name for video."""
    try:
        codec = Codec(name, "w")
        options = av.CodecContext.create(name, "w").supported_options.private
    except (FFmpegError, ValueError) as e:
        message = f"encoder = {name}: no encoder of this build of PyAV; give --codec, or ffmpeg:{name}"
        raise ConfigError(message) from e
    if codec.type != "video":
        raise ConfigError(f"encoder = {name}: makes no video; give an encoder of pictures, or --codec")
    return EncoderInfo(
        name=codec.name,
        codec=codec.canonical_name,
        pix_fmts=tuple(form.name for form in codec.video_formats or ()),
        rates=tuple(Fraction(rate.numerator, rate.denominator) for rate in codec.frame_rates or ()),
        options=frozenset(option.name for option in options),
    )


@cache
def common_options() -> frozenset[str]:
    """The options that all encoders have."""
    return frozenset(option.name for option in av.CodecContext.create("mpeg4", "w").supported_options.generic)
