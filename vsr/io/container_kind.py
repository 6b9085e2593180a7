"""The containers that are written here, and libav's names for them."""

from typing import Literal, cast

from vsr.errors import ConfigError

Container = Literal["mp4", "mov", "mkv", "webm", "nut", "y4m"]
CONTAINERS: tuple[Container, ...] = ("mp4", "mov", "mkv", "webm")  # of files
PIPED: tuple[Container, ...] = ("nut", "y4m", "mkv", "webm")  # what can be written without going back

_MUXERS: dict[Container, str] = {
    "mp4": "mp4",
    "mov": "mov",
    "mkv": "matroska",
    "webm": "webm",
    "nut": "nut",
    "y4m": "yuv4mpegpipe",
}


def muxer(container: Container) -> str:
    """libav's name for it."""
    return _MUXERS[container]


def as_container(name: str) -> Container:
    """Narrow a suffix without its dot. Raises ConfigError for one that is not written here."""
    if name not in (*CONTAINERS, *PIPED):
        raise ConfigError(f".{name}: is no container that is written here; give .mp4, .mov, .mkv or .webm")
    return cast(Container, name)
