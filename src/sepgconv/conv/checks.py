"""Checks of arguments that are no tensors: each error says in one sentence what was expected and what came."""

from numbers import Real
from typing import SupportsIndex, TypeGuard

import torch
from torch import Tensor

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def check_channels(caller: str, **counts: int) -> None:
    """Raise if a number of channels is none.

    Args:
        caller: named in the error.
        counts: by argument name.

    Raises:
        ValueError: one is not an integer of at least 1.
    """
    for name, count in counts.items():
        if not is_integer(count) or count.__index__() < 1:
            raise ValueError(f"{caller}: {name} must be a positive integer, got {count!r}")


def is_integer(value: object) -> TypeGuard[SupportsIndex]:
    """Return whether a value is one integer: of Python, or of another library, a truth value is none."""
    if isinstance(value, Tensor):
        return value.ndim == 0 and value.dtype in INTEGERS and not value.is_meta
    return isinstance(value, SupportsIndex) and not isinstance(value, bool | type) and getattr(value, "ndim", 0) == 0


def check_eps(eps: float, caller: str, *, training: bool = False) -> None:
    """Raise if a number cannot be added to a variance.

    Args:
        eps: what came.
        caller: named in the error.
        training: whether a batch is normalised by its own variance, which may be zero.

    Raises:
        ValueError: no finite number, negative, or zero in training.
    """
    if type(eps) is float and 0 < eps < 1:  # at every call of a norm: the usual ones in one step
        return
    if _is_number(eps) and (eps > 0 or (eps == 0 and not training)):
        return
    least = "greater than 0 when training" if training else "a finite number of at least 0"
    raise ValueError(f"{caller}: eps must be {least}, got {eps!r}; the usual one is 1e-5")


def check_momentum(momentum: float | None, caller: str) -> None:
    """Raise if a momentum cannot be the weight of a batch in running statistics.

    Raises:
        ValueError: neither a finite number nor None.
    """
    if momentum is not None and not _is_number(momentum):
        raise ValueError(f"{caller}: momentum must be a number, or None to average over all batches, got {momentum!r}")


def check_probability(p: float, caller: str) -> None:
    """Raise if a number is no probability.

    Raises:
        ValueError: no number from 0 to 1.
    """
    if not _is_number(p) or not 0 <= p <= 1:
        raise ValueError(f"{caller}: p must be a probability between 0 and 1, got {p!r}")


def _is_number(value: object) -> bool:
    # No integers that torch cannot take either, which has eight bytes for them.
    return isinstance(value, float | int | Real) and not isinstance(value, bool) and -(2.0**63) < value < 2.0**63  # pyright: ignore[reportOperatorIssue]
