"""What colours a source means when it does not say, by the rules that players use."""

from collections.abc import Mapping

from vsr.frames import ColorSpec, PixelLayout, Siting

_UNSPECIFIED = (2, 3)  # H.273: unspecified, reserved
_MATRIX_OF_PRIMARIES = {1: 1, 4: 4, 5: 5, 6: 6, 7: 7, 9: 9}
_PRIMARIES_OF_MATRIX = {1: 1, 4: 4, 5: 5, 6: 6, 7: 7, 9: 9, 10: 9, 14: 9}
_TRANSFER_OF_PRIMARIES = {1: 1, 4: 4, 5: 6, 6: 6, 7: 7, 9: 14}
_WIDE_TRANSFERS = (14, 15, 16, 18)  # BT.2020 at 10 and 12 bits, PQ, HLG
_CENTERED_CODECS = ("mpeg1video", "mjpeg", "mjpegb", "jpegls")  # chroma lies between the pixels by their standards


def guess_color(
    tagged: ColorSpec, *, layout: PixelLayout, size: tuple[int, int], codec: str, siting: Siting | None
) -> ColorSpec:
    """Fill what a source left open, by the rules players use, and name what was filled.

    In `tagged`, 2 means that the source does not say, and `guessed` holds "full_range" when it does not say the range.
    `size` is (height, width). Untagged pictures of up to 576 lines and less than 1280 columns are BT.601.
    """
    guessed: list[str] = list(tagged.guessed)
    is_open = {name: getattr(tagged, name) in _UNSPECIFIED for name in ("matrix", "primaries", "transfer")}
    if layout.kind == "rgb":
        matrix, primaries, transfer = 0, 1, 13
        is_open["matrix"] = False
    else:
        is_open["matrix"] = is_open["matrix"] or tagged.matrix == 0  # RGB is no way to read YUV
        matrix, primaries, transfer = _guess_yuv(tagged, is_open, size)
    guessed += [name for name, unknown in is_open.items() if unknown]
    if siting is None:
        siting = "center" if codec in _CENTERED_CODECS else "left"
        if layout.log2_chroma == (1, 1):
            guessed.append("siting")
    return ColorSpec(
        matrix=matrix if is_open["matrix"] or layout.kind == "rgb" else tagged.matrix,
        primaries=primaries if is_open["primaries"] else tagged.primaries,
        transfer=transfer if is_open["transfer"] else tagged.transfer,
        full_range=tagged.full_range,
        siting=siting,
        guessed=tuple(guessed),
    )


def _guess_yuv(tagged: ColorSpec, is_open: Mapping[str, bool], size: tuple[int, int]) -> tuple[int, int, int]:
    """(matrix, primaries, transfer) for YUV: from the fields that are there, else from the size."""
    height, width = size
    by_size = 1
    if height <= 576 and width < 1280:
        by_size = 5 if height in (576, 288) else 6
    if not is_open["transfer"] and tagged.transfer in _WIDE_TRANSFERS:
        by_size = 9
    primaries = tagged.primaries
    if is_open["primaries"]:
        primaries = by_size if is_open["matrix"] else _PRIMARIES_OF_MATRIX.get(tagged.matrix, by_size)
    matrix = tagged.matrix
    if is_open["matrix"]:
        matrix = _MATRIX_OF_PRIMARIES.get(primaries, by_size)
    return matrix, primaries, _TRANSFER_OF_PRIMARIES.get(primaries, 1)


def first_said(*values: int) -> int:
    """The first code point that says something, else the one for unspecified."""
    return next((v for v in values if v not in _UNSPECIFIED), 2)
