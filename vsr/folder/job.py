"""What one run over a folder was told, checked before the first file is looked at."""

import hashlib
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path

from vsr.errors import ConfigError, MediaError
from vsr.events import Tell
from vsr.folder.found import Found
from vsr.folder.manifest import Row
from vsr.folder.scan import Patterns
from vsr.models.shares import choose_shares
from vsr.models.store import file_hash, find
from vsr.naming import mark
from vsr.settings import CLIP_ONLY, DEFAULT_SCALE, STILL_ONLY, UpscaleSettings
from vsr.stage import Cancel

FOLDER_SCALE = Fraction(2)
# Settings that say what may be done, not what the result is; the model goes in by its weights.
_NOT_IN_RESULTS = frozenset(
    {
        *("overwrite", "allow_damaged", "max_pixels", "sheet", "mix", "denoise", "offline"),
        *("models", "still_models", "model", "restart", "finish_partial", "nice", "vram_limit"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one sort of files is made; `mark` is a hash of all that changes what comes out, weights included."""

    settings: UpscaleSettings
    mark: str

    def is_of(self, row: Row, found: Found) -> bool:
        """Whether a row tells of this very file, made in this way."""
        return (row.size, row.mtime_ns, row.settings) == (found.size, found.mtime_ns, self.mark)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run over a folder. Paths are absolute."""

    source: Path
    output: Path
    stills: Recipe
    clips: Recipe | None  # None: they are left alone
    patterns: Patterns
    skip_existing: bool  # results that the manifest does not know count as made
    retry_failed: bool

    def recipe(self, found: Found) -> Recipe:
        recipe = self.stills if found.sort == "still" else self.clips
        assert recipe is not None
        return recipe


def make_job(
    source: Path,
    output: Path | None,
    *,
    stills: UpscaleSettings,
    clips: UpscaleSettings | None,
    patterns: Patterns,
    skip_existing: bool,
    retry_failed: bool,
    tell: Tell,
    cancel: Cancel,
) -> Job:
    """What is asked for, with its networks fetched where they are not here yet.

    Raises ConfigError and MediaError for folders that cannot be, ModelError for a model that cannot be had.
    """
    if skip_existing and stills.overwrite:
        raise ConfigError("skip_existing and overwrite: both given; give one of them")
    if not source.is_dir():
        what = (
            "is no folder; vsr upscale takes a single file" if source.exists() else "no such folder; look at its name"
        )
        raise MediaError(f"{source}: {what}")
    where = _absolute(source)
    stills = _scaled(stills)
    if output is None and not where.name:
        raise MediaError(f"{source}: has no name to make another of; say where to write with -o")
    target = where.with_name(f"{where.name}_{mark(stills)}") if output is None else _absolute(output)
    _require_room(where, target)
    return Job(
        source=where,
        output=target,
        stills=_recipe(stills, CLIP_ONLY, tell, cancel),
        clips=None if clips is None else _recipe(_scaled(clips), STILL_ONLY, tell, cancel),
        patterns=patterns,
        skip_existing=skip_existing,
        retry_failed=retry_failed,
    )


def _absolute(path: Path) -> Path:
    """A link keeps the name that the user gave it; dots do not stay."""
    return path.resolve() if ".." in path.parts else path.absolute()


def _scaled(settings: UpscaleSettings) -> UpscaleSettings:
    return replace(settings, scale=FOLDER_SCALE) if settings.scale is None and settings.size is None else settings


def _require_room(source: Path, target: Path) -> None:
    """Raise MediaError when a tree beside the source cannot be written at `target`."""
    if target.exists() and not target.is_dir():
        raise MediaError(f"{target}: is no folder; choose another output with -o")
    if not target.parent.is_dir():
        raise MediaError(f"{target.parent}: no such folder; make it first")
    real = source.resolve()
    if target.resolve() == real:
        raise MediaError(f"{target}: is the source itself; choose another output with -o")
    if target.resolve() in real.parents:
        raise MediaError(f"{target}: holds the source, and results could meet it; choose another output with -o")


def _recipe(settings: UpscaleSettings, foreign: frozenset[str], tell: Tell, cancel: Cancel) -> Recipe:
    scale = DEFAULT_SCALE if settings.scale is None else settings.scale
    said = []
    for name, share in choose_shares(settings, scale, is_still="still_models" not in foreign).items():
        weights = find(name, offline=settings.offline, tell=tell, cancel=cancel)
        said.append(f"{file_hash(weights)} {share}")
    names = [field.name for field in fields(settings) if field.name not in _NOT_IN_RESULTS | foreign]
    said += [f"{name}={getattr(settings, name)}" for name in names]
    return Recipe(settings=settings, mark=hashlib.sha256("\n".join(said).encode()).hexdigest()[:32])
