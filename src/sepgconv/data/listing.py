"""Listing: which images a data set of files has, their targets, parts and groups, before any of them is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Int64
from numpy import ndarray

from sepgconv.data.origin import Origin
from sepgconv.data.part_names import PartOrAll
from sepgconv.data.reading import Fit

# What the targets of a data set are: one class of each image, several labels of it, numbers, or a class of each pixel.
TargetKind: TypeAlias = Literal["classes", "labels", "numbers", "masks"]


@runtime_checkable
class MaskSource(Protocol):
    """Where the mask of an image is from: a file beside it, or polygons in another file."""

    def read(self, shape: tuple[int, int], fit: Fit = "crop") -> Int64[ndarray, "h w"]:
        """Return the class of every pixel.

        Args:
            shape: height and width that the image is brought to; the mask is brought to it alike.
            fit: how.

        Raises:
            UnreadableImageError: it cannot be read, or does not belong to the image.
        """
        ...


@dataclass(frozen=True)
class ListedImage:
    """One image of a listing.

    Attributes:
        path: its file.
        target: the index of its class; numbers, or 1 for each label that it has and 0 for others; or its mask.
        origin: where it is from, as the data set calls it.
    """

    path: Path
    target: int | tuple[float, ...] | MaskSource
    origin: Origin


@dataclass(frozen=True, eq=False)
class Listing:
    """The images of a data set of files.

    Attributes:
        name: of the data set.
        title: what errors call it: its path.
        classes: names of the classes or labels; () where targets are numbers.
        kind: what the targets are.
        parts: the images of every part; only "all" where it is not divided.
        unreadable: what cannot be opened, by its name in the data set, with the reasons.
        notes: what a user must know of how the data set was understood, a sentence each.
        grouped_by: what the groups are called; None where there are none.
        fixed: whether the classes were given, and stay even where one has no images.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    kind: TargetKind
    parts: Mapping[PartOrAll, Sequence[ListedImage]]
    unreadable: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()
    grouped_by: str | None = None
    fixed: bool = False
