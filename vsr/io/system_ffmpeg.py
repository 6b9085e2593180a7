"""What the system's ffmpeg has, as it says itself: where it is, and what one of its encoders makes and takes."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache

from vsr.errors import ConfigError

_LONGEST = 30  # seconds that an answer may take; a working ffmpeg needs less than one


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemEncoderInfo:
    """One video encoder of the system's ffmpeg."""

    codec: str  # libav's name of what it makes
    pix_fmts: tuple[str, ...]  # () where it does not say; those on a device only ("vaapi") among them
    options: frozenset[str]  # its own, without those that all encoders have
    device: str | None  # where pictures must be uploaded to first ("vaapi"), None where it takes them from memory


@cache
def find_ffmpeg() -> str:
    """The ffmpeg on PATH, else the one that imageio-ffmpeg brings. Raises ConfigError when there is none."""
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return get_ffmpeg_exe()
    except (ImportError, RuntimeError) as e:  # RuntimeError: the package is there, its binary is not
        raise ConfigError("encoder = ffmpeg:NAME: no ffmpeg on PATH; install it, or pip install imageio-ffmpeg") from e


@cache
def system_version() -> str:
    """The first line that the system's ffmpeg says of itself. Raises ConfigError."""
    return _answer("-version").partition("\n")[0].strip()


@cache
def system_encoder(name: str) -> SystemEncoderInfo:
    """Ask the system's ffmpeg for an encoder. Raises ConfigError when it has none of that name for video."""
    codec = _codecs().get(name)
    if codec is None:
        raise ConfigError(
            f"encoder = ffmpeg:{name}: {find_ffmpeg()} has no video encoder of that name; look at ffmpeg -encoders"
        )
    said = _answer("-hide_banner", "-h", f"encoder={name}")
    formats = re.search(r"Supported pixel formats: (.*)", said)
    devices = re.search(r"Supported hardware devices: (.*)", said)
    pix_fmts = tuple(formats[1].split()) if formats else ()
    kinds = devices[1].split() if devices else []
    return SystemEncoderInfo(
        codec=codec,
        pix_fmts=pix_fmts,
        options=frozenset(re.findall(r"^  -(\S+)", said, re.MULTILINE)),
        device=kinds[0] if kinds and pix_fmts and all(form in kinds for form in pix_fmts) else None,
    )


@cache
def _codecs() -> dict[str, str]:
    """Every video encoder's name, with the codec that it makes."""
    found: dict[str, str] = {}
    for codec, rest in re.findall(r"^ [D.]EV\S* (\S+) +(.*)$", _answer("-hide_banner", "-codecs"), re.MULTILINE):
        listed = re.search(r"\(encoders: ([^)]*)\)", rest)
        names: list[str] = listed[1].split() if listed else [codec]
        found |= {name: str(codec) for name in names}
    return found


def _answer(*question: str) -> str:
    ffmpeg = find_ffmpeg()
    try:
        done = subprocess.run(
            [ffmpeg, *question],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_LONGEST,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as e:
        reason = getattr(e, "strerror", None) or e
        raise ConfigError(f"encoder = ffmpeg:NAME: {ffmpeg} does not run ({reason}); install another ffmpeg") from e
    return done.stdout.decode(errors="replace")
