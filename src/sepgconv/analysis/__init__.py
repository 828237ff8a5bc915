"""What a network costs, how exactly it is equivariant, how alike its filters are; data out, no plots."""

from sepgconv.analysis.cost import CostReport, LayerCost, cost, macs
from sepgconv.analysis.equivariance import answer_changes, equivariance_error
from sepgconv.analysis.pose_components import pose_components, shuffle_kernels

__all__ = [
    "CostReport",
    "LayerCost",
    "answer_changes",
    "cost",
    "equivariance_error",
    "macs",
    "pose_components",
    "shuffle_kernels",
]
