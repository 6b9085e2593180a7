"""What a network is: the description that travels in the header of its weights file."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from vsr.errors import ModelError

Architecture = Literal["compact", "rrdb", "rrdb_shuffle", "srresnet", "srcnn", "other"]
HEADER_KEY = "vsr.model_spec"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A network's hyper-parameters, what it asks of its input, and where its weights come from."""

    name: str
    arch: Architecture
    scale: int
    num_feat: int
    depth: int  # inner convolutions of "compact" and "srcnn", residual blocks of the others
    num_grow: int | None = None  # "rrdb" and "rrdb_shuffle" only: channels each dense convolution adds
    act: str | None = None  # "compact" only: prelu, relu or leakyrelu
    kind: str | None = None  # "other" only: the architecture in spandrel's words; num_feat and depth are then 0
    tanh: bool | None = None  # "srresnet" only: whether it works on [-1, 1] and ends in a Tanh
    reach: int  # source pixels to each side that an output pixel depends on, exactly; for "other" a guess
    multiple: int  # input sizes must be multiples of this
    licence: str = "unknown"
    trained_on: str = "unknown"
    notes: tuple[str, ...] = ()  # what loading had to assume, for the user to read
    sha256: str | None = None  # of the file the weights were loaded from

    def to_json(self) -> str:
        """The header's text. `notes` and `sha256` belong to one loading and stay out."""
        return json.dumps({key: value for key, value in asdict(self).items() if key not in ("notes", "sha256")})

    @classmethod
    def from_json(cls, text: str) -> "ModelSpec":
        """Read `to_json`'s text back. Raises ModelError when it is anything else."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as e:
            raise ModelError(f"{HEADER_KEY}: not JSON: {e}; save the file again with vsr") from e
        if not isinstance(found, dict):
            raise ModelError(f"{HEADER_KEY}: not an object; save the file again with vsr")
        kinds = {field.name: _KINDS[field.name] for field in fields(cls) if field.name in _KINDS}
        values: dict[str, Any] = {}
        for key, (types, is_needed) in kinds.items():
            if key in found and type(found[key]) in types:  # exactly: True is an int to isinstance
                values[key] = found[key]
            elif key in found or is_needed:
                raise ModelError(f"{HEADER_KEY}: {key} is missing or of a wrong type; save the file again with vsr")
        return cls(**values)


_KINDS: dict[str, tuple[tuple[type, ...], bool]] = {  # field -> (types in JSON, is needed)
    "name": ((str,), True),
    "arch": ((str,), True),
    "scale": ((int,), True),
    "num_feat": ((int,), True),
    "depth": ((int,), True),
    "num_grow": ((int, type(None)), False),
    "act": ((str, type(None)), False),
    "kind": ((str, type(None)), False),
    "tanh": ((bool, type(None)), False),
    "reach": ((int,), True),
    "multiple": ((int,), True),
    "licence": ((str,), False),
    "trained_on": ((str,), False),
}
