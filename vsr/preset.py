"""Presets: TOML files that say how a kind of picture is upscaled, damaged and trained on; parsed here alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from vsr.degradation import Degradation
from vsr.errors import ConfigError
from vsr.settings import Audio, Crop, Deinterlace, EncoderTuning, Matrix, Precision, StillFormat, UpscaleSettings
from vsr.toml_values import Number, Table, Text, advice, first_line, parsed, put, read_table, read_value
from vsr.training import Training

_HERE = Path(__file__).parent
_FOLDERS = (_HERE / "presets", _HERE.parent / "presets")  # as in the wheel, as in a checkout


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A named set of choices; what a run is told besides goes before them."""

    name: str
    description: str
    upscale: UpscaleSettings
    degrade: Degradation | None = None  # None: the preset says nothing about damage
    train: Training | None = None  # None: nothing about training


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
    path, table = _read(name_or_file)
    return _preset(path, table, said_by=str(path))


def load_degradation(name_or_file: str) -> Degradation:
    """How that preset damages. Raises ConfigError when it does not say, or as `load_preset` does."""
    return _damage(load_preset(name_or_file), name_or_file)


def load_training(name_or_file: str, overrides: Sequence[str] = ()) -> tuple[Training, Degradation]:
    """How that preset trains and damages, once each of `overrides`, such as "data.crop=128", has been written into it.

    Keys are paths below [train], with stages by their names (stages.gan.losses.l1=0.5), or begin with `degrade`; values
    are TOML or else text. Raises ConfigError, one line, when the preset says nothing about either, when a stage's
    `degrade` is no preset, for overrides that do not make sense, or as `load_preset` does.
    """
    preset, said_by = load_preset(name_or_file), name_or_file  # the file alone first, lest --set be blamed for it
    if preset.train is None:
        raise ConfigError(f"preset '{name_or_file}' says nothing about training; add a table [train], or give another")
    if overrides:
        path, table = _read(name_or_file)
        for text in overrides:
            _write_over(table, text)
        said_by = "--set"
        preset = _preset(path, table, said_by=said_by)
    assert preset.train is not None
    for stage in preset.train.stages:
        if stage.degrade:
            _damage_table(stage.degrade, said_by=f"{said_by}: train.stages.{stage.name}.degrade")
    return preset.train, _damage(preset, name_or_file)


def _damage(preset: Preset, name_or_file: str) -> Degradation:
    if preset.degrade is None:
        raise ConfigError(f"preset '{name_or_file}' says nothing about damage; add a table [degrade], or give another")
    return preset.degrade


def _write_over(table: Table, text: str) -> None:
    """Carry out one --set, in place."""
    key, equals, written = text.partition("=")
    value = read_value(written.strip())
    try:
        if not equals:
            raise ConfigError("has no '='; write it as key=value")
        key = key.strip()
        if key == "degrade" and isinstance(value, str):
            table[key] = _damage_table(value)
        elif key.split(".")[0] == "degrade":
            put(table, key, value)
        else:
            train = cast(Table, table["train"])
            train.setdefault("stages", [{"name": stage.name} for stage in Training().stages])
            put(train, key, value)
    except ConfigError as e:
        raise ConfigError(f"--set {text}: {e}") from e


def _read(name_or_file: str, through: tuple[Path, ...] = ()) -> tuple[Path, Table]:
    """Where a preset lies and what it says, with the table of another one where [degrade] names that."""
    path = _find(name_or_file)
    text = preset_text(name_or_file)
    if path.resolve() in through:
        raise ConfigError("leads back to itself; write a table [degrade] in one of them")
    try:
        table = read_table(text)
        if isinstance(other := table.get("degrade"), str):
            table["degrade"] = _damage_table(other, (*through, path.resolve()))
    except ConfigError as e:
        raise ConfigError(f"{path}: {e}") from e
    return path, table


def _damage_table(name_or_file: str, through: tuple[Path, ...] = (), *, said_by: str = "degrade") -> object:
    """The table [degrade] of another preset, which must make sense by itself."""
    try:
        path, table = _read(name_or_file, through)
        _damage(_preset(path, table, said_by=str(path)), name_or_file)
    except ConfigError as e:
        raise ConfigError(f"{said_by} = '{name_or_file}': {e}") from e
    return table["degrade"]


def _preset(path: Path, table: Table, *, said_by: str) -> Preset:
    try:
        held = _File.model_validate(table)
        return Preset(
            name=path.stem,
            description=held.description,
            upscale=held.upscale.settings(),
            degrade=None if held.degrade is None else parsed(Degradation(), held.degrade, "degrade"),
            train=None if held.train is None else parsed(Training(), held.train, "train"),
        )
    except ValidationError as e:
        raise ConfigError(f"{said_by}: {_first_line(e.errors())}") from e
    except ConfigError as e:
        raise ConfigError(f"{said_by}: {e}") from e


def override(settings: UpscaleSettings, given: Mapping[str, Any]) -> UpscaleSettings:
    """`settings` with the fields in `given` put in their place.

    A given scale takes away a size and the other way round, and a given model or mixture what else says which network
    runs; encoder options are merged, the given ones winning.
    """
    changes = dict(given)
    if "mix" in changes:
        changes = {"model": None, "denoise": None, **changes}
    elif "model" in changes:
        changes = {"mix": {}, "denoise": None, **changes}
    elif "denoise" in changes:
        changes["mix"] = {}
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
        raise ConfigError(f"preset '{name_or_file}' is unknown; {advice(name_or_file, names)}")
    return _folder() / f"{name_or_file}.toml"


def _scale(value: object) -> object:
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value)
    raise ValueError("should be a whole scale, such as 4")


def _size(value: object) -> object:
    """[width, height] as people write it; 0 leaves one open."""
    if isinstance(value, list) and len(value) == 2 and all(type(side) is int and side >= 0 for side in value):
        return value[1] or None, value[0] or None
    raise ValueError("should be [width, height] in pixels, 0 for one that follows from the other")


def _crop(value: object) -> object:
    """ "auto", or [width, height, x, y]."""
    if isinstance(value, list) and len(value) == 4 and all(type(number) is int for number in value):
        width, height, left, top = value
        return Crop(height=height, width=width, top=top, left=left)
    if value == "auto":
        return value
    raise ValueError('should be "auto" or [width, height, x, y] in pixels')


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Encoder(_Table):
    crf: int | None = None
    preset: str | None = None
    options: dict[str, Text] = {}


class _Upscale(_Table):
    """What `[upscale]` may hold: every setting but those that belong to one clip or one run."""

    models: dict[Annotated[int, BeforeValidator(_scale)], str] = {}
    still_models: dict[Annotated[int, BeforeValidator(_scale)], str] = {}
    model: str | None = None
    mix: dict[str, float] = {}
    denoise: float | None = None
    scale: Number | None = None
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
    matrix: Matrix = "auto"
    encoder_options: dict[str, Text] = {}
    encoders: dict[str, _Encoder] = {}
    deinterlace: Deinterlace = "auto"
    audio: Audio = "auto"
    crop: Annotated[Crop | Literal["auto"] | None, BeforeValidator(_crop)] = None
    apply_rotation: bool = False
    segment: Number = Fraction(10)
    format: StillFormat | None = None
    quality: int | None = None
    to_srgb: bool = False
    strip: bool = False
    sheet: bool = False
    max_pixels: int = 500_000_000

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
    degrade: Table | None = None
    train: Table | None = None


def _first_line(errors: list[ErrorDetails]) -> str:
    """The first error as `where: what`, unknown keys before wrong values."""
    for error in errors:
        if error["type"] == "extra_forbidden":
            *tables, key = map(str, error["loc"])
            return f"key '{key}' is unknown; {advice(key, _known_keys(tables))}"
    return first_line(errors)


def _known_keys(tables: list[str]) -> Iterable[str]:
    """The keys of the table that error locations such as ["upscale", "encoders", "libx264"] lead to."""
    if tables[:2] == ["upscale", "encoders"]:
        return _Encoder.model_fields
    return _Upscale.model_fields if tables else _File.model_fields
