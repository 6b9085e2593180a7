"""What lies in a JPEG beside its picture. Source: ITU-T T.81, annex B; CIPA DC-007 for several pictures in one file."""

from dataclasses import dataclass

_STANDALONE = (0x01, *range(0xD0, 0xD9))
_SOS = 0xDA
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_MORE_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_CLIPS = (b"ftypmp4", b"ftypisom", b"ftypqt", b"ftypMSNV", b"MotionPhoto_Data")


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegParts:
    """Metadata as it stands in the file, and the names of what will not be carried."""

    xmp: bytes | None
    resources: bytes  # of Photoshop, IPTC among them
    left_behind: tuple[str, ...]


def jpeg_parts(data: bytes, *, pictures: int = 1) -> JpegParts:
    """Look at the segments of a whole JPEG; `pictures` is how many its index counts."""
    segments = _segments(data)
    xmp = next((text[len(_XMP) :] for marker, text in segments if marker == 0xE1 and text.startswith(_XMP)), None)
    has_gain_map = (xmp is not None and (b"hdrgm:" in xmp or b"HDRGainMap" in xmp)) or any(
        text.startswith((b"urn:iso:std:iso:ts:21496", b"hdrgm")) for _, text in segments
    )
    left = []
    if has_gain_map:
        left.append("gain map")
        pictures -= 1
    if pictures > 1:
        left.append("second picture" if pictures == 2 else f"{pictures - 1} more pictures")
    start = data.find(b"\xff\xda")
    if any(data.find(clip, start) >= 0 for clip in _CLIPS):
        left.append("motion-photo clip")
    if any(marker == 0xE1 and text.startswith(_MORE_XMP) for marker, text in segments):
        left.append("extended XMP")
    if any(marker == 0xEB and text.startswith(b"JP") for marker, text in segments):
        left.append("content credentials")
    resources = b"".join(
        text[len(_PHOTOSHOP) :] for marker, text in segments if marker == 0xED and text.startswith(_PHOTOSHOP)
    )
    return JpegParts(xmp=xmp, resources=resources, left_behind=tuple(left))


def _segments(data: bytes) -> list[tuple[int, bytes]]:
    """(marker, content) up to the first scan."""
    found = []
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or marker in _STANDALONE:
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _SOS or length < 2:
            break
        found.append((marker, data[at + 4 : at + 2 + length]))
        at += 2 + length
    return found
