"""The layers of docs/architecture.md, read off the syntax trees: nothing is imported, so nothing can hide."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vsr"

# From the top down. A module imports only from lower lines and its own package; two on one line are strangers.
LINES = [
    ["__main__"],
    ["cli"],
    ["cluster", "compare", "evaluate", "folder"],
    ["train", "stills"],
    ["video", "still_output"],
    ["finish"],
    ["production"],
    ["room"],
    ["plan", "still_plan", "still_details"],  # what `video` decides before the first frame
    ["audit"],
    ["pinned"],
    ["loading", "footage", "naming", "filtering", "rehearsal", "earlier", "likeness"],
    ["verify", "preset"],
    ["look"],
    ["engine", "io", "journal", "picture_journal", "done", "metrics", "toml_values"],
    ["models"],
    [
        *("frames", "stage", "errors", "events", "settings", "degradation", "training", "disk", "pipes", "picture"),
        *("record", "places", "download", "transfer"),
    ],
]
RANK = {part: rank for rank, parts in enumerate(LINES) for part in parts}
SHARED = set(LINES[-1])  # the ground all stand on: these may use each other

# Who may import what from outside, by part of vsr.
ONLY = {
    "av": {"io"},
    "PIL": {"io"},
    "tifffile": {"io"},
    "ffmpeg": {"io"},
    "pydantic": {"preset", "toml_values"},
    "pydantic_core": {"preset", "toml_values"},
    "tomllib": {"toml_values"},
    "sqlite3": {"folder"},
    "click": {"cli"},
    "tqdm": {"cli"},
    "torchvision": {"train", "metrics"},
    "accelerate": {"train"},
    "matplotlib": {"train"},
}


def part_of(module: str) -> str:
    """The row in LINES that a module such as vsr.io.probe belongs to: io. Empty for vsr itself."""
    return module.split(".")[1] if "." in module else ""


def imports(tree: ast.Module, module: str, *, is_package: bool) -> Iterator[tuple[str, bool]]:
    """(absolute name, whether importing `module` does it) of all that `module` imports, in functions too."""
    at_import = {id(node) for node in ast.walk(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _is_for_types(node):
            at_import -= {id(inner) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in at_import
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                parents = module.split(".")[: -(node.level - is_package) or None]
                source = ".".join([*parents, *filter(None, [source])])
            if source == "vsr":  # `from vsr import io` names modules
                for alias in node.names:
                    yield f"vsr.{alias.name}", id(node) in at_import
            else:
                yield source, id(node) in at_import


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not node.orelse


def offences(text: str, module: str, *, is_package: bool = False) -> list[str]:
    """What in the source text of `module` breaks the rules, one line each."""
    tree = ast.parse(text)
    part = part_of(module)
    found = []
    if part and part not in RANK:
        found.append(f"{module}: '{part}' has no line in LINES")
    if module.rsplit(".", 1)[-1] in ("util", "utils", "helpers", "misc", "common"):
        found.append(f"{module}: a module is named after what it is about")
    for name, is_at_import in imports(tree, module, is_package=is_package):
        top = name.split(".")[0]
        if top == "vsr":
            found += _inside(module, part, part_of(name), is_at_import)
        elif top in ONLY and not {part, module.removeprefix("vsr.")} & ONLY[top]:
            found.append(f"{module}: imports {top}, which only {', '.join(sorted(ONLY[top]))} may")
        if top == "torchvision" and is_at_import:
            found.append(f"{module}: imports torchvision outside a function")
    if part != "cli" and any(_is_call(node, "print") for node in ast.walk(tree)):
        found.append(f"{module}: prints, which only cli may")
    if part != "cli" and any(_is_log_set_up(node) for node in ast.walk(tree)):
        found.append(f"{module}: configures logging, which only cli may")
    if part != "cli" and any(_is_exit(node) for node in ast.walk(tree)):
        found.append(f"{module}: ends the process, which only cli may")
    return found


def _inside(module: str, part: str, other: str, is_at_import: bool) -> list[str]:
    if not part:  # vsr/__init__.py
        return [f"{module}: imports vsr.{other} before anyone asked"] if is_at_import else []
    if other not in RANK:
        return [] if other in ("__version__", "") else [f"{module}: imports vsr.{other}, which has no line in LINES"]
    if part == other or (part in SHARED and other in SHARED):
        return []
    if RANK.get(part, len(LINES)) >= RANK[other]:
        return [f"{module}: imports {other}, which is not below {part}"]
    return []


def _is_call(node: ast.AST, *names: str) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in names


def _is_log_set_up(node: ast.AST) -> bool:
    return _is_call(node, "logging.basicConfig") or (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "addHandler"
    )


def _is_exit(node: ast.AST) -> bool:
    return _is_call(node, "sys.exit", "os._exit", "exit", "quit") or (
        isinstance(node, ast.Raise) and node.exc is not None and ast.unparse(node.exc).startswith("SystemExit")
    )


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


@pytest.mark.parametrize(("module", "path"), [pytest.param(m, p, id=m) for m, p in modules()])
def test_a_module_keeps_to_its_layer(module, path):
    assert offences(path.read_text(encoding="utf-8"), module, is_package=path.name == "__init__.py") == []


def test_every_module_is_looked_at():
    names = [module for module, _ in modules()]
    assert "vsr" in names
    assert "vsr.cli.upscale" in names
    assert len(names) == len(set(names)) > 20


@pytest.mark.parametrize(
    ("module", "text", "offence"),
    [
        ("vsr.io.probe", "from vsr.video import upscale_video", "imports video, which is not below io"),
        ("vsr.io.probe", "from vsr.engine.color import to_rgb", "imports engine, which is not below io"),
        ("vsr.io.probe", "def f():\n    import vsr.models.catalog as c\n    import vsr.cli", "imports cli, which"),
        ("vsr.io.probe", "from ..engine import color", "imports engine, which is not below io"),
        ("vsr.io.probe", "from .. import video", "imports video, which is not below io"),
        ("vsr.io.probe", "from vsr import video", "imports video, which is not below io"),
        ("vsr.verify", "from vsr.preset import Preset", "imports preset, which is not below verify"),
        ("vsr.frames", "from vsr.models.spec import ModelSpec", "imports models, which is not below frames"),
        ("vsr.models.rrdb", "from vsr.engine.tiling import spans", "imports engine, which is not below models"),
        ("vsr.video", "from vsr.other import thing", "imports vsr.other, which has no line in LINES"),
        ("vsr.other", "", "'other' has no line in LINES"),
        ("vsr.engine.upscaler", "import av", "imports av, which only io may"),
        ("vsr.engine.upscaler", "def f():\n    from av.video import frame", "imports av, which only io may"),
        ("vsr.train.scan", "from PIL import Image", "imports PIL, which only io may"),
        ("vsr.video", "import ffmpeg", "imports ffmpeg, which only io may"),
        ("vsr.video", "import tifffile", "imports tifffile, which only io may"),
        ("vsr.errors", "import click", "imports click, which only cli may"),
        ("vsr.train.scan", "import click", "imports click, which only cli may"),
        ("vsr.video", "from tqdm import tqdm", "imports tqdm, which only cli may"),
        ("vsr.settings", "from pydantic import BaseModel", "imports pydantic, which only preset, toml_values may"),
        ("vsr.engine.resize", "def f():\n    import torchvision", "imports torchvision, which only metrics, train"),
        ("vsr.train.scan", "import torchvision", "imports torchvision outside a function"),
        ("vsr.video", "print('done')", "prints, which only cli may"),
        ("vsr.video", "import logging\nlogging.basicConfig()", "configures logging, which only cli may"),
        ("vsr.video", "import sys\ndef f():\n    sys.exit(1)", "ends the process, which only cli may"),
        ("vsr.video", "raise SystemExit(1)", "ends the process, which only cli may"),
        ("vsr", "from vsr.video import upscale_video", "imports vsr.video before anyone asked"),
        ("vsr", "if TYPE_CHECKING:\n    pass\nelse:\n    import vsr.video", "imports vsr.video before anyone asked"),
        ("vsr", "from . import video", "imports vsr.video before anyone asked"),
        ("vsr.io.utils", "", "a module is named after what it is about"),
    ],
)
def test_each_rule_can_be_broken(module, text, offence):
    found = offences(text, module, is_package=module == "vsr")
    assert any(line.startswith(f"{module}: {offence}") for line in found), found


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("vsr.io.probe", "import av\nfrom vsr.frames import MediaInfo\nfrom vsr.io.pixel_formats import planar_layout"),
        ("vsr.io.probe", "from . import pixels\nfrom ..frames import MediaInfo"),
        ("vsr.stage", "from vsr.errors import Cancelled"),
        ("vsr.train.scan", "from vsr.io.images import read\nfrom vsr.metrics.fidelity import psnr_y"),
        ("vsr.train.scan", "def f():\n    import torchvision"),
        ("vsr.metrics.lpips", "def f():\n    from torchvision.models import squeezenet1_1"),
        ("vsr.cli.upscale", "print(1)\nfrom vsr.video import upscale_video\nfrom vsr import __version__"),
        ("vsr", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from vsr.video import upscale_video"),
        ("vsr.__main__", "from vsr.cli import main\nmain()"),
        ("vsr", "def __getattr__(name):\n    from vsr.video import upscale_video\n    return upscale_video"),
    ],
)
def test_what_the_rules_allow_is_left_alone(module, text):
    assert offences(text, module, is_package=module == "vsr") == []
