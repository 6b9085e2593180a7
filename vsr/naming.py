"""What the names of a clip and of its result mean, and where the result goes, as ordered or by rule."""

from fractions import Fraction
from pathlib import Path

from vsr.errors import ConfigError, MediaError
from vsr.frames import MediaInfo, NumberedFrames
from vsr.io.container import default_suffix
from vsr.io.container_kind import CONTAINERS, PIPED
from vsr.io.encoders import choose_codec
from vsr.io.numbered import find_frames, is_numbered, overlap, picture_kind
from vsr.pipes import is_pipe, require_reader
from vsr.settings import DEFAULT_SCALE, UpscaleSettings

_ANY_RATE = Fraction(25)  # of pictures that become pictures


def _looked_up(path: Path) -> Path:
    """The same path. Raises MediaError where the system would not even say whether it is there."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as e:  # too long, a folder that may not be entered; a null in the name
        why = getattr(e, "strerror", None) or e
        raise MediaError(f"{path}: cannot be looked up ({why}); choose another output with -o") from e
    return path


def container_of(output: Path | None, settings: UpscaleSettings) -> str | None:
    """The container that is ordered, by the output's suffix or in the settings; None where it is ours to choose.

    Raises ConfigError for one that cannot be written there.
    """
    ordered = settings.container
    if output is not None and is_pipe(output):
        return _piped_container(output, ordered)
    if output is not None and is_numbered(output):
        return picture_kind(output)
    suffix = ordered if output is None or _looked_up(output).is_dir() else output.suffix.lower().lstrip(".")
    if suffix in PIPED and suffix not in CONTAINERS:
        raise ConfigError(f"{output or suffix}: {suffix} is written to pipes only; give -o - --container {suffix}")
    if suffix is not None and suffix not in CONTAINERS:
        raise ConfigError(f"{output}: '.{suffix}' is no container vsr writes; use .mp4, .mov, .mkv or .webm")
    if ordered not in (None, suffix):
        raise ConfigError(f"{output}: is no {ordered}; leave --container out, or change the suffix")
    return suffix


def _piped_container(output: Path, ordered: str | None) -> str:
    suffix = output.suffix.lower().lstrip(".")
    container = ordered or (suffix if suffix in CONTAINERS else PIPED[0])
    if container not in PIPED:
        raise ConfigError(f"{output}: no pipe takes {container}, whose header comes last; use --container nut or mkv")
    return container


def default_container(info: MediaInfo, settings: UpscaleSettings, width: int) -> str:
    """The source's own container where it holds everything, the ordered codec included."""
    is_ordered = settings.encoder is not None or settings.codec != "auto"
    codec = choose_codec(settings, info.video, container=None, width=width) if is_ordered else None
    return default_suffix(info, codec, settings.drop, settings.audio)[1:]


def output_path(source: Path, output: Path | None, settings: UpscaleSettings, suffix: str) -> Path:
    """Where the result goes. Raises MediaError when that cannot be."""
    if output is not None and is_pipe(output):
        require_reader(output)
        return output
    if (is_pipe(source) or is_numbered(source)) and (output is None or output.is_dir()):
        what = "a pipe has" if is_pipe(source) else "numbered pictures have"
        raise MediaError(f"{source}: {what} no name to make another of; say where to write with -o")
    if output is None or output.is_dir():
        folder = source.parent if output is None else output
        target = folder / f"{source.stem}_{mark(settings)}{suffix}"
    else:
        target = output
    if not _looked_up(target).parent.is_dir():
        raise MediaError(f"{target.parent}: no such folder; make it first")
    if target.exists() and not is_pipe(source) and target.samefile(source):
        raise MediaError(f"{target}: is the source itself; choose another output with -o")
    if is_numbered(target) and is_numbered(source) and overlap(source, target):
        raise MediaError(f"{target}: holds the source itself; choose another folder with -o")
    if target.is_dir():
        raise MediaError(f"{target}: is a folder; choose another output with -o")
    return target


def numbered_source(source: Path, output: Path | None, settings: UpscaleSettings) -> NumberedFrames | None:
    """The pictures that the source stands for, None where it is a file. Raises ConfigError for a rate that lacks."""
    if not is_numbered(source):
        if settings.fps is not None:
            raise ConfigError(f"fps = {settings.fps}: is for numbered pictures, such as frames/%06d.png; leave it out")
        return None
    if settings.fps is None and (output is None or not is_numbered(output)):
        raise ConfigError(f"{source}: numbered pictures have no times; say how many a second with --fps, such as 24")
    return find_frames(source, settings.fps or _ANY_RATE)


def partial_path(output: Path) -> Path:
    """What the first part of an output is called: clip_x4.partial.mp4."""
    return output.with_suffix(f".partial{output.suffix}")


def mark(settings: UpscaleSettings) -> str:
    """What a result's name says of its size: x4, or 1920x1080."""
    if settings.size is None:
        return f"x{float(settings.scale or DEFAULT_SCALE):g}"
    return "x".join("" if side is None else str(side) for side in reversed(settings.size))
