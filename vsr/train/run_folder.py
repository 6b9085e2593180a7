"""A run's folder: its settings, its states, its log. What bears a name in it is whole."""

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from zipfile import BadZipFile

import torch

from vsr.disk import lock_folder, sync_folder, why_not_written
from vsr.errors import ConfigError, MediaError

STATE_VERSION = 1
_PART = re.compile(r"\.[^.]+\.(pth?|safetensors|toml|jsonl?|txt)\.\w{8}|\..+\.part")  # of a file that was being written
WriteFile = Callable[[Path], object]
State = dict[str, object]  # plain values and tensors only, so that reading one executes nothing


class RunFolder:
    """Where a run keeps what it needs to go on, and what it is for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"
        self.facts = path / "run.json"  # what besides the settings makes a run: data, threads, versions
        self.log = path / "log.jsonl"
        self.states = path / "states"
        self.samples = path / "samples"
        self.plots = path / "plots"
        self.model = path / "model.safetensors"
        self.best_model = path / "best.safetensors"

    @property
    def has_begun(self) -> bool:
        """Whether there is something to go on from; before the first state, nothing is lost by beginning anew."""
        return self.state("last").is_file()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, keep other processes out, and remove what a killed one left half-written.

        Raises ConfigError when another process is in it, MediaError when it cannot be made.
        """
        try:
            for folder in (self.path, self.states, self.samples, self.plots):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise MediaError(f"{self.path}: cannot be made: {e.strerror}; choose another folder with --out") from e
        try:
            descriptor = lock_folder(self.path)
        except BlockingIOError as e:
            raise ConfigError(f"{self.path}: another process trains in it; wait for it or choose another --out") from e
        try:
            for part in self.path.rglob(".*"):
                if _PART.fullmatch(part.name):
                    part.unlink()
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def state(self, name: str) -> Path:
        return self.states / f"{name}.pt"

    def save_state(self, name: str, state: State) -> None:
        """Write states/NAME.pt in one step. Raises MediaError when it cannot be, and leaves what was there."""
        self.write(self.state(name), lambda part: torch.save({**state, "version": STATE_VERSION}, part))

    def write_text(self, path: Path, text: str) -> None:
        self.write(path, lambda part: part.write_text(text, encoding="utf-8"))

    def write(self, path: Path, write: WriteFile) -> None:
        """Have `write` fill a temporary file, and give it its name when it is whole and on the disk."""
        part = None
        try:
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
                part = Path(file.name)
            write(part)
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.chmod(0o644)
            part.replace(path)
            sync_folder(path.parent)
        except (OSError, RuntimeError) as e:  # torch's own writer turns a full disk into a RuntimeError
            what = why_not_written(e, f"cannot be written: {e}; make room or choose another folder")
            raise MediaError(f"{path}: {str(what).splitlines()[0]}") from e
        finally:
            if part is not None:
                part.unlink(missing_ok=True)

    def append(self, rows: "list[Mapping[str, object]]") -> None:
        """Add lines to the log. Raises MediaError when it cannot be written."""
        try:
            with self.log.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
        except OSError as e:
            what = why_not_written(e, f"cannot be written: {e.strerror}; make room or choose another folder")
            raise MediaError(f"{self.log}: {what}") from e

    def rows(self) -> list[dict[str, object]]:
        """The log's whole lines."""
        if not self.log.is_file():
            return []
        found = []
        for line in self.log.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:  # the last line of a run that was killed
                break
        return found

    def keep_rows(self, count: int) -> None:
        """Take all but the first lines out of the log: a run that goes on will write them again."""
        self.write_text(self.log, "".join(json.dumps(row) + "\n" for row in self.rows()[:count]))


def load_state(path: Path) -> State:
    """A state as `save_state` wrote it. Raises ConfigError when it is none, or another version's."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError, BadZipFile) as e:
        why = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise ConfigError(f"{path}: cannot be read as a state: {why}; take another, or begin a new run") from e
    if not isinstance(state, dict) or state.get("version") != STATE_VERSION:
        raise ConfigError(f"{path}: is no state of this version of vsr; begin a new run with --from its model")
    return state
