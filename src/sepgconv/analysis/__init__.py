"""What a network costs, how exactly it is equivariant and why not, how alike its filters are; data out, no plots."""

from sepgconv.analysis.certificate import Certificate, LayerCertificate, certify
from sepgconv.analysis.cost import CostReport, LayerCost, cost, macs
from sepgconv.analysis.equivariance import answer_changes, equivariance_error
from sepgconv.analysis.kernel_symmetry import chance_invariance, kernel_invariance, map_agreement
from sepgconv.analysis.layer_redundancy import LayerRedundancy
from sepgconv.analysis.measured_maps import measured_agreement
from sepgconv.analysis.pose_components import pose_components, shuffle_kernels
from sepgconv.analysis.pose_correlation import PoseCorrelation, pose_correlation
from sepgconv.analysis.redundancy import RedundancyReport, redundancy
from sepgconv.analysis.rotation import RotationCurve, rotation_curve
from sepgconv.analysis.separability import Separability, separability
from sepgconv.analysis.separation import SeparationOption
from sepgconv.analysis.sizes import sizes
from sepgconv.analysis.spread import Spread, spread

__all__ = [
    "Certificate",
    "CostReport",
    "LayerCertificate",
    "LayerCost",
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
    "kernel_invariance",
    "macs",
    "map_agreement",
    "measured_agreement",
    "pose_components",
    "pose_correlation",
    "redundancy",
    "rotation_curve",
    "separability",
    "shuffle_kernels",
    "sizes",
    "spread",
]
