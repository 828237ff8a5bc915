"""Batches of images and targets, read by processes ahead of when they are wanted where they are not in memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Int64
from torch import Tensor

from sepgconv.data import Split
from sepgconv.data.column import Entries
from sepgconv.data.workers import Workers
from sepgconv.tasks.errors import LostImagesError

Indices: TypeAlias = Int64[Tensor, "_"]
Pair: TypeAlias = tuple[Tensor, Tensor]  # images and targets
# From the indices of every batch to its images and targets, in the same order.
Reader: TypeAlias = Callable[[Sequence[Indices]], Iterator[Pair]]


def read_batch(images: Entries, targets: Entries, chosen: Indices | slice) -> Pair:
    """Return the images and targets of a batch.

    Raises:
        LostImagesError: what is not in memory cannot be read any more; the message names the file.
    """
    if isinstance(images, Tensor) and isinstance(targets, Tensor):
        return images[chosen], targets[chosen]
    try:
        return images[chosen], targets[chosen]
    except (OSError, ValueError) as error:
        raise LostImagesError(f"what could be read before cannot be read any more: {error}") from error


class Loader:
    """Processes that read batches of the parts of a data set.

    They are started when the first batch is wanted and serve all parts and epochs until `close`. Which images make a
    batch is decided by the caller, so results do not depend on the number of processes.

    Args:
        parts: by name; one is read at a time.
        workers: how many processes; 0: none.

    Raises:
        ValueError: a negative number of processes.
    """

    def __init__(self, parts: Mapping[str, Split], workers: int) -> None:
        self._parts = dict(parts)
        self._alone = workers == 0
        self._workers = Workers(_Parts(self._parts), workers)

    def reader(self, part: str) -> Reader | None:
        """Return what reads a part; None where that needs no processes."""
        if self._alone or self._parts[part].in_memory:
            return None

        def read(batches: Sequence[Indices]) -> Iterator[Pair]:
            for found in self._workers.map([(part, indices.numpy()) for indices in batches]):
                if isinstance(found, _Failure):
                    raise LostImagesError(found.sentence)
                yield found

        return read

    def close(self) -> None:
        """End the processes, if there are any; another batch starts new ones."""
        self._workers.close()


@dataclass(frozen=True)
class _Failure:
    sentence: str


class _Parts:
    def __init__(self, parts: Mapping[str, Split]) -> None:
        self._parts = parts

    def __call__(self, request: tuple[str, Any]) -> Pair | _Failure:
        part, indices = request
        split = self._parts[part]
        try:
            return read_batch(split.images, split.labels, torch.from_numpy(indices))
        except LostImagesError as error:
            return _Failure(str(error))
