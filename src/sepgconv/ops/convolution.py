"""Any convolution on a group: check the tensors, choose who runs it, lower it to plain steps, and run those.

`convolve` is what every layer and function of the library calls, for every kind. The naive twins are in `reference`.
"""

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sepgconv.conv.kinds import Parameters
from sepgconv.conv.spec import ConvSpec
from sepgconv.conv.steps import Lowered
from sepgconv.ops import dispatch
from sepgconv.ops.batch_norm import NormRelu, normalize_batch
from sepgconv.ops.batch_statistics import update_running_statistics
from sepgconv.ops.checks import (
    NUMBERS,
    check_feature_map,
    check_image,
    check_operands,
    check_per_channel,
    check_weight,
)
from sepgconv.ops.gc_conv import GcPlan, gc_conv, norm_act_gc_conv
from sepgconv.ops.layout import fold_image, fold_poses, regroup, unfold_poses
from sepgconv.ops.planar_conv import planar_conv2d


def convolve(
    spec: ConvSpec,
    x: Tensor,
    parameters: Parameters,
    bias: Tensor | None,
    caller: str,
    *,
    execution: str = "auto",
    recompute: bool | None = None,
    pre_norm_act: NormRelu | None = None,
) -> Tensor:
    """Convolve images or feature maps on a group.

    Args:
        spec: what the convolution is.
        x: images (batch, in, *sides) if it lifts, else feature maps (batch, in, |G|, *sides).
        parameters: the weights by name, of the shapes in `spec.shapes`.
        bias: (out,), shared over poses, or None.
        caller: named in errors.
        execution: see `dispatch.choose_execution`.
        recompute: whether to keep only the input for the backward pass; None: see `dispatch.decide_gc`.
        pre_norm_act: batch norm and ReLU to apply to x first.

    Returns:
        Feature maps (batch, out, |G|, *sides').

    Raises:
        TypeError: no tensor where one belongs.
        ValueError: tensors of different dtypes or devices, or not dense; wrong shapes; maps too small; an execution
            that the convolution does not have.

    Example:
        >>> import sepgconv, torch
        >>> from sepgconv.conv import FULL, conv_spec
        >>> spec = conv_spec(FULL, 2, 3, 3, sepgconv.group("p4"), caller="example")
        >>> weight = torch.rand(dict(spec.shapes)["weight"])
        >>> convolve(spec, torch.rand(1, 2, 4, 9, 9), {"weight": weight}, None, "example").shape
        torch.Size([1, 3, 4, 7, 7])
    """
    if not _fit(spec, x, parameters, bias):
        check_tensors(spec, x, parameters, bias, caller)
    sides = tuple(x.shape[-len(spec.basis.size) :])
    chosen, costs = dispatch.choose_execution(spec, sides, execution, x.device, caller=caller)
    lowered = spec.kind.lower(spec, parameters, bias, chosen)
    if lowered.steps == "gc":
        maps = _gc(spec, x, lowered, chosen, costs, recompute, pre_norm_act)
    else:
        maps = x if pre_norm_act is None else norm_act(pre_norm_act, x)
        if lowered.steps == "direct":
            maps = _run_direct(spec, maps, lowered, chosen, costs)
        else:
            maps = _g(spec, maps, lowered, chosen, costs, recompute)
    return unfold_poses(maps, spec.order)


def _fit(spec: ConvSpec, x: Tensor, parameters: Parameters, bias: Tensor | None) -> bool:
    """Return whether a quick check finds the tensors of a call right; otherwise `check_tensors` looks closer."""
    if type(x) is not Tensor or x.dtype not in NUMBERS or x.layout != torch.strided or x.is_nested:
        return False
    if x.ndim != len(spec.basis.size) + (2 if spec.kind.lifts else 3) or x.shape[1] != spec.in_channels:
        return False
    if not spec.kind.lifts and x.shape[2] != spec.order:
        return False
    for name, shape in (*spec.shapes, ("bias", (spec.out_channels,))):
        value = bias if name == "bias" else parameters[name]
        if value is None and name == "bias":
            continue
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.shape != shape or 0 in shape:
            return False
        if value.dtype != x.dtype or value.device != x.device:
            return False
    return True


def check_tensors(spec: ConvSpec, x: Tensor, parameters: Parameters, bias: Tensor | None, caller: str) -> None:
    """Raise if the tensors of a call do not fit the convolution or each other; see `convolve`."""
    for name, shape in spec.shapes:
        if not isinstance(parameters[name], Tensor) or parameters[name].shape != shape:
            check_weight(name, parameters[name], shape, caller, spec.group)
    if spec.kind.lifts:
        check_image(x, spec.in_channels, caller)
    else:
        check_feature_map(x, spec.in_channels, spec.group, caller, NUMBERS)
    weights: dict[str, Tensor | None] = {**parameters, "bias": bias}
    check_operands(x, caller, weights)
    check_per_channel(caller, spec.out_channels, bias=bias)


def run_lowered(spec: ConvSpec, x: Tensor, lowered: Lowered, caller: str) -> Tensor:
    """Run plain steps that were made before, as a compiled network does; see `convolve` for the shapes.

    Raises:
        ValueError: maps that are too small.
    """
    spec.geometry.check_size(tuple(x.shape[-len(spec.basis.size) :]), caller)
    if lowered.steps == "gc":
        maps = _gc(spec, x, lowered, "", {}, False, None)
    elif lowered.steps == "direct":
        maps = _run_direct(spec, x, lowered, "", {})
    else:
        maps = _g(spec, x, lowered, "", {}, False)
    return unfold_poses(maps, spec.order)


def norm_act(step: NormRelu, x: Tensor) -> Tensor:
    """Apply batch norm by the statistics of the batch, and ReLU, as a step of its own."""
    given = (step.running_mean, step.running_var, step.weight, step.bias)
    return F.relu(normalize_batch(x, *given, True, step.momentum, step.eps, relu=False))


def _run_direct(spec: ConvSpec, x: Tensor, lowered: Lowered, execution: str, costs: dict[str, float]) -> Tensor:
    dispatch.note("planar_conv", execution, costs, x)
    if spec.kind.lifts:
        maps = fold_image(x)
    else:
        maps = fold_poses(x) if spec.groups == 1 else regroup(fold_poses(x), spec.order, spec.groups)
    columns = not spec.keeps_order_of_sums
    maps = planar_conv2d(maps, lowered.filters, lowered.bias, spec.geometry, lowered.groups, columns=columns)
    return maps if spec.groups == 1 else regroup(maps, spec.groups, spec.order)


def _gc(
    spec: ConvSpec,
    x: Tensor,
    lowered: Lowered,
    execution: str,
    costs: dict[str, float],
    recompute: bool | None,
    pre_norm_act: NormRelu | None,
) -> Tensor:
    """Mix all poses and channels, then filter every map; after batch norm and ReLU where they are given."""
    joint = pre_norm_act is not None and pre_norm_act.has_type(x.dtype)
    weights = (lowered.filters, lowered.bias, *lowered.mixing)
    decision = dispatch.decide_gc(spec, x, weights, execution, costs, recompute, joint)
    columns = not spec.keeps_order_of_sums
    plan = GcPlan(lowered.transform, spec.order, spec.geometry, spec.groups, lowered.mixing_groups, columns)
    if pre_norm_act is not None:
        if decision.joint:
            return _norm_act_gc(x, pre_norm_act, lowered, plan)
        x = norm_act(pre_norm_act, x)
    maps = fold_poses(x if x.dtype == decision.dtype else x.to(decision.dtype), decision.traced)
    if spec.groups == 1:
        return gc_conv(maps, lowered, plan, decision.implementation)
    maps = gc_conv(regroup(maps, spec.order, spec.groups), lowered, plan, decision.implementation)
    return regroup(maps, spec.groups, spec.order)


def _norm_act_gc(x: Tensor, step: NormRelu, lowered: Lowered, plan: GcPlan) -> Tensor:
    channels = x.shape[1]
    scale = x.new_ones(channels) if step.weight is None else step.weight
    shift = x.new_zeros(channels) if step.bias is None else step.bias
    y, mean, var = norm_act_gc_conv(fold_poses(x), scale, shift, step.eps, lowered, plan)
    running = (step.running_mean, step.running_var)
    update_running_statistics(*running, mean, var, x.numel() // channels, step.momentum)
    return y


def _g(
    spec: ConvSpec, x: Tensor, lowered: Lowered, execution: str, costs: dict[str, float], recompute: bool | None
) -> Tensor:
    """Mix the poses of every channel for every output, then filter each and sum over channels."""
    dispatch.note("planar_conv", execution, costs, x)
    if dispatch.checkpoints(x, recompute):
        return cast(Tensor, checkpoint(_mix_and_filter, spec, x, lowered, use_reentrant=False))
    return _mix_and_filter(spec, x, lowered)


def _mix_and_filter(spec: ConvSpec, x: Tensor, lowered: Lowered) -> Tensor:
    channels = x.shape[1]
    # With one channel the maps would stay channels_last; in one layout always, a traced graph suits what comes later.
    mixed = F.conv2d(x.flatten(1, 2).contiguous(), lowered.mixing[0], groups=channels)
    mixed = mixed.unflatten(1, (channels, -1)).transpose(1, 2).flatten(1, 2)  # (b, h*o*r*c, y, x)
    return fold_image(planar_conv2d(mixed, lowered.filters, lowered.bias, spec.geometry, lowered.groups))
