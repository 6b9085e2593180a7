"""What is known of a still before its pixels are decoded, and what the formats that are written can hold."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

Kind = Literal["jpeg", "png", "webp", "avif", "heic", "tiff", "gif", "bmp", "pnm", "tga", "other"]
Unit = Literal["inch", "cm", "none"]  # none: only the ratio of width to height means something


@dataclass(frozen=True, slots=True, kw_only=True)
class Density:
    """Pixels per unit, across and down."""

    x: float
    y: float
    unit: Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What a picture says of itself, as bytes that are handed on."""

    icc: bytes | None = None
    exif: bytes | None = None  # a TIFF structure, without the "Exif" that JPEG puts before it
    xmp: bytes | None = None
    iptc: bytes | None = None  # IIM records
    comment: bytes | None = None  # of JPEG and GIF
    density: Density | None = None
    cicp: tuple[int, int] | None = None  # primaries and transfer by ITU-T H.273, where no profile says them
    chunks: tuple[tuple[bytes, bytes], ...] = ()  # (type, data): texts, gamma, white point and such, of PNG alone

    def stripped(self) -> "Metadata":
        """Only what the pixels need to be shown right."""
        shown = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI")
        return replace(
            self, exif=None, xmp=None, iptc=None, comment=None, chunks=tuple(c for c in self.chunks if c[0] in shown)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StillInfo:
    """A still as its header tells it."""

    path: Path
    kind: Kind
    format: str  # as its reader names it, for the user
    height: int  # of the first page, upright
    width: int
    channels: int  # 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha: as handed on
    bits: int  # of a sample as handed on: 8, 16 or 32
    is_float: bool = False
    becomes_srgb: bool = False  # CMYK and Lab, whose own profile then no longer fits
    orientation: int = 1  # as in EXIF, of the pixels as stored
    pages: int = 1
    is_animated: bool = False
    loops: int | None = None  # of an animation; 0 is for ever, None says nothing
    is_lossless: bool = True
    subsampling: str | None = None  # of a JPEG: 4:4:4, 4:2:2, 4:2:0, 4:0:0 or another
    metadata: Metadata = field(default_factory=Metadata)
    left_behind: tuple[str, ...] = ()  # what is in the file and will not be in the result
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """What a format that is written here can hold."""

    name: str
    suffixes: tuple[str, ...]  # the usual one first
    side: int  # pixels, at most
    bits: int = 8  # at most
    has_float: bool = False
    has_alpha: bool = True
    has_pages: bool = False
    has_frames: bool = False
    keeps: frozenset[str] = frozenset()  # fields of Metadata


_ALL = frozenset({"icc", "exif", "xmp"})

FORMATS: dict[Kind, Format] = {
    # Sides are what the libraries take: libjpeg-turbo stops 35 pixels before the format does.
    "jpeg": Format(
        name="JPEG",
        suffixes=(".jpg", ".jpeg", ".jpe", ".jfif"),
        side=65500,
        has_alpha=False,
        keeps=_ALL | {"iptc", "comment", "density"},
    ),
    "png": Format(
        name="PNG",
        suffixes=(".png", ".apng"),
        side=2**31 - 1,
        bits=16,
        has_frames=True,
        keeps=_ALL | {"iptc", "density", "chunks", "comment"},
    ),
    "webp": Format(name="WebP", suffixes=(".webp",), side=16383, has_frames=True, keeps=_ALL),
    "avif": Format(name="AVIF", suffixes=(".avif", ".avifs"), side=65535, has_frames=True, keeps=_ALL),
    "heic": Format(name="HEIC", suffixes=(".heic", ".heif", ".hif"), side=16384, bits=16, keeps=_ALL),
    "tiff": Format(
        name="TIFF",
        suffixes=(".tif", ".tiff"),
        side=2**31 - 1,
        bits=32,
        has_float=True,
        has_pages=True,
        keeps=_ALL | {"iptc", "density"},
    ),
    "gif": Format(name="GIF", suffixes=(".gif",), side=65535, has_frames=True, keeps=frozenset({"comment"})),
    "bmp": Format(name="BMP", suffixes=(".bmp", ".dib"), side=2**31 - 1, keeps=frozenset({"density"})),
    "pnm": Format(
        name="PNM",
        suffixes=(".ppm", ".pgm", ".pnm", ".pbm", ".pfm"),
        side=2**31 - 1,
        bits=16,
        has_float=True,
        has_alpha=False,
    ),
    "tga": Format(name="TGA", suffixes=(".tga", ".icb", ".vda", ".vst"), side=65535),
}
KIND_OF_SUFFIX: dict[str, Kind] = {suffix: kind for kind, form in FORMATS.items() for suffix in form.suffixes}
