"""TIFFs that Pillow does not read: floats, several pages, many channels, planes, OME. They are read with tifffile."""

import contextlib
import functools
import logging
from collections.abc import Generator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

from sepgconv._messages import require
from sepgconv._numbers import plural
from sepgconv.data.bit_depth import too_bright
from sepgconv.data.image_size import bring_to_size
from sepgconv.data.memory import check_fits_memory
from sepgconv.data.reading import Pages, Reading
from sepgconv.data.regular_file import reason, why_unreadable
from sepgconv.data.unreadable import UnreadableImageError

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF
_WHITE_IS_0, _BLACK_IS_0, _RGB, _YCBCR, _JPEG = 0, 1, 2, 6, 7  # photometric interpretations, and a compression
_ALPHA = (1, 2)  # extra samples
_ORIENTATION = 274  # tag; values 5 to 8 rotate the image by 90 degrees
_LUMA = (0.299, 0.587, 0.114)  # grey of RGB (ITU-R BT.601), as Pillow weighs them

Values = Shaped[ndarray, "_ _ _"]  # (channels, height, width)


def is_tiff(path: Path) -> bool:
    """Return whether a file begins as TIFFs do; False for what cannot be read."""
    if why_unreadable(path) is not None:
        return False
    try:
        with path.open("rb") as file:
            return file.read(4) in _MAGIC
    except OSError:
        return False


def count_images(path: Path) -> int:
    """Return how many images a file holds, where pages of TIFFs are images; 1 for other files.

    Raises:
        UnreadableImageError: it is a TIFF that cannot be read.
        ImportError: tifffile is not installed.
    """
    return sum(stack.images("images", path) for stack in _stacks(path)) if is_tiff(path) else 1


@dataclass(frozen=True)
class _Stack:
    """A series of pages of one size and type.

    Attributes:
        index: which series of the file.
        axes: a letter for each axis, as tifffile gives them: Y, X, S samples of a pixel, C channels, or others.
        shape: of the axes.
        dtype: of the values.
        white_is_0: whether the smallest value is white.
        alpha: whether the last sample of a pixel is transparency.
        orientation: the TIFF tag.
    """

    index: int
    axes: str
    shape: tuple[int, ...]
    dtype: "np.dtype[Any]"
    white_is_0: bool
    alpha: bool
    orientation: int

    @property
    def unsaid(self) -> list[int]:
        """Axes of which the file does not say what they are."""
        return [axis for axis, letter in enumerate(self.axes) if letter not in "YXSC" and self.shape[axis] > 1]

    def image_axes(self, pages: Pages | None, path: Path) -> list[int]:
        """Return the axes along which images follow each other.

        Raises:
            UnreadableImageError: there are pages, and neither the file nor the user says what they are.
        """
        if pages is None and self.unsaid:
            number = prod(self.shape[axis] for axis in self.unsaid)
            raise UnreadableImageError(
                path,
                f"it has {number} pages; say what they are, pages='channels' or pages='images' (--pages), or save each "
                "as a file of its own",
            )
        if pages != "images":
            return []
        return self.unsaid or [axis for axis, letter in enumerate(self.axes) if letter == "C"]

    def images(self, pages: Pages | None, path: Path) -> int:
        """Return how many images there are."""
        return prod(self.shape[axis] for axis in self.image_axes(pages, path))

    def image_shape(self, pages: Pages | None, path: Path) -> tuple[int, int, int]:
        """Return (channels, height, width) of each image, as shown."""
        height, width = self.shape[self.axes.index("Y")], self.shape[self.axes.index("X")]
        channels = prod(self.shape) // (height * width * self.images(pages, path)) - self.alpha
        return (channels, width, height) if self.orientation >= 5 else (channels, height, width)


class Tiff:
    """One image of a TIFF.

    Args:
        path: the file.
        reading: how it is read.
        page: which of its images, counted from 0. None: it must have a single one.
        refused: why Pillow did not read it; this is raised if tifffile does not, either.

    Raises:
        UnreadableImageError: it cannot be read, or not without guessing.
        ImportError: tifffile is not installed.
    """

    def __init__(
        self, path: Path, reading: Reading, page: int | None = None, refused: UnreadableImageError | None = None
    ) -> None:
        self._path, self._reading = path, reading
        try:
            stacks = _stacks(path)
        except UnreadableImageError as error:
            raise refused or error from None
        if len(stacks) > 1 and reading.pages != "images":
            raise UnreadableImageError(
                path,
                f"it has {plural(len(stacks), 'image')} of different sizes or kinds; read them as images of their own "
                "(pages='images', --pages images)",
            )
        counts = [stack.images(reading.pages, path) for stack in stacks]
        if page is None and sum(counts) > 1:
            raise UnreadableImageError(path, f"it holds {sum(counts)} images; say which one (page=0 is the first)")
        position = page or 0
        if position >= sum(counts):
            raise UnreadableImageError(path, f"it has {plural(sum(counts), 'image')}, and no image {position + 1}")
        while position >= counts[0]:
            position -= counts.pop(0)
            stacks = stacks[1:]
        self._stack, self._position = stacks[0], position
        self.shape = self._stack.image_shape(reading.pages, path)
        _check_size(self.shape, path, refused)

    @property
    def deep(self) -> bool:
        """Whether its values need more than 8 bits."""
        return self._stack.dtype.itemsize > 1

    def maximum(self) -> int | None:
        """Return its largest value where that has 16 bits, by which a data set finds its bit depth."""
        values = self._words() if self.deep else None
        return None if values is None else int(values.max())

    def pixels(self, image_shape: tuple[int, int, int]) -> Values:
        """Return it as (channels, height, width): uint8 if it has 8 bits a value, else float32 in [0, 1].

        Raises:
            UnreadableImageError: it has other channels, or values without a known range.
        """
        from PIL import Image

        channels, height, width = image_shape
        values = _with_channels(self._scaled(), channels, self._path)
        fit = self._reading.fit
        brought = [np.asarray(bring_to_size(Image.fromarray(channel), width, height, fit=fit)) for channel in values]
        return np.stack(brought)

    def _scaled(self) -> Values:
        values, path = self.values(), self._path
        if values.dtype == np.uint8:
            return values
        if (words := self._words()) is not None:
            maximum, bits = int(words.max()), self._reading.bit_depth or 16
            if maximum >= 2**bits:
                raise UnreadableImageError(path, too_bright(maximum, bits))
            return words.astype(np.float32) / (2**bits - 1)
        numbers: Float[ndarray, "_ _ _"] = values.astype(np.float64)
        if not np.isfinite(numbers).all():
            raise UnreadableImageError(path, f"{int((~np.isfinite(numbers)).sum())} of its values are not finite")
        if self._reading.value_range is not None:
            low, high = self._reading.value_range
            return np.clip((numbers - low) / (high - low), 0, 1).astype(np.float32)
        if values.dtype.kind != "f" or numbers.min() < 0 or numbers.max() > 1:
            raise UnreadableImageError(
                path,
                f"it holds {values.dtype} values from {numbers.min():g} to {numbers.max():g}; say which become 0 and 1 "
                "(value_range=(low, high), --value-range LOW,HIGH), or save it with 8 or 16 bits",
            )
        return numbers.astype(np.float32)

    def _words(self) -> Values | None:
        """Return its values if they have 16 bits: whole numbers from 0 to 65535, unless a range is given for others."""
        values = self.values()
        if values.dtype == np.uint16:
            return values
        if values.dtype.kind == "f" or self._reading.value_range is not None:
            return None
        return values.astype(np.uint16) if values.min() >= 0 and values.max() <= 0xFFFF else None

    def values(self) -> Values:
        """Return its values as they are stored, (channels, height, width), the right way up.

        Raises:
            UnreadableImageError: they cannot be read.
        """
        stack = self._stack
        status = self._path.stat()
        array = _array(self._path, stack.index, status.st_mtime_ns, status.st_size)
        along = stack.image_axes(self._reading.pages, self._path)
        space = [stack.axes.index("Y"), stack.axes.index("X")]
        channels = [axis for axis in range(array.ndim) if axis not in (*along, *space)]
        ordered = array.transpose(*along, *channels, *space)
        height, width = ordered.shape[-2:]
        values = ordered.reshape(stack.images(self._reading.pages, self._path), -1, height, width)[self._position]
        if stack.alpha:
            values = values[:-1]
        if values.dtype == np.bool_:
            values = values.astype(np.uint8) * 255
        if stack.white_is_0:
            values = np.iinfo(values.dtype).max - values
        return np.ascontiguousarray(_upright(values, stack.orientation))


def _with_channels(values: Values, channels: int, path: Path) -> Values:
    found = len(values)
    if found == channels:
        return values
    if (found, channels) == (1, 3):
        return np.repeat(values, 3, axis=0)
    if (found, channels) == (3, 1):
        grey = np.tensordot(np.array(_LUMA), values, axes=1)[None]
        return np.rint(grey).astype(np.uint8) if values.dtype == np.uint8 else grey.astype(np.float32)
    raise UnreadableImageError(path, f"it has {plural(found, 'channel')}, and {channels} are wanted")


def _upright(values: Values, orientation: int) -> Values:
    """Return what the tag says is shown: 2 to 4 mirror or rotate by 180 degrees, 5 to 8 swap height and width."""
    if orientation >= 5:
        values = values.transpose(0, 2, 1)
    if orientation in (3, 4, 7, 8):
        values = values[:, ::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, :, ::-1]
    return values


def _check_size(shape: tuple[int, int, int], path: Path, refused: UnreadableImageError | None) -> None:
    from PIL import Image

    pixels = shape[1] * shape[2]
    if Image.MAX_IMAGE_PIXELS is not None and pixels > 2 * Image.MAX_IMAGE_PIXELS:
        raise refused or UnreadableImageError(
            path,
            f"it has {pixels / 1e6:.0f} million pixels; at most {2 * Image.MAX_IMAGE_PIXELS / 1e6:.0f} million are "
            "read at once, make it smaller",
        )


def _stacks(path: Path) -> list[_Stack]:
    with _opened(path) as file:
        return [_stack(path, index, series) for index, series in enumerate(file.series)]


def _stack(path: Path, index: int, series: Any) -> _Stack:
    page, axes = series.keyframe, str(series.axes)
    photometric = int(page.photometric)
    if not {"Y", "X"} <= set(axes) or len(set(axes)) != len(axes):
        raise UnreadableImageError(path, f"its axes are {axes}, of which height and width cannot be told")
    readable = photometric in (_WHITE_IS_0, _BLACK_IS_0, _RGB) or (
        photometric == _YCBCR and int(page.compression) == _JPEG
    )
    if not readable or np.dtype(series.dtype).kind not in "buif":
        kind = getattr(page.photometric, "name", photometric)
        raise UnreadableImageError(path, f"its values are {kind} of {series.dtype}; save it as grey or RGB")
    tag = page.tags.get(_ORIENTATION)
    return _Stack(
        index,
        axes,
        tuple(int(length) for length in series.shape),
        np.dtype(series.dtype),
        photometric == _WHITE_IS_0 and np.dtype(series.dtype).kind == "u",
        "S" in axes and any(int(sample) in _ALPHA for sample in page.extrasamples),
        1 if tag is None else int(tag.value),
    )


@functools.lru_cache(maxsize=1)  # pages of a file are read one after the other
def _array(path: Path, series: int, changed: int, size: int) -> Shaped[ndarray, "..."]:
    with _opened(path) as file:
        found = file.series[series]
        needed = prod(found.shape) * np.dtype(found.dtype).itemsize
        try:
            check_fits_memory(needed, "its values", "make it smaller")
        except ValueError as error:
            raise UnreadableImageError(path, str(error)) from None
        array: Shaped[ndarray, ...] = np.asarray(found.asarray())
        array.flags.writeable = False
        return array


@contextlib.contextmanager
def _opened(path: Path) -> Generator[Any, None, None]:
    """Open a TIFF with tifffile; every error inside becomes one that names the file."""
    tifffile: Any = require("tifffile", extra="train", purpose="reading TIFFs of floats, pages or many channels")
    logger = logging.getLogger("tifffile")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)  # it logs what it finds odd; what matters is raised
    try:
        # OME-TIFFs may name other files, which are not looked into.
        with tifffile.TiffFile(path, _multifile=False) as file:
            yield file
    except UnreadableImageError:
        raise
    except MemoryError as error:
        raise UnreadableImageError(path, "it does not fit into memory") from error
    except OSError as error:
        raise UnreadableImageError(path, reason(error)) from error
    except Exception as error:  # a decoder can fail on a broken file with nearly any exception
        said = str(error) or type(error).__name__
        if "imagecodecs" in said:
            said = f"{said}; install it with: pip install imagecodecs"
        raise UnreadableImageError(path, f"damaged, or of a kind that is not read ({said})") from error
    finally:
        logger.setLevel(level)
