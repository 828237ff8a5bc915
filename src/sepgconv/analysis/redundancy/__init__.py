"""How alike the filters of a network are over the poses, layer by layer, and what separable terms would save.

`sepgconv.analysis.redundancy.report`, which draws it as a page, needs the extra "train" and is imported on its own.
"""

from sepgconv.analysis.redundancy.kernel_symmetry import chance_invariance, kernel_invariance, map_agreement
from sepgconv.analysis.redundancy.layer import LayerRedundancy
from sepgconv.analysis.redundancy.measured_maps import measured_agreement
from sepgconv.analysis.redundancy.network import RedundancyReport, redundancy
from sepgconv.analysis.redundancy.pose_components import pose_components, shuffle_kernels
from sepgconv.analysis.redundancy.pose_correlation import PoseCorrelation, pose_correlation
from sepgconv.analysis.redundancy.separability import Separability, separability
from sepgconv.analysis.redundancy.separation import SeparationOption
from sepgconv.analysis.redundancy.spread import Spread, spread

__all__ = [
    "LayerRedundancy",
    "PoseCorrelation",
    "RedundancyReport",
    "Separability",
    "SeparationOption",
    "Spread",
    "chance_invariance",
    "kernel_invariance",
    "map_agreement",
    "measured_agreement",
    "pose_components",
    "pose_correlation",
    "redundancy",
    "separability",
    "shuffle_kernels",
    "spread",
]
