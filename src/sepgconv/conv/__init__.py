"""What a convolution on a group is before it runs: its shapes, its cost, and its filters in every execution."""

from sepgconv.conv.geometry import Geometry, conv_geometry
from sepgconv.conv.kinds import (
    DEPTHWISE,
    FULL,
    LIFTING,
    SECOND_STEP,
    SEPARABLE,
    SHARINGS,
    ConvKind,
    Parameters,
    dense_filters,
    over_poses,
    pose_rows,
)
from sepgconv.conv.spec import ConvSpec, conv_spec
from sepgconv.conv.steps import Lowered, Work

__all__ = [
    "DEPTHWISE",
    "FULL",
    "LIFTING",
    "SECOND_STEP",
    "SEPARABLE",
    "SHARINGS",
    "ConvKind",
    "ConvSpec",
    "Geometry",
    "Lowered",
    "Parameters",
    "Work",
    "conv_geometry",
    "conv_spec",
    "dense_filters",
    "over_poses",
    "pose_rows",
]
