"""Pools, padding and resampling: which of them treat both sides of a map alike, and what they become.

Settings of torch that no layer here has (`count_include_pad`, `divisor_override`, resampling) run for each pose by
itself, which is exact where windows and steps lie the same way from either side. On sizes where a setting changes
nothing, as `ceil_mode` where all windows fit, it is dropped; on others it raises an error.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sepgconv.conv.geometry import Pair, as_pair, check_equal_sides
from sepgconv.convert.rebuild.values import UnconvertibleError
from sepgconv.nn import AvgPool2d, MaxPool2d
from sepgconv.symmetry import FiniteGroup, PixelBasis
from sepgconv.symmetry.filter_error import error_forms
from sepgconv.symmetry.steerable import TOLERANCE


class PerPose(nn.Module):
    """A layer of torch for maps, run for each pose by itself.

    Shapes: (batch, channels, |G|, height, width) -> (batch, channels, |G|, height', width').

    Args:
        layer: a layer that treats all channels alike, as pools do.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Run the layer with poses beside the channels."""
        return self.layer(x.flatten(1, 2)).unflatten(1, (-1, x.shape[2]))


class ChannelsLast(nn.Module):
    """A layer of torch for the last axis, run on the channels of maps without poses.

    Shapes: (batch, channels, height, width) -> the same.

    Args:
        layer: the layer, as `nn.LayerNorm`.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Run the layer with channels as the last axis."""
        return self.layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class FixedFilter(nn.Module):
    """A filter that is not learnt, the same for every channel, as those that blur before a stride.

    Shapes: (batch, channels, height, width) -> (batch, channels, height', width').

    Args:
        kernel: (height, width).
        stride: step in pixels.
        padding: pixels of zeros on every side.
        dilation: distance of kernel pixels.
    """

    kernel: Tensor

    def __init__(self, kernel: Tensor, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> None:
        super().__init__()
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.register_buffer("kernel", kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Filter every channel by itself."""
        single = x.flatten(0, 1).unsqueeze(1)
        found = F.conv2d(single, self.kernel[None, None], None, self.stride, self.padding, self.dilation)
        return found.squeeze(1).unflatten(0, (-1, x.shape[1]))


def fixed_filter(layer: FixedFilter, group: FiniteGroup, *, maps: bool) -> nn.Module:
    """Return what a filter that is not learnt becomes.

    Raises:
        UnconvertibleError: an element of the group changes it.
    """
    height, width = layer.kernel.shape
    check_equal_sides(group, kernel_size=(height, width), stride=as_pair(layer.stride, "stride", least=1))
    if not _is_kept(layer.kernel, group):
        raise UnconvertibleError("its weight is a buffer, and no element of the group may change it, as one does")
    return PerPose(copy.deepcopy(layer)) if maps else copy.deepcopy(layer)


def _is_kept(kernel: Tensor, group: FiniteGroup) -> bool:
    """Return whether no element changes a kernel; of those that leave the pixel grid, whether they hardly change it.

    Hardly: its response changes by no more than a filter of a `SteerableBasis` is off, of which a share of `TOLERANCE`
    does not turn with the rest. The difference between that share before and after has at most four times its energy.
    """
    pixels = kernel.detach().cpu().double()
    if group.keeps_grid:
        moved = PixelBasis(group, (kernel.shape[0], kernel.shape[1])).expand(pixels)
        return bool(torch.isclose(moved, pixels, rtol=1e-6).all())
    filters = pixels.numpy()[None]
    for element, matrix in enumerate(group.matrices):
        error, response = error_forms(filters, filters, matrix)
        if error.trace() > (1e-10 if element in group.grid_elements else 4 * TOLERANCE) * response.trace():
            return False
    return True


def max_pool(pool: nn.MaxPool2d, side: Pair, group: FiniteGroup, *, maps: bool) -> nn.Module:
    """Return what a max-pool on maps of a size becomes.

    Args:
        pool: of the original.
        side: (height, width) that comes in.
        group: the group.
        maps: whether on feature maps with poses.

    Raises:
        UnconvertibleError: it gives indices, or its last window hangs over one side.
    """
    if pool.return_indices:
        raise UnconvertibleError("MaxPool2d with return_indices=True has no counterpart on a group")
    _check_overhang(pool, side, pool.dilation)
    ours = MaxPool2d(pool.kernel_size, pool.stride, pool.padding, pool.dilation, group=group)  # built for its checks
    return ours if maps else copy.deepcopy(pool)


def avg_pool(pool: nn.AvgPool2d, side: Pair, group: FiniteGroup, *, maps: bool) -> nn.Module:
    """Return what an average pool on maps of a size becomes; arguments and errors as for `max_pool`."""
    _check_overhang(pool, side, 1)
    ours = AvgPool2d(pool.kernel_size, pool.stride, pool.padding, group=group)
    plain = (pool.count_include_pad or not any(ours.padding)) and pool.divisor_override is None
    if not maps:
        return copy.deepcopy(pool)
    return ours if plain else PerPose(copy.deepcopy(pool))


def _check_overhang(pool: Any, side: Pair, dilation: Any) -> None:
    """Raise if `ceil_mode` adds a window: it hangs over one side only, and over another one of the rotated map."""
    if not pool.ceil_mode:
        return
    settings = zip(
        side,
        as_pair(pool.kernel_size, "kernel_size", least=1),
        as_pair(pool.stride, "stride", least=1),
        as_pair(pool.padding, "padding", least=0),
        as_pair(dilation, "dilation", least=1),
        strict=True,
    )
    for length, kernel, stride, padding, spread in settings:
        room = length + 2 * padding - spread * (kernel - 1) - 1
        started = -(-room // stride) * stride  # where a window beyond the last whole one would start
        if room < 0 or (room % stride and started < length + padding):
            raise UnconvertibleError(
                f"{type(pool).__name__} with ceil_mode=True adds a window that hangs over one side of maps of "
                f"{side[0]} x {side[1]} pixels; give an input_shape on which its windows fit, or ceil_mode=False"
            )


def check_even_ends(what: str, before: Sequence[int], after: Sequence[int], group: FiniteGroup) -> None:
    """Raise if numbers of pixels differ between the two ends of an axis, or between axes that a rotation exchanges.

    Args:
        what: the name in errors, "padding" or "a crop".
        before: along (y, x) at the top and at the left.
        after: along (y, x) at the bottom and at the right.
        group: the group.

    Raises:
        UnconvertibleError: they differ.
    """
    if tuple(before) != tuple(after):
        top, left, bottom, right = *before, *after
        raise UnconvertibleError(
            f"{what} of {top} pixels above and {bottom} below, {left} to the left and {right} to the right, turns into "
            f"another one with the image; on an input_shape where both sides are equal it is converted"
        )
    check_equal_sides(group, **{what.removeprefix("a "): (before[0], before[1])})


def padding_layer(pad: Any, group: FiniteGroup, *, maps: bool) -> nn.Module:
    """Return what a layer that pads becomes.

    Raises:
        UnconvertibleError: the sides differ.
    """
    left, right, top, bottom = pad.padding
    check_even_ends("padding", (top, left), (bottom, right), group)
    return PerPose(copy.deepcopy(pad)) if maps else copy.deepcopy(pad)


def check_even_steps(mode: str, before: Pair, after: Pair, group: FiniteGroup) -> None:
    """Raise if the steps of a resampling differ between the two ends of an axis.

    Args:
        mode: as in `torch.nn.functional.interpolate`.
        before: (height, width) of the maps.
        after: of the result.
        group: the group.

    Raises:
        UnconvertibleError: the nearest pixel is taken where sizes are no multiples, which rounds towards one side.
    """
    if mode == "nearest" and any(new % old for old, new in zip(before, after, strict=True)):
        raise UnconvertibleError(
            f"resampling {before[0]} x {before[1]} to {after[0]} x {after[1]} pixels with mode='nearest' rounds "
            f"towards one side; give mode='bilinear' or 'nearest-exact', or an input_shape on which sizes are multiples"
        )
    if before[0] == before[1]:
        check_equal_sides(group, size=after)


def upsample(layer: nn.Upsample, before: Pair, after: Pair, group: FiniteGroup, *, maps: bool) -> nn.Module:
    """Return what a layer that resamples becomes; errors as for `check_even_steps`."""
    check_even_steps(layer.mode, before, after, group)
    return PerPose(copy.deepcopy(layer)) if maps else copy.deepcopy(layer)
