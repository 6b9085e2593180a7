"""One HTTP request, from an offset on, that can be given up at any moment.

The standard library's client knows redirects, TLS and the proxies of the environment; what others add (pools, cookies,
sessions, retries of their own) one file at a time does not need, and what decides is the hash of the file.
"""

import http.client
import queue
import re
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from vsr import __version__
from vsr.stage import Cancel

_CHUNK = 1 << 16  # bytes
_QUEUED = 16  # chunks
_POLL = 0.05  # seconds between looks at the cancel token
_AGAIN = (408, 425, 429, 500, 502, 503, 504)  # a server that says these may answer in a moment
_RANGE_NOT_SATISFIABLE = 416


class BrokenTransferError(Exception):
    """The connection failed or fell silent; another attempt may go further."""


class RefusedError(Exception):
    """This address will not give the file."""


class RangeError(Exception):
    """This address has nothing at the offset asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What an answer says before its bytes."""

    start: int  # offset of the first byte: 0 where the server does not continue
    total: int | None  # bytes of the whole file


class Transfer:
    """The bytes at `url` from `start` on. A context manager; `head` first, then iterate.

    The request runs in a thread of its own, which is left to itself when the context ends: whoever waits here can stop
    at once, whatever the network does. `patience` is how many seconds of silence are borne.
    Raises BrokenTransferError, RefusedError or RangeError, and Cancelled once `cancel` is set.
    """

    def __init__(self, url: str, *, start: int, patience: float, cancel: Cancel) -> None:
        self._url, self._start, self._patience, self._cancel = url, start, patience, cancel
        self._queue: queue.Queue[Head | bytes | Exception | None] = queue.Queue(_QUEUED)
        self._is_over = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._run, name="vsr-transfer", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()

    def head(self) -> Head:
        first = self._next()
        assert isinstance(first, Head)
        return first

    def __iter__(self) -> Iterator[bytes]:
        while (chunk := self._next()) is not None:
            assert isinstance(chunk, bytes)
            yield chunk

    def _next(self) -> Head | bytes | None:
        until = time.monotonic() + self._patience
        while True:
            self._cancel.check()
            with suppress(queue.Empty):
                item = self._queue.get(timeout=_POLL)
                if isinstance(item, Exception):
                    raise item
                return item
            if time.monotonic() > until:
                raise BrokenTransferError(f"silent for {self._patience:g} seconds")

    def _run(self) -> None:
        try:
            with self._open() as response:
                self._put(_head(response, self._start))
                while not self._is_over.is_set() and (chunk := response.read1(_CHUNK)):
                    self._put(chunk)
            self._put(None)
        except (OSError, http.client.HTTPException, ValueError, RefusedError, RangeError) as e:
            self._put(_named(e))

    def _open(self) -> http.client.HTTPResponse:
        asked = {"User-Agent": f"vsr/{__version__}", "Accept-Encoding": "identity"}  # the bytes as they are hashed
        if self._start:
            asked["Range"] = f"bytes={self._start}-"
        return _opener().open(urllib.request.Request(self._url, headers=asked), timeout=self._patience)

    def _put(self, item: Head | bytes | Exception | None) -> None:
        while not self._is_over.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=_POLL)
                return


def _opener() -> urllib.request.OpenerDirector:
    """HTTP and HTTPS only: no redirect leads to a file or to FTP."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),  # http_proxy, https_proxy, no_proxy, or the system's
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _head(response: http.client.HTTPResponse, asked: int) -> Head:
    length = response.headers.get("Content-Length", "")
    size = int(length) if length.isascii() and length.isdecimal() else None
    if response.status != http.client.PARTIAL_CONTENT:
        return Head(start=0, total=size)
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""), re.ASCII)
    if found is None or int(found[1]) != asked:
        raise RangeError("answers with another part than was asked for")
    return Head(start=asked, total=None if found[2] == "*" else int(found[2]))


def _named(error: Exception) -> Exception:
    """The same failure as one of this module's errors, with a reason for people."""
    if isinstance(error, RefusedError | RangeError):
        return error
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        said = f"HTTP {error.code} {error.reason}".strip()
        if error.code == _RANGE_NOT_SATISFIABLE:
            return RangeError(said)
        return BrokenTransferError(said) if error.code in _AGAIN else RefusedError(said)
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return RefusedError(f"its certificate is not trusted: {reason.verify_message}")
    told = reason.strerror if isinstance(reason, OSError) else None
    said = " ".join((told or str(reason)).split()) or type(reason).__name__
    if isinstance(reason, ValueError):  # no address at all
        return RefusedError(said)
    is_broken = error is reason or isinstance(reason, TimeoutError | ConnectionResetError | ssl.SSLError)
    return BrokenTransferError(said) if is_broken else RefusedError(said)
