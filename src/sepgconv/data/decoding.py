"""Images of files as a data set wants them: in one form, in memory, in the cache or in their files."""

import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch

from sepgconv._numbers import count
from sepgconv.data.bit_depth import bit_depth_of
from sepgconv.data.cache import find_cached, write_cached
from sepgconv.data.image_file import ImageHeader, UnreadableImageError, read_header
from sepgconv.data.image_files import GONE, Decoded, Form, ImageFiles, Wanted, decoded_batches
from sepgconv.data.memory import check_fits_memory, physical_memory

_MOST_IN_MEMORY = 2**30  # bytes of float32, unless the caller says otherwise


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


def decode_files(paths: Sequence[Path], wanted: Wanted, root: Path, storage: Storage) -> Decoded:
    """Return images of files, all in memory or on the disk; files that cannot be read are left out.

    Args:
        paths: the files, of one data set.
        wanted: their form.
        root: the data set's folder, by which errors and the cache know it.
        storage: where the images are kept.

    Raises:
        ValueError: they shall be in memory, and take more than there is.

    Warns:
        UserWarning: what `Storage.in_memory` decided where the images stay on the disk; a file that is read otherwise
            than it might be meant.
    """
    if storage.in_memory is not True and storage.cache is not None:
        cached = find_cached(storage.cache, root, paths, wanted)
        if cached is not None:
            return _in_memory(cached) if _decided(storage, len(cached.images), cached.form, root) else cached
    form, unreadable, notes = _common_form(paths, wanted)
    readable = [number for number in range(len(paths)) if number not in unreadable]
    if _decided(storage, len(readable), form, root):
        pixels = np.empty((len(readable), *form.shape), np.uint8)
        place = 0
        for batch in decoded_batches(paths, readable, form, unreadable):
            pixels[place : place + len(batch)] = batch
            place += len(batch)
        return Decoded(torch.from_numpy(pixels[:place]), form, unreadable, notes)
    if storage.cache is not None:
        cached = write_cached(
            storage.cache, root, paths, wanted, Decoded(ImageFiles((), form), form, unreadable, notes)
        )
        if cached is not None:
            return cached
    for _ in decoded_batches(paths, readable, form, unreadable):
        pass  # only to know which of them can be read
    kept = [paths[number] for number in readable if number not in unreadable]
    return Decoded(ImageFiles(kept, form), form, unreadable, notes)


def _in_memory(cached: Decoded) -> Decoded:
    return Decoded(cached.images[:], cached.form, cached.unreadable, cached.notes)


def _decided(storage: Storage, images: int, form: Form, root: Path) -> bool:
    """Return whether the images are to be in memory; say so where they are not and nobody asked for it."""
    needed = images * prod(form.shape) * 4  # float32
    what = f"{count(images)} images of shape {form.shape}"
    if storage.in_memory is False:
        return False
    if storage.in_memory is None:
        most = min(_MOST_IN_MEMORY, (physical_memory() or 4 * _MOST_IN_MEMORY) // 4)
        if needed > most:
            where = "in a cache of decoded images" if storage.cache is not None else "in their files"
            warnings.warn(
                f"{root}: {what} would take {needed / 2**30:,.1f} GiB of memory, more than {most / 2**30:.1f}; so they "
                f"stay on the disk, {where}, and are read when they are needed (in_memory=True, --in-memory, reads "
                "them all at once; the results are the same)",
                stacklevel=5,
            )
            return False
    check_fits_memory(needed, what, "give a smaller image_size, or leave them on the disk (in_memory=False, --on-disk)")
    return True


def _common_form(paths: Sequence[Path], wanted: Wanted) -> tuple[Form, dict[int, str], list[str]]:
    """Decide shape and bit depth of all images from their headers."""
    headers: list[ImageHeader] = []
    unreadable: dict[int, str] = {}
    for number, path in enumerate(paths):
        try:
            headers.append(read_header(path))
        except UnreadableImageError as error:
            unreadable[number] = error.reason
        except FileNotFoundError:
            unreadable[number] = GONE
    channels = wanted.channels or (1 if all(header.grey for header in headers) else 3)
    sizes = {(header.height, header.width) for header in headers}
    if wanted.size is not None:
        height, width = wanted.size
    elif len(sizes) == 1:
        height, width = sizes.pop()
    else:
        height = width = round(statistics.median(min(h.height, h.width) for h in headers)) if headers else 1
    bits, notes = _bit_depth(headers)
    return Form((channels, height, width), wanted.bit_depth or bits, wanted.fit), unreadable, notes


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
