"""A copy of a network in float64 and evaluation mode, the network itself untouched."""

from typing import Any

import torch
from torch import nn

from sepgconv._modules import converted, copy_network, unwrap
from sepgconv._nan_check import raise_if_not_finite
from sepgconv.analysis.certify.fields import is_field, is_of_fields


def float64_copy(model: nn.Module, caller: str) -> nn.Module:
    """Return a copy of a network on the CPU, in float64, in evaluation mode.

    Args:
        model: the network; neither its weights nor its mode change.
        caller: named in errors.

    Raises:
        ValueError: a weight is not a number or infinite, or has no values (device "meta"); the network cannot be
            copied.
    """
    model = unwrap(model, caller)
    raise_if_not_finite(model, caller)
    twin = copy_network(model, caller)
    with torch.no_grad():
        # Evaluation mode first: e2cnn lays out its filters then, and mixes float32 into what it lays out in float64.
        twin = converted(twin.to("cpu").eval(), torch.float64)
    for module in twin.modules():
        if is_of_fields(module):
            module.register_forward_hook(_stay_in_float64)
    return twin


def _stay_in_float64(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
    """Return the output in float64 where a module of e2cnn gives float32 for any input."""
    if is_field(output) and arguments and is_field(arguments[0]) and arguments[0].tensor.dtype == torch.float64:
        return type(output)(output.tensor.double(), output.type)
    return output
