"""The stills of a folder, from queue to result."""

from collections.abc import Iterator

from vsr.events import FileEvent, Tell
from vsr.folder.job import Job
from vsr.folder.making import Maker
from vsr.folder.manifest import Manifest
from vsr.folder.places import Places
from vsr.stage import Cancel
from vsr.stills import Network, network_event, open_network, rendered_pages


def make_pictures(job: Job, manifest: Manifest, tell: Tell, cancel: Cancel) -> Iterator[FileEvent]:
    """Make every still in the manifest's queue, one after the other."""
    maker = Maker(job=job, manifest=manifest, places=Places(job=job, manifest=manifest))
    networks: dict[bool, Network] = {}
    for found in manifest.queued("still"):
        cancel.check()
        try:
            work = maker.plan(found)
        except Exception as e:
            yield maker.failed(found, e)
            continue
        if isinstance(work, FileEvent):
            yield work
            continue
        is_deep = work.plan.info.bits > 8
        if is_deep not in networks:
            networks[is_deep] = open_network(work.plan, tell=tell, cancel=cancel)
            tell(network_event(work.plan, networks[is_deep]))
        try:
            pages = rendered_pages(work.plan, networks[is_deep], lambda _: None, cancel, work.damage)
            yield maker.deliver(work, pages)
        except Exception as e:
            yield maker.failed(found, e)
