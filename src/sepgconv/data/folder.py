"""Data sets from a folder of class folders of pictures."""

import os
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from sepgconv.data.dataset import Dataset, Split
from sepgconv.data.pictures import SUFFIXES, PictureHeader, read_header, read_pixels
from sepgconv.data.preprocessing import Identity
from sepgconv.data.splitting import stratified_cut

_SEED = 20210919
_VALIDATION_FRACTION = _TEST_FRACTION = 0.15
_VALIDATION_NAMES = ("validation", "val", "valid")
_NAMED_AT_MOST = 5  # skipped files that the warning lists


@dataclass(frozen=True)
class _Pictures:
    """Decoded pictures with their labels: bytes 0..255."""

    pixels: UInt8[Tensor, "n c h w"]
    labels: Tensor


def load_folder(root: Path, *, image_size: int | None = None) -> Dataset:
    """Load a folder of pictures; the name of the result is `folder:<name of the folder>`, pixels are in [0, 1].

    Two layouts: `root/<class>/**/picture`, of which 70 / 15 / 15 % of every class train, validate and test, chosen with
    a fixed seed; and `root/train/<class>/**/picture` with `root/test/<class>`, where `validation` (or `val`, `valid`)
    is optional and otherwise 15 % of every class of `train`. Classes are in alphabetical order. Files that do not end
    like a picture, hidden ones, and class folders without pictures are passed over.

    Pictures become grey if all are grey, else RGB. Their size is `image_size` if given; theirs if all agree; else the
    side of the square is the median over all pictures of the shorter side. A picture of another size is scaled and cut
    in the centre (`read_image`).

    Args:
        root: the folder.
        image_size: height and width. Default: see above.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no class folders, too few readable pictures, a class in one part only, or more pixels than memory.

    Warns:
        UserWarning: some pictures cannot be read; they are left out and listed in `Dataset.skipped`.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; expected a folder of class folders of pictures")
    folders = _part_folders(root)
    classes = _class_names(folders, root)
    files = {
        part: [(path, label) for label, name in enumerate(classes) for path in _picture_files(folder / name)]
        for part, folder in folders.items()
    }
    skipped: dict[Path, str] = {}
    shape = _common_shape([path for part in files.values() for path, _ in part], image_size, skipped)
    parts = {part: _decode(entries, shape, skipped) for part, entries in files.items()}
    names = tuple(path.relative_to(root).as_posix() for path in sorted(skipped))
    total = sum(map(len, files.values()))
    if len(names) == total:
        raise ValueError(f"{root}: none of the {total} pictures can be read; the first: {next(iter(skipped.values()))}")
    if names:
        more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
        listed = ", ".join(names[:_NAMED_AT_MOST])
        warnings.warn(
            f"{root}: {len(names)} of {total} pictures cannot be read and are left out: {listed}{more}", stacklevel=2
        )
    train, validation, test = _splits(parts, root)
    return Dataset(f"folder:{root.resolve().name}", classes, train, validation, test, Identity(), names)


def _subfolders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _part_folders(root: Path) -> dict[str, Path]:
    """Return the folders that hold class folders: one without a name, or train, test and perhaps validation."""
    names = _subfolders(root)
    if "train" not in names or not _subfolders(root / "train"):
        return {"": root}
    if "test" not in names:
        raise ValueError(
            f"{root}: has train/ but no test/; add test/<class>/, or move the class folders up to have them split"
        )
    validation = [name for name in _VALIDATION_NAMES if name in names]
    if len(validation) > 1:
        raise ValueError(f"{root}: {' and '.join(validation)} both hold validation pictures; keep one")
    parts = {"train": root / "train", "test": root / "test"}
    return parts | {"validation": root / validation[0]} if validation else parts


def _class_names(folders: dict[str, Path], root: Path) -> tuple[str, ...]:
    found = {
        part: [name for name in _subfolders(folder) if _picture_files(folder / name)]
        for part, folder in folders.items()
    }
    classes = found.get("train", found.get("", []))
    if not classes:
        loose = sum(path.suffix.lower() in SUFFIXES for path in root.iterdir())
        beside = f" ({loose} pictures lie in it directly)" if loose else ""
        raise ValueError(
            f"{root}: no class folders with pictures{beside}; expected {root.name}/<class>/<picture> "
            f"or {root.name}/train/<class>/<picture> and {root.name}/test/<class>/<picture>"
        )
    for part, names in found.items():
        if unknown := sorted(set(names) - set(classes)):
            raise ValueError(f"{folders[part]}: classes that train/ does not have: {', '.join(unknown)}")
    return tuple(classes)


def _picture_files(folder: Path) -> list[Path]:
    found = [
        Path(parent) / name
        for parent, _, names in os.walk(folder)
        for name in names
        if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
    ]
    return sorted(found)


def _common_shape(paths: Sequence[Path], image_size: int | None, skipped: dict[Path, str]) -> tuple[int, int, int]:
    headers: list[PictureHeader] = []
    for path in paths:
        try:
            headers.append(read_header(path))
        except ValueError as error:
            skipped[path] = str(error)
    if not headers:
        return 1, image_size or 1, image_size or 1
    channels = 1 if all(header.grey for header in headers) else 3
    sizes = {(header.height, header.width) for header in headers}
    if image_size is not None:
        height = width = image_size
    elif len(sizes) == 1:
        height, width = sizes.pop()
    else:
        height = width = round(statistics.median(min(header.height, header.width) for header in headers))
    _check_memory(len(headers), (channels, height, width))
    return channels, height, width


def _check_memory(count: int, shape: tuple[int, int, int]) -> None:
    """Refuse what cannot fit, before hours of decoding end in an out-of-memory kill."""
    if not hasattr(os, "sysconf"):  # not on Windows
        return
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    needed = count * shape[0] * shape[1] * shape[2] * 4  # float32
    if needed > available:
        raise ValueError(
            f"{count} pictures of shape {shape} take {needed / 2**30:.1f} GiB, and this machine has "
            f"{available / 2**30:.1f}; give a smaller image_size"
        )


def _decode(entries: Sequence[tuple[Path, int]], shape: tuple[int, int, int], skipped: dict[Path, str]) -> _Pictures:
    pixels = np.empty((len(entries), *shape), np.uint8)
    labels: list[int] = []
    for path, label in entries:
        if path in skipped:
            continue
        try:
            pixels[len(labels)] = read_pixels(path, shape)
        except ValueError as error:
            skipped[path] = str(error)
        else:
            labels.append(label)
    return _Pictures(torch.from_numpy(pixels[: len(labels)]), torch.tensor(labels, dtype=torch.int64))


def _splits(parts: dict[str, _Pictures], root: Path) -> tuple[Split, Split, Split]:
    pictures = parts.get("train", parts.get(""))
    if pictures is None:
        raise ValueError(f"{root}: no pictures to train on")
    fractions = [_VALIDATION_FRACTION, _TEST_FRACTION] if "" in parts else [_VALIDATION_FRACTION]
    if "validation" in parts:
        fractions = []
    chosen = stratified_cut(pictures.labels.numpy(), fractions, _SEED) if len(pictures.labels) else []
    if not chosen or not all(map(len, chosen)):
        raise ValueError(
            f"{root}: {len(pictures.labels)} readable pictures are too few; "
            f"at least one class needs {1 + len(fractions)} to train on and to cut {len(fractions)} parts from"
        )
    cut = [_split(_Pictures(pictures.pixels[indices], pictures.labels[indices])) for indices in chosen]
    for name in ("validation", "test"):
        if name in parts:
            if not len(parts[name].labels):
                raise ValueError(f"{root}: {name} has no readable picture")
            cut.append(_split(parts[name]))
    train, validation, test = cut
    return train, validation, test


def _split(pictures: _Pictures) -> Split:
    return Split(pictures.pixels.float() / 255, pictures.labels)
