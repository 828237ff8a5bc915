"""Which groups with names are within a group: those that a network may be exact for."""

from collections.abc import Collection

from sepgconv.symmetry import FiniteGroup, list_groups
from sepgconv.symmetry import group as get_group

CLOSE = 1e-6  # the largest difference between entries of the same matrix


def find_elements(group: FiniteGroup, larger: FiniteGroup) -> tuple[int, ...] | None:
    """Return which elements of another group are those of a group, in its order; None where one is missing.

    An element is known by its matrix; entries that are no whole numbers are equal to rounding.
    """
    if group.dimension != larger.dimension:
        return None
    places = [_place(matrix, larger) for matrix in group.matrices]
    found = tuple(place for place in places if place is not None)
    return found if len(found) == len(places) else None


def _place(matrix: tuple[tuple[int | float, ...], ...], group: FiniteGroup) -> int | None:
    for index, other in enumerate(group.matrices):
        rows = zip(matrix, other, strict=True)
        if all(abs(a - b) <= CLOSE for one, two in rows for a, b in zip(one, two, strict=True)):
            return index
    return None


def largest_subgroup(group: FiniteGroup, elements: Collection[int]) -> FiniteGroup:
    """Return the largest group with a name that has none but some elements of a group: itself, C{n}, D{n}, registered.

    Args:
        group: the group.
        elements: the elements that the subgroup may have, with the identity.
    """
    if len(elements) == group.order:
        return group
    turns = [n for n in range(1, group.order + 1) if group.order % n == 0 and group.dimension == 2]
    rotations = [get_group(f"{family}{n}") for n in turns for family in "CD" if n <= 64]
    # Names as people gave the group's own: "C4" within C8, "p4" within p4m.
    registered = list(list_groups())
    candidates = (*rotations, *registered) if group.name[:1] in "CD" else (*registered, *rotations)
    allowed, best = set(elements), get_group("p1")
    for one in candidates:
        found = find_elements(one, group) if one.order >= best.order else None
        if found is not None and set(found) <= allowed and (one.order > best.order or best.name == "p1"):
            best = one
    return best
