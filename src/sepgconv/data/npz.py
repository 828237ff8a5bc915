"""Data sets in one `.npz` file: plain arrays under the names that people give them, or packed JPEG images."""

from collections.abc import Mapping
from math import prod
from pathlib import Path

from sepgconv.data.array_file import Array, Header, read_arrays, read_headers, require_keys
from sepgconv.data.array_keys import CLASS_NAMES, Keys, find_keys
from sepgconv.data.array_labels import read_class_names
from sepgconv.data.column import Entries
from sepgconv.data.image_arrays import as_images, common_bit_depth, labelled_arrays
from sepgconv.data.labelled import LabelledParts
from sepgconv.data.memory import check_fits_memory
from sepgconv.data.options import Targets
from sepgconv.data.packed_jpeg import PACKED_KEYS, unpack_jpegs
from sepgconv.data.part_names import PartOrAll


def load_npz(
    path: Path, *, image_size: int | None = None, bit_depth: int | None = None, targets: Targets | None = None
) -> LabelledParts:
    """Read an `.npz` file; the name of the result is `npz:<stem>`, pixels are in [0, 1].

    Keys name a part and what it holds, in either order and any case: `x_train`, `y_train`, `x_test`, `y_test`,
    `x_valid` and so on; or `train_images`, `train_labels`, ... as in MedMNIST; parts and kinds may have other usual
    names (`sepgconv.data.part_names`). `images` and `labels` alone (or `x` and `y`) are not divided. Images are
    (n, h, w), (n, h, w, c) or (n, c, h, w), uint8, floats in [0, 1], or uint16, scaled by the smallest of 8, 10, 12, 14
    and 16 bits that holds them all. Labels are whole numbers, names, or one-hot rows; `classes` names them, from 0.
    Rows of 0 and 1 that are not all one-hot are labels of which an image may have any number. Without `classes` each
    label that occurs is a class, called by its number. The packed JPEG layout of `sepgconv.data.packed_jpeg` is read
    too.

    Args:
        path: the file.
        image_size: scale images to this height and width (bilinear, with antialiasing). Default: as they are.
        bit_depth: bits that uint16 images use. Default: see above.
        targets: what the labels are: "classes", "labels" or "numbers". Default: see above.

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
    names = CLASS_NAMES[:1] if "classes" in headers else [key for key in CLASS_NAMES if key in headers][:1]
    keys = find_keys(headers, path, names)
    for found in keys.values():
        if 0 in (shape := headers[found.images].shape):
            raise ValueError(f"{path}: {found.images}: no images, or images without pixels: shape {shape}")
    pixels = sum(prod(headers[found.images].shape) for found in keys.values())
    check_fits_memory(4 * pixels, f"{path}: the images as float32", "give a smaller file")
    wanted = [key for found in keys.values() for key in (found.images, found.labels)]
    arrays = read_arrays(path, keys=list(dict.fromkeys([*wanted, *names])))
    given = read_class_names(arrays[names[0]], f"{path}: {names[0]}") if names else None
    bits = common_bit_depth([arrays[found.images] for found in keys.values()], path, bit_depth)
    images: dict[PartOrAll, Entries] = {}
    labels: dict[PartOrAll, Array] = {}
    for part, found in keys.items():
        images[part] = as_images(arrays[found.images], f"{path}: {found.images}", bits)
        labels[part] = arrays[found.labels]
    return labelled_arrays(
        f"npz:{path.stem}",
        path,
        images,
        labels,
        keys,
        classes=given,
        image_size=image_size,
        bits=bits,
        targets=targets,
    )


def _packed(path: Path, headers: Mapping[str, Header], image_size: int | None) -> LabelledParts:
    require_keys(headers, PACKED_KEYS, path)
    names = [key for key in ("classes",) if key in headers]
    arrays = read_arrays(path, keys=[*PACKED_KEYS, *names])
    parts: tuple[PartOrAll, ...] = ("train", "test")
    images: dict[PartOrAll, Entries] = {part: unpack_jpegs(arrays, part, str(path))[0].float() / 255 for part in parts}
    return labelled_arrays(
        f"npz:{path.stem}",
        path,
        images,
        {part: arrays[f"{part}_labels"] for part in parts},
        {part: Keys(f"{part}_jpeg", f"{part}_labels") for part in parts},
        classes=read_class_names(arrays["classes"], f"{path}: classes") if names else None,
        image_size=image_size,
        bits=None,
    )
