"""From a name to a weights file: inside the package, in the folder models are kept in, or from the network."""

import difflib
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vsr.disk import told_size, why_not_written
from vsr.download import Tell, download, is_offline
from vsr.errors import ConfigError, DownloadError, ModelError
from vsr.events import NoteEvent
from vsr.models.catalog import EMBEDDED, PUBLISHED, Published
from vsr.places import models_folder
from vsr.stage import Cancel

WEIGHTS = Path(__file__).parent / "weights"
_NOTE = ".sha256"  # after the name of a model that was added

# embedded: in the package. present: the very file that was published. saved again: another file, the same tensors.
# added: by `vsr models add`, with its hash. available: to be fetched. foreign: another file bears the name.
State = Literal["embedded", "present", "saved again", "added", "available", "foreign"]


class AbsentModelError(ModelError):
    """A published model is not here, and cannot be fetched or must not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A name that vsr knows, and what there is under it. `path` may not be there yet."""

    name: str
    state: State
    path: Path
    sha256: str | None = None  # of the file that is there
    published: Published | None = None


def find(name_or_path: str, *, offline: bool = False, tell: Tell | None = None, cancel: Cancel | None = None) -> Path:
    """The weights file of a known name, fetched and verified if need be, or else the file at that path.

    Raises ModelError, one line: no such name or file; a file that bears a name and is another. Raises AbsentModelError,
    with the address, the hash and the folder to put it in by hand, when it cannot be fetched. With `offline`, or where
    the environment sets VSR_OFFLINE, nothing is asked of the network.
    """
    entry = look_up(name_or_path)
    if entry is None:
        path = Path(name_or_path)
        if name_or_path and path.exists():
            return path
        raise ModelError(_unknown(name_or_path))
    if entry.state == "foreign":
        raise ModelError(_foreign(entry))
    if entry.state == "available":
        assert entry.published is not None
        fetch(entry.published, offline=offline, tell=tell, cancel=cancel)
    return entry.path


def fetch(
    published: Published, *, offline: bool = False, tell: Tell | None = None, cancel: Cancel | None = None
) -> None:
    """Put a published file into the folder models are kept in, after one line that says so. Raises as `find` does."""
    folder = models_folder()
    if offline or is_offline():
        raise AbsentModelError(_by_hand(published, folder, "is not here, and the network is not to be asked"))
    told = tell or (lambda _: None)
    size = "" if published.size is None else f"{told_size(published.size)} "
    urls = [*_mirrors(published.file), published.url]
    told(NoteEvent(message=f"{published.name}: is not here yet; fetching {size}from {urls[0]} into {folder}"))
    try:
        download(
            urls,
            folder / published.file,
            sha256=published.sha256,
            size=published.size,
            tell=told,
            cancel=cancel or Cancel(),
        )
    except DownloadError as e:
        raise AbsentModelError(_by_hand(published, folder, f"cannot be fetched: {e}")) from e
    except OSError as e:
        raise not_written(folder, e) from e


def require_name(name: str) -> None:
    """Raises ModelError, naming the nearest known name, for one that is unknown."""
    if look_up(name) is None:
        raise ModelError(_unknown(name))


def entries() -> list[Entry]:
    """All known names: embedded, published, then those added. What `look_up` refuses is foreign here."""
    found = [look_up(name) for name in EMBEDDED]
    for name in (*PUBLISHED, *_added()):
        try:
            found.append(look_up(name))
        except ModelError:
            row = PUBLISHED.get(name)
            path = note_of(name) if row is None else models_folder() / row.file
            found.append(Entry(name=name, state="foreign", path=path, published=row))
    return [entry for entry in found if entry is not None]


def look_up(name: str) -> Entry | None:
    """What there is under a name; None for one that is unknown. Files are read and held against their hashes."""
    if name in EMBEDDED:
        path = WEIGHTS / EMBEDDED[name].file
        if not path.is_file():
            raise ModelError(f"{name}: its weights file is missing from this installation; reinstall vsr")
        return Entry(name=name, state="embedded", path=path)
    if name in PUBLISHED:
        return _published_entry(PUBLISHED[name])
    return _added_entry(name)


def identify(sha256: str, tensors_sha256: str | None) -> tuple[Published, bool] | None:
    """The published file that these weights are, and whether they are its very bytes."""
    for row in PUBLISHED.values():
        if row.sha256 == sha256:
            return row, True
        if tensors_sha256 is not None and row.tensors_sha256 == tensors_sha256:
            return row, False
    return None


def _published_entry(row: Published) -> Entry:
    path = models_folder() / row.file
    if not path.is_file():
        return Entry(name=row.name, state="available", path=path, published=row)
    found = file_hash(path)
    if found == row.sha256:
        state: State = "present"
    else:
        state = "saved again" if row.tensors_sha256 is not None and _tensors(path) == row.tensors_sha256 else "foreign"
    return Entry(name=row.name, state=state, path=path, sha256=found, published=row)


def _tensors(path: Path) -> str | None:
    """The fingerprint of the network in a file; None where there is none."""
    from vsr.models.checkpoint import load_model  # torch takes seconds, and most lists do without
    from vsr.models.measure import fingerprint

    try:
        return fingerprint(load_model(path)[0])
    except ModelError:
        return None


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes. Raises ModelError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as e:
        raise ModelError(f"{path}: cannot be read: {e.strerror}; check the path") from e


def _mirrors(file: str) -> list[str]:
    """Where VSR_MIRRORS has this file: addresses of folders, apart by white space, tried before the official one."""
    bases = os.environ.get("VSR_MIRRORS", "").split()
    for base in bases:
        if not re.match(r"https?://[^/]", base):
            raise ConfigError(f"VSR_MIRRORS: {base}: no http or https address; give such as https://host/folder")
    return [f"{base.rstrip('/')}/{file}" for base in bases]


def _by_hand(row: Published, folder: Path, why: str) -> str:
    return f"{row.name}: {why}; put {row.url} (SHA-256 {row.sha256}) into {folder} by hand"


def _foreign(entry: Entry) -> str:
    what = f"{entry.path}: bears the name of {entry.name} and is another file, with SHA-256 {entry.sha256}"
    if entry.published is None:
        return f"{what}; move it away, and add the right one again with `vsr models add`"
    return f"{what}, not {entry.published.sha256}; move it away to have the published one fetched"


def _unknown(name: str) -> str:
    known = {one.lower(): one for one in (*EMBEDDED, *PUBLISHED, *_added())}
    near = difflib.get_close_matches(name.lower(), known, n=1)
    said = f"did you mean {known[near[0]]}" if near else "`vsr models list` tells the names"
    return f"model {name!r}: no such name or file; {said}, or give the path of a weights file"


def not_written(path: Path, error: OSError) -> ModelError:
    """The line for a file or folder of this store that the disk refuses."""
    otherwise = f"cannot be written: {error.strerror or error}; set VSR_MODELS to another folder"
    return ModelError(f"{path}: {why_not_written(error, otherwise)}")


def note_of(name: str) -> Path:
    """The line of hash and file of a model that was added, as sha256sum writes and checks it."""
    return models_folder() / f"{name}{_NOTE}"


def _added() -> list[str]:
    """Names of the files that were added, each of which has a line of its hash beside it."""
    names = {path.name.removesuffix(_NOTE) for path in models_folder().glob(f"*{_NOTE}")}
    return sorted(names - EMBEDDED.keys() - PUBLISHED.keys())


def _added_entry(name: str) -> Entry | None:
    note = note_of(name)
    if Path(name).name != name or not note.is_file():
        return None
    try:
        found = re.fullmatch(r"([0-9a-f]{64})  ([^/\\\n]+)\n?", note.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as e:
        raise ModelError(f"{note}: cannot be read; remove it, and add the file again") from e
    if found is None:
        raise ModelError(f"{note}: is no line of a hash and a file's name; remove it, and add the file again")
    path = note.with_name(found[2])
    if not path.is_file():
        return None
    sha256 = file_hash(path)
    return Entry(name=name, state="added" if sha256 == found[1] else "foreign", path=path, sha256=sha256)
