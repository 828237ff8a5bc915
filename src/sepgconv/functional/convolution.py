"""Lifting, group, depthwise and separable convolutions as functions of tensors. Cross-correlations, as in torch.

Notation of arXiv:2106.04914: output channel n, input channel c, output pose h, input pose g, `T_h` the action of h on a
planar kernel, `*` planar cross-correlation. Feature maps are (batch, channel, pose, height, width).

A kernel has a weight for each pixel, (height, width), unless a function is given a basis: then its last axes are those
of `basis.weight_shape`, which are (filters,) for steerable kernels.
"""

import warnings
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from sepgconv._messages import one_of
from sepgconv.conv import DEPTHWISE, FULL, LIFTING, SEPARABLE, SHARINGS, ConvKind, ConvSpec, conv_spec
from sepgconv.conv.checks import check_channels
from sepgconv.conv.geometry import Pair
from sepgconv.conv.kinds import Sharing
from sepgconv.ops.batch_norm import NormRelu, check_batch_norm
from sepgconv.ops.checks import NUMBERS, check_feature_map, check_kind, check_tensor, check_weight, kernel_size_of
from sepgconv.ops.convolution import convolve
from sepgconv.ops.dispatch import Execution
from sepgconv.symmetry import FiniteGroup, KernelBasis
from sepgconv.symmetry import group as get_group


def lift_conv2d(
    x: Float[Tensor, "b c y x"],
    weight: Float[Tensor, "o c *k"],
    group: FiniteGroup | str,
    bias: Float[Tensor, " o"] | None = None,
    *,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    padding_mode: str = "zeros",
    groups: int = 1,
    basis: KernelBasis | None = None,
    action: Tensor | None = None,
) -> Float[Tensor, "b o g y2 x2"]:
    """Lift images to the group: `X'[n,h] = sum_c (T_h F[n,c]) * X[c]` (theory.md, Convolutions).

    Args:
        x: images (batch, in, height, width).
        weight: F, (out, in, k, k), or (out, in, *basis.weight_shape).
        group: the group or its name.
        bias: (out,), shared over poses.
        stride: step in pixels.
        padding: pixels on every side, "same" or "valid".
        dilation: distance of kernel pixels.
        padding_mode: "zeros", "circular", "reflect" or "replicate".
        groups: channel groups that do not mix, as in `torch.nn.functional.conv2d`.
        basis: how weights become filters, for kernels that are not of pixels (`sepgconv.symmetry.kernel_basis`); groups
            that do not keep the pixel grid need one.
        action: ignored; the library makes its own tables. Deprecated.

    Returns:
        Feature maps (batch, out, |G|, height', width').

    Raises:
        TypeError: no tensor where one belongs.
        ValueError: tensors of different dtypes or devices, or not dense; wrong rank or channels; maps too small, or
            arguments that break equivariance.

    Example:
        >>> import torch
        >>> lift_conv2d(torch.rand(2, 3, 9, 9), torch.rand(8, 3, 3, 3), "p4", padding=1).shape
        torch.Size([2, 8, 4, 9, 9])
        >>> from sepgconv.symmetry import group, kernel_basis
        >>> basis = kernel_basis(group("C8"), (5, 5))  # of 15 steerable filters
        >>> lift_conv2d(torch.rand(2, 3, 9, 9), torch.rand(8, 3, 15), "C8", padding=2, basis=basis).shape
        torch.Size([2, 8, 8, 9, 9])
    """
    group, caller = get_group(group), "lift_conv2d"
    _warn_of_tables("action", action, caller)
    planar = {"stride": stride, "padding": padding, "dilation": dilation, "padding_mode": padding_mode}
    spec = _spec(LIFTING, weight, ("out", "in"), group, basis, caller, groups=groups, planar=planar)
    return convolve(spec, x, {"weight": weight}, bias, caller)


def group_conv2d(
    x: Float[Tensor, "b c g y x"],
    weight: Float[Tensor, "o c g *k"],
    group: FiniteGroup | str,
    bias: Float[Tensor, " o"] | None = None,
    *,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    padding_mode: str = "zeros",
    groups: int = 1,
    basis: KernelBasis | None = None,
    action: Tensor | None = None,
) -> Float[Tensor, "b o g y2 x2"]:
    """Group convolution: `X'[n,h] = sum_c sum_g (T_h F[n,c,h^-1 g]) * X[c,g]` (theory.md, Convolutions).

    It is that of T. Cohen and M. Welling, ICML 2016.

    Args:
        x: feature maps (batch, in, |G|, height, width).
        weight: F, (out, in, |G|, k, k), or (out, in, |G|, *basis.weight_shape).
        group: the group or its name.
        bias: (out,), shared over poses.
        stride: step in pixels.
        padding: pixels on every side, "same" or "valid".
        dilation: distance of kernel pixels.
        padding_mode: "zeros", "circular", "reflect" or "replicate".
        groups: channel groups that do not mix, as in `torch.nn.functional.conv2d`.
        basis: how weights become filters, for kernels that are not of pixels (`sepgconv.symmetry.kernel_basis`); groups
            that do not keep the pixel grid need one.
        action: ignored; the library makes its own tables. Deprecated.

    Returns:
        Feature maps (batch, out, |G|, height', width').

    Raises:
        TypeError: no tensor where one belongs.
        ValueError: tensors of different dtypes or devices, or not dense; wrong rank, channels or poses; maps too small,
            or arguments that break equivariance.

    Example:
        >>> import torch
        >>> group_conv2d(torch.rand(2, 8, 4, 9, 9), torch.rand(16, 8, 4, 3, 3), "p4", padding=1).shape
        torch.Size([2, 16, 4, 9, 9])
    """
    group, caller = get_group(group), "group_conv2d"
    _warn_of_tables("action", action, caller)
    planar = {"stride": stride, "padding": padding, "dilation": dilation, "padding_mode": padding_mode}
    spec = _spec(FULL, weight, ("out", "in", group.order), group, basis, caller, groups=groups, planar=planar)
    return convolve(spec, x, {"weight": weight}, bias, caller)


def depthwise_group_conv2d(
    x: Float[Tensor, "b o g y x"],
    weight: Float[Tensor, "o *k"],
    group: FiniteGroup | str,
    bias: Float[Tensor, " o"] | None = None,
    *,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    padding_mode: str = "zeros",
    basis: KernelBasis | None = None,
    action: Tensor | None = None,
) -> Float[Tensor, "b o g y2 x2"]:
    """Filter every map in the plane with its own kernel, moved to its pose: `X'[n,h] = (T_h K[n]) * X[n,h]`.

    The second factor of a gc-separable convolution (theory.md, Convolutions).

    Args:
        x: feature maps (batch, channel, |G|, height, width).
        weight: K, (channel, k, k), or (channel, *basis.weight_shape).
        group: the group or its name.
        bias: (channel,), shared over poses.
        stride: step in pixels.
        padding: pixels on every side, "same" or "valid".
        dilation: distance of kernel pixels.
        padding_mode: "zeros", "circular", "reflect" or "replicate".
        basis: how weights become filters, for kernels that are not of pixels (`sepgconv.symmetry.kernel_basis`); groups
            that do not keep the pixel grid need one.
        action: ignored; the library makes its own tables. Deprecated.

    Returns:
        Feature maps (batch, channel, |G|, height', width').

    Raises:
        TypeError: no tensor where one belongs.
        ValueError: tensors of different dtypes or devices, or not dense; wrong rank, channels or poses; maps too small,
            or arguments that break equivariance.

    Example:
        >>> import torch
        >>> depthwise_group_conv2d(torch.rand(2, 8, 4, 9, 9), torch.rand(8, 3, 3), "p4").shape
        torch.Size([2, 8, 4, 7, 7])
    """
    group, caller = get_group(group), "depthwise_group_conv2d"
    _warn_of_tables("action", action, caller)
    planar = {"stride": stride, "padding": padding, "dilation": dilation, "padding_mode": padding_mode}
    spec = _spec(DEPTHWISE, weight, ("channels",), group, basis, caller, groups=1, planar=planar)
    return convolve(spec, x, {"weight": weight}, bias, caller)


def _warn_of_tables(name: str, value: object, caller: str) -> None:
    if value is not None:
        message = f"{caller}: {name} is ignored, as the library makes its own tables; it goes with the next release"
        warnings.warn(message, DeprecationWarning, stacklevel=3)


@dataclass(frozen=True, slots=True)
class _Kernel:
    """What the axes of one kernel are, in a weight that a function is given.

    Attributes:
        size: of its filters in pixels.
        axes: the last axes of the weight.
        basis: what makes filters of it; None: its numbers are the pixels.
    """

    size: tuple[int, ...]
    axes: tuple[int, ...]
    basis: KernelBasis | None

    def spec(self, kind: ConvKind, channels: int, out: int, group: FiniteGroup, caller: str, **given: Any) -> ConvSpec:
        """Return the spec of a convolution with such kernels."""
        made_of = {"kernel": "pixel"} if self.basis is None else {"basis": self.basis}
        return conv_spec(kind, channels, out, self.size, group, **made_of, **given, caller=caller)


def _kernel(weight: Tensor, name: str, group: FiniteGroup, basis: KernelBasis | None, caller: str) -> _Kernel:
    """Read what the last axes of a weight are.

    Raises:
        TypeError: the weight is no tensor, or the basis no basis.
        ValueError: the weight has too few axes; or there is no basis, and the group does not keep the pixel grid.
    """
    check_kind(basis, KernelBasis, "basis", caller)
    if basis is not None:
        return _Kernel(basis.size, basis.weight_shape, basis)
    if not group.keeps_grid:
        raise ValueError(
            f"{caller}: {group.name} has elements that do not take pixels to pixels, so {name} cannot be of pixels; "
            f"give basis=sepgconv.symmetry.kernel_basis(...) and {name} (..., *basis.weight_shape)"
        )
    size = kernel_size_of(weight, name, caller)
    return _Kernel(size, size, None)


def _spec(
    kind: ConvKind,
    weight: Tensor,
    lead: tuple[int | str, ...],
    group: FiniteGroup,
    basis: KernelBasis | None,
    caller: str,
    *,
    groups: int,
    planar: dict[str, Any],
) -> ConvSpec:
    """Read a spec from a weight (*lead, *kernel)."""
    check_channels(caller, groups=groups)
    kernel = _kernel(weight, "weight", group, basis, caller)
    check_weight("weight", weight, (*lead, *kernel.axes), caller, group if len(lead) > 2 else None)
    channels = weight.shape[1] * groups if len(lead) > 1 else weight.shape[0]
    return kernel.spec(kind, channels, weight.shape[0], group, caller, **planar, groups=groups)


def separable_group_conv2d(
    x: Float[Tensor, "b c g y x"],
    pointwise: Float[Tensor, "o *r c g"],
    depthwise: Float[Tensor, "o ..."],
    group: FiniteGroup | str,
    bias: Float[Tensor, " o"] | None = None,
    *,
    sharing: Sharing = "gc",
    execution: Execution = "auto",
    recompute: bool | None = None,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    padding_mode: str = "zeros",
    pre_norm_act: NormRelu | None = None,
    groups: int = 1,
    basis: KernelBasis | None = None,
    before: NormRelu | None = None,
    actions: object = None,
) -> Float[Tensor, "b o g y2 x2"]:
    """Separable group convolution (arXiv:2106.04914, section 3.3; theory.md, Convolutions).

    gc: `X'[n,h] = (T_h K[n]) * (sum_c sum_g w[n,c,h^-1 g] X[c,g])`;
    g: `X'[n,h] = sum_c (T_h K[n,c]) * (sum_g w[n,c,h^-1 g] X[c,g])`.
    With factors of rank r it is the sum of r of these; at `full_rank` every group convolution can be written so.

    Args:
        x: feature maps (batch, in, |G|, height, width).
        pointwise: w, (out, in, |G|); with a rank (out, rank, in, |G|).
        depthwise: K, (out, k, k) for sharing "gc" and (out, in, k, k) for "g"; with a rank (out, rank, k, k) and
            (out, rank, in, k, k). With a basis, basis.weight_shape is in place of k, k.
        group: the group or its name.
        bias: (out,), shared over poses.
        sharing: what shares a spatial kernel: "gc" all poses and input channels, "g" all poses.
        execution: "separable"; "fourier" (gc only), the mixing in the irreps of the group; "composed"; or "auto" (see
            `select_execution`). The same numbers to rounding.
        recompute: whether to keep only the input for backward, and make the maps between mixing and filtering again
            there, a few images at a time. None does so where it costs little: in the irreps, where it was as fast as
            keeping them. The dense mixing is one product more, measured as 15 to 20 % of a training step. Composed has
            no maps between. Compiled code decides by itself what to keep of sharing "g".
        stride: step in pixels.
        padding: pixels on every side, "same" or "valid".
        dilation: distance of kernel pixels.
        padding_mode: "zeros", "circular", "reflect" or "replicate".
        pre_norm_act: batch norm and ReLU to apply to x first. With `recompute`, x is then all that is kept.
        groups: channel groups that do not mix, as in `torch.nn.functional.conv2d`.
        basis: how weights become filters, for kernels that are not of pixels (`sepgconv.symmetry.kernel_basis`); groups
            that do not keep the pixel grid need one.
        before: the former name of `pre_norm_act`. Deprecated.
        actions: ignored; the library makes its own tables. Deprecated.

    Returns:
        Feature maps (batch, out, |G|, height', width').

    Raises:
        TypeError: no tensor where one belongs, or `pre_norm_act` of another kind.
        ValueError: tensors of different dtypes or devices, or not dense; wrong rank, channels or poses; maps too small,
            an unknown execution, "fourier" with sharing "g", or arguments that break equivariance.

    Example:
        >>> import torch
        >>> x, w, k = torch.rand(2, 8, 4, 9, 9), torch.rand(16, 8, 4), torch.rand(16, 3, 3)
        >>> separable_group_conv2d(x, w, k, "p4", padding=1).shape
        torch.Size([2, 16, 4, 9, 9])
    """
    group, caller = get_group(group), "separable_group_conv2d"
    _warn_of_tables("actions", actions, caller)
    if before is not None:
        message = "separable_group_conv2d: before is called pre_norm_act now; the old name goes with the next release"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        pre_norm_act = before
    check_kind(pre_norm_act, NormRelu, "pre_norm_act", caller)
    kernel = _kernel(depthwise, "depthwise", group, basis, caller)
    one_of("sharing", sharing, SHARINGS)
    check_channels(caller, groups=groups)
    check_tensor(pointwise, "pointwise", caller, NUMBERS)
    terms = pointwise.shape[1:2] if pointwise.ndim == 4 else ()
    check_weight("pointwise", pointwise, ("out", *(["rank"] if terms else []), "in", group.order), caller, group)
    lead = pointwise.shape[:-2] if sharing == "gc" else pointwise.shape[:-1]
    check_weight("depthwise", depthwise, (*lead, *kernel.axes), caller)
    spec = kernel.spec(
        SEPARABLE[sharing],
        pointwise.shape[-2] * groups,
        pointwise.shape[0],
        group,
        caller,
        stride=stride,
        padding=padding,
        dilation=dilation,
        padding_mode=padding_mode,
        groups=groups,
        rank=terms[0] if terms else 1,
    )
    if pre_norm_act is not None:
        check_feature_map(x, None, group, caller)
        step = pre_norm_act
        given = (step.running_mean, step.running_var, step.weight, step.bias)
        check_batch_norm(x, *given, True, step.momentum, step.eps, f"{caller}: pre_norm_act")
    if terms and terms[0] == 1:  # one term, as the spec has it
        pointwise, depthwise = pointwise.squeeze(1), depthwise.squeeze(1)
    return convolve(
        spec,
        x,
        {"pointwise": pointwise, "depthwise": depthwise},
        bias,
        caller,
        execution=execution,
        recompute=recompute,
        pre_norm_act=pre_norm_act,
    )
