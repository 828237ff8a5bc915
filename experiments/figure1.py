"""Figure 1: what symmetric filters do to the filters that read them; see `experiments.controlled`."""

import statistics
from typing import TYPE_CHECKING, Any

from experiments.cells import Cell
from experiments.comparison import compare
from experiments.experiment import Experiment, Row
from experiments.report import Picture, Report, Table
from experiments.statistics import SeedRuns, titled
from experiments.store import Reading

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEEDS = (1, 2, 3)
WIDTH = 10


def _row(title: str, filters: str) -> Row:
    cell = Cell(
        model="controlled_p4cnn",
        model_config={"width": WIDTH, "filters": filters, "precision": "float64"},
        initialisation="sepgconv",
        task="controlled",
    )
    return Row(title=title, cell=cell)


EQUAL, FREE = _row("filters begin equal along the poses", "equal"), _row("control: filters drawn freely", "free")
ROWS = (EQUAL, FREE)
MEASURES = (
    ("second_filters", "layer 2, kernels along the poses"),
    ("second_symmetry", "layer 2, kernels and their turned copies"),
    ("second_maps", "layer 2, maps along the poses"),
    ("third_filters", "layer 3, kernels along the poses, by the channel they read"),
)


def report(reading: Reading) -> Report:
    """Return the runs, the similarities, and a picture of filters and maps."""
    runs = compare("The runs", ROWS, SEEDS, reading).table
    equal, free = (titled(row.title, reading.of_row(row.cell)) for row in ROWS)
    parts: list[Table | Picture | str] = [
        "A p4 network without activation functions: only two 2 x 2 max pools and the maximum over the poses before the "
        "classifier are not linear. Its first layer is one fixed filter that no turn changes. All other filters begin "
        "equal along the poses, and the first half of the channels of layer 2 with kernels that no turn changes. "
        "Expected: layer 2 stays equal along the poses; its symmetric kernels stay symmetric, their maps are equal in "
        "all poses, and the filters of layer 3 that read them stay equal along the poses; those that read the others "
        "do not.",
        "Trained in float64. A symmetric kernel gets a symmetric gradient, but in float32 Adam makes asymmetry of its "
        "rounding, several percent within a hundred steps.",
        runs,
    ]
    if equal or free:
        parts.append(
            Table(
                title="Mean cosine similarity after training, 1 for equal",
                columns=("network", "channels of layer 2", *(name for _, name in MEASURES)),
                rows=tuple(
                    line
                    for found, symmetric in ((equal, True), (free, False))
                    for title, runs in found.items()
                    for line in _lines(title, runs, symmetric=symmetric)
                ),
                left=2,
                notes=(
                    "Smallest to largest over channels and seeds in brackets.",
                    "Of maps, each less its mean, so that the empty background does not count; on 100 test images.",
                ),
            )
        )
    if equal:
        first = next(iter(equal.values())).finished[0]
        parts.append(
            Picture(
                file="figure1.png",
                caption=f"Filters and maps of the controlled experiment, seed {first['seed']}, of a channel of layer 2 "
                "that began symmetric and of one that did not; each row has a scale of its own, the same for its poses",
                content=first["measures"]["similarity"]["shown"],
                draw=draw,
                size=(9.0, 6.0),
            )
        )
    return Report(title="Figure 1: symmetric filters and what follows from them", parts=tuple(parts))


def _lines(title: str, runs: SeedRuns, *, symmetric: bool) -> list[tuple[str, ...]]:
    half = WIDTH // 2
    names = ("first half, began symmetric", "second half, did not") if symmetric else ("first half", "second half")
    parts = zip(names, (slice(0, half), slice(half, None)), strict=True)
    lines: list[tuple[str, ...]] = []
    for part, channels in parts:
        cells: list[str] = []
        for measure, _ in MEASURES:
            values = [value for r in runs.finished for value in r["measures"]["similarity"][measure][channels]]
            cells.append(f"{statistics.fmean(values):.3f} [{min(values):.3f}, {max(values):.3f}]")
        lines.append((title, part, *cells))
    return lines


def draw(figure: "Figure", content: Any) -> None:
    """Draw, for a symmetric channel and another, the kernels and maps of layer 2 and the kernels of layer 3."""
    grid = figure.subplots(6, 4)
    names = ("layer 2 filter", "its map", "a layer 3 filter\nthat reads it")
    for half, title in enumerate(("began symmetric", "did not")):
        for line, key in enumerate(("second_filters", "second_maps", "third_filters")):
            values = content[key][half]
            low = min(min(row) for pose in values for row in pose)
            high = max(max(row) for pose in values for row in pose)
            for pose, axes in enumerate(grid[3 * half + line]):
                axes.imshow(values[pose], cmap="gray" if "maps" in key else "viridis", vmin=low, vmax=high)
                axes.set_xticks([])
                axes.set_yticks([])
                if pose == 0:
                    axes.set_ylabel(f"{title}:\n{names[line]}", rotation=0, ha="right", va="center")
                if half == line == 0:
                    axes.set_title(f"pose {pose}")


EXPERIMENT = Experiment(name="figure1", rows=ROWS, seeds=SEEDS, report=report)
