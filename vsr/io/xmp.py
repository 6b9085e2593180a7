"""XMP brought up to date: what it says of the pixels' size and turn, and of parts of the file that are left behind."""

import re

_NUMBERS = {  # property -> what it becomes
    b"tiff:Orientation": "1",
    b"tiff:ImageWidth": "{width}",
    b"tiff:ImageLength": "{height}",
    b"exif:PixelXDimension": "{width}",
    b"exif:PixelYDimension": "{height}",
}
# Gain maps and motion photos are found by these; readers would look for parts that are not there.
_PROPERTY_OF_PART = rb"(?:hdrgm|HDRGainMap|GCamera:(?:MotionPhoto|MicroVideo)\w*|apdi|GainMap)"
_PARTS = (
    re.compile(rb"\s+" + _PROPERTY_OF_PART + rb"(?::\w+)?\s*=\s*(?:\"[^\"]*\"|'[^']*')"),
    re.compile(rb"<(" + _PROPERTY_OF_PART + rb"(?::\w+)?)\b[^>]*(?:/>|>.*?</\1>)", re.DOTALL),
    re.compile(rb"<Container:Directory\b.*?</Container:Directory>", re.DOTALL),
)


def renewed(xmp: bytes, *, height: int, width: int) -> bytes:
    """The same packet for upright pixels of another size, without a gain map or a clip."""
    for name, form in _NUMBERS.items():
        value = form.format(height=height, width=width).encode("ascii")
        xmp = re.sub(rb"(\b" + name + rb"\s*=\s*[\"'])\d+([\"'])", rb"\g<1>" + value + rb"\g<2>", xmp)
        xmp = re.sub(rb"(<" + name + rb">\s*)\d+(\s*</)", rb"\g<1>" + value + rb"\g<2>", xmp)
    for pattern in _PARTS:
        xmp = pattern.sub(b"", xmp)
    return xmp


def says(xmp: bytes | None, *names: bytes) -> bool:
    """Whether one of these prefixes or properties occurs."""
    return xmp is not None and any(name in xmp for name in names)
