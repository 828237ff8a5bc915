"""Arrays of images and their labels, as files of arrays hold them, become labelled images."""

import functools
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import interpolate

from sepgconv.data.array_keys import Keys
from sepgconv.data.array_labels import RawLabels, class_indices, raw_labels
from sepgconv.data.bit_depth import bit_depth_of, too_bright
from sepgconv.data.column import Entries, convert
from sepgconv.data.labelled import Labelled, LabelledParts
from sepgconv.data.options import Targets
from sepgconv.data.origin import Origin
from sepgconv.data.part_names import PartOrAll

Images = Float[Tensor, "_ _ _ _"]


def labelled_arrays(
    name: str,
    path: Path,
    images: Mapping[PartOrAll, Entries],
    labels: Mapping[PartOrAll, Shaped[ndarray, "..."]],
    keys: Mapping[PartOrAll, Keys],
    *,
    classes: tuple[str, ...] | None,
    image_size: int | None,
    bits: int | None,
    targets: Targets | None = None,
) -> LabelledParts:
    """Return the images of a file of arrays with their labels.

    Args:
        name: of the data set.
        path: the file.
        images: of every part.
        labels: of every part, as they are in the file.
        keys: of every part.
        classes: their names, if the file has them.
        image_size: scale images to this height and width. None: as they are.
        bits: that uint16 images use; None: there are none.
        targets: what the labels are. None: classes, or labels where rows of 0 and 1 have not one 1 each.

    Raises:
        ValueError: labels that are none, more or fewer than images, or images of several shapes.
    """
    titles: dict[PartOrAll, str] = {part: f"{path}: {key.labels}" for part, key in keys.items()}
    if targets is None:
        targets = "labels" if _are_several(labels.values()) else "classes"
    if targets == "classes":
        raw: dict[PartOrAll, RawLabels] = {part: raw_labels(array, titles[part]) for part, array in labels.items()}
        names, found = class_indices(raw, classes, titles, str(path))
    else:
        found: dict[PartOrAll, Tensor] = {}
        for part, array in labels.items():
            found[part] = _numbers(array, titles[part], labels=targets == "labels")
        names = _label_names(found, classes, path) if targets == "labels" else ()
    for part, key in keys.items():
        if len(images[part]) != len(found[part]):
            raise ValueError(
                f"{path}: {key.images} holds {len(images[part])} images, but {key.labels} {len(found[part])} labels"
            )
    shapes = {part: tuple(array.shape[1:]) for part, array in images.items()}
    if len(set(shapes.values())) > 1:
        said = ", ".join(f"{part} images have shape {shape}" for part, shape in shapes.items())
        raise ValueError(f"{path}: {said}; expected one shape (channels, height, width)")
    parts: dict[PartOrAll, Labelled] = {}
    for part, array in images.items():
        origins = tuple(Origin(f"{path.name}/{keys[part].images}", page=index) for index in range(len(array)))
        parts[part] = Labelled(_resize(array, image_size), found[part], origins)
    return LabelledParts(name, str(path), names, parts, bit_depth=bits, fixed=classes is not None)


def _are_several(labels: Iterable[Shaped[ndarray, "..."]]) -> bool:
    """Return whether labels are rows of 0 and 1 in all parts, of which not each has a single 1."""
    arrays = list(labels)
    if not all(array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "iufb" for array in arrays):
        return False
    return all(np.isin(array, (0, 1)).all() for array in arrays) and any((array.sum(1) != 1).any() for array in arrays)


def _numbers(array: Shaped[ndarray, "..."], title: str, *, labels: bool) -> Float[Tensor, "..."]:
    if array.ndim not in (1, 2) or array.dtype.kind not in "iufb" or len(array) == 0:
        raise ValueError(f"{title}: expected numbers of shape (n,) or (n, k), got {array.dtype} {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{title}: {int((~np.isfinite(array)).sum())} values are not finite (NaN or infinite)")
    if labels and (array.ndim == 1 or not np.isin(array, (0, 1)).all()):
        raise ValueError(f"{title}: labels must be rows of 0 and 1, a column for each label, got shape {array.shape}")
    return torch.from_numpy(array.astype(np.float32))


def _label_names(
    found: Mapping[PartOrAll, Float[Tensor, "_ _"]], given: tuple[str, ...] | None, path: Path
) -> tuple[str, ...]:
    numbers = {array.shape[1] for array in found.values()} | ({len(given)} if given else set[int]())
    if len(numbers) > 1:
        raise ValueError(
            f"{path}: there are {' and '.join(map(str, sorted(numbers)))} labels; expected one number of them"
        )
    return given or tuple(map(str, range(numbers.pop())))


def common_bit_depth(images: Sequence[Shaped[ndarray, "..."]], path: Path, wanted: int | None) -> int | None:
    """Return how many bits uint16 images use; None where there are none.

    Args:
        images: the arrays of all parts.
        path: the file, for the warning.
        wanted: the number, if it is known.

    Warns:
        UserWarning: they use fewer than 16.
    """
    maxima = [int(array.max()) for array in images if array.dtype == np.uint16 and array.size]
    if not maxima or wanted is not None:
        return wanted if maxima else None
    bits = bit_depth_of(max(maxima))
    if bits < 16:
        warnings.warn(
            f"{path}: the values of its uint16 images reach {max(maxima)} and are read as {bits} bits, 0 to "
            f"{2**bits - 1}",
            stacklevel=4,
        )
    return bits


def as_images(array: Shaped[ndarray, "..."], title: str, bits: int | None) -> Images:
    """Return an array of images as float32 in [0, 1], (n, channels, height, width).

    Args:
        array: (n, h, w), (n, h, w, c) or (n, c, h, w); uint8, uint16, or floats in [0, 1].
        title: what errors call it.
        bits: of uint16. None: 16.

    Raises:
        ValueError: another shape, dtype or range.
    """
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim != 4:
        raise ValueError(f"{title}: expected (n, h, w), (n, h, w, c) or (n, c, h, w), got shape {array.shape}")
    elif channels_last(array.shape, title):
        array = np.moveaxis(array, -1, 1)
    if array.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(array)).float() / 255
    if array.dtype == np.uint16:
        maximum, bits = int(array.max()), bits or 16
        if maximum >= 2**bits:
            raise ValueError(f"{title} {too_bright(maximum, bits)}")
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)) / (2**bits - 1)
    if array.dtype.kind != "f":
        raise ValueError(f"{title}: expected uint8 0..255, uint16, or floats in [0, 1], got {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError(f"{title}: {int((~np.isfinite(array)).sum())} values are not finite (NaN or infinite)")
    if not ((array >= 0) & (array <= 1)).all():
        raise ValueError(
            f"{title}: floats must be in [0, 1], got {array.min()} to {array.max()}; divide them by their range, or "
            "save bytes as uint8"
        )
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def channels_last(shape: tuple[int, ...], title: str) -> bool:
    """Return whether channels come last: the axis of length 1 or 3, else the one that differs from two equal ones.

    Raises:
        ValueError: neither says it.
    """
    _, first, middle, last = shape
    if (first in (1, 3)) != (last in (1, 3)):
        return last in (1, 3)
    if (first == middle) != (middle == last):
        return first == middle
    raise ValueError(
        f"{title}: cannot find the channels in shape {shape}; save it as (n, c, h, w) with 1 or 3 channels; volumes "
        "are not read"
    )


def _resize(images: Entries, size: int | None) -> Entries:
    if size is None or tuple(images.shape[-2:]) == (size, size):
        return images
    shape = (images.shape[1], size, size)
    return convert(images, functools.partial(_resized, size=size), dtype=torch.float32, shape=shape)


def _resized(images: Images, *, size: int) -> Images:
    return interpolate(images, size=(size, size), mode="bilinear", antialias=True).clamp(0, 1)
