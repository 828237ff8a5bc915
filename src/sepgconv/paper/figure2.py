"""Figure 2: how much of a filter's variance along the poses one kernel explains (METHOD section 5)."""

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from sepgconv.paper.cells import Cell
from sepgconv.paper.comparison import compare, kept_apart
from sepgconv.paper.experiments import Experiment, Row
from sepgconv.paper.report import Picture, Report, Table
from sepgconv.paper.statistics import seeds, titled
from sepgconv.paper.store import Reading, Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEEDS = (3, 4, 5)  # of Table 1, whose trained P4CNNs are taken where they are still there
# Measure, and what is done to the kernels before.
SCALES = (("redundancy", "kernels as they are"), ("standardised_redundancy", "every kernel scaled to unit variance"))
_MEASURES = tuple(measure for measure, _ in SCALES)
ROWS = (
    Row(title="P4CNN, w 10", cell=Cell(model="p4cnn", model_config={"width": 10}, measures=_MEASURES)),
    Row(
        title="P4CNN on p4m, w 10",
        cell=Cell(model="p4cnn", model_config={"width": 10, "group": "p4m"}, measures=_MEASURES),
    ),
)
STATES = (("before", "before training"), ("after", "after training"), ("shuffled", "after, kernels dealt anew"))

Shares: TypeAlias = dict[str, list[float]]  # by state


def report(reading: Reading) -> Report:
    """Return the runs, the mean shares by layer, and for each network a picture of their distribution."""
    runs = compare("The runs", ROWS, SEEDS, reading).table
    parts: list[Table | Picture | str] = [
        "For each pair of output and input channel, the kernels along the poses are the features and their pixels the "
        "samples of a principal component analysis; the share of variance of the first component is 1 where they are "
        "multiples of one kernel. All filters of all layers after the input layer.",
        "Control: the trained kernels of a layer dealt anew among its channels and poses. What is above it comes of "
        "the pose axis; what is not comes of kernels that resemble each other all over the layer, or differ in size: a "
        "kernel much larger than those beside it is most of their variance, whatever their shapes. The paper does not "
        "scale; the second table tells shape from size.",
        runs,
    ]
    for number, row in enumerate(ROWS):
        for another, (title, group) in enumerate(titled(row.title, reading.of_row(row.cell)).items()):
            scales = {words: _layers(group.finished, measure) for measure, words in SCALES}
            parts += [_table(f"{title}, seeds {seeds(group)}, {words}", scales[words], reading) for words in scales]
            parts.append(
                Picture(
                    file=f"figure2{'ab'[number]}{f'-{group.data}' if another else ''}.png",
                    caption=f"{title}: share of variance of the first principal component, by layer",
                    content=scales,
                    draw=draw,
                    size=(9.0, 8.0),
                )
            )
    return Report(title="Figure 2: redundancy of filters along the poses", parts=tuple(parts))


def _layers(records: Sequence[Record], measure: str) -> dict[str, Shares]:
    """Return the shares of every layer, all seeds together, by state."""
    layers: dict[str, Shares] = {}
    for record in records:
        for index, layer in enumerate(record["measures"][measure]["layers"], 2):
            into = layers.setdefault(f"layer {index}", {state: [] for state, _ in STATES})
            for state, _ in STATES:
                into[state].extend(layer[state])
    return layers


def _table(title: str, layers: dict[str, Shares], reading: Reading) -> Table:
    return Table(
        title=f"{title}: mean share of the first component in %",
        columns=("layer", "sets of kernels", *(name for _, name in STATES), "after less dealt anew"),
        rows=tuple(_line(name, shares) for name, shares in layers.items()),
        notes=("Of the difference: ± its standard error over the sets.", *kept_apart(reading)),
    )


def _line(name: str, shares: Shares) -> tuple[str, ...]:
    means = [f"{100 * statistics.fmean(shares[state]):.1f}" if shares[state] else "-" for state, _ in STATES]
    return (name, f"{len(shares['after']):,}", *means, _difference(shares["after"], shares["shuffled"]))


def _difference(ours: Sequence[float], control: Sequence[float]) -> str:
    if min(len(ours), len(control)) < 2:
        return "-"
    error = math.sqrt(statistics.variance(ours) / len(ours) + statistics.variance(control) / len(control))
    return f"{100 * (statistics.fmean(ours) - statistics.fmean(control)):+.1f} ± {100 * error:.1f}"


def draw(figure: "Figure", content: Any) -> None:
    """Draw the distribution of the shares as boxes, a group for each layer and a panel for each scale."""
    colours = ("#4477aa", "#cc3311", "#999999")
    panels = figure.subplots(len(content), squeeze=False)[:, 0]
    for axes, (words, layers) in zip(panels, content.items(), strict=True):
        for offset, ((state, name), colour) in enumerate(zip(STATES, colours, strict=True)):
            boxes = axes.boxplot(
                [shares[state] for shares in layers.values()],
                positions=[4 * index + offset for index in range(len(layers))],
                widths=0.8,
                patch_artist=True,
                showfliers=False,
                medianprops={"color": "black"},
            )
            for box in boxes["boxes"]:
                box.set(facecolor=colour, alpha=0.6)
            axes.plot([], [], color=colour, linewidth=8, alpha=0.6, label=name)
        axes.set_xticks([4 * index + 1 for index in range(len(layers))], list(layers))
        axes.set_title(words)
        axes.set_ylabel("share of the first component")
        axes.set_ylim(0, 1)
        axes.grid(alpha=0.3, axis="y")
    panels[0].legend(ncols=len(STATES))


EXPERIMENT = Experiment(name="figure2", rows=ROWS, seeds=SEEDS, report=report)
