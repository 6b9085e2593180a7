"""What each encoder keeps, from files that were written.

`python -m tests.encoders_table` prints the table in docs/encoders.md; a test holds one against the other.
"""

import sys
import tempfile
from pathlib import Path

from tests.encoder_runs import Case, encoded, joined_into, planned
from tests.media_maker import make_clip
from vsr.errors import MediaError
from vsr.frames import MediaInfo
from vsr.io.container_kind import CONTAINERS
from vsr.io.encoders import EncoderPlan
from vsr.io.known_encoders import KNOWN_ENCODERS
from vsr.io.probe import probe
from vsr.verify import check_output

ENCODERS = (
    *("libx264", "libx265", "libsvtav1", "libvpx-vp9", "prores_ks", "dnxhd", "ffv1"),
    *("mpeg2video", "mpeg4", "mjpeg", "png", "jpeg2000", "libvpx"),
)
_SIZE = (128, 256)  # DNxHR takes no smaller one
_ODD = (131, 257)
_CHROMA = {"420": "4:2:0", "422": "4:2:2", "444": "4:4:4"}


def rows(folder: Path) -> list[list[str]]:
    """For each encoder, what is kept by depth, and where it can go: all of it tried."""
    info = _source(folder)
    made = []
    for encoder in ENCODERS:
        kept = []
        for suffix in ("", "10le", "12le"):
            formats = [f"yuv{digits}p{suffix}" for digits in _CHROMA]
            same = [
                form
                for form in formats
                if planned(info, Case(encoder=encoder, given=form, size=_SIZE))[0].layout.name == form
            ]
            kept.append(" ".join(_CHROMA[form[3:6]] for form in same) or "-")
        _, fits = _tried(encoder, _SIZE, folder)
        odd, also = _tried(encoder, _ODD, folder)
        assert also == fits, encoder
        size = "kept" if (odd.height, odd.width) == _ODD else "made even"
        known = KNOWN_ENCODERS.get(encoder)
        quality = "-" if known is None or known.crf is None else str(known.crf)
        preset = "-" if known is None or known.preset is None else known.preset
        made.append([f"`{encoder}`", *kept, size, " ".join(fits), quality, preset])
    return made


def _source(folder: Path) -> MediaInfo:
    path = folder / "in.mkv"
    return probe(path if path.exists() else make_clip(path, frames=3))


def _tried(encoder: str, size: tuple[int, int], folder: Path) -> tuple[EncoderPlan, list[str]]:
    """The plan for 4:2:0 of 8 bits, and the containers in which its frames were found again."""
    plan, info = planned(_source(folder), Case(encoder=encoder, size=size))
    segments = encoded(plan, folder)
    fits = []
    for container in CONTAINERS:
        output = folder / f"out.{container}"
        try:
            joined = joined_into(container, plan, info, segments, output)
        except MediaError:
            continue
        assert check_output(output, joined) == [], (encoder, container)
        fits.append(container)
    return plan, fits


def table(found: list[list[str]]) -> str:
    """The rows as Markdown."""
    head = ["encoder", "8 bits", "10 bits", "12 bits", "odd 4:2:0", "containers", "`--crf`", "`--encoder-preset`"]
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, ["---"] * len(head), *found])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(table(rows(Path(folder))))
