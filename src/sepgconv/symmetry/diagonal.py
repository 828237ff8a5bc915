"""The point groups cm and cmm, whose mirrors exchange the two pixel axes: D1 and D2 rotated by 45 degrees."""

from sepgconv.symmetry.finite import Matrix
from sepgconv.symmetry.planar import planar_group
from sepgconv.symmetry.registry import register_group

DIAGONAL: Matrix = ((0, 1), (1, 0))  # the mirror (y, x) -> (x, y), at the diagonal from the upper left: a transposition

CM = register_group(planar_group("cm", turns=1, mirror=DIAGONAL))
CMM = register_group(planar_group("cmm", turns=2, mirror=DIAGONAL))
