"""Decoded pictures: all in one piece of shared memory where they fit, else the latest ones of each process."""

import math
import os
import shutil
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from vsr.errors import MediaError
from vsr.io.images import picture_size, read_rgb

RECENT_BYTES = 256 << 20  # decoded pictures that a process remembers when they do not all fit into memory
_UNKNOWN_BYTES = 2 << 30  # taken for free where the system does not tell


def read_picture(path: Path) -> Tensor:
    """(3, H, W) uint8. Raises MediaError when it cannot be read."""
    return torch.from_numpy(read_rgb(path).copy()).permute(2, 0, 1).contiguous()


class RecentPictures:
    """Reads pictures when asked for and remembers the latest, by process: what is pickled arrives empty."""

    def __init__(self, budget_bytes: int = RECENT_BYTES) -> None:
        self._budget_bytes = budget_bytes
        self._kept: OrderedDict[Path, Tensor] = OrderedDict()
        self._bytes = 0

    def __call__(self, path: Path) -> Tensor:
        """As `read_picture`; not to be written to."""
        picture = self._kept.pop(path, None)
        if picture is None:
            picture = read_picture(path)
            self._bytes += picture.numel()
        self._kept[path] = picture
        while self._bytes > self._budget_bytes and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].numel()
        return picture

    def __reduce__(self) -> tuple[type["RecentPictures"], tuple[int]]:
        return RecentPictures, (self._budget_bytes,)


class PictureStore:
    """Every picture decoded once and shared with worker processes, if together they fit into `budget_bytes`.

    Else it reads as `RecentPictures` does; the pixels are the same. The budget is half of the free memory by default,
    and never more than half of the free shared memory, which workers need for their samples, too. `bytes` is what it
    takes; `damaged` tells for files that turned out unreadable why.
    """

    def __init__(self, paths: Iterable[Path], *, budget_bytes: int | None = None, threads: int | None = None) -> None:
        self.damaged: dict[Path, str] = {}
        self.bytes = 0
        self._recent = RecentPictures()
        self._memory = torch.empty(0, dtype=torch.uint8)
        self._places: dict[Path, tuple[int, int]] = {}  # first byte and count
        self._shapes: dict[Path, tuple[int, ...]] = {}
        budget = available_bytes() // 2 if budget_bytes is None else budget_bytes
        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            unique = sorted(set(paths))
            needed = self._planned(unique, list(pool.map(self._size, unique)))
            if 0 < needed <= min(budget, shared_bytes() // 2):
                self._memory = torch.empty(needed, dtype=torch.uint8).share_memory_()
                self.bytes = needed
                list(pool.map(self._decode, list(self._places)))

    def __call__(self, path: Path) -> Tensor:
        """(3, H, W) uint8, not to be written to. Raises MediaError when it must be read and cannot be."""
        shape = self._shapes.get(path)
        if shape is None:
            return self._recent(path)
        first, count = self._places[path]
        return self._memory[first : first + count].view(shape)

    def _size(self, path: Path) -> int:
        """Bytes of the decoded picture, 0 of one that is damaged."""
        try:
            return 3 * math.prod(picture_size(path))
        except MediaError as e:
            self.damaged[path] = str(e)
            return 0

    def _planned(self, paths: Sequence[Path], counts: Sequence[int]) -> int:
        """Give every picture its place; how many bytes there are in all."""
        first = 0
        for path, count in zip(paths, counts, strict=True):
            if count:
                self._places[path] = (first, count)
                first += count
        return first

    def _decode(self, path: Path) -> None:
        first, count = self._places[path]
        try:
            picture = read_picture(path)
        except MediaError as e:
            self.damaged[path] = str(e)
            return
        if picture.numel() != count:
            self.damaged[path] = f"{path}: is not as large as its header says; save it anew"
            return
        self._memory[first : first + count] = picture.flatten()
        self._shapes[path] = tuple(picture.shape)  # decoded may be turned otherwise than the header lets one expect


def available_bytes() -> int:
    """Memory that programs can still take, within the limits of a container; a guess where no one tells."""
    free = [_UNKNOWN_BYTES]
    meminfo = _text("/proc/meminfo").split()
    if "MemAvailable:" in meminfo:
        free = [int(meminfo[meminfo.index("MemAvailable:") + 1]) << 10]
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        free = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2]
    limit, used = _text("/sys/fs/cgroup/memory.max").strip(), _text("/sys/fs/cgroup/memory.current").strip()
    if limit.isdecimal() and used.isdecimal():
        free.append(max(0, int(limit) - int(used)))
    return min(free)


def shared_bytes() -> int:
    """Memory that processes can still share: containers often have little of it. Elsewhere as much as there is."""
    shared = Path("/dev/shm")
    return shutil.disk_usage(shared).free if shared.is_dir() else available_bytes()


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
