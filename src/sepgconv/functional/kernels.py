"""How the group moves filters, as functions: tables, transformed copies, and the product of separable factors."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sepgconv._messages import one_of
from sepgconv.conv.checks import INTEGERS
from sepgconv.conv.geometry import as_pair
from sepgconv.conv.kinds import SHARINGS, Sharing, compose
from sepgconv.ops.checks import NUMBERS, check_operands, check_tensor, check_weight
from sepgconv.symmetry import FiniteGroup, basis
from sepgconv.symmetry import group as get_group


def pose_action(group: FiniteGroup | str, *, device: torch.device | str | None = None) -> Int[Tensor, "g g"]:
    """Return the table by which `transform_kernel` moves weights over poses (..., pose).

    Example:
        >>> pose_action("p2")
        tensor([[0, 1],
                [1, 0]])
    """
    return basis.pose_action(get_group(group), device=device)


def pixel_action(
    group: FiniteGroup | str, size: tuple[int, int], *, device: torch.device | str | None = None
) -> Int[Tensor, "g k l"]:
    """Return the table by which `transform_kernel` moves planar kernels (..., height, width) of that size.

    Example:
        >>> pixel_action("p2", (1, 3))[1]  # a half turn
        tensor([[2, 1, 0]])
    """
    return basis.pixel_action(get_group(group), as_pair(size, "size", least=1), device=device)


def filter_action(
    group: FiniteGroup | str, size: tuple[int, int], *, device: torch.device | str | None = None
) -> Int[Tensor, "g g k l"]:
    """Return the table by which `transform_kernel` moves filters (..., pose, height, width) of that size.

    Example:
        >>> filter_action("p4", (3, 3)).shape
        torch.Size([4, 4, 3, 3])
    """
    return basis.filter_action(get_group(group), as_pair(size, "size", least=1), device=device)


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

    Example:
        >>> import torch
        >>> transform_kernel(torch.rand(16, 8, 3, 3), pixel_action("p4", (3, 3))).shape
        torch.Size([16, 4, 8, 3, 3])
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

    Example:
        >>> import torch
        >>> compose_kernel(torch.rand(16, 8, 4), torch.rand(16, 3, 3), "gc").shape
        torch.Size([16, 8, 4, 3, 3])
    """
    one_of("sharing", sharing, SHARINGS)
    caller = "compose_kernel"
    check_tensor(pointwise, "pointwise", caller, NUMBERS)
    check_weight("pointwise", pointwise, ("out", *(["rank"] if pointwise.ndim == 4 else []), "in", "|G|"), caller)
    lead = pointwise.shape[:-2] if sharing == "gc" else pointwise.shape[:-1]
    check_weight("depthwise", depthwise, (*lead, "k", "k"), caller)
    check_operands(pointwise, caller, {"depthwise": depthwise}, what="pointwise")
    return compose(pointwise, depthwise, sharing)
