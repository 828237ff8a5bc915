"""Real irreducible representations of a finite group and the orthogonal Fourier matrix that they form."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Irrep:
    """A real irreducible representation.

    Attributes:
        name: "A1", "A2", "B1", "B2" for the one-dimensional ones (A: a rotation by one step acts as +1, B: as -1; 1:
            the mirror acts as +1, 2: as -1; the digit is left out in a group without mirrors), "E" for the
            two-dimensional one, or "E1", "E2", ... where there are several: in "Ek" rotations turn k times as fast.
        matrices: one orthogonal d x d matrix per group element, in element order.
        multiplicity: how often the irrep occurs in the regular representation: d, or d / 2 where the irrep commutes
            with more than the multiples of the identity (E of C4, whose commuting matrices form the complex numbers).

    Example:
        >>> import sepgconv
        >>> [(irrep.name, irrep.dimension, irrep.multiplicity) for irrep in sepgconv.group("p4").irreps]
        [('A', 1, 1), ('B', 1, 1), ('E', 2, 1)]
    """

    name: str
    matrices: tuple[tuple[tuple[int | float, ...], ...], ...]
    multiplicity: int

    @property
    def dimension(self) -> int:
        """The number d of rows of each matrix."""
        return len(self.matrices[0])


def fourier_matrix(irreps: tuple[Irrep, ...]) -> NDArray[np.float64]:
    """Return the orthogonal |G| x |G| matrix that takes a function on the group to its coefficients in the irreps.

    Row (irrep, column j, row i) holds `sqrt(d / |G|) * irrep(g)[i, j]` over the elements g, for the first
    `multiplicity` columns (Peter-Weyl over the real numbers). The rows of one irrep are neighbours. A correlation on
    the group, `out[h] = sum_g w[h^-1 g] x[g]`, never mixes irreps: written as d x d matrices of coefficients, up to the
    scale it is `out^ = x^ w^T`, of which an irrep of multiplicity d / 2 keeps half of the columns.

    Args:
        irreps: all irreps of one group, as `FiniteGroup.irreps`.

    Example:
        >>> import sepgconv
        >>> fourier_matrix(sepgconv.group("p2").irreps).round(2)
        array([[ 0.71,  0.71],
               [ 0.71, -0.71]])
    """
    order = len(irreps[0].matrices)
    rows = [
        [math.sqrt(irrep.dimension / order) * matrix[i][j] for matrix in irrep.matrices]
        for irrep in irreps
        for j in range(irrep.multiplicity)
        for i in range(irrep.dimension)
    ]
    return np.array(rows, dtype=np.float64)
