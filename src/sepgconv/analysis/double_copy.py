"""A copy of a network in float64 and evaluation mode, the network itself untouched."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from sepgconv.analysis.fields import is_field, is_of_fields
from sepgconv.analysis.finite import refuse_not_finite


def double_copy(model: nn.Module, caller: str) -> nn.Module:
    """Return a copy of a network on the CPU, in float64, in evaluation mode.

    Args:
        model: the network; neither its weights nor its mode change.
        caller: named in errors.

    Raises:
        ValueError: a weight is not a number or infinite, or has no values (device "meta"); the network cannot be
            copied.
    """
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    refuse_not_finite(model, caller)
    # torch copies no tensor that was computed from others. e2cnn keeps such filters after eval().
    memo: dict[int, Tensor] = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in (*module.buffers(recurse=False), *vars(module).values())
        if isinstance(value, Tensor) and value.grad_fn is not None
    }
    try:
        twin = copy.deepcopy(model, memo)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"{caller}: {type(model).__name__} cannot be copied with copy.deepcopy ({error})") from error
    with torch.no_grad():
        # Evaluation mode first: e2cnn lays out its filters then, and mixes float32 into what it lays out in float64.
        twin = twin.to("cpu").eval().double()
    for module in twin.modules():
        if is_of_fields(module):
            module.register_forward_hook(_stay_in_float64)
    return twin


def _stay_in_float64(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
    """Take back what some modules of e2cnn do, which give float32 whatever comes in."""
    if is_field(output) and arguments and is_field(arguments[0]) and arguments[0].tensor.dtype == torch.float64:
        return type(output)(output.tensor.double(), output.type)
    return output
