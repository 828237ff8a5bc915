"""Inputs to try a network on: of the shape that its first layer takes, the same numbers every time."""

import torch
from torch import Tensor, nn

from sepgconv.nn import GroupConvLayer

SIDE = 32  # pixels, where nothing says the size
BATCH = 2


def example_input(model: nn.Module, shape: tuple[int, ...], *, batch: int = BATCH) -> Tensor:
    """Return random inputs of a shape (without the batch) on the device and in the precision of a model."""
    like = next((t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()), torch.empty(0))
    numbers = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(batch), dtype=torch.float64)
    return numbers.to(like.device, like.dtype)


def default_shape(model: nn.Module) -> tuple[int, ...]:
    """Return the shape of an input of a model, from its first layer.

    Raises:
        ValueError: it has no convolution.
    """
    side = int(getattr(model, "input_size", SIDE))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels, side, side
        if isinstance(module, GroupConvLayer):
            poses = () if module.spec.kind.lifts else (module.group.order,)
            return module.in_channels, *poses, side, side
    raise ValueError(
        f"input_shape is needed: {type(model).__name__} has no convolution that says what comes in; give (channels, "
        "height, width)"
    )


def takes_feature_maps(model: nn.Module) -> bool:
    """Return whether the first layer of a model takes feature maps (batch, channels, poses, height, width)."""
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d | GroupConvLayer)), None)
    return isinstance(first, GroupConvLayer) and not first.spec.kind.lifts
