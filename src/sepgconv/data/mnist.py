"""MNIST: the four published IDX files, found or fetched, and a strict reader for the format."""

import gzip
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from sepgconv.data.download import Places, RemoteFile, fetch, find_intact

_SERVERS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")


def _published(name: str, md5: str) -> RemoteFile:
    return RemoteFile(name, f"md5:{md5}", tuple(server + name for server in _SERVERS))


# Train images and labels, then test images and labels (Y. LeCun, C. Cortes, C. Burges; CC BY-SA 3.0).
MNIST_FILES = (
    _published("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    _published("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
    _published("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
    _published("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
)


def find_mnist(files: Sequence[RemoteFile], places: Places) -> tuple[Path, ...] | None:
    """Return the paths of the four files if intact copies of all are on disk, else None."""
    paths = [path for file in files if (path := find_intact(file, places))]
    return tuple(paths) if len(paths) == len(files) else None


def fetch_mnist(files: Sequence[RemoteFile], places: Places) -> tuple[Path, ...]:
    """Return the paths of the four files, downloading those that are not on disk.

    Raises:
        DownloadError: one of them could not be downloaded.
    """
    return tuple(find_intact(file, places) or fetch(file, places) for file in files)


def read_mnist(paths: Sequence[Path]) -> tuple[UInt8[ndarray, "n h w"], UInt8[ndarray, " n"]]:
    """Read all images, train before test, with their labels; pixels 0..255, labels 0..9.

    Raises:
        ValueError: a file is not of the format, or images and labels do not fit together.
    """
    image_files, label_files = paths[0::2], paths[1::2]
    images = np.concatenate([read_idx(path, dimensions=3) for path in image_files])
    labels = np.concatenate([read_idx(path, dimensions=1) for path in label_files])
    if len(images) != len(labels) or labels.max(initial=0) > 9:
        raise ValueError(
            f"{image_files[0].parent}: {len(images)} images, {len(labels)} labels, the largest {labels.max(initial=0)}"
        )
    return images, labels


def read_idx(path: Path, *, dimensions: int) -> UInt8[ndarray, "*shape"]:
    """Read a gzipped IDX file of bytes.

    Layout: a magic number (0x0800 + number of axes) and the length of every axis, 32-bit big-endian; then the bytes.

    Args:
        path: the file.
        dimensions: how many axes it must have: 3 for images, 1 for labels.

    Raises:
        ValueError: it is no gzip file, has another magic number, or more or fewer values than it says.
    """
    try:
        with gzip.open(path) as stream:
            content = stream.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not a complete gzip file ({error})") from error
    header, magic = 4 * (1 + dimensions), 0x0800 + dimensions
    if len(content) < header:
        raise ValueError(f"{path}: {len(content)} bytes are too short for an IDX header of {header}")
    found, *shape = struct.unpack(f">{1 + dimensions}I", content[:header])
    if found != magic:
        raise ValueError(f"{path}: expected magic number {magic} (bytes, {dimensions} axes), got {found}")
    if len(content) - header != np.prod(shape, dtype=np.int64):
        raise ValueError(f"{path}: header says shape {tuple(shape)}, but {len(content) - header} values follow")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
