"""The command line: parse, call, show. The only place that prints, sets up logging and knows exit statuses."""

import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

import click

from vsr import __version__
from vsr.cli.degrade import degrade as degrade_command
from vsr.cli.eval import eval_command
from vsr.cli.folder import folder as folder_command
from vsr.cli.models import models
from vsr.cli.presets import presets
from vsr.cli.signals import Interrupted
from vsr.cli.train import train as train_command
from vsr.cli.upscale import upscale as upscale_command
from vsr.cli.verify import verify as verify_command
from vsr.errors import VsrError

_SIGNALLED = 128  # exit statuses above it tell which signal stopped the run

_EPILOG = """\b
Examples:
  vsr upscale clip.mp4
  vsr upscale clip.mp4 --size 1920x1080 --preset anime
  vsr folder photos
  vsr verify clip.mp4 clip_x4.mp4
  vsr degrade photo.jpg --preset video -o sheet.png
  vsr eval --model vsr-fast-x4 --model bicubic --data photos
  vsr models list
  vsr presets list

`vsr COMMAND --help` tells more. Status: 0 done, 1 failed, 2 misuse, 130 or 143 interrupted.
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, epilog=_EPILOG)
@click.version_option(__version__, "-V", "--version", prog_name="vsr", message="%(prog)s %(version)s")
def commands() -> None:
    """Upscale video with the Real-ESRGAN family of networks, and keep everything else as it was."""


commands.add_command(upscale_command)
commands.add_command(folder_command)
commands.add_command(verify_command)
commands.add_command(train_command)
commands.add_command(degrade_command)
commands.add_command(eval_command)
commands.add_command(models)
commands.add_command(presets)


def main() -> None:
    """The `vsr` command.

    Until a command takes over the signals, Ctrl-C ends the process as the system would: Python's own handler would wait
    for the import of torch, which takes seconds, and there is nothing to tidy up yet.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where Ctrl-C is to be ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    status = run()
    if status > _SIGNALLED:
        _leave(status)
    sys.exit(status)


def _leave(status: int) -> None:
    """End at once, where nothing is left to be tidied up: unloading torch takes longer than stopping a run does."""
    import multiprocessing
    import os

    if multiprocessing.active_children():  # which are ended on the way out
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (None is the process's own) and return its exit status.

    An error that the user can mend becomes one line on stderr; every other one is a bug and keeps its traceback.
    """
    try:
        return commands.main(arguments, prog_name="vsr", standalone_mode=False) or 0
    except click.ClickException as e:
        e.show()
        return e.exit_code
    except click.Abort:  # an interrupt before a command has taken over the signals
        return 130
    except VsrError as e:
        click.echo(f"vsr: {e}", err=True)
        return e.status if isinstance(e, Interrupted) else 1
