"""Spaces of e2cnn and escnn: which of their group elements is which of ours.

An element is known by what it does to the plane: the element of ours with the same matrix is the same element. This is
the only way in which this package matches elements. Neither library is imported; only attributes of their objects are
read.
"""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sepgconv.symmetry import FiniteGroup, list_groups
from sepgconv.symmetry import group as get_group
from sepgconv.symmetry.planar import MOST_TURNS

_Matrix = tuple[float, ...]  # row by row

_CLOSE = 1e-6  # the largest difference between entries of the same matrix


@dataclass(frozen=True)
class ElementMatching:
    """For every element of a group of ours, the element of a space of e2cnn or escnn that moves pixels in the same way.

    Attributes:
        space: the `GSpace`.
        group: our group.
        elements: the elements of the space, in the order of our group; `elements[0]` is the identity.

    Raises:
        ValueError: the elements do not multiply as the Cayley table of the group says, so they are matched wrongly.
    """

    space: Any
    group: FiniteGroup
    elements: tuple[Any, ...]

    def __post_init__(self) -> None:
        for g, h in itertools.product(range(self.group.order), repeat=2):
            product = _product(self.space.fibergroup, self.elements[g], self.elements[h])
            if not _is_same(self.space.fibergroup, product, self.elements[self.group.table[g][h]]):
                raise ValueError(
                    f"is of the space {self.space.name}, whose elements do not multiply as those of {self.group.name}"
                )


def match_elements(space: Any, group: FiniteGroup) -> ElementMatching | None:
    """Match the elements of a group with elements of a space, which may have more; return None if one is missing.

    Args:
        space: the `GSpace` of e2cnn or escnn.
        group: the group.

    Raises:
        ValueError: elements that move pixels alike do not multiply alike.
    """
    theirs = [(element, _pixel_matrix(space, element)) for element in _elements(space)]
    found: list[Any] = []
    for wanted in map(_entries, group.matrices):
        same = [element for element, matrix in theirs if _are_close(matrix, wanted)]
        if not same:
            return None
        found.append(same[0])
    return ElementMatching(space, group, tuple(found))


def match_group(space: Any) -> ElementMatching:
    """Find the group that has the elements of a space, no more and no fewer, and match the elements of both.

    Registered groups come first, so that C4 is found as p4; then C_n and D_n for any n.

    Args:
        space: the `GSpace` of e2cnn or escnn.

    Raises:
        ValueError: there is no such group; the message has the reason, without the name of the module.
    """
    order: int = space.fibergroup.order()
    if order < 1:
        raise ValueError(f"is of the continuous group {space.fibergroup.name}, under which no pixel grid is invariant")
    candidates = _groups_of_order(order)
    for group in candidates:
        matching = match_elements(space, group)
        if matching is not None:
            return matching
    names = ", ".join(group.name for group in candidates)
    raise ValueError(
        f"is of the space {space.name}, whose elements are not those of {names}"
        if names
        else f"is of the space {space.name} with {order} elements, and no group here has so many"
    )


def _groups_of_order(order: int) -> list[FiniteGroup]:
    """Return the registered groups of an order, and the rotations and the rotations with mirrors of that order."""
    found = {group: None for group in list_groups() if group.order == order}
    for name, turns in ((f"C{order}", order), (f"D{order // 2}", order / 2)):
        if turns in range(1, MOST_TURNS + 1):
            found.setdefault(get_group(name))
    return list(found)


def _elements(space: Any) -> Iterable[Any]:
    """Return the elements of a space; of a continuous one, those that its library tests with."""
    return space.fibergroup.elements if space.fibergroup.order() > 0 else space.testing_elements


def _product(theirs: Any, one: Any, other: Any) -> Any:
    # e2cnn has the product in the group, escnn in the element.
    return theirs.combine(one, other) if hasattr(theirs, "combine") else one @ other


def _is_same(theirs: Any, one: Any, other: Any) -> bool:
    return bool(theirs.equal(one, other)) if hasattr(theirs, "equal") else bool(one == other)


def _entries(matrix: Any) -> _Matrix:
    return tuple(float(entry) for row in matrix for entry in row)


def _are_close(one: _Matrix, other: _Matrix) -> bool:
    return len(one) == len(other) and all(abs(a - b) <= _CLOSE for a, b in zip(one, other, strict=True))


def _pixel_matrix(space: Any, element: Any) -> _Matrix:
    """Return the matrix by which an element moves a pixel (y, x), y down; theirs are for (x, y), y up."""
    (xx, xy), (yx, yy) = _plane_matrix(space, element)
    return tuple(float(entry) for entry in (yy, -yx, -xy, xx))


def _plane_matrix(space: Any, element: Any) -> Any:
    if hasattr(space, "basespace_action"):  # escnn: a representation, whose elements know their space
        return space.basespace_action(element)
    # e2cnn: r^k f^m is (m, k) where there are rotations and mirrors, m where only mirrors, k where only rotations. f
    # mirrors at the line of slope `axis`, then r rotates counter-clockwise. In continuous groups k is an angle.
    theirs = space.fibergroup
    if not hasattr(space, "axis"):
        mirrored, steps = 0, element
    elif isinstance(element, tuple):
        mirrored, steps = element
    else:
        mirrored, steps = element, 0
    step = 2 * math.pi / getattr(theirs, "rotation_order", theirs.order()) if theirs.order() > 0 else 1.0
    angle = steps * step + (2 * space.axis if mirrored else 0)
    cos, sin = math.cos(angle), math.sin(angle)
    return ((cos, sin), (sin, -cos)) if mirrored else ((cos, -sin), (sin, cos))
