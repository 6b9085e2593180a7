"""Presets: TOML files that say how a kind of picture is upscaled and damaged, parsed here and nowhere else."""

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, is_dataclass, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, cast, get_args, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, InstanceOf, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from vsr.degradation import Degradation
from vsr.errors import ConfigError
from vsr.settings import EncoderTuning, Precision, UpscaleSettings

_HERE = Path(__file__).parent
_FOLDERS = (_HERE / "presets", _HERE.parent / "presets")  # as in the wheel, as in a checkout


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A named set of choices; what a run is told besides goes before them."""

    name: str
    description: str
    upscale: UpscaleSettings
    degrade: Degradation | None = None  # None: the preset says nothing about damage


def preset_names() -> list[str]:
    """The presets that come with vsr, in alphabetical order."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def preset_text(name_or_file: str) -> str:
    """The TOML of a preset as it stands in its file. Raises ConfigError when there is none."""
    path = _find(name_or_file)
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as e:
        raise ConfigError(f"{path}: no such preset file") from e
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: cannot be read: {e}; give a TOML file in UTF-8") from e


def load_preset(name_or_file: str) -> Preset:
    """The preset of that name, or in that file (anything that ends in .toml or holds a slash).

    Raises ConfigError, one line, when it cannot be found or does not make sense.
    """
    path = _find(name_or_file)
    text = preset_text(name_or_file)
    try:
        table = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{path}: is no valid TOML: {e}") from e
    try:
        parsed = _File.model_validate(table)
        return Preset(
            name=path.stem,
            description=parsed.description,
            upscale=parsed.upscale.settings(),
            degrade=None if parsed.degrade is None else _parsed(Degradation(), parsed.degrade, "degrade"),
        )
    except ValidationError as e:
        raise ConfigError(f"{path}: {_first_line(e.errors())}") from e
    except ConfigError as e:
        raise ConfigError(f"{path}: {e}") from e


def load_degradation(name_or_file: str) -> Degradation:
    """How that preset damages. Raises ConfigError when it does not say, or as `load_preset` does."""
    degrade = load_preset(name_or_file).degrade
    if degrade is None:
        raise ConfigError(f"preset '{name_or_file}' says nothing about damage; add a table [degrade], or give another")
    return degrade


def override(settings: UpscaleSettings, given: Mapping[str, Any]) -> UpscaleSettings:
    """`settings` with the fields in `given` put in their place.

    A given scale takes away a size and the other way round; encoder options are merged, the given ones winning.
    """
    changes = dict(given)
    if "size" in changes:
        changes.setdefault("scale", None)
    elif "scale" in changes:
        changes["size"] = None
    if "encoder_options" in changes:
        changes["encoder_options"] = {**settings.encoder_options, **changes["encoder_options"]}
    return replace(settings, **changes)


def _folder() -> Path:
    for folder in _FOLDERS:
        if folder.is_dir():
            return folder
    raise ConfigError(f"{_FOLDERS[0]}: the presets are missing; install vsr again")


def _find(name_or_file: str) -> Path:
    if name_or_file.endswith(".toml") or Path(name_or_file).name != name_or_file:
        return Path(name_or_file)
    names = preset_names()
    if name_or_file not in names:
        raise ConfigError(f"preset '{name_or_file}' is unknown; {_advice(name_or_file, names)}")
    return _folder() / f"{name_or_file}.toml"


def _exact(value: object) -> object:
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        number = Decimal(value)
        if number.is_finite() and abs(number.adjusted()) < 20:  # 1e999999999 is short to write and long as a fraction
            return Fraction(number)
    raise ValueError("should be a number")


def _text(value: object) -> object:
    return str(value) if isinstance(value, Decimal | int) and not isinstance(value, bool) else value


def _scale(value: object) -> object:
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value)
    raise ValueError("should be a whole scale, such as 4")


def _size(value: object) -> object:
    """[width, height] as people write it; 0 leaves one open."""
    if isinstance(value, list) and len(value) == 2 and all(type(side) is int and side >= 0 for side in value):
        return value[1] or None, value[0] or None
    raise ValueError("should be [width, height] in pixels, 0 for one that follows from the other")


_Number = Annotated[InstanceOf[Fraction], BeforeValidator(_exact)]
_Options = dict[str, Annotated[str, BeforeValidator(_text)]]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Encoder(_Table):
    crf: int | None = None
    preset: str | None = None
    options: _Options = {}


class _Upscale(_Table):
    """What `[upscale]` may hold: every setting but those that belong to one clip or one run."""

    models: dict[Annotated[int, BeforeValidator(_scale)], str] = {}
    model: str | None = None
    scale: _Number | None = None
    size: Annotated[tuple[int | None, int | None] | None, BeforeValidator(_size)] = None
    passes: int = 1
    device: str = "auto"
    precision: Precision = "auto"
    tile: int | None = None
    overlap: int | None = None
    batch: int | None = None
    codec: str = "auto"
    crf: int | None = None
    encoder: str | None = None
    encoder_preset: str | None = None
    pix_fmt: str | None = None
    encoder_options: _Options = {}
    encoders: dict[str, _Encoder] = {}
    segment: _Number = Fraction(10)

    def settings(self) -> UpscaleSettings:
        """The written fields as UpscaleSettings; the others keep its defaults. Raises ConfigError."""
        written = {name: getattr(self, name) for name in self.model_fields_set}
        written["encoders"] = {
            name: EncoderTuning(crf=row.crf, preset=row.preset, options=row.options)
            for name, row in self.encoders.items()
        }
        return UpscaleSettings(**written)


class _File(_Table):
    description: str = ""
    upscale: _Upscale = _Upscale()
    degrade: dict[str, object] | None = None


def _parsed(settings: Any, table: object, where: str) -> Any:
    """`settings`, a frozen dataclass, with what `table` says put in its place: tables go deeper, values replace."""
    kinds = get_type_hints(type(settings))
    changes = {}
    for key, written in _rows(table, kinds, where):
        value = getattr(settings, key)
        deeper = is_dataclass(value)
        changes[key] = (_parsed if deeper else _value)(value if deeper else kinds[key], written, f"{where}.{key}")
    try:
        return replace(settings, **changes)
    except ConfigError as e:
        raise ConfigError(f"{where}: {e}") from e


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
        located = [{**error, "loc": (where, *error["loc"])} for error in e.errors()]
        raise ConfigError(_first_line(cast(list[ErrorDetails], located))) from e


def _rows(table: object, known: Iterable[str], where: str) -> Iterable[tuple[str, object]]:
    if not isinstance(table, dict):
        raise ConfigError(f"{where} = {table!r}: should be a table")
    for key in table:
        if key not in known:
            raise ConfigError(f"{where}: key '{key}' is unknown; {_advice(key, known)}")
    return table.items()


def _plain(value: object) -> object:
    return float(value) if isinstance(value, Decimal) else str(value)


def _first_line(errors: list[ErrorDetails]) -> str:
    """The first error as `where: what`, unknown keys before wrong values."""
    error = min(errors, key=lambda e: e["type"] != "extra_forbidden")
    where = [str(part) for part in error["loc"]]
    if error["type"] == "extra_forbidden":
        return f"key '{where[-1]}' is unknown; {_advice(where[-1], _known_keys(where[:-1]))}"
    what = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if error["type"] in ("model_type", "dict_type"):
        what = "should be a table"
    if where[-1] == "[key]":
        return f"{'.'.join(where[:-2])}: key '{where[-2]}' {what}"
    value = error["input"]
    return f"{'.'.join(where)} = {str(value) if isinstance(value, Decimal) else repr(value)}: {what}"


def _known_keys(tables: list[str]) -> Iterable[str]:
    """The keys of the table that error locations such as ["upscale", "encoders", "libx264"] lead to."""
    if tables[:2] == ["upscale", "encoders"]:
        return _Encoder.model_fields
    return _Upscale.model_fields if tables else _File.model_fields


def _advice(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"
