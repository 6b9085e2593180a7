"""What there is to say of a model or a weights file, as rows for people."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vsr.disk import told_size
from vsr.errors import ModelError
from vsr.models.catalog import EMBEDDED, FAST, MEDIUM, PUBLISHED, Published, speed_class
from vsr.models.store import WEIGHTS, Entry, find, identify, look_up

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
_PAGE = """# Models by name

The first is inside the package; the others are fetched when they are first used, or by `vsr models pull NAME`, into the
folder models are kept in. `vsr models list` says which are there. This page is written by `vsr models list --markdown`.

{models}

MFLOP are millions of multiplications and additions for one pixel of the source: under {fast} is called fast, under
{medium} medium, the rest slow.

## Mixing

`vsr upscale --denoise S` runs `realesr-general-x4v3` with the share S and its twin `realesr-general-wdn-x4v3` with the
rest: every weight is S times the one plus (1 - S) times the other, as the official tool does it. 1 removes most noise,
0 least. Of noise with a deviation of 10/255 on a flat grey, S = 0 leaves 4.3, 0.5 leaves 1.5 and 1 leaves 1.3: nearly
all of the way lies below 0.5. Without `--denoise` nothing is mixed. `--mix A:0.7,B:0.3` mixes any networks of one
shape; what has been mixed, and how, is part of what a finished output is known by.

## Other files

`.pth` and safetensors files of the five architectures that vsr trains are read as every tool of the field writes them:
BasicSR's names of today and of its first versions, ESRGAN's own first names, in any of the usual wrappers, in half
precision, at x1, x2, x4 and x8. `vsr models convert` writes safetensors that explain themselves, or `.pth` for other
tools (`--keys esrgan` for the oldest); back and forth they are the same bit for bit. Discriminators are told apart.

Any other network for single RGB pictures that [spandrel](https://github.com/chaiNNer-org/spandrel) knows runs by its
path when the extra `vsr[models]` is installed; `vsr models info` shows its architecture, scale and size rules. Its
weights' licence is for its publisher to say. With spandrel 0.4.2 and random weights: RCAN loads; EDSR and DPSR do not,
for it knows neither.

## Pictures

`vsr models show NAME... photo.jpg -o sheet.png` puts one crop through several of them, bicubic beside, at 100 %. Here
96 pixels of a small portrait that had been a JPEG (Grace Hopper; U.S. Navy, public domain; from Pillow's tests, HPND);
the four large networks are not in it, for their files were not at hand.

![bicubic and four networks](official.webp)

The worst thing in it: no network brings back the eyes behind the glasses, all paint brown smudges, and
`realesr-animevideov3` draws the folds beside nose and mouth as lines of ink.

## What a file is held against

A file is fetched under a temporary name and gets its own only when its SHA-256 is the one below. A file that was put
into the folder by hand is verified in the same way each time its name is used.

{hashes}

The published hashes are from other projects' pin files that agree with each other. Many copies that go round were saved
again by some tool: another file, the same numbers. For three networks the hash of the tensors at half precision is
known, too (names in the order of their bytes; of each name, shape such as 64x3x3x3 and little-endian binary16 values,
each followed by a zero byte). A copy under the published name whose tensors have this hash is used, and `vsr models
info` says that it is not the published file. It may differ from that by rounding to half precision, and by no more. A
file that has neither hash is refused by name; by its path any file can be used.
"""


def about(name_or_path: str) -> list[tuple[str, str]]:
    """All that is known of a model or a weights file: (what, value). Nothing is asked of the network.

    Raises ModelError for an unknown name and for a file that holds no network.
    """
    from vsr.models.checkpoint import load_model  # torch takes seconds, and lists do without
    from vsr.models.measure import fingerprint, flops_per_pixel, weight_count
    from vsr.models.other import OtherNet

    entry = look_up(name_or_path)
    if entry is not None and entry.state == "available":
        assert entry.published is not None
        return [("name", entry.name), *_published_rows(entry.published), ("here", f"no; goes to {entry.path}")]
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
    return [*rows, ("network", network), ("licence", row.licence), ("size", _size(row)), ("sha256", row.sha256)]


def listed(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    """A table of names, its head first: state, scale, size, speed class, licence and purpose."""
    rows: list[tuple[str, ...]] = [("name", "is", "scale", "size", "speed", "licence", "for")]
    for entry in entries:
        row = EMBEDDED.get(entry.name) or entry.published
        awaited = entry.published if entry.state == "available" else None
        size = _size(awaited) if awaited else told_size(entry.path.stat().st_size)
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


def page() -> str:
    """docs/models/README.md: what is known of every model by name, as Markdown."""
    rows = ["| name | for | look | network | scale | MFLOP a source pixel | size | licence |", f"|{' --- |' * 8}"]
    for row in (*EMBEDDED.values(), *PUBLISHED.values()):
        if isinstance(row, Published):
            name, size = f"[{row.name}]({row.url})", _size(row)
        else:
            name, size = f"[{row.name}]({row.name}.md)", told_size((WEIGHTS / row.file).stat().st_size)
        network = f"{row.arch}, {row.weights:,} weights"
        cells = (name, row.purpose, row.look, network, f"x{row.scale}", f"{row.flops:.2f}, {row.speed}", size)
        rows.append(f"| {' | '.join((*cells, row.licence))} |")
    hashes = ["| file | SHA-256 | SHA-256 of the tensors |", f"|{' --- |' * 3}"]
    for row in PUBLISHED.values():
        tensors = f"`{row.tensors_sha256}`" if row.tensors_sha256 else "not known"
        hashes.append(f"| {row.file} | `{row.sha256}` | {tensors} |")
    return _PAGE.format(models="\n".join(rows), hashes="\n".join(hashes), fast=FAST, medium=MEDIUM)


def _arch(spec: "ModelSpec") -> str:
    names = {"compact": "Compact", "rrdb": "RRDB", "rrdb_shuffle": "RRDB with sub-pixel convolutions"}
    return spec.kind or f"{names.get(spec.arch, spec.arch)} {spec.num_feat}x{spec.depth}"


def _takes(net: "Network") -> str:
    said = "pictures of any size" if net.multiple == 1 else f"sides that are multiples of {net.multiple}"
    if getattr(net, "minimum", 0):
        said += f", at least {net.minimum} pixels"
    return f"{said}; others are padded" if said != "pictures of any size" else said


def _size(row: Published) -> str:
    return "unknown" if row.size is None else told_size(row.size)
