"""Data sets on disk: which files there are, and which small picture belongs to which truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vsr.errors import ConfigError
from vsr.footage import PICTURE_SUFFIXES, is_picture
from vsr.io.clip_kind import CLIP_SUFFIXES


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One picture or clip."""

    name: str  # of the truth's file
    truth: Path
    low: Path | None = None  # None: is made from the truth
    is_clip: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """What one line of the table is about. Either every item brings its small half, or none does."""

    name: str
    items: tuple[Item, ...]

    @property
    def is_paired(self) -> bool:
        return self.items[0].low is not None


def find_sets(paths: Sequence[Path], *, scale: int, pairs: bool = True) -> list[DataSet]:
    """A set for each path, in their order: a folder, or a single picture or clip.

    In a folder, the first of these holds the files: `x<scale>/HR`, `HR`, the folder itself. Beside HR an LR is taken
    for the small halves; with `pairs` off it is left alone. Raises ConfigError for what is missing, empty,
    no pair or given twice.
    """
    twice = sorted({str(path) for path in paths if paths.count(path) > 1})
    if twice:
        raise ConfigError(f"data {', '.join(twice)}: given twice; leave one out")
    found = [_find_set(path, scale, pairs=pairs) for path in paths]
    names = [name for name, _ in found]
    return [  # two sets of one name are told apart by their whole paths
        DataSet(name=name if names.count(name) == 1 else str(path), items=items)
        for path, (name, items) in zip(paths, found, strict=True)
    ]


def _find_set(path: Path, scale: int, *, pairs: bool) -> tuple[str, tuple[Item, ...]]:
    if not path.exists():
        raise ConfigError(f"{path}: no such folder or file; check the path of the data")
    if not path.is_dir():
        return path.stem, (_item(path),)
    for high in (path / f"x{scale}" / "HR", path / "HR"):
        if high.is_dir():
            low = high.with_name("LR")
            truths = _files(high)
            return _name(path), _paired(truths, _files(low)) if pairs and low.is_dir() else _alone(truths)
    return _name(path), _alone(_files(path))


def _name(folder: Path) -> str:
    """`Set5` for Set5, Set5/x4 and Set5/x4/HR."""
    named = folder.resolve()
    if named.name == "HR":
        named = named.parent
    if named.name[:1] == "x" and named.name[1:].isdecimal():
        named = named.parent
    return named.name


def _files(folder: Path) -> list[Path]:
    """Pictures and clips right in a folder, by name; what has another suffix or is hidden is no data."""
    files = [p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")]
    known = sorted(p for p in files if p.suffix.lower() in PICTURE_SUFFIXES + CLIP_SUFFIXES)
    if not known:
        raise ConfigError(f"{folder}: no picture or clip in it; give a folder with some, or with HR in it")
    return known


def _item(truth: Path, low: Path | None = None) -> Item:
    return Item(name=truth.name, truth=truth, low=low, is_clip=not is_picture(truth))


def _alone(truths: Sequence[Path]) -> tuple[Item, ...]:
    return tuple(_item(truth) for truth in truths)


def _paired(truths: Sequence[Path], lows: Sequence[Path]) -> tuple[Item, ...]:
    """By name where every truth has one of its own, else by order."""
    by_stem = {low.stem: low for low in lows}
    named = [by_stem.get(truth.stem.replace("HR", "LR")) for truth in truths]
    matched = [low for low in named if low is not None]
    if len(set(matched)) != len(truths):
        if len(lows) != len(truths):
            missing = ", ".join(t.name for t, low in zip(truths, named, strict=True) if low is None)
            raise ConfigError(
                f"{lows[0].parent}: holds {len(lows)} files for the {len(truths)} in HR, and none by the name of "
                f"{missing}; add them, or take LR away to have all made"
            )
        matched = list(lows)
    return tuple(_item(truth, low) for truth, low in zip(truths, matched, strict=True))
