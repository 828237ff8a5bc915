"""Which array of a file holds what: images and labels of the parts, under the names that people give them."""

import re
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from sepgconv.data.array_file import Header
from sepgconv.data.part_names import PARTS, PartOrAll, part_of

_IMAGES = ("x", "images", "image", "data", "imgs", "img", "pictures", "pixels", "features", "inputs")
_LABELS = ("y", "labels", "label", "targets", "target", "ans", "answers")
CLASS_NAMES = ("classes", "class_names", "classnames", "label_names", "names", "target_names")
_LAYOUTS = (
    "x_train y_train x_test y_test (and x_valid y_valid), train_images train_labels test_images test_labels (and "
    "val_images val_labels), or images labels to have them split"
)


@dataclass(frozen=True)
class Keys:
    """The keys of one part.

    Attributes:
        images: of its images.
        labels: of its labels.
    """

    images: str
    labels: str


def find_keys(headers: Mapping[str, Header], path: Path, names: Collection[str]) -> dict[PartOrAll, Keys]:
    """Find the images and labels of every part by the words of the keys.

    Args:
        headers: of all arrays of the file.
        path: the file, for messages.
        names: keys that hold names of classes.

    Raises:
        ValueError: two arrays for one purpose, images without labels or labels without images, parts beside arrays that
            belong to none, or nothing at all.

    Warns:
        UserWarning: arrays of images that are not used.
    """
    found: dict[tuple[PartOrAll, str], list[str]] = {}
    unused: list[str] = []
    for key in headers:
        if key in names:
            continue
        place = place_of(key)
        if place is not None:
            found.setdefault(place, []).append(key)
        elif len(headers[key].shape) >= 3:
            unused.append(key)
    for (part, kind), keys in found.items():
        if len(keys) > 1:
            raise ValueError(f"{path}: {' and '.join(keys)} both hold the {kind} of {part}; keep one")
    parts: dict[PartOrAll, Keys] = {}
    everything: tuple[PartOrAll, ...] = (*PARTS, "all")
    for part in everything:
        images, labels = (found.get((part, kind), [None])[0] for kind in ("images", "labels"))
        if images and labels:
            parts[part] = Keys(images, labels)
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


def place_of(key: str) -> tuple[PartOrAll, str] | None:
    """Return part and kind ("images" or "labels") that a key stands for: x_train, train_set_x, TrainLabels, valY."""
    words = words_of(key)
    for kind, names in (("images", _IMAGES), ("labels", _LABELS)):
        others = [word for word in words if word not in names]
        if len(others) == len(words) - 1:
            part = part_of("".join(others)) if others else "all"
            return (part, kind) if part else None
    return None


def words_of(key: str) -> list[str]:
    """Return the words of a key in small letters: train_set_x, TrainLabels and valY have three, two and two."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", key)]
