"""What a long run takes: as much memory and as many open files at its end as at its tenth part.

    python -m benchmarks.long_run

Writes benchmarks/results/long_run.json and its line of the table of docs/reliability.md. Linux only.
"""

import os
import tempfile
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import click
import torch

from benchmarks.reliability import Row, report, save_rows
from tests.media_maker import Audio, make_clip
from vsr.events import Event, ProgressEvent
from vsr.models.checkpoint import describe, save_model
from vsr.models.compact import SRVGGNetCompact
from vsr.settings import UpscaleSettings
from vsr.video import upscale_video

FRAMES = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the process holds at one moment."""

    frames: int  # that are done
    resident: int  # bytes
    files: int  # open ones

    @classmethod
    def now(cls, frames: int) -> "Look":
        return cls(frames=frames, resident=_resident(), files=len(os.listdir("/proc/self/fd")))  # noqa: PTH208


def run(folder: Path, frames: int = FRAMES) -> list[Look]:
    """Upscale a clip of so many frames, with sound, in segments of ten seconds; looks at each tenth, and at the end.

    The last look is after the join and the check.
    """
    source = make_clip(
        folder / "long.mkv",
        frames=frames,
        time_base=Fraction(1, 1000),
        options={"preset": "ultrafast", "g": "250"},
        audio=[Audio()],
    )
    net = SRVGGNetCompact(num_feat=4, num_conv=1, scale=2).eval()
    save_model(net, describe(net, name="tiny"), folder / "tiny.safetensors")
    looks: list[Look] = []

    def watch(event: Event) -> None:
        if isinstance(event, ProgressEvent) and event.frames * 10 >= (len(looks) + 1) * frames:
            looks.append(Look.now(event.frames))

    torch.manual_seed(0)
    settings = UpscaleSettings(model=str(folder / "tiny.safetensors"), scale=Fraction(2), device="cpu")
    done = upscale_video(source, folder / "long_x2.mkv", settings=settings, on_event=watch)
    return [*looks, Look.now(done.frames)]


def row_of(looks: list[Look]) -> Row:
    """The line of the table."""
    first, last, after = looks[0], looks[-2], looks[-1]
    grown, later = ((one.resident - first.resident) / 1e6 for one in (last, after))
    more = max(look.files for look in looks) - first.files
    files = f"{more} more open files" if more else "no more open files"
    return Row(
        injected=f"nothing, for {last.frames:,} frames",
        times=1,
        lost=f"from 10 % to 100 % {grown:+.1f} MB resident, {files}; after join and check {later:+.1f} MB",
    )


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@click.command()
@click.option("--frames", default=FRAMES, help="Of the clip; other numbers are not saved.")
def main(frames: int) -> None:
    """Run, save and write the table."""
    with tempfile.TemporaryDirectory() as folder:
        looks = run(Path(folder), frames)
    print(*looks, sep="\n")
    if frames == FRAMES:
        save_rows("long_run", [row_of(looks)], looks=[asdict(look) for look in looks])
        print(report())


if __name__ == "__main__":
    main()
