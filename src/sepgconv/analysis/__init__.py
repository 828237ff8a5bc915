"""What a network costs, how exactly it is equivariant and why not, how alike its filters are; data out, no plots."""

from sepgconv.analysis.certificate import Certificate, LayerCertificate, certify
from sepgconv.analysis.cost import CostReport, LayerCost, cost, macs
from sepgconv.analysis.equivariance import answer_changes, equivariance_error
from sepgconv.analysis.pose_components import pose_components, shuffle_kernels
from sepgconv.analysis.rotation import RotationCurve, rotation_curve
from sepgconv.analysis.sizes import sizes

__all__ = [
    "Certificate",
    "CostReport",
    "LayerCertificate",
    "LayerCost",
    "RotationCurve",
    "answer_changes",
    "certify",
    "cost",
    "equivariance_error",
    "macs",
    "pose_components",
    "rotation_curve",
    "shuffle_kernels",
    "sizes",
]
