"""Labels as people save them: numbers from 0, from 1 or with gaps, names, one-hot rows; and the classes they mean."""

import warnings
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Int, Shaped
from numpy import ndarray
from torch import Tensor

from sepgconv.data.part_names import PartOrAll

# One value per image: a whole number, 0 or more, or a name.
RawLabels: TypeAlias = Shaped[ndarray, "_"]

_NAMED_AT_MOST = 10


def raw_labels(array: Shaped[ndarray, "..."], title: str) -> RawLabels:
    """Return one label per image: int64 numbers, or names.

    Args:
        array: (n,) or (n, 1) numbers or names, or (n, k) one-hot rows of zeros and a single one.
        title: what errors call it: file and key.

    Raises:
        ValueError: anything else.
    """
    if len(array) == 0 if array.ndim else True:
        raise ValueError(f"{title}: no labels: shape {array.shape}")
    if array.dtype.kind in "SU":
        names = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
        if names.ndim != 1:
            raise ValueError(f"{title}: expected one name per image, got shape {array.shape}")
        return np.array([_text(name, title) for name in names])
    if array.dtype.kind not in "iufb":
        raise ValueError(f"{title}: expected whole numbers or names of shape (n,), got {array.dtype} {array.shape}")
    if array.ndim == 2 and array.shape[1] > 1:
        if not (np.isin(array, (0, 1)).all() and (array.sum(1) == 1).all()):
            raise ValueError(
                f"{title}: expected one label per image, got shape {array.shape}, of which not every row has a "
                "single 1; images of several classes cannot be learned from"
            )
        return array.argmax(1).astype(np.int64)
    flat = array[:, 0] if array.ndim == 2 else array
    if flat.ndim != 1:
        raise ValueError(f"{title}: expected one label per image, of shape (n,), got {array.dtype} {array.shape}")
    if array.dtype.kind == "f" and not (np.isfinite(flat).all() and (flat == np.round(flat)).all()):
        raise ValueError(f"{title}: expected whole numbers as labels, got {array.dtype} such as {_odd(flat)}")
    if flat.min() < 0:
        raise ValueError(f"{title}: labels must not be negative, got {flat.min()}")
    if flat.max() > np.iinfo(np.int64).max // 2:
        raise ValueError(f"{title}: {flat.max()} is no label")
    return flat.astype(np.int64)


def read_class_names(array: Shaped[ndarray, "..."], title: str) -> tuple[str, ...]:
    """Return the names of classes, saved as text, as UTF-8 bytes or as numbers.

    Raises:
        ValueError: they are no list of distinct names.
    """
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"{title} must be a list of names, got shape {array.shape}")
    names = tuple(_text(name, title) for name in array)
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"{title} must be distinct names, but {', '.join(twice)} occurs more than once")
    return names


def class_indices(
    raw: Mapping[PartOrAll, RawLabels], given: tuple[str, ...] | None, titles: Mapping[PartOrAll, str], file: str
) -> tuple[tuple[str, ...], dict[PartOrAll, Int[Tensor, " n"]]]:
    """Return the classes and, for every part, the index of each image's class.

    Args:
        raw: labels of every part, as `raw_labels` returns them.
        given: names of the classes, if the file has them; a number is then an index of them.
        titles: what errors call the labels of every part.
        file: what warnings call the file.

    Raises:
        ValueError: numbers in one part and names in another, a label without a class, or one that the training part
            does not have.

    Warns:
        UserWarning: numbers without names do not count from 0 without gaps; each that occurs becomes a class.
    """
    if len({labels.dtype.kind for labels in raw.values()}) > 1:
        raise ValueError(f"{file}: labels are numbers in one part and names in another ({', '.join(titles.values())})")
    _check_labels_known(raw, given, titles)
    named = next(iter(raw.values())).dtype.kind == "U"
    if given is not None and not named:
        for part, labels in raw.items():
            if labels.max() >= len(given):
                raise ValueError(
                    f"{titles[part]}: label {labels.max()}, but there are {len(given)} classes; labels count from 0"
                )
        return given, {part: torch.from_numpy(labels) for part, labels in raw.items()}
    values = np.unique(np.concatenate(list(raw.values())))
    classes = given or tuple(map(str, values.tolist()))
    if given is None and not named and values.tolist() != list(range(len(values))):
        warnings.warn(
            f"{file}: labels do not count from 0 without gaps; each that occurs is a class, called by its number: "
            f"{_some(classes)}",
            stacklevel=4,
        )
    if unknown := [value for value in map(str, values.tolist()) if value not in classes]:
        raise ValueError(f"{next(iter(titles.values()))}: {', '.join(unknown)} are none of the classes")
    order = np.array([classes.index(str(value)) for value in values.tolist()], np.int64)
    return classes, {part: torch.from_numpy(order[np.searchsorted(values, labels)]) for part, labels in raw.items()}


def _check_labels_known(
    raw: Mapping[PartOrAll, RawLabels], given: tuple[str, ...] | None, titles: Mapping[PartOrAll, str]
) -> None:
    for part, labels in raw.items():
        unknown = np.setdiff1d(labels, raw.get("train", labels)).tolist()
        if unknown:
            names = [given[label] if given and label in range(len(given)) else str(label) for label in unknown]
            raise ValueError(f"{titles[part]}: labels that {titles['train']} does not have: {_some(names)}")


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:_NAMED_AT_MOST])}{', ...' if len(names) > _NAMED_AT_MOST else ''}"


def _text(name: object, title: str) -> str:
    if isinstance(name, bytes):
        try:
            return name.decode()
        except UnicodeDecodeError:
            raise ValueError(f"{title}: {name!r} is not text in UTF-8") from None
    return str(name)


def _odd(values: Shaped[ndarray, "_"]) -> float:
    finite = np.isfinite(values)
    return float(values[~finite][0]) if not finite.all() else float(values[values != np.round(values)][0])
