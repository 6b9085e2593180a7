"""The last part of a still's way: written under a temporary name, checked, given its times and its own name."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from vsr.disk import sync_file, sync_folder, why_not_written
from vsr.errors import MediaError
from vsr.io.still_read import open_still
from vsr.io.still_write import write_still
from vsr.picture import RenderedPage
from vsr.still_plan import StillPlan


def deliver(
    plan: StillPlan,
    pages: Iterator[RenderedPage],
    *,
    damage: list[str],
    overwrite: bool,
    before_named: Callable[[Path], None] = lambda _: None,
) -> None:
    """Write the pages to the plan's output; it bears its name only when it is whole, checked and on the disk.

    `damage` is read when the last page has come: a picture that is damaged may have fewer. `before_named` is called
    with the finished file while it still bears its temporary name. Raises MediaError, also when the output is there and
    `overwrite` is not given, and whatever the pages raise; nothing is left of a run that fails.
    """
    part = plan.output.with_name(f".vsr-{hashlib.sha256(os.fsencode(plan.output.name)).hexdigest()[:16]}.part")
    try:
        write_still(part, pages, plan.encoding)
        _check(plan, part, is_whole=not damage)
        _give_times(plan.info.path, part)
        sync_file(part)
        if plan.output.exists() and not overwrite:  # it was not there when the run began
            raise MediaError(f"{plan.output}: was made by another program meanwhile; choose another output with -o")
        before_named(part)
        part.replace(plan.output)
    except OSError as e:
        why = why_not_written(e, f"cannot be written: {e}; choose another output with -o")
        raise MediaError(f"{plan.output}: {why}") from e
    finally:
        part.unlink(missing_ok=True)
    sync_folder(plan.output.parent)


def _check(plan: StillPlan, part: Path, *, is_whole: bool) -> None:
    """Hold the header of what was written against the plan."""
    found = open_still(part, max_pixels=1 << 62)
    wanted = {"height": plan.size[0], "width": plan.size[1], "kind": plan.encoding.kind}
    if is_whole:
        wanted["pages"] = plan.info.pages
    wrong = [
        f"{name} is {getattr(found, name)}, not {value}"
        for name, value in wanted.items()
        if getattr(found, name) != value
    ]
    if plan.encoding.metadata.icc is not None and found.metadata.icc != plan.encoding.metadata.icc:
        wrong.append("the colour profile is not there")
    if wrong:
        raise MediaError(f"{plan.output}: fails its own check: {'; '.join(wrong)}; please report this")


def _give_times(source: Path, target: Path) -> None:
    stat = source.stat()
    os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))
