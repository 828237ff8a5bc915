"""Integer tables of how a group moves poses, pixels and filters; derived from its matrices and Cayley table."""

import math

import numpy as np
from numpy.typing import NDArray

from sepgconv.symmetry.finite import FiniteGroup
from sepgconv.symmetry.registry import group as get_group

MOST_PIXELS = 2**26  # of a kernel; far more than one that learns


def pose_division(group: FiniteGroup | str) -> NDArray[np.int64]:
    """Return the table of relative poses, `[g, h]` = index of g^-1 h, shape (|G|, |G|).

    Raises:
        ValueError: no group has that name.

    Example:
        >>> pose_division("p4")[1]
        array([3, 0, 1, 2])
    """
    group = get_group(group)
    table = np.array(group.table)
    return table[np.array(group.inverses)]


def pixel_permutation(group: FiniteGroup | str, *sides: int) -> NDArray[np.int64]:
    """Return, for every element g and pixel v of a grid, the flat index of the pixel g^-1 v that comes to lie on v.

    Args:
        group: the point group or its name.
        sides: the sides of the grid in pixels, as (height, width); one for each axis of the group's space.

    Returns:
        Integers of shape (|G|, *sides), a permutation of 0 .. height * width - 1 for every g.

    Raises:
        ValueError: no group has that name; an element takes pixels between pixels; more than 2^26 pixels; the number of
            sides is not the dimension of the group; or the sides differ and the group exchanges the axes.

    Example:
        >>> pixel_permutation("p4", 2, 2)[1]  # a quarter turn, counter-clockwise
        array([[1, 3],
               [0, 2]])
    """
    group = get_group(group)
    if not group.keeps_grid:
        raise ValueError(
            f"{group.name} has elements that do not take pixels to pixels; its kernels need a basis that can be rotated"
        )
    check_sides(group, sides)
    # Coordinates are doubled and counted from the middle, so that even sizes need no half pixels.
    pixels = np.stack(np.meshgrid(*(np.arange(1 - side, side, 2) for side in sides), indexing="ij"))
    inverse = np.array(group.matrices, dtype=np.int64).transpose(0, 2, 1)  # orthogonal: the inverse is the transpose
    source = np.moveaxis(np.einsum("gij,j...->gi...", inverse, pixels), 1, 0)
    flat = np.zeros(source.shape[1:], dtype=np.int64)
    for coordinate, side in zip(source, sides, strict=True):
        flat = flat * side + (coordinate + side - 1) // 2
    return flat


def check_sides(group: FiniteGroup, sides: tuple[int, ...]) -> None:
    """Raise if a grid is not one that the group takes to itself.

    Raises:
        ValueError: it has another number of axes, or sides that differ under a group that exchanges the axes.
    """
    if math.prod(sides) > MOST_PIXELS:
        raise ValueError(f"a kernel of {' x '.join(map(str, sides))} pixels is too large for a table of its pixels")
    if len(sides) != group.dimension:
        raise ValueError(f"{group.name} moves grids of {group.dimension} axes, got sides {sides}")
    if len(set(sides)) > 1 and group.exchanges_axes:
        size = " x ".join(map(str, sides))
        raise ValueError(f"{group.name} exchanges the two axes, so it does not keep a grid of {size}; use a square one")


def filter_permutation(group: FiniteGroup | str, *sides: int) -> NDArray[np.int64]:
    """Return the action on a filter with a pose axis, `F[g^-1 h, g^-1 v]`, as flat indices into (|G|, *sides).

    Returns:
        Integers of shape (|G|, |G|, *sides), axes g, h, v.

    Raises:
        ValueError: as `pixel_permutation`.

    Example:
        >>> filter_permutation("p2", 1, 1).tolist()
        [[[[0]], [[1]]], [[[1]], [[0]]]]
    """
    pixels = pixel_permutation(group, *sides)
    poses = pose_division(group)
    return poses.reshape(*poses.shape, *(1,) * len(sides)) * pixels[0].size + pixels[:, None]
