"""The convolutions as loops written from their definitions: slow, obvious, the oracle of tests and benchmarks.

Each follows its equation in theory.md, Convolutions (arXiv:2106.04914, section 3) literally and shares only the
integer tables of `sepgconv.symmetry` with the fast functions. Padding is with zeros; give float64 for reference values.
"""

import itertools

import torch
from torch import Tensor

from sepgconv.conv.kinds import Sharing
from sepgconv.symmetry import FiniteGroup, pixel_permutation, pose_division


def _correlate(maps: Tensor, kernels: Tensor, stride: int, padding: int, dilation: int) -> Tensor:
    """Cross-correlate maps (..., height, width) with their kernels (..., k, l), tap by tap."""
    height, width = maps.shape[-2:]
    padded = maps.new_zeros(*maps.shape[:-2], height + 2 * padding, width + 2 * padding)
    padded[..., padding : padding + height, padding : padding + width] = maps
    rows = (padded.shape[-2] - dilation * (kernels.shape[-2] - 1) - 1) // stride + 1
    columns = (padded.shape[-1] - dilation * (kernels.shape[-1] - 1) - 1) // stride + 1
    out = maps.new_zeros(*maps.shape[:-2], rows, columns)
    for i, j in itertools.product(range(kernels.shape[-2]), range(kernels.shape[-1])):
        top, left = i * dilation, j * dilation
        window = padded[..., top : top + stride * rows : stride, left : left + stride * columns : stride]
        out += kernels[..., i, j, None, None] * window
    return out


def _turn(group: FiniteGroup, h: int, kernels: Tensor) -> Tensor:
    """`T_h K` of kernels (..., k, l), pixel by pixel: the value at v is K(h^-1 v)."""
    height, width = kernels.shape[-2:]
    source = pixel_permutation(group, height, width)[h]
    out = torch.empty_like(kernels)
    for i, j in itertools.product(range(height), range(width)):
        out[..., i, j] = kernels[..., source[i, j] // width, source[i, j] % width]
    return out


def _empty_output(x: Tensor, kernel: Tensor, out: int, group: FiniteGroup, planar: tuple[int, int, int]) -> Tensor:
    sides = _correlate(x.flatten(1, -3)[:, 0], kernel, *planar).shape[1:]
    return x.new_zeros(x.shape[0], out, group.order, *sides)


def lift_conv2d_reference(
    x: Tensor, weight: Tensor, group: FiniteGroup, *, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Tensor:
    """`X'[n,h] = sum_c (T_h F[n,c]) * X[c]` as a loop; shapes as in `lift_conv2d`."""
    planar = (stride, padding, dilation)
    out = _empty_output(x, weight[0, 0], weight.shape[0], group, planar)
    for n, h in itertools.product(range(weight.shape[0]), range(group.order)):
        out[:, n, h] = _correlate(x, _turn(group, h, weight[n]), *planar).sum(1)
    return out


def group_conv2d_reference(
    x: Tensor, weight: Tensor, group: FiniteGroup, *, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Tensor:
    """`X'[n,h] = sum_c sum_g (T_h F[n,c,h^-1 g]) * X[c,g]` as a loop; shapes as in `group_conv2d`."""
    planar, divide = (stride, padding, dilation), pose_division(group)
    out = _empty_output(x, weight[0, 0, 0], weight.shape[0], group, planar)
    for n, h in itertools.product(range(weight.shape[0]), range(group.order)):
        filters = torch.stack([weight[n, :, divide[h, g]] for g in range(group.order)], 1)
        out[:, n, h] = _correlate(x, _turn(group, h, filters), *planar).sum((1, 2))
    return out


def depthwise_group_conv2d_reference(
    x: Tensor, weight: Tensor, group: FiniteGroup, *, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Tensor:
    """`X'[n,h] = (T_h K[n]) * X[n,h]` as a loop; shapes as in `depthwise_group_conv2d`."""
    planar = (stride, padding, dilation)
    out = _empty_output(x, weight[0], weight.shape[0], group, planar)
    for n, h in itertools.product(range(weight.shape[0]), range(group.order)):
        out[:, n, h] = _correlate(x[:, n, h], _turn(group, h, weight[n]), *planar)
    return out


def separable_group_conv2d_reference(
    x: Tensor,
    pointwise: Tensor,
    depthwise: Tensor,
    group: FiniteGroup,
    *,
    sharing: Sharing,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Tensor:
    """`X'[n,h] = sum_r sum_c (T_h K[n,r,c]) * (sum_g w[n,r,c,h^-1 g] X[c,g])` as a loop; for gc, K[n,r,c] is K[n,r].

    Shapes as in `separable_group_conv2d`; without an axis for r there is one term.
    """
    planar, divide = (stride, padding, dilation), pose_division(group)
    if pointwise.ndim == 3:
        pointwise, depthwise = pointwise[:, None], depthwise[:, None]
    out = _empty_output(x, depthwise.flatten(0, -3)[0], pointwise.shape[0], group, planar)
    for n, r, h in itertools.product(*map(range, pointwise.shape[:2]), range(group.order)):
        mixed = torch.zeros_like(x[:, :, 0])
        for g in range(group.order):
            mixed += pointwise[n, r, :, divide[h, g], None, None] * x[:, :, g]
        kernels = _turn(group, h, depthwise[n, r])  # for gc one, for g one of each channel
        out[:, n, h] += _correlate(mixed, kernels, *planar).sum(1)
    return out
