"""Masks: a class for every pixel of an image, from a file beside it; and which class a value stands for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Integer
from numpy import ndarray

from sepgconv.data.image_file import read_header, read_integers
from sepgconv.data.image_size import bring_to_size
from sepgconv.data.reading import Fit
from sepgconv.data.unreadable import UnreadableImageError

_NAMED_AT_MOST = 10
_MOST_VALUES = 32  # of masks of classes; more are instances, or a lossy file


BINARY = ("background", "foreground")  # classes of masks of two values, one of which is 0


@dataclass(frozen=True)
class MaskValues:
    """Which class the values in mask files stand for.

    Attributes:
        values: the value of each class, in the order of the classes.
        foreground: whether every value but 0 is the class 1, as in masks of instances; `values` is then (0, 1).
    """

    values: tuple[int, ...]
    foreground: bool = False

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes: background and foreground where there are two, one of which is 0; else the values."""
        if len(self.values) == 2 and self.values[0] == 0:
            return BINARY
        return tuple(map(str, self.values))

    def to_classes(self, mask: Integer[ndarray, "h w"], path: Path) -> Int64[ndarray, "h w"]:
        """Return the class of every pixel.

        Raises:
            UnreadableImageError: the mask holds other values.
        """
        if self.foreground:
            return (mask != 0).astype(np.int64)
        values = np.array(self.values)
        if len(unknown := np.setdiff1d(mask, values)):
            raise UnreadableImageError(
                path, f"its mask holds {_some(unknown.tolist())}, and known are {_some(self.values)}"
            )
        order = np.argsort(values)
        return order[np.searchsorted(values[order], mask)]


@dataclass(frozen=True)
class MaskFile:
    """The mask of an image in a file beside it.

    Attributes:
        path: of the mask.
        image: of the image.
        values: what the mask's values stand for.
    """

    path: Path
    image: Path
    values: MaskValues

    def read(self, shape: tuple[int, int], fit: Fit = "crop") -> Int64[ndarray, "h2 w2"]:
        """Return the class of every pixel of the image, brought to (height, width) as it is.

        Raises:
            FileNotFoundError: mask or image is not there any more.
            UnreadableImageError: the mask cannot be read, is of another size than the image, or holds unknown values.
        """
        mask, header = read_mask(self.path), read_header(self.image)
        if mask.shape != (header.height, header.width):
            raise UnreadableImageError(
                self.path,
                f"its mask {self.path.name} has {mask.shape[1]} x {mask.shape[0]} pixels, the image has {header.width} "
                f"x {header.height}",
            )
        if header.orientation != 1 and read_header(self.path).orientation != header.orientation:
            raise UnreadableImageError(
                self.path,
                f"the image {self.image.name} is rotated by its EXIF tag and its mask {self.path.name} is not, so they "
                "may not fit together; save the image upright",
            )
        return fit_mask(self.values.to_classes(mask, self.path), shape, fit)


def read_mask(path: Path) -> Integer[ndarray, "h w"]:
    """Read the values of a mask as they are stored; of a palette, the numbers of its colours.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableImageError: it cannot be read, or has colours and no numbers.
    """
    values = read_integers(path)
    if values.ndim == 2:
        return values
    colours = values[..., :3]  # what follows is transparency
    if values.shape[2] >= 3 and (colours != colours[..., :1]).any():
        raise UnreadableImageError(
            path, "as a mask it must hold a number for each class, and it has colours; save it grey, or with a palette"
        )
    return values[..., 0]


def find_values(paths: Sequence[Path], title: str) -> MaskValues:
    """Return the values that masks hold, in ascending order; masks that cannot be read are passed over.

    Raises:
        ValueError: they are as many as in masks of instances.
    """
    found: set[int] = set()
    for path in paths:
        try:
            found |= set(np.unique(read_mask(path)).tolist())
        except (UnreadableImageError, FileNotFoundError):
            continue  # it is told where its image is read
        if len(found) > _MOST_VALUES:
            raise ValueError(
                f"{title}: the masks hold more than {_MOST_VALUES} values ({_some(sorted(found))}), so they are masks "
                "of instances, or files that blur them, as JPEG; for instances, learn foreground and background "
                "(foreground=True, --foreground)"
            )
    return MaskValues(tuple(sorted(found)))


def fit_mask(mask: Int64[ndarray, "h w"], shape: tuple[int, int], fit: Fit = "crop") -> Int64[ndarray, "h2 w2"]:
    """Return a mask brought to (height, width) as an image is; no value is mixed, class 0 is around a padded one."""
    from PIL import Image

    brought = bring_to_size(Image.fromarray(mask.astype(np.int32)), shape[1], shape[0], fit=fit, nearest=True)
    return np.asarray(brought).astype(np.int64)


def _some(values: Sequence[int]) -> str:
    listed = ", ".join(map(str, values[:_NAMED_AT_MOST]))
    return (
        f"{'the value' if len(values) == 1 else 'the values'} {listed}{', ...' if len(values) > _NAMED_AT_MOST else ''}"
    )
