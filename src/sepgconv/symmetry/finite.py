"""FiniteGroup: a point group as a small frozen value, checked when it is built. Holds no tensors and no device."""

import itertools
import warnings
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sepgconv.symmetry.fast_fourier import Butterflies, find_butterflies
from sepgconv.symmetry.irreps import Irrep, fourier_matrix

Matrix = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, repr=False)
class FiniteGroup:
    """A finite group of symmetries of the square pixel grid, immutable and hashable.

    Two groups are equal when they have the same elements in the same order; the name is only how the group was asked
    for, so `group("p4") == group("C4")`.

    Attributes:
        name: the name it was asked for by, as in "p4m".
        table: the Cayley table, `table[g][h]` is the index of g h. Index 0 is the identity.
        matrices: `matrices[g]` is the 2 x 2 integer matrix by which g moves a pixel (y, x), counted from the middle of
            the picture, y pointing down.
        irreps: the real irreducible representations.
        butterflies: how a convolution on the group falls apart into blocks of its irreps; derived from the table.

    Raises:
        ValueError: the table is not that of a group, or the matrices or irreps do not represent it.
    """

    name: str = field(compare=False)
    table: tuple[tuple[int, ...], ...]
    matrices: tuple[Matrix, ...]
    irreps: tuple[Irrep, ...]
    butterflies: Butterflies = field(init=False, compare=False)

    def __post_init__(self) -> None:
        elements = list(range(len(self.table)))
        if not elements or any(sorted(row) != elements for row in self.table):
            raise ValueError(f"{self.name}: every row of the Cayley table must permute 0..{self.order - 1}")
        if list(self.table[0]) != elements or [row[0] for row in self.table] != elements:
            raise ValueError(f"{self.name}: element 0 must be the identity")
        for a, b, c in itertools.product(elements, repeat=3):
            if self.table[self.table[a][b]][c] != self.table[a][self.table[b][c]]:
                raise ValueError(f"{self.name}: the Cayley table is not associative at ({a}, {b}, {c})")
        signed_axes = {((p, 0), (0, q)) for p in (1, -1) for q in (1, -1)} | {
            ((0, p), (q, 0)) for p in (1, -1) for q in (1, -1)
        }
        if not set(self.matrices) <= signed_axes:
            raise ValueError(f"{self.name}: the matrices must permute the pixel axes, up to sign")
        for what, images in [("matrices", self.matrices), *((f"irrep {i.name}", i.matrices) for i in self.irreps)]:
            arrays = [np.array(image) for image in images]
            if len(arrays) != self.order or any(
                not np.array_equal(arrays[a] @ arrays[b], arrays[self.table[a][b]])
                for a, b in itertools.product(elements, repeat=2)
            ):
                raise ValueError(f"{self.name}: the {what} do not multiply as the Cayley table says")
        if not self.irreps:
            raise ValueError(f"{self.name}: a group has irreps, got none")
        fourier = self.fourier
        if fourier.shape != (self.order, self.order) or not np.allclose(fourier @ fourier.T, np.eye(self.order)):
            raise ValueError(f"{self.name}: the irreps do not span the functions on the group")
        object.__setattr__(self, "butterflies", find_butterflies(self.table))  # frozen for everybody else

    def __repr__(self) -> str:
        return f"FiniteGroup({self.name!r}, order={self.order})"

    def __copy__(self) -> "FiniteGroup":
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> "FiniteGroup":
        return self  # a value that never changes; what was compiled for it serves copies of a layer as well

    @property
    def order(self) -> int:
        """The number of elements |G|."""
        return len(self.table)

    @property
    def inverses(self) -> tuple[int, ...]:
        """`inverses[g]` is the index of g^-1."""
        return tuple(row.index(0) for row in self.table)

    @property
    def dimension(self) -> int:
        """The number of axes of the space that the matrices move: 2, the plane."""
        return len(self.matrices[0])

    @property
    def exchanges_axes(self) -> bool:
        """Whether an element exchanges the two pixel axes, as quarter turns do, so that only square grids are kept."""
        return any(matrix[0][0] == 0 for matrix in self.matrices)

    @property
    def has_quarter_turns(self) -> bool:
        """The former name of `exchanges_axes`; deprecated."""
        warnings.warn("FiniteGroup.has_quarter_turns is now called exchanges_axes", DeprecationWarning, stacklevel=2)
        return self.exchanges_axes

    @property
    def fourier(self) -> NDArray[np.float64]:
        """The orthogonal |G| x |G| Fourier matrix of the real irreps (see `sepgconv.symmetry.fourier_matrix`)."""
        return fourier_matrix(self.irreps)
