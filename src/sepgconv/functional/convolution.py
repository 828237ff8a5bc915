"""The convolutions: lifting, group, depthwise and separable, as functions of tensors. Cross-correlations, as in torch.

Notation of arXiv:2106.04914: output channel n, input channel c, output pose h, input pose g, `T_h` the action of h on a
planar kernel, `*` planar cross-correlation. Feature maps are (batch, channel, pose, height, width).
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sepgconv._messages import one_of
from sepgconv.functional.checks import check_feature_map, check_image, check_weight
from sepgconv.functional.execution import Execution, select_execution
from sepgconv.functional.geometry import Geometry, Pair, conv_geometry, planar_conv2d
from sepgconv.functional.kernels import (
    SHARINGS,
    Sharing,
    compose_kernel,
    filter_action,
    pixel_action,
    pose_action,
    transform_kernel,
)
from sepgconv.functional.layout import fold_image, fold_poses, unfold_poses
from sepgconv.groups import FiniteGroup
from sepgconv.groups import group as find_group


def _size(kernel: Tensor) -> Pair:
    return int(kernel.shape[-2]), int(kernel.shape[-1])


def _over_poses(bias: Tensor | None, order: int) -> Tensor | None:
    return None if bias is None else bias.repeat(order)  # (g*o,)


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
    """Lift images to the group: `X'[n,h] = sum_c (T_h F[n,c]) * X[c]` (METHOD section 1).

    Args:
        x: images (batch, in, height, width).
        weight: F, (out, in, k, k).
        group: the group or its name.
        bias: (out,), shared over poses.
        stride: step in pixels.
        padding: pixels on every side, "same" or "valid".
        dilation: distance of kernel pixels.
        padding_mode: "zeros", "circular", "reflect" or "replicate".
        action: `pixel_action(group, (k, k))` on the device of x, where it is at hand; built here if not given.

    Returns:
        Feature maps (batch, out, |G|, height', width').

    Raises:
        ValueError: wrong rank or channels, maps too small, or arguments that break equivariance.
    """
    group, size = find_group(group), _size(weight)
    check_weight("weight", weight, weight.ndim == 4, "(out, in, k, k)", "lift_conv2d")
    check_image(x, weight.shape[1], "lift_conv2d")
    geometry = conv_geometry(group, size, stride, padding, dilation, padding_mode)
    action = pixel_action(group, size, device=weight.device) if action is None else action
    filters = transform_kernel(weight, action).transpose(0, 1).flatten(0, 1)  # (g*o, c, k, l)
    maps = planar_conv2d(
        fold_image(x), filters, _over_poses(bias, group.order), geometry, channel_groups=1, caller="lift_conv2d"
    )
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
    """Group convolution: `X'[n,h] = sum_c sum_g (T_h F[n,c,h^-1 g]) * X[c,g]` (METHOD section 1; Cohen & Welling 2016).

    Args:
        x: feature maps (batch, in, |G|, height, width).
        weight: F, (out, in, |G|, k, k).
        group: the group or its name.
        bias: (out,), shared over poses.
        stride: step in pixels.
        padding: pixels on every side, "same" or "valid".
        dilation: distance of kernel pixels.
        padding_mode: "zeros", "circular", "reflect" or "replicate".
        action: `filter_action(group, (k, k))` on the device of x, where it is at hand; built here if not given.

    Returns:
        Feature maps (batch, out, |G|, height', width').

    Raises:
        ValueError: wrong rank, channels or poses, maps too small, or arguments that break equivariance.
    """
    group, size = find_group(group), _size(weight)
    fits = weight.ndim == 5 and weight.shape[2] == group.order
    check_weight("weight", weight, fits, f"(out, in, {group.order}, k, k) for {group.name}", "group_conv2d")
    check_feature_map(x, weight.shape[1], group, "group_conv2d")
    geometry = conv_geometry(group, size, stride, padding, dilation, padding_mode)
    action = filter_action(group, size, device=weight.device) if action is None else action
    return _dense(x, weight, group, bias, geometry, action, "group_conv2d")


def _dense(
    x: Tensor, weight: Tensor, group: FiniteGroup, bias: Tensor | None, geometry: Geometry, action: Tensor, caller: str
) -> Tensor:
    """One dense planar convolution over folded channels and poses."""
    bank = transform_kernel(weight, action).permute(1, 0, 3, 2, 4, 5).flatten(2, 3).flatten(0, 1)  # (h*o, g*c, k, l)
    maps = planar_conv2d(fold_poses(x), bank, _over_poses(bias, group.order), geometry, channel_groups=1, caller=caller)
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

    The second factor of a gc-separable convolution (METHOD section 1).

    Args:
        x: feature maps (batch, channel, |G|, height, width).
        weight: K, (channel, k, k).
        group: the group or its name.
        bias: (channel,), shared over poses.
        stride: step in pixels.
        padding: pixels on every side, "same" or "valid".
        dilation: distance of kernel pixels.
        padding_mode: "zeros", "circular", "reflect" or "replicate".
        action: `pixel_action(group, (k, k))` on the device of x, where it is at hand; built here if not given.

    Returns:
        Feature maps (batch, channel, |G|, height', width').

    Raises:
        ValueError: wrong rank, channels or poses, maps too small, or arguments that break equivariance.
    """
    group, size = find_group(group), _size(weight)
    check_weight("weight", weight, weight.ndim == 3, "(channels, k, k)", "depthwise_group_conv2d")
    check_feature_map(x, weight.shape[0], group, "depthwise_group_conv2d")
    geometry = conv_geometry(group, size, stride, padding, dilation, padding_mode)
    action = pixel_action(group, size, device=weight.device) if action is None else action
    filters = transform_kernel(weight, action).transpose(0, 1).flatten(0, 1).unsqueeze(1)  # (g*o, 1, k, l)
    maps = planar_conv2d(
        fold_poses(x),
        filters,
        _over_poses(bias, group.order),
        geometry,
        channel_groups=filters.shape[0],
        caller="depthwise_group_conv2d",
    )
    return unfold_poses(maps, group.order)


def separable_group_conv2d(
    x: Float[Tensor, "b c g y x"],
    pointwise: Float[Tensor, "o c g"],
    depthwise: Float[Tensor, "o ..."],
    group: FiniteGroup | str,
    bias: Float[Tensor, " o"] | None = None,
    *,
    sharing: Sharing = "gc",
    execution: Execution = "auto",
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    padding_mode: str = "zeros",
    actions: tuple[Tensor, Tensor, Tensor] | None = None,
) -> Float[Tensor, "b o g y2 x2"]:
    """Separable group convolution (arXiv:2106.04914, section 3.3; METHOD section 1).

    gc: `X'[n,h] = (T_h K[n]) * (sum_c sum_g w[n,c,h^-1 g] X[c,g])`;
    g: `X'[n,h] = sum_c (T_h K[n,c]) * (sum_g w[n,c,h^-1 g] X[c,g])`.

    Args:
        x: feature maps (batch, in, |G|, height, width).
        pointwise: w, (out, in, |G|).
        depthwise: K, (out, k, k) for sharing "gc" and (out, in, k, k) for "g".
        group: the group or its name.
        bias: (out,), shared over poses.
        sharing: what shares a spatial kernel: "gc" all poses and input channels, "g" all poses.
        execution: "separable", "composed", or "auto" (see `select_execution`); the same numbers to rounding.
        stride: step in pixels.
        padding: pixels on every side, "same" or "valid".
        dilation: distance of kernel pixels.
        padding_mode: "zeros", "circular", "reflect" or "replicate".
        actions: `(pose_action, pixel_action, filter_action)` on the device of x, where at hand; built here if not
            given.

    Returns:
        Feature maps (batch, out, |G|, height', width').

    Raises:
        ValueError: wrong rank, channels or poses, maps too small, an unknown execution, or arguments that break
            equivariance.
    """
    group, size = find_group(group), _size(depthwise)
    caller, order = "separable_group_conv2d", group.order
    one_of("sharing", sharing, SHARINGS)
    fits = pointwise.ndim == 3 and pointwise.shape[2] == order
    check_weight("pointwise", pointwise, fits, f"(out, in, {order}) for {group.name}", caller)
    out_channels, in_channels = pointwise.shape[:2]
    lead = (out_channels,) if sharing == "gc" else (out_channels, in_channels)
    expected = f"({', '.join(map(str, lead))}, k, k) for sharing={sharing!r}"
    check_weight("depthwise", depthwise, depthwise.shape[:-2] == lead, expected, caller)
    check_feature_map(x, in_channels, group, caller)
    geometry = conv_geometry(group, size, stride, padding, dilation, padding_mode)
    chosen = select_execution(
        execution, sharing, in_channels, out_channels, order, geometry, (int(x.shape[-2]), int(x.shape[-1]))
    )
    if actions is None:
        actions = (
            pose_action(group, device=x.device),
            pixel_action(group, size, device=x.device),
            filter_action(group, size, device=x.device),
        )
    by_pose, by_pixel, by_filter = actions
    if chosen == "composed":
        weight = compose_kernel(pointwise, depthwise, sharing)
        return _dense(x, weight, group, bias, geometry, by_filter, caller)
    geometry.check_size(int(x.shape[-2]), int(x.shape[-1]), caller)
    mixing = transform_kernel(pointwise, by_pose)  # (o, h, c, g)
    filters = transform_kernel(depthwise, by_pixel).transpose(0, 1).flatten(0, 1)  # gc: (h*o, k, l); g: (h*o, c, k, l)
    if sharing == "gc":
        dense = mixing.permute(1, 0, 3, 2).flatten(2, 3).flatten(0, 1)  # (h*o, g*c)
        mixed = F.conv2d(fold_poses(x), dense[..., None, None])  # (b, h*o, y, x)
        filters = filters.unsqueeze(1)
    else:
        per_channel = mixing.permute(2, 1, 0, 3).reshape(-1, order, 1, 1)  # (c*h*o, g, 1, 1)
        mixed = F.conv2d(x.flatten(1, 2), per_channel, groups=in_channels)
        mixed = mixed.unflatten(1, (in_channels, -1)).transpose(1, 2).flatten(1, 2)  # (b, h*o*c, y, x)
    maps = planar_conv2d(
        mixed,
        filters,
        _over_poses(bias, order),
        geometry,
        channel_groups=out_channels * order,
        caller=caller,
    )
    return unfold_poses(maps, order)
