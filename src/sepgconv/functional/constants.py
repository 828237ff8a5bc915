"""Index tables as constants: made once for each device, where the tensors of a call are, and shared by all layers.

Layers hold no tables. Those of a module's own would be where its parameters were last moved to, while the weights of a
call may come from elsewhere: `torch.func.functional_call` on a skeleton without memory, replicas of `DataParallel`.
"""

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import _disable_current_modes  # pyright: ignore[reportPrivateUsage]


class _Kept:
    """Constants as attributes, for the compiler: it reads a tensor from an object's attribute as a graph's input."""


_made: dict[tuple[Hashable, ...], Tensor] = {}
_kept, _names = _Kept(), dict[tuple[Hashable, ...], str]()


def constant(make: Callable[..., Tensor], *arguments: Hashable, like: Tensor) -> Tensor:
    """Return `make(*arguments, device=like.device)`, made once for each device; it is read only.

    In compiled code and exported programs it is a constant, not something that each call computes.

    Args:
        make: a function of the arguments alone that returns a new tensor.
        arguments: what it takes.
        like: the tensor of the call beside which the constant is used.
    """
    if torch.compiler.is_dynamo_compiling():
        return getattr(_kept, _name(make, like.device, *arguments))
    # Asked for by name, because an active mode meets tensors that it wraps, as those of `torch.vmap`.
    fakes: Any = torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE)  # pyright: ignore
    if fakes is None and isinstance(like, FakeTensor):
        fakes = like.fake_mode
    if fakes is not None and not fakes.allow_non_fake_inputs:
        with fakes:
            return make(*arguments, device=like.device)
    return _find((make, like.device, *arguments))


def _find(key: tuple[Any, ...]) -> Tensor:
    found = _made.get(key)
    if found is None:
        make, device, *arguments = key
        found = _made[key] = _ordinary(make, device, arguments)
    return found


def _name(*key: Hashable) -> str:
    """Return the attribute of `_kept` that holds a constant."""
    found = _find(key)
    name = _names.setdefault(key, f"constant{len(_names)}")
    setattr(_kept, name, found)
    return name


# The compiler calls it while it traces; by a guard of its own, what it traced holds for these very arguments. This mark
# is what `torch.compiler.assume_constant_result` leaves, which would import the whole compiler with this package.
setattr(_name, "_dynamo_marked_constant", True)  # noqa: B010 (no attribute that a type knows)


def _ordinary(make: Callable[..., Tensor], device: torch.device, arguments: list[Hashable]) -> Tensor:
    """Make a tensor that outlives what is going on: inference mode, tracing, the transforms of `torch.func`."""
    with torch.inference_mode(False), _disable_current_modes():
        table = make(*arguments, device=device)
    functorch: Any = torch._C._functorch  # pyright: ignore
    while functorch.is_functorch_wrapped_tensor(table):
        table = functorch.get_unwrapped(table)
    return table
