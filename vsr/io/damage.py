"""What a damaged source lacks, and when: frames held against the packets that promised them."""

import bisect
import statistics
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

_WIDE = Fraction(3, 2)  # times the usual step: a longer one leaves room for a frame
_FIELD = Fraction(3, 4)  # of the usual step: a packet nearer to a frame is its second field
_STEADY = Fraction(4, 5)  # share of the steps that must be alike for a gap to tell how many frames it held
_ALIKE = Fraction(1, 8)  # of the usual step, by which steps may differ and be alike
_REMEMBERED = 50  # steps from which the usual one is taken
_LEARNED = 8  # steps by which the usual one is known: streams of fields may say twice the rate
_NEAR = Fraction(1)  # seconds between a hole in the file and the gap it leaves: decode order differs from display order


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A part of a stream that is missing or not as it was. Times are seconds after the picture's first frame."""

    begin: Fraction
    end: Fraction | None  # None is to the end of the file
    units: int | None  # frames or packets, None where it cannot be known
    is_missing: bool = True  # else shown, but damaged
    stream: str = ""  # selector; empty for the picture
    of: str = "frames"

    def __str__(self) -> str:
        where = f"{self.stream}: " if self.stream else ""
        state = "missing" if self.is_missing else "damaged"
        if self.end is None:
            count = "an unknown number of" if self.units is None else f"about {self.units}"
            return f"{where}the file breaks off after {float(self.begin):.3f} s: {count} {self.of} are missing"
        count = self.of if self.units is None else f"{self.units} {self.of if self.units != 1 else self.of[:-1]}"
        verb = "is" if self.units == 1 else "are"
        if self.end == 0:
            return f"{where}the {float(-self.begin):.3f} s before the first frame: {count} {verb} {state}"
        return f"{where}{float(self.begin):.3f} to {float(self.end):.3f} s: {count} {verb} {state}"


def merged(found: Iterable[Damage]) -> list[Damage]:
    """Damage in order of time, neighbours of one kind as one."""
    result: list[Damage] = []
    for one in sorted(found, key=lambda damage: (damage.stream, not damage.is_missing, damage.begin)):
        before = result[-1] if result else None
        if (
            before is not None
            and before.end is not None
            and one.end is not None
            and (before.stream, before.is_missing) == (one.stream, one.is_missing)
            and one.begin <= before.end
        ):
            units = None if None in (before.units, one.units) else (before.units or 0) + (one.units or 0)
            result[-1] = replace(before, end=max(before.end, one.end), units=units)
        else:
            result.append(one)
    return sorted(result, key=lambda damage: damage.begin)


class PictureCheck:
    """Finds the holes between frames, told all packets that go into a decoder and all frames that come out.

    A frame is missing where a packet was to give one and did not, or where the file itself has a hole, and only if the
    frames around leave room for it: streams of fields have two packets a frame, and a long step alone is no hole.
    In a file that is shorter than it says, a long step amid even ones is taken for one, too. All times are in ticks;
    `step` is the nominal one from frame to frame, `second` how many make a second.
    """

    def __init__(self, *, step: Fraction, second: Fraction, is_shorter: bool) -> None:
        self._is_shorter = is_shorter
        self._nominal = max(1, round(step))
        self._steps: deque[int] = deque(maxlen=_REMEMBERED)
        self._waiting: list[tuple[list[int], int, int]] | None = []  # steps to be judged once the usual one is known
        self._reach = round(_NEAR * second)
        self._promised: list[int] = []  # times of frames that have not come out, rising
        self._suspect: list[int] = []  # times of packets near which the file has holes, rising
        self._last: int | None = None
        self._key: int | None = None  # time of the first packet that can be decoded by itself
        self.holes: list[tuple[int, int, int | None]] = []  # first and end time, frames
        self.damaged: list[tuple[int, int, int]] = []  # first and end time, frames that are shown with damage
        self.unshown = 0  # packets before the first frame that need others, which the file does not hold
        self._is_damaged = False

    def promise(self, time: int | None, *, is_key: bool, is_after_hole: bool) -> None:
        """A packet went into the decoder."""
        if time is None:
            return
        bisect.insort(self._promised, time)
        if is_key and self._key is None:
            self._key = time
        if is_after_hole:
            self.suspect(time)

    def suspect(self, time: int | None) -> None:
        """The file is damaged about this time."""
        if time is not None:
            bisect.insort(self._suspect, time)

    def shown(self, time: int, *, is_damaged: bool) -> None:
        """A frame came out, in display order."""
        at = bisect.bisect_left(self._promised, time)
        unkept = self._promised[:at]
        del self._promised[: bisect.bisect_right(self._promised, time)]
        if self._last is None:
            self._begin(unkept, time)
        elif time > self._last:
            self._judge((unkept, self._last, time))
        self._mark(time, is_damaged=is_damaged)
        self._last = time if self._last is None else max(time, self._last)

    def finish(self) -> None:
        """All frames are out."""
        self._settle()
        if self._last is not None:
            self._mark(self._last + self.usual, is_damaged=False)
        rest = [time for time in self._promised if self._last is None or time > self._last + _FIELD * self.usual]
        if rest:
            self.holes.append((rest[0], rest[-1] + self.usual, len(rest)))

    @property
    def has_begun(self) -> bool:
        return self._last is not None

    @property
    def usual(self) -> int:
        """The usual step from one frame to the next."""
        return max(1, round(statistics.median(self._steps))) if self._steps else self._nominal

    def _mark(self, time: int, *, is_damaged: bool) -> None:
        """The damage of the frame before ends here, and another's may begin."""
        if self._is_damaged:
            begin, _, count = self.damaged.pop()
            until = time if self._last is None else min(time, self._last + self.usual)
            self.damaged.append((begin, until, count + is_damaged))
        elif is_damaged:
            self.damaged.append((time, time, 1))
        self._is_damaged = is_damaged

    def _begin(self, unkept: Sequence[int], time: int) -> None:
        lost = [one for one in unkept if self._key is not None and self._key <= one < time - _FIELD * self.usual]
        self.unshown = len(unkept) - len(lost)
        if lost:
            self.holes.append((lost[0], time, len(lost)))

    def _judge(self, step: tuple[list[int], int, int]) -> None:
        if self._waiting is None:
            self._between(*step)
            return
        self._waiting.append(step)
        if len(self._waiting) >= _LEARNED:
            self._settle()

    def _settle(self) -> None:
        """Judge the first steps by what is usual among them."""
        waiting, self._waiting = self._waiting or [], None
        lengths = [time - last for _, last, time in waiting]
        if len(lengths) < _LEARNED:
            lengths.append(self._nominal)
        if not self._steps:
            self._steps.append(max(1, round(statistics.median_low(lengths))))
        for step in waiting:
            self._between(*step)

    def _between(self, unkept: Sequence[int], last: int, time: int) -> None:
        step, usual = time - last, self.usual
        suspects = self._suspect
        while suspects and suspects[0] < last - self._reach:
            suspects.pop(0)
        if step <= _WIDE * usual:
            self._steps.append(step)
            return
        alike = sum(abs(one - usual) <= usual * _ALIKE for one in self._steps)
        is_steady = alike >= _STEADY * len(self._steps)
        is_torn = bool(suspects) and suspects[0] <= time + self._reach
        if not unkept and not is_torn and not (is_steady and self._is_shorter):
            self._steps.append(step)
            return
        count = round(Fraction(step, usual)) - 1 if is_steady else len(unkept) or None
        self.holes.append((last + usual if is_steady or not unkept else unkept[0], time, count))


class SoundCheck:
    """Finds what a track of sound lacks, told its packets in order. Times are seconds of the source.

    A gap is damage where the file has a hole near it, or is shorter than it says.
    """

    def __init__(self, stream: str, *, zero: Fraction, is_shorter: bool) -> None:
        self._is_shorter = is_shorter
        self._suspect: Fraction | None = None  # the file is damaged about here
        self._stream = stream
        self._zero = zero  # seconds: the picture's first frame
        self._due: Fraction | None = None
        self.damage: list[Damage] = []

    def look(self, begin: Fraction, length: Fraction, *, is_after_hole: bool) -> None:
        """A packet of `length` seconds came."""
        if is_after_hole:
            self._suspect = begin
        is_torn = self._is_shorter or (self._suspect is not None and (self._due or begin) - self._suspect <= _NEAR)
        if self._due is not None and length and begin - self._due > length / 2 and is_torn:
            self._add(self._due, begin, max(1, round((begin - self._due) / length)), is_missing=True)
        self._due = begin + length if length else None

    def failed(self, begin: Fraction, length: Fraction) -> None:
        """A packet cannot be decoded."""
        self._add(begin, begin + length, 1, is_missing=False)

    def _add(self, begin: Fraction, end: Fraction, units: int, *, is_missing: bool) -> None:
        last = self.damage[-1] if self.damage else None
        begin, end = begin - self._zero, end - self._zero
        if last is not None and last.is_missing == is_missing and last.end is not None and begin <= last.end:
            self.damage[-1] = replace(last, end=max(last.end, end), units=(last.units or 0) + units)
            return
        self.damage.append(
            Damage(begin=begin, end=end, units=units, is_missing=is_missing, stream=self._stream, of="packets")
        )
