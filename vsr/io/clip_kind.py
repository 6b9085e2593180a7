"""Whether a file is a clip: told by its name, and by its first bytes where the name is unknown."""

from pathlib import Path

CLIP_SUFFIXES = (
    *(".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".ts", ".m2ts", ".mts"),
    *(".mpg", ".mpeg", ".vob", ".wmv", ".flv", ".ogv", ".3gp", ".3g2", ".asf", ".f4v", ".m2v", ".mxf", ".y4m"),
)
_NOT_PICTURES = (".mka", ".mks", ".weba", ".m4a", ".m4b", ".m4r", ".wav", ".cr3", ".heic", ".heif", ".avif")
_BRANDS = (b"isom", b"iso", b"mp4", b"avc", b"qt  ", b"M4V", b"3gp", b"3g2", b"dash", b"MSNV")
_PACKET = 188  # bytes of a transport stream


def is_clip(path: Path) -> bool:
    """By its suffix, but for .ts, which is TypeScript's, too; any other name by its content. No decoder is asked."""
    suffix = path.suffix.lower()
    if suffix in CLIP_SUFFIXES and suffix != ".ts":
        return True
    if suffix in _NOT_PICTURES:
        return False
    try:
        with path.open("rb") as file:
            head = file.read(_PACKET + 1)
    except (OSError, ValueError):
        return suffix == ".ts"
    if suffix == ".ts":
        return head[:1] == head[_PACKET:] == b"G"
    if head[4:8] == b"ftyp":
        return head[8:12].startswith(_BRANDS)
    return head.startswith(b"\x1a\x45\xdf\xa3") or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
