"""What a network costs: parameters and multiplications of every layer, nominal and as executed."""

from sepgconv.analysis.cost.counting import CostReport, LayerCost, cost, macs

__all__ = ["CostReport", "LayerCost", "cost", "macs"]
