"""What a network costs and how exactly it is equivariant; data out, no plots."""

from sepgconv.analysis.cost import CostReport, LayerCost, cost, macs
from sepgconv.analysis.equivariance import answer_changes, equivariance_error

__all__ = ["CostReport", "LayerCost", "answer_changes", "cost", "equivariance_error", "macs"]
