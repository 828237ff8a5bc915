"""Normalisations that treat the poses of a channel alike."""

from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sepgconv.functional.checks import (
    check_count,
    check_eps,
    check_feature_map,
    check_momentum,
    check_operands,
    check_per_channel,
)
from sepgconv.functional.derivatives import by_hand, gradients_again, in_compiled_code, is_transformed, one_by_one
from sepgconv.functional.layout import (
    fold_poses,
    fold_poses_into_width,
    unfold_poses,
    unfold_poses_from_width,
)
from sepgconv.functional.operators import affine_operator, shared_batch_norm
from sepgconv.functional.shared_statistics import (
    plain_batch_norm,
    shared_norm,
    shared_norm_backward,
    update_running_statistics,
)


def group_batch_norm(
    x: Float[Tensor, "b c g y x"],
    running_mean: Float[Tensor, " c"] | None,
    running_var: Float[Tensor, " c"] | None,
    weight: Float[Tensor, " c"] | None = None,
    bias: Float[Tensor, " c"] | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    relu: bool = False,
) -> Float[Tensor, "b c g y x"]:
    """Batch norm with statistics and affine parameters shared over poses, as `torch.nn.functional.batch_norm`.

    Args:
        x: feature maps (batch, channel, pose, height, width).
        running_mean: (channel,); used if not training, else moved towards the batch's.
        running_var: (channel,); the same.
        weight: scale (channel,), or None for 1.
        bias: shift (channel,), or None for 0.
        training: whether to normalise by the statistics of this batch.
        momentum: weight of this batch in the running statistics.
        eps: added to the variance.
        relu: whether to follow with a ReLU in the same step, which then keeps no map of its own for backward. That pays
            where nothing else keeps the result: it takes as long as two steps.

    Returns:
        Feature maps of the same shape.

    Raises:
        TypeError: no tensor where one belongs.
        ValueError: x is no feature map of floating point numbers; a tensor on another device, of a dtype that does not
            go with that of x (half precision goes with float32) or of another shape than (channel,); training on a
            single value per channel, which has no variance, or with an eps that is not positive; or not training
            without statistics.
    """
    caller = "group_batch_norm"
    check_feature_map(x, None, None, caller)
    check_batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps, caller)
    return normalize_batch(x, running_mean, running_var, weight, bias, training, momentum, eps, relu=relu)


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
    """Refuse what `group_batch_norm` cannot work with, for feature maps that have been checked.

    Raises:
        TypeError: no tensor where one belongs.
        ValueError: as `group_batch_norm`.
    """
    check_eps(eps, caller, training=training)
    given = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    check_operands(x, caller, mixes=True, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
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
    """Run `group_batch_norm` on what has been checked; without training the running statistics are there."""
    channels, order = x.shape[1], x.shape[2]
    if not training and running_mean is not None and running_var is not None:
        if x.device.type == "cpu" and not torch.is_grad_enabled() and in_compiled_code(x, running_mean, weight, bias):
            # The compiler's own kernel reads the parameters one by one, which takes twice as long.
            slope = (running_var + eps).rsqrt() if weight is None else weight * (running_var + eps).rsqrt()
            offset = -running_mean * slope if bias is None else bias - running_mean * slope
            maps = affine_operator(fold_poses(x), slope.repeat(order), offset.repeat(order), relu)
            return unfold_poses(maps, order)
        scale, shift = (None if p is None else p.repeat(order) for p in (weight, bias))
        mean, var = running_mean.repeat(order), running_var.repeat(order)
        normed = F.batch_norm(fold_poses(x), mean, var, scale, shift, False, 0.0, eps)
        return unfold_poses(F.relu(normed) if relu else normed, order)
    # On GPUs torch's own kernels are good; with one pose there is nothing to join.
    joins = x.device.type == "cpu" and order > 1
    as_operator = joins and in_compiled_code(x, running_mean, running_var, weight, bias, small=True)
    if not as_operator and not (joins and by_hand(x, running_mean, running_var, weight, bias)):
        if order == 1:
            normed = F.batch_norm(fold_poses(x), running_mean, running_var, weight, bias, True, momentum, eps)
            return unfold_poses(F.relu(normed) if relu else normed, order)
        wide = fold_poses_into_width(x)
        normed = F.batch_norm(wide, running_mean, running_var, weight, bias, True, momentum, eps)
        return unfold_poses_from_width(F.relu(normed) if relu else normed, order)
    scale = x.new_ones(channels) if weight is None else weight
    shift = x.new_zeros(channels) if bias is None else bias
    run = shared_batch_norm if as_operator else _SharedBatchNorm.apply
    y, mean, var = run(fold_poses(x), scale, shift, order, eps, relu)
    update_running_statistics(running_mean, running_var, mean, var, x.numel() // channels, momentum)
    return unfold_poses(y, order)


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
        if torch.is_grad_enabled() or is_transformed(grad):  # differentiated again, or batched
            plain = partial(plain_batch_norm, order=ctx.order, eps=ctx.eps, relu=ctx.relu)
            return (*gradients_again(plain, (x, weight, bias), grad), None, None, None)
        found = shared_norm_backward(grad, x, weight, bias, mean, var, ctx.order, ctx.eps, ctx.relu)
        return (*found, None, None, None)


def group_layer_norm(
    x: Float[Tensor, "b c g y x"],
    weight: Float[Tensor, " c"] | None = None,
    bias: Float[Tensor, " c"] | None = None,
    eps: float = 1e-5,
) -> Float[Tensor, "b c g y x"]:
    """Normalise every position over its channels and poses, then scale and shift each channel (Ba et al. 2016).

    Args:
        x: feature maps (batch, channel, pose, height, width).
        weight: scale (channel,), the same for all poses, or None for 1.
        bias: shift (channel,), the same for all poses, or None for 0.
        eps: added to the variance.

    Returns:
        Feature maps of the same shape.

    Raises:
        TypeError: no tensor where one belongs.
        ValueError: x is no feature map of floating point numbers; a tensor on another device, of a dtype that does not
            go with that of x (half precision goes with float32) or of another shape than (channel,); a negative eps.
    """
    return normalize_positions(x, weight, bias, eps, None, caller="group_layer_norm")


def normalize_positions(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, channels: int | None, *, caller: str
) -> Tensor:
    """Run `group_layer_norm` on maps of so many channels, None for any; errors name the caller."""
    check_feature_map(x, channels, None, caller)
    check_eps(eps, caller)
    check_operands(x, caller, mixes=True, weight=weight, bias=bias)
    check_per_channel(caller, x.shape[1], weight=weight, bias=bias)
    width, poses = x.shape[1:3]
    scale, shift = (None if p is None else p.expand(poses, width) for p in (weight, bias))
    pixels = x.permute(0, 3, 4, 2, 1)  # (b, y, x, g, c)
    return F.layer_norm(pixels, (poses, width), scale, shift, eps).permute(0, 4, 3, 1, 2)
