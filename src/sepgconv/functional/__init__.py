"""The operations of the library as functions of tensors, without state."""

from sepgconv.functional.action import act
from sepgconv.functional.convolution import (
    depthwise_group_conv2d,
    group_conv2d,
    lift_conv2d,
)
from sepgconv.functional.execution import executed_macs, select_execution
from sepgconv.functional.factorisation import full_rank, separable_spectrum, separate_kernel
from sepgconv.functional.geometry import Geometry, conv_geometry
from sepgconv.functional.kernels import compose_kernel, filter_action, pixel_action, pose_action, transform_kernel
from sepgconv.functional.normalization import group_batch_norm, group_layer_norm
from sepgconv.functional.pooling import adaptive_avg_pool2d, avg_pool2d, group_max_pool, group_mean_pool, max_pool2d
from sepgconv.functional.separable import NormRelu, SeparableActions, separable_actions, separable_group_conv2d

__all__ = [
    "Geometry",
    "NormRelu",
    "SeparableActions",
    "act",
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "compose_kernel",
    "conv_geometry",
    "depthwise_group_conv2d",
    "executed_macs",
    "filter_action",
    "full_rank",
    "group_batch_norm",
    "group_conv2d",
    "group_layer_norm",
    "group_max_pool",
    "group_mean_pool",
    "lift_conv2d",
    "max_pool2d",
    "pixel_action",
    "pose_action",
    "select_execution",
    "separable_actions",
    "separable_group_conv2d",
    "separable_spectrum",
    "separate_kernel",
    "transform_kernel",
]
