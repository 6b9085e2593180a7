"""Whether the disk will hold what a run writes: asked before it starts and after each segment."""

from vsr.disk import free_bytes, told_size
from vsr.errors import MediaError
from vsr.events import NoteEvent, Tell
from vsr.journal import Journal
from vsr.plan import Job

_LEAST = 32 << 20  # bytes that must be free, whatever segments take
_BITS_A_PIXEL = {"ffv1": 6.0, "prores": 3.0}  # of what is written, roughly, before anything is known of the clip
_USUAL_BITS = 0.1


def require_room(journal: Journal) -> None:
    """Raise MediaError unless another segment twice as large as any yet will fit. What is done stays whole."""
    needed = max(_LEAST, 2 * max((line.size for line in journal.lines), default=0))
    free = free_bytes(journal.folder)
    if free is not None and free < needed:
        what = f"{told_size(free)} are free, and a segment may need {told_size(needed)}"
        raise MediaError(f"{journal.folder}: {what}; make room and run the same command")


def tell_estimate(job: Job, journal: Journal, tell: Tell) -> None:
    """Say so when the whole run will hardly fit: segments, the joined file beside them, other streams included."""
    free, frames = free_bytes(journal.folder), job.event.frames
    if free is None or frames is None:
        return
    done = sum(line.size for line in journal.lines)
    height, width = job.renderer.size
    a_frame = height * width * _BITS_A_PIXEL.get(job.encoder.codec, _USUAL_BITS) / 8
    if journal.frames:
        a_frame = done / journal.frames
    others = job.info.path.stat().st_size if len(job.info.streams) > 1 else 0
    needed = 2 * a_frame * frames - done + others
    if free < needed:
        said = f"{told_size(free)} are free on its disk, and about {told_size(needed)} may be needed"
        tell(NoteEvent(message=f"{journal.folder}: {said}"))
