"""Decoded images of a data set in one file of the cache, mapped into memory a few pages at a time.

The file holds the pixels of all images one after the other; then a description in JSON (their shape, which files they
are of, which could not be read, the SHA-256 of the pixels); then the length of the description and a mark. What is
damaged, or is of files that have changed since, is written anew.
"""

import hashlib
import json
import mmap
import os
import re
import shutil
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from sepgconv._files import LockedError, locked, write_atomically
from sepgconv._messages import require
from sepgconv.data.column import Column
from sepgconv.data.image_files import Decoded, Form, Storage, Wanted, decoded_batches, has_mask, targets_of
from sepgconv.data.listing import ListedImage
from sepgconv.data.reading import Reading
from sepgconv.data.regular_file import reason

_VERSION = 1  # of how images become pixels; another one makes all files of the cache stale
_MARK = b"\0sepimg1"  # of how the file is laid out
_SUFFIX = ".images"
_NAMES = "surrogateescape"  # how names that are no UTF-8 are hashed
_WAIT = 0.2  # seconds between looks at what another process writes
_KEPT_MAPPED = 2**26  # bytes read until the pages are given back; they stay in the system's own cache of files


def default_cache() -> Path:
    """Return the folder for decoded images in the user's cache."""
    pooch = require("pooch", extra="train", purpose="finding the user's cache")
    return Path(pooch.os_cache("sepgconv")) / "images"


def storage_of(in_memory: bool | None, cache: bool | str | Path) -> Storage:
    """Return where images are kept, as `load_dataset` takes it: `cache` is True (the user's), a folder, or False."""
    if cache is False:
        return Storage(in_memory)
    return Storage(in_memory, default_cache() if cache is True else Path(cache).expanduser())


class CachedImages(Column):
    """Images in a file of the cache, (n, channels, height, width).

    Args:
        path: the file.
        shape: of all images together.
        dtype: of the pixels.
        digest: the SHA-256 of the pixels, by which a copy of this object in another process knows the file.
    """

    def __init__(self, path: Path, shape: Sequence[int], dtype: "np.dtype[Any]", digest: str) -> None:
        super().__init__(shape, torch.from_numpy(np.empty(0, dtype)).dtype)
        self._path, self._kind, self._digest = path, dtype, digest
        self._open()

    def _open(self) -> None:
        with self._path.open("rb") as file:
            # Mapped at once: the file of this name may be replaced while this object is used.
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._pixels = np.frombuffer(self._map, self._kind, count=prod(self.shape)).reshape(self.shape)
        self._read_since = 0

    def read(self, indices: Int64[Tensor, " k"]) -> Shaped[Tensor, "k c h w"]:
        """Copy some images out of the file."""
        found = torch.from_numpy(self._pixels[indices.numpy()])
        self._read_since += found.nbytes
        if self._read_since > _KEPT_MAPPED and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._read_since = 0
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self._path, "shape": self.shape, "kind": self._kind, "digest": self._digest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        found = _read_description(state["path"])
        if found is None or found.digest != state["digest"]:
            raise OSError(f"{state['path']} is another file than when the images were loaded; start again")
        self.__init__(state["path"], state["shape"], state["kind"], state["digest"])


@dataclass(frozen=True)
class _Description:
    files: str  # SHA-256 of the names, sizes and times of the files
    wanted: dict[str, Any]
    form: dict[str, Any]
    images: int
    unreadable: dict[str, str]
    notes: list[str]
    digest: str

    def decoded(self, path: Path, images: Sequence[ListedImage]) -> Decoded:
        reading: dict[str, Any] = self.form["reading"]
        values = reading["value_range"]
        channels, height, width = self.form["shape"]
        given: Any = {**reading, "value_range": None if values is None else tuple(values)}
        form = Form((channels, height, width), Reading(**given), self.form["deep"])
        unreadable = {int(number): why for number, why in self.unreadable.items()}
        kept = [image for number, image in enumerate(images) if number not in unreadable]
        pixels = CachedImages(path, (self.images, *form.shape), form.dtype, self.digest)
        return Decoded(pixels, targets_of(kept, form), form, unreadable, self.notes)

    @property
    def nbytes(self) -> int:
        return self.images * prod(self.form["shape"]) * (4 if self.form["deep"] else 1)

    def serves(self, wanted: Wanted) -> bool:
        """Return whether the images are in the wanted form: what was not said then may have come out as it."""
        channels, *size = self.form["shape"]
        came_out = {"channels": channels, "size": size, **self.form["reading"]}
        return all(value == self.wanted[name] or value == came_out[name] for name, value in _said(wanted).items())


def find_cached(folder: Path, root: Path, images: Sequence[ListedImage], wanted: Wanted) -> Decoded | None:
    """Return images from the cache; None if they are not there, damaged, or of files that have changed.

    Args:
        folder: the cache.
        root: the path of the data set.
        images: of it.
        wanted: their form.

    Warns:
        UserWarning: a file of the cache is damaged, or cannot be read.
    """
    if not folder.is_dir():
        return None
    files = _fingerprint(root, images)
    for path in sorted(folder.glob(f"{_stem(root)}-*{_SUFFIX}")):
        try:
            found = _read_description(path)
            if found is not None and found.files == files and found.serves(wanted):
                if _is_whole(path, found):
                    return found.decoded(path, images)
                found = None
            if found is None:
                warnings.warn(f"{path} is damaged, or of another version; the images are decoded anew", stacklevel=4)
        except OSError as error:
            warnings.warn(f"{path} cannot be read ({reason(error)}); the images are decoded anew", stacklevel=4)
    return None


def write_cached(
    folder: Path, root: Path, images: Sequence[ListedImage], wanted: Wanted, begun: Decoded
) -> Decoded | None:
    """Decode images into the cache and return them; None if they do not fit there or it may not be written to.

    If another process decodes the same files at this moment, its file is waited for.

    Args:
        folder: the cache; it is made.
        root: the path of the data set.
        images: of it.
        wanted: their form.
        begun: what is known of them before they are decoded.

    Warns:
        UserWarning: the cache cannot be used, and why.
    """
    form = begun.form
    path = folder / f"{_stem(root)}-{_hash(_plain(form))[:8]}{_SUFFIX}"
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(path.with_suffix(".lock")):
                # Another process may have written it since it was looked for.
                found = find_cached(folder, root, images, wanted)
                return _write(path, root, images, wanted, begun) if found is None else found
        except LockedError:
            time.sleep(_WAIT)
        except OSError as error:
            warnings.warn(
                f"the cache of decoded images cannot be used ({folder}: {reason(error)}), so the files are decoded "
                "whenever they are needed; another folder can be given (cache=FOLDER, --cache)",
                stacklevel=4,
            )
            return None


def _write(path: Path, root: Path, images: Sequence[ListedImage], wanted: Wanted, begun: Decoded) -> Decoded:
    form, unreadable = begun.form, dict(begun.unreadable)
    readable = [number for number in range(len(images)) if number not in unreadable]
    needed, free = len(readable) * prod(form.shape) * form.dtype.itemsize, shutil.disk_usage(path.parent).free
    if needed > free:
        raise OSError(0, f"the images take {needed / 2**30:,.1f} GiB, and {free / 2**30:,.1f} are free")
    files = _fingerprint(root, images)
    for other in path.parent.glob(f"{_stem(root)}-*{_SUFFIX}"):
        found = _read_description(other)
        if found is None or found.files != files:
            other.unlink(missing_ok=True)  # stale; whoever has mapped it keeps it
    written: list[_Description] = []

    def write(name: Path) -> None:
        seen, count = hashlib.sha256(), 0
        with name.open("wb") as file:
            for batch in decoded_batches(images, readable, form, unreadable):
                content = np.ascontiguousarray(batch.pixels).data
                seen.update(content)
                file.write(content)
                count += len(batch.pixels)
            reasons = {str(number): why for number, why in unreadable.items()}
            description = _Description(
                files, _said(wanted), _plain(form), count, reasons, list(begun.notes), seen.hexdigest()
            )
            text = json.dumps(asdict(description)).encode()
            file.write(text + hashlib.sha256(text).digest() + len(text).to_bytes(8, "little") + _MARK)
        written.append(description)

    write_atomically(path, write)
    return written[0].decoded(path, images)


def _read_description(path: Path) -> _Description | None:
    """Return what stands at the end of a file of the cache; None if it is damaged.

    Raises:
        OSError: it cannot be read.
    """
    end = len(_MARK) + 8 + 32
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - end))
        tail = file.read(end)
        if len(tail) < end or tail[-len(_MARK) :] != _MARK:
            return None
        length = int.from_bytes(tail[32:40], "little")
        if length > size - end:
            return None
        file.seek(size - end - length)
        text = file.read(length)
    if hashlib.sha256(text).digest() != tail[:32]:
        return None
    try:
        found = _Description(**json.loads(text))
    except TypeError:  # of another version
        return None
    return found if size == found.nbytes + length + end else None


def _is_whole(path: Path, found: _Description) -> bool:
    """Return whether the pixels are those that were written."""
    seen, left = hashlib.sha256(), found.nbytes
    with path.open("rb") as file:
        while left > 0 and (content := file.read(min(2**22, left))):
            seen.update(content)
            left -= len(content)
    return left == 0 and seen.hexdigest() == found.digest


def _fingerprint(root: Path, images: Sequence[ListedImage]) -> str:
    """Return the SHA-256 of names, sizes and times of the files of images and masks, and of what decodes them."""
    from PIL import __version__ as pillow

    seen = hashlib.sha256(f"{_VERSION} {pillow}\n".encode())
    for image in images:
        seen.update(
            f"{os.path.relpath(image.path, root)}\0{image.origin.page} {_state(image.path)}".encode(errors=_NAMES)
        )
        mask: Any = image.target if has_mask(image) else None
        if mask is not None:
            # What it says of itself, as the values of its classes or its polygons; and its file, if it has one.
            seen.update(f"\0{mask!r} {_state(mask.path) if hasattr(mask, 'path') else ''}".encode(errors=_NAMES))
        seen.update(b"\n")
    return seen.hexdigest()


def _state(path: Path) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return "not there"
    return f"{status.st_size} {status.st_mtime_ns}"


def _stem(root: Path) -> str:
    """Return what the names of a data set's files begin with; nothing in it is special to a search for files."""
    place = root.resolve()
    return f"{re.sub(r'[^A-Za-z0-9_]+', '_', place.name)[:40]}-{_hash(os.fspath(place))[:16]}"


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode(errors=_NAMES)).hexdigest()


def _plain(form: Form) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(form)))


def _said(wanted: Wanted) -> dict[str, Any]:
    said = {"channels": wanted.channels, "size": wanted.size, **asdict(wanted.reading)}
    return json.loads(json.dumps(said))
