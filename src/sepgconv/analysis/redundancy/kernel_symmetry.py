"""Which filters a group leaves as they are: kernels by themselves, and whole filters, whose maps are then identical."""

import torch
from torch import Tensor

from sepgconv.conv.geometry import planar_size
from sepgconv.functional import filter_action, pixel_action, transform_kernel
from sepgconv.symmetry import FiniteGroup, pixel_permutation
from sepgconv.symmetry import group as get_group


def kernel_invariance(weight: Tensor, group: FiniteGroup | str) -> Tensor:
    """Return how alike kernels and their moved copies are: `<K, T_g K> / |K|^2` for every element g.

    1 where the element leaves the kernel as it is, -1 where it makes its negative. The kernels along the poses of a
    filter are taken together, as one vector: each is moved in the plane, none to another pose.

    Args:
        weight: (out, in, k, k), or (out, in, |G|, k, k) with a pose axis.
        group: the group or its name.

    Returns:
        (out, in, |G|), float64; NaN for a filter that is zero.

    Raises:
        ValueError: another rank, or kernels that are not square under a group that exchanges the axes.

    Example:
        >>> import torch
        >>> from sepgconv.analysis import kernel_invariance
        >>> flat = torch.ones(1, 1, 3, 3)
        >>> kernel_invariance(flat, "p4").flatten().tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    if weight.ndim not in (4, 5):
        raise ValueError(
            f"kernel_invariance: expected kernels (out, in, k, k) or (out, in, |G|, k, k), got {tuple(weight.shape)}"
        )
    kernels = weight.detach().double()
    moved = transform_kernel(kernels, pixel_action(get_group(group), planar_size(weight), device=weight.device))
    return _alike(kernels.unsqueeze(1), moved, kept=3).transpose(1, 2)


def chance_invariance(group: FiniteGroup | str, size: tuple[int, int]) -> Tensor:
    """Return the invariance that kernels of independent random weights have on average, (|G|,), float64.

    It is the share of pixels that an element leaves in their place.

    Args:
        group: the group or its name.
        size: (height, width) of the kernels.

    Raises:
        ValueError: the size is not square and the group exchanges the axes.

    Example:
        >>> from sepgconv.analysis import chance_invariance
        >>> expected = chance_invariance("p4", (3, 3))
        >>> [round(value, 3) for value in expected.tolist()]
        [1.0, 0.111, 0.111, 0.111]
    """
    pixels = torch.from_numpy(pixel_permutation(get_group(group), *size)).flatten(1)  # (|G|, k * k)
    return (pixels == torch.arange(pixels.shape[1])).double().mean(1)


def map_agreement(weight: Tensor, group: FiniteGroup | str) -> Tensor:
    """Return how alike the feature maps of a channel are over the poses, as its filter says it.

    The map at pose h is made by the filter moved by h, so it is identical to that at pose 0, for every input, where h
    leaves the filter as it is: pixels and poses (arXiv:2106.04914, section 3.2 and figure 1). The number is
    `<F, T_h F> / |F|^2` over all input channels; -1 stands for a map that is the negative of the other. For white noise
    it is the correlation of the maps.

    Args:
        weight: (out, in, |G|, k, k); or (out, in, k, k) of a lifting or, with in = 1, a depthwise convolution.
        group: the group or its name.

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
    group = get_group(group)
    if weight.ndim not in (4, 5) or (weight.ndim == 5 and weight.shape[2] != group.order):
        raise ValueError(
            f"map_agreement: expected filters (out, in, {group.order}, k, k) or (out, in, k, k) for {group.name}, "
            f"got {tuple(weight.shape)}"
        )
    table = filter_action if weight.ndim == 5 else pixel_action
    filters = weight.detach().double()
    moved = transform_kernel(filters, table(group, planar_size(weight), device=weight.device))
    return _alike(filters.unsqueeze(1), moved, kept=2)


def _alike(a: Tensor, b: Tensor, *, kept: int) -> Tensor:
    # b is a with its entries moved, so both have the same norm; rounding must not lead out of [-1, 1].
    products = (a * b).flatten(kept).sum(-1)
    norms = (a * a).flatten(kept).sum(-1)
    return torch.where(norms > 0, products / norms, torch.nan).clamp(-1, 1)
