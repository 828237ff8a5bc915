"""Data sets in one `.npz` file: plain arrays under the names that people give them, or packed JPEG images."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import interpolate

from sepgconv.data.array_file import Header, read_arrays, read_headers, require_keys
from sepgconv.data.array_labels import RawLabels, class_indices, raw_labels, read_class_names
from sepgconv.data.bit_depth import bit_depth_of, too_bright
from sepgconv.data.labelled import Labelled, LabelledParts
from sepgconv.data.memory import check_fits_memory
from sepgconv.data.packed_jpeg import PACKED_KEYS, unpack_jpegs
from sepgconv.data.part_names import PARTS, PartOrAll, part_of

_IMAGES = ("x", "images", "image", "data", "imgs", "img", "pictures", "pixels", "features", "inputs")
_LABELS = ("y", "labels", "label", "targets", "target")
_CLASS_NAMES = ("classes", "class_names", "classnames", "label_names", "names", "target_names")
_LAYOUTS = (
    "x_train y_train x_test y_test (and x_valid y_valid), train_images train_labels test_images test_labels (and "
    "val_images val_labels), or images labels to have them split"
)

Arrays = Mapping[str, Shaped[ndarray, "..."]]
Images = Float[Tensor, "_ _ _ _"]


@dataclass(frozen=True)
class _Keys:
    images: str
    labels: str


def load_npz(path: Path, *, image_size: int | None = None, bit_depth: int | None = None) -> LabelledParts:
    """Read an `.npz` file; the name of the result is `npz:<stem>`, pixels are in [0, 1].

    Keys name a part and what it holds, in either order and any case: `x_train`, `y_train`, `x_test`, `y_test`,
    `x_valid` and so on; or `train_images`, `train_labels`, ... as in MedMNIST; parts and kinds may have other usual
    names (`sepgconv.data.part_names`). `images` and `labels` alone (or `x` and `y`) are not divided. Images are
    (n, h, w), (n, h, w, c) or (n, c, h, w), uint8, floats in [0, 1], or uint16, scaled by the smallest of 8, 10, 12, 14
    and 16 bits that holds them all. Labels are whole numbers, names, or one-hot rows; `classes` names them, from 0.
    Without `classes` each label that occurs is a class, called by its number. The packed JPEG layout of
    `sepgconv.data.packed_jpeg` is read too.

    Args:
        path: the file.
        image_size: scale images to this height and width (bilinear, with antialiasing). Default: as they are.
        bit_depth: bits that uint16 images use. Default: see above.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no such file format, a damaged file, missing keys, other shapes, dtypes or values; the message names
            file and key.

    Warns:
        UserWarning: labels that do not count from 0, arrays of images that are not used, a bit depth that was found.
    """
    headers = read_headers(path)
    if "train_jpeg" in headers:
        return _packed(path, headers, image_size)
    names = _CLASS_NAMES[:1] if "classes" in headers else [key for key in _CLASS_NAMES if key in headers][:1]
    keys = _parts(headers, path, set(names))
    for found in keys.values():
        if 0 in (shape := headers[found.images].shape):
            raise ValueError(f"{path}: {found.images}: no images, or images without pixels: shape {shape}")
    pixels = sum(prod(headers[found.images].shape) for found in keys.values())
    check_fits_memory(4 * pixels, f"{path}: the images as float32", "give a smaller file")
    wanted = [key for found in keys.values() for key in (found.images, found.labels)]
    arrays = read_arrays(path, keys=list(dict.fromkeys([*wanted, *names])))
    raw: dict[PartOrAll, RawLabels] = {
        part: raw_labels(arrays[found.labels], f"{path}: {found.labels}") for part, found in keys.items()
    }
    given = read_class_names(arrays[names[0]], f"{path}: {names[0]}") if names else None
    bits = _bit_depth([arrays[found.images] for found in keys.values()], path, bit_depth)
    images: dict[PartOrAll, Images] = {
        part: _images(arrays[found.images], f"{path}: {found.images}", bits) for part, found in keys.items()
    }
    for part, found in keys.items():
        if len(images[part]) != len(raw[part]):
            raise ValueError(
                f"{path}: {found.images} holds {len(images[part])} images, but {found.labels} {len(raw[part])} labels"
            )
    return _labelled(path, images, raw, given, {part: found.labels for part, found in keys.items()}, image_size, bits)


def _labelled(
    path: Path,
    images: Mapping[PartOrAll, Images],
    raw: Mapping[PartOrAll, RawLabels],
    given: tuple[str, ...] | None,
    keys: Mapping[PartOrAll, str],
    image_size: int | None,
    bits: int | None,
) -> LabelledParts:
    classes, labels = class_indices(raw, given, {part: f"{path}: {key}" for part, key in keys.items()}, str(path))
    shapes = {part: tuple(found.shape[1:]) for part, found in images.items()}
    if len(set(shapes.values())) > 1:
        said = ", ".join(f"{part} images have shape {shape}" for part, shape in shapes.items())
        raise ValueError(f"{path}: {said}; expected one shape (channels, height, width)")
    parts: dict[PartOrAll, Labelled] = {
        part: Labelled(_resize(images[part], image_size), labels[part]) for part in images
    }
    return LabelledParts(f"npz:{path.stem}", str(path), classes, parts, bit_depth=bits, fixed=given is not None)


def _packed(path: Path, headers: Mapping[str, Header], image_size: int | None) -> LabelledParts:
    require_keys(headers, PACKED_KEYS, path)
    names = [key for key in ("classes",) if key in headers]
    arrays = read_arrays(path, keys=[*PACKED_KEYS, *names])
    images: dict[PartOrAll, Images] = {}
    raw: dict[PartOrAll, RawLabels] = {}
    for part in ("train", "test"):
        pixels, _ = unpack_jpegs(arrays, part, str(path))
        images[part] = pixels.float() / 255
        raw[part] = raw_labels(arrays[f"{part}_labels"], f"{path}: {part}_labels")
    given = read_class_names(arrays["classes"], f"{path}: classes") if names else None
    keys: dict[PartOrAll, str] = {"train": "train_labels", "test": "test_labels"}
    return _labelled(path, images, raw, given, keys, image_size, None)


def _parts(headers: Mapping[str, Header], path: Path, names: set[str]) -> dict[PartOrAll, _Keys]:
    """Find the images and labels of every part by the words of the keys."""
    found: dict[tuple[PartOrAll, str], list[str]] = {}
    unused: list[str] = []
    for key in headers:
        if key in names:
            continue
        place = _place(key)
        if place is not None:
            found.setdefault(place, []).append(key)
        elif len(headers[key].shape) >= 3:
            unused.append(key)
    for (part, kind), keys in found.items():
        if len(keys) > 1:
            raise ValueError(f"{path}: {' and '.join(keys)} both hold the {kind} of {part}; keep one")
    parts: dict[PartOrAll, _Keys] = {}
    everything: tuple[PartOrAll, ...] = (*PARTS, "all")
    for part in everything:
        images, labels = (found.get((part, kind), [None])[0] for kind in ("images", "labels"))
        if images and labels:
            parts[part] = _Keys(images, labels)
        elif images or labels:
            lacks = "labels" if images else "images"
            raise ValueError(
                f"{path}: missing the {lacks} that belong to {images or labels} (expected {_LAYOUTS}; found "
                f"{', '.join(sorted(headers))})"
            )
    if not parts:
        raise ValueError(
            f"{path}: no images with labels (expected {_LAYOUTS}; found {', '.join(sorted(headers)) or 'nothing'})"
        )
    if "all" in parts and len(parts) > 1:
        others = ", ".join(found.images for part, found in parts.items() if part != "all")
        raise ValueError(f"{path}: {parts['all'].images} belongs to no part, {others} does; keep one kind")
    if unused:
        warnings.warn(f"{path}: {', '.join(unused)} are not used; known names are {_LAYOUTS}", stacklevel=4)
    return parts


def _place(key: str) -> tuple[PartOrAll, str] | None:
    """Return part and kind ("images" or "labels") that a key stands for: x_train, train_set_x, TrainLabels, valY."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", key)]
    for kind, names in (("images", _IMAGES), ("labels", _LABELS)):
        others = [word for word in words if word not in names]
        if len(others) == len(words) - 1:
            part = part_of("".join(others)) if others else "all"
            return (part, kind) if part else None
    return None


def _bit_depth(images: Sequence[Shaped[ndarray, "..."]], path: Path, wanted: int | None) -> int | None:
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


def _images(array: Shaped[ndarray, "..."], title: str, bits: int | None) -> Images:
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim != 4:
        raise ValueError(f"{title}: expected (n, h, w), (n, h, w, c) or (n, c, h, w), got shape {array.shape}")
    elif _channels_last(array.shape, title):
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


def _channels_last(shape: tuple[int, ...], title: str) -> bool:
    """Return whether channels come last: the axis of length 1 or 3, else the one that differs from two equal ones."""
    _, first, middle, last = shape
    if (first in (1, 3)) != (last in (1, 3)):
        return last in (1, 3)
    if (first == middle) != (middle == last):
        return first == middle
    raise ValueError(
        f"{title}: cannot find the channels in shape {shape}; save it as (n, c, h, w) with 1 or 3 channels"
    )


def _resize(images: Images, size: int | None) -> Images:
    if size is None or tuple(images.shape[-2:]) == (size, size):
        return images
    return interpolate(images, size=(size, size), mode="bilinear", antialias=True).clamp(0, 1)
