"""Files that are whole or absent: written beside their place, flushed to the disk, then renamed."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that a kill or a full disk at any moment leaves the old one or the new one, never a part.

    Args:
        path: where to; the folder is made when it is missing.
        content: all of it.

    Raises:
        OSError: it could not be written; what was there before is untouched, the part is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:  # also Ctrl-C: nothing half-written stays behind
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and str(error.filename) == str(part):  # the user knows the file by its own name
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    _sync_folder(path.parent)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write values as indented JSON, whole or not at all.

    Raises:
        OSError: it could not be written.
    """
    write_atomically(path, (json.dumps(values, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that `write_json` wrote.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not a JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also a UnicodeDecodeError
        raise ValueError(f"{path} is not JSON ({error}); it was damaged or edited") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a JSON object, it holds a {type(values).__name__}")
    return values


def _sync_folder(folder: Path) -> None:
    # A rename is on the disk only when its folder is; Windows cannot open folders and needs no such step.
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
