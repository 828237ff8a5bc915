"""Files of exported networks: written beside their place, compared with the network, and then moved there."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sepgconv._files import write_atomically

FREE = ("batch", "height", "width")  # the axes of an input that may have any length


@dataclass(frozen=True)
class Export:
    """A file that was written, run, and compared with the network.

    Attributes:
        path: the file.
        bytes: its size.
        difference: the largest difference between its outputs and those of the network, relative to the largest output.
        free: the axes of the input that may have any length: "batch", and "height" and "width" if the network takes
            images of any size.
        opset: the version of the operators of ONNX; None for other files.

    Examples:
        >>> from pathlib import Path
        >>> from sepgconv.convert import Export
        >>> written = Export(Path("network.onnx"), bytes=4688, difference=1e-7, free=("batch",), opset=18)
        >>> "height" in written.free
        False
    """

    path: Path
    bytes: int
    difference: float
    free: tuple[str, ...]
    opset: int | None = None


def write_compared(path: Path, content: bytes, compare: Callable[[bytes], float]) -> float:
    """Write a file only if it is complete and correct; an earlier file stays until then.

    Args:
        path: where to; its folder is made when it is missing.
        content: all of the file.
        compare: runs what was read back from the disk and returns its difference from the network, or raises
            ValueError.

    Returns:
        The difference.

    Raises:
        OSError: it cannot be written.
        ValueError: from `compare`.
    """
    difference = 0.0

    def fill(part: Path) -> None:
        nonlocal difference
        try:
            part.write_bytes(content)
        except OSError as error:  # a full disk does not say which file
            raise OSError(error.errno, error.strerror, str(path)) from error
        difference = compare(part.read_bytes())

    write_atomically(path, fill)
    return difference
