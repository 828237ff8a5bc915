"""Batch norm with statistics shared over poses, with a ReLU in the same step where asked for.

"torch" is torch's batch norm on the maps with poses among the positions. "chunks" takes the statistics of each pose and
joins them, and keeps only its input for backward. "operator" is the same as one node of compiled code: left to itself,
the compiler writes reductions over channels_last maps that take half as long again.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sepgconv.conv.checks import check_eps, check_momentum
from sepgconv.ops import dispatch
from sepgconv.ops.autograd import gradients_again, one_by_one
from sepgconv.ops.batch_statistics import (
    NormGradient,
    Statistics,
    affine_into,
    joined_statistics,
    plain_batch_norm,
    update_running_statistics,
)
from sepgconv.ops.checks import check_count, check_operands, check_per_channel
from sepgconv.ops.layout import (
    fold_poses,
    fold_poses_into_width,
    like_image,
    unfold_poses,
    unfold_poses_from_width,
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

    Example:
        >>> import torch
        >>> x, w, k = torch.rand(2, 8, 4, 9, 9), torch.rand(16, 8, 4), torch.rand(16, 3, 3)
        >>> step = NormRelu(None, None, None, None, momentum=0.1, eps=1e-5)
        >>> separable_group_conv2d(x, w, k, "p4", pre_norm_act=step).shape
        torch.Size([2, 16, 4, 7, 7])
    """

    running_mean: Tensor | None
    running_var: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    momentum: float = 0.1
    eps: float = 1e-5

    def has_type(self, dtype: torch.dtype) -> bool:
        """Return whether all tensors that are given have a type."""
        given = (self.running_mean, self.running_var, self.weight, self.bias)
        return all(tensor is None or tensor.dtype == dtype for tensor in given)


def check_batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    caller: str,
) -> None:
    """Raise if `group_batch_norm` cannot take its arguments; the feature maps have been checked.

    Raises:
        TypeError: no tensor where one belongs.
        ValueError: as `group_batch_norm`.
    """
    check_eps(eps, caller, training=training)
    given = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    check_operands(x, caller, given, mixes=True)
    check_per_channel(caller, x.shape[1], **given)
    if training:
        check_momentum(momentum, caller)
        check_count(x, caller)
    elif running_mean is None or running_var is None:
        raise ValueError(f"{caller}: without training, running_mean and running_var are needed")


def normalize_batch(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    *,
    relu: bool,
) -> Tensor:
    """Run `sepgconv.functional.group_batch_norm` on what has been checked; without training it needs statistics."""
    channels, order = x.shape[1], x.shape[2]
    if not training and running_mean is not None and running_var is not None:
        return _fixed_norm(x, running_mean, running_var, weight, bias, eps, relu)
    context = dispatch.context(x, running_mean, running_var, weight, bias)
    chosen = dispatch.implementation("batch_norm", context, order > 1)
    if chosen == "torch":
        # With one pose there is nothing to join.
        fold = fold_poses if order == 1 else fold_poses_into_width
        normed = F.batch_norm(fold(x), running_mean, running_var, weight, bias, True, momentum, eps)
        normed = F.relu(normed) if relu else normed
        return unfold_poses(normed, order) if order == 1 else unfold_poses_from_width(normed, order)
    scale = x.new_ones(channels) if weight is None else weight
    shift = x.new_zeros(channels) if bias is None else bias
    run = shared_batch_norm if chosen == "operator" else _SharedBatchNorm.apply
    y, mean, var = run(fold_poses(x), scale, shift, order, eps, relu)
    update_running_statistics(running_mean, running_var, mean, var, x.numel() // channels, momentum)
    return unfold_poses(y, order)


def _fixed_norm(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    relu: bool,
) -> Tensor:
    """Normalise by statistics that do not change: scale and shift every channel."""
    order, context = x.shape[2], dispatch.context(x, running_mean, weight, bias)
    if dispatch.implementation("fixed_norm", context, not context.grad) == "operator":
        slope = (running_var + eps).rsqrt() if weight is None else weight * (running_var + eps).rsqrt()
        offset = -running_mean * slope if bias is None else bias - running_mean * slope
        maps = affine_operator(fold_poses(x), slope.repeat(order), offset.repeat(order), relu)
        return unfold_poses(maps, order)
    scale, shift = (None if p is None else p.repeat(order) for p in (weight, bias))
    mean, var = running_mean.repeat(order), running_var.repeat(order)
    normed = F.batch_norm(fold_poses(x), mean, var, scale, shift, False, 0.0, eps)
    return unfold_poses(F.relu(normed) if relu else normed, order)


class _SharedBatchNorm(torch.autograd.Function):
    """Training-mode batch norm of folded maps (batch, pose * channel, height, width), and ReLU where asked for."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] (torch declares it for any arguments)
        x: Tensor, weight: Tensor, bias: Tensor, order: int, eps: float, relu: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        return shared_norm(x, weight, bias, order, eps, relu)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        x, weight, bias, ctx.order, ctx.eps, ctx.relu = inputs
        _, mean, var = output
        ctx.mark_non_differentiable(mean, var)
        ctx.save_for_backward(x, weight, bias, mean, var)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], *inputs: Any
    ) -> tuple[tuple[Tensor | None, ...], tuple[int | None, ...]]:
        """Normalise the batches of `torch.vmap` one after the other."""
        return one_by_one(_SharedBatchNorm.apply, info.batch_size, in_dims, inputs)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (torch declares it for any arguments)
        ctx: Any, grad: Tensor, *unused: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, var = ctx.saved_tensors
        if dispatch.differentiates_again(grad):
            plain = partial(plain_batch_norm, order=ctx.order, eps=ctx.eps, relu=ctx.relu)
            return (*gradients_again(plain, (x, weight, bias), grad), None, None, None)
        found = shared_norm_backward(grad, x, weight, bias, mean, var, ctx.order, ctx.eps, ctx.relu)
        return (*found, None, None, None)


def shared_norm(
    x: Tensor, weight: Tensor, bias: Tensor, order: int, eps: float, relu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise folded maps, with ReLU where asked for; return them, the mean and the biased variance (channel,)."""
    statistics = joined_statistics(x, order, eps)
    slope, offset = statistics.affine(weight, bias)
    y = like_image(x)
    for chunk in dispatch.chunks(x, widest=x.shape[1]):
        affine_into(x[chunk], slope, offset, relu=relu, out=y[chunk])
    return y, statistics.mean, statistics.var


def shared_norm_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    order: int,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of `shared_norm` with respect to x, weight and bias.

    What the ReLU let through is found again from x.
    """
    statistics = Statistics(mean, var, order, eps)
    grad = grad.contiguous(memory_format=torch.channels_last)
    slope, offset = statistics.affine(weight, bias)
    norm, cut = NormGradient(statistics, weight, x.numel() // len(mean)), dispatch.chunks(x, widest=x.shape[1])
    grad_x = like_image(x)
    for chunk in cut:
        passed = grad[chunk]
        if relu:  # what the ReLU lets through waits in the result for the second round
            y = affine_into(x[chunk], slope, offset, relu=False, out=like_image(x[chunk]))
            passed = torch.ops.aten.threshold_backward.grad_input(passed, y, 0, grad_input=grad_x[chunk])
        norm.add(passed, x[chunk])
    norm.finish()
    for chunk in cut:
        norm.by_input((grad_x if relu else grad)[chunk], x[chunk], out=grad_x[chunk])
    return grad_x, norm.weight, norm.bias


@torch.library.custom_op("sepgconv::shared_batch_norm", mutates_args=())
def shared_batch_norm(
    x: Tensor, weight: Tensor, bias: Tensor, order: int, eps: float, relu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Run `shared_norm`."""
    return shared_norm(x, weight, bias, order, eps, relu)


@shared_batch_norm.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, order: int, eps: float, relu: bool) -> tuple[Tensor, Tensor, Tensor]:
    return like_image(x), torch.empty_like(weight), torch.empty_like(weight)


@torch.library.custom_op("sepgconv::shared_batch_norm_backward", mutates_args=())
def shared_batch_norm_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    order: int,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run `shared_norm_backward`."""
    return shared_norm_backward(grad, x, weight, bias, mean, var, order, eps, relu)


@shared_batch_norm_backward.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    order: int,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return like_image(x), torch.empty_like(weight), torch.empty_like(bias)


def _save_norm(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, bias, ctx.order, ctx.eps, ctx.relu = inputs
    ctx.save_for_backward(x, weight, bias, output[1], output[2])


def _norm_gradient(ctx: Any, grad: Tensor, *unused: Tensor | None) -> tuple[Tensor | None, ...]:
    found = shared_batch_norm_backward(grad, *ctx.saved_tensors, ctx.order, ctx.eps, ctx.relu)
    return (*found, None, None, None)


shared_batch_norm.register_autograd(_norm_gradient, setup_context=_save_norm)


@torch.library.custom_op("sepgconv::affine", mutates_args=())
def affine_operator(x: Tensor, slope: Tensor, offset: Tensor, relu: bool) -> Tensor:
    """Run `affine_into` with slope and offset (maps,): batch norm with fixed statistics, without gradients."""
    out = like_image(x)
    for chunk in dispatch.chunks(x, widest=x.shape[1]):  # so that ReLU finds the maps in the cache
        affine_into(x[chunk], slope[:, None, None], offset[:, None, None], relu=relu, out=out[chunk])
    return out


@affine_operator.register_fake
def _(x: Tensor, slope: Tensor, offset: Tensor, relu: bool) -> Tensor:
    return like_image(x)
