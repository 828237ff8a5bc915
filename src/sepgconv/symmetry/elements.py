"""The elements of a group in words."""

import math

from sepgconv.symmetry.finite import FiniteGroup, Matrix
from sepgconv.symmetry.registry import group as get_group

# By what the element does to a pixel (y, x), y pointing down; the eight symmetries of the square grid.
_NAMES: dict[Matrix, str] = {
    ((1, 0), (0, 1)): "identity",
    ((0, -1), (1, 0)): "turn by 90°",
    ((-1, 0), (0, -1)): "turn by 180°",
    ((0, 1), (-1, 0)): "turn by 270°",
    ((1, 0), (0, -1)): "mirror left-right",
    ((-1, 0), (0, 1)): "mirror top-bottom",
    ((0, 1), (1, 0)): "mirror at the diagonal",
    ((0, -1), (-1, 0)): "mirror at the other diagonal",
}


def element_names(group: FiniteGroup | str) -> tuple[str, ...]:
    """Return what each element does to an image, in the order of the elements.

    Rotations are counter-clockwise as seen on the screen; the diagonal is that from the upper left, as in a
    transposition.

    Args:
        group: the group or its name.

    Raises:
        ValueError: no group has that name.

    Example:
        >>> element_names("pm")
        ('identity', 'mirror left-right')
    """
    return tuple(_NAMES.get(matrix) or _between(matrix) for matrix in get_group(group).matrices)


def _between(matrix: Matrix) -> str:
    """Describe an element of the plane that does not keep the pixel grid; one of space by its matrix."""
    if len(matrix) != 2:
        return str([list(row) for row in matrix])
    (m00, m01), (m10, m11) = matrix
    if m00 * m11 - m01 * m10 > 0:
        return f"turn by {math.degrees(math.atan2(m10, m00)) % 360:.4g}°"
    # A mirror keeps its axis: seen on the screen, half of the angle by which it turns the direction to the right.
    return f"mirror at the axis of {math.degrees(math.atan2(-m01, m11)) / 2 % 180:.4g}°"
