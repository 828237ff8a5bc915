"""Names of data sets and their loaders: one table."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sepgconv._messages import unknown_name
from sepgconv.data.cifar10 import load_cifar10, load_cifar10_jpeg75, load_cifar10_lossless_subset
from sepgconv.data.dataset import Dataset
from sepgconv.data.folder import load_folder
from sepgconv.data.npz import load_npz
from sepgconv.data.rotated_digits import load_rotated_digits
from sepgconv.data.rotmnist import load_rotmnist


@dataclass(frozen=True)
class _Entry:
    description: str
    side: int  # height and width of the images, which are square
    load: Callable[[Path | None, bool], Dataset]


_FOLDER = "folder"
_FOLDER_DESCRIPTION = "your own pictures: a folder of class folders, or an .npz with x_train y_train x_test y_test"
_DATASETS = {
    "rotated_digits": _Entry(
        "1,797 handwritten digits of scikit-learn, turned at random, 28x28 grey; embedded, needs no files",
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


def list_datasets() -> tuple[str, ...]:
    """Return the names that `load_dataset` takes, besides paths."""
    return (*_DATASETS, _FOLDER)


def describe_dataset(name: str) -> str:
    """Return one line on a data set.

    Raises:
        ValueError: an unknown name.
    """
    if name == _FOLDER:
        return _FOLDER_DESCRIPTION
    if name not in _DATASETS:
        raise ValueError(unknown_name("data set", name, list_datasets()))
    return _DATASETS[name].description


def load_dataset(
    name: str, *, data_dir: str | Path | None = None, download: bool = True, image_size: int | None = None
) -> Dataset:
    """Load a data set into memory, preprocessed and split; the same on every call.

    Args:
        name: one of `list_datasets()`, or the path of a folder of class folders or of an `.npz` file.
        data_dir: where its files are, or are downloaded to (into `downloads` inside it). Default: the environment
            variable SEPGCONV_DATA, else the user cache. For "folder": the folder of class folders, or the `.npz` file.
        download: whether missing files may be downloaded.
        image_size: height and width of the user's own pictures. Default: as `load_folder` decides. The other data sets
            have a size, and take no other.

    Raises:
        ValueError: an unknown name, a size that a data set does not have, files that are not what they should be.
        FileNotFoundError: files that are neither there nor downloadable; the message says which, and where they belong.
        ImportError: a library of the extra "train" is missing.
    """
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size must be positive, got {image_size}")
    if name in _DATASETS:
        entry = _DATASETS[name]
        if image_size not in (None, entry.side):
            raise ValueError(
                f"{name} has images of {entry.side}x{entry.side}; image_size={image_size} is for your own pictures only"
            )
        return entry.load(None if data_dir is None else Path(data_dir), download)
    check_name(name)
    if name == _FOLDER:
        if data_dir is None:
            raise ValueError("the data set 'folder' needs data_dir: the folder of class folders, or an .npz file")
        return _load_path(Path(data_dir), image_size)
    return _load_path(Path(name), image_size)


def check_name(name: str) -> None:
    """Refuse what is neither a data set's name nor a path; whether its files are there is not looked at.

    Raises:
        ValueError: an unknown name.
    """
    is_path = "/" in name or os.sep in name or name.endswith(".npz") or (name and Path(name).exists())
    if not (name in list_datasets() or is_path):
        known = unknown_name("data set", name, list_datasets())
        raise ValueError(f"{known}; or give the path of a folder or an .npz file")


def _load_path(path: Path, image_size: int | None) -> Dataset:
    path = path.expanduser()
    if path.is_dir():
        return load_folder(path, image_size=image_size)
    if not path.is_file():
        raise FileNotFoundError(f"there is no folder and no .npz file {path}")
    return load_npz(path, image_size=image_size)
