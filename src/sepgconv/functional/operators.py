"""The hand-written CPU kernels as operators of torch, so that compiled code can call them.

In compiled code the compiler sees one node with a known result and gradient, runs what eager code runs, and fuses the
rest around it. Left to itself it writes reductions over channels_last maps that take half as long again.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sepgconv.functional.gc_convolution import GcPlan, gc_backward, gc_forward
from sepgconv.functional.layout import fold_image
from sepgconv.functional.maxima import max_pool_backward, max_pool_with_places, place_type
from sepgconv.functional.pieces import like_image, pieces
from sepgconv.functional.planar import flat_geometry, geometry_of
from sepgconv.functional.shared_statistics import affine_into, shared_norm, shared_norm_backward
from sepgconv.symmetry import Butterflies


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
    for piece in pieces(x, widest=x.shape[1]):  # so that ReLU finds the maps in the cache
        affine_into(x[piece], slope[:, None, None], offset[:, None, None], relu=relu, out=out[piece])
    return out


@affine_operator.register_fake
def _(x: Tensor, slope: Tensor, offset: Tensor, relu: bool) -> Tensor:
    return like_image(x)


def flat_plan(plan: GcPlan) -> tuple[list[int], str]:
    """Write a plan without batch norm as numbers and a word, which is what an operator can take."""
    form, sides = plan.form, flat_geometry(plan.geometry)
    blocks = [size for block in form.blocks for size in block]
    return [plan.order, len(form.levels), *map(int, form.levels), *sides, *blocks], plan.geometry.padding_mode


def _plan(numbers: Sequence[int], mode: str) -> GcPlan:
    order, depth, *rest = numbers
    levels, sides, blocks = rest[:depth], rest[depth : depth + 8], rest[depth + 8 :]
    form = Butterflies(tuple(map(bool, levels)), tuple(zip(blocks[::2], blocks[1::2], strict=True)))
    return GcPlan(form, order, geometry_of(sides, mode))


@torch.library.custom_op("sepgconv::gc_convolution", mutates_args=())
def gc_convolution_operator(
    x: Tensor, filters: Tensor, bias: Tensor | None, weights: Sequence[Tensor], numbers: Sequence[int], mode: str
) -> Tensor:
    """Run `gc_forward` without batch norm."""
    return gc_forward(x, None, None, filters, bias, weights, _plan(numbers, mode))[0]


@gc_convolution_operator.register_fake
def _(
    x: Tensor, filters: Tensor, bias: Tensor | None, weights: Sequence[Tensor], numbers: Sequence[int], mode: str
) -> Tensor:
    height, width = _plan(numbers, mode).geometry.output_size(x.shape[2], x.shape[3])
    return x.new_empty((x.shape[0], height, width, filters.shape[0])).permute(0, 3, 1, 2)


@torch.library.custom_op("sepgconv::gc_convolution_backward", mutates_args=())
def gc_convolution_backward(
    grad: Tensor,
    x: Tensor,
    filters: Tensor,
    bias: Tensor | None,
    weights: Sequence[Tensor],
    numbers: Sequence[int],
    mode: str,
) -> list[Tensor]:
    """Run `gc_backward` without batch norm: gradients by x, filters, the weights, and the bias where there is one."""
    plan = _plan(numbers, mode)
    found = gc_backward(grad, x, None, None, filters, bias, None, None, weights, plan)
    return [part for part in (found[0], found[3], *found[5:], found[4]) if part is not None]


@gc_convolution_backward.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    filters: Tensor,
    bias: Tensor | None,
    weights: Sequence[Tensor],
    numbers: Sequence[int],
    mode: str,
) -> list[Tensor]:
    parts = [torch.empty_like(part) for part in (filters, *weights, *([] if bias is None else [bias]))]
    return [like_image(x), *parts]


def _save_convolution(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, filters, bias, weights, ctx.numbers, ctx.mode = inputs
    ctx.has_bias = bias is not None
    ctx.save_for_backward(x, filters, *([bias] if ctx.has_bias else []), *weights)


def _convolution_gradient(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, filters, *rest = ctx.saved_tensors
    bias, weights = (rest[0], rest[1:]) if ctx.has_bias else (None, rest)
    by_x, by_filters, *parts = gc_convolution_backward(grad, x, filters, bias, weights, ctx.numbers, ctx.mode)
    return by_x, by_filters, parts[len(weights)] if ctx.has_bias else None, parts[: len(weights)], None, None


gc_convolution_operator.register_autograd(_convolution_gradient, setup_context=_save_convolution)


@torch.library.custom_op("sepgconv::max_pool2d", mutates_args=())
def max_pool_operator(maps: Tensor, window: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Run `max_pool_with_places`."""
    return max_pool_with_places(fold_image(maps), geometry_of(window))


@max_pool_operator.register_fake
def _(maps: Tensor, window: Sequence[int]) -> tuple[Tensor, Tensor]:
    height, width = geometry_of(window).output_size(maps.shape[2], maps.shape[3])
    pooled = like_image(maps.new_empty(1).expand(*maps.shape[:2], height, width))
    return pooled, torch.empty_like(pooled, dtype=place_type(maps.shape))


@torch.library.custom_op("sepgconv::max_pool2d_backward", mutates_args=())
def max_pool_backward_operator(grad: Tensor, at: Tensor, shape: Sequence[int], window: Sequence[int]) -> Tensor:
    """Run `max_pool_backward`."""
    grad = grad.contiguous(memory_format=torch.channels_last)
    return max_pool_backward(grad, at, shape, geometry_of(window))


@max_pool_backward_operator.register_fake
def _(grad: Tensor, at: Tensor, shape: Sequence[int], window: Sequence[int]) -> Tensor:
    return like_image(grad.new_empty(1).expand(*shape))


def _save_pool(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    maps, ctx.window = inputs
    ctx.shape = maps.shape
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1])


def _pool_gradient(ctx: Any, grad: Tensor, *unused: Tensor | None) -> tuple[Tensor, None]:
    return max_pool_backward_operator(grad, ctx.saved_tensors[0], ctx.shape, ctx.window), None


max_pool_operator.register_autograd(_pool_gradient, setup_context=_save_pool)
