"""Correlation of kernels from pose to pose, also as negatives of each other."""

from typing import TYPE_CHECKING

from torch import Tensor

from sepgconv._numbers import hundredths, percent
from sepgconv.analysis.redundancy import LayerRedundancy
from sepgconv.analysis.redundancy.report.block import Block, Figure
from sepgconv.analysis.redundancy.report.svg import draw_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


def correlation_block(layer: LayerRedundancy, before: LayerRedundancy | None) -> Block | None:
    """Return the matrices of correlation between poses.

    Args:
        layer: the layer.
        before: the layer in the other state of the network, if given.

    Returns:
        None for a layer without poses, or one whose kernels are constant.
    """
    found = layer.correlation
    if found is None or bool(found.mean.isnan().all()):
        return None
    earlier = None if before is None else before.correlation
    text = (
        "Pearson's correlation over the pixels of the kernels of a filter at two poses, averaged over filters (section "
        "3.2 of the paper). Kernels that are negatives of each other, as behind an edge detector, can share a spatial "
        "kernel as well as kernels that are alike. Of all pairs of poses, "
        f"{percent(found.positive)} are strongly alike (0.8 and more) and {percent(found.negative)} are strongly "
        "inverse (−0.8 and less)"
    )
    if earlier is not None:
        text += f"; before {percent(earlier.positive)} and {percent(earlier.negative)}"
    return Block(
        "Correlation between poses",
        (f"{text}.",),
        (
            _figure(
                found.mean, "Mean", f"Mean correlation between poses in {layer.name}", "Red: alike; blue: inverse."
            ),
            _figure(
                found.mean_absolute,
                "Mean absolute",
                f"Mean absolute correlation between poses in {layer.name}",
                "The sign left out, so that alike and inverse kernels do not cancel.",
            ),
        ),
    )


def _figure(matrix: Tensor, title: str, label: str, caption: str) -> Figure:
    side = 2.6 if len(matrix) <= 4 else 3.6
    return Figure(
        draw_svg(lambda figure: _draw(figure, matrix), size=(side, side), label=label),
        f"{title} correlation. {caption}",
    )


def _draw(figure: "Drawing", matrix: Tensor) -> None:
    axes = figure.subplots()
    axes.pcolormesh(matrix.numpy(), cmap="RdBu_r", vmin=-1, vmax=1, edgecolors="none")
    for row, values in enumerate(matrix.tolist()):
        for column, value in enumerate(values):
            # The cells are light near 0 and dark near 1, on every page.
            colour = "#ffffff" if abs(value) > 0.6 else "#202020"
            words = "–" if value != value else hundredths(value)
            axes.text(
                column + 0.5,
                row + 0.5,
                words,
                ha="center",
                va="center",
                color=colour,
                fontsize=9 if len(matrix) < 5 else 8,
            )
    middles = [at + 0.5 for at in range(len(matrix))]
    poses = [str(pose) for pose in range(len(matrix))]
    axes.set_xticks(middles, poses)
    axes.set_yticks(middles, poses)
    axes.set_xlabel("pose")
    axes.set_ylabel("pose")
    axes.invert_yaxis()
    axes.set_aspect("equal")
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
