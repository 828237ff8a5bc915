"""Integer tables of how a group moves poses, pixels and filters; derived from its matrices and Cayley table."""

import numpy as np
from numpy.typing import NDArray

from sepgconv.symmetry.finite import FiniteGroup
from sepgconv.symmetry.registry import group as find_group


def pose_division(group: FiniteGroup | str) -> NDArray[np.int64]:
    """Return the table of relative poses, `[g, h]` = index of g^-1 h, shape (|G|, |G|).

    Raises:
        ValueError: no group has that name.
    """
    group = find_group(group)
    table = np.array(group.table)
    return table[np.array(group.inverses)]


def pixel_permutation(group: FiniteGroup | str, height: int, width: int) -> NDArray[np.int64]:
    """Return, for every element g and pixel v of a grid, the flat index of the pixel g^-1 v that comes to lie on v.

    Args:
        group: the point group or its name.
        height: rows of the grid.
        width: columns of the grid.

    Returns:
        Integers of shape (|G|, height, width), a permutation of 0 .. height * width - 1 for every g.

    Raises:
        ValueError: no group has that name, or the grid is not square and the group exchanges its axes.
    """
    group = find_group(group)
    if height != width and group.exchanges_axes:
        raise ValueError(
            f"{group.name} exchanges the two axes, so it does not keep a grid of {height} x {width}; use a square one"
        )
    # Coordinates are doubled and counted from the middle, so that even sizes need no half pixels.
    pixels = np.stack(np.meshgrid(np.arange(1 - height, height, 2), np.arange(1 - width, width, 2), indexing="ij"))
    inverse = np.array(group.matrices).transpose(0, 2, 1)  # orthogonal: the inverse is the transpose
    y, x = np.moveaxis(np.einsum("gij,jyx->giyx", inverse, pixels), 1, 0)
    return (y + height - 1) // 2 * width + (x + width - 1) // 2


def filter_permutation(group: FiniteGroup | str, height: int, width: int) -> NDArray[np.int64]:
    """Return the action on a filter with a pose axis, `F[g^-1 h, g^-1 v]`, as flat indices into (|G|, height, width).

    Returns:
        Integers of shape (|G|, |G|, height, width), axes g, h, v.

    Raises:
        ValueError: the filter is not square and the group exchanges its axes.
    """
    pixels = pixel_permutation(group, height, width)
    return pose_division(group)[:, :, None, None] * (height * width) + pixels[:, None]
