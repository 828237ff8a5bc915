"""`.npz` files are not trusted: sizes are read before anything is allocated, and nothing in them is executed."""

import zipfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from sepgconv.data.memory import check_fits_memory
from sepgconv.data.regular_file import reason, why_unreadable

Array = Shaped[ndarray, "..."]

_READ = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class ArrayFileError(ValueError):
    """A file that is not what it should be; the message names it, and the array."""


@dataclass(frozen=True)
class Header:
    """What the file says of an array before its values.

    Attributes:
        shape: of the array.
        dtype: of its values.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> int:
        """Bytes of all values."""
        return prod(self.shape) * self.dtype.itemsize


def read_headers(path: Path) -> dict[str, Header]:
    """Read the names, shapes and dtypes of all arrays of a file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no file, no `.npz` file, damaged, or not of plain arrays.
    """
    with _opened(path) as archive:
        headers: dict[str, Header] = {}
        for entry in archive.infolist():
            key = entry.filename.removesuffix(".npy")
            if key == entry.filename:
                continue  # no array
            if key in headers:
                raise ArrayFileError(f"{path}: holds two arrays called {key}; keep one")
            with _told_as_damage(f"{path}: {key}"), archive.open(entry) as stream:
                headers[key] = _header(stream, entry, f"{path}: {key}")
        return headers


def read_arrays(path: Path, required: Sequence[str] = (), *, keys: Sequence[str] | None = None) -> dict[str, Array]:
    """Read arrays of an `.npz` file, executing nothing from it; the checksum of each is checked.

    Args:
        path: the file.
        required: keys that must be there.
        keys: which to read. Default: all.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no `.npz` file, damaged, holds Python objects, lacks a required key, or does not fit into
            memory.
    """
    headers = read_headers(path)
    require_keys(headers, required, path)
    wanted = list(headers) if keys is None else list(keys)
    total = sum(headers[key].bytes for key in wanted)
    largest = max(wanted, key=lambda key: headers[key].bytes, default="")
    check_fits_memory(total, f"{path}: the arrays, {largest} above all,", "give a smaller file")
    arrays: dict[str, Array] = {}
    with _opened(path) as archive:
        for key in wanted:
            with _told_as_damage(f"{path}: {key}"), archive.open(f"{key}.npy") as stream:
                try:
                    array = np.lib.format.read_array(stream, allow_pickle=False)
                    arrays[key] = array.astype(array.dtype.newbyteorder("="), copy=False)
                except MemoryError:
                    size = f"{headers[key].bytes / 2**30:,.1f} GiB"
                    raise ArrayFileError(f"{path}: {key} takes {size}, for which there is no memory") from None
                stream.read()  # to the end, where the checksum is compared
    return arrays


def require_keys(found: Mapping[str, object], keys: Sequence[str], path: Path) -> None:
    """Raise if a file lacks a key.

    Raises:
        ValueError: the message says which keys are missing and which are there.
    """
    if missing := [key for key in keys if key not in found]:
        raise ValueError(
            f"{path}: missing {', '.join(missing)} (expected {', '.join(keys)}; "
            f"found {', '.join(sorted(found)) or 'nothing'})"
        )


def _header(stream: Any, entry: zipfile.ZipInfo, title: str) -> Header:
    version = np.lib.format.read_magic(stream)
    if version not in _READ:
        raise ArrayFileError(f"{title} has fields with names; save it as plain arrays")
    shape, _, dtype = _READ[version](stream)
    if dtype.hasobject:
        # NumPy's own words recommend to load the file unsafely, which is not on offer here.
        raise ArrayFileError(f"{title} holds Python objects, which can run code when read; save it as plain arrays")
    header = Header(shape, dtype)
    follow = entry.file_size - stream.tell()
    if header.bytes != follow:
        raise ArrayFileError(
            f"{title} is damaged: shape {shape} of {dtype} takes {header.bytes:,} bytes, {follow:,} follow"
        )
    return header


@contextmanager
def _told_as_damage(title: str) -> Generator[None, None, None]:
    try:
        yield
    except (ArrayFileError, OSError):
        raise
    except Exception as error:  # a damaged archive can fail with nearly any exception
        why = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")  # then NumPy recommends unsafe loading
        raise ArrayFileError(f"{title} is damaged or cut off ({why}); copy or write the file again") from error


@contextmanager
def _opened(path: Path) -> Generator[zipfile.ZipFile, None, None]:
    if why := why_unreadable(path):
        if why == "is not there":
            raise FileNotFoundError(f"there is no file {path}")
        raise ValueError(f"{path} {why}; expected an .npz file")
    try:
        with path.open("rb") as stream:
            start = stream.read(6)
            if not start.startswith(b"PK"):
                raise ArrayFileError(
                    f"{path}: not an .npz file of plain arrays, {_kind(start)}; write it with numpy.savez"
                )
            with _told_as_damage(str(path)), zipfile.ZipFile(stream) as archive:
                yield archive
    except OSError as error:
        raise type(error)(f"{path} cannot be read: {reason(error)}") from error


def _kind(start: bytes) -> str:
    if not start:
        return "but empty"
    return "but a single array (.npy)" if start == b"\x93NUMPY" else "but something else"
