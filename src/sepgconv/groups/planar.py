"""The point groups of the square grid, by name: C1 C2 C4 D1 D2 D4, or p1 p2 p4 pm pmm p4m after their plane groups."""

import dataclasses

from sepgconv._messages import unknown_name
from sepgconv.groups.finite import FiniteGroup, Matrix
from sepgconv.groups.irreps import Irrep

IDENTITY: Matrix = ((1, 0), (0, 1))
QUARTER_TURN: Matrix = ((0, -1), (1, 0))  # counter-clockwise on the screen: (y, x) -> (-x, y)
MIRROR: Matrix = ((1, 0), (0, -1))  # left-right: (y, x) -> (y, -x)


def _multiply(a: Matrix, b: Matrix) -> Matrix:
    (a00, a01), (a10, a11) = a
    (b00, b01), (b10, b11) = b
    return (
        (a00 * b00 + a01 * b10, a00 * b01 + a01 * b11),
        (a10 * b00 + a11 * b10, a10 * b01 + a11 * b11),
    )


def _power(a: Matrix, exponent: int) -> Matrix:
    return IDENTITY if exponent == 0 else _multiply(a, _power(a, exponent - 1))


def _irreps(
    exponents: list[tuple[int, int]], matrices: tuple[Matrix, ...], turns: int, flips: int
) -> tuple[Irrep, ...]:
    """Build the irreps: the characters with values +1 and -1, then the plane itself where it is irreducible."""
    characters = [
        Irrep(
            name=("A" if turn == 1 else "B") + ("" if flips == 1 else "1" if flip == 1 else "2"),
            matrices=tuple(((flip**m * turn**t,),) for m, t in exponents),
            multiplicity=1,
        )
        for turn in ((1, -1) if turns % 2 == 0 else (1,))
        for flip in ((1, -1) if flips == 2 else (1,))
    ]
    # With turns by 90 degrees the plane itself is irreducible: of real type under mirrors, else of complex type.
    plane = [Irrep("E", matrices, multiplicity=flips)] if turns == 4 else []
    return (*characters, *plane)


def planar_group(name: str, *, turns: int, flips: int) -> FiniteGroup:
    """Build C_turns (flips = 1) or D_turns (flips = 2).

    Element number `m * turns + t` is mirror^m · turn^t: first t turns of 360 / turns degrees, counter-clockwise, then
    the left-right mirror if m = 1. Checkpoints depend on this order.

    Args:
        name: the name the group carries.
        turns: number of rotations, 1, 2 or 4.
        flips: 2 with mirrors, 1 without.

    Raises:
        ValueError: such a group does not keep the square grid.
    """
    if turns not in (1, 2, 4) or flips not in (1, 2):
        raise ValueError(f"{name}: the square grid has 1, 2 or 4 turns and 1 or 2 flips, got {turns} and {flips}")
    exponents = [(m, t) for m in range(flips) for t in range(turns)]
    matrices = tuple(_multiply(_power(MIRROR, m), _power(QUARTER_TURN, t * 4 // turns)) for m, t in exponents)
    table = tuple(tuple(matrices.index(_multiply(a, b)) for b in matrices) for a in matrices)
    return FiniteGroup(name, table, matrices, _irreps(exponents, matrices, turns, flips))


C1 = planar_group("C1", turns=1, flips=1)
C2 = planar_group("C2", turns=2, flips=1)
C4 = planar_group("C4", turns=4, flips=1)
D1 = planar_group("D1", turns=1, flips=2)
D2 = planar_group("D2", turns=2, flips=2)
D4 = planar_group("D4", turns=4, flips=2)

GROUPS: dict[str, FiniteGroup] = {
    **{wallpaper: dataclasses.replace(point, name=wallpaper)
       for wallpaper, point in {"p1": C1, "p2": C2, "p4": C4, "pm": D1, "pmm": D2, "p4m": D4}.items()},
    **{point.name: point for point in (C1, C2, C4, D1, D2, D4)},
}  # fmt: skip


def group(name: str | FiniteGroup) -> FiniteGroup:
    """Return the group of that name; a `FiniteGroup` comes back as it is.

    Args:
        name: p1, p2, p4, pm, pmm, p4m or, equally, C1, C2, C4, D1, D2, D4. pm and D1 hold the left-right mirror.

    Raises:
        ValueError: no group has that name; the nearest names are given.
    """
    if isinstance(name, FiniteGroup):
        return name
    if not isinstance(name, str) or name not in GROUPS:
        raise ValueError(unknown_name("group", name, GROUPS))
    return GROUPS[name]
