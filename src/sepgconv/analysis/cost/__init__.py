"""What a network costs and how it runs: parameters and multiplications of every layer, executions, implementations."""

from sepgconv.analysis.cost.counting import cost, macs
from sepgconv.analysis.cost.explain import Explanation, LayerExplanation, explain
from sepgconv.analysis.cost.report import CostReport, LayerCost, cost_table

__all__ = ["CostReport", "Explanation", "LayerCost", "LayerExplanation", "cost", "cost_table", "explain", "macs"]
