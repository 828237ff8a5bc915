"""The learning curves of a run as a picture."""

import io
from collections.abc import Sequence
from pathlib import Path

from sepgconv._files import write_atomically
from sepgconv.training.history import Row


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

    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title)
    for axes, quantity, label in zip(
        figure.subplots(1, 2), ("loss", "error"), ("cross entropy", "error in %"), strict=True
    ):
        for part in ("train", "validation"):
            points = [(row["epoch"], row[f"{part}_{quantity}"]) for row in history if f"{part}_{quantity}" in row]
            if points:
                epochs, values = zip(*points, strict=True)
                axes.plot(epochs, values, marker=".", label=part)
        if quantity == "error" and history:
            axes.plot(history[-1]["epoch"], test_error, "k*", label="test, last epoch")
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_atomically(path, picture.getbuffer())
