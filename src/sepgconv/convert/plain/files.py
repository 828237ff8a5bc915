"""Files of exported networks: written beside their place, compared with the network, and only then put there."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Export:
    """A file that was written, run, and compared with the network.

    Attributes:
        path: the file.
        bytes: its size.
        difference: the largest difference of its answers from the network's, as a part of the largest answer.
        free: the axes of the input that may have any length: "batch", and "height" and "width" where the network
            takes pictures of any size.
        opset: the version of the operators of ONNX; None for other files.
    """

    path: Path
    bytes: int
    difference: float
    free: tuple[str, ...]
    opset: int | None = None


def write_compared(path: Path, write: Callable[[Path], None], compare: Callable[[Path], float]) -> float:
    """Write a file that is whole and right, or none; what was there before stays until then.

    Args:
        path: where to; its folder is made when it is missing.
        write: writes it to another name beside.
        compare: runs the file of that name and returns its difference from the network, or raises ValueError.

    Returns:
        The difference.

    Raises:
        OSError: it cannot be written.
        ValueError: from `compare`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file")
    part = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(part)
        difference = compare(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return difference
