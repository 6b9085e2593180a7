"""Fetching a file: every way in which the network, the server or the disk lets one down."""

import errno
import hashlib
import multiprocessing
import os
import random
import re
import shutil
import socket
import sys
import threading
from collections import namedtuple
from pathlib import Path

import pytest

from tests.file_server import FileServer, serving
from vsr import download as module
from vsr.download import download
from vsr.errors import Cancelled, DownloadError
from vsr.events import DownloadEvent, NoteEvent
from vsr.stage import Cancel

CONTENT = random.Random(0).randbytes(300_000)  # the same in other processes
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "_PAUSE", 0.01)
    with serving(CONTENT, monkeypatch) as state:
        yield state


@pytest.fixture
def dst(tmp_path: Path) -> Path:
    return tmp_path / "models" / "net.pth"


def fetch(server: FileServer, dst: Path, *urls: str, size: int | None = len(CONTENT), sha256=SHA256, cancel=None):
    """What was told."""
    told: list[DownloadEvent | NoteEvent] = []
    download(
        urls or [f"{server.url}/net.pth"],
        dst,
        sha256=sha256,
        size=size,
        tell=told.append,
        cancel=cancel or Cancel(),
    )
    return told


def part_of(dst: Path) -> Path:
    return dst.with_name(f".{dst.name}.part")


def begun(dst: Path, content: bytes) -> None:
    dst.parent.mkdir()
    part_of(dst).write_bytes(content)


def require_nothing_under_the_name(dst: Path) -> None:
    assert not dst.exists()
    assert {path.name for path in dst.parent.iterdir()} <= {f".{dst.name}.lock", f".{dst.name}.part"}


def test_a_file_arrives_whole_under_its_name_and_nothing_else_stays_but_the_lock(server, dst):
    told = fetch(server, dst)
    assert dst.read_bytes() == CONTENT
    assert [path.name for path in sorted(dst.parent.iterdir())] == [".net.pth.lock", "net.pth"]
    assert told[0] == DownloadEvent(file="net.pth", received=0, total=len(CONTENT))
    assert told[-1] == DownloadEvent(file="net.pth", received=len(CONTENT), total=len(CONTENT))


@pytest.mark.parametrize("tells_length", [True, False])
def test_a_file_of_unknown_size_arrives_too(server, dst, tells_length):
    server.tells_length = tells_length
    told = fetch(server, dst, size=None)
    assert dst.read_bytes() == CONTENT
    assert told[-1] == DownloadEvent(file="net.pth", received=len(CONTENT), total=len(CONTENT))


def test_a_file_with_another_hash_never_gets_the_name(server, dst):
    server.offered = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(DownloadError, match=rf"{server.url}/net.pth: gives another file, with SHA-256 [0-9a-f]{{64}}$"):
        fetch(server, dst)
    require_nothing_under_the_name(dst)
    assert not part_of(dst).exists()


@pytest.mark.parametrize(("size", "said"), [(len(CONTENT), "offers 9 bytes, not 300000"), (None, "another file")])
def test_a_page_in_place_of_the_file_is_refused(server, dst, size, said):
    server.offered = b"<html></h"
    with pytest.raises(DownloadError, match=said):
        fetch(server, dst, size=size)
    require_nothing_under_the_name(dst)


def test_an_answer_without_end_is_cut_off(server, dst, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    server.tells_length = False
    with pytest.raises(DownloadError, match="gives more than 1000 bytes"):
        fetch(server, dst, size=None)


def test_a_cut_transfer_goes_on_where_it_broke_off(server, dst):
    server.cuts = 2
    fetch(server, dst)
    assert dst.read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, "bytes=150000-", "bytes=225000-"]


def test_what_an_earlier_run_left_is_continued(server, dst):
    begun(dst, CONTENT[:1000])
    told = fetch(server, dst)
    assert dst.read_bytes() == CONTENT
    assert server.asked == [("/net.pth", "bytes=1000-")]
    assert told[0] == DownloadEvent(file="net.pth", received=1000, total=len(CONTENT))


def test_what_an_earlier_run_left_whole_asks_for_nothing(server, dst):
    begun(dst, CONTENT)
    fetch(server, dst)
    assert (dst.read_bytes(), server.asked) == (CONTENT, [])


@pytest.mark.parametrize("left", [b"another file", CONTENT + b"more", bytes(len(CONTENT))])
@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_what_does_not_fit_together_is_fetched_anew(server, dst, left, size):
    begun(dst, left)
    fetch(server, dst, size=size)
    assert dst.read_bytes() == CONTENT


def test_a_server_without_ranges_sends_it_from_the_beginning(server, dst):
    server.has_ranges = False
    server.cuts = 1
    fetch(server, dst)
    assert dst.read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_server_that_always_breaks_off_is_given_up(server, dst):
    server.has_ranges = False
    server.cuts = 99
    with pytest.raises(DownloadError, match="breaks off after 150000 of 300000 bytes"):
        fetch(server, dst)
    assert len(server.asked) == 4
    require_nothing_under_the_name(dst)


def test_a_missing_page_is_asked_for_once(server, dst):
    server.status = 404
    with pytest.raises(DownloadError, match=r"/net.pth: HTTP 404 Not Found$"):
        fetch(server, dst)
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again(server, dst):
    server.status = 503
    with pytest.raises(DownloadError, match="HTTP 503"):
        fetch(server, dst)
    assert len(server.asked) == 4


def test_a_redirect_is_followed_and_continued(server, dst):
    begun(dst, CONTENT[:1000])
    fetch(server, dst, f"{server.url}/moved/net.pth")
    assert dst.read_bytes() == CONTENT
    assert server.asked == [("/moved/net.pth", "bytes=1000-"), ("/found/net.pth", "bytes=1000-")]


def test_no_redirect_leads_to_a_file_of_this_machine(server, dst, tmp_path):
    (tmp_path / "net.pth").write_bytes(CONTENT)
    address, server.url = server.url, f"file://{tmp_path}"
    with pytest.raises(DownloadError, match="not allowed"):
        fetch(server, dst, f"{address}/moved/net.pth")
    with pytest.raises(DownloadError, match="unknown url type: file"):
        fetch(server, dst, f"file://{tmp_path}/net.pth")


def test_a_silent_server_is_given_up_after_a_while(server, dst, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    server.has_ranges, server.pause = False, 5
    with pytest.raises(DownloadError, match=r"silent for 0\.1 seconds|timed out"):
        fetch(server, dst)
    assert part_of(dst).stat().st_size == 150_000  # to be continued


def test_a_slow_server_is_borne(server, dst, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 5)
    server.pause = 0.3
    fetch(server, dst)
    assert len(server.asked) == 1


def test_the_next_address_is_asked_where_one_fails_and_goes_on_with_what_arrived(server, dst):
    server.cuts, server.has_ranges = 99, False
    with pytest.raises(DownloadError):
        fetch(server, dst)
    server.cuts, server.has_ranges = 0, True
    with socket.socket() as bound:  # never listens
        bound.bind(("127.0.0.1", 0))
        fetch(server, dst, f"http://127.0.0.1:{bound.getsockname()[1]}/net.pth", f"{server.url}/net.pth")
    assert dst.read_bytes() == CONTENT
    assert server.asked[-1] == ("/net.pth", "bytes=150000-")


def test_all_addresses_that_failed_are_named(server, dst):
    server.status = 404
    with pytest.raises(DownloadError, match=r"/a/net.pth: HTTP 404 Not Found; http.*/b/net.pth: HTTP 404 Not Found$"):
        fetch(server, dst, f"{server.url}/a/net.pth", f"{server.url}/b/net.pth")


def test_the_proxy_of_the_environment_is_asked(server, dst, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    fetch(server, dst, "http://models.invalid/net.pth")
    assert dst.read_bytes() == CONTENT
    assert server.asked == [("http://models.invalid/net.pth", None)]


def in_another_process(url: str, dst: Path) -> None:
    download([url], dst, sha256=SHA256, size=len(CONTENT), tell=lambda _: None, cancel=Cancel())


def test_two_processes_at_once_fetch_it_once(server, dst):
    server.pause = 1
    other = multiprocessing.get_context("spawn").Process(target=in_another_process, args=(f"{server.url}/net.pth", dst))
    other.start()
    while not server.asked:
        other.join(0.01)
    told = fetch(server, dst)
    other.join()
    assert other.exitcode == 0
    assert dst.read_bytes() == CONTENT
    assert len(server.asked) == 1
    assert told == [NoteEvent(message="net.pth: another process is fetching it; waiting for that")]


def test_a_process_that_was_killed_leaves_no_lock(server, dst):
    server.pause = 60
    other = multiprocessing.get_context("spawn").Process(target=in_another_process, args=(f"{server.url}/net.pth", dst))
    other.start()
    while not part_of(dst).exists() or part_of(dst).stat().st_size == 0:
        other.join(0.01)
    other.kill()
    other.join()
    server.pause = 0
    fetch(server, dst)
    assert dst.read_bytes() == CONTENT


def test_a_disk_without_locks_is_written_to_all_the_same(server, dst, monkeypatch):
    def refused(*_, **__):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(module.FileLock, "acquire", refused)
    fetch(server, dst)
    assert dst.read_bytes() == CONTENT


def test_a_full_disk_stops_it_and_leaves_no_name(server, dst):
    dst.parent.mkdir()
    part_of(dst).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        fetch(server, dst)
    assert not dst.exists()


def test_a_disk_that_is_too_small_stops_it_before_the_first_byte(server, dst, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(1000))
    with pytest.raises(OSError, match="No space left"):
        fetch(server, dst)
    assert not part_of(dst).exists()


def test_a_stop_is_heard_at_once_and_what_arrived_is_kept(server, dst, monkeypatch):
    server.pause = 60
    cancel = Cancel()

    def stop_in_the_middle(event: DownloadEvent | NoteEvent) -> None:
        if isinstance(event, DownloadEvent) and event.received == 150_000:
            threading.Timer(0.1, cancel.set).start()

    with pytest.raises(Cancelled):
        download(
            [f"{server.url}/net.pth"],
            dst,
            sha256=SHA256,
            size=len(CONTENT),
            tell=stop_in_the_middle,
            cancel=cancel,
        )
    assert part_of(dst).stat().st_size == 150_000


@pytest.mark.parametrize("url", ["http://", "http://[", "nonsense", "http://127.0.0.1:99999/net.pth"])
def test_no_address_at_all_is_told(server, dst, url):
    with pytest.raises(DownloadError, match=r"^[^\n]+$"):
        fetch(server, dst, url)


def test_a_bar_in_bytes_is_shown_on_a_terminal_from_what_was_there_on(server, dst, monkeypatch, capsys):
    from vsr.cli.show import display

    begun(dst, CONTENT[:150_000])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with display(quiet=False, as_json=False) as tell:
        download([f"{server.url}/net.pth"], dst, sha256=SHA256, tell=tell, cancel=Cancel())
        tell(NoteEvent(message="done"))
    shown = capsys.readouterr().err
    assert re.search(r"net\.pth:  50%\|.*150k/300k", shown)
    assert shown.splitlines()[-1].strip() == "note: done"  # the bar is gone


@pytest.mark.parametrize(("said", "is_off"), [("1", True), ("yes", True), ("", False), ("0", False), ("False", False)])
def test_the_environment_may_keep_vsr_off_the_network(said, is_off, monkeypatch):
    monkeypatch.setenv("VSR_OFFLINE", said)
    assert module.is_offline() == is_off
