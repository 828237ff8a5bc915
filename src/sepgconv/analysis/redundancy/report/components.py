"""Principal components along the poses: how much of a filter's variance one kernel explains."""

from typing import TYPE_CHECKING

import torch

from sepgconv._numbers import percent
from sepgconv._table import Table
from sepgconv._text import visible
from sepgconv.analysis.redundancy import LayerRedundancy, Spread, spread
from sepgconv.analysis.redundancy.report.block import Block, Figure
from sepgconv.analysis.redundancy.report.svg import BLUE, GREY, draw_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

SOURCE = "section 3.2 and figure 2 of the paper"


def components_block(layer: LayerRedundancy, before: LayerRedundancy | None) -> Block | None:
    """Return the distribution of the first component's share, and the mean share of every component.

    Args:
        layer: the layer.
        before: the layer in the other state of the network, if given.

    Returns:
        None for a layer without poses, or one whose kernels are constant.
    """
    now = layer.component_spread
    if not now or now[0] is None:
        return None
    earlier = () if before is None else before.component_spread
    first = now[0]
    text = (
        f"The kernels of an input channel at its {layer.bank.shape[2]} poses are taken as the features of a principal "
        f"component analysis ({SOURCE}). A first component with 100 % of the variance means that they are multiples of "
        "one kernel. Its median here is "
        f"{percent(first.median)}{_was(earlier)}."
    )
    figure = Figure(
        draw_svg(
            lambda figure: _draw_histogram(figure, layer, before),
            size=(4.4, 2.6),
            label=f"Histogram of the first component's share of variance in {layer.name}",
        ),
        "How many filters have which share in their first component: the farther right, the more redundant. Line: the "
        "median.",
    )
    return Block("Principal components along the poses", (text,), (figure,), (_table(now, earlier),))


def layers_figure(layers: list[tuple[LayerRedundancy, LayerRedundancy | None]]) -> Figure | None:
    """Return the first component's share in every layer as boxes, before and after training: the paper's figure 2.

    Args:
        layers: each with its state before, if known.
    """
    shown = [pair for pair in layers if pair[0].component_spread and pair[0].component_spread[0] is not None]
    if not shown:
        return None
    compared = any(before is not None for _, before in shown)
    return Figure(
        draw_svg(
            lambda figure: _draw_boxes(figure, shown),
            size=(4.8, 0.8 + (0.44 if compared else 0.3) * len(shown)),
            label="Share of variance of the first principal component, by layer",
        ),
        "Share of variance of the first component, by layer: median, quartiles, and all but outliers."
        + (" Grey: before; blue: as the network is now." if compared else ""),
    )


def _was(earlier: tuple[Spread | None, ...]) -> str:
    return "" if not earlier or earlier[0] is None else f", before {percent(earlier[0].median)}"


def _table(now: tuple[Spread | None, ...], earlier: tuple[Spread | None, ...]) -> Table:
    columns = ["component", "mean", "median", "lower quartile", "upper quartile"]
    rows = [
        [str(number), *(percent(v, decimals=1) for v in (s.mean, s.median, s.lower, s.upper))]
        for number, s in enumerate(now, 1)
        if s is not None
    ]
    if earlier and all(s is not None for s in earlier):
        columns.append("mean before")
        rows = [[*row, percent(s.mean, decimals=1)] for row, s in zip(rows, earlier, strict=False) if s is not None]
    return Table("Share of variance of each component, over the filters", columns, rows)


def _shares(layer: LayerRedundancy) -> torch.Tensor:
    shares = torch.empty(0) if layer.components is None else layer.components[:, 0]
    return 100 * shares[~shares.isnan()]


def _draw_histogram(figure: "Drawing", layer: LayerRedundancy, before: LayerRedundancy | None) -> None:
    axes = figure.subplots()
    least = 100 / layer.bank.shape[2]  # the first of |G| shares cannot be smaller
    bins = torch.linspace(least, 100, 26).tolist()
    if before is not None and before.components is not None:
        axes.hist(_shares(before).numpy(), bins, color=GREY, alpha=0.55, label="before")
    axes.hist(_shares(layer).numpy(), bins, histtype="stepfilled", color=BLUE, alpha=0.55, edgecolor=BLUE, label="now")
    middle = spread(_shares(layer))
    if middle is not None:
        axes.axvline(middle.median, color=BLUE, linewidth=2)
    axes.set_xlim(least, 100)
    axes.set_xlabel("share of the first component, %")
    axes.set_ylabel("filters")
    if before is not None:
        axes.legend()


def _draw_boxes(figure: "Drawing", layers: list[tuple[LayerRedundancy, LayerRedundancy | None]]) -> None:
    axes = figure.subplots()
    for at, (layer, before) in enumerate(layers):
        both = before is not None and before.components is not None
        for state, colour, offset in ((before if both else None, GREY, 0.21), (layer, BLUE, -0.21 if both else 0)):
            if state is None:
                continue
            boxes = axes.boxplot(
                _shares(state).numpy(),
                positions=[-at + offset],
                widths=0.32,
                orientation="horizontal",
                patch_artist=True,
                showfliers=False,
                medianprops={"color": colour, "linewidth": 2},
                whiskerprops={"color": colour},
                capprops={"color": colour},
            )
            for box in boxes["boxes"]:
                box.set(facecolor=(*_rgb(colour), 0.35), edgecolor=colour)
    axes.set_yticks([-at for at in range(len(layers))], [_short(layer.name) for layer, _ in layers])
    axes.set_xlim(min(100 / layer.bank.shape[2] for layer, _ in layers), 100)
    axes.set_xlabel("share of the first component, %")
    axes.grid(axis="x")


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue


def _short(name: str) -> str:
    shown = visible(name)
    return shown if len(shown) <= 24 else f"…{shown[-23:]}"
