"""docs/models/README.md, which `vsr models list --markdown` writes."""

from vsr.disk import told_size
from vsr.download import PATIENCE
from vsr.models.about import size_of
from vsr.models.catalog import EMBEDDED, FAST, MEDIUM, PUBLISHED, Published
from vsr.models.store import WEIGHTS

_PAGE = """# Models by name

Those whose names begin with vsr are inside the package; the others are fetched when they are first used, or by `vsr
models pull NAME`, into the folder models are kept in. `vsr models list` says which are there. This page is written by
`vsr models list --markdown`.

{models}

MFLOP are millions of multiplications and additions for one pixel of the source: under {fast} is called fast, under
{medium} medium, the rest slow.

## Our own

Each name in the table leads to a card: what the network is for, what was measured, on what and with which commands it
was trained, and where it falls short. Together they take {own}. To make one again: `python -m benchmarks.held_back`
writes the list of pictures, the card's `vsr train` trains, and `python -m benchmarks.embed` puts the result into the
package; `python -m benchmarks.model_card` and `python -m benchmarks.quality` measure it. On another kind of machine
sums are rounded otherwise, and a network comes out a little different.

## Fetching

A transfer that broke off goes on where it was, in a later run and from another address, too. Three attempts in a row
that bring nothing, or another file than the one wanted, and the next address is asked; {patience:g} seconds of silence
end an attempt. A second process that wants the same file waits for the first. Where no address gives the file, one line
tells address, hash and folder; a file that is put there by hand is verified and used.

| variable | what it does |
| --- | --- |
| `VSR_MODELS` | the folder models are kept in; else one in the user's cache, which `vsr models list` names |
| `VSR_MIRRORS` | addresses of folders, apart by spaces, that are asked before the official one |
| `VSR_OFFLINE` | 1 is `--offline` for all commands: nothing is asked of the network |
| `http_proxy`, `https_proxy`, `no_proxy` | as everywhere |

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

A file is fetched under a temporary name and gets its own only when its SHA-256 is the one below. It is verified in the
same way each time its name is used.

{hashes}

The published hashes are from other projects' pin files that agree with each other. Many copies that go round were saved
again by some tool: another file, the same numbers. For three networks the hash of the tensors at half precision is
known, too (names in the order of their bytes; of each name, shape such as 64x3x3x3 and little-endian binary16 values,
each followed by a zero byte). A copy under the published name whose tensors have this hash is used, and `vsr models
info` says that it is not the published file. It may differ from that by rounding to half precision, and by no more. A
file that has neither hash is refused by name; by its path any file can be used.
"""


def page() -> str:
    """What is known of every model by name, as Markdown."""
    rows = ["| name | for | look | network | scale | MFLOP a source pixel | size | licence |", f"|{' --- |' * 8}"]
    for row in (*EMBEDDED.values(), *PUBLISHED.values()):
        if isinstance(row, Published):
            name, size = f"[{row.name}]({row.url})", size_of(row)
        else:
            name, size = f"[{row.name}]({row.name}.md)", told_size((WEIGHTS / row.file).stat().st_size)
        network = f"{row.arch}, {row.weights:,} weights"
        cells = (name, row.purpose, row.look, network, f"x{row.scale}", f"{row.flops:.2f}, {row.speed}", size)
        rows.append(f"| {' | '.join((*cells, row.licence))} |")
    hashes = ["| file | SHA-256 | SHA-256 of the tensors |", f"|{' --- |' * 3}"]
    for row in PUBLISHED.values():
        tensors = f"`{row.tensors_sha256}`" if row.tensors_sha256 else "not known"
        hashes.append(f"| {row.file} | `{row.sha256}` | {tensors} |")
    own = told_size(sum((WEIGHTS / row.file).stat().st_size for row in EMBEDDED.values()))
    return _PAGE.format(
        models="\n".join(rows), own=own, hashes="\n".join(hashes), fast=FAST, medium=MEDIUM, patience=PATIENCE
    )
