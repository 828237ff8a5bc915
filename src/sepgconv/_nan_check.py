"""The check that the weights of a network are finite, made before the network is measured or converted."""

from torch import nn


def raise_if_not_finite(model: nn.Module, caller: str) -> None:
    """Raise if a network holds NaN, or infinity in a parameter.

    Infinity is allowed in a buffer, such as an attention mask, but not in a weight.

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
                f"gives no outputs; take the weights of an earlier epoch or train it again"
            )
