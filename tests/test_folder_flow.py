"""Files of a folder on their way side by side: in bounded memory, counted, and stopped within a moment."""

import threading
import time
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vsr.folder.pictures
import vsr.stills
from tests.still_maker import png, read_back, slope, twice
from vsr.engine.blocks import PictureRenderer
from vsr.engine.upscaler import Upscaler
from vsr.errors import Cancelled
from vsr.events import FileEvent, NetworkEvent, PixelsEvent
from vsr.folder.budget import Budget
from vsr.folder.run import upscale_folder
from vsr.settings import UpscaleSettings
from vsr.stage import Cancel


@pytest.fixture
def settings(nearest) -> UpscaleSettings:
    return UpscaleSettings(model=str(nearest), device="cpu", precision="fp32")


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for k in range(12):
        png(folder / f"{k:02}.png", slope(3, size=(20 + k % 3, 28)))
    return folder


def test_the_budget_lets_in_what_fits_and_the_huge_alone():
    budget, cancel = Budget(100, most=3), Cancel()
    assert budget.take(60, cancel)
    assert not budget.take(50, cancel)
    assert budget.take(40, cancel)
    assert not budget.take(1, cancel)
    budget.give(60)
    budget.give(40)
    assert budget.take(1000, cancel)
    assert not budget.take(1, cancel)
    budget.give(1000)
    assert all(budget.take(1, cancel) for _ in range(3))
    assert not budget.take(1, cancel), "three are as many as there may be"


def test_a_wait_for_memory_ends_when_some_is_given_back():
    budget, cancel = Budget(100, most=9), Cancel()
    assert budget.take(100, cancel)
    threading.Timer(0.01, budget.give, [100]).start()
    while not budget.take(100, cancel):
        pass
    cancel.set()
    with pytest.raises(Cancelled):
        budget.take(0, cancel)


@pytest.mark.parametrize("limit", [1, 5000, 1 << 30])
def test_a_small_budget_changes_nothing_but_the_pace(photos, settings, monkeypatch, limit):
    """At 1 byte every picture is larger than all there is: decoded and rendered while it is written."""
    monkeypatch.setattr(vsr.folder.pictures, "_LARGEST_BUDGET", limit)
    done = upscale_folder(photos, settings=settings)
    assert (done.done, done.failed) == (12, 0)
    for path in photos.iterdir():
        assert np.array_equal(read_back(photos.with_name("photos_x2") / path.name), twice(read_back(path)))


def test_no_more_files_are_on_their_way_than_the_budget_says(photos, settings, monkeypatch):
    there: list[int] = []
    give = Budget.give

    def counted(self, cost):
        there.append(self._count)
        give(self, cost)

    monkeypatch.setattr(Budget, "give", counted)
    monkeypatch.setattr(vsr.folder.pictures, "_MOST_ON_CPU", 3)
    monkeypatch.setattr(vsr.folder.pictures, "_MOST_WORKERS", 1)
    upscale_folder(photos, settings=settings)
    assert len(there) == 12
    assert max(there) <= 3


def test_reading_network_and_writing_overlap(photos, settings, monkeypatch):
    """While the first result is being written, a later one is computed, and a later one still is read."""
    computed, read = threading.Event(), threading.Event()
    pages_of, block_of, deliver = (
        vsr.folder.pictures.pages_of,
        PictureRenderer.block_of,
        vsr.folder.pictures.deliver_work,
    )
    blocks: list[object] = []
    overlaps = []

    def reading(plan):
        if plan.info.path.name == "05.png":
            read.set()
        return pages_of(plan)

    def computing(self, *given):
        blocks.append(given)
        if len(blocks) > 1:
            computed.set()
        return block_of(self, *given)

    def writing(ledger, work, pages):
        if work.found.name == "00.png":
            overlaps.append(computed.wait(30) and read.wait(30))
        return deliver(ledger, work, pages)

    monkeypatch.setattr(vsr.folder.pictures, "pages_of", reading)
    monkeypatch.setattr(PictureRenderer, "block_of", computing)
    monkeypatch.setattr(vsr.folder.pictures, "deliver_work", writing)
    assert upscale_folder(photos, settings=settings).done == 12
    assert overlaps == [True]


def test_on_a_card_pictures_share_batches(photos, settings, monkeypatch):
    """The way taken for a card, with the network on the CPU."""
    batches = []
    run = Upscaler.run

    def noted(self, rgb, **more):
        batches.append(len(rgb))
        return run(self, rgb, **more)

    monkeypatch.setattr(Upscaler, "run", noted)
    monkeypatch.setattr(vsr.folder.pictures, "choose_device", lambda _: (torch.device("cuda"), "as if"))
    assert upscale_folder(photos, settings=settings).done == 12
    assert max(batches) > 1
    assert sum(batches) == 12
    for path in photos.iterdir():
        assert np.array_equal(read_back(photos.with_name("photos_x2") / path.name), twice(read_back(path)))


def test_every_pixel_is_counted_and_the_end_is_known(photos, settings):
    (photos / "bad.png").write_bytes(b"broken")
    frames = [Image.fromarray(slope(3) // k) for k in (1, 2)]
    frames[0].save(photos / "moves.gif", save_all=True, append_images=frames[1:], duration=100)
    events = []
    upscale_folder(photos, settings=settings, on_event=events.append)
    pixels = [event for event in events if isinstance(event, PixelsEvent)]
    total = sum((20 + k % 3) * 28 for k in range(12)) + slope(3)[..., 0].size
    assert pixels[-1] == PixelsEvent(pixels=total, total=total)
    assert all(a.pixels <= b.pixels <= b.total for a, b in pairwise(pixels))


def test_the_end_of_a_folder_of_heic_is_known(tmp_path, settings):
    pillow_heif = pytest.importorskip("pillow_heif")
    folder = tmp_path / "photos"
    folder.mkdir()
    for k in range(4):
        pillow_heif.from_pillow(Image.fromarray(slope(3, size=(64, 64)))).save(folder / f"{k}.heic", quality=90)
    (folder / "bad.heic").write_bytes(b"broken")
    events = []
    done = upscale_folder(folder, settings=settings, on_event=events.append)
    assert (done.done, done.failed) == (4, 1)
    pixels = [event for event in events if isinstance(event, PixelsEvent)]
    assert pixels[-1] == PixelsEvent(pixels=4 * 64 * 64, total=4 * 64 * 64)


def test_events_come_in_the_callers_thread_and_the_network_is_told_once(photos, settings):
    threads = set()
    events = []

    def hear(event):
        threads.add(threading.current_thread())
        events.append(event)

    upscale_folder(photos, settings=settings, on_event=hear)
    assert threads == {threading.current_thread()}
    assert sum(isinstance(event, NetworkEvent) for event in events) == 1


def test_files_come_in_their_order(photos, settings):
    events = []
    upscale_folder(photos, settings=settings, on_event=events.append)
    names = [event.source for event in events if isinstance(event, FileEvent)]
    assert names == sorted(names)


def test_deep_pictures_have_the_precision_that_they_have_alone(photos, monkeypatch):
    png(photos / "deep.png", slope(3, bits=16))
    asked = []
    prepare = vsr.stills.prepare

    def noted(name, **more):
        asked.append(more["fidelity"].psnr)
        return prepare(name, **more)

    monkeypatch.setattr(vsr.stills, "prepare", noted)
    upscale_folder(photos, settings=UpscaleSettings(device="cpu"))
    assert asked == [50, 60]


def test_a_stopped_run_keeps_what_is_done_and_goes_on(photos, settings):
    cancel = Cancel()
    before = threading.active_count()

    def stop(event):
        if isinstance(event, FileEvent):
            cancel.set()

    with pytest.raises(Cancelled, match=r"stopped after \d+ done, 0 skipped, 0 failed; the same command goes on"):
        upscale_folder(photos, settings=settings, on_event=stop, cancel=cancel)
    results = photos.with_name("photos_x2")
    made = list(results.glob("*.png"))
    assert len(made) >= 1
    assert not list(results.glob("*.part"))
    assert threading.active_count() == before
    done = upscale_folder(photos, settings=settings)
    assert done.done + done.skipped == 12
    assert done.skipped == len(made)


def test_a_run_that_is_stopped_before_it_begins_makes_nothing(photos, settings):
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        upscale_folder(photos, settings=settings, cancel=cancel)
    assert not list(photos.with_name("photos_x2").glob("*.png"))


def test_sheets_lie_beside_the_results(photos, settings):
    upscale_folder(photos, settings=replace(settings, sheet=True), include=["00.png"])
    assert (photos.with_name("photos_x2") / "00_sheet.png").exists()


def test_a_sheet_takes_no_others_place(photos, settings):
    png(photos / "00_sheet.png", slope(3))
    results = photos.with_name("photos_x2")
    results.mkdir()
    (results / "01_sheet.png").write_bytes(b"mine")
    events = []
    upscale_folder(photos, settings=replace(settings, sheet=True), include=["00*", "01*"], on_event=events.append)
    notes = {event.source: event.notes for event in events if isinstance(event, FileEvent)}
    assert [note.startswith("no sheet: ") for note in notes["00.png"] + notes["01.png"]] == [True, True]
    assert np.array_equal(read_back(results / "00_sheet.png"), twice(slope(3)))
    assert (results / "01_sheet.png").read_bytes() == b"mine"
    again = replace(settings, sheet=True, strip=True)
    upscale_folder(photos, settings=again, include=["02.png"])
    upscale_folder(photos, settings=replace(again, strip=False), include=["02.png"], on_event=events.append)
    assert events[-2].notes == ()


def test_options_reach_every_file(photos, settings):
    Image.fromarray(slope(3)).save(photos / "said.jpg", comment=b"hello", dpi=(300, 300))
    options = replace(settings, size=(None, 14), strip=True, format="webp", quality=80, passes=2)
    assert upscale_folder(photos, settings=options).done == 13
    with Image.open(photos.with_name("photos_14x") / "said.webp") as made:
        assert made.width == 14


def test_two_passes_and_odd_scales_are_as_alone(photos, settings):
    options = replace(settings, scale=Fraction(5, 2), passes=2)
    upscale_folder(photos, settings=options)
    for path in list(photos.iterdir())[:3]:
        alone = path.with_name("alone.png")
        vsr.stills.upscale_image(path, alone, settings=options)
        assert alone.read_bytes() == (photos.with_name("photos_x2.5") / path.name).read_bytes()
        alone.unlink()


def test_a_slow_disk_does_not_let_memory_grow(photos, settings, monkeypatch):
    """Writers sleep: what has been read but not written stays within the budget's count."""
    largest = 0
    take = Budget.take

    def seen(self, cost, cancel):
        nonlocal largest
        taken = take(self, cost, cancel)
        largest = max(largest, self._count)
        return taken

    deliver = vsr.folder.pictures.deliver_work

    def slow(ledger, work, pages):
        time.sleep(0.02)
        return deliver(ledger, work, pages)

    monkeypatch.setattr(Budget, "take", seen)
    monkeypatch.setattr(vsr.folder.pictures, "deliver_work", slow)
    monkeypatch.setattr(vsr.folder.pictures, "_MOST_ON_CPU", 4)
    monkeypatch.setattr(vsr.folder.pictures, "_MOST_WORKERS", 1)
    assert upscale_folder(photos, settings=settings).done == 12
    assert largest <= 4
