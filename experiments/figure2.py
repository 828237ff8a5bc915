"""Figure 2: how much of a filter's variance along the poses one kernel explains (theory.md, Redundancy)."""

import re
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from experiments.cells import Cell
from experiments.comparison import compare, kept_apart
from experiments.experiment import Experiment, Row
from experiments.record import Record
from experiments.report import Picture, Report, Table
from experiments.statistics import SeedRuns, seeds, titled
from experiments.store import Reading
from sepgconv._text import Markdown, markdown

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
        "The paper compares before and after training. The control here is what it does not have: the trained kernels "
        "of a layer dealt anew among its channels and poses. Only what is above it is redundancy along the poses; the "
        "rest comes of kernels that resemble each other all over the layer, or differ in size: a kernel much larger "
        "than those beside it is most of their variance, whatever their shapes. The second table of each network, "
        "where all kernels are scaled to the same variance, tells shape from size.",
        *(_finding(title, runs) for row in ROWS for title, runs in titled(row.title, reading.of_row(row.cell)).items()),
        runs,
        f"Seeds {SEEDS[0]} to {SEEDS[-1]} are those of Table 1 whose trained networks were still there when the second "
        "measure was added.",
    ]
    for number, row in enumerate(ROWS):
        for another, (title, found) in enumerate(titled(row.title, reading.of_row(row.cell)).items()):
            which = f"{title}, {'seed' if len(found.finished) == 1 else 'seeds'} {seeds(found)}"
            parts += [_table(f"{which}, {words}", found, measure, reading) for measure, words in SCALES]
            parts.append(
                Picture(
                    file=f"figure2{'ab'[number]}{f'-{_file_name(found.data)}' if another else ''}.png",
                    caption=f"{title}: share of variance of the first principal component, by layer, of all sets of "
                    "kernels and seeds; boxes have the median and the quartiles, whiskers reach to 1.5 times the box, "
                    "sets beyond are not drawn",
                    content={words: _layers(found.finished, measure) for measure, words in SCALES},
                    draw=draw,
                    size=(9.0, 8.0),
                )
            )
    return Report(title="Figure 2: redundancy of filters along the poses", parts=tuple(parts))


def _file_name(data: str) -> str:
    # A record's word is no path.
    return re.sub(r"[^A-Za-z0-9.-]", "-", data).lstrip(".")


def _layers(records: Sequence[Record], measure: str) -> dict[str, Shares]:
    """Return the shares of every layer, all seeds together, by state."""
    layers: dict[str, Shares] = {}
    for record in records:
        for index, layer in enumerate(record["measures"][measure]["layers"], 2):
            into = layers.setdefault(f"layer {index}", {state: [] for state, _ in STATES})
            for state, _ in STATES:
                into[state].extend(layer[state])
    return layers


def _table(title: str, runs: SeedRuns, measure: str, reading: Reading) -> Table:
    by_seed = [_layers([record], measure) for record in runs.finished]
    return Table(
        title=f"{title}: mean share of the first component in %",
        columns=("layer", "sets of kernels", *(name for _, name in STATES), "after less dealt anew"),
        rows=tuple(
            (name, f"{len(shares['after']):,}", *_means(shares), _difference([layers[name] for layers in by_seed]))
            for name, shares in _layers(runs.finished, measure).items()
        ),
        notes=(
            "Of the difference: mean ± standard deviation over seeds; the sets of one network are not independent.",
            *kept_apart(reading),
        ),
    )


def _means(shares: Shares) -> list[str]:
    return [f"{100 * statistics.fmean(shares[state]):.1f}" if shares[state] else "-" for state, _ in STATES]


def _difference(by_seed: Sequence[Shares]) -> str:
    """Write how much larger a layer's share is than the control's; ± its standard deviation over seeds."""
    complete = [shares for shares in by_seed if shares["after"] and shares["shuffled"]]
    found = [100 * (statistics.fmean(shares["after"]) - statistics.fmean(shares["shuffled"])) for shares in complete]
    if not found:
        return "-"
    mean = f"{statistics.fmean(found):+.1f}"
    return mean if len(found) == 1 else f"{mean} ± {statistics.stdev(found):.1f}"


def _finding(title: str, runs: SeedRuns) -> str:
    """Return a sentence on what the tables of a network say."""
    parts: list[str] = []
    for measure, words in SCALES:
        layers = _layers(runs.finished, measure).values()
        before, after, dealt = _means({state: [s for shares in layers for s in shares[state]] for state, _ in STATES})
        parts.append(f"{words}, {before} % before and {after} % after training, dealt anew {dealt} %")
    return Markdown(f"**{markdown(title)}**, mean over all layers: {markdown('; '.join(parts))}.")


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
