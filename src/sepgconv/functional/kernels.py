"""How the group moves filters: tables on a device, transformed copies, and the product of separable factors."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sepgconv._messages import one_of
from sepgconv.groups import FiniteGroup, filter_permutation, pixel_permutation, pose_division

Sharing = Literal["gc", "g"]
SHARINGS: tuple[Sharing, ...] = ("gc", "g")


def pose_action(group: FiniteGroup, *, device: torch.device | str | None = None) -> Int[Tensor, "g g"]:
    """Return the table by which `transform_kernel` moves weights over poses (..., pose)."""
    return torch.tensor(pose_division(group), device=device)


def pixel_action(
    group: FiniteGroup, size: tuple[int, int], *, device: torch.device | str | None = None
) -> Int[Tensor, "g k l"]:
    """Return the table by which `transform_kernel` moves planar kernels (..., height, width) of that size."""
    return torch.tensor(pixel_permutation(group, *size), device=device)


def filter_action(
    group: FiniteGroup, size: tuple[int, int], *, device: torch.device | str | None = None
) -> Int[Tensor, "g g k l"]:
    """Return the table by which `transform_kernel` moves filters (..., pose, height, width) of that size."""
    return torch.tensor(filter_permutation(group, *size), device=device)


def transform_kernel(weight: Float[Tensor, "o ..."], action: Int[Tensor, "g ..."]) -> Float[Tensor, "o g ..."]:
    """Put the copies of every filter under all group elements on a new axis after the first: `(T_h F)(v) = F(h^-1 v)`.

    Args:
        weight: (out, [in,] *moved), where the axes *moved are those the group acts on.
        action: (|G|, *moved), flat indices into the moved axes, from `pose_action`, `pixel_action` or `filter_action`.

    Returns:
        (out, |G|, [in,] *moved).
    """
    kept = weight.ndim - (action.ndim - 1)
    moved = weight.flatten(kept) if action.ndim > 1 else weight.unsqueeze(-1)
    # The move is for copies of a layer that torch makes on another device behind its back (DataParallel).
    index = action.flatten().to(weight.device)
    return moved.index_select(kept, index).unflatten(kept, action.shape).movedim(kept, 1)


def compose_kernel(
    pointwise: Float[Tensor, "o *r c g"], depthwise: Float[Tensor, "o ..."], sharing: Sharing
) -> Float[Tensor, "o c g k l"]:
    """Multiply separable factors out to the filter bank F (METHOD section 1; arXiv:2106.04914, section 3.3).

    Args:
        pointwise: w, (out, in, |G|), or (out, rank, in, |G|) for a sum of separable terms.
        depthwise: K, (out, k, k) for sharing "gc" and (out, in, k, k) for "g"; with a rank (out, rank, k, k) and
            (out, rank, in, k, k).
        sharing: "gc": `F[n,c,g] = w[n,c,g] K[n]`; "g": `F[n,c,g] = w[n,c,g] K[n,c]`; with a rank, summed over r:
            `w[n,r,c,g] K[n,r]` and `w[n,r,c,g] K[n,r,c]`.

    Returns:
        (out, in, |G|, k, k), the weight of the `GroupConv2d` that computes the same.

    Raises:
        ValueError: an unknown sharing.
    """
    one_of("sharing", sharing, SHARINGS)
    if pointwise.ndim == 4:
        return torch.einsum("nrcg,nrkl->ncgkl" if sharing == "gc" else "nrcg,nrckl->ncgkl", pointwise, depthwise)
    planar = depthwise[:, None, None] if sharing == "gc" else depthwise[:, :, None]
    return pointwise[..., None, None] * planar


def planar_bank(kernels: Tensor, action: Tensor) -> Tensor:
    """Put the copies of planar kernels (out, ..., k, k) for all poses into the first axis: (|G| * out, ..., k, k)."""
    return transform_kernel(kernels, action).transpose(0, 1).flatten(0, 1)


def map_filters(kernels: Tensor, action: Tensor) -> Tensor:
    """Lay out the planar factor K as what filters each map of the result: (|G| * out, maps in, k, k).

    Args:
        kernels: (out, ..., k, k); the axes between are those summed over: none, terms, channels, or both.
        action: `pixel_action(group, (k, k))`.
    """
    bank = planar_bank(kernels, action)
    return bank.reshape(bank.shape[0], -1, *bank.shape[-2:])


def dense_bank(weight: Tensor, action: Tensor) -> Tensor:
    """Write filters (out, in, |G|, k, k) as those of one planar convolution: (|G| * out, |G| * in, k, k)."""
    return transform_kernel(weight, action).permute(1, 0, 3, 2, 4, 5).flatten(2, 3).flatten(0, 1)


def planar_size(kernel: Tensor) -> tuple[int, int]:
    """Return (height, width) of a kernel (..., height, width)."""
    return int(kernel.shape[-2]), int(kernel.shape[-1])


def over_poses(bias: Tensor | None, order: int) -> Tensor | None:
    """Repeat a bias (out,) for every pose, as the channels of folded maps lie: (|G| * out,)."""
    return None if bias is None else bias.repeat(order)
