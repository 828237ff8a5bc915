"""Layers on feature maps (batch, channel, pose, height, width): thin modules around `sepgconv.functional`."""

from sepgconv.nn.activation import ReLU
from sepgconv.nn.blocks import ConvNormAct, ConvNormActSequential, NormActConv
from sepgconv.nn.depthwise import DepthwiseGroupConv2d, TwoStepGroupConv2d
from sepgconv.nn.group_conv import GroupConv2d
from sepgconv.nn.lifting import LiftingConv2d
from sepgconv.nn.normalization import GroupBatchNorm2d, GroupDropout, GroupLayerNorm
from sepgconv.nn.pooling import AdaptiveAvgPool2d, AvgPool2d, GroupMaxPool, GroupMeanPool, MaxPool2d
from sepgconv.nn.separable import SeparableGroupConv2d
from sepgconv.nn.sequential import Sequential

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "ConvNormAct",
    "ConvNormActSequential",
    "DepthwiseGroupConv2d",
    "GroupBatchNorm2d",
    "GroupConv2d",
    "GroupDropout",
    "GroupLayerNorm",
    "GroupMaxPool",
    "GroupMeanPool",
    "LiftingConv2d",
    "MaxPool2d",
    "NormActConv",
    "ReLU",
    "SeparableGroupConv2d",
    "Sequential",
    "TwoStepGroupConv2d",
]
