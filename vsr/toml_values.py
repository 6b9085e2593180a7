"""TOML tables as frozen dataclasses. Every error is one line that begins with the key's whole path."""

import difflib
import json
import tomllib
from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from decimal import Decimal
from fractions import Fraction
from types import UnionType
from typing import Annotated, Any, cast, get_args, get_origin, get_type_hints

from pydantic import BeforeValidator, InstanceOf, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from vsr.errors import ConfigError
from vsr.training import WRITTEN_WHOLE

Table = dict[str, object]


def _exact(value: object) -> object:
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        number = Decimal(value)
        if number.is_finite() and abs(number.adjusted()) < 20:  # 1e999999999 is short to write and long as a fraction
            return Fraction(number)
    raise ValueError("should be a number")


def _text(value: object) -> object:
    return str(value) if isinstance(value, Decimal | int) and not isinstance(value, bool) else value


Number = Annotated[InstanceOf[Fraction], BeforeValidator(_exact)]
Text = Annotated[str, BeforeValidator(_text)]


def read_table(text: str) -> Table:
    """TOML with its decimal numbers exact, as Decimal. Raises ConfigError."""
    try:
        return tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"is no valid TOML: {e}") from e
    except (ValueError, ArithmeticError, RecursionError) as e:
        raise ConfigError("is no valid TOML: a number is too long, or lists lie too deep in one another") from e


def read_value(text: str) -> object:
    """One TOML value; what is none is text, so that words need no quotes."""
    try:
        table = read_table(f"value = {text}")
    except ConfigError:
        return text
    return table["value"] if len(table) == 1 else text


def put(table: Table, path: str, value: object) -> None:
    """Write `value` at a dotted path, in place; tables on the way are made, rows of a list are entered by their name.

    Raises ConfigError for a row that is not there and for a path through what is no table.
    """
    *way, last = path.split(".")
    place: object = table
    for key in way:
        if isinstance(place, list):
            rows = {str(row.get("name")): row for row in place}
            if key not in rows:
                raise ConfigError(f"'{key}' is unknown; {advice(key, rows)}")
            place = rows[key]
        else:
            place = _as_table(place, path).setdefault(key, {})
    _as_table(place, path)[last] = value


def _as_table(place: object, path: str) -> Table:
    if not isinstance(place, dict):
        raise ConfigError(f"{path}: is no key of a table")
    return place


def parsed(settings: Any, table: object, where: str) -> Any:
    """`settings`, a frozen dataclass, with what `table` says put in its place: tables go deeper, values replace.

    Raises ConfigError; `where` is the path of the table.
    """
    kinds = get_type_hints(type(settings))
    anew = {field.name for field in fields(settings) if WRITTEN_WHOLE in field.metadata}
    changes = {}
    for key, written in _rows(table, kinds, where):
        value = None if key in anew else getattr(settings, key)
        changes[key] = _changed(value, kinds[key], written, f"{where}.{key}")
    try:
        return replace(settings, **changes)
    except ConfigError as e:
        raise ConfigError(f"{where}: {e}") from e


def _changed(value: object, kind: Any, written: object, where: str) -> object:
    """What stands in a field of type `kind` that held `value`."""
    inner = get_args(kind)
    if get_origin(kind) is tuple and is_dataclass(inner[0]):
        return _listed(cast(type, inner[0]), written, where)
    choices = inner if get_origin(kind) is UnionType else (kind,)
    table_kind = next((choice for choice in choices if is_dataclass(choice)), None)
    if table_kind is None:
        return _value(kind, written, where)
    return parsed(value if is_dataclass(value) else cast(type, table_kind)(), written, where)


def _listed(kind: type, written: object, where: str) -> tuple[object, ...]:
    """Rows of a list of tables, which errors call by their names."""
    if not isinstance(written, list):
        raise ConfigError(f"{where}: should be a list of tables; write each as [[{where}]]")
    names = [row.get("name", number) if isinstance(row, dict) else number for number, row in enumerate(written, 1)]
    return tuple(parsed(kind(), row, f"{where}.{name}") for name, row in zip(names, written, strict=True))


def _value(kind: Any, written: object, where: str) -> object:
    """What TOML holds as a value of that type."""
    row = next((inner for inner in get_args(kind) if is_dataclass(inner)), None)
    if row is not None and isinstance(written, dict):
        for name, table in written.items():
            _rows(table, get_type_hints(row), f"{where}.{name}")
    try:
        # as JSON, where strict takes lists for tuples and whole numbers for floats, but no text for numbers
        return TypeAdapter(kind).validate_json(json.dumps(written, default=_plain), strict=True)
    except ConfigError as e:
        raise ConfigError(f"{where}: {e}") from e
    except ValidationError as e:
        located = [cast(ErrorDetails, {**error, "loc": (where, *error["loc"])}) for error in e.errors()]
        if get_origin(kind) is not UnionType or len(located) == 1:
            raise ConfigError(first_line(located)) from e
        # one error for each member of the union, whose names are no part of the path
        wanted = " or ".join(error["msg"].removeprefix("Input should be ") for error in located)
        raise ConfigError(f"{where} = {_shown(written)}: should be {wanted}") from e


def _rows(table: object, known: Iterable[str], where: str) -> Iterable[tuple[str, object]]:
    if not isinstance(table, dict):
        raise ConfigError(f"{where} = {_shown(table)}: should be a table")
    for key in table:
        if key not in known:
            raise ConfigError(f"{where}: key '{key}' is unknown; {advice(key, known)}")
    return table.items()


def _plain(value: object) -> object:
    return float(value) if isinstance(value, Decimal) else str(value)


def _shown(value: object) -> str:
    return str(value) if isinstance(value, Decimal) else repr(value)


def first_line(errors: list[ErrorDetails]) -> str:
    """The first of pydantic's errors over values as `where: what`."""
    error = errors[0]
    where = [str(part) for part in error["loc"]]
    what = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if error["type"] in ("model_type", "dict_type"):
        what = "should be a table"
    if error["type"] == "missing":
        return f"{'.'.join(where)}: is missing; add it"
    if where[-1] == "[key]":
        return f"{'.'.join(where[:-2])}: key '{where[-2]}' {what}"
    return f"{'.'.join(where)} = {_shown(error['input'])}: {what}"


def advice(word: str, known: Iterable[str]) -> str:
    """What to write instead of a word that is unknown."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"
