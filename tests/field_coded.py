"""H.264 whose fields are pictures of their own (PAFF), written bit by bit: no encoder at hand makes it.

Every macroblock is I_PCM, so no transform and no prediction is needed. ITU-T H.264, sections 7.3.2, 7.3.3 and 7.3.5.
"""

from pathlib import Path

_SIDE = 64  # pixels: four macroblocks a line, two lines of them a field


class _Bits:
    def __init__(self) -> None:
        self._bits: list[str] = []

    def fixed(self, value: int, length: int) -> None:
        self._bits.append(f"{value:0{length}b}")

    def golomb(self, *values: int) -> None:
        for value in values:
            code = f"{value + 1:b}"
            self._bits.append("0" * (len(code) - 1) + code)

    def macroblock(self, samples: bytes) -> None:
        self.golomb(25)  # I_PCM
        length = sum(map(len, self._bits))
        self._bits.append("0" * (-length % 8))
        self._bits += [f"{sample:08b}" for sample in samples]

    def unit(self, kind: int) -> bytes:
        bits = "".join(self._bits) + "1"
        bits += "0" * (-len(bits) % 8)
        data = bytearray()
        for byte in int(bits, 2).to_bytes(len(bits) // 8, "big"):
            if byte < 4 and data[-2:] == b"\0\0":
                data.append(3)
            data.append(byte)
        return b"\0\0\0\1" + bytes([0x60 | kind]) + bytes(data)


def write_fields(path: Path, frames: int) -> Path:
    """Write raw H.264 of `frames` frames of 64x64, two field pictures each; both show the frame's number as bars."""
    path.write_bytes(_parameters() + b"".join(_field(k, bottom) for k in range(frames) for bottom in (0, 1)))
    return path


def _parameters() -> bytes:
    sequence = _Bits()
    for value in (77, 0, 30):  # Main profile, level 3
        sequence.fixed(value, 8)
    sequence.golomb(0, 0, 0, 4)  # frame numbers of 4 bits, order counts of 8
    sequence.golomb(1)  # reference frames
    sequence.fixed(0, 1)
    sequence.golomb(_SIDE // 16 - 1, _SIDE // 32 - 1)
    sequence.fixed(0b00100, 5)  # fields, no MBAFF, direct inference, no cropping, no VUI
    picture = _Bits()
    picture.golomb(0, 0)
    picture.fixed(0b00, 2)
    picture.golomb(0, 0, 0)
    picture.fixed(0b000, 3)
    picture.golomb(0, 0, 0)
    picture.fixed(0b000, 3)
    return sequence.unit(7) + picture.unit(8)


def _field(number: int, bottom: int) -> bytes:
    field = _Bits()
    field.golomb(0, 7, 0)  # first macroblock, I slice, parameter set
    field.fixed(0, 4)
    field.fixed(0b10 | bottom, 2)
    if not bottom:
        field.golomb(number % 2)  # of the IDR picture
    field.fixed(bottom, 8)  # order count
    field.fixed(0, 1 if bottom else 2)
    field.golomb(0)
    for block in range(_SIDE // 16 * (_SIDE // 32)):
        bars = [200 if number >> (block % 4 * 2 + bar) & 1 else 40 for bar in (0, 1)]
        field.macroblock(bytes([bars[0]] * 8 + [bars[1]] * 8) * 16 + bytes([128]) * 128)
    return field.unit(1 if bottom else 5)
