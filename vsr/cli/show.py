"""How a run is shown: as text on stderr with a progress bar, as JSON on stdout, or not at all."""

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from tqdm import tqdm

from vsr.cli.texts import (
    done_text,
    file_text,
    folder_done_text,
    folder_text,
    network_text,
    plan_text,
    verified_text,
)
from vsr.errors import MediaError, VsrError
from vsr.events import (
    ComparedEvent,
    DoneEvent,
    DownloadEvent,
    ErrorEvent,
    Event,
    FileEvent,
    FindingEvent,
    FolderDoneEvent,
    FolderEvent,
    NetworkEvent,
    NoteEvent,
    PixelsEvent,
    PlanEvent,
    ProgressEvent,
    SegmentEvent,
    TrainEvent,
    ValidationEvent,
    VerifiedEvent,
)

NAMES = {
    PlanEvent: "plan",
    NoteEvent: "note",
    ProgressEvent: "progress",
    PixelsEvent: "pixels",
    SegmentEvent: "segment",
    DoneEvent: "done",
    FolderEvent: "folder",
    NetworkEvent: "network",
    FileEvent: "file",
    FolderDoneEvent: "folder_done",
    ErrorEvent: "error",
    TrainEvent: "train",
    ValidationEvent: "validation",
    ComparedEvent: "compared",
    FindingEvent: "finding",
    VerifiedEvent: "verified",
    DownloadEvent: "download",
}
_Steady = ProgressEvent | PixelsEvent | TrainEvent | DownloadEvent  # told often; the last one is told in any case
_JSON_INTERVAL = 0.25  # seconds between two progress lines
_TEXT_INTERVAL = 30.0  # the same where no bar can move
_BAR = "{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} frames, {rate_noinv_fmt}, {remaining} left{postfix}"
_PIXELS_BAR = "{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt}pixels, {rate_noinv_fmt}, {remaining} left{postfix}"
_TRAIN_BAR = "{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} steps, {remaining} left{postfix}"
_BAR_WITHOUT_TOTAL = "{n_fmt} frames, {rate_noinv_fmt}, {elapsed} gone{postfix}"


@contextmanager
def display(*, quiet: bool, as_json: bool, verbose: bool = False) -> Iterator[Callable[[Event], None]]:
    """What to call with each event, from any thread. `verbose` tells of each file of a folder."""
    shown = _Json() if as_json else _Nothing() if quiet else _Text(verbose)
    lock = threading.Lock()

    def show(event: Event) -> None:
        with lock:
            shown.show(event)

    try:
        yield show
    except VsrError as e:
        shown.show(ErrorEvent(message=str(e)))
        raise
    finally:
        shown.close()


def show_logs(*, quiet: bool, verbose: bool) -> None:
    """Send the log of vsr to stderr: warnings and errors; all of it if `verbose`, errors if `quiet`.

    What PyAV hands on of libav's log is shown only if `verbose`.
    """
    handler = _LogHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    level = logging.ERROR if quiet else logging.DEBUG if verbose else logging.WARNING
    for name, least in (("vsr", level), ("libav", max(level, logging.WARNING) if verbose else logging.CRITICAL)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(least)
        logger.propagate = False


class _LogHandler(logging.Handler):
    """Writes above the progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        _line(self.format(record))


def _line(text: str) -> None:
    """A line on stderr, above the bar if there is one."""
    tqdm.write(text, file=sys.stderr)


def _print_object(fields: dict[str, object]) -> None:
    try:
        sys.stdout.write(json.dumps(fields) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise  # whoever read has had enough
    except OSError as e:
        raise MediaError(f"stdout: cannot be written: {e.strerror}; send --json elsewhere") from e


class _Nothing:
    """What -q shows: files that failed. Errors are told by `vsr.cli.run`."""

    def show(self, event: Event | ErrorEvent) -> None:
        if isinstance(event, FileEvent) and event.state == "failed":
            _line(file_text(event))

    def close(self) -> None:
        pass


class _Json:
    """Every event as one object a line; progress at most four times a second, and always the last one."""

    def __init__(self) -> None:
        self._held: _Steady | None = None
        self._next = 0.0

    def show(self, event: Event | ErrorEvent) -> None:
        if not isinstance(event, _Steady):
            self.close()
            _print_object({"event": NAMES[type(event)], **asdict(event)})
            return
        self._held = event
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _JSON_INTERVAL
            self.close()

    def close(self) -> None:
        """Print the progress that was held back, if any."""
        held, self._held = self._held, None
        if held is not None:
            _print_object({"event": NAMES[type(held)], **asdict(held)})


class _Text:
    """The plan as a block, notes as lines, progress as a bar (as a line now and then where stderr is no terminal)."""

    def __init__(self, verbose: bool) -> None:
        self._verbose = verbose
        self._failed: list[str] = []
        self._bar: tqdm | None = None
        self._next = time.monotonic() + _TEXT_INTERVAL

    def show(self, event: Event | ErrorEvent) -> None:
        match event:
            case PlanEvent():
                _line(plan_text(event))
            case NoteEvent():
                _line(f"note: {event.message}")
            case ProgressEvent():
                self._progress(event)
            case PixelsEvent():
                self._pixels(event)
            case TrainEvent():
                self._train(event)
            case DownloadEvent():
                self._download(event)
            case ValidationEvent():
                figures = ", ".join(f"{name} {value:.4g}" for name, value in event.figures.items())
                _line(f"{event.stage} {event.step}: {figures}{', the best so far' if event.is_best else ''}")
            case FindingEvent():
                self.close()
                sys.stdout.write(f"{event.output}: {event.message}\n")
            case VerifiedEvent():
                self.close()
                _line(verified_text(event))
            case SegmentEvent() | ComparedEvent() | ErrorEvent():  # `vsr.cli.run` tells the error
                pass
            case DoneEvent():
                self.close()
                _line(done_text(event))
            case FolderEvent():
                _line(folder_text(event))
            case NetworkEvent():
                _line(network_text(event))
            case FileEvent():
                self._file(event)
            case FolderDoneEvent():
                self.close()
                _line(folder_done_text(event))

    def close(self) -> None:
        """End the bar, and list what failed, at the end or when the run is stopped."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        for line in self._failed:
            _line(line)
        self._failed.clear()

    def _file(self, event: FileEvent) -> None:
        if event.state == "failed":
            self._failed.append(file_text(event))
        if self._verbose:
            _line(file_text(event))
            for note in event.notes:
                _line(f"  note: {note}")

    def _progress(self, event: ProgressEvent) -> None:
        if sys.stderr.isatty():
            self._move_bar(event)
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + _TEXT_INTERVAL
            total = "" if event.total is None else f"/{event.total}"
            _line(f"{event.frames}{total} frames, waits for {event.waits_for}")

    def _pixels(self, event: PixelsEvent) -> None:
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm(
                    total=event.total,
                    unit="pixels",
                    unit_scale=True,
                    bar_format=_PIXELS_BAR,
                    dynamic_ncols=True,
                    file=sys.stderr,
                )
            self._bar.total = event.total
            failed = f"{len(self._failed)} failed" if self._failed else ""
            self._bar.set_postfix_str(failed, refresh=False)
            self._bar.update(event.pixels - self._bar.n)
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + _TEXT_INTERVAL
            _line(f"{event.pixels / 1e6:.1f}/{event.total / 1e6:.1f} million pixels")

    def _train(self, event: TrainEvent) -> None:
        said = f"loss {event.loss:.4f}, {event.images_per_s:.1f} images/s, {event.waiting:.0%} waiting"
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm(total=event.steps, bar_format=_TRAIN_BAR, dynamic_ncols=True, file=sys.stderr)
                self._bar.initial = self._bar.n = self._bar.last_print_n = event.step
            self._bar.set_postfix_str(f"{event.stage}: {said}", refresh=False)
            self._bar.update(event.step - self._bar.n)
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + _TEXT_INTERVAL
            _line(f"{event.stage} {event.step}/{event.steps}: {said}")

    def _download(self, event: DownloadEvent) -> None:
        """A bar in bytes, of one file; it goes when the file is whole."""
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            self._bar = tqdm(
                total=event.total,
                desc=event.file,
                unit="B",
                unit_scale=True,
                initial=event.received,
                dynamic_ncols=True,
                leave=False,
                file=sys.stderr,
            )
        self._bar.update(event.received - self._bar.n)
        if event.received == event.total:
            self.close()

    def _move_bar(self, event: ProgressEvent) -> None:
        if self._bar is None:
            self._bar = tqdm(
                total=event.total,
                unit=" frames",
                bar_format=_BAR_WITHOUT_TOTAL if event.total is None else _BAR,
                dynamic_ncols=True,
                file=sys.stderr,
                initial=event.frames,  # what an earlier run has done is no speed of this one
            )
        self._bar.set_postfix_str(f"waits for {event.waits_for}", refresh=False)
        self._bar.update(event.frames - self._bar.n)
