"""The input sizes on which the strides and pools of a network are exact."""

from typing import Any

import torch
from torch import Tensor, nn

from sepgconv._arguments import accept_old_order
from sepgconv._hooks import watch_calls
from sepgconv.analysis.certify.actions import reversed_axes
from sepgconv.analysis.certify.fields import is_field, wrap
from sepgconv.analysis.certify.float64_copy import float64_copy
from sepgconv.analysis.certify.windows import Window, strided_windows
from sepgconv.symmetry import FiniteGroup
from sepgconv.symmetry import group as get_group

# What networks raise on a size that they cannot take.
UNFIT = (ValueError, RuntimeError, AssertionError, IndexError)
Crossing = tuple[Window, tuple[int, int], tuple[int, int]]  # a window, the size that came in, the size that went out


@accept_old_order("model", "smallest", "largest", "group")
def sizes(
    model: nn.Module,
    smallest: int,
    largest: int,
    *,
    group: FiniteGroup | str | None = None,
    channels: int | None = None,
) -> tuple[int, ...]:
    """Return the sides of square images on which every stride and pool of a network is exact.

    A strided layer is exact on a map of side S if and only if (S + 2 padding - dilation (k - 1) - 1) mod stride = 0
    (theory.md, Strides); a pool also where one window sees the whole map. The network is run once for each size, to see
    which layers run on maps of which size. Only layers that are modules count: `certify` measures the whole network.

    Args:
        model: any module whose input is one image; it is not changed.
        smallest: the least side to try.
        largest: the largest side to try.
        group: the group or its name; that of the first layer on a group if not given, else p4. Under pm only the width
            has to fit.
        channels: of the image; those of the first layer if not given.

    Returns:
        The sides in rising order; sizes that the network cannot run on are left out.

    Raises:
        ValueError: the range is empty, the network runs on no size in it, or the channels are not known.

    Example:
        >>> import sepgconv
        >>> network = sepgconv.create_model("p4cnn", width=2)
        >>> sepgconv.analysis.sizes(network, 28, 33)
        (28, 30, 32)
    """
    if not 1 <= smallest <= largest:
        raise ValueError(f"sizes: expected 1 <= smallest <= largest, got {smallest} and {largest}")
    group = get_group(group) if group is not None else own_group(model) or get_group("p4")
    channels = channels or _channels(model)
    twin = float64_copy(model, "sizes").float()  # only the sizes of maps are looked at, so the fastest will do
    exact: list[int] = []
    failure: Exception | None = None
    ran = False
    for side in range(smallest, largest + 1):
        try:
            found = _run(twin, (channels, side, side))
        except UNFIT as error:
            failure = error
            continue
        ran = True
        if _is_exact(found, group):
            exact.append(side)
    if not ran:
        raise ValueError(f"sizes: the network runs on no size from {smallest} to {largest}: {failure}") from failure
    return tuple(exact)


def _is_exact(crossings: list[Crossing], group: FiniteGroup) -> bool:
    """Return whether every window is exact along every axis that the group reverses."""
    return all(
        window.is_exact(before[axis], after[axis], axis)
        for window, before, after in crossings
        for axis in reversed_axes(group)
    )


def own_group(model: nn.Module) -> FiniteGroup | None:
    """Return the group of the first layer that has one with more than one element, or None."""
    groups = (getattr(module, "group", None) for module in model.modules())
    return next((group for group in groups if isinstance(group, FiniteGroup) and group.order > 1), None)


def _channels(model: nn.Module) -> int:
    for module in model.modules():
        if isinstance(found := getattr(module, "in_channels", None), int):
            return found
        if isinstance(found := getattr(getattr(module, "in_type", None), "size", None), int):
            return found
    raise ValueError("sizes: no layer says how many channels the image has; give channels=")


def _run(model: nn.Module, shape: tuple[int, int, int]) -> list[Crossing]:
    """Run one image through a network in evaluation mode; return every strided window it went through.

    Args:
        model: the network.
        shape: (channels, height, width).
    """
    found: list[Crossing] = []

    def record(window: Window, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
        before, after = (_size(value) for value in (arguments[0] if arguments else None, output))
        if before and after:
            found.append((window, before, after))

    windows = [(window, module) for _, module, window in strided_windows(model)]
    with watch_calls(windows, after=record), torch.no_grad():
        model(wrap(model, torch.zeros(1, *shape)))
    return found


def _size(value: object) -> tuple[int, int] | None:
    tensor = getattr(value, "tensor", None) if is_field(value) else value
    if not isinstance(tensor, Tensor) or tensor.ndim < 4:
        return None
    return tensor.shape[-2], tensor.shape[-1]
