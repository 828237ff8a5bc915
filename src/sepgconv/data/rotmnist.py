"""`rotmnist`: Rotated MNIST, the official files where they can be had, else generated from MNIST; or one of the two."""

import math
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sepgconv._rotation import rotate_images
from sepgconv.data.dataset import Dataset, Split
from sepgconv.data.download import DownloadError, Places, RemoteFile, fetch, find_intact, missing_files, search_places
from sepgconv.data.mnist import MNIST_FILES, fetch_mnist, find_mnist, read_mnist
from sepgconv.data.preprocessing import Identity
from sepgconv.data.rotation import random_angles
from sepgconv.data.splitting import permutation

_SEED = 20070620
_SUBFOLDERS = ("rotmnist", "mnist_rotation_new", "mnist", "MNIST/raw")
_CLASSES = tuple("0123456789")
_FOUR = "the four files of MNIST"

Images: TypeAlias = Literal["official", "generated"]


@dataclass(frozen=True)
class Sources:
    """What Rotated MNIST is made from, and how large it is.

    Attributes:
        archive: the official archive.
        tables: its two members, train with validation, and test.
        mnist: the four IDX files that it can be generated from.
        sizes: number of train, validation and test images.
    """

    archive: RemoteFile
    tables: tuple[str, str]
    mnist: Sequence[RemoteFile]
    sizes: tuple[int, int, int]


PUBLISHED = Sources(
    archive=RemoteFile(
        "mnist_rotation_new.zip",
        "md5:0f9a947ff3d30e95cd685462cbf3b847",
        ("http://www.iro.umontreal.ca/~lisa/icml2007data/mnist_rotation_new.zip",),
    ),
    tables=(
        "mnist_all_rotation_normalized_float_train_valid.amat",
        "mnist_all_rotation_normalized_float_test.amat",
    ),
    mnist=MNIST_FILES,
    sizes=(10_000, 2_000, 50_000),
)


def load_rotmnist(
    data_dir: Path | None, *, download: bool, images: Images | None = None, sources: Sources = PUBLISHED
) -> Dataset:
    """Load Rotated MNIST: 28x28 grey, 10,000 train, 2,000 validation and 50,000 test images.

    Taken is the first that exists of: the official archive or its two tables on disk; MNIST on disk (generated); the
    official archive from the network; MNIST from the network. The name of the result says which of the two it is:

    - `rotmnist-official` (H. Larochelle et al., ICML 2007): rows 1 to 10,000 of the first table train, the next 2,000
      validate, the second table tests. Pixels are read row by row, in the order of the file, as published work does.
      They seem to have been written column by column, which shows the digits mirrored; all images are alike in this, so
      nothing changes for a network trained and tested on them.
    - `rotmnist-generated`: 62,000 distinct images of the 70,000 of MNIST, each rotated by its own angle, uniform in
      [0, 2 pi), bilinear; choice, order and angles from a fixed seed. The same task, but not the same images: say so
      beside published results.

    Args:
        data_dir: where the files may be; see `sepgconv.data.download`.
        download: whether the network may be used.
        images: "official" or "generated" alone. Default: either.
        sources: which files, with which checksums.

    Raises:
        FileNotFoundError: the files are neither there nor downloadable.
        ValueError: a file is not what it should be.
    """
    places = search_places(data_dir, _SUBFOLDERS)
    kinds: tuple[Images, ...] = ("official", "generated") if images is None else (images,)
    for kind in kinds:
        if dataset := _FIND[kind](sources, places):
            return dataset
    problems = [] if download else ["downloading was not allowed"]
    for kind in kinds if download else ():
        try:
            dataset = _FETCH[kind](sources, places)
        except DownloadError as error:
            problems.append(str(error))
        else:
            if problems:
                warnings.warn(f"{problems[0]}; Rotated MNIST is generated from MNIST instead", stacklevel=2)
            return dataset
    name = "rotmnist" if images is None else f"rotmnist-{images}"
    wanted = {"official": (sources.archive.name, (sources.archive,)), "generated": (_FOUR, tuple(sources.mnist))}
    needed = f"{'either ' if len(kinds) > 1 else ''}{' or '.join(wanted[kind][0] for kind in kinds)}"
    files = [file for kind in kinds for file in wanted[kind][1] if find_intact(file, places) is None]
    raise FileNotFoundError(f"{name} needs {needed}: {missing_files(files, places, '; '.join(problems))}")


def _find_official(sources: Sources, places: Places) -> Dataset | None:
    if archive := find_intact(sources.archive, places):
        return _from_archive(archive, sources)
    tables = _find_tables(sources, places)
    return _official([_read_table(path, path) for path in tables], sources) if tables else None


def _find_generated(sources: Sources, places: Places) -> Dataset | None:
    paths = find_mnist(sources.mnist, places)
    return _generate(paths, sources) if paths else None


def _fetch_official(sources: Sources, places: Places) -> Dataset:
    return _from_archive(fetch(sources.archive, places), sources)


def _fetch_generated(sources: Sources, places: Places) -> Dataset:
    return _generate(fetch_mnist(sources.mnist, places), sources)


_FIND: Mapping[Images, Callable[[Sources, Places], Dataset | None]] = MappingProxyType(
    {"official": _find_official, "generated": _find_generated}
)
_FETCH: Mapping[Images, Callable[[Sources, Places], Dataset]] = MappingProxyType(
    {"official": _fetch_official, "generated": _fetch_generated}
)


def _find_tables(sources: Sources, places: Places) -> list[Path] | None:
    folders = (*places.user, *places.ours)
    found = [next((f / name for f in folders if (f / name).is_file()), None) for name in sources.tables]
    paths = [path for path in found if path]
    if len(paths) == 1:
        warnings.warn(f"{paths[0]} is not used: the other of the two tables {sources.tables} is missing", stacklevel=2)
    return paths if len(paths) == len(sources.tables) else None


def _from_archive(path: Path, sources: Sources) -> Dataset:
    with zipfile.ZipFile(path) as archive:
        members = {Path(name).name: name for name in archive.namelist()}
        if missing := [name for name in sources.tables if name not in members]:
            raise ValueError(f"{path}: the archive has no {' and no '.join(missing)}")
        tables: list[Float[Tensor, "rows columns"]] = []
        for name in sources.tables:
            with archive.open(members[name]) as stream:
                tables.append(_read_table(stream, path / name))
    return _official(tables, sources)


def _read_table(source: Path | Iterable[bytes], title: Path) -> Float[Tensor, "rows columns"]:
    """Read a text table of one image a row: pixels in [0, 1], then the label."""
    try:
        table = torch.from_numpy(np.loadtxt(source, dtype=np.float32, ndmin=2))
    except ValueError as error:
        raise ValueError(f"{title}: not a table of numbers ({error})") from error
    pixels, labels = table[:, :-1], table[:, -1]
    side = math.isqrt(pixels.shape[1])
    if side * side != pixels.shape[1] or side == 0:
        raise ValueError(f"{title}: expected a square image and a label in every row, got {table.shape[1]} columns")
    # Interpolation may leave [0, 1] a little; pixels in 0..255 would not pass.
    if not bool((pixels > -0.5).all() & (pixels < 1.5).all()):
        raise ValueError(f"{title}: expected pixels in [0, 1], got {float(pixels.min())} to {float(pixels.max())}")
    if not bool(((labels >= 0) & (labels <= 9) & (labels == labels.round())).all()):
        raise ValueError(f"{title}: expected a digit 0 to 9 as the last value of every row")
    return table


def _official(tables: Sequence[Float[Tensor, "_ _"]], sources: Sources) -> Dataset:
    train, validation, test = sources.sizes
    expected, got = (train + validation, test), tuple(len(table) for table in tables)
    if got != expected or tables[0].shape[1] != tables[1].shape[1]:
        raise ValueError(f"the tables of Rotated MNIST must have {expected} rows of equal length, got {got} rows")
    table = torch.cat(list(tables))
    side = math.isqrt(table.shape[1] - 1)
    images = table[:, :-1].unflatten(1, (1, side, side)).contiguous()
    return _cut("rotmnist-official", images, table[:, -1].long(), sources.sizes)


def _generate(paths: Sequence[Path], sources: Sources) -> Dataset:
    pixels, digits = read_mnist(paths)
    needed = sum(sources.sizes)
    if len(pixels) < needed:
        raise ValueError(f"{paths[0].parent}: {needed} images of MNIST are needed, got {len(pixels)}")
    generator = np.random.default_rng(_SEED)
    chosen = permutation(len(pixels), generator)[:needed]
    images = torch.from_numpy(pixels[chosen]).unsqueeze(1).float() / 255
    rotated = rotate_images(images, random_angles(needed, generator))
    return _cut("rotmnist-generated", rotated, torch.from_numpy(digits[chosen].astype(np.int64)), sources.sizes)


def _cut(
    name: str, images: Float[Tensor, "n 1 h w"], labels: Int[Tensor, " n"], sizes: tuple[int, int, int]
) -> Dataset:
    train, validation, test = map(Split, images.split(sizes), labels.split(sizes))
    return Dataset(name, _CLASSES, train, validation, test, Identity())
