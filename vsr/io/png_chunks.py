"""The chunks of a PNG: read without its pixels, taken out and put in.

Source: W3C PNG Specification, third edition, sections 5 and 11.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
Chunk = tuple[bytes, bytes]  # (type, data)
_MOST = 64 << 20  # bytes of a chunk that is kept; larger ones are not believed
_PIXELS = (b"IDAT", b"fdAT")
_BEFORE_PALETTE = (b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"mDCV", b"cLLI")  # must stand before PLTE
_XMP = b"XML:com.adobe.xmp"
_IPTC = b"Raw profile type iptc"  # as ImageMagick writes and ExifTool reads it; PNG itself has no place for IPTC


def read_chunks(file: BinaryIO) -> Iterator[Chunk]:
    """All chunks of a PNG but those of its pixels, up to the first that is cut off. Checksums are not looked at."""
    file.seek(len(SIGNATURE))
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind in _PIXELS or length > _MOST:
            file.seek(length, 1)
        else:
            data = file.read(length)
            if len(data) < length:
                return
            yield kind, data
        if len(file.read(4)) < 4 or kind == b"IEND":
            return


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk as it stands in a file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def split(png: bytes) -> list[Chunk]:
    """All chunks of a whole PNG, pixels too."""
    found = []
    at = len(SIGNATURE)
    while at + 8 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        found.append((kind, png[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def joined(chunks: Iterable[Chunk]) -> bytes:
    return SIGNATURE + b"".join(chunk(kind, data) for kind, data in chunks)


def with_chunks(png: Iterable[Chunk], extra: Iterable[Chunk]) -> Iterator[Chunk]:
    """The critical chunks of a picture, with `extra` in the places where the specification wants them."""
    kept = [(kind, data) for kind, data in png if kind[:1].isupper() or kind == b"tRNS"]
    extra = list(extra)
    early = [c for c in extra if c[0] in _BEFORE_PALETTE]
    late = [c for c in extra if c[0] not in _BEFORE_PALETTE]
    yield kept[0]  # IHDR
    yield from early
    for kind, data in kept[1:]:
        if kind == b"IDAT" and late:
            yield from late
            late = []
        yield kind, data


def icc_chunk(icc: bytes) -> Chunk:
    return b"iCCP", b"ICC profile\0\0" + zlib.compress(icc, 9)


def xmp_chunk(xmp: bytes) -> Chunk:
    return b"iTXt", _XMP + b"\0\0\0\0\0" + xmp


def text_chunk(keyword: str, text: bytes) -> Chunk:
    """An uncompressed text in UTF-8."""
    return b"iTXt", keyword.encode("latin-1") + b"\0\0\0\0\0" + text


def iptc_chunk(iptc: bytes) -> Chunk:
    resource = photoshop_resource(iptc)
    digits = resource.hex()
    lines = [digits[at : at + 72] for at in range(0, len(digits), 72)]
    text = f"\niptc\n{len(resource):8d}\n" + "\n".join(lines) + "\n"
    return b"zTXt", _IPTC + b"\0\0" + zlib.compress(text.encode("ascii"), 9)


def photoshop_resource(iptc: bytes) -> bytes:
    """IPTC records as the image resource 0x0404 of Photoshop, which is how JPEG and PNG carry them."""
    return b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc + b"\0" * (len(iptc) % 2)


def iptc_of_resources(resources: bytes) -> bytes | None:
    """The IPTC records among Photoshop's image resources."""
    at = 0
    while resources[at : at + 4] == b"8BIM" and at + 12 <= len(resources):
        code = int.from_bytes(resources[at + 4 : at + 6], "big")
        name = resources[at + 6] + 1
        at += 6 + name + name % 2
        length = int.from_bytes(resources[at : at + 4], "big")
        if code == 0x0404:
            return resources[at + 4 : at + 4 + length]
        at += 4 + length + length % 2
    return None


def inflated(data: bytes, most: int = _MOST) -> bytes:
    """What zlib makes of compressed data of a chunk. Raises ValueError when that is damaged or too much."""
    try:
        engine = zlib.decompressobj()
        text = engine.decompress(data, most)
    except zlib.error as e:
        raise ValueError(str(e)) from e
    if engine.unconsumed_tail:
        raise ValueError("more than is believed")
    return text


def xmp_of(kind: bytes, data: bytes) -> bytes | None:
    """The XMP packet, if a chunk holds one."""
    if kind != b"iTXt" or not data.startswith(_XMP + b"\0"):
        return None
    flag, rest = data[len(_XMP) + 1], data[len(_XMP) + 3 :].split(b"\0", 2)
    if len(rest) < 3:
        return None
    return inflated(rest[2]) if flag else rest[2]


def iptc_of(kind: bytes, data: bytes) -> bytes | None:
    """The IPTC records, if a chunk holds some."""
    if kind not in (b"zTXt", b"tEXt") or not data.startswith(_IPTC + b"\0"):
        return None
    text = inflated(data[len(_IPTC) + 2 :]) if kind == b"zTXt" else data[len(_IPTC) + 1 :]
    digits = b"".join(text.split()[2:])
    raw = bytes.fromhex(digits.decode("ascii"))
    return iptc_of_resources(raw) or raw
