"""The point groups of the plane: C_n, rotations by 360 / n degrees, and D_n, with mirrors; n from 1 to 64.

C1 C2 C4 D1 D2 D4 keep the square grid and are also called p1 p2 p4 pm pmm p4m. The others are made when somebody asks
for them by name, as in `sepgconv.group("C8")`.
"""

import dataclasses
import functools
import math
import re

from sepgconv.symmetry.finite import FiniteGroup, Matrix
from sepgconv.symmetry.irreps import Irrep
from sepgconv.symmetry.registry import register_group, register_group_family

MOST_TURNS = 64
LEFT_RIGHT: Matrix = ((1, 0), (0, -1))  # the mirror (y, x) -> (y, -x)

_IDENTITY: Matrix = ((1, 0), (0, 1))
# Rotations by 0, 90, 180 and 270 degrees, counter-clockwise on the screen: a quarter turn is (y, x) -> (-x, y).
_QUARTER_TURNS: tuple[Matrix, ...] = (_IDENTITY, ((0, -1), (1, 0)), ((-1, 0), (0, -1)), ((0, 1), (-1, 0)))


def rotation(turn: int, turns: int) -> Matrix:
    """Return the matrix of a rotation by `turn / turns` of the circle, counter-clockwise on the screen.

    Multiples of 90 degrees are integers, exactly.

    Example:
        >>> rotation(2, 8)
        ((0, -1), (1, 0))
    """
    if turn * 4 % turns == 0:
        return _QUARTER_TURNS[turn * 4 // turns % 4]
    angle = 2 * math.pi * (turn % turns) / turns
    cos, sin = math.cos(angle), math.sin(angle)
    return ((cos, -sin), (sin, cos))


def _multiply(a: Matrix, b: Matrix) -> Matrix:
    (a00, a01), (a10, a11) = a
    (b00, b01), (b10, b11) = b
    return (
        (a00 * b00 + a01 * b10, a00 * b01 + a01 * b11),
        (a10 * b00 + a11 * b10, a10 * b01 + a11 * b11),
    )


def _irreps(elements: list[tuple[int, int]], turns: int, *, mirrored: bool) -> tuple[Irrep, ...]:
    """Build the irreps: the characters with values +1 and -1, then rotations k times as fast, k < turns / 2."""
    characters = [
        Irrep(
            name=("A" if turn == 1 else "B") + ("" if not mirrored else "1" if flip == 1 else "2"),
            matrices=tuple(((flip**m * turn**t,),) for m, t in elements),
            multiplicity=1,
        )
        for turn in ((1, -1) if turns % 2 == 0 else (1,))
        for flip in ((1, -1) if mirrored else (1,))
    ]
    # With mirrors they are of real type; without, of complex type: then they commute with all rotations.
    frequencies = range(1, (turns + 1) // 2)
    planes = [
        Irrep(
            name="E" if len(frequencies) == 1 else f"E{k}",
            matrices=tuple(
                _multiply(LEFT_RIGHT, rotation(k * t, turns)) if m else rotation(k * t, turns) for m, t in elements
            ),
            multiplicity=2 if mirrored else 1,
        )
        for k in frequencies
    ]
    return (*characters, *planes)


def planar_group(name: str, *, turns: int, mirror: Matrix | None = None) -> FiniteGroup:
    """Build C_turns, or D_turns with a mirror.

    Element number `m * turns + t` is mirror^m · turn^t: first t rotations by 360 / turns degrees, counter-clockwise,
    then the mirror if m = 1. Checkpoints depend on this order. Elements that keep the pixel grid have matrices of
    integers, the others of floats.

    Args:
        name: the name the group carries.
        turns: number of rotations, 1 to 64.
        mirror: the matrix by which the mirror moves a pixel (y, x), y pointing down; None: no mirrors.

    Raises:
        ValueError: another number of rotations, or the matrix is that of no mirror.

    Example:
        >>> planar_group("half turns", turns=2).matrices
        (((1, 0), (0, 1)), ((-1, 0), (0, -1)))
        >>> planar_group("eighths", turns=8).grid_elements
        (0, 2, 4, 6)
    """
    if not isinstance(turns, int) or not 1 <= turns <= MOST_TURNS:
        raise ValueError(f"{name}: a group of the plane has 1 to {MOST_TURNS} rotations, got {turns!r}")
    if mirror is not None and (
        _multiply(mirror, mirror) != _IDENTITY or mirror[0][0] * mirror[1][1] - mirror[0][1] * mirror[1][0] != -1
    ):
        raise ValueError(f"{name}: expected the matrix of a mirror, with itself as inverse, got {mirror}")
    elements = [(m, t) for m in ((0,) if mirror is None else (0, 1)) for t in range(turns)]
    reflection = _IDENTITY if mirror is None else mirror
    matrices = tuple(_multiply(reflection, rotation(t, turns)) if m else rotation(t, turns) for m, t in elements)
    # A rotation moves past the mirror as its inverse: R^t M = M R^-t.
    table = tuple(tuple((m + n) % 2 * turns + ((-t if n else t) + u) % turns for n, u in elements) for m, t in elements)
    return FiniteGroup(name, table, matrices, _irreps(elements, turns, mirrored=mirror is not None))


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


@functools.cache
def _by_name(name: str) -> FiniteGroup | None:
    found = re.fullmatch(r"([CD])([1-9][0-9]*)", name)
    if found is None:
        return None
    return planar_group(name, turns=int(found[2]), mirror=LEFT_RIGHT if found[1] == "D" else None)


register_group_family("C{n}, D{n} with n from 1 to 64", _by_name)
