"""Data sets in one `.npz` file: plain arrays, or packed JPEG pictures."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import interpolate

from sepgconv.data.dataset import Dataset, Split
from sepgconv.data.packed_jpeg import PACKED_KEYS, unpack_jpegs
from sepgconv.data.preprocessing import Identity
from sepgconv.data.splitting import stratified_cut

_SEED = 20210919
_VALIDATION_FRACTION = 0.15
_PLAIN_KEYS = ("x_train", "y_train", "x_test", "y_test")

Arrays = Mapping[str, Shaped[ndarray, "..."]]
Images = Float[Tensor, "_ _ _ _"]
Labels = Int[Tensor, "_"]


def load_npz(path: Path, *, image_size: int | None = None) -> Dataset:
    """Load an `.npz` file; the name of the result is `npz:<stem>`, pixels are in [0, 1].

    Keys: `x_train`, `y_train`, `x_test`, `y_test`, optionally `x_valid`, `y_valid` and `classes`. Images are (n, h, w),
    (n, h, w, c) or (n, c, h, w), uint8 or floats in [0, 1]; labels are integers from 0. Without a validation part, 15 %
    of every class of the training part becomes one, chosen with a fixed seed. The packed JPEG layout of
    `sepgconv.data.packed_jpeg` is read too.

    Args:
        path: the file.
        image_size: scale images to this height and width (bilinear, with antialiasing). Default: as they are.

    Raises:
        ValueError: no such file format, missing keys, other shapes, dtypes or values.
    """
    arrays = read_arrays(path)
    parts = _packed_parts(arrays, path) if "train_jpeg" in arrays else _plain_parts(arrays, path)
    if "valid" not in parts:
        images, labels = parts["train"]
        rest, validation = stratified_cut(labels.numpy(), [_VALIDATION_FRACTION], _SEED)
        if not len(validation):
            raise ValueError(
                f"{path}: no class has the two training images that a validation part takes; add x_valid, y_valid"
            )
        parts["train"] = images[rest], labels[rest]
        parts["valid"] = images[validation], labels[validation]
    splits = {name: Split(_resize(images, image_size), labels) for name, (images, labels) in parts.items()}
    classes = _class_names(arrays, splits, path)
    return Dataset(f"npz:{path.stem}", classes, splits["train"], splits["valid"], splits["test"], Identity())


def read_arrays(path: Path, required: Sequence[str] = ()) -> dict[str, Shaped[ndarray, "..."]]:
    """Read all arrays of an `.npz` file, executing nothing from it.

    Raises:
        ValueError: it is no `.npz` file, holds Python objects, or lacks a required key.
    """
    try:
        with path.open("rb") as stream:  # np.load leaves the file open when it fails
            content = np.load(stream, allow_pickle=False)
            if not isinstance(content, np.lib.npyio.NpzFile):
                raise ValueError("a single array, not an archive of named arrays")
            arrays = {key: content[key] for key in content.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        # NumPy's own words recommend to load the file unsafely, which is not on offer here.
        raise ValueError(f"{path}: not an .npz file of plain arrays; write it with numpy.savez") from error
    _require_keys(arrays, required, path)
    return arrays


def _require_keys(arrays: Arrays, keys: Sequence[str], path: Path) -> None:
    if missing := [key for key in keys if key not in arrays]:
        raise ValueError(
            f"{path}: missing {', '.join(missing)} (expected {', '.join(keys)}; "
            f"found {', '.join(sorted(arrays)) or 'nothing'})"
        )


def _plain_parts(arrays: Arrays, path: Path) -> dict[str, tuple[Images, Labels]]:
    optional = ("x_valid", "y_valid") if "x_valid" in arrays or "y_valid" in arrays else ()
    _require_keys(arrays, (*_PLAIN_KEYS, *optional), path)
    names = ("train", "valid", "test") if optional else ("train", "test")
    parts: dict[str, tuple[Images, Labels]] = {}
    for name in names:
        images = _images(arrays[f"x_{name}"], f"{path}: x_{name}")
        labels = _labels(arrays[f"y_{name}"], f"{path}: y_{name}")
        if len(images) != len(labels):
            raise ValueError(f"{path}: x_{name} holds {len(images)} images, but y_{name} {len(labels)} labels")
        parts[name] = images, labels
    return parts


def _packed_parts(arrays: Arrays, path: Path) -> dict[str, tuple[Images, Labels]]:
    _require_keys(arrays, PACKED_KEYS, path)
    parts: dict[str, tuple[Images, Labels]] = {}
    for split in ("train", "test"):
        pixels, labels = unpack_jpegs(arrays, split, str(path))
        parts[split] = pixels.float() / 255, labels
    return parts


def _images(array: Shaped[ndarray, "..."], title: str) -> Images:
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim != 4:
        raise ValueError(f"{title}: expected (n, h, w), (n, h, w, c) or (n, c, h, w), got shape {array.shape}")
    elif _channels_last(array.shape, title):
        array = np.moveaxis(array, -1, 1)
    if array.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(array)).float() / 255
    if array.dtype.kind != "f":
        raise ValueError(f"{title}: expected uint8 0..255 or floats in [0, 1], got {array.dtype}")
    if not ((array >= 0) & (array <= 1)).all():
        raise ValueError(f"{title}: floats must be in [0, 1], got {array.min()} to {array.max()}")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _channels_last(shape: tuple[int, ...], title: str) -> bool:
    """Tell where the channels are: the axis of 1 or 3, else the one that differs from two equal ones."""
    _, first, middle, last = shape
    if (first in (1, 3)) != (last in (1, 3)):
        return last in (1, 3)
    if (first == middle) != (middle == last):
        return first == middle
    raise ValueError(
        f"{title}: cannot tell the channels of shape {shape}; save it as (n, c, h, w) with 1 or 3 channels"
    )


def _labels(array: Shaped[ndarray, "..."], title: str) -> Labels:
    flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if flat.ndim != 1 or flat.dtype.kind not in "iu":
        raise ValueError(f"{title}: expected integers of shape (n,), got {array.dtype} {array.shape}")
    return torch.from_numpy(flat.astype(np.int64))


def _class_names(arrays: Arrays, splits: Mapping[str, Split], path: Path) -> tuple[str, ...]:
    if "classes" not in arrays:
        return tuple(str(label) for label in range(1 + max(int(split.labels.max()) for split in splits.values())))
    if arrays["classes"].ndim != 1:
        raise ValueError(f"{path}: classes must be a list of names, got shape {arrays['classes'].shape}")
    return tuple(map(str, arrays["classes"]))


def _resize(images: Images, size: int | None) -> Images:
    if size is None or tuple(images.shape[-2:]) == (size, size):
        return images
    return interpolate(images, size=(size, size), mode="bilinear", antialias=True).clamp(0, 1)
