"""The learning curves of a run as a picture."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sepgconv._drawing import literal_text
from sepgconv._files import write_atomically
from sepgconv._text import shortened, visible
from sepgconv.tasks.history import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = 110  # letters that fit above the picture
# "train" alone is the network after an epoch; these values are means over the epoch, while it changes.
_LABELS = {"train": "train, running mean", "validation": "validation"}


def draw_curves(path: Path, history: Sequence[Row], *, title: str, test_error: float) -> None:
    """Draw loss and error over the epochs as PNG.

    Args:
        path: the file.
        history: a row for each epoch, as `metrics.csv` has them.
        title: stands above the picture.
        test_error: of the last epoch, in percent; a single mark.

    Raises:
        OSError: it could not be written.
    """
    # Imported here: half a second, and only a finished run draws. A Figure of its own, not pyplot, so that no global
    # state and no window system is touched.
    from matplotlib.figure import Figure

    picture = io.BytesIO()
    with literal_text():
        figure = Figure(figsize=(10, 4), layout="constrained")
        figure.suptitle(shortened(visible(title), TITLE))
        _draw(figure, history, test_error)
        figure.savefig(picture, format="png", dpi=120)
    write_atomically(path, picture.getbuffer())


def _draw(figure: "Figure", history: Sequence[Row], test_error: float) -> None:
    for axes, quantity, label in zip(
        figure.subplots(1, 2), ("loss", "error"), ("cross entropy", "error in %"), strict=True
    ):
        for part in ("train", "validation"):
            points = [(row["epoch"], row[f"{part}_{quantity}"]) for row in history if f"{part}_{quantity}" in row]
            if points:
                epochs, values = zip(*points, strict=True)
                axes.plot(epochs, values, marker=".", label=_LABELS[part])
        if quantity == "error" and history:
            axes.plot(history[-1]["epoch"], test_error, "k*", label="test, last epoch")
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        if axes.get_lines():
            axes.legend()
