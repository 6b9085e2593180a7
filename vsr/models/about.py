"""What there is to say of a model or a weights file, as rows for people."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vsr.disk import told_size
from vsr.errors import ModelError
from vsr.models.catalog import EMBEDDED, Published, speed_class
from vsr.models.store import Entry, find, identify, look_up

if TYPE_CHECKING:
    from vsr.models.network import Network
    from vsr.models.spec import ModelSpec

_SAID = {
    "embedded": "inside the package",
    "present": "the published file, verified",
    "saved again": "not the published file, but its very tensors, saved again by another tool",
    "added": "added by hand, verified",
    "available": "fetched when it is first used, or by `vsr models pull`",
    "foreign": "another file bears the name; `vsr models info` says more",
}


def about(name_or_path: str) -> list[tuple[str, str]]:
    """All that is known of a model or a weights file: (what, value). Nothing is asked of the network.

    Raises ModelError for an unknown name and for a file that holds no network.
    """
    entry = look_up(name_or_path)
    if entry is not None and entry.state == "available":
        assert entry.published is not None
        return [("name", entry.name), *_published_rows(entry.published), ("here", f"no; goes to {entry.path}")]
    from vsr.models.checkpoint import load_model  # torch takes seconds; the above does without
    from vsr.models.measure import fingerprint, flops_per_pixel, weight_count
    from vsr.models.other import OtherNet

    path = find(name_or_path, offline=True)
    net, spec = load_model(path)
    known = None if spec.sha256 is None else identify(spec.sha256, fingerprint(net))
    rows = [("name", name_or_path if entry else known[0].name if known else spec.name)]
    if known:
        rows += _published_rows(known[0], file=False)
    size = f"{weight_count(net):,} weights"
    if not isinstance(net, OtherNet):
        flops = flops_per_pixel(net)
        size += f", {flops:.2f} MFLOP a source pixel ({speed_class(flops)})"
    rows += [
        ("network", f"{_arch(spec)}, x{spec.scale}, {size}"),
        ("takes", _takes(net)),
        ("reach", "not known" if spec.arch == "other" else f"{spec.reach} source pixels to each side"),
        ("licence", known[0].licence if known else spec.licence),
        ("trained on", spec.trained_on),
        ("file", f"{path}, {told_size(path.stat().st_size)}"),
        ("sha256", str(spec.sha256)),
    ]
    if known and spec.sha256 != known[0].sha256:
        rows += [("published", f"{known[0].sha256}: {_SAID['saved again']}")]
    elif entry or known:
        rows += [("which is", _SAID[entry.state if entry else "present"])]
    return [*rows, *(("note", note) for note in spec.notes)]


def _published_rows(row: Published, *, file: bool = True) -> list[tuple[str, str]]:
    rows = [("for", row.purpose), ("look", row.look), ("address", row.url)]
    if not file:
        return rows
    network = f"{row.arch}, x{row.scale}, {row.weights:,} weights, {row.flops:.2f} MFLOP a source pixel ({row.speed})"
    return [*rows, ("network", network), ("licence", row.licence), ("size", size_of(row)), ("sha256", row.sha256)]


def listed(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    """A table of names, its head first: state, scale, size, speed class, licence and purpose."""
    rows: list[tuple[str, ...]] = [("name", "is", "scale", "size", "speed", "licence", "for")]
    for entry in entries:
        row = EMBEDDED.get(entry.name) or entry.published
        awaited = entry.published if entry.state == "available" else None
        size = size_of(awaited) if awaited else told_size(entry.path.stat().st_size)
        if row is not None:
            rows.append((entry.name, entry.state, f"x{row.scale}", size, row.speed, row.licence, row.purpose))
        elif entry.state == "foreign":
            rows.append((entry.name, entry.state, "", size, "", "", ""))
        else:
            rows.append((entry.name, entry.state, *_measured(entry.path, size)))
    return rows


def explained(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """What the states in that table mean."""
    shown = {entry.state for entry in entries}
    return [(state, said) for state, said in _SAID.items() if state in shown]


def _measured(path: Path, size: str) -> tuple[str, str, str, str, str]:
    """The rest of the row of a file that no list describes."""
    from vsr.models.checkpoint import load_model
    from vsr.models.measure import flops_per_pixel
    from vsr.models.other import OtherNet

    try:
        net, spec = load_model(path)
    except ModelError:
        return "", size, "", "", "cannot be read, see vsr models info"
    speed = "" if isinstance(net, OtherNet) else speed_class(flops_per_pixel(net))
    return f"x{spec.scale}", size, speed, spec.licence, spec.kind or ""


def _arch(spec: "ModelSpec") -> str:
    names = {"compact": "Compact", "rrdb": "RRDB", "rrdb_shuffle": "RRDB with sub-pixel convolutions"}
    return spec.kind or f"{names.get(spec.arch, spec.arch)} {spec.num_feat}x{spec.depth}"


def _takes(net: "Network") -> str:
    said = "pictures of any size" if net.multiple == 1 else f"sides that are multiples of {net.multiple}"
    if getattr(net, "minimum", 0):
        said += f", at least {net.minimum} pixels"
    return f"{said}; others are padded" if said != "pictures of any size" else said


def size_of(row: Published) -> str:
    """How large the published file is, for people."""
    return "unknown" if row.size is None else told_size(row.size)
