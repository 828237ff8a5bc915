"""The two values that every data set is given as: Split and Dataset."""

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sepgconv._numbers import count, plural
from sepgconv._table import Printed, Table
from sepgconv.data.column import Entries, chunks, take
from sepgconv.data.division import Division
from sepgconv.data.reading import Fit

SHOWN = 10  # classes by name
_FITTED: Mapping[Fit, str] = {
    "crop": "scaled and cut in the centre (crop)",
    "resize": "stretched (resize)",
    "pad": "scaled to lie within, with black around (pad)",
}


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Images with their labels: the inputs of a network, and its right outputs. It prints as their number and size.

    Images and labels are tensors, or are read when they are asked for (`sepgconv.data.Column`): `split.images[:10]`,
    `split.take(indices)` and `split.batches(64)` work with both. It is a map-style data set of `torch.utils.data`, too:
    `split[3]` is an image and its label.

    Attributes:
        images: float32, (n, channels, height, width).
        labels: (n, ...): int64, indices of classes, for classification one for each image, (n,), for segmentation one
            for each pixel, (n, height, width); or float32, numbers, as for regression or, 0 and 1, for several classes
            of one image.

    Raises:
        ValueError: a wrong rank or dtype, unequal lengths, no image at all, a value that is not finite, or a negative
            index.

    Example:
        >>> import torch
        >>> split = Split(torch.rand(3, 1, 28, 28), torch.tensor([0, 1, 0]))
        >>> len(split), split.has_classes, split.image_shape, int(split[1][1])
        (3, True, (1, 28, 28), 1)
        >>> [len(labels) for images, labels in split.batches(2)]
        [2, 1]
    """

    images: Entries
    labels: Entries

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != torch.float32:
            raise ValueError(
                "Split: expected float32 images of shape (n, channels, height, width), "
                f"got {self.images.dtype} {tuple(self.images.shape)}"
            )
        if self.labels.ndim < 1 or self.labels.dtype not in (torch.int64, torch.float32):
            raise ValueError(
                "Split: expected int64 labels (indices of classes) or float32 ones (numbers) of shape (n, ...), got "
                f"{self.labels.dtype} {tuple(self.labels.shape)}"
            )
        if len(self.images) != len(self.labels):
            raise ValueError(f"Split: {len(self.images)} images but {len(self.labels)} labels")
        if 0 in self.images.shape:
            raise ValueError(f"Split: no pixels in images of shape {tuple(self.images.shape)}")
        # Values that are not in memory are checked by whoever reads them.
        if isinstance(self.images, Tensor) and not bool(self.images.isfinite().all()):
            raise ValueError("Split: the images hold values that are not finite")
        if isinstance(self.labels, Tensor):
            if not self.has_classes and not bool(self.labels.isfinite().all()):
                raise ValueError("Split: the labels hold values that are not finite")
            if self.has_classes and int(self.labels.min()) < 0:
                raise ValueError(f"Split: labels must not be negative, got {int(self.labels.min())}")

    @property
    def has_classes(self) -> bool:
        """Whether the labels are indices of classes."""
        return self.labels.dtype == torch.int64

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image: (channels, height, width)."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @property
    def in_memory(self) -> bool:
        """Whether images and labels are tensors."""
        return isinstance(self.images, Tensor) and isinstance(self.labels, Tensor)

    def take(self, chosen: "Tensor | slice") -> "Split":
        """Return some of the images with their labels; of images that are not in memory nothing is read.

        Args:
            chosen: indices, int64 (k,), or a slice.
        """
        return Split(take(self.images, chosen), take(self.labels, chosen))

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all images and labels in their order, so many at a time; the last batch may be smaller."""
        yield from zip(chunks(self.images, size), chunks(self.labels, size), strict=True)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        # What torch's DataLoader asks for where a data set has it: a whole batch at once.
        chosen = torch.tensor(indices, dtype=torch.int64)
        return list(zip(self.images[chosen], self.labels[chosen], strict=True))

    def __repr__(self) -> str:
        return f"Split: {plural(len(self), 'image')} of {_size(self)}"


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(Printed):
    """Train, validation and test split of one data set, already preprocessed: what a network sees.

    It prints as sizes and classes, in a notebook too.

    Attributes:
        name: goes into every record, and says which variant was loaded.
        classes: names of the classes; a label, or a pixel of a mask, is an index into them. Of float32 labels (n, k)
            the names of their columns. None, (), where labels are numbers without a name.
        train: what parameters are fitted to.
        validation: what choices are made on.
        test: read once, at the end.
        preprocessing: the preprocessing of the three splits, as a module on raw float images in [0, 1] of shape
            (n, channels, height, width). Its `name` and `state_dict` rebuild it (`build_preprocessing`).
        skipped: files that could not be read and were left out.
        bit_depth: bits that files of 16 bits a pixel use among the images (8, 10, 12, 14 or 16), by which they were
            scaled to [0, 1]; other images of the same kind are read with it (`read_image`). None: there are none.
        fit: how images of another size were brought to theirs, a value of `read_image`; others of the same kind are
            read with it. None: they came in one size.
        division: which file is in which part, and by what rule. None: the data set is no one's own files.

    Raises:
        ValueError: no or repeated classes, a label without a class, classes although labels are numbers, splits of
            unequal image shapes.

    Example:
        >>> import torch
        >>> from sepgconv.data import build_preprocessing
        >>> split = Split(torch.rand(4, 1, 28, 28), torch.tensor([0, 1, 0, 1]))
        >>> dataset = Dataset("noise", ("grey", "black"), split, split, split, build_preprocessing("identity", {}))
        >>> dataset.image_shape
        (1, 28, 28)
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    preprocessing: nn.Module
    skipped: tuple[str, ...] = ()
    bit_depth: int | None = None
    fit: Fit | None = None
    division: Division | None = None

    def __post_init__(self) -> None:
        if (not self.classes and self.train.has_classes) or len(set(self.classes)) != len(self.classes):
            raise ValueError(f"{self.name}: expected distinct class names, got {self.classes}")
        for title, split in (("train", self.train), ("validation", self.validation), ("test", self.test)):
            if split.image_shape != self.image_shape:
                raise ValueError(
                    f"{self.name}: {title} images have shape {split.image_shape}, train images {self.image_shape}"
                )
            labels, columns = split.labels, tuple(split.labels.shape[1:])
            if split.has_classes != bool(self.classes) and columns != (len(self.classes),):
                raise ValueError(
                    f"{self.name}: {title} labels are {split.labels.dtype} {tuple(split.labels.shape)}, but there are "
                    f"{len(self.classes)} classes; labels of classes are int64, numbers are float32 and have no "
                    "classes, or one for each of their columns"
                )
            # Masks may have a number for pixels that are not judged; the task looks at them.
            if (
                isinstance(labels, Tensor)
                and split.has_classes
                and not columns
                and int(labels.max()) >= len(self.classes)
            ):
                raise ValueError(
                    f"{self.name}: {title} label {int(labels.max())}, but there are {len(self.classes)} classes"
                )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image: (channels, height, width)."""
        return self.train.image_shape

    @property
    def in_memory(self) -> bool:
        """Whether all images and labels are tensors; else they are read when they are asked for."""
        return all(split.in_memory for split in (self.train, self.validation, self.test))

    def _printed_parts(self) -> Sequence[Table | str]:
        counted = (("train", self.train), ("validation", self.validation), ("test", self.test))
        parts: list[Table | str] = [
            Table(
                f"{self.name}: images of {_size(self.train)}, {plural(len(self.classes), 'class', 'classes')}",
                ("part", "images"),
                [(title, count(len(split))) for title, split in counted],
            )
        ]
        named = ", ".join(self.classes[:SHOWN])
        more = len(self.classes) - SHOWN
        parts.append(f"Classes: {named}{f' and {count(more)} more' if more > 0 else ''}.")
        if self.fit is not None:
            parts.append(f"An image of another size is {_FITTED[self.fit]}.")
        if not self.in_memory:
            parts.append("The images are read from the disk when they are needed.")
        if self.skipped:
            parts.append(f"Left out because they cannot be read: {plural(len(self.skipped), 'file')}.")
        return parts

    def digest(self) -> str:
        """Return the SHA-256 (64 hexadecimal digits) of what is learned from and judged by; computed on first use.

        It covers the class names in their order, the images and labels of every part in theirs, as they are here, after
        preprocessing, and `bit_depth`; neither `name` nor `skipped`. One bit of a pixel changes it. Preprocessing that
        computes (whitening, rotation) may round otherwise on another machine, and the digest is then another one.
        """
        return self._digest

    @functools.cached_property
    def _digest(self) -> str:
        found = hashlib.sha256(repr(self.classes).encode(errors="surrogateescape"))
        if self.bit_depth is not None:  # the same pixels may come from files of 10 and of 12 bits
            found.update(f"\n{self.bit_depth} bits".encode())
        for title, split in (("train", self.train), ("validation", self.validation), ("test", self.test)):
            for kind, entries in (("images", split.images), ("labels", split.labels)):
                found.update(f"\n{title} {kind} {tuple(entries.shape)}\n".encode())
                plain = entries.detach().as_subclass(torch.Tensor) if isinstance(entries, Tensor) else entries
                for part in chunks(plain):
                    found.update(part.cpu().contiguous().view(torch.uint8).numpy().data)
        return found.hexdigest()


def _size(split: Split) -> str:
    return " x ".join(map(str, split.image_shape))
