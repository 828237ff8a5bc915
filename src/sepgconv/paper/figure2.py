"""Figure 2: how much of a filter's variance along the poses one kernel explains (METHOD section 5)."""

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sepgconv.paper.cells import Cell
from sepgconv.paper.comparison import compare, kept_apart
from sepgconv.paper.experiments import Experiment, Row
from sepgconv.paper.report import Picture, Report, Table
from sepgconv.paper.statistics import seeds, titled
from sepgconv.paper.store import Reading, Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEEDS = (1, 2, 3)
ROWS = (
    Row(title="P4CNN, w 10", cell=Cell(model="p4cnn", model_config={"width": 10}, measures=("redundancy",))),
    Row(
        title="P4CNN on p4m, w 10",
        cell=Cell(model="p4cnn", model_config={"width": 10, "group": "p4m"}, measures=("redundancy",)),
    ),
)
STATES = (("before", "before training"), ("after", "after training"), ("shuffled", "after, kernels dealt anew"))


def report(reading: Reading) -> Report:
    """Return the runs, the mean shares by layer, and for each network a picture of their distribution."""
    runs = compare("The runs", ROWS, SEEDS, reading).table
    parts: list[Table | Picture | str] = [
        "For each pair of output and input channel, the kernels along the poses are the features and their pixels the "
        "samples of a principal component analysis; the share of variance of the first component is 1 where they are "
        "multiples of one kernel. All filters of all layers after the input layer. Control: the trained kernels of a "
        "layer dealt anew among its channels and poses.",
        runs,
    ]
    for number, row in enumerate(ROWS):
        measured = [record for record in reading.of_row(row.cell) if "redundancy" in record["measures"]]
        for another, (title, group) in enumerate(titled(row.title, measured).items()):
            layers = _layers(group.finished)
            parts += [
                Table(
                    title=f"{title}: mean share of the first component in %, seeds {seeds(group)}",
                    columns=("layer", "sets of kernels", *(name for _, name in STATES)),
                    rows=tuple(_line(name, shares) for name, shares in layers.items()),
                    notes=kept_apart(reading),
                ),
                Picture(
                    file=f"figure2{'ab'[number]}{f'-{group.data}' if another else ''}.png",
                    caption=f"{title}: share of variance of the first principal component, by layer",
                    content=layers,
                    draw=draw,
                ),
            ]
    return Report(title="Figure 2: redundancy of filters along the poses", parts=tuple(parts))


def _layers(records: Sequence[Record]) -> dict[str, dict[str, list[float]]]:
    """Return the shares of every layer, all seeds together, by state."""
    layers: dict[str, dict[str, list[float]]] = {}
    for record in records:
        for index, layer in enumerate(record["measures"]["redundancy"]["layers"], 2):
            into = layers.setdefault(f"layer {index}", {state: [] for state, _ in STATES})
            for state, _ in STATES:
                into[state].extend(layer[state])
    return layers


def _line(name: str, shares: dict[str, list[float]]) -> tuple[str, ...]:
    means = [f"{100 * statistics.fmean(shares[state]):.1f}" if shares[state] else "-" for state, _ in STATES]
    return (name, f"{len(shares['after']):,}", *means)


def draw(figure: "Figure", content: Any) -> None:
    """Draw the distribution of the shares as boxes, a group for each layer."""
    axes = figure.subplots()
    colours = ("#4477aa", "#cc3311", "#999999")
    for offset, ((state, name), colour) in enumerate(zip(STATES, colours, strict=True)):
        boxes = axes.boxplot(
            [shares[state] for shares in content.values()],
            positions=[4 * index + offset for index in range(len(content))],
            widths=0.8,
            patch_artist=True,
            showfliers=False,
        )
        for box in boxes["boxes"]:
            box.set(facecolor=colour, alpha=0.6)
        axes.plot([], [], color=colour, linewidth=8, alpha=0.6, label=name)
    axes.set_xticks([4 * index + 1 for index in range(len(content))], list(content))
    axes.set_ylabel("share of the first component")
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3, axis="y")
    axes.legend()


EXPERIMENT = Experiment(name="figure2", rows=ROWS, seeds=SEEDS, report=report)
