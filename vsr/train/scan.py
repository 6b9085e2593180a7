"""What there is to train on: folders, lists, pictures and clips become materials, checked by their headers."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from vsr.errors import ConfigError, MediaError
from vsr.footage import PICTURE_SUFFIXES
from vsr.io.clip_kind import CLIP_SUFFIXES
from vsr.io.images import picture_size
from vsr.train.draw import sample_generator
from vsr.train.material import AnyMaterial, Fit, Footage, Pair, Still, check_pair

HALVES = (("HR", "LR"), ("high_resolution", "low_resolution"))  # folders that together hold pairs
_NAMED = 3  # files named in a message about many

Entry = Path | tuple[Path, Path]  # a picture or clip, or the truth and its small half


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """What was found, in an order that depends on the names alone."""

    materials: tuple[AnyMaterial, ...]
    problems: tuple[str, ...]  # one line for each file or pair that cannot be used
    decoded_bytes: int  # of all pictures among the materials, as 8-bit RGB

    @property
    def counts(self) -> Mapping[str, int]:
        """How many there are of each kind: stills, pairs, clips."""
        kinds = {"stills": Still, "pairs": Pair, "clips": Footage}
        return {name: sum(isinstance(m, kind) for m in self.materials) for name, kind in kinds.items()}


def scan(
    paths: Sequence[Path],
    *,
    paired: Sequence[tuple[Path, Path]] = (),
    scale: int,
    least_px: int,
    fraction: float = 1.0,
    seed: int = 0,
    fit: Fit = "crop",
) -> Scanned:
    """Find everything to train on, each file once.

    `paths` are folders, searched to the bottom, pictures, clips, and .txt lists of these: one path a line, relative to
    the list, or `truth, small`; # begins a comment. In a folder, `train`, `x<scale>` or the folder itself may hold HR
    and LR (or high_resolution and low_resolution), which are taken for pairs and all beside them left alone. `paired`
    are folders of truths and of small pictures. Halves go together by name, in which HR, LR and x<scale> do not count.
    What is less than `least_px` high or wide is a problem. Of the rest a `fraction`, drawn by `seed`, is kept. Raises
    ConfigError when a path or a half is missing, and when nothing is left.
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"fraction = {fraction:g}: must be more than 0 and at most 1")
    given = [*paths, *(folder for both in paired for folder in both)]
    found = [entry for path in paths for entry in _entries(path, scale)]
    found += [entry for high, low in paired for entry in _pairs(high, low, scale)]
    named = ", ".join(str(path) for path in given)
    if not found:
        raise ConfigError(f"{named or 'data'}: no picture or clip there; give folders, pictures, clips or lists")
    entries = sorted({_identity(entry): entry for entry in found}.values(), key=_first)
    with ThreadPoolExecutor() as pool:
        checked = list(pool.map(lambda entry: _checked(entry, scale, least_px, fit), entries))
    usable = [one for one in checked if not isinstance(one, str)]
    problems = tuple(one for one in checked if isinstance(one, str))
    if not usable:
        raise ConfigError(f"{named}: nothing there can be used; the first of {len(entries)}: {problems[0]}")
    kept = _share(usable, fraction, seed)
    return Scanned(
        materials=tuple(material for material, _ in kept), problems=problems, decoded_bytes=sum(n for _, n in kept)
    )


def _checked(entry: Entry, scale: int, least_px: int, fit: Fit) -> tuple[AnyMaterial, int] | str:
    """The material and how many bytes its pictures are when decoded, or why it cannot be used."""
    try:
        if isinstance(entry, tuple):
            high, low = entry
            high_size, low_size = picture_size(high), picture_size(low)
            check_pair(high, high_size, low, low_size, scale)
            material, path, size = Pair(high, low), high, high_size
            count = 3 * (high_size[0] * high_size[1] + low_size[0] * low_size[1])
        elif _is_clip(entry):
            material, path, count = Footage(entry, fit), entry, 0
            size = (material.info.video.height, material.info.video.width)
        else:
            material, path, size = Still(entry, fit), entry, picture_size(entry)
            count = 3 * size[0] * size[1]
    except MediaError as e:
        return str(e)
    if min(size) < least_px:
        return f"{path}: {size[1]}x{size[0]} is smaller than {least_px} pixels; leave it out"
    return material, count


def _share(usable: list[tuple[AnyMaterial, int]], fraction: float, seed: int) -> list[tuple[AnyMaterial, int]]:
    """A drawn share of a list, at least one, in its order."""
    if fraction == 1:
        return usable
    order = torch.randperm(len(usable), generator=sample_generator(seed, 0)).tolist()
    return [usable[index] for index in sorted(order[: max(1, round(fraction * len(usable)))])]


def _entries(path: Path, scale: int) -> Iterator[Entry]:
    """All that one given path stands for."""
    if not path.exists():
        raise ConfigError(f"{path}: no such folder or file; check the path of the data")
    if path.is_dir():
        yield from _in_folder(path, scale, set())
    elif path.suffix.lower() == ".txt":
        yield from _in_list(path, scale)
    else:
        yield path


def _in_folder(folder: Path, scale: int, seen: set[str]) -> Iterator[Entry]:
    """Pictures, clips and pairs under a folder; links are followed, but not in circles."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    halves = _halves(folder / "train") or _halves(folder / f"x{scale}") or _halves(folder)
    if halves:
        yield from _pairs(*halves, scale)
        return
    for child in _children(folder):
        if child.is_dir():
            yield from _in_folder(child, scale, seen)
        elif child.suffix.lower() in PICTURE_SUFFIXES or _is_clip(child):
            yield child


def _in_list(path: Path, scale: int) -> Iterator[Entry]:
    """What the lines of a list name."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: cannot be read as a list: {e}; give UTF-8 text, one path a line") from e
    entries = [_line(line, path.parent) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    files = [file for entry in entries for file in (entry if isinstance(entry, tuple) else (entry,))]
    missing = [file for file in files if not file.exists()]
    if missing:
        raise ConfigError(f"{path}: names what is not there: {_few(missing)}; mend or remove the lines")
    for entry in entries:
        if not isinstance(entry, tuple) and entry.is_dir():
            yield from _in_folder(entry, scale, set())
        else:
            yield entry


def _line(line: str, root: Path) -> Entry:
    """One line of a list: a path, in which there may be a comma or #, or two."""
    whole = line.strip()
    if (root / whole).exists():
        return root / whole
    plain = re.split(r"\s#", whole)[0].strip()
    high, comma, low = plain.partition(",")
    if comma and not (root / plain).exists():
        return root / high.strip(), root / low.strip()
    return root / plain


def _halves(folder: Path) -> tuple[Path, Path] | None:
    """The folders of truths and of small pictures in a folder, if it has both."""
    for high, low in HALVES:
        if (folder / high).is_dir() and (folder / low).is_dir():
            return folder / high, folder / low
    return None


def _pairs(high: Path, low: Path, scale: int) -> list[tuple[Path, Path]]:
    """Pairs of two folders by name. Raises ConfigError for what has no other half."""
    highs, lows = _by_name(high, scale), _by_name(low, scale)
    for files, others, folder, kind in ((lows, highs, high, "truth"), (highs, lows, low, "small picture")):
        alone = [path for name, path in files.items() if name not in others]
        if alone:
            raise ConfigError(f"{folder}: has no {kind} for {_few(alone)}; add what is missing or remove what is alone")
    return [(path, lows[name]) for name, path in highs.items()]


def _by_name(folder: Path, scale: int) -> dict[Path, Path]:
    """Pictures under a folder by what their names have in common with their other half's."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; give the folders of truths and of small pictures")
    found: dict[Path, Path] = {}
    for path in _pictures_under(folder):
        stem = re.sub(rf"[_-]?x{scale}$", "", path.stem)
        stem = re.sub(r"(^|[_-])(HR|LR)(?=$|[_-])", "", stem)
        other = found.setdefault(path.relative_to(folder).with_name(stem or "-"), path)
        if other is not path:
            raise ConfigError(f"{folder}: {other.name} and {path.name} go by one name in pairs; remove one")
    return found


def _pictures_under(folder: Path) -> Iterator[Path]:
    for child in _children(folder):
        if child.is_dir():
            yield from _pictures_under(child)
        elif child.suffix.lower() in PICTURE_SUFFIXES:
            yield child


def _children(folder: Path) -> list[Path]:
    """What a folder holds and does not hide, by name."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as e:
        raise ConfigError(f"{folder}: cannot be listed ({e.strerror}); check its permissions") from e


def _is_clip(path: Path) -> bool:
    return path.suffix.lower() in CLIP_SUFFIXES


def _few(files: Sequence[Path]) -> str:
    """`5 files, such as a, b, c`, or the only one's name."""
    names = ", ".join(str(file) for file in files[:_NAMED])
    return names if len(files) == 1 else f"{len(files)} files, such as {names}"


def _first(entry: Entry) -> tuple[str, str]:
    high, low = entry if isinstance(entry, tuple) else (entry, Path())
    return str(high), str(low)


def _identity(entry: Entry) -> tuple[str, ...]:
    """The same for the same files, however they were reached."""
    files: Iterable[Path] = entry if isinstance(entry, tuple) else (entry,)
    return tuple(os.path.realpath(file) for file in files)
