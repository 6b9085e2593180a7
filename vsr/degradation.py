"""How a picture is damaged for training: every parameter of the second-order pipeline, as presets write them.

Sources: Real-ESRGAN (Wang et al. 2021, section 3) and its published option files, whose values are the defaults here;
the video part is ours. `vsr.train.degrade` carries it out. Chances lie in [0, 1]; shares are relative weights that need
not add up to 1; a pair is a range, both ends included, drawn evenly.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from vsr.errors import ConfigError

Range = tuple[float, float]
WholeRange = tuple[int, int]
Kernel = Literal["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
Filter = Literal["area", "bilinear", "bicubic"]
Medium = Literal["none", "chroma", "jpeg", "video"]
Chroma = Literal["yuv420p", "yuv422p", "yuv444p"]
CodecName = Literal["h264", "hevc", "mpeg2", "mpeg4", "vp9", "av1"]

_KINDS: Mapping[Kernel, float] = {
    "iso": 0.45,
    "aniso": 0.25,
    "generalized_iso": 0.12,
    "generalized_aniso": 0.03,
    "plateau_iso": 0.12,
    "plateau_aniso": 0.03,
}


def _check(
    settings: object,
    *,
    chances: tuple[str, ...] = (),
    shares: tuple[str, ...] = (),
    above: tuple[str, ...] = (),
    at_least_zero: tuple[str, ...] = (),
    pairs: tuple[str, ...] = (),
) -> None:
    """Hold fields against what their kind allows. Raises ConfigError that names the field."""
    for name in chances:
        if not 0 <= getattr(settings, name) <= 1:
            raise ConfigError(f"{name} = {getattr(settings, name):g}: a chance lies between 0 and 1")
    for name in shares:
        weights = getattr(settings, name).values()
        if not weights or min(weights) < 0 or sum(weights) <= 0:
            raise ConfigError(f"{name}: shares must not be negative, and one of them must be more than 0")
    for name in (*above, *at_least_zero, *pairs):
        low, high = getattr(settings, name)
        least = {name in above: 1e-6, name in at_least_zero: 0.0}.get(True, -math.inf)
        if not (math.isfinite(low) and math.isfinite(high) and least <= low <= high):
            what = "more than 0, " if name in above else "0 or more, " if name in at_least_zero else ""
            raise ConfigError(f"{name} = [{low:g}, {high:g}]: give a range, {what}the smaller end first")


@dataclass(frozen=True, slots=True, kw_only=True)
class Blur:
    """A lens: one kernel for all frames of a sample."""

    chance: float = 1.0
    size: WholeRange = (7, 21)  # pixels, odd
    kinds: Mapping[Kernel, float] = field(default_factory=lambda: _KINDS)  # shares
    sigma: Range = (0.2, 3.0)  # pixels, along either axis
    rotation: Range = (-math.pi, math.pi)  # radians
    beta_generalized: Range = (0.5, 4.0)  # exponent: below 1 has long tails, above 1 a flat top
    beta_plateau: Range = (1.0, 2.0)
    sinc_chance: float = 0.1  # of a sharp low-pass in place of the kernel: ringing, as from bad sharpening

    def __post_init__(self) -> None:
        _check(
            self,
            chances=("chance", "sinc_chance"),
            shares=("kinds",),
            above=("sigma", "beta_generalized", "beta_plateau"),
        )
        if self.size[0] % 2 == 0 or self.size[1] % 2 == 0 or self.size[0] < 3:
            raise ConfigError(f"size = {list(self.size)}: kernels are 3 pixels or more and odd, such as [7, 21]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
    """A detour over another size, relative to the truth's in the first order, to the result's in the second."""

    up: float = 0.2  # shares of enlarging, shrinking and leaving the size
    down: float = 0.7
    keep: float = 0.1
    factor: Range = (0.15, 1.5)
    filters: Mapping[Filter, float] = field(default_factory=lambda: {"area": 1.0, "bilinear": 1.0, "bicubic": 1.0})

    def __post_init__(self) -> None:
        _check(self, shares=("filters",), above=("factor",))
        if min(self.up, self.down, self.keep) < 0 or self.up + self.down + self.keep <= 0:
            raise ConfigError("up, down, keep: are shares; give at least one of them more than 0")
        if not self.factor[0] <= 1 <= self.factor[1]:
            raise ConfigError(f"factor = {list(self.factor)}: must hold 1; give the smallest and the largest factor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Noise of sensor or film, new in every frame; its strength is the sample's."""

    chance: float = 1.0
    gaussian: float = 0.5  # chance of Gaussian noise; else Poisson
    sigma: Range = (1.0, 30.0)  # 8-bit codes
    poisson: Range = (0.05, 3.0)  # times the shot noise of as many levels as the picture has
    gray: float = 0.4  # chance of the same noise in all channels

    def __post_init__(self) -> None:
        _check(self, chances=("chance", "gaussian", "gray"), at_least_zero=("sigma", "poisson"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """How one video codec is used."""

    share: float
    quality: WholeRange  # CRF of h264, hevc, vp9 and av1, quantiser of mpeg2 and mpeg4: more is worse
    presets: Mapping[str, float] = field(default_factory=dict)  # shares, in the encoder's names; empty is its usual one
    profiles: Mapping[str, float] = field(default_factory=dict)  # shares; h264 only

    def __post_init__(self) -> None:
        _check(self, at_least_zero=("quality",), shares=tuple(n for n in ("presets", "profiles") if getattr(self, n)))
        if self.share < 0:
            raise ConfigError(f"share = {self.share:g}: must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """What the picture is stored in: nothing, a JPEG, a clip, or only a clip's coarser chroma."""

    media: Mapping[Medium, float] = field(default_factory=lambda: {"jpeg": 1.0})  # shares
    jpeg_quality: WholeRange = (30, 95)
    codecs: Mapping[CodecName, Codec] = field(default_factory=dict)
    chroma: Mapping[Chroma, float] = field(default_factory=lambda: {"yuv420p": 1.0})  # shares, of clips
    transcode_chance: float = 0.0  # of a clip: through a second codec, 3 steps of quality better

    def __post_init__(self) -> None:
        _check(self, chances=("transcode_chance",), shares=("media", "chroma"))
        if not 1 <= self.jpeg_quality[0] <= self.jpeg_quality[1] <= 100:
            raise ConfigError(f"jpeg_quality = {list(self.jpeg_quality)}: lies between 1 and 100, the worst first")
        if self.media.get("video") and sum(codec.share for codec in self.codecs.values()) <= 0:
            raise ConfigError("media: holds video but codecs has no share; add a table such as codecs.h264")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One round of damage: lens, size, noise, storage."""

    blur: Blur = Blur()
    resize: Resize = Resize()
    noise: Noise = Noise()
    compression: Compression = Compression()


_SECOND = Order(
    blur=Blur(chance=0.8, sigma=(0.2, 1.5)),
    resize=Resize(up=0.3, down=0.4, keep=0.3, factor=(0.3, 1.2)),
    noise=Noise(sigma=(1.0, 25.0), poisson=(0.05, 2.5)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """How the picture gets its final size, and the ringing that goes with it."""

    before_storage: float = 0.5  # chance that size and ringing come before the second order's compression, not after
    filters: Mapping[Filter, float] = field(default_factory=lambda: {"area": 1.0, "bilinear": 1.0, "bicubic": 1.0})
    sinc_chance: float = 0.8
    sinc_size: WholeRange = (7, 21)  # pixels, odd

    def __post_init__(self) -> None:
        _check(self, chances=("before_storage", "sinc_chance"), shares=("filters",))
        if self.sinc_size[0] % 2 == 0 or self.sinc_size[1] % 2 == 0 or self.sinc_size[0] < 3:
            raise ConfigError(f"sinc_size = {list(self.sinc_size)}: kernels are 3 pixels or more and odd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """What a film print brings along, at the truth's size and before all else."""

    chance: float = 0.0
    grain: Range = (2.0, 8.0)  # standard deviation in 8-bit codes, in the middle tones
    grain_size: Range = (0.8, 3.0)  # sigma of a grain, pixels
    flicker: Range = (0.0, 0.02)  # standard deviation of a frame's gain
    dirt: Range = (0.0, 20.0)  # spots a megapixel and frame

    def __post_init__(self) -> None:
        _check(self, chances=("chance",), at_least_zero=("grain", "flicker", "dirt"), above=("grain_size",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """How a still becomes a clip: a window wanders over it at a steady pace."""

    still_chance: float = 0.2
    pace: Range = (-4.0, 4.0)  # pixels of the result a frame, in both directions
    zoom: Range = (-0.02, 0.02)  # growth a frame

    def __post_init__(self) -> None:
        _check(self, chances=("still_chance",), pairs=("pace", "zoom"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradation:
    """All that can happen to a sample between the truth and what the network is shown."""

    clean: float = 0.0  # chance of nothing but MATLAB's bicubic
    sharpen: bool = True  # the truth is unsharp-masked first, and the network learns to give that back
    frames: int = 1  # a sample is a clip of so many; codecs that predict need several
    motion: Motion = Motion()
    film: Film = Film()
    first: Order = Order()
    second: Order = _SECOND
    final: Final = Final()

    def __post_init__(self) -> None:
        _check(self, chances=("clean",))
        if not 1 <= self.frames <= 64:
            raise ConfigError(f"frames = {self.frames}: a sample has 1 to 64 frames")

    @property
    def codecs(self) -> list[str]:
        """Names of the video codecs that may be drawn, in alphabetical order."""
        orders = [order.compression for order in (self.first, self.second)]
        return sorted({name for order in orders if order.media.get("video") for name in order.codecs})
