"""The gc-separable convolution of folded maps: mixing, then a filter for each map; after batch norm and ReLU if asked.

"torch" runs operations that torch differentiates. "chunks" keeps only its input for backward: everything between the
input and the output is made again in the backward pass (theory.md, Recomputation), a few images at a time, so that the
maps between stay in the cache. "operator" is the same as one node of compiled code. The naive twin is
`reference.separable_group_conv2d_reference`.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sepgconv.conv.geometry import Geometry
from sepgconv.conv.steps import Lowered
from sepgconv.ops import dispatch
from sepgconv.ops.autograd import gradients_again, one_by_one
from sepgconv.ops.batch_statistics import (
    NormGradient,
    Statistics,
    affine_into,
    joined_statistics,
    plain_batch_norm,
)
from sepgconv.ops.layout import accumulate, like_image, map_chunks
from sepgconv.ops.mixing import group_fft, inverse_group_fft, mix, multiply, multiply_backward
from sepgconv.ops.planar_conv import correlate, flat_geometry, geometry_of, planar_backward, planar_conv2d
from sepgconv.ops.rank import add_terms, gather_bias, gather_filters, repeat_terms, spread_bias, spread_filters
from sepgconv.symmetry import GroupFFT
from sepgconv.symmetry.group_fft import Rows


@dataclass(frozen=True)
class GcPlan:
    """What a gc-separable convolution of folded maps needs to know besides its tensors.

    Attributes:
        transform: the Fourier transform around the mixing, `IDENTITY` for the dense one.
        order: |G|.
        geometry: of the filtering.
        groups: channel groups.
        products: torch's `groups` of the product with each block.
        columns: whether the gradient with respect to filters may be computed a few columns at a time.
        eps: of the batch norm before it, or None where there is none.
    """

    transform: GroupFFT
    order: int
    geometry: Geometry
    groups: int = 1
    products: tuple[int, ...] = (1,)
    columns: bool = False
    eps: float | None = None


def gc_conv(x: Tensor, lowered: Lowered, plan: GcPlan, chosen: str) -> Tensor:
    """Mix and filter folded maps (batch, |G|*in, height, width) -> (batch, |G|*out, height', width').

    Args:
        x: channels_last maps.
        lowered: filters (|G|*out, terms, k, k), the bias and the kernels of the mixing.
        plan: how to run.
        chosen: the implementation, see `dispatch.decide_gc`.
    """
    filters, bias, weights = lowered.filters, lowered.bias, lowered.mixing
    if chosen == "chunks":
        return _GcConv.apply(x, None, None, filters, bias, plan, *weights)[0]
    if chosen == "operator":
        return gc_conv_operator(x, filters, bias, weights, *flat_plan(plan))
    run = partial(_plain, plan=plan)
    if chosen == "checkpoint":
        return cast(Tensor, checkpoint(run, x, None, None, filters, bias, *weights, use_reentrant=False))
    return run(x, None, None, filters, bias, *weights)


def norm_act_gc_conv(
    x: Tensor, scale: Tensor, shift: Tensor, eps: float, lowered: Lowered, plan: GcPlan
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise by the statistics of the batch, apply ReLU, mix and filter, in chunks; only x is kept for backward.

    Returns:
        The maps, and the mean and the biased variance of every channel of x, each (in,).
    """
    plan = replace(plan, eps=eps)
    return _GcConv.apply(x, scale, shift, lowered.filters, lowered.bias, plan, *lowered.mixing)


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
    mixed = mix(x, weights, plan.transform, plan.order, plan.products, in_place=False)
    terms = filters.shape[1]
    if terms == 1:
        return planar_conv2d(mixed, filters, bias, plan.geometry, filters.shape[0], columns=plan.columns)
    order = plan.order * plan.groups
    filters, bias = spread_filters(filters, order), None if bias is None else spread_bias(bias, order, terms)
    maps = planar_conv2d(mixed, filters, bias, plan.geometry, filters.shape[0], columns=plan.columns)
    return add_terms(maps, order, terms, in_place=False)


def _filter(mixed: Tensor, filters: Tensor, bias: Tensor | None, plan: GcPlan) -> Tensor:
    """Filter each map by itself, then add up the terms where there are several; nothing is differentiated."""
    geometry, terms = plan.geometry, filters.shape[1]
    if terms == 1 and not geometry.pads_first:  # most of all calls
        return F.conv2d(mixed, filters, bias, geometry.stride, geometry.padding, geometry.dilation, filters.shape[0])
    if terms == 1:
        return correlate(mixed, filters, bias, geometry, filters.shape[0])
    order = plan.order * plan.groups
    filters, bias = spread_filters(filters, order), None if bias is None else spread_bias(bias, order, terms)
    return add_terms(correlate(mixed, filters, bias, geometry, filters.shape[0]), order, terms, in_place=True)


def gc_forward(
    x: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    filters: Tensor,
    bias: Tensor | None,
    weights: Sequence[Tensor],
    plan: GcPlan,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Run chunk by chunk; return the maps, and the statistics of the batch norm (mean, variance) where there is one."""
    statistics = None if plan.eps is None else joined_statistics(x, plan.order, plan.eps)
    affine = None if statistics is None or scale is None or shift is None else statistics.affine(scale, shift)

    def convolve(chunk: slice) -> Tensor:
        part = x[chunk] if affine is None else affine_into(x[chunk], *affine, relu=True, out=like_image(x[chunk]))
        mixed = mix(part, weights, plan.transform, plan.order, plan.products, in_place=True)
        return _filter(mixed, filters, bias, plan)

    cut = _cut(x, filters)
    y = convolve(cut[0]) if len(cut) == 1 else map_chunks(cut, convolve)
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
    """Return the gradients with respect to x, scale, shift, filters, bias and each weight, from the input alone."""
    affine = norm = None
    if plan.eps is not None and scale is not None and shift is not None and mean is not None and var is not None:
        statistics = Statistics(mean, var, plan.order, plan.eps)
        affine, norm = statistics.affine(scale, shift), NormGradient(statistics, scale, x.numel() // len(mean))
    cut, grad_x = _cut(x, filters), like_image(x)
    grad_filters = grad_bias = None
    grad_weights: list[Tensor | None] = [None] * len(weights)
    for chunk in cut:
        part = x[chunk] if affine is None else affine_into(x[chunk], *affine, relu=True, out=like_image(x[chunk]))
        grad_part, by_filters, by_bias, by_weights = _backward(part, grad[chunk], filters, bias, weights, plan)
        if norm is None:
            grad_x[chunk] = grad_part
        else:  # what the ReLU lets through waits in the result for the second round
            torch.ops.aten.threshold_backward.grad_input(grad_part, part, 0, grad_input=grad_x[chunk])
            norm.add(grad_x[chunk], x[chunk])
        del part, grad_part
        grad_filters = accumulate(grad_filters, by_filters)
        grad_bias = None if by_bias is None else accumulate(grad_bias, by_bias)
        grad_weights = [accumulate(total, more) for total, more in zip(grad_weights, by_weights, strict=True)]
    if norm is None:
        return grad_x, None, None, grad_filters, grad_bias, *grad_weights
    norm.finish()
    for chunk in cut:
        norm.by_input(grad_x[chunk], x[chunk], out=grad_x[chunk])
    return grad_x, norm.weight, norm.bias, grad_filters, grad_bias, *grad_weights


class _GcConv(torch.autograd.Function):
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
        return one_by_one(_GcConv.apply, info.batch_size, in_dims, inputs)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (torch declares it for any arguments)
        ctx: Any, grad: Tensor, *unused: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        x, scale, shift, filters, bias, mean, var, *weights = ctx.saved_tensors
        if dispatch.differentiates_again(grad):
            found = gradients_again(partial(_plain, plan=ctx.plan), (x, scale, shift, filters, bias, *weights), grad)
        else:
            found = gc_backward(grad, x, scale, shift, filters, bias, mean, var, weights, ctx.plan)
        return (*found[:5], None, *found[5:])


def _backward(
    x: Tensor, grad: Tensor, filters: Tensor, bias: Tensor | None, weights: Sequence[Tensor], plan: GcPlan
) -> tuple[Tensor, Tensor, Tensor | None, list[Tensor]]:
    """Return the gradients of mixing and filtering a chunk with respect to x, the filters, the bias and the weights.

    Maps are let go as soon as they are used: what is live at one time must fit into the cache.
    """
    transform, order, groups = plan.transform, plan.order, plan.products
    by_block = transform.is_dense
    coefficients = group_fft(x, transform, order, in_place=True)
    products = multiply(coefficients, weights, groups, by_block=by_block)
    mixed = inverse_group_fft(products, transform, in_place=True)
    grad_mixed, by_filters, by_bias = _filter_backward(grad, mixed, filters, bias, plan)
    del mixed
    grads = group_fft(grad_mixed, transform, order, in_place=True)
    del grad_mixed
    by_coefficients, by_weights = multiply_backward(grads, coefficients, weights, groups, by_block=by_block)
    del grads, coefficients
    return inverse_group_fft(by_coefficients, transform, in_place=True), by_filters, by_bias, by_weights


def _cut(x: Tensor, filters: Tensor) -> list[slice]:
    return dispatch.chunks(x, widest=max(x.shape[1], filters.shape[0] * filters.shape[1]))


def _filter_backward(
    grad: Tensor, mixed: Tensor, filters: Tensor, bias: Tensor | None, plan: GcPlan
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the gradients of `_filter` with respect to the maps, the filters and the bias."""
    order, terms = plan.order * plan.groups, filters.shape[1]
    backward = partial(planar_backward, columns=plan.columns)
    if terms == 1:
        return backward(grad, mixed, filters, bias, plan.geometry, filters.shape[0])
    filters, grad = spread_filters(filters, order), repeat_terms(grad, order, terms)
    by_mixed, by_filters, by_bias = backward(grad, mixed, filters, bias, plan.geometry, filters.shape[0])
    by_bias = None if by_bias is None else gather_bias(by_bias, order, terms)
    return by_mixed, gather_filters(by_filters, order, terms), by_bias


def flat_plan(plan: GcPlan) -> tuple[list[int], list[float], str]:
    """Write a plan without batch norm as numbers and a word, which is what an operator can take."""
    transform, sides = plan.transform, flat_geometry(plan.geometry)
    numbers = [plan.order, plan.groups, int(plan.columns), len(transform.levels), *map(int, transform.levels), *sides]
    entries: list[float] = []
    for (copies, length), parts, turns in zip(transform.segments, transform.parts, transform.turns, strict=True):
        numbers += [copies, length, len(parts), *parts]
        for turn in turns:
            for row in turn:
                entries += row
    return numbers, entries, plan.geometry.padding_mode


def _plan(numbers: Sequence[int], entries: Sequence[float], mode: str) -> GcPlan:
    return _read_plan(tuple(numbers), tuple(entries), mode)


@functools.lru_cache(maxsize=256)
def _read_plan(numbers: tuple[int, ...], entries: tuple[float, ...], mode: str) -> GcPlan:
    order, groups, columns, depth, *rest = numbers
    levels, sides, rest = rest[:depth], rest[depth : depth + 8], rest[depth + 8 :]
    left = list(entries)
    segments: list[tuple[int, int]] = []
    parts: list[tuple[int, ...]] = []
    turns: list[tuple[Rows, ...]] = []
    while rest:
        copies, length, count, *rest = rest
        segments.append((copies, length))
        parts.append(tuple(rest[:count]))
        rest, size = rest[count:], copies * length * length if count else 0
        taken, left = left[:size], left[size:]
        rows = [tuple(taken[i : i + length]) for i in range(0, size, length)]
        turns.append(tuple(tuple(rows[i : i + length]) for i in range(0, len(rows), length)))
    transform = GroupFFT(tuple(map(bool, levels)), tuple(segments), tuple(parts), tuple(turns))
    products = transform.copies if groups == 1 else (groups,)
    return GcPlan(transform, order, geometry_of(sides, mode), groups, products, bool(columns))


@torch.library.custom_op("sepgconv::gc_conv", mutates_args=())
def gc_conv_operator(
    x: Tensor,
    filters: Tensor,
    bias: Tensor | None,
    weights: Sequence[Tensor],
    numbers: Sequence[int],
    entries: Sequence[float],
    mode: str,
) -> Tensor:
    """Run `gc_forward` without batch norm."""
    return gc_forward(x, None, None, filters, bias, weights, _plan(numbers, entries, mode))[0]


@gc_conv_operator.register_fake
def _(
    x: Tensor,
    filters: Tensor,
    bias: Tensor | None,
    weights: Sequence[Tensor],
    numbers: Sequence[int],
    entries: Sequence[float],
    mode: str,
) -> Tensor:
    height, width = _plan(numbers, entries, mode).geometry.output_size(x.shape[2], x.shape[3])
    return x.new_empty((x.shape[0], height, width, filters.shape[0])).permute(0, 3, 1, 2)


@torch.library.custom_op("sepgconv::gc_conv_backward", mutates_args=())
def gc_conv_backward(
    grad: Tensor,
    x: Tensor,
    filters: Tensor,
    bias: Tensor | None,
    weights: Sequence[Tensor],
    numbers: Sequence[int],
    entries: Sequence[float],
    mode: str,
) -> list[Tensor]:
    """Run `gc_backward` without batch norm: gradients with respect to x, filters, weights and the bias, if any."""
    plan = _plan(numbers, entries, mode)
    found = gc_backward(grad, x, None, None, filters, bias, None, None, weights, plan)
    return [part for part in (found[0], found[3], *found[5:], found[4]) if part is not None]


@gc_conv_backward.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    filters: Tensor,
    bias: Tensor | None,
    weights: Sequence[Tensor],
    numbers: Sequence[int],
    entries: Sequence[float],
    mode: str,
) -> list[Tensor]:
    parts = [torch.empty_like(part) for part in (filters, *weights, *([] if bias is None else [bias]))]
    return [like_image(x), *parts]


def _save_convolution(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, filters, bias, weights, ctx.numbers, ctx.entries, ctx.mode = inputs
    ctx.has_bias = bias is not None
    ctx.save_for_backward(x, filters, *([bias] if ctx.has_bias else []), *weights)


def _convolution_gradient(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, filters, *rest = ctx.saved_tensors
    bias, weights = (rest[0], rest[1:]) if ctx.has_bias else (None, rest)
    by_x, by_filters, *parts = gc_conv_backward(grad, x, filters, bias, weights, ctx.numbers, ctx.entries, ctx.mode)
    by_bias = parts[len(weights)] if ctx.has_bias else None
    # torch takes a list without entries for one of tensors, and asks for as many gradients.
    by_entries = None if ctx.entries else []
    return by_x, by_filters, by_bias, parts[: len(weights)], None, by_entries, None


gc_conv_operator.register_autograd(_convolution_gradient, setup_context=_save_convolution)
