"""Layers on feature maps (batch, channel, pose, height, width): thin modules around `sepgconv.functional`."""

import warnings
from typing import Any

from sepgconv.nn._base import GroupConvLayer
from sepgconv.nn.activation import ReLU
from sepgconv.nn.blocks import ConvNormAct, ConvNormActSequential, NormActConv
from sepgconv.nn.depthwise import DepthwiseGroupConv2d, DepthwiseSeparableGroupConv2d
from sepgconv.nn.group_conv import GroupConv2d
from sepgconv.nn.lifting import LiftingConv2d
from sepgconv.nn.normalization import (
    GroupBatchNorm2d,
    GroupDropout,
    GroupGroupNorm,
    GroupInstanceNorm2d,
    GroupLayerNorm,
)
from sepgconv.nn.pooling import (
    AdaptiveAvgPool2d,
    AntialiasedMaxPool2d,
    AvgPool2d,
    GroupMaxPool,
    GroupMeanPool,
    MaxPool2d,
)
from sepgconv.nn.residual import DropPath, LayerScale
from sepgconv.nn.separable import SeparableGroupConv2d
from sepgconv.nn.sequential import Sequential
from sepgconv.nn.subgroup import RestrictGroup
from sepgconv.nn.vectors import GroupToVector

__all__ = [
    "AdaptiveAvgPool2d",
    "AntialiasedMaxPool2d",
    "AvgPool2d",
    "ConvNormAct",
    "ConvNormActSequential",
    "DepthwiseGroupConv2d",
    "DepthwiseSeparableGroupConv2d",
    "DropPath",
    "GroupBatchNorm2d",
    "GroupConv2d",
    "GroupConvLayer",
    "GroupDropout",
    "GroupGroupNorm",
    "GroupInstanceNorm2d",
    "GroupLayerNorm",
    "GroupMaxPool",
    "GroupMeanPool",
    "GroupToVector",
    "LayerScale",
    "LiftingConv2d",
    "MaxPool2d",
    "NormActConv",
    "ReLU",
    "RestrictGroup",
    "SeparableGroupConv2d",
    "Sequential",
]


def __getattr__(name: str) -> Any:
    if name == "TwoStepGroupConv2d":
        message = (
            "sepgconv.nn.TwoStepGroupConv2d is called DepthwiseSeparableGroupConv2d now; "
            "the old name goes with the next release"
        )
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return DepthwiseSeparableGroupConv2d
    raise AttributeError(f"module 'sepgconv.nn' has no attribute {name!r}")
