"""What an upscaling run may be told: one frozen value that presets, the CLI and Python all make."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal, get_args

from vsr.errors import ConfigError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Audio = Literal["auto", "copy", "aac", "opus", "flac", "none"]
Deinterlace = Literal["auto", "on", "off", "double", "ivtc"]
Matrix = Literal["auto", "bt709"]
DEFAULT_SCALE = Fraction(4)
LEAST_VRAM = 10**9  # bytes: CUDA itself takes about half
CONTAINERS = ("mp4", "mov", "mkv", "webm", "nut", "y4m")
StillFormat = Literal["png", "jpeg", "webp", "avif", "tiff"]
CODECS = ("auto", "h264", "hevc", "av1", "vp9", "prores", "dnxhr", "ffv1")
MODELS = {2: "vsr-video-x2", 4: "vsr-video-x4"}  # where no preset says otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """A part of a picture as it is stored, in its own pixels."""

    height: int
    width: int
    top: int
    left: int

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1 or min(self.top, self.left) < 0:
            raise ConfigError(f"crop = {self}: must keep something, and begin inside; give W:H:X:Y in pixels")

    def __str__(self) -> str:
        return f"{self.width}:{self.height}:{self.left}:{self.top}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderTuning:
    """How a preset wants one encoder driven, in that encoder's own units; what the user orders goes before it."""

    crf: int | None = None
    preset: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpscaleSettings:
    """Every choice of an upscaling run. None means: decided from the source, the device or the model."""

    models: Mapping[int, str] = field(default_factory=lambda: dict(MODELS))  # model scale -> name, as in a preset
    still_models: Mapping[int, str] = field(default_factory=dict)  # the same of stills, where they have their own
    model: str | None = None  # a name or a weights file; goes before `models`
    mix: Mapping[str, float] = field(default_factory=dict)  # several of one shape and their shares; instead of `model`
    denoise: float | None = None  # 0 to 1: the share of a model whose twin leaves noise in, for which that has the rest
    scale: Fraction | None = None  # 1 to 16; 4 when neither `scale` nor `size` is given
    size: tuple[int | None, int | None] | None = None  # (height, width) to fit inside; one of them may be None
    passes: int = 1  # how often the network runs, each on the last one's result
    device: str = "auto"  # auto, cpu, cuda, cuda:N, mps
    precision: Precision = "auto"
    tile: int | None = None  # source pixels; None is chosen by the device, 0 is never used
    overlap: int | None = None  # source pixels; None is the model's own
    batch: int | None = None  # frames
    codec: str = "auto"  # one of CODECS
    crf: int | None = None  # in the encoder's own units
    encoder: str | None = None  # any encoder of PyAV's build, or "ffmpeg:NAME" for the system's
    encoder_preset: str | None = None
    pix_fmt: str | None = None
    matrix: Matrix = "auto"  # auto: the source's; bt709 encodes YUV anew, for players that ignore tags
    encoder_options: Mapping[str, str] = field(default_factory=dict)
    encoders: Mapping[str, EncoderTuning] = field(default_factory=dict)  # libav encoder name -> see `for_encoder`
    deinterlace: Deinterlace = "auto"  # auto: the frames that say that they are interlaced
    crop: Crop | Literal["auto"] | None = None  # auto: without black bars
    apply_rotation: bool = False  # turn the pixels, where the source only says how they are to be turned
    segment: Fraction = Fraction(10)  # seconds
    start: Fraction = Fraction(0)  # seconds after the first frame
    end: Fraction | None = None  # seconds after the first frame, itself left out
    drop: tuple[str, ...] = ()  # selectors: a, s, t, d, or a:1, s:0
    container: str | None = None  # of an output whose name does not say it; one of CONTAINERS
    audio: Audio = "auto"  # copied where the container holds it, else converted; a codec is for all, none drops all
    fps: Fraction | None = None  # of numbered pictures as a source
    nice: bool = False  # half of the cores; the CLI also lowers the process's priority
    vram_limit: int | None = None  # bytes of a card's memory that the process may take, CUDA's own share included
    offline: bool = False  # a model that is not here is an error, and not fetched
    overwrite: bool = False
    restart: bool = False  # begin anew, whatever an earlier run left
    finish_partial: bool = False  # join what an earlier run has done, and no more
    allow_damaged: bool = False
    format: StillFormat | None = None  # of a still; None is the source's own
    quality: int | None = None  # of JPEG, WebP, AVIF and HEIC, 1 to 100
    to_srgb: bool = False  # convert a still by its profile, instead of keeping both
    strip: bool = False  # leave out what a still says of itself, but for what its colours mean
    sheet: bool = False  # also write details of a still before and after
    max_pixels: int = 500_000_000  # of a still's source, over all frames of an animation

    def __post_init__(self) -> None:
        if not self.models or min([*self.models, *self.still_models]) < 1:
            raise ConfigError("models: needs at least one row, and scales of 1 or more; give scale = name")
        self._check_mixture()
        if self.scale is not None and not 1 <= self.scale <= 16:
            raise ConfigError(f"scale = {float(self.scale):g}: outside 1 to 16; give a number between them")
        if self.scale is not None and self.size is not None:
            raise ConfigError("scale and size: both given; give one of them")
        if self.size is not None and not any(self.size):
            raise ConfigError("size: neither width nor height; give WxH, Wx or xH")
        if self.passes not in (1, 2):
            raise ConfigError(f"passes = {self.passes}: only 1 or 2 make sense; give one of them")
        if self.codec not in CODECS:
            raise ConfigError(f"codec = {self.codec}: unknown; give one of {', '.join(CODECS)}")
        if self.deinterlace not in get_args(Deinterlace):
            known = ", ".join(get_args(Deinterlace))
            raise ConfigError(f"deinterlace = {self.deinterlace}: unknown; give one of {known}")
        if self.container not in (None, *CONTAINERS):
            raise ConfigError(f"container = {self.container}: unknown; give one of {', '.join(CONTAINERS)}")
        if self.audio not in get_args(Audio):
            raise ConfigError(f"audio = {self.audio}: unknown; give one of {', '.join(get_args(Audio))}")
        if self.matrix not in get_args(Matrix):
            raise ConfigError(f"matrix = {self.matrix}: unknown; give one of {', '.join(get_args(Matrix))}")
        if self.format is not None and self.format not in get_args(StillFormat):
            raise ConfigError(f"format = {self.format}: unknown; give one of {', '.join(get_args(StillFormat))}")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise ConfigError(f"quality = {self.quality}: outside 1 to 100; give a number between them")
        if self.max_pixels < 1:
            raise ConfigError(f"max_pixels = {self.max_pixels}: must be at least 1")
        if self.vram_limit is not None and self.vram_limit < LEAST_VRAM:
            raise ConfigError(f"vram_limit = {self.vram_limit / 1e9:g} GB: nothing fits in that; give at least 1 GB")
        if self.restart and self.finish_partial:
            raise ConfigError("restart and finish_partial: one throws away what the other keeps; give one of them")
        if self.segment <= 0:
            raise ConfigError(f"segment = {float(self.segment):g}: must be more than 0 seconds")
        if self.start < 0 or (self.end is not None and self.end <= self.start):
            raise ConfigError("start, end: the end must come after the start, and neither before the first frame")
        for name in ("tile", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} = {value}: must be at least 1; leave it out to have it chosen")
        if self.overlap is not None and self.overlap < 0:
            raise ConfigError(f"overlap = {self.overlap}: must not be negative; leave it out to have it chosen")

    def _check_mixture(self) -> None:
        if self.denoise is not None and not 0 <= self.denoise <= 1:
            raise ConfigError(f"denoise = {self.denoise:g}: outside 0 to 1; give 1 for all of it, 0 for the least")
        if not self.mix:
            return
        if self.model is not None or self.denoise is not None:
            other = "model" if self.model is not None else "denoise"
            raise ConfigError(f"mix and {other}: both given; give one of them")
        if len(self.mix) < 2 or not all(0 < share < 1 for share in self.mix.values()):
            raise ConfigError(
                "mix: takes two models or more, each with a share between 0 and 1; give such as A:0.7,B:0.3"
            )
        if abs(sum(self.mix.values()) - 1) > 1e-6:
            raise ConfigError(f"mix: the shares make {sum(self.mix.values()):g}; give shares that make 1")

    def for_encoder(self, encoder: str) -> "UpscaleSettings":
        """These settings once `encoder` is chosen: what they leave open is filled from its row in `encoders`.

        Quality numbers and tunes mean something to one encoder only, so a preset states them per encoder.
        """
        tuning = self.encoders.get(encoder, EncoderTuning())
        return replace(
            self,
            crf=tuning.crf if self.crf is None else self.crf,
            encoder_preset=self.encoder_preset or tuning.preset,
            encoder_options={**tuning.options, **self.encoder_options},
        )


def choose_model(models: Mapping[int, str], scale: Fraction, *, passes: int = 1) -> str:
    """The model with the smallest scale that reaches `scale` in `passes` runs, else the one with the largest."""
    reaching = [own for own in models if own**passes >= scale]
    return models[min(reaching) if reaching else max(models)]


# Settings that mean something for one kind of source only; all others are for both.
CLIP_ONLY = frozenset(
    {"batch", "codec", "crf", "encoder", "encoder_preset", "pix_fmt", "encoder_options", "encoders", "deinterlace"}
    | {"crop", "apply_rotation", "segment", "start", "end", "drop", "container", "audio", "fps", "matrix"}
    | {"restart", "finish_partial"}
)
STILL_ONLY = frozenset({"still_models", "format", "quality", "to_srgb", "strip", "sheet", "max_pixels"})
