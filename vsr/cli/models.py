"""`vsr models`: which networks there are, what they are, and how to get them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vsr.cli.options import CORNER, DEVICE

if TYPE_CHECKING:
    from vsr.models.dialects import Dialect

_SHEETS = (".png", ".webp", ".jpg", ".jpeg")
_OFFLINE = click.option("--offline", is_flag=True, help="Ask nothing of the network.")
_QUIET = click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")


@click.group()
def models() -> None:
    """List the networks known by name, look at one, fetch one, or add a file of your own.

    \b
    Examples:
      vsr models list
      vsr models pull realesr-animevideov3
      vsr models info some.pth

    Files are kept in the user's cache, or in the folder that VSR_MODELS names. VSR_MIRRORS holds addresses of folders,
    apart by spaces, that are asked before the official one. VSR_OFFLINE=1 is --offline for all commands.
    """


@models.command(name="list")
@click.option("--markdown", is_flag=True, help="Write the page docs/models/README.md instead.")
def list_models(*, markdown: bool) -> None:
    """List all models by name: whether they are here, their size, speed and licence.

    \b
    Example:
      vsr models list
    """
    from vsr.models.about import explained, listed
    from vsr.models.page import page
    from vsr.models.store import entries
    from vsr.places import models_folder

    if markdown:
        click.echo(page(), nl=False)
        return
    found = entries()
    _echo_table(listed(found))
    click.echo()
    _echo_table([*explained(found), ("kept in", str(models_folder()))])


@models.command()
@click.argument("name", metavar="NAME|FILE")
def info(name: str) -> None:
    """Say what a model or a weights file is, where it is from, and whether it is what it is called.

    \b
    Examples:
      vsr models info realesr-general-x4v3
      vsr models info some.pth
    """
    from vsr.models.about import about

    _echo_table(about(name))


@models.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_OFFLINE
@_QUIET
def pull(names: tuple[str, ...], *, offline: bool, quiet: bool) -> None:
    """Fetch models by NAME and verify them; a transfer that broke off goes on.

    \b
    Example:
      vsr models pull RealESRGAN_x4plus
    """
    from vsr.cli.show import display
    from vsr.cli.signals import stop_on_signals
    from vsr.models.store import find, require_name
    from vsr.stage import Cancel

    for name in names:
        require_name(name)
    cancel = Cancel()
    with display(quiet=quiet, as_json=False) as tell, stop_on_signals(cancel, tell):
        found = [(name, find(name, offline=offline, tell=tell, cancel=cancel)) for name in names]
    if not quiet:
        _echo_table([(name, str(path)) for name, path in found])


@models.command()
@click.argument("source", metavar="FILE|URL")
@click.option("--sha256", metavar="HASH", help="What the file must have; an address needs it.")
@click.option("--name", metavar="NAME", help="To be known by.  [default: the file's own, without suffix]")
@_OFFLINE
@_QUIET
def add(source: str, *, sha256: str | None, name: str | None, offline: bool, quiet: bool) -> None:
    """Keep a weights file of your own, or of someone's, and know it by a name from then on.

    \b
    Examples:
      vsr models add runs/a/model.safetensors --name mine
      vsr models add https://host/4x_some.pth --sha256 0123...
    """
    from vsr.cli.show import display
    from vsr.cli.signals import stop_on_signals
    from vsr.models import add as adding
    from vsr.stage import Cancel

    cancel = Cancel()
    with display(quiet=quiet, as_json=False) as tell, stop_on_signals(cancel, tell):
        entry = adding.add(source, sha256=sha256, name=name, offline=offline, tell=tell, cancel=cancel)
    if not quiet:
        _echo_table([(entry.name, str(entry.path), str(entry.sha256))])


@models.command()
@click.argument("source", metavar="NAME|FILE")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to write, .safetensors or .pth.  [default: the same name here, .safetensors]",
)
@click.option("--half", is_flag=True, help="Write half precision: half the size.")
@click.option(
    "--keys",
    type=click.Choice(["official", "basicsr", "esrgan"]),
    default="official",
    help="Names of the tensors in a .pth, for tools that know older ones only.  [default: official]",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
@_QUIET
def convert(source: str, output: Path | None, *, half: bool, keys: "Dialect", overwrite: bool, quiet: bool) -> None:
    """Write weights in another form: safetensors that explain themselves, or .pth for other tools.

    \b
    Examples:
      vsr models convert old.pth
      vsr models convert mine.safetensors -o mine.pth --keys esrgan
    """
    from vsr.models import convert as converting

    path = converting.convert(source, output, half=half, keys=keys, overwrite=overwrite)
    if not quiet:
        click.echo(path)


@models.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME|FILE...")
@click.argument("picture", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="SHEET",
    help="Where to write: .png, .webp or .jpg.",
)
@click.option("--scale", default=4, show_default=True, type=click.IntRange(1, 16), help="How much larger.")
@click.option("--crop", default=96, show_default=True, type=click.IntRange(16), help="Pixels of the source each way.")
@click.option("--at", type=CORNER, metavar="X,Y", help="Top left corner of the crop.  [default: where most detail is]")
@click.option("--device", type=DEVICE, default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps.")
@_OFFLINE
@click.option("--overwrite", is_flag=True, help="Replace an existing sheet.")
@_QUIET
def show(
    names: tuple[str, ...],
    picture: Path,
    *,
    output: Path,
    scale: int,
    crop: int,
    at: tuple[int, int] | None,
    device: str,
    offline: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Show what models make of one crop of PICTURE, pixel by pixel, with bicubic beside them.

    \b
    Example:
      vsr models show vsr-fast-x4 realesr-general-x4v3 photo.jpg -o sheet.png
    """
    from vsr.cli.show import display
    from vsr.errors import ConfigError
    from vsr.evaluate import show as showing
    from vsr.io.images import write_rgb

    if output.suffix.lower() not in _SHEETS:
        raise ConfigError(f"{output}: '{output.suffix}' is no sheet's; use {', '.join(_SHEETS)}")
    if output.exists() and not overwrite:
        raise ConfigError(f"{output}: is there already; add --overwrite, or choose another output with -o")
    with display(quiet=quiet, as_json=False) as tell:
        sheet = showing.show(names, picture, scale=scale, crop=crop, at=at, device=device, offline=offline, tell=tell)
        write_rgb(output, sheet, quality=95)
    if not quiet:
        click.echo(output)


def _echo_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
