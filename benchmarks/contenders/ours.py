"""Ours: layers and networks of the public API."""

from typing import Any

from torch import Tensor, nn

import sepgconv
from sepgconv.nn import GroupConv2d, SeparableGroupConv2d


def separable_layer(
    *,
    group: str,
    channels: int,
    kernel_size: int,
    padding: int,
    sharing: str = "gc",
    execution: str = "auto",
    recompute: bool | None = None,
) -> nn.Module:
    """Build a separable layer; `recompute=None` leaves that switch as the library sets it."""
    options: dict[str, Any] = {"sharing": sharing, "execution": execution}
    options |= {} if recompute is None else {"recompute": recompute}
    return SeparableGroupConv2d(channels, channels, kernel_size, group, padding=padding, **options)


def group_layer(*, group: str, channels: int, kernel_size: int, padding: int) -> nn.Module:
    """Build a full group convolution."""
    return GroupConv2d(channels, channels, kernel_size, group, padding=padding)


def network(*, name: str, execution: str | None = None, recompute: bool | None = None, **sizes: Any) -> nn.Module:
    """Build a network by name; None leaves execution and recomputing as the library sets them."""
    model = sepgconv.create_model(name, **sizes, **({} if execution is None else {"execution": execution}))
    if recompute is not None:
        for layer in model.modules():
            if isinstance(layer, SeparableGroupConv2d):
                setattr(layer, "recompute", recompute)  # noqa: B010 (the name may be newer than the installed version)
    return model


def native_maps(x: Tensor, **_: object) -> Tensor:
    """Lay feature maps out as the library's own layers hand them on: (batch, height, width, pose, channel)."""
    return x.permute(0, 3, 4, 2, 1).contiguous().permute(0, 4, 3, 1, 2)


def native_images(x: Tensor, **_: object) -> Tensor:
    """Take images as a data loader gives them."""
    return x.contiguous()
