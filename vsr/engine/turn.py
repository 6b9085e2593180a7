"""The display matrix carried out on pixels: quarter turns and mirrors, which move samples and change none."""

from torch import Tensor


def turned(rgb: Tensor, matrix: tuple[int, ...]) -> Tensor:
    """Turn and mirror (n, c, h, w) as a display matrix says, so that it need not be said any more.

    `matrix` holds nine numbers as in ISO/IEC 14496-12: (x, y) is shown at (a·x + c·y, b·x + d·y), y pointing down,
    where a, b, c, d are those at 0, 1, 3, 4. Only multiples of 90 degrees, mirrored or not, make sense here.
    """
    a, b, c, d = (matrix[i] for i in (0, 1, 3, 4))
    if a == 0:
        rgb, across, down = rgb.transpose(2, 3), c, b
    else:
        across, down = a, d
    flipped = [axis for axis, sign in ((2, down), (3, across)) if sign < 0]
    return (rgb.flip(flipped) if flipped else rgb).contiguous()
