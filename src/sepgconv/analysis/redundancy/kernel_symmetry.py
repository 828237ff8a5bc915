"""Which filters a group leaves as they are: kernels by themselves, and whole filters, whose maps are then identical."""

import torch
from torch import Tensor

from sepgconv.conv.geometry import planar_size
from sepgconv.symmetry import FiniteGroup, KernelBasis, PixelBasis
from sepgconv.symmetry import group as get_group
from sepgconv.symmetry.basis import pose_filters


def kernel_invariance(weight: Tensor, group: FiniteGroup | str | KernelBasis) -> Tensor:
    """Return how alike kernels and their moved copies are: `<K, T_g K> / (|K| |T_g K|)` for every element g.

    1 where the element leaves the kernel as it is, -1 where it makes its negative. The kernels along the poses of a
    filter are taken together, as one vector: each is moved in the plane, none to another pose.

    Args:
        weight: (out, in, k, k), or (out, in, |G|, k, k) with a pose axis; of a basis, (out, in, [|G|,] *weight_shape).
        group: the group or its name, if the weights are pixels; or the basis by which they become kernels.

    Returns:
        (out, in, |G|), float64; NaN for a filter that is zero.

    Raises:
        ValueError: another rank, kernels that are not square under a group that exchanges the axes, or pixels under a
            group that takes them between pixels.

    Example:
        >>> import torch
        >>> from sepgconv.analysis import kernel_invariance
        >>> flat = torch.ones(1, 1, 3, 3)
        >>> kernel_invariance(flat, "p4").flatten().tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    if isinstance(group, FiniteGroup | str) and weight.ndim not in (4, 5):
        raise ValueError(
            f"kernel_invariance: expected kernels (out, in, k, k) or (out, in, |G|, k, k), got {tuple(weight.shape)}"
        )
    basis = _basis(group, weight)
    moved = basis.expand(weight.detach().double())  # (out, in, [pose,] g, k, k)
    return _alike(moved.movedim(-len(basis.size) - 1, 2), kept=3)


def chance_invariance(group: FiniteGroup | str | KernelBasis, size: tuple[int, int] | None = None) -> Tensor:
    """Return the invariance that kernels of independent random weights have on average, (|G|,), float64.

    For kernels of pixels it is the share of pixels that an element leaves in their place.

    Args:
        group: the group or its name, for kernels of pixels; or the basis of the kernels.
        size: (height, width) of the kernels; not with a basis, which knows it.

    Raises:
        ValueError: the size is missing, or it is not square and the group exchanges the axes.

    Example:
        >>> from sepgconv.analysis import chance_invariance
        >>> expected = chance_invariance("p4", (3, 3))
        >>> [round(value, 3) for value in expected.tolist()]
        [1.0, 0.111, 0.111, 0.111]
    """
    if isinstance(group, FiniteGroup | str):
        if size is None:
            raise ValueError("chance_invariance: expected the size of the kernels beside a group, as in ('p4', (3, 3))")
        group = PixelBasis(get_group(group), size)
    # Summed over weights, products of the filters of each weight are what those of random weights are on average.
    filters = pose_filters(group).transpose(0, 1)  # (|G|, n, taps)
    return _alike(filters.unsqueeze(0), kept=2).squeeze(0)


def map_agreement(weight: Tensor, group: FiniteGroup | str | KernelBasis) -> Tensor:
    """Return how alike the feature maps of a channel are over the poses, as its filter says it.

    The map at pose h is made by the filter moved by h, so it is identical to that at pose 0, for every input, where h
    leaves the filter as it is: pixels and poses (arXiv:2106.04914, section 3.2 and figure 1). The number is
    `<F, T_h F> / (|F| |T_h F|)` over all input channels; -1 stands for a map that is the negative of the other. For
    white noise it is the correlation of the maps.

    Args:
        weight: (out, in, |G|, k, k); or (out, in, k, k) of a lifting or, with in = 1, a depthwise convolution; of a
            basis, with `weight_shape` instead of k, k.
        group: the group or its name, if the weights are pixels; or the basis by which they become filters.

    Returns:
        (out, |G|), float64; NaN for a channel whose filter is zero.

    Raises:
        ValueError: another rank or number of poses.

    Example:
        >>> import torch
        >>> from sepgconv.analysis import map_agreement
        >>> map_agreement(torch.ones(2, 1, 4, 3, 3), "p4").tolist()
        [[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]
    """
    basis = _basis(group, weight)
    with_poses = weight.ndim - len(basis.weight_shape) == 3
    if weight.ndim - len(basis.weight_shape) not in (2, 3) or (with_poses and weight.shape[2] != basis.group.order):
        kernel = ", ".join(map(str, basis.weight_shape)) if isinstance(group, KernelBasis) else "k, k"
        raise ValueError(
            f"map_agreement: expected filters (out, in, {basis.group.order}, {kernel}) or (out, in, {kernel}) for "
            f"{basis.group.name}, got {tuple(weight.shape)}"
        )
    moved = basis.expand(weight.detach().double(), over_poses=with_poses)  # (out, in, h, [g,] k, k)
    return _alike(moved.transpose(1, 2), kept=2)


def _basis(group: FiniteGroup | str | KernelBasis, weight: Tensor) -> KernelBasis:
    return PixelBasis(get_group(group), planar_size(weight)) if isinstance(group, FiniteGroup | str) else group


def _alike(moved: Tensor, *, kept: int) -> Tensor:
    """Return the cosine between the first pose, on the axis before `kept`, and each; later axes are one vector.

    In a basis of pixels all entries have the same norm; a steerable kernel loses or gains a little where it lies askew.
    """
    first = moved.narrow(kept - 1, 0, 1)
    products = (first * moved).flatten(kept).sum(-1)
    norms = ((first * first).flatten(kept).sum(-1) * (moved * moved).flatten(kept).sum(-1)).sqrt()
    # Rounding must not lead out of [-1, 1].
    return torch.where(norms > 0, products / norms, torch.nan).clamp(-1, 1)
