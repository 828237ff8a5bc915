"""The ways in which a group may act on the output of a layer, as the shape of the tensor allows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sepgconv.functional import act
from sepgconv.symmetry import FiniteGroup, list_groups, subgroup_elements
from sepgconv.symmetry.subgroups import find_elements

Move = Callable[[int, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Action:
    """One way in which the elements of a group may move a tensor.

    Attributes:
        carries: what the tensor holds when it moves so, as in "poses along its channels".
        move: (element, tensor) to the moved tensor.
        natural: whether this is how the tensor should move if it is the output of a network: images and feature maps
            with the image, vectors not at all.
        declared: whether the module that gave the tensor says that it moves so (`output_matrices`).
    """

    carries: str
    move: Move
    natural: bool = False
    declared: bool = False


FOLDED = "poses along its channels"
UNMOVED = "a vector that does not move"


def groups_that_hold(group: FiniteGroup, known: Sequence[FiniteGroup] = ()) -> tuple[FiniteGroup, ...]:
    """Return the group, then the larger ones that have all its elements.

    Args:
        group: the group.
        known: which groups to look at, besides those that are registered and come after them.
    """
    larger = (one for one in dict.fromkeys((*known, *list_groups())) if one.order > group.order)
    return (group, *(one for one in larger if find_elements(one, group) is not None))


def actions(group: FiniteGroup, shape: tuple[int, ...], holding: Sequence[FiniteGroup]) -> tuple[Action, ...]:
    """Return every way in which a group may move a tensor of a shape; the natural ones come first.

    A feature map may have the poses of a larger group. Poses may also lie along the channels, channels first or poses
    first, as in networks that were written with ordinary layers.

    Args:
        group: the group.
        shape: (batch, ...). Rank 5 is a feature map if its third axis has as many entries as a group has poses, rank 4
            an image, rank 3 and less vectors; beyond rank 5, and where the third axis does not hold poses, only the
            last two axes move.
        holding: the groups on which a feature map may be, from `groups_that_hold`.
    """
    rank = len(shape)
    if rank == 5:
        poses = [one for one in holding if one.order == shape[2]]
        if poses:
            return (
                *(Action(f"a feature map on {one.name}", _within(group, one), natural=True) for one in poses),
                Action("an image", partial(_pixels, group)),
            )
    if rank >= 4:
        natural = Action("an image", partial(_pixels, group), natural=True)
    else:
        natural = Action(UNMOVED, _unmoved, natural=True)
    if rank not in (2, 3, 4):
        return (natural,)
    folded: list[Action] = []
    for one in holding:
        move = _within(group, one)
        if rank == 3 and shape[2] == one.order:
            folded.append(Action("a vector with poses", partial(_poses_last, move)))
        elif rank != 3 and one.order > 1 and shape[1] % one.order == 0:
            folded.append(Action(FOLDED, partial(_channels_first, one.order, move)))
            folded.append(Action(FOLDED, partial(_poses_first, one.order, move)))
    return (natural, *folded)


def declared_action(module: nn.Module, group: FiniteGroup) -> Action | None:
    """Return how a group moves the output of a module that says so by a method `output_matrices(group)`; else None.

    The method returns the matrices (|G|, d, d) by which the elements move the last axis of the output, as
    `sepgconv.nn.GroupToVector.output_matrices` does. Of an `nn.Sequential` the last module is asked; layers that
    flatten its output are looked through where the values are compared (`seen_through`).

    Args:
        module: a layer or network.
        group: the group.

    Raises:
        ValueError: the matrices are not one for each element.
    """
    while isinstance(module, nn.Sequential) and len(module):
        module = module[-1]
    method: Any = getattr(module, "output_matrices", None)
    if method is None:
        return None
    matrices = torch.as_tensor(method(group), dtype=torch.float64)
    if matrices.ndim != 3 or len(matrices) != group.order or matrices.shape[1] != matrices.shape[2]:
        raise ValueError(
            f"{type(module).__name__}.output_matrices must give a matrix for each of the {group.order} elements of "
            f"{group.name}, ({group.order}, d, d); got {tuple(matrices.shape)}"
        )

    def move(g: int, x: Tensor) -> Tensor:
        return x @ matrices[g].to(x).T

    return Action("a vector that turns with the image", move, natural=True, declared=True)


def seen_through(action: Action, shape: tuple[int, ...]) -> Action:
    """Return the action on a reshaped tensor that is `action` on the tensor as it was.

    Args:
        action: on tensors of `shape`.
        shape: before the reshaping.
    """
    return Action(
        f"{action.carries}, flattened",
        lambda g, x: action.move(g, x.reshape(shape)).reshape(x.shape),
        natural=action.declared,
        declared=action.declared,
    )


def reversed_axes(group: FiniteGroup) -> tuple[int, ...]:
    """Return the axes of the plane, 0 for y and 1 for x, along which some element reverses the order of pixels."""
    return tuple(axis for axis in (0, 1) if any(sum(matrix[axis]) < 0 for matrix in group.matrices))


def _unmoved(g: int, x: Tensor) -> Tensor:
    return x


def _pixels(group: FiniteGroup, g: int, x: Tensor) -> Tensor:
    images = act(group, g, x.reshape(x.shape[0], -1, *x.shape[-2:]))
    return images.reshape(*x.shape[:-2], *images.shape[-2:])


def _within(group: FiniteGroup, larger: FiniteGroup) -> Move:
    index = subgroup_elements(larger, group)
    return lambda g, x: act(larger, index[g], x)


def _poses_last(move: Move, g: int, x: Tensor) -> Tensor:
    return move(g, x[..., None, None])[..., 0, 0]


def _channels_first(order: int, move: Move, g: int, x: Tensor) -> Tensor:
    maps = x if x.ndim == 4 else x[..., None, None]
    moved = move(g, maps.unflatten(1, (-1, order))).flatten(1, 2)
    return moved if x.ndim == 4 else moved[..., 0, 0]


def _poses_first(order: int, move: Move, g: int, x: Tensor) -> Tensor:
    maps = x if x.ndim == 4 else x[..., None, None]
    moved = move(g, maps.unflatten(1, (order, -1)).transpose(1, 2)).transpose(1, 2).flatten(1, 2)
    return moved if x.ndim == 4 else moved[..., 0, 0]
