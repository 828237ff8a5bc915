"""The convolutions as loops written from their definitions: slow, obvious, the oracle of tests and benchmarks.

Each follows its equation in theory.md, Convolutions (arXiv:2106.04914, section 3) literally and shares only the
integer tables of `sepgconv.symmetry` with the fast functions. Padding is with zeros; give float64 for reference values.
"""

import itertools

import torch
from torch import Tensor

from sepgconv.conv.kinds import Sharing
from sepgconv.symmetry import FiniteGroup, pixel_permutation, pose_division


def _correlate(maps: Tensor, kernel: Tensor, stride: int, padding: int, dilation: int) -> Tensor:
    """Cross-correlate maps (batch, height, width) with one kernel (k, l), tap by tap."""
    batch, height, width = maps.shape
    padded = maps.new_zeros(batch, height + 2 * padding, width + 2 * padding)
    padded[:, padding : padding + height, padding : padding + width] = maps
    rows = (padded.shape[1] - dilation * (kernel.shape[0] - 1) - 1) // stride + 1
    columns = (padded.shape[2] - dilation * (kernel.shape[1] - 1) - 1) // stride + 1
    out = maps.new_zeros(batch, rows, columns)
    for i, j in itertools.product(range(kernel.shape[0]), range(kernel.shape[1])):
        top, left = i * dilation, j * dilation
        window = padded[:, top : top + stride * rows : stride, left : left + stride * columns : stride]
        out += kernel[i, j] * window
    return out


def _turn(group: FiniteGroup, h: int, kernel: Tensor) -> Tensor:
    """`T_h K`, pixel by pixel: the value at v is K(h^-1 v)."""
    height, width = kernel.shape
    source = pixel_permutation(group, height, width)[h]
    out = torch.empty_like(kernel)
    for i, j in itertools.product(range(height), range(width)):
        out[i, j] = kernel[source[i, j] // width, source[i, j] % width]
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
    for n, c, h in itertools.product(*map(range, weight.shape[:2]), range(group.order)):
        out[:, n, h] += _correlate(x[:, c], _turn(group, h, weight[n, c]), *planar)
    return out


def group_conv2d_reference(
    x: Tensor, weight: Tensor, group: FiniteGroup, *, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Tensor:
    """`X'[n,h] = sum_c sum_g (T_h F[n,c,h^-1 g]) * X[c,g]` as a loop; shapes as in `group_conv2d`."""
    planar, divide = (stride, padding, dilation), pose_division(group)
    out = _empty_output(x, weight[0, 0, 0], weight.shape[0], group, planar)
    for n, c, g, h in itertools.product(*map(range, weight.shape[:3]), range(group.order)):
        out[:, n, h] += _correlate(x[:, c, g], _turn(group, h, weight[n, c, divide[h, g]]), *planar)
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
    for n, r, c, h in itertools.product(*map(range, pointwise.shape[:3]), range(group.order)):
        mixed = torch.zeros_like(x[:, c, 0])
        for g in range(group.order):
            mixed += pointwise[n, r, c, divide[h, g]] * x[:, c, g]
        kernel = depthwise[n, r] if sharing == "gc" else depthwise[n, r, c]
        out[:, n, h] += _correlate(mixed, _turn(group, h, kernel), *planar)
    return out
