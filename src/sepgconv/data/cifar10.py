"""`cifar10` and its two substitutes: published batches or packed sets, GCN and ZCA."""

import hashlib
import io
import pickle
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Int, UInt8
from numpy import ndarray
from torch import Tensor

from sepgconv.data.dataset import Dataset, Split
from sepgconv.data.download import RemoteFile, find_intact, find_or_fetch, search_places
from sepgconv.data.npz import read_arrays
from sepgconv.data.packed_jpeg import PACKED_KEYS, unpack_jpegs
from sepgconv.data.preprocessing import fit_gcn_zca, preprocess_pixels

_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_BATCH_FOLDER = "cifar-10-batches-py"
_IMAGE_SHAPE = (3, 32, 32)


@dataclass(frozen=True)
class Batches:
    """The published batches: the archive, and the md5 of every batch in it, test batch last."""

    archive: RemoteFile
    md5: Mapping[str, str]
    images_per_batch: int = 10_000


PUBLISHED = Batches(
    archive=RemoteFile(
        "cifar-10-python.tar.gz",
        "md5:c58f30108f718f92721af3b95e74349a",
        ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
    ),
    md5={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
)
JPEG75 = RemoteFile("cifar10_jpeg75.npz", "sha256:c13bc3d4c3f015ef904936006141e797300f7ed3a41669c488ffaaf331958730")
LOSSLESS_SUBSET = RemoteFile(
    "cifar10_lossless_subset.npz", "sha256:804b298e9eb5353a05695bf388df9e71ea36bbd838c0df80ff112d22a7ce3346"
)


@dataclass(frozen=True)
class _Pixels:
    """Raw images 0..255 with labels, train and test, in the published order."""

    x_train: UInt8[Tensor, "n c h w"]
    y_train: Int[Tensor, " n"]
    x_test: UInt8[Tensor, "m c h w"]
    y_test: Int[Tensor, " m"]
    classes: tuple[str, ...] = field(default=_CLASSES)


def load_cifar10(data_dir: Path | None, *, download: bool, published: Batches = PUBLISHED) -> Dataset:
    """Load CIFAR-10 (A. Krizhevsky, 2009): 32x32 RGB, 45,000 train, 5,000 validation, 10,000 test.

    From the published archive or its extracted folder `cifar-10-batches-py`; checksums come before anything is read,
    and the reader of the batches, which are pickles, builds arrays and nothing else. The last tenth of the training
    images in the published order validates. Images get global contrast normalisation and ZCA whitening fitted on the
    45,000 (`sepgconv.data.preprocessing.GcnZca`); the whitening takes half a minute on two cores.

    Args:
        data_dir: where the files may be; see `sepgconv.data.download`.
        download: whether the network may be used.
        published: which files, with which checksums.

    Raises:
        FileNotFoundError: the files are neither there nor downloadable.
        ValueError: a file is not what it should be.
    """
    places = search_places(data_dir, ("cifar10",))
    archive = find_intact(published.archive, places)
    candidates = [folder / _BATCH_FOLDER for folder in (*places.user, *places.ours)] + list(places.user[:1])
    extracted = next(
        (folder for folder in candidates if all((folder / name).is_file() for name in published.md5)), None
    )
    if archive is None and extracted is not None:
        content = {name: (extracted / name).read_bytes() for name in published.md5}
        return _whitened("cifar10", _read_batches(content, extracted, published))
    archive = archive or find_or_fetch(published.archive, places, download=download)
    return _whitened("cifar10", _read_batches(_extract(archive, published), archive, published))


def load_cifar10_jpeg75(data_dir: Path | None, *, file: RemoteFile = JPEG75) -> Dataset:
    """Load `cifar10-jpeg75`: all images of CIFAR-10, recompressed as JPEG (quality 75); otherwise as `load_cifar10`.

    A substitute: the pixels are lossy, so results do not compare with published CIFAR-10 numbers. No download.

    Raises:
        FileNotFoundError: `cifar10_jpeg75.npz` is not there.
        ValueError: it is not what it should be.
    """
    path = find_or_fetch(file, search_places(data_dir, ("cifar10_jpeg75", "cifar10")), download=False)
    arrays = read_arrays(path, required=(*PACKED_KEYS, "classes"))
    train, test = (unpack_jpegs(arrays, split, str(path)) for split in ("train", "test"))
    return _whitened("cifar10-jpeg75", _Pixels(*train, *test, tuple(map(str, arrays["classes"]))))


def load_cifar10_lossless_subset(data_dir: Path | None, *, file: RemoteFile = LOSSLESS_SUBSET) -> Dataset:
    """Load `cifar10-lossless-subset`: 8,068 training and 1,017 test images of CIFAR-10; otherwise as `load_cifar10`.

    A substitute: the pixels are exact, but a sixth of the set, so results do not compare with published CIFAR-10
    numbers. No download.

    Raises:
        FileNotFoundError: `cifar10_lossless_subset.npz` is not there.
        ValueError: it is not what it should be.
    """
    path = find_or_fetch(file, search_places(data_dir, ("cifar10_lossless_subset", "cifar10")), download=False)
    arrays = read_arrays(path, required=("x_train", "y_train", "x_test", "y_test", "classes"))
    x_train, x_test = (torch.from_numpy(arrays[key]) for key in ("x_train", "x_test"))
    y_train, y_test = (torch.from_numpy(arrays[key].astype(np.int64)) for key in ("y_train", "y_test"))
    pixels = _Pixels(x_train, y_train, x_test, y_test, tuple(map(str, arrays["classes"])))
    return _whitened("cifar10-lossless-subset", pixels)


def _whitened(name: str, pixels: _Pixels) -> Dataset:
    """Cut the last tenth off for validation, fit the whitening on the rest, apply it to everything."""
    count = len(pixels.y_train) - len(pixels.y_train) // 10
    preprocessing = fit_gcn_zca(pixels.x_train[:count])
    train_images = preprocess_pixels(preprocessing, pixels.x_train)
    test = Split(preprocess_pixels(preprocessing, pixels.x_test), pixels.y_test)
    train = Split(train_images[:count], pixels.y_train[:count])
    validation = Split(train_images[count:], pixels.y_train[count:])
    return Dataset(name, pixels.classes, train, validation, test, preprocessing)


def _extract(path: Path, published: Batches) -> dict[str, bytes]:
    """Read the batches out of the archive; nothing is written to disk."""
    content: dict[str, bytes] = {}
    with tarfile.open(path) as archive:
        for name in published.md5:
            try:
                stream = archive.extractfile(f"{_BATCH_FOLDER}/{name}")
            except KeyError:
                stream = None
            if stream is None:
                raise ValueError(f"{path}: the archive has no file {_BATCH_FOLDER}/{name}")
            content[name] = stream.read()
    return content


def _read_batches(content: Mapping[str, bytes], source: Path, published: Batches) -> _Pixels:
    for name, md5 in published.md5.items():
        if hashlib.md5(content[name], usedforsecurity=False).hexdigest() != md5:
            raise ValueError(f"{source / name} is damaged (expected md5 {md5}) and is not used; replace it")
    batches = [read_batch(content[name], str(source / name), published.images_per_batch) for name in published.md5]
    images = torch.cat([torch.from_numpy(batch) for batch, _ in batches[:-1]])
    labels = torch.cat([torch.from_numpy(label) for _, label in batches[:-1]])
    return _Pixels(images, labels, torch.from_numpy(batches[-1][0]), torch.from_numpy(batches[-1][1]))


def read_batch(content: bytes, title: str, count: int) -> tuple[UInt8[ndarray, "n 3 32 32"], Int[ndarray, " n"]]:
    """Read one published batch: images 0..255 and labels 0..9.

    Args:
        content: the pickle, a dictionary with b"data" (uint8, (n, 3072), channel by channel) and b"labels".
        title: what errors call it.
        count: how many images it must hold.

    Raises:
        ValueError: it names anything but arrays, or does not hold such images and labels.
    """
    try:
        batch = cast("object", _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load())
    except Exception as error:  # a broken pickle can fail with nearly any exception
        raise ValueError(f"{title}: not a batch of CIFAR-10 ({error})") from error
    entries = cast("dict[object, object]", batch) if isinstance(batch, dict) else {}
    data, labels = entries.get(b"data"), entries.get(b"labels")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape != (count, 3072):
        found = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise ValueError(f"{title}: expected uint8 data of shape ({count}, 3072), got {found}")
    if not isinstance(labels, list) or len(cast("list[object]", labels)) != count:
        raise ValueError(f"{title}: expected a list of {count} labels")
    digits = np.asarray(labels)
    if digits.dtype.kind != "i" or digits.min() < 0 or digits.max() >= len(_CLASSES):
        raise ValueError(f"{title}: expected labels 0 to {len(_CLASSES) - 1}")
    return data.reshape(count, *_IMAGE_SHAPE), digits.astype(np.int64)


def _empty_array(subtype: type, shape: tuple[int, ...], dtype: bytes) -> ndarray:
    """Stand in for NumPy's `_reconstruct`, whose module `numpy.core` current releases warn about."""
    if subtype is not ndarray:
        raise pickle.UnpicklingError(f"array of type {subtype}")
    return np.ndarray(shape, np.dtype(dtype.decode()))


_ALLOWED: dict[tuple[str, str], object] = {
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickle containers, numbers, strings and plain arrays; raise for every other name, so that no code runs."""

    def find_class(self, module_name: str, global_name: str, /) -> object:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module_name}.{global_name}, which is not allowed") from None
