"""Data sets in HDF5 files: arrays of images and labels in one file, or each in a file of its own, as in PCam."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from numpy import ndarray
from torch import Tensor

from sepgconv._messages import require, unknown_name
from sepgconv.data.array_file import Header
from sepgconv.data.array_keys import CLASS_NAMES, Keys, find_keys, place_of, words_of
from sepgconv.data.array_labels import read_class_names
from sepgconv.data.column import Column, Entries
from sepgconv.data.decoding import fits_in_memory
from sepgconv.data.image_arrays import as_images, common_bit_depth, labelled_arrays
from sepgconv.data.image_files import Storage
from sepgconv.data.labelled import LabelledParts
from sepgconv.data.options import DataOptions
from sepgconv.data.part_names import PartOrAll, part_of
from sepgconv.data.regular_file import why_unreadable

SUFFIXES = (".h5", ".hdf5", ".hdf")
_SLICE_BYTES = 2**26  # of images that are read at once

_Place = tuple[Path, str]  # a file, and the key of an array in it


def is_hdf5(path: Path) -> bool:
    """Return whether a path is an HDF5 file by its ending, or a folder that holds such files and no folders."""
    if not path.is_dir():
        return path.suffix.lower() in SUFFIXES
    entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    return any(entry.suffix.lower() in SUFFIXES for entry in entries) and not any(entry.is_dir() for entry in entries)


def load_hdf5(
    path: Path,
    *,
    image_size: int | None = None,
    bit_depth: int | None = None,
    storage: Storage | None = None,
    options: DataOptions | None = None,
) -> LabelledParts:
    """Read an HDF5 file, or a folder of them; the name of the result is `hdf5:<stem>`, pixels are in [0, 1].

    Keys, shapes, dtypes and labels are those of `sepgconv.data.npz.load_npz`; `images` and `ans` as in Galaxy10 are
    known, too. In a folder a file may hold one array, called `x` or `y`, and its name says which part it is, as in PCam
    (`..._train_x.h5`, `..._train_y.h5`). Images are read a slice at a time, or when they are needed.

    Args:
        path: the file, or the folder.
        image_size: scale images to this height and width. Default: as they are.
        bit_depth: bits that uint16 images use. Default: the smallest number that holds them all.
        storage: whether the images are read into memory, or stay in the file; there is no cache. Default: as `Storage`
            decides.
        options: the keys of images and labels, and what the labels are. Default: found by their names.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no HDF5 file, a damaged one, no such key, other shapes, dtypes or values, or more pixels than
            memory; the message names file and key.
        ImportError: h5py is not installed.

    Warns:
        UserWarning: as `load_npz`.
    """
    options = options or DataOptions()
    headers = _headers(path)
    known = {key: header for key, (_, header) in headers.items()}
    names = [key for key in CLASS_NAMES if key in known][:1]
    if options.images_key is not None or options.labels_key is not None:
        keys = _given(known, path, options)
    else:
        keys = find_keys(known, path, names)
    for found in keys.values():
        if 0 in (shape := known[found.images].shape):
            raise ValueError(f"{path}: {found.images}: no images, or images without pixels: shape {shape}")
    places = {key: place for key, (place, _) in headers.items()}
    bits = common_bit_depth([_brightest(places[found.images]) for found in keys.values()], path, bit_depth)
    columns: dict[PartOrAll, Hdf5Images] = {
        part: Hdf5Images(places[found.images], known[found.images], f"{path}: {found.images}", bits)
        for part, found in keys.items()
    }
    _, channels, height, width = next(iter(columns.values())).shape
    total, shape = sum(map(len, columns.values())), (channels, height, width)
    in_memory = fits_in_memory(storage or Storage(), total, shape, str(path))
    images: dict[PartOrAll, Entries] = {}
    for part, column in columns.items():
        images[part] = column.all() if in_memory else column
    return labelled_arrays(
        f"hdf5:{path.stem}",
        path,
        images,
        {part: _array(places[found.labels]) for part, found in keys.items()},
        keys,
        classes=read_class_names(_array(places[names[0]]), f"{path}: {names[0]}") if names else None,
        image_size=image_size,
        bits=bits,
        targets=options.targets,
    )


class Hdf5Images(Column):
    """The images in one array of an HDF5 file, float32 in [0, 1], read when they are asked for.

    The file is opened for each reading, so that several processes may read it.

    Args:
        place: the file, and the key of the array.
        header: shape and dtype of the array.
        title: what errors call it.
        bits: that uint16 images use; None: 16.

    Raises:
        ValueError: another shape.
    """

    def __init__(self, place: tuple[Path, str], header: Header, title: str, bits: int | None) -> None:
        self._place, self._title, self._bits = place, title, bits
        sample = as_images(np.zeros((1, *header.shape[1:]), header.dtype), title, bits)
        super().__init__((header.shape[0], *sample.shape[1:]), torch.float32)
        self._at_once = max(1, _SLICE_BYTES // max(1, header.bytes // max(1, header.shape[0])))

    def read(self, indices: Int64[Tensor, " k"]) -> Float[Tensor, "k c h w"]:
        """Return some images, float32 in [0, 1].

        Args:
            indices: which, in any order.

        Raises:
            ValueError: the file cannot be read, or values are out of range.
        """
        wanted, back = np.unique(indices.numpy(), return_inverse=True)  # h5py reads ascending indices only
        with _opened(self._place[0]) as file:
            array = np.asarray(file[self._place[1]][wanted])
        return as_images(array, self._title, self._bits)[torch.from_numpy(back)]

    def all(self) -> Float[Tensor, "n c h w"]:
        """Return all images, float32 in [0, 1], read a slice at a time."""
        images = torch.empty(self.shape)
        with _opened(self._place[0]) as file:
            for start in range(0, len(self), self._at_once):
                array = np.asarray(file[self._place[1]][start : start + self._at_once])
                images[start : start + len(array)] = as_images(array, self._title, self._bits)
        return images


def _headers(path: Path) -> dict[str, tuple[_Place, Header]]:
    """Return place and header of every array, by a key that says what it is: in a folder, part and kind."""
    if not path.is_dir():
        return {key: ((path, key), header) for key, header in _arrays_of(path).items()}
    found: dict[str, tuple[_Place, Header]] = {}
    for file in sorted(entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES):
        for key, header in _arrays_of(file).items():
            if place_of(key) is None:
                continue  # what other arrays hold is not known
            part = next(filter(None, map(part_of, words_of(file.stem))), None)
            name = f"{part}/{key}" if part else f"{file.name}/{key}"
            if name in found:
                raise ValueError(
                    f"{path}: {found[name][0][0].name} and {file.name} both hold {key} of {part}; keep one"
                )
            found[name] = ((file, key), header)
    return found


def _arrays_of(path: Path) -> dict[str, Header]:
    h5py = _h5py()
    headers: dict[str, Header] = {}

    def note(name: str, entry: Any) -> None:
        # What lies in other files is not looked into.
        if isinstance(entry, h5py.Dataset) and entry.external is None and not entry.is_virtual:
            headers[name] = Header(tuple(entry.shape or ()), np.dtype(entry.dtype))

    with _opened(path) as file:
        file.visititems(note)
    return headers


def _given(headers: Mapping[str, Header], path: Path, options: DataOptions) -> dict[PartOrAll, Keys]:
    if options.images_key is None or options.labels_key is None:
        raise ValueError(
            f"{path}: name both keys, that of the images and that of the labels (--images-key, --labels-key)"
        )
    for key in (options.images_key, options.labels_key):
        if key not in headers:
            raise ValueError(f"{path}: {unknown_name('array', key, headers)}")
    return {"all": Keys(options.images_key, options.labels_key)}


def _brightest(place: _Place) -> Shaped[ndarray, "_"]:
    """Return the largest value of an array of uint16, in an array; an empty one where the values are others."""
    with _opened(place[0]) as file:
        values = file[place[1]]
        if values.dtype != np.uint16:
            return np.zeros(0, np.uint8)
        at_once = max(1, _SLICE_BYTES // max(1, values.nbytes // len(values)))
        starts = range(0, len(values), at_once)
        return np.array([max(int(values[start : start + at_once].max()) for start in starts)], np.uint16)


def _array(place: _Place) -> Shaped[ndarray, "..."]:
    with _opened(place[0]) as file:
        values = file[place[1]]
        if values.dtype.kind == "O":  # text of any length
            return np.asarray(values.asstr()[...]).astype(np.str_)
        found = np.asarray(values[...])
    # PCam keeps labels as (n, 1, 1, 1).
    return found.reshape(len(found), -1) if found.ndim > 2 and found.size == len(found) else found


@contextmanager
def _opened(path: Path) -> Generator[Any, None, None]:
    """Open an HDF5 file to read it; every error inside becomes one that names the file."""
    if why := why_unreadable(path):
        if why == "is not there":
            raise FileNotFoundError(f"there is no file {path}")
        raise ValueError(f"{path} {why}")
    try:
        with _h5py().File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError) as error:
        said = "it is no HDF5 file, or damaged" if isinstance(error, OSError) and not error.errno else str(error)
        raise ValueError(f"{path} cannot be read: {said}") from error


def _h5py() -> Any:
    return require("h5py", extra="train", purpose="reading HDF5 files")
