"""Whole batches by the indices of their images, in an order that seed and epoch alone decide."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from sepgconv.data.column import Entries, indices_of
from sepgconv.tasks.loading import Reader, read_batch


def epoch_seed(seed: int, epoch: int, stream: int) -> int:
    """Return the seed of one stream of random numbers in one epoch.

    Every epoch starts from its own seeds, so an epoch can be repeated without the ones before it.

    Args:
        seed: the run's.
        epoch: counted from 0.
        stream: 0 for the order of the images; 1 + rank for what a process draws itself (augmentation, dropout).
    """
    return int(np.random.SeedSequence([seed, epoch, stream]).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Batches:
    """The batches of one epoch: every image comes once, and the last batch is shorter.

    Under several processes each takes every n-th image of a batch. A last batch too small to give each process
    `min_share` images joins the batch before it.

    Args:
        images: (n, channels, height, width), in memory or not.
        targets: (n, ...), the right output for each image; the same.
        batch_size: images in a batch, over all processes together.
        order: indices of the images as (n,), a permutation or with some images again and others not; None keeps their
            order.
        min_share: images a process must get in a step; 2 for training, because batch norm cannot train on a map of one
            value per channel.
        rank: this process, counted from 0.
        world_size: number of processes.
        reader: reads batches by their indices, in other processes (`Loader.reader`). None: this process reads them.

    Raises:
        ValueError: too few images, or too small a batch, for one step.
    """

    def __init__(
        self,
        images: Entries,
        targets: Entries,
        *,
        batch_size: int,
        order: Int64[Tensor, " n"] | None = None,
        min_share: int = 2,
        rank: int = 0,
        world_size: int = 1,
        reader: Reader | None = None,
    ) -> None:
        smallest = min_share * world_size
        for what, count in (("images", len(images)), ("images in a batch", batch_size)):
            if count < smallest:
                raise ValueError(f"{world_size} process(es) need {smallest} {what} or more, got {count}")
        self._images, self._targets, self._order = images, targets, order
        self._rank, self._world_size = rank, world_size
        self._reader = reader
        self._starts = range(0, len(images), batch_size)
        if 0 < len(images) % batch_size < smallest:
            self._starts = self._starts[:-1]

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Yield this process's images and targets of each batch, and how many images the whole batch has.

        Raises:
            LostImagesError: an image that is not in memory cannot be read any more.
        """
        ends: Sequence[int] = [*self._starts[1:], len(self._images)]
        sizes = [end - start for start, end in zip(self._starts, ends, strict=True)]
        shares = [
            slice(start + self._rank, end, self._world_size) for start, end in zip(self._starts, ends, strict=True)
        ]
        chosen = shares if self._order is None else [self._order[share] for share in shares]
        if self._reader is None:
            pairs = (read_batch(self._images, self._targets, batch) for batch in chosen)
        else:
            pairs = self._reader([indices_of(batch, len(self._images)) for batch in chosen])
        for (images, targets), size in zip(pairs, sizes, strict=True):
            yield images, targets, size


def epoch_order(count: int, seed: int, epoch: int) -> Int64[Tensor, " n"]:
    """Return the order of the images in one epoch, the same in every process, drawn from its own generator."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(epoch_seed(seed, epoch, stream=0)))


def balanced_order(classes: Int64[Tensor, " n"], seed: int, epoch: int) -> Int64[Tensor, " n"]:
    """Return the images of one epoch in which every class comes equally often, to one image.

    No image comes again before all others of its class have come.

    Args:
        classes: of each image.
        seed: the run's.
        epoch: counted from 0; with the seed it alone decides.
    """
    generator = torch.Generator().manual_seed(epoch_seed(seed, epoch, stream=0))
    present = classes.unique()
    share, more = divmod(len(classes), len(present))
    larger = torch.randperm(len(present), generator=generator)[:more].tolist()  # who gets one image more
    drawn = list[Tensor]()
    for number, label in enumerate(present):
        own = (classes == label).nonzero()[:, 0]
        wanted = share + (number in larger)
        rounds = [torch.randperm(len(own), generator=generator) for _ in range(-(-wanted // len(own)))]
        drawn.append(own[torch.cat(rounds)[:wanted]] if rounds else own[:0])
    together = torch.cat(drawn)
    return together[torch.randperm(len(together), generator=generator)]
