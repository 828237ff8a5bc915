"""The separable group convolution as a function of tensors (arXiv:2106.04914, section 3.3)."""

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sepgconv._messages import one_of
from sepgconv.functional.checks import (
    HALVES,
    NUMBERS,
    check_feature_map,
    check_kind,
    check_operands,
    check_per_channel,
    check_tensor,
    check_weight,
    kernel_size_of,
)
from sepgconv.functional.constants import constant
from sepgconv.functional.convolution import convolve_dense
from sepgconv.functional.derivatives import by_hand, casts, in_compiled_code, is_transformed
from sepgconv.functional.execution import Execution, choose_execution
from sepgconv.functional.gc_convolution import GcPlan, gc_convolution, norm_relu_gc_convolution
from sepgconv.functional.geometry import Geometry, Pair, conv_geometry
from sepgconv.functional.kernels import (
    SHARINGS,
    Sharing,
    filter_action,
    map_filters,
    multiplied,
    over_poses,
    pixel_action,
    pose_action,
    transform_kernel,
)
from sepgconv.functional.layout import fold_image, fold_poses, unfold_poses
from sepgconv.functional.mixing import WHOLE, block_weights, dense_weight, fourier_table, fourier_tables
from sepgconv.functional.normalization import check_batch_norm, normalize_batch
from sepgconv.functional.operators import flat_plan, gc_convolution_operator
from sepgconv.functional.planar import planar_conv2d
from sepgconv.functional.shared_statistics import update_running_statistics
from sepgconv.functional.terms import fold_terms
from sepgconv.symmetry import Butterflies, FiniteGroup
from sepgconv.symmetry import group as find_group


class SeparableActions(NamedTuple):
    """The tables by which a group moves the factors of a separable convolution, all on one device.

    Attributes:
        pose: `pose_action(group)`.
        pixel: `pixel_action(group, kernel_size)`.
        filter: `filter_action(group, kernel_size)`.
        fourier: `fourier_tables(group)`.
    """

    pose: Tensor
    pixel: Tensor
    filter: Tensor
    fourier: tuple[Tensor, ...]


def separable_actions(
    group: FiniteGroup | str, size: Pair, *, device: torch.device | str | None = None
) -> SeparableActions:
    """Build the tables for planar kernels of a size (height, width)."""
    group = find_group(group)
    return SeparableActions(
        pose_action(group, device=device),
        pixel_action(group, size, device=device),
        filter_action(group, size, device=device),
        fourier_tables(group, device=device),
    )


@dataclass(frozen=True, slots=True)
class NormRelu:
    """Batch norm by the statistics of the batch, then ReLU: arguments of `group_batch_norm` in training.

    Attributes:
        running_mean: (channel,), moved towards the batch's, or None.
        running_var: (channel,), the same.
        weight: scale (channel,), or None for 1.
        bias: shift (channel,), or None for 0.
        momentum: weight of this batch in the running statistics.
        eps: added to the variance.
    """

    running_mean: Tensor | None
    running_var: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    momentum: float = 0.1
    eps: float = 1e-5

    def has_type(self, dtype: torch.dtype) -> bool:
        """Tell whether all tensors that are given have a type."""
        given = (self.running_mean, self.running_var, self.weight, self.bias)
        return all(tensor is None or tensor.dtype == dtype for tensor in given)


def separable_group_conv2d(
    x: Float[Tensor, "b c g y x"],
    pointwise: Float[Tensor, "o *r c g"],
    depthwise: Float[Tensor, "o ..."],
    group: FiniteGroup | str,
    bias: Float[Tensor, " o"] | None = None,
    *,
    sharing: Sharing = "gc",
    execution: Execution = "auto",
    recompute: bool | None = None,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    padding_mode: str = "zeros",
    before: NormRelu | None = None,
    actions: SeparableActions | None = None,
) -> Float[Tensor, "b o g y2 x2"]:
    """Separable group convolution (arXiv:2106.04914, section 3.3; theory.md, Convolutions).

    gc: `X'[n,h] = (T_h K[n]) * (sum_c sum_g w[n,c,h^-1 g] X[c,g])`;
    g: `X'[n,h] = sum_c (T_h K[n,c]) * (sum_g w[n,c,h^-1 g] X[c,g])`.
    With factors of rank r it is the sum of r of these; at `full_rank` every group convolution can be written so.

    Args:
        x: feature maps (batch, in, |G|, height, width).
        pointwise: w, (out, in, |G|); with a rank (out, rank, in, |G|).
        depthwise: K, (out, k, k) for sharing "gc" and (out, in, k, k) for "g"; with a rank (out, rank, k, k) and
            (out, rank, in, k, k).
        group: the group or its name.
        bias: (out,), shared over poses.
        sharing: what shares a spatial kernel: "gc" all poses and input channels, "g" all poses.
        execution: "separable"; "fourier" (gc only), the mixing in the irreps of the group; "composed"; or "auto" (see
            `select_execution`). The same numbers to rounding.
        recompute: whether to keep only the input for backward, and make the maps between mixing and filtering again
            there, a few pictures at a time. None does so where it costs little: in the irreps, where it was as fast as
            keeping them. The dense mixing is one product more, measured as 15 to 20 % of a training step. Composed has
            no maps between. Compiled code decides by itself what to keep of sharing "g".
        stride: step in pixels.
        padding: pixels on every side, "same" or "valid".
        dilation: distance of kernel pixels.
        padding_mode: "zeros", "circular", "reflect" or "replicate".
        before: batch norm and ReLU to apply to x first. With `recompute`, x is then all that is kept.
        actions: `separable_actions(group, (k, k))` where at hand; the library's own if not given.

    Returns:
        Feature maps (batch, out, |G|, height', width').

    Raises:
        TypeError: no tensor where one belongs, or before or actions of another kind.
        ValueError: tensors of different dtypes or devices, or not dense; wrong rank, channels or poses; maps too small,
            an unknown execution, "fourier" with sharing "g", or arguments that break equivariance.
    """
    group, caller = find_group(group), "separable_group_conv2d"
    check_kind(before, NormRelu, "before", caller)
    check_kind(actions, SeparableActions, "actions", caller)
    size = kernel_size_of(depthwise, "depthwise", caller)
    geometry = conv_geometry(group, size, stride, padding, dilation, padding_mode)
    if before is not None:
        check_feature_map(x, None, group, caller)
        given = (before.running_mean, before.running_var, before.weight, before.bias)
        check_batch_norm(x, *given, True, before.momentum, before.eps, f"{caller}: before")
    return convolve_separable(
        x,
        pointwise,
        depthwise,
        group,
        bias,
        geometry,
        caller,
        sharing=sharing,
        execution=execution,
        recompute=recompute,
        before=before,
        actions=actions,
    )


def convolve_separable(
    x: Tensor,
    pointwise: Tensor,
    depthwise: Tensor,
    group: FiniteGroup,
    bias: Tensor | None,
    geometry: Geometry,
    caller: str,
    *,
    sharing: Sharing,
    execution: Execution,
    recompute: bool | None,
    before: NormRelu | None,
    actions: SeparableActions | None = None,
) -> Tensor:
    """Run `separable_group_conv2d` with a geometry at hand, as layers have it."""
    order, size = group.order, geometry.kernel_size
    one_of("sharing", sharing, SHARINGS)
    check_tensor(pointwise, "pointwise", caller, NUMBERS)
    terms = pointwise.shape[1:2] if pointwise.ndim == 4 else ()
    check_weight("pointwise", pointwise, ("out", *(["rank"] if terms else []), "in", order), caller, group)
    out_channels, in_channels = pointwise.shape[0], pointwise.shape[-2]
    lead = pointwise.shape[:-2] if sharing == "gc" else pointwise.shape[:-1]
    check_weight("depthwise", depthwise, (*lead, *size), caller)
    check_feature_map(x, in_channels, group, caller, NUMBERS)
    check_operands(x, caller, pointwise=pointwise, depthwise=depthwise, bias=bias)
    check_per_channel(caller, out_channels, bias=bias)
    pixels = (int(x.shape[-2]), int(x.shape[-1]))
    geometry.check_size(*pixels, caller)
    sizes = (sharing, in_channels, out_channels, group, geometry, pixels)
    chosen = choose_execution(execution, *sizes, device=x.device.type, rank=terms[0] if terms else 1)
    recompute = (chosen == "fourier") if recompute is None else recompute
    compiles = torch.compiler.is_compiling()
    recompute = recompute and torch.is_grad_enabled() and (compiles or not is_transformed())
    if chosen == "composed":
        x = x if before is None else _apply(before, x)
        table = None if actions is None else actions.filter
        return convolve_dense(x, multiplied(pointwise, depthwise, sharing), group, bias, geometry, caller, table)
    pixel = constant(pixel_action, group, size, like=depthwise) if actions is None else actions.pixel
    if sharing == "gc":
        if x.dtype in HALVES and casts(x.device.type):  # sums of poses go with weights of one half precision only
            x = x.to(torch.get_autocast_dtype(x.device.type))
        weights, form = _mixing(chosen, fold_terms(pointwise), group, actions)
        filters = map_filters(depthwise, pixel).contiguous()  # (h*o, r, k, l)
        plan = GcPlan(form, order, geometry)
        return _gc_separable(x, weights, filters, over_poses(bias, order), plan, recompute, before)
    x = x if before is None else _apply(before, x)
    pointwise = pointwise.flatten(0, 1) if terms else pointwise  # the sum over terms joins that over channels
    pose = constant(pose_action, group, like=pointwise) if actions is None else actions.pose
    mixing, filters = transform_kernel(pointwise, pose), map_filters(depthwise, pixel)
    keeps = compiles or not recompute
    run = _g_separable if keeps else partial(checkpoint, _g_separable, use_reentrant=False)
    return run(x, mixing, filters, over_poses(bias, order), geometry)


def _mixing(
    chosen: str, pointwise: Tensor, group: FiniteGroup, actions: SeparableActions | None
) -> tuple[list[Tensor], Butterflies]:
    if chosen == "fourier":
        form = group.butterflies
        tables = [] if actions is None else actions.fourier
        tables = tables or [constant(fourier_table, group, block, like=pointwise) for block in range(len(form.blocks))]
        return block_weights(pointwise, tables), form
    table = constant(pose_action, group, like=pointwise) if actions is None else actions.pose
    return [dense_weight(pointwise, table)], WHOLE


def _gc_separable(
    x: Tensor,
    weights: list[Tensor],
    filters: Tensor,
    bias: Tensor | None,
    plan: GcPlan,
    recompute: bool,
    before: NormRelu | None,
) -> Tensor:
    """Mix all poses and channels, then filter every map; after batch norm and ReLU where they are given."""
    on_cpu = x.device.type == "cpu"
    manual = (recompute or not torch.is_grad_enabled()) and by_hand(x, filters, bias, *weights)
    if before is not None and not (manual and on_cpu and before.has_type(x.dtype)):
        x, before = _apply(before, x), None
    maps = fold_poses(x)
    if before is not None:
        channels = x.shape[1]
        scale = x.new_ones(channels) if before.weight is None else before.weight
        shift = x.new_zeros(channels) if before.bias is None else before.bias
        plan = dataclasses.replace(plan, eps=before.eps)
        y, mean, var = norm_relu_gc_convolution(maps, scale, shift, filters, bias, weights, plan)
        running = (before.running_mean, before.running_var)
        update_running_statistics(*running, mean, var, x.numel() // channels, before.momentum)
    elif (recompute or not torch.is_grad_enabled()) and on_cpu and in_compiled_code(x, filters, bias, *weights):
        y = gc_convolution_operator(maps, filters, bias, weights, *flat_plan(plan))
    elif recompute and not manual and not torch.compiler.is_compiling():  # mixed precision
        run = partial(gc_convolution, by_hand=False)
        y = cast(Tensor, checkpoint(run, maps, filters, bias, weights, plan, use_reentrant=False))
    else:
        y = gc_convolution(maps, filters, bias, weights, plan, by_hand=manual)
    return unfold_poses(y, plan.order)


def _apply(before: NormRelu, x: Tensor) -> Tensor:
    running = (before.running_mean, before.running_var)
    given = (*running, before.weight, before.bias)
    return F.relu(normalize_batch(x, *given, True, before.momentum, before.eps, relu=False))


def _g_separable(x: Tensor, mixing: Tensor, filters: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Mix the poses of every channel for every output, then filter each and sum over channels."""
    channels, order = x.shape[1:3]
    per_channel = mixing.permute(2, 1, 0, 3).reshape(-1, order, 1, 1)  # (c*h*o*r, g, 1, 1)
    # With one channel the maps would stay channels_last; in one layout always, a traced graph suits what comes later.
    mixed = F.conv2d(x.flatten(1, 2).contiguous(), per_channel, groups=channels)
    mixed = mixed.unflatten(1, (channels, -1)).transpose(1, 2).flatten(1, 2)  # (b, h*o*r*c, y, x)
    maps = planar_conv2d(
        mixed, filters, bias, geometry, channel_groups=filters.shape[0], caller="separable_group_conv2d"
    )
    return unfold_poses(fold_image(maps), order)
