"""Max-pooling and its gradient from the places of the maxima, kept in as few bytes as they need."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from sepgconv.functional.geometry import Geometry
from sepgconv.functional.pieces import like_image


def max_pool_with_places(maps: Tensor, window: Geometry) -> tuple[Tensor, Tensor]:
    """Max-pool maps (batch, channel, height, width); return the maxima and their flat places in the map.

    The places are of `place_type(maps)`.
    """
    pooled, at = F.max_pool2d_with_indices(maps, window.kernel_size, window.stride, window.padding, window.dilation)
    return pooled, at.to(place_type(maps.shape))


def place_type(shape: Sequence[int]) -> torch.dtype:
    """Return the type that holds the places in maps of a shape: two bytes up to 2^15 pixels, else four."""
    return torch.int16 if shape[2] * shape[3] <= 2**15 else torch.int32


def max_pool_backward(grad: Tensor, at: Tensor, shape: Sequence[int], window: Geometry) -> Tensor:
    """Return the gradient by maps of a shape, from that by the maxima and their places."""
    # Only the shape and the layout of the input are looked at.
    maps = like_image(torch.empty(1, dtype=grad.dtype, device=grad.device).expand(shape))
    sides = (window.kernel_size, window.stride, window.padding, window.dilation)
    return torch.ops.aten.max_pool2d_with_indices_backward(grad, maps, *sides, False, at.to(torch.int64))
