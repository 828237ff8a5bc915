"""Checks of what comes in: rank, channels and poses, each refused in one sentence with the likely remedy."""

from typing import SupportsIndex

from torch import Tensor

from sepgconv.groups import FiniteGroup


def check_channels(caller: str, **counts: int) -> None:
    """Refuse numbers of channels that are none.

    Args:
        caller: named in the error.
        counts: by argument name.

    Raises:
        ValueError: one is not an integer of at least 1.
    """
    for name, count in counts.items():
        if not isinstance(count, SupportsIndex) or isinstance(count, bool) or count.__index__() < 1:
            raise ValueError(f"{caller}: {name} must be a positive integer, got {count!r}")


def check_image(x: Tensor, channels: int, caller: str) -> None:
    """Refuse anything but images (batch, channels, height, width).

    Raises:
        ValueError: another rank or number of channels.
    """
    if x.ndim == 4 and x.shape[1] == channels:
        return
    hint = ""
    if x.ndim == 5:
        hint = "; this is already a feature map on the group, use GroupConv2d or SeparableGroupConv2d"
    elif x.ndim == 3:
        hint = "; add the batch axis with x[None]"
    elif x.ndim == 4 and x.shape[3] == channels:
        hint = "; the channels seem to come last, use x.permute(0, 3, 1, 2)"
    elif x.ndim == 4:
        hint = f"; build the layer or network with in_channels={x.shape[1]}"
    raise ValueError(f"{caller}: expected images (batch, {channels}, height, width), got {tuple(x.shape)}{hint}")


def check_feature_map(x: Tensor, channels: int | None, group: FiniteGroup | None, caller: str) -> None:
    """Refuse anything but feature maps (batch, channels, poses, height, width); None accepts any channels or poses.

    Raises:
        ValueError: another rank, number of channels or number of poses.
    """
    poses = None if group is None else group.order
    if x.ndim == 5 and channels in (None, x.shape[1]) and poses in (None, x.shape[2]):
        return
    hint = ""
    if x.ndim == 4 and (channels, poses) == tuple(x.shape[:2]):
        hint = "; add the batch axis with x[None]"
    elif x.ndim == 4 and channels is not None and poses is not None and x.shape[1] == channels * poses > channels:
        hint = f"; channels and poses seem to be folded, use x.unflatten(1, ({channels}, {poses}))"
    elif x.ndim == 4:
        hint = "; lift images with LiftingConv2d first"
    elif x.ndim == 5 and poses not in (None, x.shape[2]):
        hint = f"; the maps have {x.shape[2]} poses, so they come from a layer of another group"
    elif x.ndim == 5:
        hint = f"; build the layer for {x.shape[1]} channels"
    what = (
        f"(batch, {'channels' if channels is None else channels}, {'poses' if poses is None else poses}, height, width)"
    )
    on = "" if group is None else f" for {group.name}"
    raise ValueError(f"{caller}: expected feature maps {what}{on}, got {tuple(x.shape)}{hint}")


def check_weight(name: str, weight: Tensor, fits: bool, expected: str, caller: str) -> None:
    """Refuse a weight whose shape does not fit.

    Args:
        name: of the weight.
        weight: the weight.
        fits: whether its shape is as it must be.
        expected: that shape in words.
        caller: named in the error.

    Raises:
        ValueError: it does not fit; its shape is named.
    """
    if not fits:
        raise ValueError(f"{caller}: expected {name} {expected}, got {tuple(weight.shape)}")


def check_count(x: Tensor, caller: str) -> None:
    """Refuse feature maps that have no variance.

    Raises:
        ValueError: one value per channel.
    """
    if x.numel() == x.shape[1]:
        raise ValueError(
            f"{caller}: expected more than 1 value per channel when training, got {tuple(x.shape)}; use a larger batch "
            f"or larger maps"
        )
