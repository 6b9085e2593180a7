"""What a run tells while it goes. `--json` prints each as one object; names are stable."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Wait = Literal["decode", "compute", "encode"]


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
    """Source pixels of a still that have been through the network so far, over all its pages."""

    pixels: int
    total: int


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


Event = PlanEvent | NoteEvent | ProgressEvent | PixelsEvent | SegmentEvent | DoneEvent | TrainEvent | ValidationEvent
Tell = Callable[[Event], None]
