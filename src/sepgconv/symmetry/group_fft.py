"""The Fourier transform on a group as a few levels of sums and differences, as in a fast Walsh-Hadamard transform."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Table = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class GroupFFT:
    """How poses are added and subtracted until a convolution on the group falls apart into blocks.

    At every level each segment of poses is replaced by the sum and the difference of its halves. The blocks that remain
    are those of the real irreps: one number for an irrep of dimension 1, two for a row of the irrep E. Blocks come
    level by level, those of the last level at the end.

    Attributes:
        levels: for every level, whether the differences go on together with the sums; else they are finished there.
        blocks: (copies, length) of the finished segments: `copies` diagonal blocks of `length` x `length` each.
        copies: the first of each: torch's `groups` for the products with the blocks; (1,) without levels.

    Example:
        >>> import sepgconv
        >>> fft = sepgconv.group("p4").fft
        >>> fft.blocks, fft.products, fft.additions
        (((1, 2), (2, 1)), 6, 6)
    """

    levels: tuple[bool, ...]
    blocks: tuple[tuple[int, int], ...]
    copies: tuple[int, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "copies", tuple(copies for copies, _ in self.blocks) or (1,))

    @property
    def products(self) -> int:
        """Multiplications per pair of channels, for |G|^2 of the dense mixing: 6 for C4, 12 for D4."""
        return sum(copies * length * length for copies, length in self.blocks)

    @property
    def additions(self) -> int:
        """Additions per channel of one transform."""
        order, segments, total = sum(copies * length for copies, length in self.blocks), 1, 0
        length = order
        for further in self.levels:
            total += segments * length
            segments, length = segments * (2 if further else 1), length // 2
        return total


IDENTITY = GroupFFT((), ())  # no transform; the only block is the matrix itself


def find_group_fft(table: Table) -> GroupFFT:
    """Find how often the poses of a group can be halved so that no convolution on the group mixes the halves.

    A group whose elements are in an order of another kind gets fewer levels, in the extreme none, and larger blocks;
    the numbers are the same.

    Args:
        table: the Cayley table.
    """
    relations = _relations(table)
    segments = [np.eye(len(table), dtype=np.int64)]
    levels: list[bool] = []
    blocks: list[tuple[int, int]] = []
    while _splits(segments, relations):
        sums, differences = zip(*(_halves(segment) for segment in segments), strict=True)
        further = _splits(differences, relations) == _splits(sums, relations)
        levels.append(further)
        if further:
            segments = [half for pair in zip(sums, differences, strict=True) for half in pair]
        else:
            blocks.append((len(differences), len(differences[0])))
            segments = list(sums)
    return GroupFFT(tuple(levels), (*blocks, (len(segments), len(segments[0]))))


def block_tables(table: Table, transform: GroupFFT) -> tuple[NDArray[np.float64], ...]:
    """Return, for each entry of `transform.blocks`, how the weights of a mixing make up its blocks.

    Args:
        table: the Cayley table.
        transform: `find_group_fft(table)`.

    Returns:
        Arrays (copies, length, length, |G|): entry `[s, i, j, u]` is the share of `w[u]` in row i and column j of block
        s. With the unnormalised butterflies before the blocks and their transposes after them, the result is exactly
        `out[h] = sum_g w[h^-1 g] x[g]`.

    Example:
        >>> import sepgconv
        >>> p2 = sepgconv.group("p2")
        >>> [table.tolist() for table in block_tables(p2.table, p2.fft)]  # blocks w[0] + w[1] and w[0] - w[1], halved
        [[[[[0.5, 0.5]]], [[[0.5, -0.5]]]]]
    """
    relations, order = _relations(table), len(table)
    active = np.eye(order)[None]  # (segments, length, pose)
    tables: list[NDArray[np.float64]] = []
    depth = 0
    for further in transform.levels:
        depth += 1
        halves = active.reshape(len(active), 2, -1, order)
        sums, differences = halves[:, 0] + halves[:, 1], halves[:, 0] - halves[:, 1]
        if further:
            active = np.stack([sums, differences], 1).reshape(2 * len(active), -1, order)
        else:
            tables.append(_shares(differences, relations, depth))
            active = sums
    return (*tables, _shares(active, relations, depth))


def _shares(rows: NDArray[np.float64], relations: NDArray[np.int64], depth: int) -> NDArray[np.float64]:
    # Every row has 2^depth entries of +1 or -1, so that the inverse transform is the transpose over 2^depth.
    return np.einsum("sih,uhg,sjg->siju", rows, relations, rows) / 4.0**depth


def _relations(table: Table) -> NDArray[np.int64]:
    """Return `[u, h, g]` = 1 where h u = g: the mixings of which every mixing is a sum."""
    elements = np.arange(len(table))
    return (np.array(table).T[:, :, None] == elements).astype(np.int64)


def _halves(segment: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    first, second = np.split(segment, 2)
    return first + second, first - second


def _splits(segments: Sequence[NDArray[np.int64]], relations: NDArray[np.int64]) -> bool:
    """Return whether the sums and differences of the halves never mix, in any of the segments."""
    if len(segments[0]) % 2:
        return False
    pairs = [_halves(segment) for segment in segments]
    return not any((s @ relations @ d.T).any() or (d @ relations @ s.T).any() for s, d in pairs)
