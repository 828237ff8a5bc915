"""Weights that are no numbers are refused before anything is said of a network."""

from torch import nn


def refuse_not_finite(model: nn.Module, caller: str) -> None:
    """Refuse a network with NaN in it, or infinity in a parameter.

    Infinity is lawful in a buffer, as in a mask of attention; in a weight it is not.

    Raises:
        ValueError: the first such parameter or buffer is named, or one without values (device "meta").
    """
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if value.is_meta:
            raise ValueError(f"{caller}: {name} has no values (it is on the device 'meta'); load the weights first")
        wrong = value.isnan() if not isinstance(value, nn.Parameter) else ~value.isfinite()
        if wrong.any():
            raise ValueError(
                f"{caller}: {name} holds values that are not finite (NaN or infinity), so nothing can be said of the "
                f"network; take the weights of an earlier epoch or train it again"
            )
