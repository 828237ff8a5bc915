"""The one check that the weights of a network are numbers, before anything is said of it or made of it."""

from torch import nn


def raise_if_not_finite(model: nn.Module, caller: str) -> None:
    """Raise if a network holds NaN, or infinity in a parameter.

    Infinity is lawful in a buffer, as in a mask of attention; in a weight it is not.

    Args:
        model: the network.
        caller: named in errors.

    Raises:
        ValueError: the first such parameter or buffer is named, or one without values (device "meta").
    """
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if value.is_meta:
            raise ValueError(f"{caller}: {name} has no values (it is on the device 'meta'); load the weights first")
        wrong = value.isnan() if not isinstance(value, nn.Parameter) else ~value.isfinite()
        if wrong.any():
            raise ValueError(
                f"{caller}: {name} holds values that are not finite (NaN or infinity), so the network "
                f"gives no answers; take the weights of an earlier epoch or train it again"
            )
