"""What the hand-written gradients of the operators share: second derivatives, and the batches of `torch.vmap`."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def gradients_again(
    plain: Callable[..., Tensor], inputs: Sequence[Tensor | None], grad: Tensor
) -> tuple[Tensor | None, ...]:
    """Return the gradients of `plain(*inputs)` as functions that can be differentiated again.

    Args:
        plain: the same function by operations of torch.
        inputs: its tensors; None is passed on.
        grad: gradient of the result.
    """
    # Aliases: an input that another one was computed from, as a norm's scale in its second use, counts once.
    with torch.enable_grad():
        aliases = [None if value is None else value.view_as(value) for value in inputs]
        y = plain(*aliases)
    wanted = [value for value in aliases if value is not None and value.requires_grad]
    found = iter(torch.autograd.grad(y, wanted, grad, create_graph=torch.is_grad_enabled()))
    return tuple(next(found) if value is not None and value.requires_grad else None for value in aliases)


def one_by_one(
    function: Callable[..., Any], batch: int, in_dims: tuple[int | None, ...], inputs: tuple[Any, ...]
) -> tuple[tuple[Tensor | None, ...], tuple[int | None, ...]]:
    """Apply a function that returns a tuple to the batches of `torch.vmap` in turn, and stack what it returns."""
    results: list[tuple[Tensor | None, ...]] = []
    for index in range(batch):
        pairs = zip(inputs, in_dims, strict=True)
        results.append(function(*(value if axis is None else value.select(axis, index) for value, axis in pairs)))
    stacked = [None if parts[0] is None else torch.stack(list(parts)) for parts in zip(*results, strict=True)]  # pyright: ignore[reportArgumentType]
    return tuple(stacked), tuple(None if part is None else 0 for part in stacked)
