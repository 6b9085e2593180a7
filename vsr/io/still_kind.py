"""Whether a file is a still, a clip or neither: told by its first bytes, and by its name where these are silent."""

from pathlib import Path

from vsr.io.still import KIND_OF_SUFFIX, Kind

_BRANDS: dict[bytes, Kind] = {  # ISO base media files begin alike; their major brand says what for
    b"avif": "avif",
    b"avis": "avif",
    b"heic": "heic",
    b"heix": "heic",
    b"heim": "heic",
    b"heis": "heic",
    b"hevc": "heic",
    b"hevx": "heic",
    b"mif1": "heic",
    b"msf1": "heic",
}
_MAGIC: tuple[tuple[int, bytes, Kind], ...] = (  # (offset, bytes, kind)
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\x8aMNG", "other"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
    (0, b"II+\0", "tiff"),
    (0, b"MM\0+", "tiff"),
    (0, b"BM", "bmp"),
    (0, b"\0\0\0\x0cjP  ", "other"),  # JPEG 2000
    (0, b"\xff\x4f\xff\x51", "other"),
    (0, b"\xff\x0a", "other"),  # JPEG XL
    (0, b"\0\0\0\x0cJXL ", "other"),
    (0, b"8BPS", "other"),  # Photoshop
    (0, b"DDS ", "other"),
    (0, b"\0\0\1\0", "other"),  # icon
    (0, b"\0\0\2\0", "other"),  # cursor, or TGA
    (0, b"SDPX", "other"),
    (0, b"XPDS", "other"),
    (0, b"\x76\x2f\x31\x01", "other"),  # OpenEXR
    (0, b"#?RADIANCE", "other"),
    (0, b"qoif", "other"),
    (0, b"\x01\xda", "other"),  # SGI
    (0, b"\x59\xa6\x6a\x95", "other"),  # Sun raster
    (0, b"icns", "other"),
)
# Formats without a sure mark, and those whose files may be damaged where it should be.
_OTHERS = (
    *(".pam", ".jp2", ".j2k", ".j2c", ".jpx", ".jpf", ".jxl", ".psd", ".dds", ".ico", ".cur", ".icns", ".exr", ".hdr"),
    *(".dpx", ".qoi", ".sgi", ".rgb", ".rgba", ".bw", ".ras", ".sun", ".pcx", ".dcx", ".xbm", ".xpm", ".im", ".msp"),
    *(".blp", ".ftex", ".ftu", ".mpo", ".jps", ".svg", ".svgz", ".wmf", ".emf", ".eps"),
)
# Camera raw. Most of them begin as TIFFs do, whose first page is then a small preview.
RAW_SUFFIXES = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".kdc", ".mef", ".mos"),
    *(".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
)
_SUFFIXES: dict[str, Kind] = {**KIND_OF_SUFFIX, **dict.fromkeys((*_OTHERS, *RAW_SUFFIXES), "other")}


def still_kind(path: Path) -> Kind | None:
    """The kind of still that a file is, or None for what is none: a clip, or no picture at all.

    What cannot be opened goes by its name: whoever reads it will say why it cannot be.
    """
    try:
        head = b""
        if path.is_file():  # what is read from a pipe is gone
            with path.open("rb") as file:
                head = file.read(32)
    except (OSError, ValueError):
        head = b""
    named = _SUFFIXES.get(path.suffix.lower())
    return _by_magic(head, named) or named


def _by_magic(head: bytes, named: Kind | None) -> Kind | None:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12])
    if len(head) > 2 and head[:1] == b"P" and head[1:2] in b"123456fF" and head[2:3].isspace():
        return "pnm"
    for offset, magic, kind in _MAGIC:
        if head.startswith(magic, offset):
            return named if kind == "other" and named == "tga" else kind
    return None
