"""The weights vsr knows by name: its own, which are inside the package, and the official ones of Real-ESRGAN."""

from dataclasses import dataclass
from typing import Literal

_RELEASES = "https://github.com/xinntao/Real-ESRGAN/releases/download"

Speed = Literal["fast", "medium", "slow"]
FAST, MEDIUM = 1, 5  # million operations a source pixel, up to which a network is called so


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What a list says of a network."""

    name: str
    file: str
    arch: str  # in words
    scale: int
    weights: int  # how many numbers are learned
    flops: float  # multiplications and additions a source pixel, in millions
    licence: str
    purpose: str
    look: str

    @property
    def speed(self) -> Speed:
        """By arithmetic alone, the same on every device."""
        return speed_class(self.flops)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published(Model):
    """A weights file that others have published, pinned by its hash."""

    tag: str  # of the release
    sha256: str
    size: int | None = None  # bytes, where known
    tensors_sha256: str | None = None  # of the tensors themselves, see `fingerprint`; None where none is known
    twin: str | None = None  # the network of the same shape that leaves noise in, to be mixed with by --denoise

    @property
    def url(self) -> str:
        return f"{_RELEASES}/{self.tag}/{self.file}"


def speed_class(flops: float) -> Speed:
    """What a network of that many million operations a source pixel is called."""
    return "fast" if flops < FAST else "medium" if flops < MEDIUM else "slow"


_OWN = (  # their files are in vsr/models/weights
    Model(
        name="vsr-fast-x4",
        file="vsr-fast-x4.safetensors",
        arch="Compact 32x8",
        scale=4,
        weights=89_040,
        flops=0.18,
        licence="MIT",
        purpose="clips, soon, without a GPU",
        look="edges crisper, some blocks softened, nothing invented",
    ),
    Model(
        name="vsr-video-x4",
        file="vsr-video-x4.safetensors",
        arch="Compact 64x16",
        scale=4,
        weights=621_424,
        flops=1.24,
        licence="MIT",
        purpose="clips; the default",
        look="what encoders did and noise taken away, edges crisp, fine texture smooth",
    ),
    Model(
        name="vsr-video-x2",
        file="vsr-video-x2.safetensors",
        arch="Compact 64x16",
        scale=2,
        weights=600_652,
        flops=1.20,
        licence="MIT",
        purpose="clips at twice the size",
        look="as vsr-video-x4",
    ),
    Model(
        name="vsr-anime-x4",
        file="vsr-anime-x4.safetensors",
        arch="Compact 64x16",
        scale=4,
        weights=621_424,
        flops=1.24,
        licence="MIT",
        purpose="drawn animation and drawings",
        look="lines firm, flat areas clean",
    ),
    Model(
        name="vsr-photo-x4",
        file="vsr-photo-x4.safetensors",
        arch="Compact 64x16",
        scale=4,
        weights=621_424,
        flops=1.24,
        licence="MIT",
        purpose="photographs; the default of stills",
        look="noise and blocks removed strongly, edges crisp, fine texture smooth",
    ),
)
EMBEDDED: dict[str, Model] = {row.name: row for row in _OWN}

# Bytes and hashes: third parties' pin files that agree with each other (an Arch PKGBUILD, download registries). The
# hashes of tensors are of copies that had been saved again by other tools, two of them rounded to half precision.
_ROWS = (
    Published(
        name="realesr-animevideov3",
        file="realesr-animevideov3.pth",
        tag="v0.2.5.0",
        sha256="b8a8376811077954d82ca3fcf476f1ac3da3e8a68a4f4d71363008000a18b75d",
        size=2_504_012,
        tensors_sha256="5473f05f76476305e194c604f2b0a4d3b5e6e2aef260f7498f54c188ad0f7dc1",
        arch="Compact 64x16",
        scale=4,
        weights=621_424,
        flops=1.24,
        licence="BSD-3-Clause",
        purpose="drawn animation, clips",
        look="clean lines, flat areas smooth, colours as they were",
    ),
    Published(
        name="realesr-general-x4v3",
        file="realesr-general-x4v3.pth",
        tag="v0.2.5.0",
        sha256="8dc7edb9ac80ccdc30c3a5dca6616509367f05fbc184ad95b731f05bece96292",
        size=4_885_111,
        tensors_sha256="d5acfd49a0eb4aad41d999d8da0b9725f1cc5212b24af4368c6fb6c2a605922a",
        arch="Compact 64x32",
        scale=4,
        weights=1_213_296,
        flops=2.42,
        licence="BSD-3-Clause",
        purpose="photographs and clips of all kinds",
        look="noise and blocks removed strongly, edges crisp, fine texture smooth; --denoise says how strongly",
        twin="realesr-general-wdn-x4v3",
    ),
    Published(
        name="realesr-general-wdn-x4v3",
        file="realesr-general-wdn-x4v3.pth",
        tag="v0.2.5.0",
        sha256="1641f8c4464b9f097c9fdda5589273713f67cf59f3d909e0bd688f0cee269dca",
        size=4_885_111,
        tensors_sha256="92936672bcb1fa987f60f46ae862b83c1fc0997a5c96e8ce62d5c6c9fa5df38f",
        arch="Compact 64x32",
        scale=4,
        weights=1_213_296,
        flops=2.42,
        licence="BSD-3-Clause",
        purpose="the same, with grain kept",
        look="noise and fine texture mostly left in",
    ),
    Published(
        name="RealESRGAN_x4plus",
        file="RealESRGAN_x4plus.pth",
        tag="v0.1.0",
        sha256="4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
        size=67_040_989,
        arch="RRDB 64x23",
        scale=4,
        weights=16_697_987,
        flops=35.85,
        licence="BSD-3-Clause",
        purpose="photographs, the best and slowest",
        look="sharp, with texture that it invents",
    ),
    Published(
        name="RealESRGAN_x2plus",
        file="RealESRGAN_x2plus.pth",
        tag="v0.2.1",
        sha256="49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb",
        size=67_061_725,
        arch="RRDB 64x23, input folded by 2",
        scale=2,
        weights=16_703_171,
        flops=8.97,
        licence="BSD-3-Clause",
        purpose="photographs at twice the size",
        look="sharp, with texture that it invents",
    ),
    Published(
        name="RealESRNet_x4plus",
        file="RealESRNet_x4plus.pth",
        tag="v0.1.1",
        sha256="a820b9bde89a874d7599d545567308ce6c128fc8754a53208eda016d40aa81df",
        arch="RRDB 64x23",
        scale=4,
        weights=16_697_987,
        flops=35.85,
        licence="BSD-3-Clause",
        purpose="photographs; what training begins with",
        look="faithful and soft, nothing invented",
    ),
    Published(
        name="RealESRGAN_x4plus_anime_6B",
        file="RealESRGAN_x4plus_anime_6B.pth",
        tag="v0.2.2.4",
        sha256="f872d837d3c90ed2e05227bed711af5671a6fd1c9f7d7e91c911a61f155e99da",
        size=17_938_799,
        arch="RRDB 64x6",
        scale=4,
        weights=4_467_779,
        flops=11.41,
        licence="BSD-3-Clause",
        purpose="drawn pictures",
        look="dark, firm lines and flat fills",
    ),
)
PUBLISHED: dict[str, Published] = {row.name: row for row in _ROWS}
