"""How feature maps lie in memory: (batch, height, width, pose, channel), so that operations read and write in order.

The logical axes stay (batch, channel, pose, height, width). In this layout the poses and channels of a map fold into
the channels of an ordinary channels_last image without moving a number, channels varying fastest: mixing is one matrix
product, planar convolutions and pools take torch's channels_last kernels, and batch norm shared over poses is that of a
wider image. The output of every layer has this layout; an input in another layout is copied once.

Axes are split and joined in the order of memory. In another order torch gives an axis of length one, as a batch of one
image, a stride of its own, and another one while it traces a graph: the graph would then not suit its own maps.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from sepgconv.ops import dispatch


def _as_image(pixels: Tensor, height: int, width: int, channels: int) -> Tensor:
    """Return numbers in the order (batch, height, width, channels), with any axes, as a channels_last image.

    Numbers in another order are copied. The strides are written out anew because those of an image with one channel are
    both contiguous and channels_last: torch would take it for the former, and its output would be contiguous.
    """
    return pixels.flatten().view(pixels.shape[0], height, width, channels).permute(0, 3, 1, 2)


def fold_image(x: Tensor) -> Tensor:
    """Bring an image (batch, channel, height, width) into channels_last memory."""
    return _as_image(x.permute(0, 2, 3, 1), x.shape[2], x.shape[3], x.shape[1])


def fold_poses(x: Tensor, traced: bool | None = None) -> Tensor:
    """Fold a feature map into a channels_last image of pose * channel channels.

    Args:
        x: the feature map.
        traced: what `dispatch.traces_layout` says, where it is known.
    """
    # The compiler makes slow loops of the way through the flattened pixels.
    if dispatch.traces_layout() if traced is None else traced:
        pixels = x.permute(0, 3, 4, 2, 1).flatten(3, 4)
        return pixels.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    return _as_image(x.permute(0, 3, 4, 2, 1), x.shape[3], x.shape[4], x.shape[2] * x.shape[1])


def unfold_poses(maps: Tensor, order: int) -> Tensor:
    """Take the image (batch, pose * channel, height, width) as a feature map again; a view."""
    return maps.permute(0, 2, 3, 1).unflatten(3, (order, -1)).permute(0, 4, 3, 1, 2)


def fold_poses_into_width(x: Tensor) -> Tensor:
    """Fold a feature map into a channels_last image of width * pose columns, for batch norm."""
    return _as_image(x.permute(0, 3, 4, 2, 1), x.shape[3], x.shape[4] * x.shape[2], x.shape[1])


def unfold_poses_from_width(maps: Tensor, order: int) -> Tensor:
    """Undo `fold_poses_into_width`; a view."""
    return maps.unflatten(3, (-1, order)).permute(0, 1, 4, 2, 3)


def regroup(maps: Tensor, outer: int, inner: int) -> Tensor:
    """Exchange the outer two of the axes (outer, inner, channel) that lie in the maps: pose and channel group."""
    pixels = maps.permute(0, 2, 3, 1).unflatten(3, (outer, inner, -1)).transpose(3, 4)
    return _as_image(pixels, maps.shape[2], maps.shape[3], maps.shape[1])


def like_image(image: Tensor, batch: int | None = None) -> Tensor:
    """Return an empty channels_last image of the size of another one, with another batch."""
    size, channels, height, width = image.shape
    shape = (size if batch is None else batch, channels, height, width)
    # No permuted view: what an autograd function returns must not be one, or it could not be changed in place.
    return image.new_empty_strided(shape, (channels * height * width, 1, channels * width, channels))


def map_chunks(chunks: list[slice], operation: Callable[[slice], Tensor]) -> Tensor:
    """Apply an operation to each chunk of a batch and put the channels_last results into one batch."""
    result: Tensor | None = None
    for chunk in chunks:
        part = operation(chunk)
        if result is None:
            result = like_image(part, chunks[-1].stop)
        result[chunk] = part
    if result is None:
        raise ValueError("map_chunks: there is no chunk")
    return result


def accumulate(total: Tensor | None, part: Tensor) -> Tensor:
    """Add to a total that starts as None."""
    return part if total is None else total.add_(part)
