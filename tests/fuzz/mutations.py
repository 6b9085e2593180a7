"""Changes made to files at random, as disks, networks, other programs and attackers make them."""

import random
import re

_LENGTHS = (1, 1, 2, 4, 16, 200)
_EDGES = (b"\0", b"\xff", b"\x7f", b"\x80", b"\x01")
_TOKEN = re.compile(rb"\"[^\"\n]*\"|-?\d+(?:\.\d+)?|\btrue\b|\bfalse\b|\bnull\b|\w+")
_WORDS = (
    *(b"0", b"-1", b"1", b"2147483648", b"18446744073709551616", b"1e308", b"-1e999", b"nan", b"inf", b"0.1"),
    *(b'""', b'"../../../outside"', b'"/outside"', b'"%s%n%d"', b'"\\u0000"', b'"\\ud800"', b'"a"', b"true"),
    *(b"null", b"[]", b"{}", b"[[1]]", b'{"a": 1}', b"\xff\xfe", b"\0", b"#", b"=", b"]", b"}", b"\n"),
    *(b'"' + b"x" * 5000 + b'"', b"1" * 5000, b"[" * 2000, b'{"a":' * 2000),
)


def changed(data: bytes, draw: random.Random, *, other: bytes = b"", is_text: bool = False) -> bytes:
    """`data` with one change or a few, or many; parts of `other` may get into it. Texts are changed by words, too."""
    result = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 5, 30))):
        if is_text and draw.random() < 0.7:
            _exchange_word(result, draw)
        else:
            _change_bytes(result, draw, other)
    return bytes(result)


def _change_bytes(data: bytearray, draw: random.Random, other: bytes) -> None:
    at = draw.randrange(len(data) + 1) if draw.random() < 0.6 else draw.randrange(min(len(data), 256) + 1)
    length = draw.choice(_LENGTHS)
    match draw.randrange(8):
        case 0:
            data[at : at + length] = draw.randbytes(length)
        case 1:
            del data[at : at + length]
        case 2:
            data[at:at] = data[at : at + length]
        case 3:
            if at < len(data):
                data[at] ^= 1 << draw.randrange(8)
        case 4:
            size = draw.choice((1, 2, 4, 8))
            data[at : at + size] = draw.choice(_EDGES) * size
        case 5:  # a number, one more or less or a little off
            size = draw.choice((1, 2, 4))
            order = draw.choice(("big", "little"))
            value = int.from_bytes(data[at : at + size], order) + draw.choice((-1, 1, -16, 16, 255))
            data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, order)
        case 6:
            begin = draw.randrange(len(other) + 1)
            data[at : at + length] = other[begin : begin + length]
        case _:
            if draw.random() < 0.3:
                del data[at:]


def _exchange_word(data: bytearray, draw: random.Random) -> None:
    words = list(_TOKEN.finditer(bytes(data)))
    if not words:
        return
    one = draw.choice(words)
    new = draw.choice(_WORDS) if draw.random() < 0.7 else draw.choice(words)[0]
    data[one.start() : one.end()] = new
