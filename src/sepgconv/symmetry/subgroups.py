"""Subgroups: which elements of a group are those of another one, and the cosets that are left."""

import functools

import numpy as np
from numpy.typing import NDArray

from sepgconv.symmetry.finite import FiniteGroup
from sepgconv.symmetry.registry import group as get_group

# Matrices that differ by less are those of one element. Rounding is far below; in the largest group there is, with 64
# rotations, neighbours differ by 0.1.
SAME = 1e-6


@functools.lru_cache(maxsize=256)
def find_elements(group: FiniteGroup, subgroup: FiniteGroup) -> tuple[int, ...] | None:
    """Return what `subgroup_elements` does, or None where the group does not have all elements of the subgroup.

    Example:
        >>> find_elements(get_group("C8"), get_group("C4")), find_elements(get_group("C8"), get_group("C3"))
        ((0, 2, 4, 6), None)
    """
    if group.dimension != subgroup.dimension:
        return None
    ours, theirs = (np.array(one.matrices, dtype=np.float64) for one in (group, subgroup))
    alike = np.abs(theirs[:, None] - ours).max((2, 3)) < SAME  # [element of the subgroup, element of the group]
    return tuple(int(g) for g in alike.argmax(1)) if alike.any(1).all() else None


def subgroup_elements(group: FiniteGroup | str, subgroup: FiniteGroup | str) -> tuple[int, ...]:
    """Return, for each element of a subgroup, its index in the group; they are the same if their matrices are.

    Args:
        group: the group or its name.
        subgroup: the subgroup or its name.

    Raises:
        ValueError: no group has that name, or the group does not have all elements of the subgroup.

    Example:
        >>> subgroup_elements("C8", "p4"), subgroup_elements("p4m", "cm")
        ((0, 2, 4, 6), (0, 7))
    """
    group, subgroup = get_group(group), get_group(subgroup)
    found = find_elements(group, subgroup)
    if found is None:
        raise ValueError(
            f"{subgroup.name} is no subgroup of {group.name}, which does not have all its elements; choose a group "
            f"whose rotations and mirrors {group.name} has"
        )
    return found


def coset_table(group: FiniteGroup | str, subgroup: FiniteGroup | str) -> NDArray[np.int64]:
    """Return the elements of a group as the cosets H r of a subgroup H: `[h, i]` = index of h r_i.

    The representatives r_0, r_1, ... are the first elements of their cosets, in ascending order; r_0 is the identity.

    Args:
        group: the group or its name.
        subgroup: the subgroup or its name.

    Returns:
        Integers of shape (|H|, |G| / |H|), each element of the group once.

    Raises:
        ValueError: as `subgroup_elements`.

    Example:
        >>> coset_table("C8", "C4").tolist()
        [[0, 1], [2, 3], [4, 5], [6, 7]]
        >>> coset_table("D4", "D1").tolist()  # element 4 is the mirror
        [[0, 1, 2, 3], [4, 5, 6, 7]]
    """
    group = get_group(group)
    cosets = np.array(group.table)[list(subgroup_elements(group, subgroup))]  # [h, r] = h r
    return cosets[:, cosets.min(0) == np.arange(group.order)]
