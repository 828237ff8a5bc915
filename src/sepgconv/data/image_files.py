"""Listed images of one form, and their masks, decoded one by one or by several processes."""

import contextlib
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from numpy import ndarray
from torch import Tensor

from sepgconv.data.column import Column, Entries
from sepgconv.data.image_file import read_pixels
from sepgconv.data.listing import ListedImage
from sepgconv.data.options import DataOptions
from sepgconv.data.reading import Reading
from sepgconv.data.unreadable import UnreadableImageError
from sepgconv.data.workers import Workers, cores

GONE = "is not there any more"
_AT_ONCE = 32  # images that a process decodes for one answer
_FEW = 256  # images that are decoded before other processes would have started
_MOST_PROCESSES = 8


@dataclass(frozen=True)
class Storage:
    """Where the images of a data set are while it is used.

    Attributes:
        in_memory: True: all of them in memory, decoded. False: they stay on the disk. None: in memory if they take at
            most 1 GiB as float32, and a quarter of the machine's memory.
        cache: folder for one file of decoded images of those that stay on the disk; None: they are decoded from their
            files whenever they are needed.
    """

    in_memory: bool | None = None
    cache: Path | None = None


@dataclass(frozen=True)
class Wanted:
    """How images are brought to one form, and where they are kept; what is None is decided by the images themselves.

    Attributes:
        channels: 1 for grey, 3 for RGB; other numbers of TIFFs that have so many.
        size: height and width.
        reading: how values become numbers in [0, 1], and images one size.
        storage: where they are kept.
    """

    channels: int | None = None
    size: tuple[int, int] | None = None
    reading: Reading = field(default_factory=Reading)
    storage: Storage = field(default_factory=Storage)

    @classmethod
    def of(cls, options: DataOptions, image_size: int | None, storage: Storage | None = None) -> "Wanted":
        """Return what a user wants of a new data set.

        Args:
            options: the user's.
            image_size: height and width, or None.
            storage: where the images are kept. Default: as `Storage` decides, without a cache.
        """
        size = None if image_size is None else (image_size, image_size)
        return cls(size=size, reading=options.reading, storage=storage or Storage())


@dataclass(frozen=True)
class Form:
    """The form of all images of a data set.

    Attributes:
        shape: (channels, height, width).
        reading: how values become numbers in [0, 1], and images one size.
        deep: whether values need more than 8 bits: images are then float32 in [0, 1], else uint8.
    """

    shape: tuple[int, int, int]
    reading: Reading
    deep: bool = False

    @property
    def dtype(self) -> "np.dtype[Any]":
        """Of the pixels."""
        return np.dtype(np.float32 if self.deep else np.uint8)

    def read(self, image: ListedImage) -> Shaped[ndarray, "c h w"]:
        """Return one image: float32 in [0, 1] if `deep`, else uint8.

        Raises:
            FileNotFoundError: its file is not there any more.
            UnreadableImageError: it cannot be read.
        """
        pixels = read_pixels(image.path, self.shape, self.reading, page=image.origin.page)
        return pixels.astype(np.float32) / 255 if self.deep and pixels.dtype == np.uint8 else pixels

    def read_target(self, image: ListedImage) -> Shaped[ndarray, "..."]:
        """Return the target of one image: int64 () or (height, width), or float32 (k,).

        Raises:
            FileNotFoundError: the file of its mask is not there any more.
            UnreadableImageError: its mask cannot be read.
        """
        if isinstance(image.target, int):
            return np.array(image.target, np.int64)
        if isinstance(image.target, tuple):
            return np.array(image.target, np.float32)
        mask: Int64[ndarray, "h w"] = image.target.read(self.shape[1:], self.reading.fit)
        return mask


def has_mask(image: ListedImage) -> bool:
    """Return whether the target of an image is a mask, which is read, and no number, which is known."""
    return not isinstance(image.target, int | tuple)


@dataclass(frozen=True, eq=False)
class Decoded:
    """Images that were listed.

    Attributes:
        images: (n, channels, height, width), uint8 or, of a deep form, float32 in [0, 1]: those that can be read, in
            the order of the list.
        targets: (n, ...), the same.
        form: of every image.
        unreadable: the others by their numbers in the list, with the reasons.
        notes: what a user must know of how the files were understood, a sentence each.
    """

    images: Entries
    targets: Entries
    form: Form
    unreadable: Mapping[int, str] = field(default_factory=dict[int, str])
    notes: Sequence[str] = ()


class _FromFiles(Column):
    # Entries that are read one by one, each from the file of its image, whenever they are asked for.
    def __init__(
        self,
        images: Sequence[ListedImage],
        shape: Sequence[int],
        dtype: torch.dtype,
        read: Callable[[ListedImage], ndarray],
    ) -> None:
        super().__init__((len(images), *shape), dtype)
        self._images, self._read = list(images), read

    def read(self, indices: Int64[Tensor, " k"]) -> Shaped[Tensor, "k ..."]:
        """Read some entries.

        Raises:
            FileNotFoundError: a file is not there any more.
            ValueError: it cannot be read any more.
        """
        found = torch.empty((len(indices), *self.shape[1:]), dtype=self.dtype)
        for place, index in zip(found, indices.tolist(), strict=True):
            place.copy_(torch.from_numpy(self._read(self._images[index])))
        return found


class ImageFiles(_FromFiles):
    """Images (n, channels, height, width), decoded whenever they are asked for.

    Args:
        images: which.
        form: that they are brought to.
    """

    def __init__(self, images: Sequence[ListedImage], form: Form) -> None:
        super().__init__(images, form.shape, torch.float32 if form.deep else torch.uint8, form.read)


class MaskFiles(_FromFiles):
    """The masks of images, int64 (n, height, width), read whenever they are asked for.

    Args:
        images: of which the masks are.
        form: that images and masks are brought to.
    """

    def __init__(self, images: Sequence[ListedImage], form: Form) -> None:
        super().__init__(images, form.shape[1:], torch.int64, form.read_target)


def targets_of(images: Sequence[ListedImage], form: Form) -> Entries:
    """Return the targets of images that stay on the disk: their masks stay there, too; what is no mask is a tensor."""
    if images and has_mask(images[0]):
        return MaskFiles(images, form)
    known = [form.read_target(image) for image in images]
    return torch.from_numpy(np.stack(known)) if known else torch.zeros(0, dtype=torch.int64)


def decoded_batches(
    images: Sequence[ListedImage], numbers: Sequence[int], form: Form, unreadable: dict[int, str]
) -> "Iterator[Batch]":
    """Yield images and masks in their order, several at once; many are decoded by several processes.

    Args:
        images: all that are listed.
        numbers: of those that are decoded.
        form: that they are brought to.
        unreadable: gets what cannot be read, with the reasons.
    """
    batches = [numbers[start : start + _AT_ONCE] for start in range(0, len(numbers), _AT_ONCE)]
    many = len(numbers) > _FEW and cores() > 1
    workers = Workers(_Decoder(images, form), min(_MOST_PROCESSES, cores()) if many else 0)
    try:
        with _bar(len(numbers)) as bar:
            for batch, answer in zip(batches, workers.map(batches), strict=True):
                unreadable |= answer.unreadable
                for message in answer.warnings:
                    warnings.warn(message, stacklevel=5)
                bar.update(len(batch))
                yield answer
    finally:
        workers.close()


@dataclass(frozen=True, eq=False)
class Batch:
    """Some images that were decoded.

    Attributes:
        pixels: of those that can be read.
        targets: of the same.
        unreadable: the others by their numbers, with the reasons.
        warnings: of what reads them, a sentence each.
    """

    pixels: Shaped[ndarray, "k c h w"]
    targets: Sequence[Shaped[ndarray, "..."]]
    unreadable: Mapping[int, str]
    warnings: Sequence[str]


class _Decoder:
    def __init__(self, images: Sequence[ListedImage], form: Form) -> None:
        self._images, self._form = images, form

    def __call__(self, numbers: Sequence[int]) -> Batch:
        pixels = np.empty((len(numbers), *self._form.shape), self._form.dtype)
        targets: list[Shaped[ndarray, ...]] = []
        unreadable: dict[int, str] = {}
        with warnings.catch_warnings(record=True) as told:  # another process's warnings would reach nobody
            warnings.simplefilter("always")
            for number in numbers:
                try:
                    target = self._form.read_target(self._images[number])
                    pixels[len(targets)] = self._form.read(self._images[number])
                except UnreadableImageError as error:
                    unreadable[number] = error.reason
                except FileNotFoundError:
                    unreadable[number] = GONE
                else:
                    targets.append(target)
        return Batch(pixels[: len(targets)], targets, unreadable, [str(warning.message) for warning in told])


@contextlib.contextmanager
def _bar(total: int) -> Generator[Any, None, None]:
    """Show a progress bar on standard error while many files are decoded, where that is a terminal."""
    from tqdm import tqdm

    with tqdm(
        total=total, desc="decoding images", unit=" images", leave=False, disable=None if total > _FEW else True
    ) as bar:
        yield bar
