"""A file of a folder, as the walk through it tells."""

from dataclasses import dataclass
from typing import Literal

MANIFEST = ".vsr-folder.sqlite"  # in a folder of results

Sort = Literal["still", "clip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file that is to be looked at."""

    name: str  # below the folder, with / between its parts
    sort: Sort
    size: int  # bytes
    mtime_ns: int
    is_twin: bool = False  # another one beside it differs in nothing but the suffix
