"""The point groups of the square grid whose mirrors keep both pixel axes: C1 C2 C4 D1 D2 D4, or p1 p2 p4 pm pmm p4m."""

import dataclasses

from sepgconv.symmetry.finite import FiniteGroup, Matrix
from sepgconv.symmetry.irreps import Irrep
from sepgconv.symmetry.registry import register_group

IDENTITY: Matrix = ((1, 0), (0, 1))
QUARTER_TURN: Matrix = ((0, -1), (1, 0))  # counter-clockwise on the screen: (y, x) -> (-x, y)
LEFT_RIGHT: Matrix = ((1, 0), (0, -1))  # the mirror (y, x) -> (y, -x)


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
    exponents: list[tuple[int, int]], matrices: tuple[Matrix, ...], turns: int, *, mirrored: bool
) -> tuple[Irrep, ...]:
    """Build the irreps: the characters with values +1 and -1, then the plane itself where it is irreducible."""
    characters = [
        Irrep(
            name=("A" if turn == 1 else "B") + ("" if not mirrored else "1" if flip == 1 else "2"),
            matrices=tuple(((flip**m * turn**t,),) for m, t in exponents),
            multiplicity=1,
        )
        for turn in ((1, -1) if turns % 2 == 0 else (1,))
        for flip in ((1, -1) if mirrored else (1,))
    ]
    # With turns by 90 degrees the plane itself is irreducible: of real type under mirrors, else of complex type.
    plane = [Irrep("E", matrices, multiplicity=2 if mirrored else 1)] if turns == 4 else []
    return (*characters, *plane)


def planar_group(name: str, *, turns: int, mirror: Matrix | None = None) -> FiniteGroup:
    """Build C_turns, or D_turns with a mirror.

    Element number `m * turns + t` is mirror^m · turn^t: first t rotations by 360 / turns degrees, counter-clockwise,
    then the mirror if m = 1. Checkpoints depend on this order.

    Args:
        name: the name the group carries.
        turns: number of rotations, 1, 2 or 4.
        mirror: the matrix by which the mirror moves a pixel (y, x), y pointing down; None: no mirrors.

    Raises:
        ValueError: such a group does not keep the square grid, or the matrix is that of no mirror.

    Example:
        >>> planar_group("half turns", turns=2).matrices
        (((1, 0), (0, 1)), ((-1, 0), (0, -1)))
    """
    if turns not in (1, 2, 4):
        raise ValueError(f"{name}: the square grid has 1, 2 or 4 turns, got {turns}")
    if mirror is not None and (
        _multiply(mirror, mirror) != IDENTITY or mirror[0][0] * mirror[1][1] - mirror[0][1] * mirror[1][0] != -1
    ):
        raise ValueError(f"{name}: expected the matrix of a mirror, with itself as inverse, got {mirror}")
    exponents = [(m, t) for m in ((0,) if mirror is None else (0, 1)) for t in range(turns)]
    reflection = IDENTITY if mirror is None else mirror
    matrices = tuple(_multiply(_power(reflection, m), _power(QUARTER_TURN, t * 4 // turns)) for m, t in exponents)
    table = tuple(tuple(matrices.index(_multiply(a, b)) for b in matrices) for a in matrices)
    return FiniteGroup(name, table, matrices, _irreps(exponents, matrices, turns, mirrored=mirror is not None))


C1 = planar_group("C1", turns=1)
C2 = planar_group("C2", turns=2)
C4 = planar_group("C4", turns=4)
D1 = planar_group("D1", turns=1, mirror=LEFT_RIGHT)
D2 = planar_group("D2", turns=2, mirror=LEFT_RIGHT)
D4 = planar_group("D4", turns=4, mirror=LEFT_RIGHT)

# The names of the plane groups come first: they are the ones that tools print where nobody gave a name.
_POINTS = {"p1": C1, "p2": C2, "p4": C4, "pm": D1, "pmm": D2, "p4m": D4}
for _plane, _point in _POINTS.items():
    register_group(dataclasses.replace(_point, name=_plane))
for _point in _POINTS.values():
    register_group(_point)
