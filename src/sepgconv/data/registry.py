"""Names of data sets and their loaders: one table."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from sepgconv._messages import nearest_names, unknown_name
from sepgconv.data.cache import storage_of
from sepgconv.data.cifar10 import load_cifar10, load_cifar10_jpeg75, load_cifar10_lossless_subset
from sepgconv.data.dataset import Dataset
from sepgconv.data.image_files import Storage, Wanted
from sepgconv.data.labelled import LabelledImages, LabelledParts
from sepgconv.data.memory import explained_memory_errors
from sepgconv.data.options import DataOptions
from sepgconv.data.own_files import DESCRIPTION, ENDINGS, Request, load_own
from sepgconv.data.part_names import Part
from sepgconv.data.regular_file import why_unreadable
from sepgconv.data.rotated_digits import load_rotated_digits
from sepgconv.data.rotmnist import load_rotmnist


@dataclass(frozen=True)
class _Entry:
    description: str
    side: int | None  # height and width of the images, which are square; None: it is not known before they are loaded
    load: Callable[[Path | None, bool], Dataset]


_FOLDER = "folder"
_DATASETS = {
    "rotated_digits": _Entry(
        "1,797 handwritten digits of scikit-learn, rotated at random, 28x28 grey; embedded, needs no files",
        28,
        lambda data_dir, download: load_rotated_digits(),
    ),
    "rotmnist": _Entry(
        "Rotated MNIST, 12,000 / 50,000, 28x28 grey; the official files, else generated from MNIST",
        28,
        lambda data_dir, download: load_rotmnist(data_dir, download=download),
    ),
    "rotmnist-official": _Entry(
        "Rotated MNIST, the official files only",
        28,
        lambda data_dir, download: load_rotmnist(data_dir, download=download, images="official"),
    ),
    "rotmnist-generated": _Entry(
        "Rotated MNIST, generated from MNIST only: the same task, not the same images",
        28,
        lambda data_dir, download: load_rotmnist(data_dir, download=download, images="generated"),
    ),
    "cifar10": _Entry(
        "CIFAR-10, 50,000 / 10,000, 32x32 RGB, contrast-normalised and ZCA-whitened",
        32,
        lambda data_dir, download: load_cifar10(data_dir, download=download),
    ),
    "cifar10-jpeg75": _Entry(
        "substitute for CIFAR-10: all its images, recompressed as JPEG; local file only",
        32,
        lambda data_dir, download: load_cifar10_jpeg75(data_dir),
    ),
    "cifar10-lossless-subset": _Entry(
        "substitute for CIFAR-10: 8,068 / 1,017 of its images; local file only",
        32,
        lambda data_dir, download: load_cifar10_lossless_subset(data_dir),
    ),
}


def register_dataset(
    name: str,
    load: Callable[[Path | None, bool], Dataset],
    *,
    description: str,
    side: int | None = None,
) -> None:
    """Make a data set known by its name: `load_dataset`, `TrainingConfig(data=...)` and the command line then take it.

    Args:
        name: what it is called; it is no path.
        load: returns the data set, the same on every call. It is called with the folder of its files, or None for the
            default, and with whether missing files may be downloaded. It raises a FileNotFoundError that says which
            files are missing and where they belong.
        description: one line for `sepgconv data`.
        side: height and width of its images in pixels, where they are square. Default: unknown.

    Raises:
        ValueError: the name is empty, looks like a path or stands for another data set already, or the description is
            not one line.

    Example:
        >>> import torch
        >>> from sepgconv.data import Dataset, Split, build_preprocessing, load_dataset
        >>> def load_stripes(data_dir, download):
        ...     images = torch.zeros(8, 1, 28, 28)
        ...     images[::2, :, :, ::2] = images[1::2, :, ::2] = 1.0
        ...     split = Split(images, torch.arange(8) % 2)
        ...     identity = build_preprocessing("identity", {})
        ...     return Dataset("stripes", ("upright", "level"), split, split, split, identity)
        >>> register_dataset("stripes", load_stripes, description="8 stripes, 28x28 grey", side=28)
        >>> load_dataset("stripes").classes
        ('upright', 'level')
    """
    if not name or _looks_like_a_path(name):
        raise ValueError(f"register_dataset: a data set needs a name that is no path, got {name!r}")
    if name == _FOLDER or (name in _DATASETS and _DATASETS[name].load is not load):
        raise ValueError(f"register_dataset: the name {name!r} stands for another data set already; choose another one")
    if not description or len(description.splitlines()) != 1:
        raise ValueError(f"register_dataset: the description of {name!r} must be one line, got {description!r}")
    _DATASETS[name] = _Entry(description, side, load)


def list_datasets() -> tuple[str, ...]:
    """Return the names that `load_dataset` takes, besides paths.

    Example:
        >>> list_datasets()[:2]
        ('rotated_digits', 'rotmnist')
    """
    return (*_DATASETS, _FOLDER)


def describe_dataset(name: str) -> str:
    """Return one line on a data set.

    Raises:
        ValueError: an unknown name.

    Example:
        >>> describe_dataset("rotmnist-official")
        'Rotated MNIST, the official files only'
    """
    if name == _FOLDER:
        return DESCRIPTION
    if name not in _DATASETS:
        raise ValueError(unknown_name("data set", name, list_datasets()))
    return _DATASETS[name].description


def load_dataset(
    name: str,
    *,
    data_dir: str | Path | None = None,
    download: bool = True,
    image_size: int | None = None,
    options: DataOptions | None = None,
    preprocessing: str | nn.Module | None = None,
    in_memory: bool | None = None,
    cache: bool | str | Path = True,
) -> Dataset:
    r"""Load a data set, preprocessed and split; the same on every call, in memory or not.

    Args:
        name: one of `list_datasets()`, or the path of a folder of class folders, of a folder of images and masks, of a
            CSV or TSV file with the paths and labels of images, of a JSON file like those of COCO, of an HDF5 file, or
            of an `.npz` file.
        data_dir: where its files are, or are downloaded to (into `downloads` inside it). Default: the environment
            variable SEPGCONV_DATA, else the user cache. For "folder": the folder or file itself. For a CSV or TSV file:
            the folder that its paths are relative to, by default its own; for a JSON file the folder of the images.
        download: whether missing files may be downloaded.
        image_size: height and width of the user's own images. Default: as `load_folder` decides. The other data sets
            have a size, and take no other.
        options: how the user's own files are read and divided. Default: as `DataOptions` says.
        preprocessing: of the user's own images: "identity", pixels in [0, 1]; "mean-std", mean and standard deviation
            of each channel, of the training part; or a module, as a run keeps it. Default: "mean-std" for images that
            are files of their own, "identity" for arrays (`.npz`, HDF5); the other data sets have their own.
        in_memory: whether images in files of their own or in an HDF5 file are all read into memory, as float32. False:
            they stay on the disk and are read when they are needed. Default: in memory if they take at most 1 GiB and a
            quarter of the machine's memory; a warning says so if they do not. Other data sets are always in memory.
        cache: where decoded images that stay on the disk are kept, in one file, usually one byte for each value: True,
            in the user cache; a folder; or False, nowhere, and they are decoded whenever they are needed.

    Raises:
        ValueError: an unknown name, a size or options that a data set does not have, files that are not what they
            should be.
        FileNotFoundError: files that are neither there nor downloadable; the message says which, and where they belong.
        ImportError: a library of the extra "train" is missing.

    Warns:
        UserWarning: images that were left out, or how a folder or file was understood where that is not plain.

    Example:
        >>> digits = load_dataset("rotated_digits")
        >>> len(digits.train), len(digits.validation), len(digits.test), digits.image_shape
        (1000, 200, 597, (1, 28, 28))

        A file of paths and labels, whose patients are not divided:

        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from PIL import Image
        >>> rows = [(f"{i}.png", "ab"[i % 2], f"patient {i // 4}") for i in range(40)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for i, (file, _, _) in enumerate(rows):
        ...         Image.fromarray(np.full((8, 8), 6 * i, np.uint8)).save(f"{folder}/{file}")
        ...     text = "path,label,patient\n" + "\n".join(map(",".join, rows))
        ...     _ = Path(folder, "cells.csv").write_text(text)
        ...     cells = load_dataset(f"{folder}/cells.csv")
        >>> print(cells.division)
        table:cells: 15 % for validation and 15 % for test, by patient, seed 20210919
        part        images  groups   a   b
        ──────────────────────────────────
        train           28       7  14  14
        validation       8       2   4   4
        test             4       1   2   2
    """
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size must be positive, got {image_size}")
    if name in _DATASETS:
        entry = _DATASETS[name]
        if image_size not in (None, entry.side):
            size = "a size of their own" if entry.side is None else f"{entry.side}x{entry.side}"
            raise ValueError(f"{name} has images of {size}; image_size={image_size} is for your own images only")
        if options is not None and options.to_dict():
            raise ValueError(f"{name} is read in one way; {', '.join(options.to_dict())} is for your own images only")
        if preprocessing is not None:
            raise ValueError(f"{name} has a preprocessing of its own; preprocessing is for your own images only")
        if in_memory is False:
            raise ValueError(f"{name} is always read into memory; in_memory=False is for your own images only")
        return entry.load(None if data_dir is None else Path(data_dir), download)
    path, options = _path(name, data_dir), options or DataOptions()
    with explained_memory_errors(str(path), "give a smaller image_size, or fewer images"):
        wanted = Wanted.of(options, image_size, storage_of(in_memory, cache))
        parts = load_own(Request(path, _root(name, data_dir), wanted, options))
        if preprocessing is None:
            preprocessing = "identity" if parts.fit is None else "mean-std"
        return parts.to_dataset(options.split_rule, preprocessing)


def load_labelled_images(
    name: str,
    *,
    classes: Sequence[str],
    image_shape: tuple[int, int, int],
    part: Part | None = None,
    data_dir: str | Path | None = None,
    download: bool = True,
    bit_depth: int | None = None,
    options: DataOptions | None = None,
    in_memory: bool | None = None,
) -> LabelledImages:
    """Load images to judge a network by, with the labels that the network knows them by.

    A folder or file of the user's own that is not divided into parts is taken whole; where it is, its test part is
    taken, or the only part there is. Its classes are matched with the network's by name and may be some of them.

    Args:
        name: one of `list_datasets()`, or a path that `load_dataset` takes.
        classes: of the network, in the order of its scores.
        image_shape: (channels, height, width) that the user's own images are brought to.
        part: "train", "validation" or "test". Default: see above; of the other data sets the test part.
        data_dir: see `load_dataset`.
        download: whether missing files may be downloaded.
        bit_depth: bits that the user's own images of 16 bits use, as when the network was trained (`Run.bit_depth`).
            Default: as `load_dataset` finds out.
        options: how the user's own files are read. Default: as `DataOptions` says.
        in_memory: see `load_dataset`; what stays on the disk is decoded whenever it is needed.

    Raises:
        ValueError: an unknown name, images of classes that the network does not know, no such part, files that are not
            what they should be.
        FileNotFoundError: files that are neither there nor downloadable.

    Example:
        >>> found = load_labelled_images("rotated_digits", classes=tuple("9876543210"), image_shape=(1, 28, 28))
        >>> found.part, len(found.split)
        ('test', 597)
    """
    if name in _DATASETS:
        dataset = load_dataset(name, data_dir=data_dir, download=download)
        return LabelledParts.of(dataset).to_judge(classes, part)
    # Groups only say how images are divided.
    options = dataclasses.replace(options or DataOptions(), group_pattern=None, group_column=None)
    path = _path(name, data_dir)
    channels, height, width = image_shape
    wanted = Wanted(channels, (height, width), options.reading.with_bit_depth(bit_depth), Storage(in_memory))
    with explained_memory_errors(str(path), "give fewer images"):
        parts = load_own(Request(path, _root(name, data_dir), wanted, options, tuple(classes), part))
        return parts.to_judge(classes, part)


def is_own(name: str) -> bool:
    """Return whether a name stands for the user's own images, which are read as they are, without preprocessing."""
    return name not in _DATASETS


def check_name(name: str) -> None:
    """Raise if a name is neither that of a data set nor a path; whether its files exist is not checked.

    Raises:
        ValueError: an unknown name.
    """
    if not (name in list_datasets() or _looks_like_a_path(name) or (name and Path(name).exists())):
        raise ValueError(_nothing_of(Path(name) if name else None, name))


def _looks_like_a_path(name: str) -> bool:
    return "/" in name or os.sep in name or name.lower().endswith(ENDINGS)


def _root(name: str, data_dir: str | Path | None) -> Path | None:
    """Return the folder that the paths in a file are relative to; None for that of the file."""
    return None if data_dir is None or name == _FOLDER else Path(data_dir).expanduser()


def _path(name: str, data_dir: str | Path | None) -> Path:
    """Return the path of the user's own images."""
    check_name(name)
    if name == _FOLDER:
        if data_dir is None:
            raise ValueError(
                "the data set 'folder' needs data_dir: the folder of class folders, a CSV of paths and labels, or an "
                ".npz file"
            )
    path = Path(name if name != _FOLDER or data_dir is None else data_dir).expanduser()
    if why_unreadable(path) == "is not there":
        raise FileNotFoundError(_nothing_of(path, str(path)))
    return path


def _nothing_of(path: Path | None, name: str) -> str:
    """Return the sentence for what is neither a data set nor a path, with the nearest of both."""
    near = [repr(found) for found in nearest_names(name, list_datasets())]
    place = ""
    if path is not None:
        parent, missing = path.parent, path
        while not parent.is_dir() and parent != parent.parent:
            parent, missing = parent.parent, parent
        siblings = [entry.name for entry in _listed(parent) if entry.is_dir() or entry.suffix.lower() in ENDINGS]
        near += [str(parent / found) for found in nearest_names(missing.name, siblings)]
        place = f" ({missing} is missing)" if missing != path else ""
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return (
        f"there is no folder or file {name!r}{place}, and no data set of that name{hint} "
        f"(data sets: {', '.join(list_datasets())})"
    )


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
