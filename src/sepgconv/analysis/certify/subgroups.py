"""Which groups with names are within a group: those that a network may be exact for."""

from collections.abc import Collection

from sepgconv.symmetry import FiniteGroup, list_groups
from sepgconv.symmetry import group as get_group
from sepgconv.symmetry.planar import MOST_TURNS
from sepgconv.symmetry.subgroups import find_elements


def largest_subgroup(group: FiniteGroup, elements: Collection[int]) -> FiniteGroup:
    """Return the largest group with a name that has none but some elements of a group: itself, C{n}, D{n}, registered.

    Args:
        group: the group.
        elements: the elements that the subgroup may have, with the identity.
    """
    if len(elements) == group.order:
        return group
    turns = [n for n in range(1, group.order + 1) if group.order % n == 0 and group.dimension == 2]
    rotations = [get_group(f"{family}{n}") for n in turns for family in "CD" if n <= MOST_TURNS]
    # Names as people gave the group's own: "C4" within C8, "p4" within p4m.
    registered = list(list_groups())
    candidates = (*rotations, *registered) if group.name[:1] in "CD" else (*registered, *rotations)
    allowed, best = set(elements), get_group("p1")
    for one in candidates:
        found = find_elements(group, one) if one.order >= best.order else None
        if found is not None and set(found) <= allowed and (one.order > best.order or best.name == "p1"):
            best = one
    return best
