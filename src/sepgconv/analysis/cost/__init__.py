"""What a network costs: parameters and multiplications of every layer, nominal and as executed."""

from sepgconv.analysis.cost.counting import cost, macs
from sepgconv.analysis.cost.report import CostReport, LayerCost, cost_table

__all__ = ["CostReport", "LayerCost", "cost", "cost_table", "macs"]
