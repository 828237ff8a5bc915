"""The confusion matrix of a run as an image."""

from pathlib import Path
from typing import TYPE_CHECKING

from sepgconv._drawing import literal_text
from sepgconv._files import write_atomically
from sepgconv._text import shortened, visible

if TYPE_CHECKING:
    from sepgconv.tasks import Confusion

NUMBERED, NAMED = 20, 60  # most classes whose cells have numbers, and that are named at the axes
LETTERS = 24  # of a class's name


def draw_confusion(confusion: "Confusion", path: Path, *, title: str) -> None:
    """Draw a confusion matrix, each row coloured by its shares, as PNG.

    Args:
        confusion: what to draw.
        path: the file, written whole or not at all.
        title: stands above.

    Raises:
        OSError: it could not be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    matrix = confusion.matrix.double()
    shares = (matrix / matrix.sum(1, keepdim=True).clamp(min=1)).numpy()
    number = len(confusion.classes)
    side = min(max(4.0, 0.55 * number + 2), 16.0)
    with literal_text():
        figure = Figure(figsize=(side + 1, side), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        figure.colorbar(image, ax=axes, label="share of the images of the class", shrink=0.8)
        if number <= NAMED:
            names = [shortened(visible(name), LETTERS) for name in confusion.classes]
            axes.set_xticks(range(number), names, rotation=90, fontsize=8)
            axes.set_yticks(range(number), names, fontsize=8)
        if number <= NUMBERED:
            for row in range(number):
                for column in range(number):
                    if count := int(confusion.matrix[row, column]):
                        colour = "white" if shares[row, column] > 0.5 else "black"
                        axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=8)
        axes.set_xlabel("answer")
        axes.set_ylabel("true class")
        axes.set_title(shortened(visible(title), 80), fontsize=10)
        write_atomically(path, lambda part: figure.savefig(part, dpi=110, format="png"))
