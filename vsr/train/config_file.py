"""The settings of a run as a file: written so that they can be read and given back, and two of them compared."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

from vsr.degradation import Degradation
from vsr.training import Training

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def as_toml(training: Training, degradation: Degradation) -> str:
    """A preset that holds every setting, those left at their defaults too; `load_training` reads the same out of it."""
    lines = [
        'description = "The settings of a training run"',
        *_table("degrade", degradation),
        *_table("train", training),
    ]
    return "\n".join(lines) + "\n"


def first_difference(old: tuple[Training, Degradation], new: tuple[Training, Degradation]) -> str | None:
    """The first setting in which two runs differ, with both values, as "train.seed: 0 there, 1 here"; None: none does.

    "There" is `old`.
    """
    pairs = zip(("train", "degrade"), old, new, strict=True)
    return next((line for where, there, here in pairs for line in _differences(where, there, here)), None)


def _table(where: str, settings: object, brackets: str = "[{}]") -> Iterator[str]:
    """The lines of a table: its own values first, as TOML demands, then the tables in it. None is left out."""
    rows = {_key(key): value for key, value in _rows(settings).items() if value is not None}
    tables = {key: value for key, value in rows.items() if _holds_tables(value)}
    yield ""
    yield brackets.format(where)
    for key, value in rows.items():
        if key not in tables:
            yield f"{key} = {_written(value)}"
    for key, value in tables.items():
        for row in value if isinstance(value, tuple) else (value,):
            yield from _table(f"{where}.{key}", row, "[[{}]]" if isinstance(value, tuple) else "[{}]")


def _rows(settings: object) -> dict[str, object]:
    """Fields of a dataclass, entries of a mapping, or stages, by name."""
    if isinstance(settings, Mapping):
        return dict(sorted(settings.items()))
    if isinstance(settings, tuple):
        return {row.name: row for row in settings}
    assert is_dataclass(settings)
    return {field.name: getattr(settings, field.name) for field in fields(settings)}


def _holds_tables(value: object) -> bool:
    if isinstance(value, Mapping):
        value = tuple(value.values())
    return is_dataclass(value) or (isinstance(value, tuple) and any(map(is_dataclass, value)))


def _written(value: object) -> str:
    """One value in TOML, on one line."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON leaves DEL as it is
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {_written(weight)}" for key, weight in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    return repr(value)  # of a float, the shortest that gives it back


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _written(key)


def _differences(where: str, there: object, here: object) -> Iterator[str]:
    if there == here:
        return
    if _holds_tables(there) and _holds_tables(here):
        old, new = _rows(there), _rows(here)
        if list(old) == list(new):
            for key in old:
                yield from _differences(f"{where}.{key}", old[key], new[key])
            return
    yield f"{where}: {_shown(there)} there, {_shown(here)} here"


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if is_dataclass(value):
        return "a table"
    return " and ".join(_rows(value)) if _holds_tables(value) else _written(value)
