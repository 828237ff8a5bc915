"""What a network costs, how exactly it is equivariant and why not, how alike its filters are; data out, no plots."""

from typing import TYPE_CHECKING, Any

from sepgconv.analysis.certify import (
    Certificate,
    ElementCertificate,
    LayerCertificate,
    RotationCurve,
    answer_changes,
    certify,
    equivariance_error,
    rotation_curve,
    sizes,
)
from sepgconv.analysis.cost import CostReport, Explanation, LayerCost, LayerExplanation, cost, explain, macs
from sepgconv.analysis.redundancy import (
    LayerRedundancy,
    PoseCorrelation,
    RedundancyReport,
    Separability,
    SeparationOption,
    Spread,
    chance_invariance,
    kernel_invariance,
    map_agreement,
    measured_agreement,
    pose_components,
    pose_correlation,
    redundancy,
    separability,
    shuffle_kernels,
    spread,
)

if TYPE_CHECKING:
    from sepgconv.analysis.redundancy.report import render_redundancy

__all__ = [
    "Certificate",
    "CostReport",
    "ElementCertificate",
    "Explanation",
    "LayerCertificate",
    "LayerCost",
    "LayerExplanation",
    "LayerRedundancy",
    "PoseCorrelation",
    "RedundancyReport",
    "RotationCurve",
    "Separability",
    "SeparationOption",
    "Spread",
    "answer_changes",
    "certify",
    "chance_invariance",
    "cost",
    "equivariance_error",
    "explain",
    "kernel_invariance",
    "macs",
    "map_agreement",
    "measured_agreement",
    "pose_components",
    "pose_correlation",
    "redundancy",
    "render_redundancy",
    "rotation_curve",
    "separability",
    "shuffle_kernels",
    "sizes",
    "spread",
]


def __getattr__(name: str) -> Any:
    if name == "render_redundancy":  # draws: needs the extra "train", which the rest does without
        from sepgconv.analysis.redundancy.report import render_redundancy

        return render_redundancy
    raise AttributeError(f"module 'sepgconv.analysis' has no attribute {name!r}")
