"""What can be typed after `vsr upscale` and `vsr verify`: a click type for each kind of value, an option a setting."""

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from fractions import Fraction
from typing import Any, get_args

import click

from vsr.settings import CODECS, CONTAINERS, Audio, Crop, Deinterlace, Matrix, Precision, StillFormat, UpscaleSettings

_Command = Callable[..., int | None]  # the exit status, None for 0

_DECIMAL = r"\d{1,9}(?:\.\d{0,9})?|\.\d{1,9}"


class _Parsed(click.ParamType):
    """A click type that is a pattern, a sentence on what it takes, and what to make of a match."""

    def __init__(self, name: str, pattern: str, takes: str, make: Callable[[re.Match[str]], Any]) -> None:
        self.name = name
        self._pattern = re.compile(pattern, re.ASCII)
        self._takes = takes
        self._make = make

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value  # click converts defaults, too
        match = self._pattern.fullmatch(value)
        made = None if match is None else self._make(match)
        if made is None:
            self.fail(f"'{value}' is not {self._takes}.", param, ctx)
        return made


def _scale(match: re.Match[str]) -> Fraction | None:
    scale = Fraction(match[0])
    return scale if 1 <= scale <= 16 else None


def _size(match: re.Match[str]) -> tuple[int | None, int | None] | None:
    """(height, width); a side of 0 is none."""
    width, height = (int(side) if side else None for side in match.groups())
    return None if 0 in (width, height) or width is height is None else (height, width)


def _crop(match: re.Match[str]) -> Crop | str | None:
    if match[0] == "auto":
        return match[0]
    width, height, left, top = map(int, match.groups())
    return Crop(height=height, width=width, top=top, left=left) if height and width else None


def _seconds(match: re.Match[str]) -> Fraction | None:
    hours, minutes, seconds = match.groups(default="0")
    if (match["minutes"] and Fraction(seconds) >= 60) or (match["hours"] and int(minutes) >= 60):
        return None
    return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)


def _rate(match: re.Match[str]) -> Fraction | None:
    """Frames a second; decimals near those of NTSC are these."""
    if int(match[2] or 1) == 0:
        return None
    rate = Fraction(match[1]) / int(match[2] or 1)
    whole = round(rate * 1001 / 1000)
    if match[2] is None and rate.denominator != 1 and abs(rate - Fraction(whole * 1000, 1001)) < Fraction(1, 100):
        rate = Fraction(whole * 1000, 1001)
    return rate if 0 < rate <= 1000 else None


def _mix(match: re.Match[str]) -> dict[str, float]:
    return {name: float(share) for name, share in _SHARE.findall(match[0])}


def _length(match: re.Match[str]) -> Fraction | None:
    return _seconds(match) or None


_SHARE = re.compile(rf"(.+?):({_DECIMAL})(?:,(?=.)|$)", re.ASCII)  # names may hold commas and colons
_TIME = rf"(?:(?:(?P<hours>\d{{1,4}}):)?(?P<minutes>\d{{1,4}}):)?(?P<seconds>{_DECIMAL})"
SCALE = _Parsed("number", _DECIMAL, "a number from 1 to 16, such as 2 or 2.5", _scale)
SIZE = _Parsed("WxH", r"(\d{0,6})x(\d{0,6})", "a size in pixels, such as 1920x1080, 1920x or x1080", _size)
RATE = _Parsed("rate", rf"({_DECIMAL})(?:/(\d{{1,9}}))?", "a rate, such as 24, 23.976 or 24000/1001", _rate)
TIME = _Parsed("time", _TIME, "a time, such as 90, 1:30 or 0:01:30.5", _seconds)
LENGTH = _Parsed("seconds", _TIME, "a length of time above 0, such as 10 or 0:30", _length)
DEVICE = _Parsed(
    "device", r"auto|cpu|mps|cuda(:\d{1,3})?", "a device: auto, cpu, cuda, cuda:N or mps", lambda match: match[0]
)
CROP = _Parsed(
    "crop",
    r"auto|(\d{1,5}):(\d{1,5}):(\d{1,5}):(\d{1,5})",
    "auto or a part of the picture, W:H:X:Y in pixels, such as 1920:800:0:140",
    _crop,
)
CORNER = _Parsed(
    "x,y", r"(\d{1,5}),(\d{1,5})", "a corner in pixels, such as 320,200", lambda match: (int(match[1]), int(match[2]))
)
UNIT = _Parsed(
    "number", _DECIMAL, "a number from 0 to 1", lambda match: float(match[0]) if float(match[0]) <= 1 else None
)
MIX = _Parsed(
    "models",
    rf"(?:.+?:(?:{_DECIMAL})(?:,(?=.)|$)){{2,}}",
    "a list of models and their shares, such as A:0.7,B:0.3",
    _mix,
)
SELECTORS = _Parsed(
    "streams",
    r"(?:[asdt](?::\d{1,4})?|v:\d{1,4})(?:,(?:[asdt](?::\d{1,4})?|v:\d{1,4}))*",
    "a list of streams, such as s or a:1,s:0",
    lambda match: tuple(match[0].split(",")),
)
PAIR = _Parsed(
    "key=value", r"([^=\s]+)=(.*)", "a setting of the encoder, such as tune=film", lambda match: match.groups()
)


def _pixels(match: re.Match[str]) -> int | None:
    return int(Fraction(match[1]) * {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}[match[2].lower()]) or None


PIXELS = _Parsed(
    "pixels", rf"({_DECIMAL})([kKmMgG]?)(?:[pP]|[pP][xX])?", "a number of pixels, such as 500MP or 250000", _pixels
)

BYTES = _Parsed("bytes", rf"({_DECIMAL})([kKmMgG]?)[bB]?", "an amount of memory, such as 6G or 500M", _pixels)

# Every option is named like the field of UpscaleSettings that it sets.
_CONTENT = [  # those that decide what a clip's output holds besides pixels
    click.option(
        "--matrix",
        type=click.Choice(get_args(Matrix)),
        help="bt709 writes YUV by BT.709, whatever the source's is, for players that ignore tags.",
    ),
    click.option("--fps", type=RATE, metavar="N", help="Rate of numbered pictures, such as 24 or 24000/1001."),
    click.option(
        "--deinterlace",
        type=click.Choice(get_args(Deinterlace)),
        help="Fields to frames: one a frame (on), one a field (double), or film again (ivtc); auto goes by the flags.",
    ),
    click.option("--crop", type=CROP, metavar="auto|W:H:X:Y", help="Keep this part only; auto cuts black bars off."),
    click.option(
        "--apply-rotation", is_flag=True, default=None, help="Turn the pixels, instead of saying how to turn them."
    ),
    click.option("--start", type=TIME, metavar="TIME", help="Begin here: seconds or H:MM:SS.s."),
    click.option("--end", type=TIME, metavar="TIME", help="Stop before this time."),
    click.option(
        "--drop", type=SELECTORS, multiple=True, metavar="STREAMS", help="Leave these out: s, a:1 or s:0,t; may repeat."
    ),
    click.option(
        "--audio",
        type=click.Choice(get_args(Audio)),
        help="Copy sound, turn it into this, or leave it out.  [default: auto]",
    ),
]
_SETTINGS = [
    click.option("--scale", type=SCALE, metavar="S", help="Enlarge S times, 1 to 16.  [default: 4, 2 of a folder]"),
    click.option("--size", type=SIZE, metavar="WxH", help="Fit inside WxH instead; Wx or xH leaves a side open."),
    click.option(
        "--passes", type=click.IntRange(1, 2), metavar="N", help="Run the network once or twice.  [default: 1]"
    ),
    click.option("--model", metavar="NAME|FILE", help="Network: a name or a weights file."),
    click.option("--mix", type=MIX, metavar="A:S,B:T", help="Average networks of one shape, such as A:0.7,B:0.3."),
    click.option(
        "--denoise",
        type=UNIT,
        metavar="0..1",
        help="How much noise realesr-general-x4v3 removes: 1 most, 0 least; it is run unless --model says otherwise.",
    ),
    click.option("--device", type=DEVICE, metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps."),
    click.option("--precision", type=click.Choice(get_args(Precision)), help="Number type of the network."),
    click.option("--tile", type=click.IntRange(1), metavar="PX", help="Side of a tile, in source pixels."),
    click.option("--overlap", type=click.IntRange(0), metavar="PX", help="Pixels read around each tile."),
    click.option("--batch", type=click.IntRange(1), metavar="N", help="Frames computed at once."),
    click.option(
        "--container", type=click.Choice(CONTAINERS), help="Where -o does not say it; nut and y4m are for pipes."
    ),
    click.option("--codec", type=click.Choice(CODECS), help="Format of the video written."),
    click.option("--crf", type=click.IntRange(0), metavar="N", help="Quality in the encoder's units; less is better."),
    click.option("--encoder", metavar="NAME", help="Encoder, such as hevc_nvenc; ffmpeg:NAME is the system's."),
    click.option("--encoder-preset", metavar="NAME", help="Speed of the encoder, such as slow."),
    click.option("--pix-fmt", metavar="NAME", help="Pixel format written, such as yuv420p10le."),
    click.option(
        "-x",
        "--encoder-option",
        "encoder_options",
        type=PAIR,
        multiple=True,
        metavar="K=V",
        help="A setting of the encoder itself; may be repeated.",
    ),
    click.option("--segment", type=LENGTH, metavar="TIME", help="Length of a segment.  [default: 10]"),
    *_CONTENT,
    click.option("--format", type=click.Choice(get_args(StillFormat)), help="Write a still as this."),
    click.option(
        "--quality", type=click.IntRange(1, 100), metavar="N", help="Of JPEG, WebP, AVIF.  [default: 95, 90, 85]"
    ),
    click.option("--to-srgb", is_flag=True, default=None, help="Convert a still to sRGB by its colour profile."),
    click.option("--strip", is_flag=True, default=None, help="Leave out a still's EXIF, place, XMP, IPTC and texts."),
    click.option("--sheet", is_flag=True, default=None, help="Also write details of a still before and after."),
    click.option(
        "--max-pixels", type=PIXELS, metavar="N", help="Refuse stills with more, such as 2GP.  [default: 500MP]"
    ),
    click.option("--nice", is_flag=True, default=None, help="Leave room for others: low priority, half of the cores."),
    click.option("--vram-limit", type=BYTES, metavar="SIZE", help="Take no more of a card's memory, such as 6G."),
    click.option("--offline", is_flag=True, default=None, help="Fetch no model; one that is not here is an error."),
    click.option("--overwrite", is_flag=True, default=None, help="Replace an existing output."),
    click.option("--restart", is_flag=True, default=None, help="Begin anew, not where an earlier run was stopped."),
    click.option(
        "--finish-partial",
        is_flag=True,
        default=None,
        help="Make a file of what an earlier run has done, OUT.partial.mp4; it can still go on afterwards.",
    ),
    click.option("--allow-damaged", is_flag=True, default=None, help="Status 0 even when the source is damaged."),
]


def option_name(setting: str) -> str:
    """How a setting is typed."""
    return "--" + setting.removesuffix("s" if setting == "encoder_options" else "").replace("_", "-")


def settings_options(command: _Command) -> _Command:
    """Add `--preset` and an option for each setting; the command gets `preset` and `given`.

    `given` maps names of UpscaleSettings fields to values, and holds only what was typed.
    """
    return click.option("--preset", metavar="NAME|FILE", help="Preset.  [default: video, real_world for stills]")(
        _with_options(command, _SETTINGS)
    )


def content_options(command: _Command) -> _Command:
    """Add the options that decide what a clip's output holds besides pixels; the command gets `given` as above."""
    return _with_options(command, _CONTENT)


def _with_options(command: _Command, options: Sequence[Callable[[_Command], _Command]]) -> _Command:
    @functools.wraps(command)
    def gathered(**typed: Any) -> int | None:
        given = {field.name: typed.pop(field.name) for field in fields(UpscaleSettings) if field.name in typed}
        if given.get("scale") is not None and given.get("size") is not None:
            raise click.UsageError("--scale and --size: give one of them.")
        given["encoder_options"] = dict(given.get("encoder_options", ()))
        given["drop"] = tuple(selector for selectors in given["drop"] for selector in selectors)
        return command(given={name: value for name, value in given.items() if value not in (None, {}, ())}, **typed)

    result: _Command = gathered
    for option in reversed(options):
        result = option(result)
    return result
