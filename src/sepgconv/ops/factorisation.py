"""Filter banks as sums of separable terms: how much of a bank the first terms hold, and the terms themselves."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sepgconv._messages import one_of
from sepgconv.conv.checks import check_channels, is_integer
from sepgconv.conv.geometry import as_sides
from sepgconv.conv.kinds import SHARINGS, Sharing
from sepgconv.ops.checks import check_tensor
from sepgconv.symmetry.basis import KernelBasis, PixelBasis, kernel_metric


def separable_spectrum(
    weight: Float[Tensor, "o c g *k"], sharing: Sharing, *, basis: KernelBasis | None = None
) -> Float[Tensor, "o ... r"]:
    """Return the singular values of a filter bank, as the separable factorisation sees it.

    A bank is a sum of r separable terms exactly where all but the first r values are zero, and the sum of the squares
    of the others is the squared distance to the nearest such sum (Eckart & Young 1936). Distances are those of the
    filters, pixel by pixel, averaged over the poses that the group moves them to.

    Args:
        weight: F, (out, in, |G|, k, k), as `GroupConv2d.weight`; with a basis (out, in, |G|, *weight_shape).
        sharing: "gc": one matrix for each output channel, in|G| x k^2; "g": one for each pair of channels, |G| x k^2.
        basis: how the weights become filters, as `GroupConv2d.spec.basis`; None: they are the pixels. The n weights of
            a kernel take the place of its k^2 pixels.

    Returns:
        float64, descending along the last axis: (out, min(in|G|, k^2)) for "gc", (out, in, min(|G|, k^2)) for "g".

    Raises:
        TypeError: the weight is no tensor.
        ValueError: an unknown sharing, or a weight that does not have these axes, is not real or not finite.

    Example:
        >>> import torch
        >>> bank = compose_kernel(torch.rand(16, 8, 4), torch.rand(16, 3, 3), "gc")
        >>> values = separable_spectrum(bank, "gc")
        >>> values.shape, bool((values[:, 1:] < 1e-4 * values[:, :1]).all())  # one term holds all of it
        (torch.Size([16, 9]), True)
    """
    matrices, root = _matrices(weight, sharing, basis, "separable_spectrum"), _metric_root(basis)
    return torch.linalg.svdvals(matrices if root is None else matrices @ root.to(matrices))


def separate_kernel(
    weight: Float[Tensor, "o c g *k"], sharing: Sharing, rank: int, *, basis: KernelBasis | None = None
) -> tuple[Float[Tensor, "o r c g"], Float[Tensor, "o r ..."]]:
    """Return the factors of the sum of separable terms nearest to a filter bank (arXiv:2106.04914, section 3.3).

    gc: `F[n,c,g] = sum_r w[n,r,c,g] K[n,r]`; g: `F[n,c,g] = sum_r w[n,r,c,g] K[n,r,c]`. The terms come from the
    singular value decomposition, the largest first; both factors get the root of the singular value, and the largest
    weight of a planar kernel is positive. "Nearest" is meant of the filters, as in `separable_spectrum`: where filters
    of a basis are not orthonormal, the decomposition is that of the weights times the root of `kernel_metric`.

    Args:
        weight: F, (out, in, |G|, k, k); with a basis (out, in, |G|, *weight_shape).
        sharing: what shares a spatial kernel: "gc" all poses and input channels, "g" all poses.
        rank: the number of terms, 1 for the paper's layer; at `full_rank` the sum is the bank itself.
        basis: how the weights become filters, as `GroupConv2d.spec.basis`; None: they are the pixels.

    Returns:
        w, (out, rank, in, |G|), and K, (out, rank, k, k) for "gc" and (out, rank, in, k, k) for "g", in the type of the
        weight; with a basis `weight_shape` instead of k, k.

    Raises:
        TypeError: the weight is no tensor.
        ValueError: an unknown sharing, a weight that does not have these axes, is not real or not finite, or a rank
            out of range.

    Example:
        >>> import torch
        >>> bank = torch.rand(16, 8, 4, 3, 3)
        >>> pointwise, depthwise = separate_kernel(bank, "gc", rank=9)  # the full rank
        >>> pointwise.shape, depthwise.shape
        (torch.Size([16, 9, 8, 4]), torch.Size([16, 9, 3, 3]))
        >>> torch.allclose(compose_kernel(pointwise, depthwise, "gc"), bank, atol=1e-4)
        True
    """
    matrices = _matrices(weight, sharing, basis, "separate_kernel")
    channels, order, *size = weight.shape[1:]
    most = full_rank(channels, order, tuple(size), sharing)
    if not is_integer(rank) or not 1 <= rank.__index__() <= most:
        raise ValueError(f"separate_kernel: rank must be from 1 to {most} for this weight, got {rank!r}")
    rank = rank.__index__()
    metric_root = _metric_root(basis)
    if metric_root is None:
        left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    else:
        metric_root = metric_root.to(matrices)
        left, values, right = torch.linalg.svd(matrices @ metric_root, full_matrices=False)
        right = right @ torch.linalg.pinv(metric_root)
    root = values[..., :rank].sqrt()
    mixing = left[..., :rank].mT * root.unsqueeze(-1)  # gc: (out, rank, in * g); g: (out, in, rank, g)
    planar = right[..., :rank, :] * root.unsqueeze(-1)  # gc: (out, rank, k * k); g: (out, in, rank, k * k)
    sign = planar.gather(-1, planar.abs().argmax(-1, keepdim=True)).sign()
    sign = torch.where(sign == 0, 1.0, sign)
    mixing, planar = mixing * sign, (planar * sign).unflatten(-1, size)
    if sharing == "gc":
        mixing = mixing.unflatten(-1, (channels, order))
    else:
        mixing, planar = mixing.transpose(1, 2), planar.transpose(1, 2)
    return mixing.contiguous().to(weight.dtype), planar.contiguous().to(weight.dtype)


def full_rank(in_channels: int, order: int, size: tuple[int, ...], sharing: Sharing) -> int:
    """Return the number of separable terms with which every filter bank can be written.

    Args:
        in_channels: C.
        order: |G|.
        size: (height, width) of the planar kernels, or the number of weights of steerable ones, (n,).
        sharing: "gc" or "g".

    Raises:
        ValueError: an unknown sharing, or a size that is none.

    Example:
        >>> full_rank(8, 4, (3, 3), "gc"), full_rank(8, 4, (3, 3), "g")
        (9, 4)
    """
    one_of("sharing", sharing, SHARINGS)
    check_channels("full_rank", in_channels=in_channels, order=order)
    size = as_sides(size, "size", least=1, dimension=1 if isinstance(size, tuple) and len(size) == 1 else 2)
    return min(in_channels * order if sharing == "gc" else order, math.prod(size))


def _metric_root(basis: KernelBasis | None) -> Tensor | None:
    """Return the symmetric root of the metric of a basis, (n, n); None where it is the identity, as for pixels.

    For weights w of a kernel, `|w root|` is the norm of its filters.
    """
    if basis is None or isinstance(basis, PixelBasis):
        return None
    values, vectors = torch.linalg.eigh(kernel_metric(basis))
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def _matrices(weight: Tensor, sharing: Sharing, basis: KernelBasis | None, caller: str) -> Tensor:
    one_of("sharing", sharing, SHARINGS)
    check_tensor(weight, "weight", caller)
    if weight.is_meta:
        raise ValueError(f"{caller}: the weight is on meta and has no numbers")
    if basis is None and weight.ndim != 5:
        raise ValueError(f"{caller}: expected a filter bank (out, in, |G|, k, k), got {tuple(weight.shape)}")
    if basis is not None and tuple(weight.shape[3:]) != basis.weight_shape:
        expected = ", ".join(["out", "in", "|G|", *map(str, basis.weight_shape)])
        raise ValueError(f"{caller}: expected weights ({expected}) for this basis, got {tuple(weight.shape)}")
    if not torch.isfinite(weight).all():
        raise ValueError(f"{caller}: expected finite weights, got NaN or infinity")
    pixels = weight.detach().double().flatten(3)  # (out, in, g, k * k), or weights of a basis
    return pixels.flatten(1, 2) if sharing == "gc" else pixels
