"""The hand-written CPU kernels as operators of torch, so that compiled code can call them.

In compiled code the compiler sees one node with a known result and gradient, runs what eager code runs, and fuses the
rest around it. Left to itself it writes reductions over channels_last maps that take half as long again.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sepgconv.functional.gc_convolution import GcPlan, gc_backward, gc_forward
from sepgconv.functional.geometry import Geometry, PaddingMode
from sepgconv.functional.pieces import like_image
from sepgconv.functional.shared_statistics import shared_norm, shared_norm_backward
from sepgconv.groups import Butterflies


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


def flat(plan: GcPlan) -> tuple[list[int], str]:
    """Write a plan without batch norm as numbers and a word, which is what an operator can take."""
    form, geometry = plan.form, plan.geometry
    sides = [*geometry.kernel_size, *geometry.stride, *geometry.padding, *geometry.dilation]
    blocks = [size for block in form.blocks for size in block]
    return [plan.order, len(form.levels), *map(int, form.levels), *sides, *blocks], geometry.padding_mode


def _plan(numbers: Sequence[int], mode: str) -> GcPlan:
    order, depth, *rest = numbers
    levels, sides, blocks = rest[:depth], rest[depth : depth + 8], rest[depth + 8 :]
    kernel, stride, padding, dilation = (tuple(sides[at : at + 2]) for at in (0, 2, 4, 6))
    form = Butterflies(tuple(map(bool, levels)), tuple(zip(blocks[::2], blocks[1::2], strict=True)))
    padding_mode: PaddingMode = mode  # pyright: ignore[reportAssignmentType] (written by `flat`)
    return GcPlan(form, order, Geometry(kernel, stride, padding, dilation, padding_mode))  # pyright: ignore[reportArgumentType]


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
