"""FiniteGroup: a point group as a small frozen value, checked when it is built. It holds no tensors and no device."""

import warnings
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sepgconv.symmetry.group_fft import GroupFFT, find_group_fft
from sepgconv.symmetry.irreps import Irrep, fourier_matrix

# A real d x d matrix, row by row; integers where it keeps the pixel grid.
Matrix = tuple[tuple[int | float, ...], ...]


@dataclass(frozen=True, repr=False)
class FiniteGroup:
    """A finite group of rotations and reflections of the plane or of space, immutable and hashable.

    Two groups are equal when they have the same elements in the same order; the name is only how the group was asked
    for, so `group("p4") == group("C4")`.

    Attributes:
        name: the name it was asked for by, as in "p4m".
        table: the Cayley table, `table[g][h]` is the index of g h. Index 0 is the identity.
        matrices: `matrices[g]` is the orthogonal d x d matrix by which g moves a pixel (y, x) (d = 2) or a voxel
            (z, y, x) (d = 3), counted from the middle of the image, y pointing down. The entries are integers where g
            keeps the pixel grid, which rounding takes care of, and floats elsewhere.
        irreps: the real irreducible representations.
        fft: the fast Fourier transform on the group, by which a convolution on it falls apart into blocks of its
            irreps; derived from the table.

    Raises:
        ValueError: the table is not that of a group, or the matrices or irreps do not represent it.

    Example:
        >>> import sepgconv
        >>> p4 = sepgconv.group("p4")
        >>> p4.order, p4.dimension, p4.keeps_grid
        (4, 2, True)
        >>> p4.matrices[1]  # a quarter turn: the pixel (y, x) goes to (-x, y)
        ((0, -1), (1, 0))
    """

    name: str = field(compare=False)
    table: tuple[tuple[int, ...], ...] = field(hash=False)
    matrices: tuple[Matrix, ...] = field(hash=False)
    irreps: tuple[Irrep, ...] = field(hash=False)
    fft: GroupFFT = field(init=False, compare=False)
    # A group is a key of many tables, and large ones are long tuples: their hash is taken once.
    _hash: int = field(init=False, compare=False, hash=True)

    def __post_init__(self) -> None:
        elements = list(range(len(self.table)))
        if not elements or any(sorted(row) != elements for row in self.table):
            raise ValueError(f"{self.name}: every row of the Cayley table must permute 0..{self.order - 1}")
        if list(self.table[0]) != elements or [row[0] for row in self.table] != elements:
            raise ValueError(f"{self.name}: element 0 must be the identity")
        table = np.array(self.table)
        left, right = table[table], table[:, table]  # [a, b, c]: (a b) c and a (b c)
        if (left != right).any():
            a, b, c = (int(index) for index in np.argwhere(left != right)[0])
            raise ValueError(f"{self.name}: the Cayley table is not associative at ({a}, {b}, {c})")
        self._check_matrices()
        for what, images in [("matrices", self.matrices), *((f"irrep {i.name}", i.matrices) for i in self.irreps)]:
            if len(images) != self.order or not _represents(np.array(images, dtype=np.float64), table):
                raise ValueError(f"{self.name}: the {what} do not multiply as the Cayley table says")
        if not self.irreps:
            raise ValueError(f"{self.name}: a group has irreps, got none")
        fourier = self.fourier
        if fourier.shape != (self.order, self.order) or not np.allclose(fourier @ fourier.T, np.eye(self.order)):
            raise ValueError(f"{self.name}: the irreps do not span the functions on the group")
        # Frozen for everybody else.
        object.__setattr__(self, "_hash", hash((self.table, self.matrices, self.irreps)))
        object.__setattr__(self, "fft", find_group_fft(self.table, self.irreps))

    def _check_matrices(self) -> None:
        shapes = {np.shape(matrix) for matrix in self.matrices}
        if shapes not in ({(2, 2)}, {(3, 3)}):
            raise ValueError(f"{self.name}: the matrices must all be 2 x 2 or all 3 x 3, got {sorted(shapes)}")
        matrices = np.array(self.matrices, dtype=np.float64)
        if not np.allclose(matrices @ matrices.transpose(0, 2, 1), np.eye(self.dimension), atol=1e-9):
            raise ValueError(f"{self.name}: the matrices must be orthogonal, those of rotations and reflections")
        whole = np.abs(matrices - matrices.round()).max((1, 2)) < 1e-9  # cos(pi / 2) is 6e-17
        exact = (
            tuple(tuple(int(entry) for entry in row) for row in rounded.tolist()) if keeps else matrix
            for matrix, rounded, keeps in zip(self.matrices, matrices.round(), whole, strict=True)
        )
        object.__setattr__(self, "matrices", tuple(exact))

    def __reduce__(self) -> tuple[type["FiniteGroup"], tuple[object, ...]]:
        return FiniteGroup, (self.name, self.table, self.matrices, self.irreps)  # without what is derived

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
        """The number of axes of the space that the matrices move: 2, the plane, or 3."""
        return len(self.matrices[0])

    @property
    def grid_elements(self) -> tuple[int, ...]:
        """The elements that take every pixel to a pixel: they permute the axes of the grid, up to sign.

        Their matrices hold integers. All others are known to rounding only, and move a kernel by interpolation in its
        basis.
        """
        integers = (all(entry in (-1, 0, 1) for row in matrix for entry in row) for matrix in self.matrices)
        return tuple(g for g, whole in enumerate(integers) if whole)

    @property
    def keeps_grid(self) -> bool:
        """Whether every element takes every pixel to a pixel, so that kernels of pixels can be moved exactly."""
        return len(self.grid_elements) == self.order

    @property
    def exchanges_axes(self) -> bool:
        """Whether an element mixes the pixel axes, as a rotation by 90 degrees does, so that a grid must be square."""
        return any(abs(m[i][j]) > 1e-9 for m in self.matrices for i in range(len(m)) for j in range(len(m)) if i != j)

    @property
    def has_quarter_turns(self) -> bool:
        """The former name of `exchanges_axes`; deprecated."""
        warnings.warn("FiniteGroup.has_quarter_turns is now called exchanges_axes", DeprecationWarning, stacklevel=2)
        return self.exchanges_axes

    @property
    def butterflies(self) -> GroupFFT:
        """The former name of `fft`; deprecated."""
        warnings.warn("FiniteGroup.butterflies is now called fft", DeprecationWarning, stacklevel=2)
        return self.fft

    @property
    def fourier(self) -> NDArray[np.float64]:
        """The orthogonal |G| x |G| Fourier matrix of the real irreps (see `sepgconv.symmetry.fourier_matrix`)."""
        return fourier_matrix(self.irreps)


def _represents(matrices: NDArray[np.float64], table: NDArray[np.int64]) -> bool:
    """Return whether matrices (|G|, d, d) multiply as the table says; integers exactly, others to rounding."""
    products = matrices[:, None] @ matrices
    whole = bool((matrices == matrices.round()).all())
    return bool(np.allclose(products, matrices[table], rtol=0, atol=0 if whole else 1e-9))
