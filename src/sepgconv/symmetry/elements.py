"""The elements of a group in words."""

from sepgconv.symmetry.finite import FiniteGroup, Matrix
from sepgconv.symmetry.registry import group as find_group

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
    """Return what each element does to a picture, in the order of the elements.

    Turns are counter-clockwise as seen on the screen; the diagonal is that from the upper left, as in a transposition.

    Args:
        group: the group or its name.

    Raises:
        ValueError: no group has that name.
    """
    return tuple(_NAMES[matrix] for matrix in find_group(group).matrices)
