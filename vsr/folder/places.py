"""Where the result of each file goes, and whether what is there already may be replaced."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from vsr.errors import MediaError
from vsr.folder.found import Found
from vsr.folder.job import Job
from vsr.folder.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The mirrored tree. Names are given out in the order of the files, so that they are the same in every run."""

    job: Job
    manifest: Manifest

    def name(self, found: Found, suffix: str) -> str:
        """The name below the output folder for a result with this suffix: the source's own, as far as that goes."""
        for name in _names(found, suffix):
            is_anothers = name != found.name and os.path.lexists(self.job.source / name)
            if not is_anothers and not self._is_made(name, found) and self.manifest.claim(name, found.name):
                return name
        raise AssertionError("there is always another number")

    def _is_made(self, name: str, found: Found) -> bool:
        """Whether another source, which is still there, was made into that name before."""
        others = (row.source for row in self.manifest.makers(name) if row.source != found.name)
        return any(os.path.lexists(self.job.source / other) for other in others)

    def is_ours(self, name: str) -> bool:
        """Whether what is there was put there by this or an earlier run, and by nobody else since."""
        status = (self.job.output / name).lstat()
        return any(
            row.state == "replacing" or (row.output_size, row.output_mtime_ns) == (status.st_size, status.st_mtime_ns)
            for row in self.manifest.makers(name)
        )

    def may_write(self, name: str) -> bool:
        """Whether a result may go there; False where something is that is to be left.

        Raises Taken when it is neither ours nor to be replaced or left.
        """
        if not os.path.lexists(self.job.output / name):
            return True
        if self.job.stills.settings.overwrite or self.is_ours(name):
            return True
        if self.job.skip_existing:
            return False
        raise Taken(
            f"{self.job.output / name}: is there already and not from here; "
            "add --overwrite, or --skip-existing to keep such files"
        )


class Taken(MediaError):  # noqa: N818  # says what it is
    """A result's place is taken. Nothing is wrong with the file itself, so the manifest does not remember it."""


def _names(found: Found, suffix: str) -> Iterator[str]:
    """Names in the order in which they are tried; twins whose formats become one keep both suffixes."""
    plain = found.name.removesuffix(Path(found.name).suffix)
    if found.name == plain + suffix:
        yield found.name
        yield from (f"{plain}_{number}{suffix}" for number in count(2))
    if not found.is_twin:
        yield plain + suffix
    yield found.name + suffix
    yield from (f"{found.name}_{number}{suffix}" for number in count(2))
