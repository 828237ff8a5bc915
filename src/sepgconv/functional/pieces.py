"""A batch cut into pieces whose maps fit into the cache: several operations on them cost one pass over memory."""

import math
from collections.abc import Callable

from torch import Tensor

# Bytes of the largest map of a piece. Measured on two cores with 32 MiB of shared cache: at 1 MiB the many small
# operations, from 4 MiB on the memory takes longer.
PIECE = 2 * 2**20


def pieces(x: Tensor, *, widest: int) -> list[slice]:
    """Cut the batch of x (batch, maps, height, width) into pieces of nearly equal size; a GPU takes it whole.

    Args:
        x: the maps that come in.
        widest: the largest number of maps over the pixels of x that the operations hold at once.
    """
    batch = x.shape[0]
    if x.device.type != "cpu" or batch < 2:
        return [slice(0, batch)]
    image = x.element_size() * widest * x.shape[2] * x.shape[3]
    count = min(batch, max(1, math.ceil(batch * image / PIECE)))
    step = math.ceil(batch / count)
    return [slice(start, min(start + step, batch)) for start in range(0, batch, step)]


def map_pieces(cut: list[slice], operation: Callable[[slice], Tensor]) -> Tensor:
    """Apply an operation to each piece and put the channels_last results into one batch."""
    if len(cut) == 1:
        return operation(cut[0])
    result: Tensor | None = None
    for piece in cut:
        part = operation(piece)
        if result is None:
            result = like_image(part, cut[-1].stop)
        result[piece] = part
    if result is None:
        raise ValueError("map_pieces: there is no piece")
    return result


def like_image(image: Tensor, batch: int | None = None) -> Tensor:
    """Return an empty channels_last image of the size of another one, with another batch."""
    size, channels, height, width = image.shape
    shape = (size if batch is None else batch, channels, height, width)
    # No permuted view: what an autograd function returns must not be one, or it could not be changed in place.
    return image.new_empty_strided(shape, (channels * height * width, 1, channels * width, channels))


def zero_or(total: Tensor | None, part: Tensor) -> Tensor:
    """Add to a total that starts as None."""
    return part if total is None else total.add_(part)
