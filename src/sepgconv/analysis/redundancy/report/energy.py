"""Energy lost at every rank of the separable factorisations."""

from typing import TYPE_CHECKING

import torch

from sepgconv._numbers import percent
from sepgconv._table import Table
from sepgconv.analysis.redundancy import LayerRedundancy, Separability
from sepgconv.analysis.redundancy.report.block import Block, Figure
from sepgconv.analysis.redundancy.report.svg import BLUE, ORANGE, draw_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

_MEANINGS = {"gc": "one kernel per filter", "g": "one kernel per pair of channels"}


def energy_block(layer: LayerRedundancy, before: LayerRedundancy | None) -> Block | None:
    """Return how much of the filters' energy is lost when they are written with few separable terms.

    Args:
        layer: the layer.
        before: the layer in the other state of the network, if given.

    Returns:
        None for kernels of a single pixel and for filters of a single kernel, which are separable as they are.
    """
    if layer.bank[0, 0, 0].numel() == 1 or layer.bank[0, :, :, 0, 0].numel() == 1:
        return None
    meaning = "; ".join(f"{energy.sharing}: {_MEANINGS[energy.sharing]}" for energy in layer.energies)
    text = (
        "A filter bank can be written as a sum of separable terms; the paper's layers have one term (section 3.3). "
        f"The energy lost at rank r is what r terms cannot hold, as a share of the sum of squared weights ({meaning}); "
        "from one rank to the next it falls by the squared singular value of that term."
    )
    figure = Figure(
        draw_svg(
            lambda figure: _draw(figure, layer, before),
            size=(4.4, 2.9),
            label=f"Energy lost in {layer.name} at every rank",
        ),
        "The lower a curve begins, the better the paper's layer fits. The band holds the middle half of the filters"
        + ("; broken lines: before." if before is not None else "."),
    )
    return Block("Energy lost when separated", (text,), (figure,), (_table(layer, before),))


def _table(layer: LayerRedundancy, before: LayerRedundancy | None) -> Table:
    ranks = range(1, max(layer.bank.shape[2], min(4, len(layer.energies[0].lost))) + 1)
    rows = [_row(energy, "", ranks) for energy in layer.energies]
    if before is not None:
        rows += [_row(energy, ", before", ranks) for energy in before.energies]
    return Table("Energy lost at each rank", ["sharing", *(f"rank {rank}" for rank in ranks)], rows)


def _row(energy: Separability, state: str, ranks: range) -> list[str]:
    return [f"{energy.sharing}{state}", *(percent(energy.lost_at(rank), decimals=1) for rank in ranks)]


def _draw(figure: "Drawing", layer: LayerRedundancy, before: LayerRedundancy | None) -> None:
    axes = figure.subplots()
    for energy in layer.energies:
        colour = BLUE if energy.sharing == "gc" else ORANGE
        ranks = range(1, len(energy.lost) + 1)
        filters = 100 * energy.lost_per_filter.flatten(0, -2)
        quartiles = filters.sort(0).values[[len(filters) // 4, (3 * len(filters)) // 4]]
        axes.fill_between(ranks, quartiles[0].numpy(), quartiles[1].numpy(), color=colour, alpha=0.18, linewidth=0)
        label = f"{energy.sharing}: {_MEANINGS[energy.sharing]}"
        axes.plot(ranks, (100 * energy.lost).numpy(), color=colour, marker="o", markersize=4, label=label)
        earlier = None if before is None else before.energy(energy.sharing)
        if earlier is not None:
            lost = 100 * earlier.lost
            axes.plot(ranks, lost.numpy(), color=colour, linestyle="--", linewidth=1, alpha=0.8)
    longest = max(len(energy.lost) for energy in layer.energies)
    axes.set_xticks(torch.arange(1, longest + 1, max(1, longest // 8)).tolist())
    axes.set_xlabel("rank: number of separable terms")
    axes.set_ylabel("energy lost, %")
    axes.set_ylim(bottom=0)
    axes.grid()
    axes.legend()
