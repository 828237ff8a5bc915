"""The images that a task answers with, as files: masks and numbered objects."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from sepgconv._files import write_atomically
from sepgconv._messages import require
from sepgconv.tasks.task import Task


def write_images(task: Task, outputs: Tensor, names: Sequence[str], folder: Path) -> list[Path]:
    """Write what a task draws for each image (`Task.draw`) as PNG files, each whole or not at all.

    Args:
        task: segmentation, or another one that draws.
        outputs: (n, ...), of the network.
        names: of the n images, without folder and ending, as in "slide 3".
        folder: where to; it is made if it is not there.

    Returns:
        The files, as in "slide 3-mask.png".

    Raises:
        ValueError: there are not as many names as outputs, or a name stands twice.
        OSError: a file could not be written.

    Example:
        >>> import tempfile, torch
        >>> from pathlib import Path
        >>> from sepgconv.tasks import get_task
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = write_images(get_task("segmentation"), torch.rand(1, 3, 8, 8), ["cells"], Path(folder))
        >>> [path.name for path in paths]
        ['cells-mask.png']
    """
    if len(names) != len(outputs):
        raise ValueError(f"expected a name for each of {len(outputs)} images, got {len(names)}")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two images are called {twice!r}, and one would take the file of the other; rename one")
    written: list[Path] = []
    for name, images in zip(names, task.draw(outputs), strict=True):
        for ending, pixels in images.items():
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{name}-{ending}.png"
            write_atomically(path, _png(pixels))
            written.append(path)
    return written


def _png(pixels: NDArray[Any]) -> bytes:
    require("PIL", extra="train", purpose="writing images")
    import io

    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    return content.getvalue()
