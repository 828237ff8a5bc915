"""Figure 3: Rotated MNIST, error against training images (a) and against parameters (b)."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, TypeAlias

from experiments.cells import Cell
from experiments.comparison import compare
from experiments.experiment import Experiment, Row
from experiments.report import Picture, Report
from experiments.statistics import SeedRuns, runs_by_data
from experiments.store import Reading
from experiments.table1 import PUBLISHED
from sepgconv._text import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curves: TypeAlias = dict[str, list[list[float | None]]]  # by title: position, mean, standard deviation

SEEDS = (1, 2, 3)
IMAGES = (600, 1200, 2400, 4800, 12_000)
# The three networks of about 25,000 parameters.
NETWORKS = (("P4CNN", "p4cnn", 10), ("g-P4CNN", "g_p4cnn", 17), ("gc-P4CNN", "gc_p4cnn", 30))
# From theory.md, Rotated MNIST: the ends of each range, and widths between them at about equal ratios; and Table 1's.
WIDTHS = (
    ("Z2CNN", "z2cnn", (10, 20, 32, 57, 100)),
    ("c-Z2CNN", "c_z2cnn", (25, 57, 88, 166, 311)),
    ("P4CNN", "p4cnn", (5, 10, 16, 28, 50)),
    ("g-P4CNN", "g_p4cnn", (8, 10, 17, 27, 48, 85)),
    ("gc-P4CNN", "gc_p4cnn", (10, 30, 62, 94, 126, 158)),
)
ALL = 12_000


def _images_row(title: str, model: str, width: int, images: int) -> Row:
    # All images are no choice of images: the cell is that of Table 1.
    cell = Cell(model=model, model_config={"width": width}, images=None if images == ALL else images)
    published = PUBLISHED.get((model, width), "") if images == ALL else ""
    return Row(title=f"{title}, w {width}, {images:,} images", cell=cell, published=published)


IMAGES_ROWS = tuple(_images_row(*network, images) for images in reversed(IMAGES) for network in NETWORKS)
WIDTH_ROWS = tuple(
    Row(
        title=f"{title}, w {width}",
        cell=Cell(model=model, model_config={"width": width}),
        published=PUBLISHED.get((model, width), ""),
    )
    for title, model, widths in WIDTHS
    for width in widths
)
# A cell that is in both parts is run once.
_FIRST = {row.cell.row_key for row in IMAGES_ROWS}
ROWS = (*IMAGES_ROWS, *(row for row in WIDTH_ROWS if row.cell.row_key not in _FIRST))


_PLOTTED = "The paper gives numbers for the networks of its Table 1 only, the others as points of a plot."
IMAGES_NOTES = (
    "Every run has 50 epochs, as in Table 1, so 600 images are 150 steps and 12,000 are 2,350. Each seed draws its own "
    "part of the images.",
    _PLOTTED,
)
WIDTH_NOTES = (_PLOTTED,)


def report(reading: Reading) -> Report:
    """Return both parts, each as a table and a picture."""
    tables = [
        compare(title, rows, SEEDS, reading, notes=notes).table
        for title, rows, notes in (
            ("a: training images", IMAGES_ROWS, IMAGES_NOTES),
            ("b: model size", WIDTH_ROWS, WIDTH_NOTES),
        )
    ]
    curves: Curves = {}
    for title, model, width in NETWORKS:
        curves |= curves_of(title, reading, [(n, _images_row(title, model, width, n)) for n in IMAGES])
    sizes: Curves = {}
    for title, model, _ in WIDTHS:
        sizes |= curves_of(title, reading, [(None, row) for row in WIDTH_ROWS if row.cell.model == model])
    missing = [row.title for row in WIDTH_ROWS if not runs_by_data(reading.of_row(row.cell))]
    return Report(
        title="Figure 3: test error against training images and parameters",
        parts=(
            _picture("figure3a.png", "Test error against training images", "training images", curves),
            tables[0],
            _picture("figure3b.png", "Test error against parameters", "parameters", sizes),
            f"Widths not run: {'; '.join(missing) or 'none'}.",
            tables[1],
        ),
    )


def curves_of(
    title: str,
    reading: Reading,
    rows: Sequence[tuple[int | None, Row]],
    errors: Callable[[SeedRuns], list[float]] = lambda runs: runs.errors,
) -> Curves:
    """Return [position, mean, standard deviation] of each row that was run, by title; one curve for each data set.

    One run has the deviation None.

    Args:
        title: of the curve; with the data set's name in it where there are several.
        reading: the records.
        rows: with their positions; None stands for the number of parameters.
        errors: what is averaged, in percent. Default: the test errors of the last epoch.
    """
    curves: Curves = {}
    for position, row in rows:
        for runs in runs_by_data(reading.of_row(row.cell)):
            x = runs.common_value("parameters") if position is None else position
            if values := errors(runs):
                deviation = round(stdev(values), 4) if len(values) > 1 else None
                curves.setdefault(runs.data, []).append([float(x), round(fmean(values), 4), deviation])
    return {title if len(curves) == 1 else f"{title}, {data}": points for data, points in sorted(curves.items())}


def _picture(file: str, caption: str, axis: str, curves: Curves) -> Picture:
    return Picture(
        file=file,
        caption=f"{caption}, mean and standard deviation over seeds",
        content={"axis": axis, "curves": curves},
        draw=draw,
    )


def draw(figure: "Figure", content: Any) -> None:
    """Draw curves of the error with bars of one standard deviation, both axes logarithmic."""
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    axes = figure.subplots()
    for name, points in content["curves"].items():
        if points:
            x, mean, deviation = zip(*points, strict=True)
            # One run has no deviation, and gets no bar.
            bars = [math.nan if value is None else value for value in deviation]
            axes.errorbar(x, mean, yerr=bars, marker="o", capsize=3, label=visible(name))
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):  # numbers as people read them, also where the axis is shorter than a decade
        axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axis.set_minor_formatter("")
    axes.set_xlabel(content["axis"])
    axes.set_ylabel("test error in %")
    axes.grid(alpha=0.3, which="both")
    if any(content["curves"].values()):
        axes.legend()
    else:
        axes.set_title("not run")


EXPERIMENT = Experiment(name="figure3", rows=ROWS, seeds=SEEDS, report=report)
