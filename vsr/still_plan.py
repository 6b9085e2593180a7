"""What becomes of a still, decided from its header: format, name, size, depth, and what cannot be kept."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from vsr.errors import ConfigError, MediaError
from vsr.io import exif, xmp
from vsr.io.profiles import is_exact, profile_space, srgb_profile
from vsr.io.still import FORMATS, KIND_OF_SUFFIX, Format, Kind, Metadata, StillInfo
from vsr.io.still_read import open_still
from vsr.io.still_write import Encoding
from vsr.naming import output_path
from vsr.picture import LEVELS_8, LEVELS_16, Levels, has_alpha
from vsr.settings import DEFAULT_SCALE, UpscaleSettings

_LARGEST_EXIF, _LARGEST_XMP = 65527, 65502  # bytes in one JPEG segment
_NAMES = {
    "exif": "EXIF",
    "xmp": "XMP",
    "iptc": "IPTC",
    "icc": "colour profile",
    "chunks": "texts",
    "comment": "comment",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StillPlan:
    """One still's run, decided; no network has been loaded for it."""

    info: StillInfo
    settings: UpscaleSettings
    output: Path
    encoding: Encoding
    scale: Fraction  # as asked for; the preset's model is chosen by it
    size: tuple[int, int]  # (height, width) of the first page's result
    is_flattened: bool  # alpha is laid on white, as the output's suffix orders
    notes: tuple[str, ...]

    @property
    def is_converted(self) -> bool:
        """Whether pixels go through their profile to sRGB before the network sees them."""
        return self.settings.to_srgb and self.info.metadata.icc is not None and not self.info.becomes_srgb

    def size_of(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the result of a page."""
        return fitted(height, width, self.settings)

    def levels_of(self, page: Levels) -> Levels:
        """How the result of a page is stored."""
        form = FORMATS[self.encoding.kind]
        is_plain = page in (LEVELS_8, LEVELS_16)[: form.bits // 8] or (form.has_float and page.dtype.kind == "f")
        if form.bits == 32 or is_plain:
            return page
        return LEVELS_8 if form.bits == 8 or page.bits == 8 else LEVELS_16


def plan_still(
    source: Path, output: Path | None, settings: UpscaleSettings, *, place: Callable[[str], Path] | None = None
) -> StillPlan:
    """Read the header and decide. Raises VsrError for what cannot be read, or cannot be written as ordered.

    `place` takes the place of `output`: it is told the suffix of what will be written, and says where.
    """
    info = open_still(source, max_pixels=settings.max_pixels)
    size = fitted(info.height, info.width, settings)
    ordered = _ordered(output)
    kind, notes = _kind(info, size, settings, ordered)
    suffix = _suffix(info, kind)
    target = output_path(source, output, settings, suffix) if place is None else place(suffix)
    form = FORMATS[kind]
    is_flattened = has_alpha(info.channels) and not form.has_alpha
    if is_flattened:
        notes.append(f"{form.name} has no transparency: the picture lies on white")
    if (min(form.bits, info.bits) < info.bits and ordered is not None) or (kind == "jpeg" and info.bits > 8):
        notes.append(f"{form.name} has {form.bits} bits: the result is rounded to them")
    channels = info.channels - is_flattened
    metadata, lost = _metadata(info, kind, size, settings, channels)
    if settings.to_srgb and not info.becomes_srgb:
        notes += _conversion(info)
    left = [*info.left_behind, *lost]
    if left:
        notes.append(f"not carried: {', '.join(left)}")
    encoding = Encoding(
        kind=kind,
        is_animated=info.is_animated,
        quality=settings.quality,
        is_lossless=info.is_lossless and settings.quality is None,
        subsampling=info.subsampling if info.subsampling in ("4:2:0", "4:2:2", "4:4:4") else "4:4:4",
        loops=info.loops,
        metadata=metadata,
    )
    return StillPlan(
        info=info,
        settings=settings,
        output=target,
        encoding=encoding,
        scale=DEFAULT_SCALE if settings.scale is None else settings.scale,
        size=size,
        is_flattened=is_flattened,
        notes=(*info.notes, *notes),
    )


def fitted(height: int, width: int, settings: UpscaleSettings) -> tuple[int, int]:
    """(height, width) of the result: scaled, or fitted inside the size asked for."""
    scale = DEFAULT_SCALE if settings.scale is None else settings.scale
    if settings.size is not None:
        scale = min(
            Fraction(wanted, side) for wanted, side in zip(settings.size, (height, width), strict=True) if wanted
        )
    return max(1, round(height * scale)), max(1, round(width * scale))


def _ordered(output: Path | None) -> Kind | None:
    """The kind that the output's suffix orders, or None where the name is ours to make."""
    if output is None or output.is_dir():
        return None
    kind = KIND_OF_SUFFIX.get(output.suffix.lower())
    if kind is None:
        raise ConfigError(
            f"{output}: '{output.suffix}' is no picture format vsr writes; use .png, .jpg, .webp, .avif or .tif"
        )
    return kind


def _kind(
    info: StillInfo, size: tuple[int, int], settings: UpscaleSettings, ordered: Kind | None
) -> tuple[Kind, list[str]]:
    """The kind to write, and what to say of it. Raises MediaError when an explicit suffix cannot hold the picture."""
    if ordered is not None:
        why = _hindrance(info, FORMATS[ordered], size, is_order=True)
        if why is not None:
            able = FORMATS[_able(info, size)]
            raise MediaError(
                f"{info.path}: {FORMATS[ordered].name} {why}; give the output the suffix {able.suffixes[0]}"
            )
        return ordered, []
    wanted: Kind = settings.format or (info.kind if info.kind in FORMATS else "png")
    why = _hindrance(info, FORMATS[wanted], size, is_order=False)
    if why is None and (settings.format or info.kind in FORMATS):
        return wanted, []
    kind = _able(info, size)
    reason = f"{info.format} is not written" if why is None else f"{FORMATS[wanted].name} {why}"
    return kind, [f"{reason}: it becomes {FORMATS[kind].name}"]


def _able(info: StillInfo, size: tuple[int, int]) -> Kind:
    return "png" if _hindrance(info, FORMATS["png"], size, is_order=False) is None else "tiff"


def _hindrance(info: StillInfo, form: Format, size: tuple[int, int], *, is_order: bool) -> str | None:
    """Why a format cannot hold the result; an order lets it round, and lay transparency on white."""
    if max(size) > form.side:
        return f"ends at {form.side:,} pixels a side, and the result has {max(size):,}"
    if info.is_animated and not form.has_frames:
        return f"holds no animation, and this has {info.pages} frames"
    if info.pages > 1 and not info.is_animated and not form.has_pages:
        return f"holds one picture, and this has {info.pages} pages"
    if is_order:
        return None
    if has_alpha(info.channels) and not form.has_alpha:
        return "has no transparency"
    if (info.is_float or info.bits == 32) and form.bits < 32 and not (info.is_float and form.has_float):
        return f"holds no {'floating-point' if info.is_float else '32-bit'} values"
    if not info.is_float and info.bits > form.bits and form.name != "JPEG":
        return f"has {form.bits} bits, and this has {info.bits}"
    return None


def _suffix(info: StillInfo, kind: Kind) -> str:
    own = info.path.suffix
    return own if KIND_OF_SUFFIX.get(own.lower()) == kind else FORMATS[kind].suffixes[0]


def _metadata(
    info: StillInfo, kind: Kind, size: tuple[int, int], settings: UpscaleSettings, channels: int
) -> tuple[Metadata, list[str]]:
    """What the result says of itself, and what it cannot."""
    said = info.metadata.stripped() if settings.strip else info.metadata
    lost: list[str] = []
    height, width = size
    if said.exif is not None:
        said = replace(said, exif=exif.renewed(said.exif, height=height, width=width))
        if said.exif is None:
            lost.append("EXIF, which is damaged")
    if said.xmp is not None:
        said = replace(said, xmp=xmp.renewed(said.xmp, height=height, width=width))
    if info.becomes_srgb or (settings.to_srgb and said.icc is not None):
        said = replace(said, icc=srgb_profile(), cicp=None)
    keeps = FORMATS[kind].keeps
    for name, label in _NAMES.items():
        if getattr(said, name) and name not in keeps:
            lost.append(label)
    said = replace(
        said,
        icc=said.icc if "icc" in keeps else None,
        exif=said.exif if "exif" in keeps else None,
        xmp=said.xmp if "xmp" in keeps else None,
        iptc=said.iptc if "iptc" in keeps else None,
        comment=said.comment if "comment" in keeps else None,
        chunks=said.chunks if "chunks" in keeps else (),
    )
    return _within(said, kind, channels, lost), lost


def _conversion(info: StillInfo) -> list[str]:
    """What to say of --to-srgb where it does less than its name."""
    if info.metadata.icc is None:
        return ["it has no colour profile: --to-srgb changes nothing"]
    if info.bits > 8 and not is_exact(info.metadata.icc):
        return [f"its {info.bits} bits pass the profile, which is made of tables, as 8"]
    return []


def _within(said: Metadata, kind: Kind, channels: int, lost: list[str]) -> Metadata:
    """Without what is too long for its place or does not fit the pixels; adds to `lost`."""
    if kind == "jpeg":
        if len(said.exif or b"") > _LARGEST_EXIF:
            said = replace(said, exif=None)
            lost.append("EXIF, too long for JPEG")
        if len(said.xmp or b"") > _LARGEST_XMP:
            said = replace(said, xmp=None)
            lost.append("XMP, too long for JPEG")
    is_gray = channels < 3 and not (kind == "webp" or (kind == "avif" and channels == 2))
    if said.icc is not None and profile_space(said.icc) != ("GRAY" if is_gray else "RGB"):
        said = replace(said, icc=None)
        lost.append("colour profile, which is for other pixels")
    if said.cicp is not None and said.icc is None and kind not in ("png", "avif", "heic") and _is_wide(said.cicp):
        lost.append("primaries and transfer ({}, {})".format(*said.cicp))
    return said


def _is_wide(cicp: tuple[int, int]) -> bool:
    """Whether untagged pixels, which are shown as sRGB, would be shown wrong."""
    return cicp[0] not in (1, 2) or cicp[1] not in (1, 2, 6, 13)
