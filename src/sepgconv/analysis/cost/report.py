"""CostReport: what `cost` found, a row per layer, and how it prints."""

from collections.abc import Sequence
from dataclasses import dataclass

from sepgconv._numbers import count
from sepgconv._table import Printed, Table

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One layer of a `CostReport`.

    Attributes:
        name: path of the module in the network.
        kind: its class.
        output_shape: of one image, without the batch axis.
        parameters: numbers learned in it.
        nominal_macs: multiply-accumulates of one image by the formulas of arXiv:2106.04914, section 3.4.
        executed_macs: multiply-accumulates that really run.

    Example:
        >>> import torch
        >>> from sepgconv.analysis import cost
        >>> cost(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1, bias=False)), (3, 8, 8)).layers[0]
        LayerCost(name='0', kind='Conv2d', output_shape=(4, 8, 8), parameters=12, nominal_macs=768, executed_macs=768)
    """

    name: str
    kind: str
    output_shape: Shape
    parameters: int
    nominal_macs: int
    executed_macs: int


@dataclass(frozen=True, slots=True, repr=False)
class CostReport(Printed):
    """Cost of a network for one image. It prints as the table of `sepgconv info`, in a notebook too.

    Attributes:
        parameters: numbers learned in the whole network.
        layers: a row per layer with parameters or multiplications, in the order they run.
        uncounted: layers with parameters whose multiplications are not known here and count as zero.

    Example:
        >>> import torch
        >>> from sepgconv.analysis import cost
        >>> print(cost(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1, bias=False)), (3, 8, 8)))
        Cost of one image
        layer  kind    output  parameters  nominal MACs  executed MACs
        ──────────────────────────────────────────────────────────────
        0      Conv2d  4x8x8           12           768            768
        total                          12           768            768
    """

    parameters: int
    layers: tuple[LayerCost, ...]
    uncounted: tuple[str, ...]

    @property
    def nominal_macs(self) -> int:
        """Multiply-accumulates by the paper's formulas, which count all of a layer at its output resolution."""
        return sum(layer.nominal_macs for layer in self.layers)

    @property
    def executed_macs(self) -> int:
        """Multiply-accumulates that really run: a separable layer mixes at its input resolution, or runs composed."""
        return sum(layer.executed_macs for layer in self.layers)

    def _printed_parts(self) -> Sequence[Table | str]:
        if not self.uncounted:
            return (cost_table(self),)
        return (cost_table(self), f"Not counted, for want of a rule: {', '.join(self.uncounted)}.")


def cost_table(report: CostReport, title: str = "Cost of one image") -> Table:
    """Return a row for each layer and one for all.

    Args:
        report: what `cost` found.
        title: of the table.
    """
    rows = [
        (
            layer.name,
            layer.kind,
            "x".join(map(str, layer.output_shape)),
            count(layer.parameters),
            count(layer.nominal_macs),
            count(layer.executed_macs),
        )
        for layer in report.layers
    ]
    total = ("total", "", "", count(report.parameters), count(report.nominal_macs), count(report.executed_macs))
    return Table(
        title, ("layer", "kind", "output", "parameters", "nominal MACs", "executed MACs"), (*rows, total), left=3
    )
