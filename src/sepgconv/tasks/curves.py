"""The learning curves of a run as an image."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sepgconv._drawing import literal_text
from sepgconv._files import write_atomically
from sepgconv._text import shortened, visible
from sepgconv.tasks.history import MetricsRow
from sepgconv.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = 110  # letters that fit above the curves
# "train" alone is the network after an epoch; these values are means over the epoch, while it changes.
_LABELS = {"train": "train, running mean", "validation": "validation"}


def draw_curves(
    path: Path,
    history: Sequence[MetricsRow],
    *,
    task: Task,
    title: str,
    test: float | None,
    chosen: int | None = None,
) -> None:
    """Draw the loss and the deciding metric over the epochs as PNG.

    Args:
        path: the file.
        history: a row for each epoch, as `metrics.csv` has them.
        task: names the loss and the metric.
        title: stands above them.
        test: value of the metric on the test images; a single mark. None: there is none.
        chosen: the epoch that it is of. Default: the last one.

    Raises:
        OSError: it could not be written.
    """
    # Imported here: half a second, and only a finished run draws. A Figure of its own, not pyplot, so that no global
    # state and no window system is touched.
    from matplotlib.figure import Figure

    image = io.BytesIO()
    with literal_text():
        figure = Figure(figsize=(10, 4), layout="constrained")
        figure.suptitle(shortened(visible(title), TITLE))
        _draw(figure, history, task, test, chosen)
        figure.savefig(image, format="png", dpi=120)
    write_atomically(path, image.getbuffer())


def _draw(figure: "Figure", history: Sequence[MetricsRow], task: Task, test: float | None, chosen: int | None) -> None:
    metric = task.metrics[0]
    quantities = (("loss", task.loss_name), (metric.name, metric.title))
    for axes, (quantity, label) in zip(figure.subplots(1, 2), quantities, strict=True):
        for part in ("train", "validation"):
            points = [(row["epoch"], row[f"{part}_{quantity}"]) for row in history if f"{part}_{quantity}" in row]
            if points:
                epochs, values = zip(*points, strict=True)
                axes.plot(epochs, values, marker=".", label=_LABELS[part])
        if quantity == metric.name and history and test is not None:
            mark = "test, last epoch" if chosen is None else f"test, best epoch ({chosen})"
            axes.plot(history[-1]["epoch"] if chosen is None else chosen, test, "k*", label=mark)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0 if quantity == "loss" else metric.least if math.isfinite(metric.least) else None)
        axes.grid(alpha=0.3)
        if axes.get_lines():
            axes.legend()
