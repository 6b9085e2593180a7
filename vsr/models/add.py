"""Weights of one's own, or of others, put into the folder models are kept in and known by a name from then on."""

import re
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vsr.disk import whole_file
from vsr.download import Tell, download, is_offline
from vsr.errors import ConfigError, DownloadError, ModelError
from vsr.models.catalog import EMBEDDED, PUBLISHED
from vsr.models.checkpoint import load_model
from vsr.models.store import Entry, file_hash, look_up, not_written, note_of
from vsr.places import models_folder
from vsr.stage import Cancel

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_HASH = re.compile(r"[0-9a-f]{64}")


def add(
    file_or_url: str,
    *,
    sha256: str | None = None,
    name: str | None = None,
    offline: bool = False,
    tell: Tell,
    cancel: Cancel | None = None,
) -> Entry:
    """Copy or fetch a weights file and give it a name, by default its own without the suffix.

    It must have the hash `sha256`, which an address cannot do without, and be a network that vsr runs.
    Raises ConfigError for a name or hash that does not do, ModelError when the file does not.
    """
    is_url = re.match(r"https?://", file_or_url) is not None
    file = Path(unquote(urlsplit(file_or_url).path) if is_url else file_or_url).name
    name = Path(file).stem if name is None else name
    wanted = None if sha256 is None else sha256.lower()
    if not _NAME.fullmatch(name):
        raise ConfigError(f"name '{name}': use letters, digits and . _ + - in it; give another with --name")
    if name in EMBEDDED or name in PUBLISHED:
        raise ConfigError(f"name '{name}': is a model of vsr's own list; give another with --name")
    if wanted is not None and not _HASH.fullmatch(wanted):
        raise ConfigError(f"sha256 = {sha256}: is no SHA-256; give 64 hexadecimal digits")
    dst = models_folder() / f"{name}{Path(file).suffix or '.pth'}"
    if is_url:
        if wanted is None:
            raise ConfigError(f"{file_or_url}: fetched with its hash only; give --sha256 from a source you trust")
        if offline or is_offline():
            raise ModelError(f"{file_or_url}: the network is not to be asked; fetch it elsewhere, then add the file")
        _fetch(file_or_url, dst, sha256=wanted, tell=tell, cancel=cancel or Cancel())
    else:
        wanted = _copy(Path(file_or_url), dst, sha256=wanted)
    _write_note(name, f"{wanted}  {dst.name}\n")
    entry = look_up(name)
    assert entry is not None
    return entry


def _fetch(url: str, dst: Path, *, sha256: str, tell: Tell, cancel: Cancel) -> None:
    if dst.exists() and file_hash(dst) != sha256:
        raise ModelError(f"{dst}: is there already, with another hash; move it away, or give another --name")
    try:
        download([url], dst, sha256=sha256, tell=tell, cancel=cancel)
    except DownloadError as e:
        raise ModelError(f"cannot be fetched: {e}; check the address and the hash") from e
    except OSError as e:
        raise not_written(dst.parent, e) from e
    try:
        load_model(dst)
    except ModelError:
        dst.unlink()  # nothing that cannot be used is kept
        raise


def _copy(src: Path, dst: Path, *, sha256: str | None) -> str:
    """Put a copy of `src` at `dst`, whole or not at all; gives its hash."""
    load_model(src)
    found = file_hash(src)
    if sha256 not in (None, found):
        raise ModelError(f"{src}: has SHA-256 {found}, not {sha256}; get it again from where the hash is from")
    if dst.exists() and file_hash(dst) != found:
        raise ModelError(f"{dst}: is there already, with another hash; move it away, or give another --name")
    if dst.exists():
        return found
    try:
        dst.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(dst) as part:
            shutil.copyfile(src, part)
    except OSError as e:
        raise not_written(dst, e) from e
    return found


def _write_note(name: str, line: str) -> None:
    note = note_of(name)
    try:
        with whole_file(note) as part:
            part.write_text(line, encoding="utf-8")
    except OSError as e:
        raise not_written(note, e) from e
