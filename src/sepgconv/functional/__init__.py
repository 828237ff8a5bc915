"""The operations of the library as functions of tensors, without state. A page of names: `sepgconv.ops` runs them."""

from sepgconv.conv import Geometry, conv_geometry
from sepgconv.functional.convolution import (
    depthwise_group_conv2d,
    group_conv2d,
    lift_conv2d,
    separable_group_conv2d,
)
from sepgconv.functional.execution import executed_macs, select_execution
from sepgconv.functional.kernels import compose_kernel, filter_action, pixel_action, pose_action, transform_kernel
from sepgconv.functional.normalization import (
    group_batch_norm,
    group_group_norm,
    group_instance_norm,
    group_layer_norm,
)
from sepgconv.functional.pooling import (
    adaptive_avg_pool2d,
    antialiased_max_pool2d,
    avg_pool2d,
    group_max_pool,
    group_mean_pool,
    max_pool2d,
)
from sepgconv.functional.subgroup import restrict_group
from sepgconv.functional.vectors import group_to_vector
from sepgconv.ops.action import act
from sepgconv.ops.batch_norm import NormRelu
from sepgconv.ops.factorisation import full_rank, separable_spectrum, separate_kernel

__all__ = [
    "Geometry",
    "NormRelu",
    "act",
    "adaptive_avg_pool2d",
    "antialiased_max_pool2d",
    "avg_pool2d",
    "compose_kernel",
    "conv_geometry",
    "depthwise_group_conv2d",
    "executed_macs",
    "filter_action",
    "full_rank",
    "group_batch_norm",
    "group_conv2d",
    "group_group_norm",
    "group_instance_norm",
    "group_layer_norm",
    "group_max_pool",
    "group_mean_pool",
    "group_to_vector",
    "lift_conv2d",
    "max_pool2d",
    "pixel_action",
    "pose_action",
    "restrict_group",
    "select_execution",
    "separable_group_conv2d",
    "separable_spectrum",
    "separate_kernel",
    "transform_kernel",
]
