"""How far a folder is, in source pixels. Headers are read ahead, in a thread of their own, so that the end is known."""

import threading

from vsr.errors import MediaError
from vsr.events import PixelsEvent
from vsr.folder.job import Job
from vsr.folder.manifest import Manifest
from vsr.io.images import picture_size
from vsr.stage import Cancel


class Progress:
    """A context manager. Until all headers have been read, the total is what the first ones let expect."""

    def __init__(self, job: Job, manifest: Manifest, files: int, cancel: Cancel) -> None:
        self._job = job
        self._manifest = manifest
        self._files = files
        self._cancel = cancel
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._done = 0
        self._looked = 0  # files whose headers have been read
        self._known = 0  # their pixels
        self._thread = threading.Thread(target=self._look, name="vsr-sizes", daemon=True)

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def add(self, pixels: int) -> None:
        """Count pixels as done. From any thread."""
        with self._lock:
            self._done += pixels

    def event(self) -> PixelsEvent:
        with self._lock:
            expected = self._known * self._files // max(self._looked, 1)
            return PixelsEvent(pixels=self._done, total=max(expected, self._done))

    def _look(self) -> None:
        for found in self._manifest.queued("still"):
            if self._is_over.is_set() or self._cancel.is_set:
                return
            try:
                height, width = picture_size(self._job.source / found.name)
            except MediaError:  # told when its turn comes
                height = width = 0
            with self._lock:
                self._looked += 1
                self._known += height * width
