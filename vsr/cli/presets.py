"""`vsr presets`: what presets there are, and what one says."""

import click


@click.group()
def presets() -> None:
    """List the presets, or show what one holds.

    \b
    Examples:
      vsr presets list
      vsr presets show anime > mine.toml
      vsr upscale clip.mp4 --preset mine.toml
    """


@presets.command(name="list")
def list_presets() -> None:
    """List the presets that come with vsr, one a line.

    \b
    Example:
      vsr presets list
    """
    from vsr.preset import load_preset, preset_names

    names = preset_names()
    width = max(map(len, names), default=0)
    for name in names:
        click.echo(f"{name:{width}}  {load_preset(name).description}")


@presets.command()
@click.argument("name")
def show(name: str) -> None:
    """Print the TOML of the preset NAME, a name or a file; a changed copy can be given to --preset.

    \b
    Example:
      vsr presets show film
    """
    from vsr.preset import load_preset, preset_text

    load_preset(name)  # a file that cannot be used is not shown as if it could
    click.echo(preset_text(name), nl=False)
