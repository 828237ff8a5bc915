"""How the group moves filters: tables on a device, transformed copies, and the product of separable factors."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sepgconv._messages import one_of
from sepgconv.functional.checks import INTEGERS, NUMBERS, check_operands, check_tensor, check_weight
from sepgconv.functional.geometry import as_pair
from sepgconv.symmetry import FiniteGroup, filter_permutation, pixel_permutation, pose_division
from sepgconv.symmetry import group as find_group

Sharing = Literal["gc", "g"]
SHARINGS: tuple[Sharing, ...] = ("gc", "g")
MOST_PIXELS = 2**26  # of a planar kernel; far more than one that learns


def pose_action(group: FiniteGroup | str, *, device: torch.device | str | None = None) -> Int[Tensor, "g g"]:
    """Return the table by which `transform_kernel` moves weights over poses (..., pose)."""
    return torch.tensor(pose_division(find_group(group)), device=device)


def pixel_action(
    group: FiniteGroup | str, size: tuple[int, int], *, device: torch.device | str | None = None
) -> Int[Tensor, "g k l"]:
    """Return the table by which `transform_kernel` moves planar kernels (..., height, width) of that size."""
    return torch.tensor(pixel_permutation(find_group(group), *_grid(size)), device=device)


def filter_action(
    group: FiniteGroup | str, size: tuple[int, int], *, device: torch.device | str | None = None
) -> Int[Tensor, "g g k l"]:
    """Return the table by which `transform_kernel` moves filters (..., pose, height, width) of that size."""
    return torch.tensor(filter_permutation(find_group(group), *_grid(size)), device=device)


def _grid(size: tuple[int, int]) -> tuple[int, int]:
    height, width = as_pair(size, "size", least=1)
    if height * width > MOST_PIXELS:
        raise ValueError(f"a kernel of {height} x {width} pixels is too large for a table of its pixels")
    return height, width


def transform_kernel(weight: Float[Tensor, "o ..."], action: Int[Tensor, "g ..."]) -> Float[Tensor, "o g ..."]:
    """Put the copies of every filter under all group elements on a new axis after the first: `(T_h F)(v) = F(h^-1 v)`.

    Args:
        weight: (out, [in,] *moved), where the axes *moved are those the group acts on.
        action: (|G|, *moved), flat indices into the moved axes, from `pose_action`, `pixel_action` or `filter_action`.

    Returns:
        (out, |G|, [in,] *moved).

    Raises:
        TypeError: no tensor.
        ValueError: the last axes of the weight are not those that the action moves.
    """
    check_tensor(weight, "weight", "transform_kernel", (*NUMBERS, *INTEGERS, torch.bool))
    check_tensor(action, "action", "transform_kernel", (torch.int64, torch.int32))
    kept = weight.ndim - (action.ndim - 1)
    if action.is_meta and not weight.is_meta:
        raise ValueError("transform_kernel: the action is on meta and has no numbers; make it where the weight is")
    if action.ndim < 1 or kept < 1 or weight.shape[kept:] != action.shape[1:]:
        raise ValueError(
            f"transform_kernel: expected a weight (out, ..., {', '.join(map(str, action.shape[1:]))}) for this action, "
            f"got {tuple(weight.shape)}"
        )
    moved = weight.flatten(kept) if action.ndim > 1 else weight.unsqueeze(-1)
    # The move is for copies of a layer that torch makes on another device behind its back (DataParallel).
    index = action.flatten().to(weight.device)
    return moved.index_select(kept, index).unflatten(kept, action.shape).movedim(kept, 1)


def compose_kernel(
    pointwise: Float[Tensor, "o *r c g"], depthwise: Float[Tensor, "o ..."], sharing: Sharing
) -> Float[Tensor, "o c g k l"]:
    """Multiply separable factors out to the filter bank F (theory.md, Convolutions; arXiv:2106.04914, section 3.3).

    Args:
        pointwise: w, (out, in, |G|), or (out, rank, in, |G|) for a sum of separable terms.
        depthwise: K, (out, k, k) for sharing "gc" and (out, in, k, k) for "g"; with a rank (out, rank, k, k) and
            (out, rank, in, k, k).
        sharing: "gc": `F[n,c,g] = w[n,c,g] K[n]`; "g": `F[n,c,g] = w[n,c,g] K[n,c]`; with a rank, summed over r:
            `w[n,r,c,g] K[n,r]` and `w[n,r,c,g] K[n,r,c]`.

    Returns:
        (out, in, |G|, k, k), the weight of the `GroupConv2d` that computes the same.

    Raises:
        TypeError: no tensor.
        ValueError: an unknown sharing, or factors of different dtypes, devices or channels.
    """
    one_of("sharing", sharing, SHARINGS)
    caller = "compose_kernel"
    check_tensor(pointwise, "pointwise", caller, NUMBERS)
    check_weight("pointwise", pointwise, ("out", *(["rank"] if pointwise.ndim == 4 else []), "in", "|G|"), caller)
    lead = pointwise.shape[:-2] if sharing == "gc" else pointwise.shape[:-1]
    check_weight("depthwise", depthwise, (*lead, "k", "k"), caller)
    check_operands(pointwise, caller, what="pointwise", depthwise=depthwise)
    return multiplied(pointwise, depthwise, sharing)


def multiplied(pointwise: Tensor, depthwise: Tensor, sharing: Sharing) -> Tensor:
    """Run `compose_kernel` on factors that fit together."""
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
