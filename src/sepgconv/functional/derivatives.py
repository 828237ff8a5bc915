"""What the hand-written gradients of the library share: when they may be used, second derivatives, `torch.vmap`."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

# Numbers in maps from which on operators pay in compiled code without gradients (gc-P4CNN, 1 to 128 pictures).
LARGE = 2**21


def by_hand(*tensors: Tensor | None) -> bool:
    """Tell whether a hand-written backward pass may stand in for the operations that torch differentiates itself.

    Not in mixed precision, which casts operation by operation; not under the transforms of `torch.func` and in
    forward-mode derivatives, which need torch's own operations; not in compiled code, where it goes in as an operator
    (`in_compiled_code`).
    """
    return not torch.compiler.is_compiling() and not is_transformed() and _plain_numbers(*tensors)


def is_transformed(grad: Tensor | None = None) -> bool:
    """Tell whether tensors may be batched or dual: under `torch.func`, at a dual level, or by a batch of gradients.

    Args:
        grad: the gradient that came in, in a backward pass.
    """
    # All are private, but there is no public way to see them.
    functorch: Any = torch._C._functorch  # pyright: ignore
    return (
        torch._C._are_functorch_transforms_active()  # pyright: ignore (the one of them that the compiler reads right)
        or torch.autograd.forward_ad._current_level >= 0  # pyright: ignore[reportPrivateUsage]
        or (grad is not None and (functorch.is_batchedtensor(grad) or functorch.is_legacy_batchedtensor(grad)))
    )


def in_compiled_code(*tensors: Tensor | None, small: bool = False) -> bool:
    """Tell whether `torch.compile` is at work and should take a hand-written operator for maps, the first tensor.

    An exported program may not, nor may the transforms of `torch.func`. Without gradients the compiler's own code is
    faster for maps that fit into the cache.

    Args:
        tensors: the maps first.
        small: whether to take it for small maps without gradients as well.
    """
    compiles = torch.compiler.is_compiling() and not torch.compiler.is_exporting()
    if not compiles or is_transformed() or not _plain_numbers(*tensors):
        return False
    return small or torch.is_grad_enabled() or (tensors[0] is not None and tensors[0].numel() >= LARGE)


def _plain_numbers(*tensors: Tensor | None) -> bool:
    first, *others = [tensor for tensor in tensors if tensor is not None]
    return (
        first.dtype in (torch.float32, torch.float64)
        and all(other.dtype == first.dtype for other in others)
        and not casts(first.device.type)
        and first.numel() > 0
    )


def casts(device: str) -> bool:
    """Tell whether mixed precision (`torch.autocast`) is on for a type of device."""
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


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
