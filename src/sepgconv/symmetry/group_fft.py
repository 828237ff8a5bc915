"""The Fourier transform on a group: levels of sums and differences, then small dense matrices where these do not do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepgconv.symmetry.irreps import Irrep

Table = tuple[tuple[int, ...], ...]
Rows = tuple[tuple[float, ...], ...]
Array = NDArray[np.float64]

# The longest segment that one dense matrix takes apart. Beside butterflies down to the irreps and then small matrices,
# it took 0.2 to 0.5 of the time for C6, C8, D8, C16 and C32 with 16 and 64 channels: it is one pass over memory, and it
# leaves all blocks of one size side by side.
LARGEST_MATRIX = 32


@dataclass(frozen=True, slots=True)
class GroupFFT:
    """How poses are added and subtracted until a convolution on the group falls apart into blocks of its real irreps.

    Either by butterflies, as in a fast Walsh-Hadamard transform: at every level each segment of poses is replaced by
    the sum and the difference of its halves. That is all for groups whose rotations are by 90 degrees. In others it
    would leave segments that hold several irreps, as the odd frequencies of C8. There an orthogonal matrix takes all
    poses apart at once; those of large groups after as many butterflies as it takes to make segments of 32.

    Attributes:
        levels: for every level, whether the differences go on together with the sums; else they are finished there.
        segments: (copies, length) of the finished segments, level by level, those of the last level at the end.
        parts: for each of `segments`, the lengths of the blocks into which it is taken apart, the same for each copy;
            () where the segment is a block itself.
        turns: for each of `segments`, the orthogonal matrix of each copy that takes it apart, row by row; () for none.
        blocks: (copies, length): `copies` diagonal blocks of `length` x `length` each. An irrep of dimension 1 gives
            one number, one of dimension 2 a block of 2 for each row, or a single one if it is of complex type.
        copies: the first of each: torch's `groups` for the products with the blocks; (1,) without levels.
        is_dense: whether dense matrices take segments apart; else there are butterflies at most.

    Example:
        >>> import sepgconv
        >>> fft = sepgconv.group("p4").fft
        >>> fft.blocks, fft.products, fft.additions
        (((1, 2), (2, 1)), 6, 6)
        >>> fft = sepgconv.group("C8").fft
        >>> fft.segments, fft.blocks, fft.products  # A, B and E1, E2, E3 are taken apart by one 8 x 8 matrix
        (((1, 8),), ((2, 1), (3, 2)), 14)
    """

    levels: tuple[bool, ...] = field(hash=False)
    segments: tuple[tuple[int, int], ...] = field(hash=False)
    parts: tuple[tuple[int, ...], ...] = field(default=(), hash=False)
    turns: tuple[tuple[Rows, ...], ...] = field(default=(), hash=False)
    blocks: tuple[tuple[int, int], ...] = field(init=False, compare=False, repr=False)
    copies: tuple[int, ...] = field(init=False, compare=False, repr=False)
    is_dense: bool = field(init=False, compare=False, repr=False)
    # It is a key of the tables that every call looks up, and the matrices may have thousands of entries: the hash is
    # taken once.
    _hash: int = field(init=False, compare=False, repr=False, hash=True)

    def __post_init__(self) -> None:
        if not self.parts:
            object.__setattr__(self, "parts", ((),) * len(self.segments))
        if not self.turns:
            object.__setattr__(self, "turns", ((),) * len(self.segments))
        blocks: list[tuple[int, int]] = []
        for (copies, length), parts in zip(self.segments, self.parts, strict=True):
            blocks += [(copies * count, part) for part, count in runs(parts)] if parts else [(copies, length)]
        object.__setattr__(self, "blocks", tuple(blocks))
        object.__setattr__(self, "copies", tuple(copies for copies, _ in blocks) or (1,))
        object.__setattr__(self, "is_dense", any(self.parts))
        object.__setattr__(self, "_hash", hash((self.levels, self.segments, self.parts, self.turns)))

    def __reduce__(self) -> tuple[Any, ...]:
        return GroupFFT, (self.levels, self.segments, self.parts, self.turns)  # without what is derived

    def __deepcopy__(self, memo: dict[int, object]) -> "GroupFFT":
        return self  # a value that never changes

    @property
    def products(self) -> int:
        """Multiplications per pair of channels, for |G|^2 of the dense mixing: 6 for C4, 12 for D4, 14 for C8."""
        return sum(copies * length * length for copies, length in self.blocks)

    @property
    def additions(self) -> int:
        """Additions per channel of one transform by butterflies."""
        order, segments, total = sum(copies * length for copies, length in self.segments), 1, 0
        length = order
        for further in self.levels:
            total += segments * length
            segments, length = segments * (2 if further else 1), length // 2
        return total

    @property
    def turned(self) -> int:
        """Numbers per channel that pass through a dense matrix in one transform, after its butterflies."""
        taken_apart = zip(self.segments, self.parts, strict=True)
        return sum(copies * length for (copies, length), parts in taken_apart if parts)

    @property
    def turn_macs(self) -> int:
        """Multiplications per channel of these matrices in one transform."""
        taken_apart = zip(self.segments, self.parts, strict=True)
        return sum(copies * length * length for (copies, length), parts in taken_apart if parts)


IDENTITY = GroupFFT((), ())  # no transform; the only block is the matrix itself


def runs(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Return equal neighbours as (length, how many).

    Example:
        >>> runs((1, 2, 2))
        [(1, 1), (2, 2)]
    """
    found: list[tuple[int, int]] = []
    for length in lengths:
        if found and found[-1][0] == length:
            found[-1] = (length, found[-1][1] + 1)
        else:
            found.append((length, 1))
    return found


def find_group_fft(table: Table, irreps: tuple[Irrep, ...] = ()) -> GroupFFT:
    """Find how often the poses of a group can be halved so that no convolution on the group mixes the halves.

    Where segments of several irreps remain, and the irreps are given, dense matrices take over as soon as segments have
    at most `LARGEST_MATRIX` poses. A group whose elements are in an order of another kind gets fewer levels, in the
    extreme none; the numbers are the same.

    Args:
        table: the Cayley table.
        irreps: all real irreps, in the order of the elements.
    """
    found = _split(table, irreps, 1)
    return _split(table, irreps, LARGEST_MATRIX) if found.is_dense else found


def _split(table: Table, irreps: tuple[Irrep, ...], smallest: int) -> GroupFFT:
    """Halve the poses while segments are longer than `smallest`, then take them apart."""
    relations = _relations(table)
    segments = [np.eye(len(table))]
    levels: list[bool] = []
    finished: list[list[Array]] = []
    while len(segments[0]) > smallest and _splits(segments, relations):
        sums, differences = zip(*(_halves(segment) for segment in segments), strict=True)
        further = _splits(differences, relations) == _splits(sums, relations)
        levels.append(further)
        if further:
            segments = [half for pair in zip(sums, differences, strict=True) for half in pair]
        else:
            finished.append(list(differences))
            segments = list(sums)
    finished.append(segments)
    apart = [_take_apart(rows, irreps) for rows in finished]
    sizes = tuple((len(rows), len(rows[0])) for rows in finished)
    return GroupFFT(tuple(levels), sizes, tuple(parts for parts, _ in apart), tuple(turns for _, turns in apart))


def block_tables(table: Table, transform: GroupFFT) -> tuple[Array, ...]:
    """Return, for each entry of `transform.blocks`, how the weights of a mixing make up its blocks.

    Args:
        table: the Cayley table.
        transform: the `fft` of the group.

    Returns:
        Arrays (copies, length, length, |G|): entry `[s, i, j, u]` is the share of `w[u]` in row i and column j of block
        s. With the unnormalised butterflies and the turns before the blocks and their transposes after them, the result
        is `out[h] = sum_g w[h^-1 g] x[g]`; exactly, where there are no turns.

    Example:
        >>> import sepgconv
        >>> p2 = sepgconv.group("p2")
        >>> [table.tolist() for table in block_tables(p2.table, p2.fft)]  # blocks w[0] + w[1] and w[0] - w[1], halved
        [[[[[0.5, 0.5]]], [[[0.5, -0.5]]]]]
    """
    relations, order = _relations(table), len(table)
    active = np.eye(order)[None]  # (segments, length, pose)
    finished: list[tuple[Array, int]] = []
    depth = 0
    for further in transform.levels:
        depth += 1
        halves = active.reshape(len(active), 2, -1, order)
        sums, differences = halves[:, 0] + halves[:, 1], halves[:, 0] - halves[:, 1]
        if further:
            active = np.stack([sums, differences], 1).reshape(2 * len(active), -1, order)
        else:
            finished.append((differences, depth))
            active = sums
    finished.append((active, depth))
    tables: list[Array] = []
    for (rows, level), parts, turns in zip(finished, transform.parts, transform.turns, strict=True):
        turned = np.array(turns) @ rows if turns else rows
        start = 0
        for length, count in runs(parts or (rows.shape[1],)):
            block = turned[:, start : start + length * count].reshape(-1, length, order)
            tables.append(_shares(block, relations, level))
            start += length * count
    return tuple(tables)


def _take_apart(copies: list[Array], irreps: tuple[Irrep, ...]) -> tuple[tuple[int, ...], tuple[Rows, ...]]:
    """Find the lengths of the blocks in finished segments (length, |G|), and a matrix for each segment that shows them.

    A segment is left whole where it is one block, or where the irreps do not lie in single segments.
    """
    found: list[tuple[tuple[int, ...], Rows]] = []
    for rows in copies:
        normed = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        inside = [normed @ functions.T for functions in _block_functions(irreps)]
        inside = [block for block in inside if np.isclose((block**2).sum(), block.shape[1])]
        inside.sort(key=lambda block: block.shape[1])
        if len(inside) < 2 or sum(block.shape[1] for block in inside) != len(rows):
            return (), ()
        turn = np.concatenate(inside, 1).T
        found.append((tuple(block.shape[1] for block in inside), tuple(map(tuple, turn.tolist()))))
    parts = found[0][0]
    if any(other != parts for other, _ in found):
        return (), ()
    return parts, tuple(turn for _, turn in found)


def _block_functions(irreps: tuple[Irrep, ...]) -> list[Array]:
    """Return orthonormal functions on the group (length, |G|) for each block of the mixing.

    A mixing takes the coefficients `x^[i, j]` of an irrep to sums over the columns j. One of real type has a block for
    each row i; one of another type is a block as a whole.
    """
    blocks: list[Array] = []
    for irrep in irreps:
        scale = np.sqrt(irrep.dimension / len(irrep.matrices))
        functions = scale * np.array(irrep.matrices, dtype=np.float64)[:, :, : irrep.multiplicity]  # (g, i, j)
        if irrep.multiplicity == irrep.dimension:
            blocks += [functions[:, i].T for i in range(irrep.dimension)]
        else:
            blocks.append(functions.reshape(len(functions), -1).T)
    return blocks


def _shares(rows: Array, relations: Array, depth: int) -> Array:
    # Every row has a squared norm of 2^depth, so that the inverse transform is the transpose over 2^depth.
    size, length, order = rows.shape
    moved = np.einsum("sih,uhg->suig", rows, relations, optimize=True)
    shares = moved.reshape(size, order * length, order) @ rows.transpose(0, 2, 1)  # (s, u*i, j)
    return shares.reshape(size, order, length, length).transpose(0, 2, 3, 1) / 4.0**depth


def _relations(table: Table) -> Array:
    """Return `[u, h, g]` = 1 where h u = g: the mixings of which every mixing is a sum."""
    elements = np.arange(len(table))
    return (np.array(table).T[:, :, None] == elements).astype(np.float64)


def _halves(segment: Array) -> tuple[Array, Array]:
    first, second = np.split(segment, 2)
    return first + second, first - second


def _splits(segments: Sequence[Array], relations: Array) -> bool:
    """Return whether the sums and differences of the halves never mix, in any of the segments.

    All entries are whole numbers, so that zero is zero.
    """
    if len(segments[0]) % 2:
        return False
    pairs = [_halves(segment) for segment in segments]
    return not any((s @ relations @ d.T).any() or (d @ relations @ s.T).any() for s, d in pairs)
