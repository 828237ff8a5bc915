"""Columns of a data set, one entry for each image: a tensor, or what reads entries only when they are asked for.

A `Split` has two, its images and its labels. Whoever trains or judges takes entries by their indices, in batches, and
need not know which kind a column is: `column[indices]` is a tensor either way.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import TypeAlias

import torch
from jaxtyping import Int64
from torch import Tensor

_CHUNK_BYTES = 2**25  # of entries at once: bounds what is held of a column that is gone through


class Column(ABC):
    """Entries of one shape and dtype that are not in memory: image files, rows of a file, or what is made of them.

    A subclass defines `read`. It is a map-style data set of `torch.utils.data`: processes that read ahead get a copy of
    it, so it must be possible to pickle it, and it must not keep files open that they cannot share.

    Args:
        shape: (n, ...), the number of entries and the shape of each.
        dtype: of the entries.

    Example:
        >>> import torch
        >>> class Squares(Column):
        ...     def read(self, indices):
        ...         return indices.float()[:, None] ** 2
        >>> squares = Squares((1_000_000, 1), torch.float32)
        >>> len(squares), squares[torch.tensor([3, 5])].tolist(), squares[-2:].shape
        (1000000, [[9.0], [25.0]], torch.Size([2, 1]))
    """

    def __init__(self, shape: Sequence[int], dtype: torch.dtype) -> None:
        self.shape = torch.Size(shape)
        self.dtype = dtype

    @abstractmethod
    def read(self, indices: Int64[Tensor, " k"]) -> Tensor:
        """Return some entries, (k, ...), in the order of the indices, which are from 0 to n - 1.

        Raises:
            OSError, ValueError: an entry cannot be read; the message names its file.
        """

    @property
    def ndim(self) -> int:
        """Number of axes, that of the entries included."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: "Tensor | slice | int") -> Tensor:
        """Return entries as a tensor: one by its number, several by a slice, or (k, ...) by a tensor of k indices.

        Raises:
            IndexError: there is no such entry.
        """
        if isinstance(chosen, int):
            return self.read(self._checked(torch.tensor([chosen])))[0]
        return self.read(self._checked(indices_of(chosen, len(self))))

    def _checked(self, indices: Int64[Tensor, " k"]) -> Int64[Tensor, " k"]:
        if len(indices) and not -len(self) <= int(indices.min()) <= int(indices.max()) < len(self):
            raise IndexError(
                f"there are {len(self)} entries; {int(indices.min())} to {int(indices.max())} were asked for"
            )
        return torch.where(indices < 0, indices + len(self), indices)


Entries: TypeAlias = Tensor | Column


def indices_of(chosen: "Tensor | slice", n: int) -> Int64[Tensor, " k"]:
    """Return the indices that a slice, a tensor of indices or one of booleans chooses among n entries."""
    if isinstance(chosen, slice):
        return torch.arange(n)[chosen]
    return chosen.nonzero().flatten() if chosen.dtype == torch.bool else chosen.to(torch.int64)


def take(entries: Entries, chosen: "Tensor | slice") -> Entries:
    """Return some of the entries as a column of the same kind; of one that is not in memory nothing is read.

    Args:
        entries: the column.
        chosen: indices, or a slice; of a tensor a slice is a view.
    """
    if isinstance(entries, Tensor):
        return entries[chosen]
    indices = indices_of(chosen, len(entries))
    return entries.taken(indices) if isinstance(entries, _Taken) else _Taken(entries, indices)


def join(parts: Sequence[Entries]) -> Entries:
    """Return columns one after the other as one; a tensor if all are tensors."""
    tensors = [part for part in parts if isinstance(part, Tensor)]
    return torch.cat(tensors) if len(tensors) == len(parts) else _Joined(parts)


def convert(
    entries: Entries, function: Callable[[Tensor], Tensor], *, dtype: torch.dtype, shape: Sequence[int] | None = None
) -> Entries:
    """Return what a function makes of the entries: at once of a tensor, else of every batch that is read.

    Args:
        entries: the column.
        function: from (k, ...) to (k, ...), each entry by itself, so that batches do not matter.
        dtype: of the result.
        shape: of an entry of the result. Default: it stays.
    """
    if isinstance(entries, Tensor):
        return function(entries)
    return _Converted(entries, function, (len(entries), *(entries.shape[1:] if shape is None else shape)), dtype)


def chunks(entries: Entries, size: int | None = None) -> Iterator[Tensor]:
    """Yield all entries in their order, a few at a time.

    Args:
        entries: the column.
        size: how many at once. Default: 32 MiB of them, or one.
    """
    if size is None:
        size = max(1, _CHUNK_BYTES // max(1, prod(entries.shape[1:]) * entries.dtype.itemsize))
    if isinstance(entries, Tensor):
        yield from entries.split(size)
        return
    for start in range(0, len(entries), size):
        yield entries[start : start + size]


class _Taken(Column):
    def __init__(self, column: Column, indices: Int64[Tensor, " k"]) -> None:
        super().__init__((len(indices), *column.shape[1:]), column.dtype)
        self._column, self._indices = column, indices

    def read(self, indices: Int64[Tensor, " k"]) -> Tensor:
        return self._column[self._indices[indices]]

    def taken(self, indices: Int64[Tensor, " k"]) -> "_Taken":
        return _Taken(self._column, self._indices[indices])


class _Joined(Column):
    def __init__(self, parts: Sequence[Entries]) -> None:
        first = parts[0]
        for part in parts:
            if (part.shape[1:], part.dtype) != (first.shape[1:], first.dtype):
                raise ValueError(
                    f"columns that become one must have entries of one kind; one has {first.dtype} "
                    f"{tuple(first.shape[1:])}, another {part.dtype} {tuple(part.shape[1:])}"
                )
        self._parts = list(parts)
        self._ends = torch.tensor([len(part) for part in parts]).cumsum(0)
        super().__init__((int(self._ends[-1]), *first.shape[1:]), first.dtype)

    def read(self, indices: Int64[Tensor, " k"]) -> Tensor:
        found = torch.empty((len(indices), *self.shape[1:]), dtype=self.dtype)
        holder = torch.bucketize(indices, self._ends, right=True)
        for number, part in enumerate(self._parts):
            places = (holder == number).nonzero().flatten()
            if len(places):
                found[places] = part[indices[places] - (int(self._ends[number]) - len(part))]
        return found


class _Converted(Column):
    def __init__(
        self, column: Column, function: Callable[[Tensor], Tensor], shape: Sequence[int], dtype: torch.dtype
    ) -> None:
        super().__init__(shape, dtype)
        self._column, self._function = column, function

    def read(self, indices: Int64[Tensor, " k"]) -> Tensor:
        with torch.no_grad():
            return self._function(self._column[indices])
