"""What is done to the picture before the network sees it: deinterlacing, cropping, turning."""

import math
from collections.abc import Iterator
from fractions import Fraction

from vsr.errors import ConfigError
from vsr.frames import MediaInfo, Plane, VideoInfo
from vsr.io.crop import aligned, find_bars
from vsr.io.filters import FilteredVideo, can_deinterlace
from vsr.io.side_data import is_quarter_turn
from vsr.io.source import VideoSource
from vsr.settings import Crop, Deinterlace, UpscaleSettings

_DEINTERLACED: dict[Deinterlace, str] = {
    "auto": "deinterlaced, one frame for each of its own; --deinterlace double gives one for each field",
    "on": "deinterlaced, one frame for each of its own",
    "double": "deinterlaced, one frame for each field: twice as many frames",
    "ivtc": "taken as telecined film: four frames for each five, as the pictures' repetition tells",
    "off": "upscaled as it is",
}
_SAMPLES = 12  # frames that are searched for black bars
_SEARCHED = 60  # seconds through which they are spread where the clip's length is not told


def filtered(info: MediaInfo, settings: UpscaleSettings) -> tuple[FilteredVideo, list[str]]:
    """The video as it is handed on, and what to tell the user. Raises ConfigError for what cannot be done to it."""
    how, notes = _deinterlacing(info.video, settings.deinterlace)
    crop = _crop(info, settings, notes)
    turn = info.video.display_matrix if settings.apply_rotation else None
    if settings.apply_rotation and turn is None:
        notes.append("the source is not turned: --apply-rotation changes nothing")
    elif turn is not None and not is_quarter_turn(turn):
        turn = None
        notes.append("the source is turned by no multiple of 90 degrees: that stays said, and pixels are not turned")
    return FilteredVideo.of(info.video, how, crop=crop, turn=turn), notes


def _deinterlacing(video: VideoInfo, how: Deinterlace) -> tuple[Deinterlace, list[str]]:
    """What is done to the fields, and what is said of it."""
    ordered = how
    found = f"the source {'says' if video.is_interlaced else 'does not say'} that it is interlaced"
    kind = f"{video.width}x{video.height} {video.pix_fmt}"
    if how == "off" or can_deinterlace(video.pix_fmt, how, height=video.height, width=video.width):
        said = _DEINTERLACED[how]
    elif how == "auto":
        how, said = "off", f"libav cannot deinterlace {kind}: it is upscaled as it is"
    else:
        raise ConfigError(
            f"deinterlace = {how}: libav cannot do that to {kind}; convert the clip to yuv420p, or give off"
        )
    is_said = video.is_interlaced or ordered not in ("auto", "off")
    return how, [f"{found}: {said}"] if is_said else []


def _crop(info: MediaInfo, settings: UpscaleSettings, notes: list[str]) -> Crop | None:
    """The part of the picture that is kept, None for the whole; adds to `notes`. Raises ConfigError."""
    video = info.video
    if settings.crop is None:
        return None
    if settings.crop == "auto" and info.pipe is not None:
        raise ConfigError("crop = auto: looks into the whole clip first, which a pipe does not let; give W:H:X:Y")
    if settings.crop == "auto":
        found = find_bars(_samples(info, settings), video.layout, video.color)
        if found is None:
            notes.append("no black bars are found: nothing is cropped")
        return found
    crop = aligned(settings.crop, video.layout, height=video.height, width=video.width)
    if crop != settings.crop:
        notes.append(f"crop {settings.crop} becomes {crop}: borders lie between the samples of {video.layout.name}")
    return crop


def _samples(info: MediaInfo, settings: UpscaleSettings) -> Iterator[tuple[Plane, ...]]:
    """Planes of some frames, spread over the part of the clip that is wanted."""
    rate = info.video.rate
    frames = frame_estimate(info.video, settings) or round(_SEARCHED * rate)
    count = min(_SAMPLES, frames)
    for number in range(count):
        start = settings.start + (2 * number + 1) * frames // (2 * count) / rate
        for batch in VideoSource(info, batch=1, segment=Fraction(1 << 30), start=start, end=settings.end, threads=1):
            yield tuple(plane[0] for plane in batch.planes)
            break


def frame_estimate(video: VideoInfo, settings: UpscaleSettings) -> int | None:
    """Frames between start and end, as far as the header tells."""
    if video.frame_estimate is None:
        return None if settings.end is None else math.ceil((settings.end - settings.start) * video.rate)
    first = math.ceil(settings.start * video.rate)
    last = video.frame_estimate
    if settings.end is not None:
        last = min(last, math.ceil(settings.end * video.rate))
    return max(0, last - first)
