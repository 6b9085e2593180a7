"""A local HTTP server that misbehaves on order."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class FileServer:
    """Serves `content` at every path that ends in a file's name, and whatever `trouble` says first."""

    content: bytes
    url: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # (path or address, Range) of each request
    has_ranges: bool = True
    status: int = 200  # of every answer
    cuts: int = 0  # answers still to be broken off in the middle
    pause: float = 0.0  # seconds before the second half of each answer
    tells_length: bool = True
    offered: bytes | None = None  # another content


@contextmanager
def serving(content: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A running server; vsr may ask the network meanwhile, and does so without the machine's own proxy."""
    for name in ("VSR_OFFLINE", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "VSR_MIRRORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = FileServer(content)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format, *args):  # noqa: A002  # the name of the base
            pass

        def do_GET(self):
            _answer(self, state)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        http.block_on_close = False
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        state.url = f"http://127.0.0.1:{http.server_port}"
        try:
            yield state
        finally:
            http.shutdown()
            thread.join()


def _answer(request: BaseHTTPRequestHandler, state: FileServer) -> None:
    wanted = request.headers.get("Range")
    state.asked.append((request.path, wanted))
    if request.path.startswith("/moved/"):
        request.send_response(302)
        request.send_header("Location", f"{state.url}/found/{request.path.removeprefix('/moved/')}")
        request.end_headers()
        return
    content = state.content if state.offered is None else state.offered
    start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and state.has_ranges else 0
    if state.status != 200:
        request.send_error(state.status)
        return
    if start >= len(content):
        request.send_error(416)
        return
    request.send_response(206 if start else 200)
    if start:
        request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    if state.tells_length:
        request.send_header("Content-Length", str(len(content) - start))
    request.end_headers()
    half = (start + len(content)) // 2
    request.wfile.write(content[start:half])
    if state.cuts:
        state.cuts -= 1
        request.close_connection = True
        return
    time.sleep(state.pause)
    with suppress(OSError):  # whoever asked may have had enough
        request.wfile.write(content[half:])
