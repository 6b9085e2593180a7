"""How far a folder is, in source pixels. Headers are read ahead, in a thread of their own, so that the end is known."""

import threading
from itertools import chain

from vsr.errors import MediaError
from vsr.events import PixelsEvent, Tell
from vsr.folder.found import Found
from vsr.folder.job import Job
from vsr.folder.manifest import Manifest
from vsr.io.images import picture_size
from vsr.io.probe import probe
from vsr.io.still_kind import still_kind
from vsr.io.still_read import open_still
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
        self._told: PixelsEvent | None = None
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

    def tell(self, tell: Tell) -> None:
        """Tell how far it is, if that has changed."""
        with self._lock:
            done, expected = self._done, self._known * self._files // max(self._looked, 1)
        self._tell(PixelsEvent(pixels=done, total=max(expected, done)), tell)

    def end(self, tell: Tell) -> None:
        """Tell that what is done is all."""
        self._tell(PixelsEvent(pixels=self._done, total=self._done), tell)

    def _tell(self, now: PixelsEvent, tell: Tell) -> None:
        if now != self._told and now.total:
            self._told = now
            tell(now)

    def _look(self) -> None:
        for found in chain(self._manifest.queued("still"), self._manifest.queued("clip")):
            if self._is_over.is_set() or self._cancel.is_set:
                return
            try:
                pixels = self._pixels(found)
            except MediaError:  # told when its turn comes, which takes no time
                with self._lock:
                    self._files -= 1
                continue
            with self._lock:
                self._looked += 1
                self._known += pixels

    def _pixels(self, found: Found) -> int:
        path = self._job.source / found.name
        if found.sort == "clip":
            video = probe(path).video
            return clip_pixels((video.height, video.width), video.frame_estimate)
        if still_kind(path) == "heic":  # which Pillow does not know
            info = open_still(path, max_pixels=self._job.stills.settings.max_pixels)
            return info.height * info.width
        height, width = picture_size(path)
        return height * width


def clip_pixels(size: tuple[int, int], frames: int | None) -> int:
    """Pixels of all frames of a clip, as far as they can be told."""
    return size[0] * size[1] * (frames or 1)
