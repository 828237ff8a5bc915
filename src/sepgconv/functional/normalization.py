"""Normalisations that treat the poses of a channel alike."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sepgconv.functional.layout import (
    fold_poses,
    fold_poses_into_width,
    unfold_poses,
    unfold_poses_from_width,
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

    Returns:
        Feature maps of the same shape.

    Raises:
        ValueError: training on a single value per channel, which has no variance; or not training without statistics.
    """
    channels, order = x.shape[1], x.shape[2]
    if not _takes_the_fast_path(x, running_mean, running_var, weight, bias):
        wide = fold_poses_into_width(x)
        normed = F.batch_norm(wide, running_mean, running_var, weight, bias, training, momentum, eps)
        return unfold_poses_from_width(normed, order)
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("group_batch_norm: without training, running_mean and running_var are needed")
        scale, shift = (None if p is None else p.repeat(order) for p in (weight, bias))
        mean, var = running_mean.repeat(order), running_var.repeat(order)
        return unfold_poses(F.batch_norm(fold_poses(x), mean, var, scale, shift, False, 0.0, eps), order)
    count = x.numel() // channels
    scale = x.new_ones(channels) if weight is None else weight
    shift = x.new_zeros(channels) if bias is None else bias
    y, mean, var = _SharedBatchNorm.apply(fold_poses(x), scale, shift, order, eps)
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean, momentum)
        if running_var is not None:
            running_var.lerp_(var * (count / (count - 1)), momentum)
    return unfold_poses(y, order)


def _takes_the_fast_path(x: Tensor, *others: Tensor | None) -> bool:
    # The compiler fuses the plain formula itself, GPUs have their own kernels, and mixed precision its own rules. With
    # one pose there is nothing to join.
    same = all(other is None or other.dtype == x.dtype for other in others)
    return (
        x.shape[2] > 1
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and same
        and x.numel() > 0
        and not torch.compiler.is_compiling()
    )


class _SharedBatchNorm(torch.autograd.Function):
    """Training-mode batch norm of folded maps (batch, pose * channel, height, width).

    torch's kernels take neighbouring channels as vectors, of which a handful of channels fills a part. So statistics
    are taken per pose and channel, and joined exactly: the mean of the variances plus the variance of the means.
    """

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] (torch declares it for any arguments)
        x: Tensor, weight: Tensor, bias: Tensor, order: int, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        means, variances = (s.view(order, -1) for s in torch.batch_norm_update_stats(x, None, None, 0.0))
        mean = means.mean(0)
        var = variances.mean(0) + (means - mean).square().mean(0)
        scale, shift = weight.repeat(order), bias.repeat(order)
        return F.batch_norm(x, mean.repeat(order), var.repeat(order), scale, shift, False, 0.0, eps), mean, var

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        x, weight, _, ctx.order, ctx.eps = inputs
        _, mean, var = output
        ctx.mark_non_differentiable(mean, var)
        ctx.save_for_backward(x, weight, mean, var)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], *inputs: Any
    ) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[int, int, int]]:
        """Normalise the batches of `torch.vmap` one after the other."""
        results: list[tuple[Tensor, Tensor, Tensor]] = []
        for index in range(info.batch_size):
            pairs = zip(inputs, in_dims, strict=True)
            one = [value if axis is None else value.select(axis, index) for value, axis in pairs]
            results.append(_SharedBatchNorm.apply(*one))
        y, mean, var = (torch.stack(parts) for parts in zip(*results, strict=True))
        return (y, mean, var), (0, 0, 0)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (torch declares it for any arguments)
        ctx: Any, grad: Tensor, *unused: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        order, eps = ctx.order, ctx.eps
        if torch.is_grad_enabled():  # the gradient will be differentiated again: by the plain formula
            return (*_differentiable_gradient(x, weight, grad, order, eps), None, None)
        grad = grad.contiguous(memory_format=torch.channels_last)
        # In evaluation mode this is the two sums over positions that are needed: of grad * normalised x, and of grad.
        masks = [False, True, True]
        _, products, sums = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight.repeat(order), mean.repeat(order), var.repeat(order), None, None, False, eps, masks
        )
        grad_weight, grad_bias = products.view(order, -1).sum(0), sums.view(order, -1).sum(0)
        if not ctx.needs_input_grad[0]:
            return None, grad_weight, grad_bias, None, None
        # weight / std * (grad - mean of grad - normalised x * mean of products), as slope * grad + tilt * x + offset.
        count, invstd = x.numel() // len(mean), (var + eps).rsqrt()
        slope = weight * invstd
        tilt = -slope * invstd * grad_weight / count
        offset = -slope * grad_bias / count - tilt * mean
        slope, tilt, offset = (part.repeat(order)[:, None, None] for part in (slope, tilt, offset))
        return torch.addcmul(offset, x, tilt).addcmul_(grad, slope), grad_weight, grad_bias, None, None


def _differentiable_gradient(
    x: Tensor, weight: Tensor, grad: Tensor, order: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, weight and bias by operations that can be differentiated again."""
    poses = x.unflatten(1, (order, -1))
    axes = (0, 1, 3, 4)
    centred = poses - poses.mean(axes, keepdim=True)
    invstd = (centred.square().mean(axes, keepdim=True) + eps).rsqrt()
    normed = centred * invstd
    grads = grad.unflatten(1, (order, -1))
    grad_weight, grad_bias = (grads * normed).sum(axes), grads.sum(axes)
    count = x.numel() // len(weight)
    shape = (1, 1, -1, 1, 1)
    inner = grads - grad_bias.view(shape) / count - normed * grad_weight.view(shape) / count
    return (weight.view(shape) * invstd * inner).flatten(1, 2), grad_weight, grad_bias


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
    """
    channels, poses = x.shape[1:3]
    scale, shift = (None if p is None else p.expand(poses, channels) for p in (weight, bias))
    pixels = x.permute(0, 3, 4, 2, 1)  # (b, y, x, g, c)
    return F.layer_norm(pixels, (poses, channels), scale, shift, eps).permute(0, 4, 3, 1, 2)
