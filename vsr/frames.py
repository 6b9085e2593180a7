"""What `io` and `engine` share: how pixels lie, what their values mean, and which stream goes where."""

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from vsr.pipes import Inflow

Siting = Literal["left", "center", "topleft"]
Plane = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelLayout:
    """Planar pixels in native byte order, as libav names them.

    Planes are Y, Cb, Cr for "yuv"; G, B, R for "rgb" (libav's gbrp order); Y alone for "gray"; then alpha, if there is
    any: straight, full range, as large as luma. Samples of up to 8 bits lie in uint8, deeper ones in the low bits of
    uint16.
    """

    name: str  # libav pix_fmt, e.g. "yuv420p10le"
    kind: Literal["yuv", "rgb", "gray"]
    depth: int  # bits per sample, 8 to 16
    log2_chroma: tuple[int, int] = (0, 0)  # (vertical, horizontal): (1, 1) is 4:2:0, (0, 1) is 4:2:2
    has_alpha: bool = False

    @property
    def opaque(self) -> "PixelLayout":
        """The same without alpha."""
        if not self.has_alpha:
            return self
        return replace(self, name=self.name.replace("yuva", "yuv").replace("gbrap", "gbrp"), has_alpha=False)

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        return np.uint8 if self.depth <= 8 else np.uint16

    def empty(self, *shape: int) -> Plane:
        """An array for samples, not filled."""
        return np.empty(shape, np.uint8) if self.depth <= 8 else np.empty(shape, np.uint16)

    def plane_sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """(height, width) of each plane of a picture; odd sizes round chroma up."""
        down, across = self.log2_chroma
        chroma = [(-(-height >> down), -(-width >> across))] * (0 if self.kind == "gray" else 2)
        return [(height, width), *chroma, *[(height, width)] * self.has_alpha]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColorSpec:
    """What code values mean. Numbers are the code points of ITU-T H.273, which libav uses too."""

    matrix: int  # 0 RGB, 1 BT.709, 5 BT.470BG, 6 SMPTE 170M, 9 BT.2020 non-constant
    primaries: int
    transfer: int
    full_range: bool
    siting: Siting = "left"
    guessed: tuple[str, ...] = ()  # names of the fields above that the source did not tell


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """One stream of a source, as probing found it."""

    index: int  # in the source's container
    kind: Literal["video", "audio", "subtitle", "attachment", "data"]
    position: int  # among the streams of its kind: the N of `a:N`
    codec: str  # libav decoder-independent name, an attachment's MIME type, "unknown" when there is none
    is_cover: bool = False  # a still picture attached to the file
    language: str | None = None
    title: str | None = None  # an attachment's or cover's is its file name
    flags: tuple[str, ...] = ()  # dispositions by libav's names: default, forced, hearing_impaired, ...

    @property
    def selector(self) -> str:
        """The name that `--drop` takes: v:0, a:1, s:0, t:0 (attachments), d:0."""
        return f"{'t' if self.kind == 'attachment' else self.kind[0]}:{self.position}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """The video stream that is upscaled."""

    index: int
    height: int
    width: int
    codec: str
    pix_fmt: str  # as decoded
    layout: PixelLayout  # as handed on: planar, same samples
    color: ColorSpec
    rate: Fraction  # nominal frames a second, for encoders and estimates only
    time_base: Fraction  # seconds per tick
    first_pts: int  # of the first frame in presentation order, in ticks
    sample_aspect_ratio: Fraction | None
    display_matrix: tuple[int, ...] | None  # nine 16.16 / 2.30 fixed-point numbers, as in ISO/IEC 14496-12
    has_alpha: bool
    is_interlaced: bool
    frame_estimate: int | None
    mastering_display: tuple[int, ...] | None = None  # AVMasteringDisplayMetadata: R, G, B, white xy, min, max, flags
    content_light: tuple[int, int] | None = None  # cd/m2: brightest pixel, brightest frame average


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedFrames:
    """The pictures of a source such as frames/%06d.png: numbers without a gap, one size."""

    first: int  # number
    count: int
    rate: Fraction  # a second
    bytes: int  # of all files
    mtime_ns: int  # of the youngest


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """What probing a clip found. Reading it opens no decoder twice."""

    path: Path
    container: str  # libav demuxer name, e.g. "mov,mp4,m4a,3gp,3g2,mj2" or "matroska,webm"
    streams: tuple[StreamInfo, ...]
    video: VideoInfo
    duration: Fraction | None  # seconds
    notes: tuple[str, ...] = ()  # what will not be carried, found while probing
    chapters: int = 0
    pipe: Inflow | None = None  # where it comes from, when it can be read once only
    numbered: NumberedFrames | None = None  # when `path` stands for many pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlan:
    """What happens to one source stream. Made before frame 1, printed, obeyed."""

    stream: StreamInfo
    action: Literal["upscale", "copy", "convert", "attach", "drop"]  # attach: a cover becomes a Matroska attachment
    why: str = ""
    codec: str | None = None  # what it is converted to


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a source has counted up to a frame: with it, a later run counts on from there."""

    frames: int = 0  # handed on
    decoded: int = 0  # that went into deinterlacing, of those between start and end
    interlaced: int = 0  # of these
    counted_to: int | None = None  # time of the last of these, in ticks of the stream
    resized: int = 0  # that had another size than the first
    remarks: int = 0  # damage and the like, which decoding from the beginning finds again


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The end of a segment, where a later run goes on: its times, its last frame's CRC-32, and the counts so far."""

    pts: tuple[int, ...]
    crc: int
    tally: Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameBatch:
    """N consecutive frames of one segment, with the samples as decoded.

    `planes`: one (n, h, w) array per plane of the layout. `pts` strictly increase, in ticks of `time_base`.
    """

    planes: tuple[Plane, ...]
    pts: tuple[int, ...]
    time_base: Fraction
    segment: int
    last_crc: int  # CRC-32 of the last frame's samples as decoded, padding left out
    tally: Tally = Tally()  # up to its last frame

    def __len__(self) -> int:
        return len(self.pts)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFile:
    """One encoded segment: one video stream, one packet a frame, timed 0, 1, 2, ... in display order."""

    path: Path
    pts: tuple[int, ...]  # the real times in display order, in ticks of the source's time base


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedBatch:
    """A batch's results on the host: one (n, h, w) array per plane of the target layout."""

    batch: FrameBatch
    planes: tuple[Plane, ...]
