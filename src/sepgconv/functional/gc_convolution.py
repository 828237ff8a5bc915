"""The gc-separable convolution that keeps only its input for backward, and batch norm and ReLU before it as one step.

Everything between the input and the output is made again in the backward pass (theory.md, Recomputation), a few
images at a time, so that the maps between stay in the cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sepgconv.functional.derivatives import gradients_again, is_transformed, one_by_one
from sepgconv.functional.geometry import Geometry
from sepgconv.functional.mixing import analyse, mix, multiply, multiply_backward, synthesise
from sepgconv.functional.pieces import like_image, map_pieces, pieces, zero_or
from sepgconv.functional.planar import planar_backward, planar_conv2d
from sepgconv.functional.shared_statistics import (
    NormGradient,
    Statistics,
    affine_into,
    joined_statistics,
    plain_batch_norm,
)
from sepgconv.functional.terms import (
    add_terms,
    gather_bias,
    gather_filters,
    repeat_terms,
    spread_bias,
    spread_filters,
)
from sepgconv.symmetry import Butterflies


@dataclass(frozen=True)
class GcPlan:
    """How a gc-separable convolution of folded maps runs.

    Attributes:
        form: the transforms around the mixing, none for the dense one.
        order: |G|.
        geometry: planar arguments of the filtering.
        eps: of the batch norm before it, or None where there is none.
    """

    form: Butterflies
    order: int
    geometry: Geometry
    eps: float | None = None


def gc_convolution(
    x: Tensor, filters: Tensor, bias: Tensor | None, weights: Sequence[Tensor], plan: GcPlan, *, by_hand: bool
) -> Tensor:
    """Mix and filter folded maps (batch, |G|*in, height, width) -> (batch, |G|*out, height', width').

    Args:
        x: channels_last maps.
        filters: (|G|*out, terms, k, k), from `map_filters`.
        bias: (|G|*out,) or None.
        weights: `[dense_weight(...)]`, or `block_weights(...)` for a plan with butterflies, of `fold_terms(pointwise)`.
        plan: how to run.
        by_hand: run in pieces and keep only x for backward (`derivatives.by_hand` must hold).
    """
    if by_hand:
        return _GcConvolution.apply(x, None, None, filters, bias, plan, *weights)[0]
    return _plain(x, None, None, filters, bias, *weights, plan=plan)


def norm_relu_gc_convolution(
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    filters: Tensor,
    bias: Tensor | None,
    weights: Sequence[Tensor],
    plan: GcPlan,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise by the statistics of the batch, apply ReLU, mix and filter; only x is kept for backward.

    Returns:
        The maps, and the mean and the biased variance of every channel of x, each (in,).
    """
    return _GcConvolution.apply(x, scale, shift, filters, bias, plan, *weights)


def _plain(
    x: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    filters: Tensor,
    bias: Tensor | None,
    *weights: Tensor,
    plan: GcPlan,
) -> Tensor:
    if plan.eps is not None and scale is not None and shift is not None:
        x = plain_batch_norm(x, scale, shift, plan.order, plan.eps, relu=True)
    return _filter(mix(x, weights, plan.form, plan.order), filters, bias, plan)


def _filter(mixed: Tensor, filters: Tensor, bias: Tensor | None, plan: GcPlan) -> Tensor:
    """Filter each map by itself, then add up the terms where there are several."""
    terms = filters.shape[1]
    if terms > 1:
        filters = spread_filters(filters, plan.order)
        bias = None if bias is None else spread_bias(bias, plan.order, terms)
    maps = planar_conv2d(
        mixed, filters, bias, plan.geometry, channel_groups=filters.shape[0], caller="separable_group_conv2d"
    )
    return maps if terms == 1 else add_terms(maps, plan.order, terms)


def gc_forward(
    x: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    filters: Tensor,
    bias: Tensor | None,
    weights: Sequence[Tensor],
    plan: GcPlan,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Run piece by piece; return the maps, and the statistics of the batch norm (mean, variance) where there is one."""
    statistics = None if plan.eps is None else joined_statistics(x, plan.order, plan.eps)
    affine = None if statistics is None or scale is None or shift is None else statistics.affine(scale, shift)

    def convolve(piece: slice) -> Tensor:
        part = x[piece] if affine is None else affine_into(x[piece], *affine, relu=True, out=like_image(x[piece]))
        return _filter(mix(part, weights, plan.form, plan.order), filters, bias, plan)

    y = map_pieces(_cut(x, filters), convolve)
    return (y, None, None) if statistics is None else (y, statistics.mean, statistics.var)


def gc_backward(
    grad: Tensor,
    x: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    filters: Tensor,
    bias: Tensor | None,
    mean: Tensor | None,
    var: Tensor | None,
    weights: Sequence[Tensor],
    plan: GcPlan,
) -> tuple[Tensor | None, ...]:
    """Return the gradients by x, scale, shift, filters, bias and each of the weights, from the input alone."""
    affine = norm = None
    if plan.eps is not None and scale is not None and shift is not None and mean is not None and var is not None:
        statistics = Statistics(mean, var, plan.order, plan.eps)
        affine, norm = statistics.affine(scale, shift), NormGradient(statistics, scale, x.numel() // len(mean))
    cut, grad_x = _cut(x, filters), like_image(x)
    grad_filters = grad_bias = None
    grad_weights: list[Tensor | None] = [None] * len(weights)
    for piece in cut:
        part = x[piece] if affine is None else affine_into(x[piece], *affine, relu=True, out=like_image(x[piece]))
        grad_part, by_filters, by_bias, by_weights = _backward(part, grad[piece], filters, bias, weights, plan)
        if norm is None:
            grad_x[piece] = grad_part
        else:  # what the ReLU lets through waits in the result for the second round
            torch.ops.aten.threshold_backward.grad_input(grad_part, part, 0, grad_input=grad_x[piece])
            norm.add(grad_x[piece], x[piece])
        del part, grad_part
        grad_filters = zero_or(grad_filters, by_filters)
        grad_bias = None if by_bias is None else zero_or(grad_bias, by_bias)
        grad_weights = [zero_or(total, more) for total, more in zip(grad_weights, by_weights, strict=True)]
    if norm is None:
        return grad_x, None, None, grad_filters, grad_bias, *grad_weights
    norm.finish()
    for piece in cut:
        norm.by_input(grad_x[piece], x[piece], out=grad_x[piece])
    return grad_x, norm.weight, norm.bias, grad_filters, grad_bias, *grad_weights


class _GcConvolution(torch.autograd.Function):
    """[Batch norm, ReLU,] mixing and filtering, with a backward pass from the input alone."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] (torch declares it for any arguments)
        x: Tensor,
        scale: Tensor | None,
        shift: Tensor | None,
        filters: Tensor,
        bias: Tensor | None,
        plan: GcPlan,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        return gc_forward(x, scale, shift, filters, bias, weights, plan)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor | None, Tensor | None]) -> None:
        x, scale, shift, filters, bias, ctx.plan, *weights = inputs
        _, mean, var = output
        if mean is not None and var is not None:
            ctx.mark_non_differentiable(mean, var)
        ctx.save_for_backward(x, scale, shift, filters, bias, mean, var, *weights)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], *inputs: Any
    ) -> tuple[tuple[Tensor | None, ...], tuple[int | None, ...]]:
        """Convolve the batches of `torch.vmap` one after the other."""
        return one_by_one(_GcConvolution.apply, info.batch_size, in_dims, inputs)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (torch declares it for any arguments)
        ctx: Any, grad: Tensor, *unused: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        x, scale, shift, filters, bias, mean, var, *weights = ctx.saved_tensors
        if torch.is_grad_enabled() or is_transformed(grad):  # differentiated again, or batched
            found = gradients_again(partial(_plain, plan=ctx.plan), (x, scale, shift, filters, bias, *weights), grad)
        else:
            found = gc_backward(grad, x, scale, shift, filters, bias, mean, var, weights, ctx.plan)
        return (*found[:5], None, *found[5:])


def _backward(
    x: Tensor, grad: Tensor, filters: Tensor, bias: Tensor | None, weights: Sequence[Tensor], plan: GcPlan
) -> tuple[Tensor, Tensor, Tensor | None, list[Tensor]]:
    """Return the gradients of mixing and filtering a piece by x, the filters, the bias and the weights.

    Maps are let go as soon as they are used: what is live at one time must fit into the cache.
    """
    form, order = plan.form, plan.order
    coefficients = analyse(x, form, order)
    mixed = synthesise(multiply(coefficients, weights, form), form, order)
    grad_mixed, by_filters, by_bias = _filter_backward(grad, mixed, filters, bias, plan)
    del mixed
    grads = analyse(grad_mixed, form, order)
    del grad_mixed
    by_coefficients, by_weights = multiply_backward(grads, coefficients, weights, form)
    del grads, coefficients
    return synthesise(by_coefficients, form, order), by_filters, by_bias, by_weights


def _cut(x: Tensor, filters: Tensor) -> list[slice]:
    return pieces(x, widest=max(x.shape[1], filters.shape[0] * filters.shape[1]))


def _filter_backward(
    grad: Tensor, mixed: Tensor, filters: Tensor, bias: Tensor | None, plan: GcPlan
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the gradients of `_filter` by the maps, the filters and the bias."""
    order, terms = plan.order, filters.shape[1]
    if terms == 1:
        return planar_backward(grad, mixed, filters, bias, plan.geometry, filters.shape[0])
    filters, grad = spread_filters(filters, order), repeat_terms(grad, order, terms)
    by_mixed, by_filters, by_bias = planar_backward(grad, mixed, filters, bias, plan.geometry, filters.shape[0])
    by_bias = None if by_bias is None else gather_bias(by_bias, order, terms)
    return by_mixed, gather_filters(by_filters, order, terms), by_bias
