"""Arguments that many functions share: their order, and the shape of an input. Imports nothing of the package.

The order is (model, group, input_shape), where a tensor to try the model on may stand for the shape. A group or a shape
that can be left out is given by keyword.
"""

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import ParamSpec, TypeVar

from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def _is_group(value: object) -> bool:
    return isinstance(value, str) or hasattr(value, "order")


def _is_shape(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


# Whether a value can be the argument of a name. What is of another name can be anything.
_KINDS: Mapping[str, Callable[[object], bool]] = MappingProxyType(
    {
        "group": _is_group,
        "input_shape": _is_shape,
        "x": _is_tensor,
        "images": _is_tensor,
        "sharing": lambda value: value is None or isinstance(value, str),
    }
)


def accept_old_order(*old: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that lets a function take its positional arguments in an earlier order, with a warning.

    The earlier order is recognised by the types of the arguments: a shape or a tensor where the group belongs, a group
    where something else does. It is accepted for one release.

    Args:
        old: the names of the arguments in their earlier order.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        new = [name for name, each in inspect.signature(function).parameters.items() if each.kind in positional]

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if _fits(args, new) or not _fits(args, old):
                return function(*args, **kwargs)
            name = getattr(function, "__name__", "")
            warnings.warn(
                f"{name}: expected ({', '.join(new)}), got ({', '.join(old[: len(args)])}), an order that the next "
                "release does not accept; give these arguments in the new order or by name",
                DeprecationWarning,
                stacklevel=2,
            )
            return function(**dict(zip(old, args, strict=False)), **kwargs)  # pyright: ignore[reportCallIssue]

        return call

    return decorate


def _fits(values: Sequence[object], names: Sequence[str]) -> bool:
    """Return whether every value has a type that fits the argument at its position."""
    if len(values) > len(names):
        return False
    return all(_KINDS[name](value) for name, value in zip(names, values, strict=False) if name in _KINDS)


def checked_input_shape(
    input_shape: Sequence[int], caller: str, *, feature_maps: bool = False, batch: bool = False
) -> tuple[int, ...]:
    """Return the shape of one input, without a batch axis, as a tuple.

    Args:
        input_shape: (channels, height, width).
        caller: named in errors.
        feature_maps: whether (channels, poses, height, width) is possible, too.
        batch: whether a batch axis before them is dropped with a warning, as it is for one release in some functions.

    Raises:
        ValueError: another number of entries, or one that is not a positive integer.
    """
    shape = tuple(input_shape)
    if batch and not feature_maps and len(shape) == 4:
        warnings.warn(
            f"{caller}: expected input_shape (channels, height, width), got {shape}; give it without the batch axis, "
            "which the next release does not accept",
            DeprecationWarning,
            stacklevel=3,
        )
        shape = shape[1:]
    sides = (3, 4) if feature_maps else (3,)
    if len(shape) in sides and all(isinstance(side, int) and side > 0 for side in shape):
        return shape
    expected = "(channels, height, width)"
    if feature_maps:
        expected += " or, for layers on feature maps, (channels, poses, height, width)"
    hint = "; leave out the batch axis" if len(shape) == max(sides) + 1 else ""
    raise ValueError(f"{caller}: input_shape must be {expected}, positive and without a batch axis, got {shape}{hint}")
