"""Image files of one form, decoded one by one or by several processes."""

import contextlib
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy import ndarray
from torch import Tensor

from sepgconv.data.column import Column, Entries
from sepgconv.data.image_file import Fit, UnreadableImageError, read_pixels
from sepgconv.data.workers import Workers, cores

GONE = "is not there any more"
_AT_ONCE = 32  # files that a process decodes for one answer
_FEW = 256  # files that are decoded before other processes would have started
_MOST_PROCESSES = 8


@dataclass(frozen=True)
class Wanted:
    """How images are brought to one form; what is None is decided by the images themselves.

    Attributes:
        channels: 1 for grey, 3 for RGB.
        size: height and width.
        bit_depth: bits that files of 16 bits use.
        fit: how an image of another size is brought to it (`read_image`).
    """

    channels: int | None = None
    size: tuple[int, int] | None = None
    bit_depth: int | None = None
    fit: Fit = "crop"


@dataclass(frozen=True)
class Form:
    """What the images of a data set have in common.

    Attributes:
        shape: (channels, height, width).
        bit_depth: bits that files of 16 bits use; None: there are none.
        fit: how images of another size were brought to this one.
    """

    shape: tuple[int, int, int]
    bit_depth: int | None
    fit: Fit = "crop"


@dataclass(frozen=True, eq=False)
class Decoded:
    """Images of files.

    Attributes:
        images: uint8, (n, channels, height, width), those that can be read, in the order of the files.
        form: of every image.
        unreadable: the others by their numbers among the files, with the reasons.
        notes: what a user must know of how the files were understood, a sentence each.
    """

    images: Entries
    form: Form
    unreadable: Mapping[int, str] = field(default_factory=dict[int, str])
    notes: Sequence[str] = ()


class ImageFiles(Column):
    """Image files as uint8, (n, channels, height, width), decoded whenever they are asked for.

    Args:
        paths: the files.
        form: that they are brought to.
    """

    def __init__(self, paths: Sequence[Path], form: Form) -> None:
        super().__init__((len(paths), *form.shape), torch.uint8)
        self._paths, self._form = list(paths), form

    def read(self, indices: Int64[Tensor, " k"]) -> UInt8[Tensor, "k c h w"]:
        """Decode some files.

        Raises:
            FileNotFoundError: a file is not there any more.
            ValueError: it cannot be read any more.
        """
        found = torch.empty((len(indices), *self.shape[1:]), dtype=self.dtype)
        for place, index in zip(found, indices.tolist(), strict=True):
            place.copy_(torch.from_numpy(_pixels(self._paths[index], self._form)))
        return found


def decoded_batches(
    paths: Sequence[Path], numbers: Sequence[int], form: Form, unreadable: dict[int, str]
) -> Iterator[UInt8[ndarray, "k c h w"]]:
    """Yield the images of files in their order, several at once; many files are decoded by several processes.

    Args:
        paths: all files.
        numbers: of those that are decoded.
        form: that they are brought to.
        unreadable: gets what cannot be read, with the reasons.
    """
    batches = [numbers[start : start + _AT_ONCE] for start in range(0, len(numbers), _AT_ONCE)]
    many = len(numbers) > _FEW and cores() > 1
    workers = Workers(_Decoder(paths, form), min(_MOST_PROCESSES, cores()) if many else 0)
    try:
        with _bar(len(numbers)) as bar:
            for batch, answer in zip(batches, workers.map(batches), strict=True):
                unreadable |= answer.unreadable
                for message in answer.warnings:
                    warnings.warn(message, stacklevel=5)
                bar.update(len(batch))
                yield answer.pixels
    finally:
        workers.close()


@dataclass(frozen=True, eq=False)
class _Answer:
    pixels: UInt8[ndarray, "k c h w"]
    unreadable: Mapping[int, str]
    warnings: Sequence[str]


class _Decoder:
    def __init__(self, paths: Sequence[Path], form: Form) -> None:
        self._paths, self._form = paths, form

    def __call__(self, numbers: Sequence[int]) -> _Answer:
        pixels = np.empty((len(numbers), *self._form.shape), np.uint8)
        unreadable: dict[int, str] = {}
        place = 0
        with warnings.catch_warnings(record=True) as told:  # another process's warnings would reach nobody
            warnings.simplefilter("always")
            for number in numbers:
                try:
                    pixels[place] = _pixels(self._paths[number], self._form)
                except UnreadableImageError as error:
                    unreadable[number] = error.reason
                except FileNotFoundError:
                    unreadable[number] = GONE
                else:
                    place += 1
        return _Answer(pixels[:place], unreadable, [str(warning.message) for warning in told])


def _pixels(path: Path, form: Form) -> UInt8[ndarray, "c h w"]:
    return read_pixels(path, form.shape, bit_depth=form.bit_depth, fit=form.fit)


@contextlib.contextmanager
def _bar(total: int) -> Generator[Any, None, None]:
    """Show a progress bar on standard error while many files are decoded, where that is a terminal."""
    from tqdm import tqdm

    with tqdm(
        total=total, desc="decoding images", unit=" images", leave=False, disable=None if total > _FEW else True
    ) as bar:
        yield bar
