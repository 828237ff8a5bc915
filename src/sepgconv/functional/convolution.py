"""Lifting, group and depthwise convolutions as functions of tensors. Cross-correlations, as in torch.

Notation of arXiv:2106.04914: output channel n, input channel c, output pose h, input pose g, `T_h` the action of h on a
planar kernel, `*` planar cross-correlation. Feature maps are (batch, channel, pose, height, width).
"""

from jaxtyping import Float
from torch import Tensor

from sepgconv.functional.checks import (
    NUMBERS,
    check_feature_map,
    check_image,
    check_operands,
    check_per_channel,
    check_weight,
    kernel_size_of,
)
from sepgconv.functional.constants import constant
from sepgconv.functional.geometry import Geometry, Pair, conv_geometry
from sepgconv.functional.kernels import dense_bank, filter_action, over_poses, pixel_action, planar_bank
from sepgconv.functional.layout import fold_image, fold_poses, unfold_poses
from sepgconv.functional.planar import planar_conv2d
from sepgconv.symmetry import FiniteGroup
from sepgconv.symmetry import group as find_group


def lift_conv2d(
    x: Float[Tensor, "b c y x"],
    weight: Float[Tensor, "o c k l"],
    group: FiniteGroup | str,
    bias: Float[Tensor, " o"] | None = None,
    *,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    padding_mode: str = "zeros",
    action: Tensor | None = None,
) -> Float[Tensor, "b o g y2 x2"]:
    """Lift images to the group: `X'[n,h] = sum_c (T_h F[n,c]) * X[c]` (theory.md, Convolutions).

    Args:
        x: images (batch, in, height, width).
        weight: F, (out, in, k, k).
        group: the group or its name.
        bias: (out,), shared over poses.
        stride: step in pixels.
        padding: pixels on every side, "same" or "valid".
        dilation: distance of kernel pixels.
        padding_mode: "zeros", "circular", "reflect" or "replicate".
        action: `pixel_action(group, (k, k))` where one is at hand; the library's own if not given.

    Returns:
        Feature maps (batch, out, |G|, height', width').

    Raises:
        TypeError: no tensor where one belongs.
        ValueError: tensors of different dtypes or devices, or not dense; wrong rank or channels; maps too small, or
            arguments that break equivariance.
    """
    group, caller = find_group(group), "lift_conv2d"
    geometry = conv_geometry(group, kernel_size_of(weight, "weight", caller), stride, padding, dilation, padding_mode)
    return lift(x, weight, group, bias, geometry, caller, action)


def lift(
    x: Tensor,
    weight: Tensor,
    group: FiniteGroup,
    bias: Tensor | None,
    geometry: Geometry,
    caller: str,
    action: Tensor | None = None,
) -> Tensor:
    """Run `lift_conv2d` with a geometry at hand, as layers have it."""
    check_weight("weight", weight, ("out", "in", *geometry.kernel_size), caller)
    check_image(x, weight.shape[1], caller)
    check_operands(x, caller, weight=weight, bias=bias)
    check_per_channel(caller, weight.shape[0], bias=bias)
    if action is None:
        action = constant(pixel_action, group, geometry.kernel_size, like=weight)
    filters = planar_bank(weight, action)  # (g*o, c, k, l)
    biases = over_poses(bias, group.order)
    maps = planar_conv2d(fold_image(x), filters, biases, geometry, channel_groups=1, caller=caller)
    return unfold_poses(maps, group.order)


def group_conv2d(
    x: Float[Tensor, "b c g y x"],
    weight: Float[Tensor, "o c g k l"],
    group: FiniteGroup | str,
    bias: Float[Tensor, " o"] | None = None,
    *,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    padding_mode: str = "zeros",
    action: Tensor | None = None,
) -> Float[Tensor, "b o g y2 x2"]:
    """Group convolution: `X'[n,h] = sum_c sum_g (T_h F[n,c,h^-1 g]) * X[c,g]` (theory.md, Convolutions).

    It is that of T. Cohen and M. Welling, ICML 2016.

    Args:
        x: feature maps (batch, in, |G|, height, width).
        weight: F, (out, in, |G|, k, k).
        group: the group or its name.
        bias: (out,), shared over poses.
        stride: step in pixels.
        padding: pixels on every side, "same" or "valid".
        dilation: distance of kernel pixels.
        padding_mode: "zeros", "circular", "reflect" or "replicate".
        action: `filter_action(group, (k, k))` where one is at hand; the library's own if not given.

    Returns:
        Feature maps (batch, out, |G|, height', width').

    Raises:
        TypeError: no tensor where one belongs.
        ValueError: tensors of different dtypes or devices, or not dense; wrong rank, channels or poses; maps too small,
            or arguments that break equivariance.
    """
    group, caller = find_group(group), "group_conv2d"
    geometry = conv_geometry(group, kernel_size_of(weight, "weight", caller), stride, padding, dilation, padding_mode)
    return convolve(x, weight, group, bias, geometry, caller, action)


def convolve(
    x: Tensor,
    weight: Tensor,
    group: FiniteGroup,
    bias: Tensor | None,
    geometry: Geometry,
    caller: str,
    action: Tensor | None = None,
) -> Tensor:
    """Run `group_conv2d` with a geometry at hand, as layers have it."""
    shape = ("out", "in", group.order, *geometry.kernel_size)
    check_weight("weight", weight, shape, caller, group)
    check_feature_map(x, weight.shape[1], group, caller, NUMBERS)
    check_operands(x, caller, weight=weight, bias=bias)
    check_per_channel(caller, weight.shape[0], bias=bias)
    return convolve_dense(x, weight, group, bias, geometry, caller, action)


def convolve_dense(
    x: Tensor,
    weight: Tensor,
    group: FiniteGroup,
    bias: Tensor | None,
    geometry: Geometry,
    caller: str,
    action: Tensor | None = None,
) -> Tensor:
    """Run a group convolution, its tensors checked, as one dense planar convolution over channels and poses."""
    if action is None:
        action = constant(filter_action, group, geometry.kernel_size, like=weight)
    bank, biases = dense_bank(weight, action), over_poses(bias, group.order)
    maps = planar_conv2d(fold_poses(x), bank, biases, geometry, channel_groups=1, caller=caller)
    return unfold_poses(maps, group.order)


def depthwise_group_conv2d(
    x: Float[Tensor, "b o g y x"],
    weight: Float[Tensor, "o k l"],
    group: FiniteGroup | str,
    bias: Float[Tensor, " o"] | None = None,
    *,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    padding_mode: str = "zeros",
    action: Tensor | None = None,
) -> Float[Tensor, "b o g y2 x2"]:
    """Filter every map in the plane with its own kernel, turned to its pose: `X'[n,h] = (T_h K[n]) * X[n,h]`.

    The second factor of a gc-separable convolution (theory.md, Convolutions).

    Args:
        x: feature maps (batch, channel, |G|, height, width).
        weight: K, (channel, k, k).
        group: the group or its name.
        bias: (channel,), shared over poses.
        stride: step in pixels.
        padding: pixels on every side, "same" or "valid".
        dilation: distance of kernel pixels.
        padding_mode: "zeros", "circular", "reflect" or "replicate".
        action: `pixel_action(group, (k, k))` where one is at hand; the library's own if not given.

    Returns:
        Feature maps (batch, channel, |G|, height', width').

    Raises:
        TypeError: no tensor where one belongs.
        ValueError: tensors of different dtypes or devices, or not dense; wrong rank, channels or poses; maps too small,
            or arguments that break equivariance.
    """
    group, caller = find_group(group), "depthwise_group_conv2d"
    geometry = conv_geometry(group, kernel_size_of(weight, "weight", caller), stride, padding, dilation, padding_mode)
    return filter_depthwise(x, weight, group, bias, geometry, caller, action)


def filter_depthwise(
    x: Tensor,
    weight: Tensor,
    group: FiniteGroup,
    bias: Tensor | None,
    geometry: Geometry,
    caller: str,
    action: Tensor | None = None,
) -> Tensor:
    """Run `depthwise_group_conv2d` with a geometry at hand, as layers have it."""
    check_weight("weight", weight, ("channels", *geometry.kernel_size), caller)
    check_feature_map(x, weight.shape[0], group, caller, NUMBERS)
    check_operands(x, caller, weight=weight, bias=bias)
    check_per_channel(caller, weight.shape[0], bias=bias)
    if action is None:
        action = constant(pixel_action, group, geometry.kernel_size, like=weight)
    filters = planar_bank(weight, action).unsqueeze(1)  # (g*o, 1, k, l)
    biases = over_poses(bias, group.order)
    maps = planar_conv2d(fold_poses(x), filters, biases, geometry, channel_groups=filters.shape[0], caller=caller)
    return unfold_poses(maps, group.order)
