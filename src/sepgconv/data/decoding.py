"""Listed images as a data set wants them: in one form, in memory, in the cache or in their files."""

import statistics
import warnings
from collections import Counter
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Shaped
from numpy import ndarray

from sepgconv._numbers import count
from sepgconv.data.bit_depth import bit_depth_of
from sepgconv.data.cache import find_cached, write_cached
from sepgconv.data.image_file import ImageHeader, read_header
from sepgconv.data.image_files import (
    GONE,
    Decoded,
    Form,
    ImageFiles,
    Storage,
    Wanted,
    decoded_batches,
    has_mask,
    targets_of,
)
from sepgconv.data.listing import ListedImage
from sepgconv.data.memory import check_fits_memory, physical_memory
from sepgconv.data.unreadable import UnreadableImageError

_MOST_IN_MEMORY = 2**30  # bytes of float32, unless the caller says otherwise
_GREY, _COLOUR = 1, 3


def decode(images: Sequence[ListedImage], wanted: Wanted, title: str) -> Decoded:
    """Return images and their targets, all in memory or on the disk; what cannot be read is left out.

    Images become grey if all are grey, else RGB; of TIFFs with another number of channels all must have as many. The
    size is the wanted one; theirs if all agree; else the side of the square is the median over all images of the
    shorter side.

    Args:
        images: of one data set.
        wanted: their form, and where they are kept.
        title: the path of the data set, by which messages and the cache know it.

    Raises:
        ValueError: they shall be in memory, and take more than there is.

    Warns:
        UserWarning: what `Storage.in_memory` decided where the images stay on the disk; a file that is read otherwise
            than it might be meant.
    """
    storage, masks = wanted.storage, bool(images) and has_mask(images[0])
    if storage.in_memory is not True and storage.cache is not None:
        cached = find_cached(storage.cache, Path(title), images, wanted)
        if cached is not None:
            inside = fits_in_memory(storage, len(cached.images), cached.form.shape, title, masks=masks)
            return _in_memory(cached) if inside else cached
    form, unreadable, notes = _common_form(images, wanted)
    readable = [number for number in range(len(images)) if number not in unreadable]
    if fits_in_memory(storage, len(readable), form.shape, title, masks=masks):
        pixels = np.empty((len(readable), *form.shape), form.dtype)
        targets: list[Shaped[ndarray, ...]] = []
        for batch in decoded_batches(images, readable, form, unreadable):
            pixels[len(targets) : len(targets) + len(batch.pixels)] = batch.pixels
            targets += batch.targets
        stacked = torch.from_numpy(np.stack(targets)) if targets else torch.zeros(0, dtype=torch.int64)
        return Decoded(torch.from_numpy(pixels[: len(targets)]), stacked, form, unreadable, notes)
    if storage.cache is not None:
        begun = Decoded(ImageFiles((), form), targets_of((), form), form, unreadable, notes)
        cached = write_cached(storage.cache, Path(title), images, wanted, begun)
        if cached is not None:
            return cached
    for _ in decoded_batches(images, readable, form, unreadable):
        pass  # only to know which of them can be read
    kept = [images[number] for number in readable if number not in unreadable]
    return Decoded(ImageFiles(kept, form), targets_of(kept, form), form, unreadable, notes)


def _in_memory(cached: Decoded) -> Decoded:
    return Decoded(cached.images[:], cached.targets[:], cached.form, cached.unreadable, cached.notes)


def fits_in_memory(
    storage: Storage, images: int, shape: tuple[int, int, int], title: str, *, masks: bool = False
) -> bool:
    """Return whether images are to be in memory; say so where they are not and nobody asked for it.

    Args:
        storage: what the caller wants.
        images: how many.
        shape: (channels, height, width) of each.
        title: the path of the data set, for messages.
        masks: whether each has a mask.

    Raises:
        ValueError: they shall be in memory, and take more than there is.

    Warns:
        UserWarning: they take much, and stay on the disk.
    """
    _, height, width = shape
    needed = images * (prod(shape) * 4 + (height * width * 8 if masks else 0))  # float32, and int64
    what = f"{count(images)} images of shape {shape}{' with masks' if masks else ''}"
    if storage.in_memory is False:
        return False
    if storage.in_memory is None:
        most = min(_MOST_IN_MEMORY, (physical_memory() or 4 * _MOST_IN_MEMORY) // 4)
        if needed > most:
            where = "in a cache of decoded images" if storage.cache is not None else "in their files"
            warnings.warn(
                f"{title}: {what} would take {needed / 2**30:,.1f} GiB of memory, more than {most / 2**30:.1f}; so "
                f"they stay on the disk, {where}, and are read when they are needed (in_memory=True, --in-memory, "
                "reads them all at once; the results are the same)",
                stacklevel=5,
            )
            return False
    remedy = "give a smaller image_size, or leave them on the disk (in_memory=False, --on-disk)"
    check_fits_memory(needed, what, remedy)
    return True


def _common_form(images: Sequence[ListedImage], wanted: Wanted) -> tuple[Form, dict[int, str], list[str]]:
    """Decide shape, bit depth and dtype of all images from their headers."""
    headers: dict[int, ImageHeader] = {}
    unreadable: dict[int, str] = {}
    for number, image in enumerate(images):
        try:
            headers[number] = read_header(image.path, wanted.reading, page=image.origin.page)
        except UnreadableImageError as error:
            unreadable[number] = error.reason
        except FileNotFoundError:
            unreadable[number] = GONE
    channels = wanted.channels or _channels(list(headers.values()))
    for number, header in list(headers.items()):
        if header.channels != channels and not {header.channels, channels} <= {_GREY, _COLOUR}:
            unreadable[number] = _other_channels(header.channels, channels)
            del headers[number]
    kept = list(headers.values())
    sizes = {(header.height, header.width) for header in kept}
    if wanted.size is not None:
        height, width = wanted.size
    elif len(sizes) == 1:
        height, width = sizes.pop()
    else:
        height = width = round(statistics.median(min(h.height, h.width) for h in kept)) if kept else 1
    bits, notes = _bit_depth(kept)
    reading = wanted.reading.with_bit_depth(wanted.reading.bit_depth or bits)
    return Form((channels, height, width), reading, deep=any(header.deep for header in kept)), unreadable, notes


def _channels(headers: Sequence[ImageHeader]) -> int:
    """Return the number of channels that all images get: that of the most, but colour if any image has colours."""
    counted = Counter(header.channels for header in headers)
    if set(counted) <= {_GREY, _COLOUR}:
        return _COLOUR if _COLOUR in counted else _GREY
    return counted.most_common(1)[0][0]


def _other_channels(found: int, wanted: int) -> str:
    return (
        f"it has {found} channel{'' if found == 1 else 's'}, and {wanted} are wanted, as most images here have; save "
        f"it with {wanted}, or keep it in another folder"
    )


def _bit_depth(headers: Sequence[ImageHeader]) -> tuple[int | None, list[str]]:
    maxima = [header.maximum for header in headers if header.maximum is not None]
    if not maxima:
        return None, []
    bits = bit_depth_of(max(maxima))
    if bits == 16:
        return bits, []
    note = (
        f"the values of {len(maxima)} images of 16 bits a pixel reach {max(maxima)} and are read as {bits} bits, 0 to "
        f"{2**bits - 1}"
    )
    return bits, [note]
