"""The finished file held against what it must hold, before it gets its name."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vsr.errors import MediaError
from vsr.frames import StreamInfo
from vsr.io.assembly import Assembled
from vsr.io.copies import CopiedStream, Sound
from vsr.io.expected_streams import kept_flags
from vsr.io.picture import Picture
from vsr.io.readback import UNTOLD, Found, FoundFrame, FoundTrack, read_back
from vsr.stage import Cancel

_MILLISECOND = Fraction(1, 1000)  # Matroska's tick
_SAME_MATRIX = {5: 6}  # one matrix under two numbers; VP9 knows only the first
_ONE = 65536  # of a display matrix's turn
_SAME_TURN = 4  # of _ONE: Matroska keeps an angle, from which the matrix is computed anew
_DISPLAY_STEP = 1e-4  # AV1 stores the darkest light in steps of 2^-14, chromaticity in 2^-16
_MOST_NAMED = 3  # wrong times that one line names


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong with a finished file."""

    text: str  # goes on after "it" or the file's name
    tag: str | None = None  # what the picture says wrongly of its colours, None where it is something else


def check_output(output: Path, expected: Assembled, *, cancel: Cancel | None = None) -> list[str]:
    """Compare a finished file with what was joined; an empty list means that nothing is wrong.

    Each finding is one line. Only the first frame is decoded; every packet is read.
    """
    return [finding.text for finding in findings_in(output, expected, cancel=cancel)]


def findings_in(output: Path, expected: Assembled, *, cancel: Cancel | None = None) -> list[Finding]:
    """The same, with what each finding is about."""
    place = place_of_picture(expected)
    try:
        found = read_back(output, picture=place, cancel=cancel)
    except MediaError as e:
        return [Finding(text=f"cannot be read back: {e}")]
    texts = list(_check_streams(expected, found.streams))
    if texts:  # what follows needs them to correspond
        return [Finding(text=text) for text in texts]
    tracks = {
        want.source.index: found.tracks[have.index]
        for want, have in zip(expected.streams, found.streams, strict=True)
        if have.index in found.tracks
    }
    texts += _check_times(expected, tracks[expected.streams[place].source.index])
    for copy in expected.copies:
        texts += _check_copy(copy, tracks[copy.expected.source.index])
    texts += [*_check_chapters(expected, found), *_check_tags(expected, found)]
    if found.first_frame is None:
        return [*(Finding(text=text) for text in texts), Finding(text="its first frame cannot be decoded")]
    texts += _check_shape(expected, found.first_frame)
    return [*(Finding(text=text) for text in texts), *_check_color(expected.picture, found.first_frame)]


def place_of_picture(expected: Assembled) -> int:
    """Where the upscaled video stands among the file's streams."""
    copied = {copy.expected.source.index for copy in expected.copies}
    return next(
        place
        for place, stream in enumerate(expected.streams)
        if stream.kind == "video" and not stream.is_cover and stream.source.index not in copied
    )


def _check_streams(expected: Assembled, streams: Sequence[StreamInfo]) -> Iterator[str]:
    wanted = [_name(s.kind, s.codec, is_cover=s.is_cover) for s in expected.streams]
    found = [_name(s.kind, s.codec, is_cover=s.is_cover) for s in streams]
    if wanted != found:
        yield f"holds the streams {', '.join(found) or 'none'} instead of {', '.join(wanted)}"
        return
    for want, have in zip(expected.streams, streams, strict=True):
        if want.is_cover or want.kind == "attachment":
            continue
        if have.language != want.language:
            yield f"{want.source.selector}: has the language {have.language} instead of {want.language}"
        flags = kept_flags(have.flags, expected.container, have.kind)
        if flags != want.flags:
            yield f"{want.source.selector}: is flagged {_flags(flags)} instead of {_flags(want.flags)}"


def _name(kind: str, codec: str, *, is_cover: bool) -> str:
    return f"{'cover' if is_cover else kind} {codec}"


def _flags(flags: frozenset[str]) -> str:
    return "+".join(sorted(flags)) or "nothing"


def _check_times(expected: Assembled, found: FoundTrack) -> Iterator[str]:
    """Every frame's time, and the end of the last."""
    if found.hidden:
        yield f"{found.hidden} frames are hidden by the container"
    if len(found.times) != len(expected.pts):
        yield f"holds {len(found.times)} frames instead of {len(expected.pts)}"
        return
    # nothing where the container counts in the source's ticks or finer, else half a tick of its own
    is_exact = expected.container in ("mp4", "mov") and (expected.time_base / found.base).denominator == 1
    tolerance = Fraction(0) if is_exact else max(found.base / 2, _MILLISECOND / 2)
    yield from _compare_times(
        "frame", sorted(found.times), found.base, expected.pts, expected.time_base, tolerance=tolerance
    )
    if found.end is not None and abs(found.end - expected.end) > max(2 * _MILLISECOND, found.base):
        yield f"the picture ends at {float(found.end):.4f} s instead of {float(expected.end):.4f} s"


def _check_copy(copy: CopiedStream, found: FoundTrack) -> Iterator[str]:
    """Every packet's bytes, and its time within a tick of whoever counts the coarsest; and what converted sound is."""
    name = copy.expected.source.selector
    if len(found.times) != len(copy.times):
        yield f"{name}: holds {len(found.times)} packets instead of {len(copy.times)}"
        return
    if copy.digest is not None and found.hash.hexdigest() != copy.digest:
        whose = "those encoded" if copy.expected.is_converted else "the source's"
        yield f"{name}: its packets differ from {whose}"
    if copy.sound is not None:
        yield from _check_sound(name, copy.sound, found)
    tolerance = max(copy.source_tick, copy.time_base, found.base)
    late = _lateness(found, copy, tolerance)
    if late is not None:
        yield f"{name}: is {abs(float(late)) * 1000:.1f} ms {'late' if late > 0 else 'early'} against the picture"
        return
    yield from _compare_times(
        f"{name} packet", found.times, found.base, copy.times, copy.time_base, tolerance=tolerance
    )


def _lateness(found: FoundTrack, copy: CopiedStream, tolerance: Fraction) -> Fraction | None:
    """Seconds by which all packets of a stream are late, if they all are by the same and by more than `tolerance`."""
    late: list[Fraction] = []
    for have, want in zip(found.times, copy.times, strict=True):
        if have != UNTOLD:
            late.append(have * found.base - want * copy.time_base)
        if late and (abs(late[-1]) <= tolerance or abs(late[-1] - late[0]) > tolerance):
            return None
    return late[0] if late else None


def _check_sound(name: str, sound: Sound, found: FoundTrack) -> Iterator[str]:
    if (found.rate, found.channels) != (sound.rate, sound.channels):
        yield f"{name}: has {found.channels} channels at {found.rate} Hz instead of {sound.channels} at {sound.rate} Hz"
    # Matroska counts the encoder's delay and the whole of the last frame
    if found.end is not None and abs(found.end - sound.end) > 2 * sound.frame:
        yield f"{name}: ends at {float(found.end):.3f} s instead of {float(sound.end):.3f} s"


def _compare_times(
    what: str,
    found: Sequence[int],
    base: Fraction,
    wanted: Sequence[int],
    wanted_base: Fraction,
    *,
    tolerance: Fraction,
) -> Iterator[str]:
    """One line that names the first few wrong times, of two equally long sequences in ticks."""
    common = Fraction(1, base.denominator * wanted_base.denominator)
    a, b, most = int(base / common), int(wanted_base / common), tolerance / common
    wrong = [
        n
        for n, (x, y) in enumerate(zip(found, wanted, strict=True))
        if abs(x * a - y * b) > most and not (x == UNTOLD and y < 0)
    ]
    if wrong:
        named = ", ".join(
            f"{n} at {float(found[n] * base):.5f} s instead of {float(wanted[n] * wanted_base):.5f} s"
            for n in wrong[:_MOST_NAMED]
        )
        more = f", and {len(wrong) - _MOST_NAMED} more" if len(wrong) > _MOST_NAMED else ""
        yield f"{what} {named}{more}"


def _check_chapters(expected: Assembled, found: Found) -> Iterator[str]:
    if len(found.chapters) != len(expected.chapters):
        yield f"holds {len(found.chapters)} chapters instead of {len(expected.chapters)}"
        return
    for number, (have, want) in enumerate(zip(found.chapters, expected.chapters, strict=True), 1):
        if abs(have[0] - want[0]) > _MILLISECOND:
            yield f"chapter {number} begins at {float(have[0]):.3f} s instead of {float(want[0]):.3f} s"
        if have[1] != want[1]:
            yield f"chapter {number} is named {have[1]!r} instead of {want[1]!r}"


def _check_tags(expected: Assembled, found: Found) -> Iterator[str]:
    if expected.tags is None:
        return
    for name in sorted({*expected.tags, *found.tags}):
        have, want = found.tags.get(name), expected.tags.get(name)
        if have != want:
            yield f"has the tag {name} {_quoted(have)} instead of {_quoted(want)}"


def _quoted(value: str | None) -> str:
    return "none" if value is None else repr(value)


def _check_shape(expected: Assembled, frame: FoundFrame) -> Iterator[str]:
    picture = expected.picture
    if (frame.height, frame.width) != (picture.height, picture.width):
        yield f"is {frame.width}x{frame.height} instead of {picture.width}x{picture.height}"
    wanted = expected.sample_aspect_ratio
    if wanted is not None and frame.sample_aspect_ratio != wanted:
        yield f"has the sample aspect ratio {frame.sample_aspect_ratio} instead of {wanted}"
    have, want = _turn(frame.display_matrix), _turn(expected.display_matrix)
    if max(abs(a - b) for a, b in zip(have, want, strict=True)) > _SAME_TURN:
        yield f"is turned by {_told(have)} instead of {_told(want)}"
    if expected.picture.has_alpha and not frame.has_alpha:
        yield "has no alpha"
    if frame.content_light != expected.content_light:
        yield f"is tagged with the light levels {frame.content_light} instead of {expected.content_light}"
    if not _same_display(frame.mastering_display, expected.mastering_display):
        yield f"is tagged as mastered on {frame.mastering_display} instead of {expected.mastering_display}"


def _same_display(have: Sequence[int] | None, want: Sequence[int] | None) -> bool:
    """Whether mastering data is the same but for the steps in which codecs store it."""
    if have is None or want is None:
        return have is want
    pairs = zip(*([values[i] / values[i + 1] for i in range(0, 20, 2)] for values in (have, want)), strict=True)
    return all(abs(a - b) <= max(_DISPLAY_STEP, b * _DISPLAY_STEP) for a, b in pairs)


def _check_color(picture: Picture, frame: FoundFrame) -> Iterator[Finding]:
    color = picture.color
    for tag, have, want in (
        ("matrix", _same(frame.matrix), _same(color.matrix)),
        ("primaries", frame.primaries, color.primaries),
        ("transfer", frame.transfer, color.transfer),
        ("range", _range(frame.full_range), _range(color.full_range)),
        ("siting", frame.siting, color.siting),
    ):
        if have is not None and have != want and tag not in picture.untold:
            yield Finding(text=f"is tagged {tag} {have} instead of {want}", tag=tag)


def _same(matrix: int) -> int:
    return _SAME_MATRIX.get(matrix, matrix)


def _range(is_full: bool | None) -> str | None:
    return None if is_full is None else "full" if is_full else "limited"


def _turn(matrix: Sequence[int] | None) -> tuple[int, ...]:
    """The part of a display matrix that turns and mirrors."""
    return (_ONE, 0, 0, _ONE) if matrix is None else tuple(matrix[i] for i in (0, 1, 3, 4))


def _told(turn: Sequence[int]) -> str:
    return "(" + ", ".join(f"{value / _ONE:.5g}" for value in turn) + ")"
