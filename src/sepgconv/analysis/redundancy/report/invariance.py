"""Kernels that a rotation or mirror leaves as they are."""

from typing import TYPE_CHECKING

from sepgconv._numbers import hundredths
from sepgconv._table import Table
from sepgconv.analysis.redundancy import LayerRedundancy
from sepgconv.analysis.redundancy.report.block import Block, Figure
from sepgconv.analysis.redundancy.report.svg import BLUE, GREY, INK, draw_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


def invariance_block(layer: LayerRedundancy, before: LayerRedundancy | None) -> Block | None:
    """Return how alike the layer's kernels and their moved copies are, for every element of the group.

    Args:
        layer: the layer.
        before: the layer in the other state of the network, if given.

    Returns:
        None where no group moves the kernels, or kernels are single pixels.
    """
    if layer.invariance is None or layer.chance is None or layer.bank[0, 0, 0].numel() == 1 or len(layer.elements) < 2:
        return None
    known = [s for s in layer.invariance_spread[1:] if s is not None]
    if not known:
        return None
    own = "" if layer.role != "planar" else f", here moved by the elements of {layer.group}"
    text = (
        f"Each kernel is compared with its moved copy{own}: 1 means that it does not change, −1 that it becomes its "
        "negative (section 3.2 of the paper). Kernels of random weights have the similarity that the thin mark shows, "
        "because some pixels stay in their place."
    )
    figure = Figure(
        draw_svg(
            lambda figure: _draw(figure, layer, before),
            size=(4.6, 0.9 + 0.36 * (len(layer.elements) - 1)),
            label=f"Similarity of kernels and their moved copies in {layer.name}",
        ),
        "Mean (dot) and the middle half (bar) of the filters." + (" Grey: before." if before is not None else ""),
    )
    columns = ["element", "mean", "lower quartile", "median", "upper quartile", "by chance"]
    rows = [
        [name, *(hundredths(v) for v in (s.mean, s.lower, s.median, s.upper, float(layer.chance[g])))]
        for g, (name, s) in enumerate(zip(layer.elements, layer.invariance_spread, strict=True))
        if g > 0 and s is not None
    ]
    return Block(
        "Kernels that do not change when moved",
        (text,),
        (figure,),
        (Table("Similarity of kernels and their moved copies, over the filters", columns, rows),),
    )


def _draw(figure: "Drawing", layer: LayerRedundancy, before: LayerRedundancy | None) -> None:
    axes = figure.subplots()
    chance = [] if layer.chance is None else layer.chance.tolist()
    states = [(layer, BLUE, 0.0 if before is None else -0.16)]
    if before is not None:
        states.append((before, GREY, 0.16))
    for state, colour, offset in states:
        for g, s in enumerate(state.invariance_spread):
            if g > 0 and s is not None:
                axes.plot([s.lower, s.upper], [offset - g] * 2, color=colour, linewidth=6, alpha=0.4)
                axes.plot(s.mean, offset - g, "o", color=colour, markersize=5)
    for g, value in enumerate(chance[1:], 1):
        axes.plot([value] * 2, [-g - 0.3, -g + 0.3], color=INK, linewidth=1.5)
    axes.set_yticks([-g for g in range(1, len(layer.elements))], layer.elements[1:])
    axes.set_xlim(-1, 1)
    axes.set_xticks([-1, -0.5, 0, 0.5, 1])
    axes.axvline(0, color=INK, linewidth=0.8, alpha=0.4)
    axes.set_xlabel("similarity")
    axes.grid(axis="x")
