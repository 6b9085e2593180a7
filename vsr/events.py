"""What a run tells while it goes. `--json` prints each as one object; names are stable."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Wait = Literal["decode", "compute", "encode"]
FileState = Literal["done", "skipped", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanEvent:
    """Everything that was decided before the first frame."""

    source: str
    output: str
    device: str
    why_device: str
    model: str
    network_scale: int
    precision: str
    tile: str
    source_size: tuple[int, int]  # (height, width)
    output_size: tuple[int, int]  # (height, width)
    container: str
    encoder: str
    pix_fmt: str
    color: str
    frames: int | None  # estimate
    streams: tuple[tuple[str, str, str, str], ...]  # (selector, codec, action, why)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteEvent:
    """Something the user should know: a guess, a loss, a fallback."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressEvent:
    """Frames whose pixels have reached the encoder so far."""

    frames: int
    total: int | None
    waits_for: Wait


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelsEvent:
    """Source pixels that have been through the network so far: of a still over all its pages, or of a folder."""

    pixels: int
    total: int  # of a folder an estimate, until all headers have been read


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentEvent:
    """A segment is whole, on disk and in the journal."""

    index: int
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DoneEvent:
    """The output bears its name, or already did."""

    output: str
    frames: int
    seconds: float
    already_done: bool = False
    lost_frames: int = 0
    damaged_places: int = 0  # of picture and sound, missing frames among them
    resumed_frames: int = 0  # of these, what earlier runs had done
    retries: int = 0  # tiles halved for memory, frames redone in a wider type
    damage: str = ""  # what was wrong with a still that was delivered all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderEvent:
    """What a folder holds and what there is to do, before the first file."""

    source: str
    output: str
    stills: int  # to be made
    clips: int  # to be made
    skipped: int  # made before
    failed: int  # failed before and not tried again, or could not be looked at
    clips_left: int  # seen and left alone
    passed_by: dict[str, int]  # why -> how many


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkEvent:
    """A network is ready."""

    model: str
    network_scale: int
    device: str
    why_device: str
    precision: str
    tile: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEvent:
    """What came of one file of a folder."""

    source: str  # below the folder, with / between its parts
    state: FileState
    output: str | None = None
    seconds: float = 0
    reason: str = ""  # why it failed, or was skipped
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderDoneEvent:
    """Every file of a folder has been dealt with."""

    output: str
    done: int
    skipped: int
    failed: int
    clips_left: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorEvent:
    """The run failed or was stopped. Told by the CLI, last, and not by the run: that raises."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainEvent:
    """A training run has come to this step."""

    stage: str
    step: int  # of all stages
    steps: int
    images_per_s: float
    waiting: float  # share of the time that went by waiting for samples
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationEvent:
    """A training run was judged."""

    stage: str
    step: int
    figures: dict[str, float]
    is_best: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedEvent:
    """Frames of an output were held against the source's: the first of a segment in a run, all of ten seconds later."""

    index: int
    frames: int
    difference: float  # between both when shrunk, mean over all pixels and channels, in codes of 255


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingEvent:
    """One thing that is wrong with an output."""

    output: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedEvent:
    """An output was held against its source."""

    source: str
    output: str
    frames: int  # that it should hold
    findings: int
    difference: float | None  # mean over all frames; None where no pictures could be compared


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadEvent:
    """Bytes of a file that have arrived so far, those of an earlier attempt included."""

    file: str
    received: int
    total: int | None


Event = (
    PlanEvent
    | NoteEvent
    | ProgressEvent
    | PixelsEvent
    | SegmentEvent
    | DoneEvent
    | FolderEvent
    | NetworkEvent
    | FileEvent
    | FolderDoneEvent
    | TrainEvent
    | ValidationEvent
    | ComparedEvent
    | FindingEvent
    | VerifiedEvent
    | DownloadEvent
)
Tell = Callable[[Event], None]
