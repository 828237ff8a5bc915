"""Groups by name: one place where a group is registered, and from which everything else finds it."""

import dataclasses

from sepgconv._messages import unknown_name
from sepgconv.symmetry.finite import FiniteGroup

GROUPS: dict[str, FiniteGroup] = {}  # every name, in the order of registration


def register_group(group: FiniteGroup, *aliases: str) -> FiniteGroup:
    """Make a group known by its name, and by further names; layers, networks and tools then take it by name.

    Args:
        group: the group.
        aliases: further names of the same group.

    Returns:
        The group.

    Raises:
        ValueError: a name is empty, or stands for another group already.

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
        if GROUPS.get(name, one) != one:
            raise ValueError(f"register_group: the name {name!r} stands for another group already; choose another one")
    GROUPS.update(named)
    return group


def group(name: str | FiniteGroup) -> FiniteGroup:
    """Return the group of that name; a `FiniteGroup` comes back as it is.

    Args:
        name: p1, p2, p4, pm, pmm, p4m or, equally, C1, C2, C4, D1, D2, D4; cm, cmm; or a name that `register_group`
            added. pm and D1 hold the left-right mirror, cm that at the diagonal, cmm those at both diagonals.

    Raises:
        ValueError: no group has that name; the nearest names are given.

    Example:
        >>> import sepgconv
        >>> sepgconv.group("p4m")
        FiniteGroup('p4m', order=8)
        >>> sepgconv.group("p4m") == sepgconv.group("D4")
        True
    """
    if isinstance(name, FiniteGroup):
        return name
    if not isinstance(name, str) or name not in GROUPS:
        raise ValueError(unknown_name("group", name, GROUPS))
    return GROUPS[name]


def list_groups() -> tuple[FiniteGroup, ...]:
    """Return every group once, under the name that it was registered by first.

    Example:
        >>> [each.name for each in list_groups()][:4]
        ['p1', 'p2', 'p4', 'pm']
    """
    return tuple(dict.fromkeys(GROUPS.values()))
