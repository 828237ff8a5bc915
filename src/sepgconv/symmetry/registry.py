"""Groups by name: one place where a group is registered, and from which everything else finds it."""

import dataclasses
from collections.abc import Callable

from sepgconv._messages import unknown_name
from sepgconv.symmetry.finite import FiniteGroup

GROUPS: dict[str, FiniteGroup] = {}  # every name, in the order of registration
# What the names of a family look like, and how one of them becomes a group.
FAMILIES: dict[str, Callable[[str], FiniteGroup | None]] = {}


def register_group_family(names: str, build: Callable[[str], FiniteGroup | None]) -> None:
    """Make known a family of groups that are built when one is asked for, because there are many.

    Args:
        names: what its names look like, for the error that lists valid names.
        build: from a name to its group, the same one each time; None for a name of another family. It raises ValueError
            for a name of this family that stands for no group.

    Example:
        >>> import sepgconv
        >>> sepgconv.group("C12").order  # of the family that the library brings
        12
    """
    FAMILIES[names] = build


def register_group(group: FiniteGroup, *aliases: str) -> FiniteGroup:
    """Make a group known by its name, and by further names; layers, networks and tools then take it by name.

    Args:
        group: the group.
        aliases: further names of the same group.

    Returns:
        The group.

    Raises:
        ValueError: a name is empty, or stands for another group already, be it one of a family.

    Example:
        >>> import sepgconv
        >>> top_bottom = planar_group("pm_top_bottom", turns=1, mirror=((-1, 0), (0, 1)))
        >>> _ = register_group(top_bottom)
        >>> sepgconv.nn.LiftingConv2d(1, 8, 3, "pm_top_bottom").group
        FiniteGroup('pm_top_bottom', order=2)
        >>> _ = GROUPS.pop("pm_top_bottom")  # so that this example leaves nothing behind
    """
    named = {name: dataclasses.replace(group, name=name) for name in (group.name, *aliases)}
    for name, one in named.items():
        if not name:
            raise ValueError("register_group: a group needs a name")
        if (_known(name) or one) != one:
            raise ValueError(f"register_group: the name {name!r} stands for another group already; choose another one")
    GROUPS.update(named)
    return group


def group(name: str | FiniteGroup) -> FiniteGroup:
    """Return the group of that name; a `FiniteGroup` comes back as it is.

    Args:
        name: C{n}, the rotations by 360 / n degrees, or D{n}, with the left-right mirror as well, n from 1 to 64; p1,
            p2, p4, pm, pmm, p4m, other names of C1, C2, C4, D1, D2, D4; cm and cmm, with mirrors at the diagonals; or a
            name that was registered.

    Raises:
        ValueError: no group has that name; the nearest names are given. A family may have a name and no group, as C65.

    Example:
        >>> import sepgconv
        >>> sepgconv.group("p4m")
        FiniteGroup('p4m', order=8)
        >>> sepgconv.group("p4m") == sepgconv.group("D4")
        True
    """
    if isinstance(name, FiniteGroup):
        return name
    found = _known(name) if isinstance(name, str) else None
    if found is not None:
        return found
    raise ValueError(unknown_name("group", name, [*GROUPS, *FAMILIES]))


def _known(name: str) -> FiniteGroup | None:
    """Return the group that was registered by that name, or that of a family."""
    found = GROUPS.get(name)
    if found is None:
        found = next((group for build in FAMILIES.values() if (group := build(name)) is not None), None)
    return found


def group_names() -> tuple[str, ...]:
    """Return a name of every registered group, then what the names of each family look like, as help texts list them.

    Example:
        >>> group_names()[-2:]
        ('cmm', 'C{n}, D{n} with n from 1 to 64')
    """
    return (*(each.name for each in list_groups()), *FAMILIES)


def list_groups() -> tuple[FiniteGroup, ...]:
    """Return every registered group once, under the name that it was registered by first.

    The groups of a family, as C3 and D16, are not listed.

    Example:
        >>> [each.name for each in list_groups()][:4]
        ['p1', 'p2', 'p4', 'pm']
    """
    return tuple(dict.fromkeys(GROUPS.values()))
